"""Phase 4 of the checklist, as the steps of `runbooks/40_testing_validation.ipynb`.

Each box is acted on, shown, and then judged by a gate of its own: a table of what failed stands in the notebook before the
gate in front of the next box closes. What is tested is the pipeline that the option has (`helpers.phases.common.subject`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from helpers.ledger.folders import run_folder
from helpers.ledger.gate import Token, require
from helpers.ledger.steps import Found, Step
from helpers.phases.common import charts, testing_plan
from helpers.phases.common.box_findings import (
    downstream_findings,
    full_run_findings,
    functional_findings,
    parity_findings,
)
from helpers.phases.common.boxes import Boxes
from helpers.phases.common.phase import Finding
from helpers.pipelines import downstream, functional
from helpers.pipelines.downstream import Listed
from helpers.pipelines.full_run import PipelineRun, Stage
from helpers.pipelines.parity import ParityReport
from helpers.progress import progress

END_TO_END = ("s40-full-run", "s40-output", "s40-alerts", "s40-downstream")
BOXES = ("s40-functional", "s40-performance", "s40-quality", "s40-parity", *END_TO_END)


class TestingValidation(Boxes):
    """One walk through the phase; see `Boxes` for what it takes and raises."""

    __test__ = False
    """Its name is the phase's; it is no test of pytest's."""

    def __init__(self, profile: str, volumes: list[str], *, option: str = "A", apply: bool | None) -> None:
        super().__init__(profile, volumes, option=option, apply=apply)
        self._failing: Sequence[tuple[str, Mapping[str, Any]]] = ()
        self._parity: ParityReport | None = None

    def functional(self) -> pd.DataFrame:
        """Runs the functional tests; a row a test."""
        file = self.subject.tests

        def act(step: Step) -> pd.DataFrame:
            cases = functional.run(self.settings, file)
            step.result = {
                "tests": len(cases), "failed": sum(case.outcome == "failed" for case in cases),
                "evidence": self.report("functional", [vars(case) for case in cases]),
            }  # fmt: skip
            self._found["s40-functional"] = functional_findings(cases, file.name)
            rows = [(case.name, case.outcome, round(case.seconds, 1), case.message) for case in cases]
            return pd.DataFrame(rows, columns=["test", "outcome", "seconds", "message"]).set_index("test")

        return self._taken("s40-functional", testing_plan.of_functional(self.settings, functional.names(file)), act)

    def performance(self) -> pd.DataFrame:
        """Measures the pipelines; a row a volume and pipeline."""
        return self._measured("s40-performance", testing_plan.of_performance(self._measuring))

    def stages(self) -> pd.DataFrame:
        """Of the benchmark: a row a stage of a pipeline."""
        return self._benchmark.frame("pipeline")

    def marts(self) -> pd.DataFrame:
        """Of the benchmark: a row a mart that was built."""
        return self._benchmark.frame("mart")

    def queries(self) -> pd.DataFrame:
        """Of the benchmark: a row a query."""
        return self._benchmark.frame("query")

    def chart(self) -> go.Figure:
        """The benchmark's totals as a picture."""
        totals = self._benchmark.totals().reset_index()
        return charts.seconds_by_volume(
            [f"{row['pipeline']}: {row['engine']}" for _, row in totals.iterrows()],
            [f"{row['volume']} ({row['order lines']:,} lines)" for _, row in totals.iterrows()],
            [float(seconds) for seconds in totals["seconds"]],
        )

    def quality(self) -> pd.DataFrame:
        """Runs the pipeline's own tests of its data; a row a model or test, or a table or query."""

        def act(step: Step) -> pd.DataFrame:
            with progress("data quality") as report:
                answer = self.subject.quality(report)
            self._failing = answer.failing
            return self._answered("s40-quality", step, answer)

        return self._taken("s40-quality", self.subject.plan("s40-quality"), act)

    def failing_rows(self) -> pd.DataFrame:
        """The first rows that each failed test found; empty when none did."""
        rows = [(name, ", ".join(f"{k}={v}" for k, v in row.items())) for name, row in self._failing]
        return pd.DataFrame(rows, columns=["test", "row"]).set_index("test")

    def parity(self) -> pd.DataFrame:
        """Compares every legacy aggregate with what it should be; a row an aggregate."""

        def act(step: Step) -> pd.DataFrame:
            with progress("parity") as report:
                self._parity = found = self.subject.parity(report)
            step.result = {
                "verdict": "equal" if found.equal else "different", "differences": len(found.differences),
                "figures": sum(each.figures for each in found.aggregates), "lsn": found.lsn, "engine": found.engine,
                "evidence": self.report("parity", found.as_dict()),
            }  # fmt: skip
            self._found["s40-parity"] = parity_findings(found)
            return found.frame()

        return self._taken("s40-parity", self.subject.plan("s40-parity"), act)

    def differences(self) -> pd.DataFrame:
        """Of the parity: the first figures that differ; empty when none do."""
        return (self._parity or ParityReport("", "", "", ())).differing()

    def full_run(self) -> pd.DataFrame:
        """Runs the whole pipeline once, by Airflow where it is up; a row a stage."""
        with self.step("s40-full-run", self.subject.inputs(), probe=self._is_run) as step:
            if not self.apply:
                return self.shown(step, self.subject.plan("s40-full-run"))
            if step.skipped:
                stages = tuple(Stage(**each) for each in step.result["stages"])
                done = PipelineRun(str(step.result["how"]), stages)
            else:
                with self.timed("s40-full-run"), progress("full run") as report:
                    done, known_by = self.subject.full_run(step.load_id, report)
                step.result = {
                    "pipeline": self.subject.name, "how": done.how, "run": done.run_id, **known_by,
                    "stages": [vars(stage) for stage in done.stages],
                }  # fmt: skip
            self._found["s40-full-run"] = full_run_findings(done)
        return done.frame()

    def output(self) -> pd.DataFrame:
        """Checks the rules and the business figures of what the run wrote; a row a table."""

        def act(step: Step) -> pd.DataFrame:
            with progress("data quality") as report:
                return self._answered("s40-output", step, self.subject.output(report))

        return self._taken("s40-output", self.subject.plan("s40-output"), act)

    def alerts(self) -> pd.DataFrame:
        """Sends a test alarm and waits for it; a row a way."""
        return self._alarmed("s40-alerts")

    def downstream(self) -> pd.DataFrame:
        """Reads as each downstream system; a row an object."""
        listed = self._listed()
        described = self.subject.readers(listed or ())

        def act(step: Step) -> pd.DataFrame:
            readings = self.subject.read(described)
            step.result = {
                "systems": len(described), "unreadable": sum(not each.readable for each in readings),
                "evidence": self.report("downstream", [vars(each) for each in readings]),
            }  # fmt: skip
            self._found["s40-downstream"] = downstream_findings(listed is not None, described, readings)
            rows = [(r.system, r.what, r.user, "readable" if r.readable else "unreadable", r.said) for r in readings]
            return pd.DataFrame(rows, columns=["system", "reads", "as", "answer", "said"]).set_index("system")

        inputs = {**self.subject.inputs(), "systems": list(described)}
        return self._taken("s40-downstream", testing_plan.of_downstream(described), act, inputs)

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

    def _is_run(self, load_id: str, result: Mapping[str, Any]) -> Found:
        """Whether what that run made still stands."""
        if not result:
            # A run whose word was lost is done again: a second one replaces what the first one made.
            return Found("not done", "nothing says how its stages ended")
        if any(stage["state"] != "done" for stage in result["stages"]):
            return Found("not done", "one of its stages was not done")
        return self.subject.stands(load_id, result)

    def _listed(self) -> tuple[Listed, ...] | None:
        """Phase 00's list of the systems around the source; None where there is none."""
        name = (self.run.view()["s00-integrations"].result or {}).get("integrations")
        return downstream.read_list(run_folder() / str(name)) if name else None


def _all_open(names: Sequence[str]) -> list[Finding]:
    return [Finding("note", name, "its gate is open") for name in names]
