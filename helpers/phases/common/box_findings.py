"""Findings of the boxes in phases 40 and 60: a finding of severity "stop" closes the gate behind its box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helpers.finding import Finding, note, stop, warning
from helpers.pipelines import alerts, functional
from helpers.pipelines.benchmark import Benchmark
from helpers.pipelines.downstream import Reading
from helpers.pipelines.figures import FiguresReport
from helpers.pipelines.full_run import PipelineRun
from helpers.pipelines.source_quality import SourceQuality
from helpers.platforms.dbt import DbtResult
from helpers.settings import Downstream
from helpers.verify.report import Report

FULL_RUN = "s40-full-run"


def functional_findings(done: functional.TestRun) -> list[Finding]:
    """A failed test stops, and so does a report that the exit code contradicts; a skipped one is for a person to weigh."""
    fix = "read its message and the output kept beside this notebook; run the command of [profiles.X.tests] yourself"
    found = [stop("the command", done.wrong, fix)] if done.wrong else []
    found += [stop(c.name, c.message, fix) for c in done.cases if c.outcome == "failed"]
    return found + [warning(c.name, f"skipped: {c.message}") for c in done.cases if c.outcome == "skipped"]


def performance_findings(measured: Benchmark) -> list[Finding]:
    """A missed limit stops; one that was not measured is no tick, and is said."""
    found = []
    for each in measured.verdicts:
        if each.answer == "missed":
            what = f"{each.measured:.2f} s, of {each.limit.seconds:g} s that were agreed: {each.why}"
            found.append(stop(each.limit.name, what, "tune the pipeline, or agree on another limit"))
        elif each.answer == "not measured":
            found.append(warning(each.limit.name, f"not measured: {each.why}", "measure on the real service"))
    if not measured.verdicts:
        found.append(warning("limits", "the profile names none, so none was judged", "write its section sla"))
    if not measured.measurements:
        found.append(stop("benchmark", "nothing was measured", "name a volume"))
    return found


def quality_findings(built: DbtResult) -> list[Finding]:
    """What failed stops; what was skipped behind it is one finding, so that it does not hide what failed."""
    fix = "look at the rows above; correct the model or the data, then run this phase again"
    skipped = [node for node in built.bad if node.status == "skipped"]
    found = [
        stop(node.name, f"{node.kind} {node.status}: {node.message or 'no message'}", fix)
        for node in built.bad if node not in skipped
    ]  # fmt: skip
    if skipped:
        what = f"{len(skipped)} models and tests were skipped, for what they rest on is not well"
        found.append(stop(f"{skipped[0].name} and others" if skipped[1:] else skipped[0].name, what, fix))
    if not built.nodes_of("test"):
        found.append(stop("dbt", "no test was run", "give the dbt project tests of its models"))
    return found


def figure_findings(found: FiguresReport) -> list[Finding]:
    """Every difference stops, but those that the source brought about after the export."""
    fix = "run the data migration again where the source has moved on; otherwise correct what computes it in the target"
    if found.against == "recomputation":
        fix = "run the pipeline again where rows came since; otherwise correct what computes it"
    findings = []
    for each in found.figures:
        cells = "".join(f" --tables {table}" for table in each.tables)
        own = f"{fix}; runbook verify{cells} shows the cells behind it" if cells else fix
        findings += [stop(each.name, str(d), own) for d in each.differences if not d.since]
        findings += [warning(each.name, str(d), "synchronise before the cutover") for d in each.differences if d.since]
        if each.verdict == "no rows":
            findings.append(
                warning(
                    each.name, "neither side has a row, so it proves nothing", "see that it asks the right relation"
                )
            )
        if each.within:
            findings.append(note(each.name, f"{each.within:,} numbers differ within their tolerance: {each.reason}"))
    if not any(each.severity == "stop" for each in findings) and not found.equal:
        findings.append(stop("figures", "no figure has a row to compare", "see that the source is the right one"))
    return findings


def full_run_findings(done: PipelineRun) -> list[Finding]:
    """A stage that failed stops; by what it was run is a fact for the record."""
    found = [note("full run", done.how)]
    for stage in done.stages:
        if stage.state != "done":
            found.append(stop(stage.name, stage.said or f"it was {stage.state}", "correct what it names; run again"))
    return found


def output_findings(found: Report) -> list[Finding]:
    """A table whose rules or figures are not kept stops."""
    fix = "look at the rules below: runbook verify --check data-quality shows the figures"
    wrong = [stop(str(t), t.method, fix) for t in found.tables if t.verdict != "equal"]
    return wrong or ([] if found.tables else [stop("output", "no table was checked", "run the migration first")])


def alert_findings(arrivals: Sequence[alerts.Arrival]) -> list[Finding]:
    """An alarm that was lost stops, and so does having nobody to tell."""
    if not arrivals:
        return [stop("alerts", "the profile has neither [aws] nor a webhook: nobody would be told", "add one")]
    fix = "check the topic, its subscriptions and its policy"
    found = [stop(each.way, each.said, fix) for each in arrivals if not each.arrived]
    by_hand = "its state was set by hand: that a metric would raise it is not tested"
    return found + [note(each.way, f"{each.said}; {by_hand}") for each in arrivals if each.arrived]


def downstream_findings(
    listed: bool, described: Mapping[str, Downstream | None], readings: Sequence[Reading]
) -> list[Finding]:
    """What cannot be read stops, and so does a system of which nobody knows what it reads."""
    found = []
    if not listed:
        what = (
            "phase 00 has left no list of the systems around the pipeline, so that nobody knows whether these are all"
        )
        found.append(warning("downstream", what, "run phase 00 in this run, and describe what it lists"))
    elif not described:
        what = "phase 00 listed no system around the source and the profile describes none, so that nothing was read"
        found.append(
            warning(
                "downstream",
                what,
                "describe each system that reads the target later: [profiles.NAME.downstream.SYSTEM]",
            )
        )
    fix = "describe it under [profiles.NAME.downstream.SYSTEM]"
    grant = (
        "grant {} what it reads, or name what it will read instead: reads = […] under [profiles.NAME.downstream.SYSTEM]"
    )
    for name, how in described.items():
        if how is None:
            found.append(stop(name, "it is listed, and nothing says what it reads", fix))
    for each in readings:
        if not each.readable:
            found.append(stop(f"{each.system}: {each.what}", each.said, grant.format(each.user)))
        elif not each.own:
            what = f"read as {each.user}, the migration's own user: what the system itself may read is not known"
            found.append(warning(f"{each.system}: {each.what}", what, "name its user"))
    return found


def last_run_findings(last: Mapping[str, Any] | None, pipeline: str) -> list[Finding]:
    """A last run that did not reach its end stops, and so does one of another pipeline.

    Args:
        last: what `FULL_RUN` recorded when it was done last; None where it never was.
        pipeline: "modern" or "legacy".
    """
    again = "run phase 40 in this run, with --apply"
    if last is None:
        return [stop(FULL_RUN, "this run has no full run of the pipeline that was done", again)]
    if (ran := last.get("pipeline", "modern")) != pipeline:
        return [stop(FULL_RUN, f"the last one was of the {ran} pipeline, and this is the {pipeline} one", again)]
    stages = [dict(stage) for stage in last.get("stages", ())]
    findings = [
        stop(str(stage.get("name")), f"it was {stage.get('state')}: {stage.get('said')}", again)
        for stage in stages
        if stage.get("state") != "done"
    ]
    if not stages:
        findings.append(stop(FULL_RUN, "it does not say how its stages ended", again))
    return [*findings, note(FULL_RUN, f"{len(stages)} stages, {last.get('how', '')}")]


def target_findings(found: Report) -> list[Finding]:
    """A target that is not what the source is stops."""
    if not found.tables:
        return [stop("target", "no table was compared", "run the data migration first")]
    fix = "read the report of differing cells; synchronise or migrate again what differs"
    wrong = [t for t in found.tables if t.verdict != "equal"]
    return [stop(str(t), f"{t.verdict}: {t.differences or t.method}", fix) for t in wrong]


def source_findings(found: SourceQuality) -> list[Finding]:
    """A rule that any row breaks stops; one that could not be checked is for a person to weigh."""
    findings = []
    for result in found.rules:
        on, words = result.rule.table, result.rule.words
        if result.verdict == "fail":
            what = f"{words}: {result.why or f'{result.violations:,} rows break it'}"
            findings.append(stop(on, what, "correct the rows shown above, and what writes them"))
        elif result.verdict == "not checked":
            findings.append(warning(on, f"{words}: {result.why}", "look at it by hand"))
    for each in found.checks:
        if each.rows:
            what = f"{each.rows:,} rows are wrong. {each.words}"
            findings.append(stop(each.name, what, f"run {each.name}.sql of tests.queries to see them all"))
    if not found.rules:
        what = "it declares no rule, so nothing of it was checked"
        findings.append(stop("source", what, "see that dbname and schemas of the source are right"))
    if not found.checks:
        what = "the profile names no queries of what no constraint says, so only declared rules were counted"
        findings.append(warning("tests.queries", what, "write some where the data have such rules"))
    return findings
