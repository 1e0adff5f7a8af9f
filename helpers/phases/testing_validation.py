"""Phase 4 of the checklist, as the steps of `runbooks/40_testing_validation.ipynb`.

Each box is acted on, shown, and then judged by a gate of its own: a table of what failed stands in the notebook before the
gate in front of the next box closes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from helpers import alerts, benchmark, charts, downstream, functional, manifest, marts, parity, pipeline_run, verify
from helpers.benchmark import Benchmark, BenchmarkPlan
from helpers.downstream import Listed, Reading
from helpers.errors import NotBuilt
from helpers.load import snowflake_records
from helpers.parity import ParityReport
from helpers.phases import testing_plan
from helpers.phases.phase import Finding, Phase, table
from helpers.pipeline_run import PipelineRun, Stage
from helpers.platforms.dbt import DbtResult
from helpers.platforms.s3 import Bucket
from helpers.progress import progress
from helpers.runs.folders import report_path, run_folder
from helpers.runs.gate import Token, require
from helpers.runs.notify import Webhook
from helpers.runs.steps import CHECK, Found
from helpers.settings import Downstream
from helpers.verify.report import Report
from helpers.verify.rules import result as rule_results

END_TO_END = ("s40-full-run", "s40-output", "s40-alerts", "s40-downstream")
BOXES = ("s40-functional", "s40-performance", "s40-quality", "s40-parity", *END_TO_END)
ROWS_SHOWN = 10
"""Of each failed test."""


class TestingValidation(Phase):
    """One walk through the phase.

    Args:
        profile: of migration.toml.
        volumes: of the benchmark: small, medium, large.
        option: the migration path.
        apply: whether steps act; without it they return their plans.

    Raises:
        NotBuilt: option C.
    """

    __test__ = False
    """Its name is the phase's; it is no test of pytest's."""

    def __init__(self, profile: str, volumes: list[str], *, option: str = "A", apply: bool) -> None:
        super().__init__(profile, apply=apply)
        if option == "C":
            raise NotBuilt(
                "test the pipeline of option C", on="runbook 40_testing_validation",
                why="its boxes test the modern pipeline, and option C has none; tests of the legacy one are not built",
                next_step="run the phase for option A or B",
            )  # fmt: skip
        self._measuring: BenchmarkPlan = benchmark.plan_benchmark(self.settings, ("legacy", "modern"), volumes)
        self._found: dict[str, list[Finding]] = {}
        self._benchmark = Benchmark(())
        self._built: DbtResult | None = None
        self._failing: list[tuple[str, dict[str, Any]]] = []
        self._parity: ParityReport | None = None
        self._output: Report | None = None

    def functional(self) -> pd.DataFrame:
        """Runs the functional tests; a row a test."""
        with self.step("s40-functional", self._inputs(), CHECK) as step:
            if not self.apply:
                return self.shown(step, testing_plan.of_functional(self.settings, functional.names()))
            with self.timed("functional tests"):
                cases = functional.run(self.settings)
            step.result = {
                "tests": len(cases), "failed": sum(case.outcome == "failed" for case in cases),
                "evidence": self.report("functional", [vars(case) for case in cases]),
            }  # fmt: skip
            self._found["s40-functional"] = functional_findings(cases)
        rows = [(case.name, case.outcome, round(case.seconds, 1), case.message) for case in cases]
        return pd.DataFrame(rows, columns=["test", "outcome", "seconds", "message"]).set_index("test")

    def performance(self) -> pd.DataFrame:
        """Measures both pipelines; a row a volume and pipeline."""
        with self.step("s40-performance", {**self._inputs(), "volumes": list(self._measuring.volumes)}, CHECK) as step:
            if not self.apply:
                return self.shown(step, testing_plan.of_performance(self._measuring))
            limits = benchmark.limits_of(self.settings)
            with self.timed("benchmark"), progress("benchmark") as report:
                self._benchmark = benchmark.benchmark(self._measuring, limits, progress=report)
            evidence = self.report("benchmark", self._benchmark.as_dict())
            step.result = {"measurements": len(self._benchmark.measurements), "evidence": evidence}
            self._found["s40-performance"] = performance_findings(self._benchmark)
        return self._benchmark.totals()

    def stages(self) -> pd.DataFrame:
        """Of the benchmark: a row a stage of a pipeline."""
        return self._benchmark.frame("pipeline")

    def marts(self) -> pd.DataFrame:
        """Of the benchmark: a row a mart that was built."""
        return self._benchmark.frame("mart")

    def queries(self) -> pd.DataFrame:
        """Of the benchmark: a row a query."""
        return self._benchmark.frame("query")

    def limits(self) -> pd.DataFrame:
        """Of the benchmark: a row a limit that was agreed, and whether it was kept."""
        return self._benchmark.judged()

    def chart(self) -> go.Figure:
        """The benchmark's totals as a picture."""
        totals = self._benchmark.totals().reset_index()
        return charts.seconds_by_volume(
            [f"{row['pipeline']}: {row['engine']}" for _, row in totals.iterrows()],
            [f"{row['volume']} ({row['order lines']:,} lines)" for _, row in totals.iterrows()],
            [float(seconds) for seconds in totals["seconds"]],
        )

    def quality(self) -> pd.DataFrame:
        """Builds the marts with dbt and runs their tests; a row a model or test."""
        with self.step("s40-quality", self._inputs(), CHECK) as step:
            if not self.apply:
                return self.shown(step, testing_plan.of_quality(self.settings))
            with self.timed("dbt build"):
                marts.prepare(self.settings)
                self._built = built = marts.build(self.settings)
            self._failing = self._rows_that_fail(built)
            nodes = [{name: value for name, value in vars(node).items() if name != "sql"} for node in built.nodes]
            step.result = {
                "models": len(built.of_kind("model")), "tests": len(built.of_kind("test")), "not well": len(built.bad),
                "evidence": self.report("dbt", {"nodes": nodes, "failing rows": self._failing}),
            }  # fmt: skip
            self._found["s40-quality"] = quality_findings(built)
        nodes_in_order = sorted(built.nodes, key=lambda node: (node.good, node.status == "skipped"))
        rows = [(n.status, n.kind, n.failures, n.name, "" if n.good else n.message) for n in nodes_in_order]
        return pd.DataFrame(rows, columns=["status", "kind", "failing rows", "name", "message"]).set_index("status")

    def failing_rows(self) -> pd.DataFrame:
        """The first rows that each failed test of dbt found; empty when none did."""
        rows = [(name, ", ".join(f"{k}={v}" for k, v in row.items())) for name, row in self._failing]
        return pd.DataFrame(rows, columns=["test", "row"]).set_index("test")

    def parity(self) -> pd.DataFrame:
        """Compares every legacy aggregate with its mart; a row an aggregate."""
        with self.step("s40-parity", self._inputs(), CHECK) as step:
            if not self.apply:
                return self.shown(step, testing_plan.of_parity())
            with self.timed("parity"), progress("parity") as report:
                self._parity = found = parity.compare(self.settings, progress=report)
            step.result = {
                "verdict": "equal" if found.equal else "different", "differences": len(found.differences),
                "figures": sum(each.figures for each in found.aggregates), "lsn": found.lsn, "engine": found.engine,
                "evidence": self.report("parity", found.as_dict()),
            }  # fmt: skip
            self._found["s40-parity"] = parity_findings(found)
        return found.frame()

    def differences(self) -> pd.DataFrame:
        """Of the parity: the first figures that differ; empty when none do."""
        return (self._parity or ParityReport("", "", "", ())).differing()

    def full_run(self) -> pd.DataFrame:
        """Runs the whole pipeline once, by Airflow where it is up; a row a stage."""
        with self.step("s40-full-run", self._inputs(), probe=self._is_run) as step:
            if not self.apply:
                return self.shown(step, testing_plan.of_full_run(self.settings))
            if step.skipped:
                stages = tuple(Stage(**each) for each in step.result["stages"])
                done = PipelineRun(str(step.result["how"]), stages)
            else:
                with self.timed("full run"), progress("full run") as report:
                    done = pipeline_run.run(
                        self.settings, load_id=step.load_id, cells_folder=report_path("full-run"), progress=report
                    )
                step.result = {"how": done.how, "stages": [vars(stage) for stage in done.stages]}
            self._found["s40-full-run"] = full_run_findings(done)
        return done.frame()

    def output(self) -> pd.DataFrame:
        """Checks the rules and the business figures of what the run wrote; a row a table."""
        with self.step("s40-output", self._inputs(), CHECK) as step:
            if not self.apply:
                return self.shown(step, testing_plan.of_output(self.settings))
            with self.timed("output quality"), progress("data quality") as report:
                planned = verify.planned(self.settings, target="snowflake", check="data-quality", progress=report)
                with planned as plan:
                    self._output = found = verify.verify(plan, progress=report)
            step.result = {"verdict": found.verdict, "evidence": self.report("data-quality", found.as_dict())}
            self._found["s40-output"] = output_findings(found)
        rows = [(str(t), t.verdict, t.method) for t in found.tables]
        return pd.DataFrame(rows, columns=["table", "verdict", "found"]).set_index("table")

    def rules(self) -> pd.DataFrame:
        """Of the output's quality: the rules that are not kept or could not be checked; empty when all are."""
        results = self._output.business.rules if self._output and self._output.business else ()
        return rule_results.frame(each for each in results if each.verdict != "pass").set_index("table")

    def alerts(self) -> pd.DataFrame:
        """Sends a test alarm and waits for it; a row a way."""
        with self.step("s40-alerts", self._inputs(), CHECK) as step:
            if not self.apply:
                return self.shown(step, testing_plan.of_alerts(self.settings))
            arrivals = []
            with self.timed("alerts"):
                if self.settings.values.aws:
                    arrivals.append(alerts.send_test_alarm(self.settings.aws, self.settings.alerts))
                if secret := self.settings.notify.webhook:
                    why = Webhook(secret.get_secret_value()).send("test alarm of runbook 40: nothing is wrong")
                    said = why or "the receiver took it; that a person saw it, only they can say"
                    arrivals.append(alerts.Arrival("the webhook of [notify]", why is None, 0.0, said))
            step.result = {"ways": len(arrivals), "arrived": sum(each.arrived for each in arrivals)}
            self._found["s40-alerts"] = alert_findings(arrivals)
        rows = [
            (each.way, "arrived" if each.arrived else "lost", round(each.seconds, 1), each.said) for each in arrivals
        ]
        return pd.DataFrame(rows, columns=["way", "alarm", "seconds", "said"]).set_index("way")

    def downstream(self) -> pd.DataFrame:
        """Reads the new target as each downstream system; a row an object."""
        listed = self._listed()
        described = downstream.systems(self.settings, listed or ())
        with self.step("s40-downstream", {**self._inputs(), "systems": list(described)}, CHECK) as step:
            if not self.apply:
                return self.shown(step, testing_plan.of_downstream(described))
            with self.timed("downstream"):
                readings = downstream.validate(self.settings, described)
            step.result = {
                "systems": len(described), "unreadable": sum(not each.readable for each in readings),
                "evidence": self.report("downstream", [vars(each) for each in readings]),
            }  # fmt: skip
            self._found["s40-downstream"] = downstream_findings(listed is not None, described, readings)
        rows = [(r.system, r.what, r.user, "readable" if r.readable else "unreadable", r.said) for r in readings]
        return pd.DataFrame(rows, columns=["system", "reads", "as", "answer", "said"]).set_index("system")

    def findings(self, box: str) -> pd.DataFrame:
        """What is to be said of a box, the gravest first."""
        return table(self._found.get(box, []))

    def gate(self, box: str) -> Token:
        """The gate behind a box: closed by a finding that stops.

        Raises:
            GateClosed: with the findings.
        """
        return self.check(f"{box}-gate", lambda: self._judged(box), acted=True)

    def end_to_end(self, *tokens: Token) -> Token:
        """The box above the four of the end-to-end test: open when each of theirs is."""
        for token, box in zip(tokens, END_TO_END, strict=True):
            require(token, f"{box}-gate", apply=self.apply)
        return self.check("s40-end-to-end", lambda: _all_open(END_TO_END), acted=True)

    def milestone(self, *tokens: Token) -> Token:
        """The phase's row of the timeline: comprehensive testing completed."""
        wanted = (*(f"{box}-gate" for box in BOXES if box not in END_TO_END), "s40-end-to-end")
        for token, name in zip(tokens, wanted, strict=True):
            require(token, name, apply=self.apply)
        return self.check("s40-milestone", lambda: _all_open(wanted), acted=True)

    def summary(self) -> str:
        """One sentence: what was tested."""
        if not self.apply:
            return f"REHEARSED: {len(BOXES)} boxes were planned, and nothing was run, built or sent"
        stops = sum(each.severity == "stop" for found in self._found.values() for each in found)
        notes = sum(each.severity == "warning" for found in self._found.values() for each in found)
        return f"TESTED: {len(self._found)} boxes, {stops} findings that stop, {notes} for a person to weigh"

    def _inputs(self) -> dict[str, Any]:
        values = self.settings
        return {"profile": values.profile, "engine": values.dbt.engine, "marts": values.marts_schema}

    def _judged(self, box: str) -> Sequence[Finding]:
        if box not in self._found:
            return [Finding("stop", box, "it was not done in this session", "run the cells above first")]
        return self._found[box]

    def _rows_that_fail(self, built: DbtResult) -> list[tuple[str, dict[str, Any]]]:
        failed = [node for node in built.bad if node.kind == "test"]
        if not failed:
            return []
        with marts.reading(self.settings, built.file) as reader:
            return [
                (node.name, {name: str(value) for name, value in row.items()})
                for node in failed for row in marts.failing_rows(reader, node, limit=ROWS_SHOWN)
            ]  # fmt: skip

    def _is_run(self, load_id: str, result: Mapping[str, Any]) -> Found:
        """Whether the marts are of that run: they say so themselves, once all of them and their tests were well."""
        found = marts.built(self.settings)
        if found.get("load_id") != load_id:
            return Found("not done", f"the marts are of the load {found.get('load_id', 'none')}")
        if not result:
            # The run went through to the marts; what it said of its stages is lost, so it is done again.
            return Found("not done", "the marts are of that run, and nothing says how its stages ended")
        staged = manifest.read_if_any(Bucket.open(self.settings.stage))
        if staged is None or not staged.export.endswith(f"-{load_id[: pipeline_run.MARK]}"):
            return Found("not done", "the stage holds another export by now")
        loaded, how = snowflake_records.is_loaded(staged, self.settings.snowflake, load_id)
        return Found("done" if loaded else "not done", f"the marts are of the load {load_id}, and {how}")

    def _listed(self) -> tuple[Listed, ...] | None:
        """Phase 00's list of the systems around the source; None where there is none."""
        entry = self.earlier("s00-integrations")
        name = entry.get("result", {}).get("integrations") if entry and entry.event == "step-done" else None
        return downstream.read_list(run_folder() / str(name)) if name else None


