"""The checklist's verification after the migration, as the steps of `runbooks/60_post_migration.ipynb`.

Each technical box is acted on, shown, and then judged by a gate of its own, as in phase 40; the operational ones rest on a
person's word, but for the recovery, which is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from helpers import alerts, benchmark, charts, recovery, target_security, verify
from helpers.benchmark import Benchmark, BenchmarkPlan
from helpers.errors import NotBuilt
from helpers.phases import planned_actual, post_migration_plan
from helpers.phases.phase import Finding, Phase, table
from helpers.phases.plan import StepPlan
from helpers.phases.testing_validation import alert_findings, output_findings, performance_findings
from helpers.progress import progress
from helpers.runs.folders import report_path, run_folder
from helpers.runs.gate import Token, require
from helpers.runs.notify import Webhook
from helpers.runs.status import read_status
from helpers.runs.steps import CHECK, Step
from helpers.verify import page
from helpers.verify.about import About
from helpers.verify.report import Report
from helpers.verify.rules import result as rule_results

BOXES = ("s60-pipeline", "s60-quality", "s60-performance", "s60-monitoring", "s60-security", "s60-recovery")
WORDS = ("s60-training", "s60-documentation", "s60-runbooks", "s60-continuity")
FULL_RUN = "s40-full-run"


class PostMigration(Phase):
    """One walk through the phase.

    Args:
        profile: of migration.toml.
        volumes: of the benchmark: small, medium, large.
        option: the migration path.
        apply: whether steps act; without it they return their plans.

    Raises:
        NotBuilt: option C, which keeps the legacy pipeline.
    """

    def __init__(self, profile: str, volumes: list[str], *, option: str = "A", apply: bool) -> None:
        super().__init__(profile, apply=apply)
        if option == "C":
            raise NotBuilt(
                "verify the pipeline of option C", on="runbook 60_post_migration",
                why="its boxes verify the modern pipeline, and option C has none; checks of the legacy one are not built",
                next_step="run the phase for option A or B",
            )  # fmt: skip
        self._measuring: BenchmarkPlan = benchmark.plan_benchmark(self.settings, ("legacy", "modern"), volumes)
        self._found: dict[str, list[Finding]] = {}
        self._benchmark = Benchmark(())
        self._quality: Report | None = None

    def pipeline(self) -> pd.DataFrame:
        """How the pipeline ran last, and whether the target still holds what the source does; a row a table."""
        columns = ["table", "verdict", "source rows", "target rows", "differences"]

        def act(step: Step) -> pd.DataFrame:
            path = report_path("verify-snowflake.json")
            with progress("compare with snowflake") as report:
                planned = verify.planned(
                    self.settings, target="snowflake", cells_folder=path.with_suffix(""), progress=report
                )
                with planned as plan:
                    found, about = verify.verify(plan, progress=report), About.of(plan)
            page.write(found, path.with_suffix("") / "report.html", about=about)
            self._written(path, found.as_dict())
            step.result = {"verdict": found.verdict, "lsn": found.lsn, "rows": found.rows, "cells": found.cells}
            self._found["s60-pipeline"] = pipeline_findings(self._last(FULL_RUN), found)
            rows = [(str(t), t.verdict, t.rows_source, t.rows_target, t.differences) for t in found.tables]
            return pd.DataFrame(rows, columns=columns).set_index("table")

        return self._taken("s60-pipeline", post_migration_plan.of_pipeline(self.settings), act)

    def quality(self) -> pd.DataFrame:
        """Rules and figures of the data, legacy and modern; a row a table."""

        def act(step: Step) -> pd.DataFrame:
            with progress("data quality") as report:
                planned = verify.planned(self.settings, target="snowflake", check="data-quality", progress=report)
                with planned as plan:
                    self._quality = found = verify.verify(plan, progress=report)
            step.result = {"verdict": found.verdict, "evidence": self.report("data-quality", found.as_dict())}
            self._found["s60-quality"] = output_findings(found)
            rows = [(str(t), t.verdict, t.method) for t in found.tables]
            return pd.DataFrame(rows, columns=["table", "verdict", "found"]).set_index("table")

        return self._taken("s60-quality", post_migration_plan.of_quality(self.settings), act)

    def rules(self) -> pd.DataFrame:
        """Of the quality: the rules that are not kept, with the legacy system's count beside; empty when all are."""
        results = self._quality.business.rules if self._quality and self._quality.business else ()
        return rule_results.frame(each for each in results if each.verdict != "pass").set_index("table")

    def performance(self) -> pd.DataFrame:
        """Measures both pipelines again; a row a volume and pipeline."""

        def act(step: Step) -> pd.DataFrame:
            limits = benchmark.limits_of(self.settings)
            with progress("benchmark") as report:
                self._benchmark = benchmark.benchmark(self._measuring, limits, progress=report)
            evidence = self.report("benchmark", self._benchmark.as_dict())
            step.result = {"measurements": len(self._benchmark.measurements), "evidence": evidence}
            self._found["s60-performance"] = performance_findings(self._benchmark)
            return self._benchmark.totals()

        return self._taken("s60-performance", post_migration_plan.of_performance(self._measuring), act)

    def limits(self) -> pd.DataFrame:
        """Of the benchmark: a row a limit that was agreed, and whether it was kept."""
        return self._benchmark.judged()

    def monitoring(self) -> pd.DataFrame:
        """Sends a test alarm and waits for it; a row a way."""

        def act(step: Step) -> pd.DataFrame:
            arrivals = []
            if self.settings.values.aws:
                arrivals.append(alerts.send_test_alarm(self.settings.aws, self.settings.alerts))
            if secret := self.settings.notify.webhook:
                why = Webhook(secret.get_secret_value()).send("test alarm of runbook 60: nothing is wrong")
                said = why or "the receiver took it; that a person saw it, only they can say"
                arrivals.append(alerts.Arrival("the webhook of [notify]", why is None, 0.0, said))
            step.result = {"ways": len(arrivals), "arrived": sum(each.arrived for each in arrivals)}
            self._found["s60-monitoring"] = alert_findings(arrivals)
            rows = [(a.way, "arrived" if a.arrived else "lost", round(a.seconds, 1), a.said) for a in arrivals]
            return pd.DataFrame(rows, columns=["way", "alarm", "seconds", "said"]).set_index("way")

        return self._taken("s60-monitoring", post_migration_plan.of_monitoring(self.settings), act)

    def security(self) -> pd.DataFrame:
        """Asks target and stage how they are protected; a row an answer."""

        def act(step: Step) -> pd.DataFrame:
            found = self._found["s60-security"] = list(target_security.findings(self.settings))
            step.result = {"answers": len(found), "stops": sum(each.severity == "stop" for each in found)}
            return table(found)

        return self._taken("s60-security", post_migration_plan.of_security(self.settings), act)

    def recovery(self) -> pd.DataFrame:
        """Dumps, restores and compares; a row a table."""

        def act(step: Step) -> pd.DataFrame:
            path = report_path("verify-recovery.json")
            with progress("restore a backup") as report:
                found = recovery.recover(self.settings, cells_folder=path.with_suffix(""), progress=report)
            self._written(path, found.report.as_dict())
            step.result = {
                "verdict": found.report.verdict, "lsn": found.report.lsn, "bytes": found.dump.bytes,
                "sha256": found.dump.sha256, "rows": found.report.rows,
            }  # fmt: skip
            self._found["s60-recovery"] = recovery_findings(found.report, recovery.words(found, self.settings))
            rows = [(str(t), t.verdict, t.rows_source, t.rows_target, t.differences) for t in found.report.tables]
            columns = ["table", "verdict", "source rows", "restored rows", "differences"]
            return pd.DataFrame(rows, columns=columns).set_index("table")

        return self._taken("s60-recovery", post_migration_plan.of_recovery(self.settings), act)

    def findings(self, box: str) -> pd.DataFrame:
        """What is to be said of a box, the gravest first."""
        return table(self._found.get(box, []))

    def gate(self, box: str) -> Token:
        """The gate behind a box: closed by a finding that stops.

        Raises:
            GateClosed: with the findings.
        """
        return self.check(f"{box}-gate", lambda: self._judged(box), acted=True)

    def operational(self, *tokens: Token) -> pd.DataFrame:
        """Whose word there is on training, documentation, runbooks and continuity; a row a box.

        Raises:
            AwaitingPerson: somebody's is missing.
            UsageError: a gate before it is closed.
        """
        for token, box in zip(tokens, BOXES, strict=True):
            require(token, f"{box}-gate", apply=self.apply)
        return self.words(*WORDS)

    def planned_actual(self) -> pd.DataFrame:
        """Planned and actual minutes of every box of the run; a row a box. Outside a run there are only plans."""
        return planned_actual.frame(read_status(run_folder(), record_killed=False))

    def chart(self) -> go.Figure:
        """The same as a picture, phase by phase."""
        planned, actual = planned_actual.by_phase(read_status(run_folder(), record_killed=False))
        return charts.planned_and_actual(list(planned), list(planned.values()), list(actual.values()))

    def final_report(self) -> Markdown:
        """Writes the final report into the run as a page, and links to it."""
        status, path = read_status(run_folder(), record_killed=False), report_path("final-report.html")
        found = {box: [(f.severity, f.on, f.what) for f in self._found.get(box, [])] for box in BOXES}
        path.write_text(planned_actual.page(run_folder().name, status, found, applied=self.apply), encoding="utf-8")
        return Markdown(f"[The final report of this run]({path.name})")  # type: ignore[no-untyped-call]

    def summary(self) -> str:
        """One sentence: what was verified."""
        if not self.apply:
            return f"REHEARSED: {len(BOXES)} checks and {len(WORDS)} people's words were planned; nothing was asked or sent"
        warnings = sum(each.severity == "warning" for found in self._found.values() for each in found)
        return (
            f"VERIFIED: {len(self._found)} checks, {warnings} findings for a person to weigh, {len(WORDS)} words given"
        )

    def _taken(self, name: str, plan: StepPlan, act: Callable[[Step], pd.DataFrame]) -> pd.DataFrame:
        with self.step(name, {"profile": self.settings.profile}, CHECK) as step:
            if not self.apply:
                return self.shown(step, plan)
            with self.timed(name):
                return act(step)

    def _judged(self, box: str) -> Sequence[Finding]:
        if box not in self._found:
            return [Finding("stop", box, "it was not done in this session", "run the cells above first")]
        return self._found[box]

    def _last(self, name: str) -> Mapping[str, Any] | None:
        """What a step of an earlier phase recorded when it was done last; None where it never was."""
        entry = self.earlier(name)
        if entry is None or self.run.ledger is None:
            return None
        if entry.event == "step-skipped":
            entry = self.run.ledger.entries()[entry.get("of") - 1]
        return dict(entry.get("result") or {}) if entry.event == "step-done" else None

    @staticmethod
    def _written(path: Path, value: Mapping[str, Any]) -> None:
        path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def pipeline_findings(last: Mapping[str, Any] | None, found: Report) -> list[Finding]:
    """A last run that did not reach its end stops, and so does a target that is not what the source is."""
    again = "run phase 40 in this run, with --apply"
    if last is None:
        findings = [Finding("stop", FULL_RUN, "this run has no full run of the pipeline that was done", again)]
    else:
        stages = [dict(stage) for stage in last.get("stages", ())]
        findings = [
            Finding("stop", str(stage.get("name")), f"it was {stage.get('state')}: {stage.get('said')}", again)
            for stage in stages
            if stage.get("state") != "done"
        ]
        if not stages:
            findings.append(Finding("stop", FULL_RUN, "it does not say how its stages ended", again))
        findings.append(Finding("note", FULL_RUN, f"{len(stages)} stages, {last.get('how', '')}"))
    fix = "read the report of differing cells; synchronise or migrate again what differs"
    findings += [
        Finding("stop", str(t), f"{t.verdict}: {t.differences or t.method}", fix)
        for t in found.tables
        if t.verdict != "equal"
    ]
    if not found.tables:
        findings.append(Finding("stop", "target", "no table was compared", "run the data migration first"))
    return findings


def recovery_findings(found: Report, words: str) -> list[Finding]:
    """A restored table that is not the source's stops."""
    fix = "do not rely on this backup: read the differing cells, and make another dump"
    stops = [
        Finding("stop", str(t), f"restored, it is {t.verdict}: {t.differences or t.method}", fix)
        for t in found.tables
        if t.verdict != "equal"
    ]
    if not found.tables:
        stops.append(
            Finding("stop", "source", "it has no table that could be lost", "see that the source is the right one")
        )
    return [*stops, Finding("note", "backup", words)]
