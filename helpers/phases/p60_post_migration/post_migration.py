"""The checklist's verification after the migration, as the steps of `runbooks/60_post_migration.ipynb`.

Each technical box is run, shown, and then judged by a gate of its own, as in phase 40 and for the same pipeline. The
operational boxes rest on a person's word, except the recovery, which is carried out.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from helpers.archive import recovery
from helpers.finding import note
from helpers.ledger.folders import report_path, run_folder
from helpers.ledger.gate import Token, require
from helpers.phases.common import charts
from helpers.phases.common.box_findings import FULL_RUN, last_run_findings
from helpers.phases.common.boxes import Boxes
from helpers.phases.common.plan import plan_step
from helpers.phases.common.subject import Answer, Box
from helpers.phases.common.verification import keep_report
from helpers.phases.p60_post_migration import planned_actual
from helpers.progress import Progress
from helpers.runs.status import read_status

BOXES = ("s60-pipeline", "s60-quality", "s60-performance", "s60-monitoring", "s60-security", "s60-recovery")
WORDS = ("s60-training", "s60-documentation", "s60-runbooks", "s60-continuity")


class PostMigration(Boxes):
    """One walk through the phase; see `Boxes` for what it takes and raises."""

    def pipeline(self) -> pd.DataFrame:
        """How the pipeline ran last, and whether what it serves is true now; a row a table or aggregate."""
        box = self.subject.box("s60-pipeline")

        def act(told: Progress) -> Answer:
            answer = box.act(told)
            if FULL_RUN in self.absent:
                last = [note(FULL_RUN, f"was not this run's: {self.absent[FULL_RUN]}")]
            else:
                last = last_run_findings(self.run.view()[FULL_RUN].result, self.subject.name)
            return replace(answer, findings=[*last, *answer.findings])

        return self.take("s60-pipeline", replace(box, act=act))

    def quality(self) -> pd.DataFrame:
        """Rules and figures of the data as they are now; a row a table."""
        return self.take("s60-quality")

    def performance(self) -> pd.DataFrame:
        """Measures again; a row a volume and pipeline."""
        return self.measure("s60-performance", "not estimated")

    def monitoring(self) -> pd.DataFrame:
        """Sends a test alarm and waits for it; a row a way."""
        return self.raise_alarm("s60-monitoring")

    def security(self) -> pd.DataFrame:
        """Asks how the place where the data lie is protected; a row an answer."""
        return self.take("s60-security")

    def recovery(self) -> pd.DataFrame:
        """Dumps, restores and compares; a row a table."""

        def act(told: Progress) -> Answer:
            cells = report_path("verify-recovery.json").with_suffix("")
            found = recovery.recover(self.settings, cells_folder=cells, progress=told)
            keep_report(found.report, "verify-recovery")
            result = {
                "verdict": found.report.verdict, "lsn": found.report.lsn, "bytes": found.dump.bytes,
                "sha256": found.dump.sha256, "rows": found.report.rows,
            }  # fmt: skip
            said = [*recovery.findings(found.report), note("the backup", recovery.sentence(found, self.settings))]
            return Answer(recovery.frame_tables(found.report), said, result)

        rows = [
            ("dump", "pg_dump of the whole source into a temporary file, removed again"),
            ("restore", "pg_restore on the server of backup.restore, else on one started here for it"),
            ("compare", "every table, cell by cell, in the snapshot of the dump"),
        ]
        source = self.settings.source.dbname
        what = f"restore a backup of {source} and compare it; it needs the size of the database up to twice on this machine for its time"
        return self.take("s60-recovery", Box(plan_step("s60-recovery", what, rows, "step", "what"), act))

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
        return planned_actual.by_box(read_status(run_folder(), record_killed=False))

    def chart(self) -> go.Figure:
        """The same as a picture, phase by phase."""
        planned, actual = planned_actual.by_phase(read_status(run_folder(), record_killed=False))
        return charts.planned_and_actual(list(planned), list(planned.values()), list(actual.values()))

    def final_report(self) -> Markdown:
        """Writes the final report into the run as a page, and links to it."""
        status, path = read_status(run_folder(), record_killed=False), report_path("final-report.html")
        found = {box: [(f.severity, f.on, f.what) for f in self.found.get(box, [])] for box in BOXES}
        path.write_text(planned_actual.page(run_folder().name, status, found, applied=self.apply), encoding="utf-8")
        return Markdown(f"[The final report of this run]({path.name})")  # type: ignore[no-untyped-call]

    def summary(self) -> str:
        """One sentence: what was verified."""
        if not self.apply:
            return f"REHEARSED: {len(BOXES)} checks and {len(WORDS)} people's words were planned; nothing was asked or sent"
        done = [self.found[box] for box in BOXES if box in self.found and box not in self.absent]
        warnings = sum(each.severity == "warning" for found in done for each in found)
        absent = f" ({len(BOXES) - len(done)} not made here)" if len(done) < len(BOXES) else ""
        return (
            f"VERIFIED: {len(done)} checks{absent}, {warnings} findings for a person to weigh, {len(WORDS)} words given"
        )