def functional_findings(cases: Sequence[functional.CaseResult]) -> list[Finding]:
    """A failed test stops; a skipped one is for a person to weigh."""
    fix = f"read its message; run it alone: pytest {functional.FILE.name} -k NAME"
    found = [Finding("stop", c.name, c.message, fix) for c in cases if c.outcome == "failed"]
    return found + [Finding("warning", c.name, f"skipped: {c.message}") for c in cases if c.outcome == "skipped"]


def performance_findings(measured: Benchmark) -> list[Finding]:
    """A missed limit stops; one that was not measured is no tick, and is said."""
    found = []
    for each in measured.verdicts:
        if each.answer == "missed":
            what = f"{each.measured:.2f} s, of {each.limit.seconds:g} s that were agreed: {each.why}"
            found.append(Finding("stop", each.limit.name, what, "tune the pipeline, or agree on another limit"))
        elif each.answer == "not measured":
            found.append(
                Finding("warning", each.limit.name, f"not measured: {each.why}", "measure on the real service")
            )
    if not measured.verdicts:
        found.append(
            Finding("warning", "limits", "the profile names none, so none was judged", "write its section sla")
        )
    if not measured.measurements:
        found.append(Finding("stop", "benchmark", "nothing was measured", "name a volume"))
    return found


def quality_findings(built: DbtResult) -> list[Finding]:
    """What failed stops; what was skipped behind it is one finding, lest it hides what failed."""
    fix = "look at the rows above; correct the model or the data, then run this phase again"
    skipped = [node for node in built.bad if node.status == "skipped"]
    found = [
        Finding("stop", node.name, f"{node.kind} {node.status}: {node.message or 'no message'}", fix)
        for node in built.bad if node not in skipped
    ]  # fmt: skip
    if skipped:
        what = f"{len(skipped)} models and tests were skipped, for what they rest on is not well"
        found.append(Finding("stop", f"{skipped[0].name} and others" if skipped[1:] else skipped[0].name, what, fix))
    if not built.of_kind("test"):
        found.append(Finding("stop", "dbt", "no test was run", "see that pipeline/dbt has its tests"))
    return found


