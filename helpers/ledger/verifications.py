"""Keeps the reports of `runbook verify --run` beside the notebooks, and records them in the run's ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.checker.objections import EVENT
from helpers.errors import UsageError
from helpers.ledger.folders import create_exclusively, make_private
from helpers.ledger.ledger import NAME, Entry, Ledger, file_digest

if TYPE_CHECKING:
    from helpers.verify.plan import VerifyPlan
    from helpers.verify.report import Report


def last_failed(folder: Path, sides: Collection[str]) -> tuple[list[str], Path] | None:
    """The tables that the last verification of a run against a target did not find equal, and its report.

    Args:
        folder: the run's; reports of its phases count too.
        sides: names of the target, as a report has one.

    Returns:
        None where the run has verified nothing against it.
    """
    reports = [*folder.glob("verify*.json"), *folder.glob("*/verify-*.json")]
    for path in sorted(reports, key=lambda each: each.stat().st_mtime_ns, reverse=True):
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("target") in sides:
            failed = [f"{t['schema']}.{t['name']}" for t in found["tables"] if t["verdict"] != "equal"]
            return failed, path
    return None


def record(folder: Path, report: Report, plan: VerifyPlan, asked: Mapping[str, Any]) -> Path:
    """Keeps a verification's report beside its files, and tells the run's ledger of it where the run has one.

    Args:
        folder: the run's.
        report: what was found.
        plan: of it, with its files within `folder`.
        asked: what the operator narrowed it to; empty for every cell of every row and table.

    Returns:
        The report's file.

    Raises:
        UsageError: the run was sealed meanwhile, or another verification took the report's name.
        EvidenceError: the ledger is broken.
        OSError: the report cannot be written.
    """
    from helpers.verify.about import About  # imports every target's client, and most who ask for objections record none

    path, about = plan.cells_folder.with_name(f"{plan.cells_folder.name}.json"), About.from_plan(plan)
    text = json.dumps(report.as_dict(), indent=1, default=str)
    make_private(path.parent)
    if not create_exclusively(path, text):
        raise UsageError(
            "keep the verification's report", on=str(path), why="another verification of the run took this name in the meantime",
            next_step="verify again",
        )  # fmt: skip
    fields = {
        "target": plan.target,
        "on": {"source": about.source, "target": about.target},
        "asked": dict(asked),
        "verdict": report.verdict,
        "lsn": report.lsn,
        "left_out": dict(report.left_out),
        "tables": [str(table) for table in report.tables],
        "differing": [str(table) for table in report.tables if table.verdict != "equal"],
        "report": path.relative_to(folder).as_posix(),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "files": [
            {"path": each.relative_to(folder).as_posix(), "sha256": file_digest(each)}
            for each in sorted(plan.cells_folder.rglob("*"))
            if each.is_file()
        ],
    }

    def unless_sealed(entries: list[Entry]) -> tuple[str, dict[str, Any]] | None:
        return None if entries and entries[-1].event == "sealed" else (EVENT, fields)

    if (folder / NAME).exists() and Ledger.open(folder).append_after(unless_sealed) is None:
        raise UsageError(
            "add the verification to the run", on=folder.name, why="it was sealed in the meantime",
            next_step="remove its files, which are not part of the evidence, and verify under another run name",
        )  # fmt: skip
    return path
