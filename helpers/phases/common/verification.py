"""Verifications that a phase makes, and what it keeps of each once its verdict is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from helpers import verify
from helpers.best_effort import best_effort, reason
from helpers.errors import EvidenceError
from helpers.ledger.folders import report_path
from helpers.progress import progress
from helpers.settings import Settings
from helpers.verify import TargetName, page, verdict
from helpers.verify.about import About
from helpers.verify.report import Report


def compare(
    settings: Settings, target: TargetName, report: str, *, tables: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[Report, About]:
    """Compares the source with a target, cell by cell.

    Args:
        target: what is compared with the source.
        report: the name by which `keep_report` keeps it; the files of differing cells lie in a folder of that name.
        tables: globs of what is compared; empty for all.
        exclude: globs of what is left out of it.
    """
    cells = report_path(f"{report}.json").with_suffix("")
    with (
        progress(f"compare with {target}") as told,
        verify.planned(
            settings, target=target, tables=tuple(tables), exclude=tuple(exclude), cells_folder=cells, progress=told
        ) as plan,
    ):
        return verify.verify(plan, progress=told), About.from_plan(plan)


def keep_report(found: Report, name: str, about: About | None = None) -> Path | None:
    """Writes a report as JSON, and its page for people.

    Args:
        name: of the JSON; the page lies in the folder of that name, beside the differing cells.
        about: which servers; without it there is no page.

    Returns:
        The page; None where it could not be written, which is told and changes nothing.

    Raises:
        EvidenceError: the JSON, which is evidence, could not be written; the verdict stands in the error.
    """
    path = report_path(f"{name}.json")
    written: Path | None = None
    if about:
        with best_effort("the report page could not be written"):
            written = page.write(found, path.with_suffix("") / "report.html", about=about)
    try:
        path.write_text(json.dumps(found.as_dict(), ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as error:
        why = f"{reason(error)}; what it found is: {verdict.sentence(found)}"
        cure = "make room there, or allow it to be written, and run the phase again: its evidence would not be whole"
        raise EvidenceError("keep the report of a verification", on=str(path), why=why, next_step=cure) from None
    return written