def parity_findings(found: ParityReport) -> list[Finding]:
    """Every difference stops, but those that the source brought about after the export."""
    fix = "run the data migration again where the source has moved on; otherwise correct the mart"
    stops = [Finding("stop", d.aggregate, str(d), fix) for d in found.differences if not d.since]
    since = [
        Finding("warning", d.aggregate, str(d), "synchronise before the cutover") for d in found.differences if d.since
    ]
    if not stops and not found.equal:
        stops.append(
            Finding(
                "stop", "parity", "no legacy aggregate has a row to compare", "see that the source is the right one"
            )
        )
    return stops + since


def full_run_findings(done: PipelineRun) -> list[Finding]:
    """A stage that failed stops; by what it was run is a fact for the record."""
    found = [Finding("note", "full run", done.how)]
    for stage in done.stages:
        if stage.state != "done":
            found.append(
                Finding("stop", stage.name, stage.said or f"it was {stage.state}", "correct what it names; run again")
            )
    return found


def output_findings(found: Report) -> list[Finding]:
    """A table whose rules or figures are not kept stops."""
    fix = "look at the rules below: runbook verify --check data-quality shows the figures"
    wrong = [Finding("stop", str(t), t.method, fix) for t in found.tables if t.verdict != "equal"]
    return wrong or (
        [] if found.tables else [Finding("stop", "output", "no table was checked", "run the migration first")]
    )


