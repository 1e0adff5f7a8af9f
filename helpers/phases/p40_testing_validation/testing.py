"""Phase 4 of the checklist, as the steps of `runbooks/40_testing_validation.ipynb`.

Each box is run, shown, and then judged by a gate of its own: what failed is in the notebook as a table before the gate
stops it. What is tested is the pipeline that the option ends with (`helpers.phases.common.subject`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from helpers.finding import note
from helpers.frames import frame
from helpers.ledger.folders import run_folder
from helpers.ledger.gate import Token, require
from helpers.ledger.steps import Found
from helpers.phases.common import charts
from helpers.phases.common.box_findings import downstream_findings, full_run_findings, functional_findings
from helpers.phases.common.boxes import Boxes
from helpers.phases.common.plan import compute_cost, plan_step
from helpers.phases.common.subject import Answer, Box, show_failing
from helpers.pipelines import downstream, functional
from helpers.pipelines.downstream import Listed
from helpers.pipelines.figures import FiguresReport
from helpers.pipelines.full_run import PipelineRun, Stage
from helpers.progress import Progress, progress

END_TO_END = ("s40-full-run", "s40-output", "s40-alerts", "s40-downstream")
BOXES = ("s40-functional", "s40-performance", "s40-quality", "s40-parity", *END_TO_END)


class TestingValidation(Boxes):
    """One walk through the phase; see `Boxes` for what it takes and raises."""

    __test__ = False
    """Its name is the phase's; it is no test of pytest's."""

    def functional(self) -> pd.DataFrame:
        """Runs the functional tests; a row a test."""
        tests = self.settings.tests

        def act(told: Progress) -> Answer:
            done = functional.run(self.settings, self.option)
            rows = [(case.name, case.outcome, round(case.seconds, 1), case.message) for case in done.cases]
            report = {"command": list(tests.command), **vars(done), "cases": [vars(case) for case in done.cases]}
            failed = sum(case.outcome == "failed" for case in done.cases)
            return Answer(
                frame(rows, "test", "outcome", "seconds", "message"), functional_findings(done),
                {"tests": len(done.cases), "failed": failed, "exit_code": done.exit_code}, ("functional", report),
            )  # fmt: skip

        rows = [
            (functional.shown(tests.command), str(tests.report or functional.REPORT), f"{tests.timeout_seconds:g} s")
        ]
        what = f"run the functional tests of profile {self.settings.profile}; they reach its source and its targets"
        cost, totals = compute_cost(self.settings), {"commands": 1}
        plan = plan_step("s40-functional", what, rows, "command", "report", "at most", cost=cost, totals=totals)
        return self.take("s40-functional", Box(plan, act))

    def performance(self) -> pd.DataFrame:
        """Measures the pipelines; a row a volume and pipeline."""
        return self.measure("s40-performance", compute_cost(self.settings))

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
            [f"{row['volume']} ({row['rows']:,} rows)" for _, row in totals.iterrows()],
            [float(seconds) for seconds in totals["seconds"]],
        )

    def quality(self) -> pd.DataFrame:
        """Runs the pipeline's own tests of its data; a row a model or test, or a table or query."""
        return self.take("s40-quality")

    def failing_rows(self) -> pd.DataFrame:
        """The first rows that each failed test found; empty when none did."""
        return self._failing("s40-quality", show_failing(()))

    def parity(self) -> pd.DataFrame:
        """Compares every figure of the source with what it should be; a row a figure."""
        return self.take("s40-parity")

    def differences(self) -> pd.DataFrame:
        """Of the parity: the first numbers that differ; empty when none do."""
        return self._failing("s40-parity", FiguresReport("", "", "", ()).differing())

    def full_run(self) -> pd.DataFrame:
        """Runs the whole pipeline once, by Airflow where it is up; a row a stage."""
        if "s40-full-run" in self.absent:
            return self.passed_over("s40-full-run")
        with self.step("s40-full-run", self.subject.inputs(), probe=self._is_run) as step:
            if not self.apply:
                return self.shown(step, self.subject.plan_full_run())
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
            self.found["s40-full-run"] = full_run_findings(done)
        return done.frame()

    def output(self) -> pd.DataFrame:
        """Checks the rules and the business figures of what the run wrote; a row a table."""
        return self.take("s40-output")

    def alerts(self) -> pd.DataFrame:
        """Sends a test alarm and waits for it; a row a way."""
        return self.raise_alarm("s40-alerts")

    def downstream(self) -> pd.DataFrame:
        """Reads as each downstream system; a row an object."""
        listed = self._listed()
        described = self.subject.readers(listed or ())

        def act(told: Progress) -> Answer:
            readings = self.subject.read(described)
            rows = [(r.system, r.what, r.user, "readable" if r.readable else "unreadable", r.said) for r in readings]
            return Answer(
                frame(rows, "system", "reads", "as", "answer", "said"),
                downstream_findings(listed is not None, described, readings),
                {"systems": len(described), "unreadable": sum(not each.readable for each in readings)},
                ("downstream", [vars(each) for each in readings]),
            )  # fmt: skip

        rows = [
            (name, ", ".join(how.reads) if how else "nothing says what it reads") for name, how in described.items()
        ]
        what, totals = "read what each system that is listed reads; nothing is changed", {"systems": len(rows)}
        plan = plan_step("s40-downstream", what, rows, "system", "reads", totals=totals)
        return self.take("s40-downstream", Box(plan, act), {"systems": list(described)})

    def end_to_end(self, *tokens: Token) -> Token:
        """The box above the four of the end-to-end test: open when each of theirs is."""
        return self._all_open("s40-end-to-end", tokens, [f"{box}-gate" for box in END_TO_END])

    def milestone(self, *tokens: Token) -> Token:
        """The phase's row of the timeline: comprehensive testing completed."""
        wanted = [*(f"{box}-gate" for box in BOXES if box not in END_TO_END), "s40-end-to-end"]
        return self._all_open("s40-milestone", tokens, wanted)

    def summary(self) -> str:
        """One sentence: what was tested."""
        if not self.apply:
            return f"REHEARSED: {len(BOXES)} boxes were planned, and nothing was run, built or sent"
        found = [each.severity for box in BOXES for each in self.found.get(box, ())]
        done = sum(box in self.found and box not in self.absent for box in BOXES)
        stops, notes = found.count("stop"), found.count("warning")
        return f"TESTED: {done} boxes, {stops} findings that stop, {notes} for a person to weigh"

    def _all_open(self, name: str, tokens: Sequence[Token], wanted: Sequence[str]) -> Token:
        for token, each in zip(tokens, wanted, strict=True):
            require(token, each, apply=self.apply)
        return self.check(name, lambda: [note(each, "its gate is open") for each in wanted], acted=True)

    def _failing(self, box: str, none: pd.DataFrame) -> pd.DataFrame:
        answer = self._answers.get(box)
        return none if answer is None or answer.failing is None else answer.failing

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
