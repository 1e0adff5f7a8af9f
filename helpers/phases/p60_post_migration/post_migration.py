"""The checklist's verification after the migration, as the steps of `runbooks/60_post_migration.ipynb`.

Each technical box is acted on, shown, and then judged by a gate of its own, as in phase 40 and about the same pipeline; the
operational ones rest on a person's word, but for the recovery, which is done.
"""

from __future__ import annotations

import json

import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from helpers.archive import recovery
from helpers.ledger.folders import report_path, run_folder
from helpers.ledger.gate import Token, require
from helpers.ledger.steps import Step
from helpers.phases.common import charts, post_migration_plan
from helpers.phases.common.box_findings import FULL_RUN, last_run_findings, recovery_findings
from helpers.phases.common.boxes import Boxes
from helpers.phases.common.phase import table
from helpers.phases.p60_post_migration import planned_actual
from helpers.progress import progress
from helpers.runs.status import read_status

BOXES = ("s60-pipeline", "s60-quality", "s60-performance", "s60-monitoring", "s60-security", "s60-recovery")
WORDS = ("s60-training", "s60-documentation", "s60-runbooks", "s60-continuity")


class PostMigration(Boxes):
    """One walk through the phase; see `Boxes` for what it takes and raises."""

    def pipeline(self) -> pd.DataFrame:
        """How the pipeline ran last, and whether what it serves is true now; a row a table or aggregate."""

        def act(step: Step) -> pd.DataFrame:
            with progress("compare") as report:
                rows = self._answered("s60-pipeline", step, self.subject.holds(report))
            last = last_run_findings(self.run.view()[FULL_RUN].result, self.subject.name)
            self._found["s60-pipeline"] = [*last, *self._found["s60-pipeline"]]
            return rows

        return self._taken("s60-pipeline", self.subject.plan("s60-pipeline"), act)

    def quality(self) -> pd.DataFrame:
        """Rules and figures of the data as they are now; a row a table."""

        def act(step: Step) -> pd.DataFrame:
            with progress("data quality") as report:
                return self._answered("s60-quality", step, self.subject.data(report))

        return self._taken("s60-quality", self.subject.plan("s60-quality"), act)

    def performance(self) -> pd.DataFrame:
        """Measures again; a row a volume and pipeline."""
        return self._measured("s60-performance", post_migration_plan.of_performance(self._measuring))

    def monitoring(self) -> pd.DataFrame:
        """Sends a test alarm and waits for it; a row a way."""
        return self._alarmed("s60-monitoring")

    def security(self) -> pd.DataFrame:
        """Asks how the place where the data lie is protected; a row an answer."""

        def act(step: Step) -> pd.DataFrame:
            found = self._found["s60-security"] = self.subject.protection()
            step.result = {"answers": len(found), "stops": sum(each.severity == "stop" for each in found)}
            return table(found)

        return self._taken("s60-security", self.subject.plan("s60-security"), act)

    def recovery(self) -> pd.DataFrame:
        """Dumps, restores and compares; a row a table."""

        def act(step: Step) -> pd.DataFrame:
            path = report_path("verify-recovery.json")
            with progress("restore a backup") as report:
                found = recovery.recover(self.settings, cells_folder=path.with_suffix(""), progress=report)
            path.write_text(json.dumps(found.report.as_dict(), ensure_ascii=False, indent=1), encoding="utf-8")
            step.result = {
                "verdict": found.report.verdict, "lsn": found.report.lsn, "bytes": found.dump.bytes,
                "sha256": found.dump.sha256, "rows": found.report.rows,
            }  # fmt: skip
            self._found["s60-recovery"] = recovery_findings(found.report, recovery.words(found, self.settings))
            rows = [(str(t), t.verdict, t.rows_source, t.rows_target, t.differences) for t in found.report.tables]
            columns = ["table", "verdict", "source rows", "restored rows", "differences"]
            return pd.DataFrame(rows, columns=columns).set_index("table")

        return self._taken("s60-recovery", post_migration_plan.of_recovery(self.settings), act)

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