def alert_findings(arrivals: Sequence[alerts.Arrival]) -> list[Finding]:
    """An alarm that was lost stops, and so does having nobody to tell."""
    if not arrivals:
        return [
            Finding("stop", "alerts", "the profile has neither [aws] nor a webhook: nobody would be told", "add one")
        ]
    fix = "check the topic, its subscriptions and its policy"
    found = [Finding("stop", each.way, each.said, fix) for each in arrivals if not each.arrived]
    by_hand = "its state was set by hand: that a metric would raise it is not tested"
    return found + [Finding("note", each.way, f"{each.said}; {by_hand}") for each in arrivals if each.arrived]


def downstream_findings(
    listed: bool, described: Mapping[str, Downstream | None], readings: Sequence[Reading]
) -> list[Finding]:
    """What cannot be read stops, and so does a system of which nobody knows what it reads."""
    found = []
    if not listed:
        what = (
            "phase 00 has left no list of the systems around the pipeline, so that nobody knows whether these are all"
        )
        found.append(Finding("warning", "downstream", what, "run phase 00 in this run, and describe what it lists"))
    fix = "describe it under [profiles.NAME.downstream.SYSTEM]"
    for name, how in described.items():
        if how is None:
            found.append(Finding("stop", name, "it is listed, and nothing says what it reads of the new target", fix))
    for each in readings:
        if not each.readable:
            found.append(Finding("stop", f"{each.system}: {each.what}", each.said, f"grant {each.user} what it reads"))
        elif not each.own:
            what = f"read as {each.user}, the migration's own user: what the system itself may read is not known"
            found.append(Finding("warning", f"{each.system}: {each.what}", what, "name its user"))
    return found


def _all_open(names: Sequence[str]) -> list[Finding]:
    return [Finding("note", name, "its gate is open") for name in names]
