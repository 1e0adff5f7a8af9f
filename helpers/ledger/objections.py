"""What `runbook verify --run` found beside the notebooks, and what of it still stands against a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from helpers.errors import UsageError
from helpers.ledger.folders import create_exclusively
from helpers.ledger.ledger import NAME, Entry, Ledger

if TYPE_CHECKING:
    from helpers.verify.plan import VerifyPlan
    from helpers.verify.report import Report

EVENT = "verified"


class Line(Protocol):
    """A line of a ledger, as either of its readers has it."""

    @property
    def event(self) -> str:
        """What happened."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """The event's own."""


@dataclass(frozen=True)
class Objection:
    """A verification that did not read equal, and that no later one outweighs.

    Attributes:
        target: as `--target` names it.
        report: its file within the run's folder.
        verdict: "different" or "refused".
        tables: those that did not read equal.
    """

    target: str
    report: str
    verdict: str
    tables: tuple[str, ...]

    def __str__(self) -> str:
        on = ", ".join(self.tables[:3]) + (f" and {len(self.tables) - 3} more" if len(self.tables) > 3 else "")
        return f"{self.report}: {self.target} was found {self.verdict}{f' in {on}' if on else ''}, and not equal since"

    def command(self, run: str) -> str:
        """What asks again for everything."""
        return f"runbook verify --target {self.target} --run {run}" + (
            " --target-dsn-env VARIABLE" if self.target == "postgresql" else ""
        )


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

    path, about = plan.cells_folder.with_name(f"{plan.cells_folder.name}.json"), About.of(plan)
    text = json.dumps(report.as_dict(), indent=1, default=str)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not create_exclusively(path, text):
        raise UsageError(
            "keep the verification's report", on=str(path), why="another verification of the run took the name meanwhile",
            next_step="verify again",
        )  # fmt: skip
    fields = {
        "target": plan.target,
        "on": {"source": about.source, "target": about.target},
        "asked": dict(asked),
        "verdict": report.verdict,
        "lsn": report.lsn,
        "tables": [str(table) for table in report.tables],
        "differing": [str(table) for table in report.tables if table.verdict != "equal"],
        "report": path.relative_to(folder).as_posix(),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }

    def unless_sealed(entries: list[Entry]) -> tuple[str, dict[str, Any]] | None:
        return None if entries and entries[-1].event == "sealed" else (EVENT, fields)

    if (folder / NAME).exists() and Ledger.open(folder).append_after(unless_sealed) is None:
        raise UsageError(
            "add the verification to the run", on=folder.name, why="it was sealed meanwhile",
            next_step="remove its files, which are no part of the evidence, and verify under another run name",
        )  # fmt: skip
    return path


def find_objections(lines: Iterable[Line]) -> tuple[Objection, ...]:
    """The verifications that stand against a run: each that did not read equal, unless a later one of the same servers did.

    That later one must have asked the same, or for every cell; and it must have seen the tables that differed.

    Args:
        lines: of its ledger, in their order; what they say is not trusted to be whole.
    """
    standing: list[Mapping[str, Any]] = []
    for found in (line.fields for line in lines if line.event == EVENT):
        if found.get("verdict") == "equal":
            standing = [earlier for earlier in standing if not _outweighs(found, earlier)]
        else:
            standing.append(found)
    return tuple(
        Objection(str(f.get("target")), str(f.get("report")), str(f.get("verdict")), _names(f, "differing"))
        for f in standing
    )


def _outweighs(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    if any(later.get(name) != earlier.get(name) for name in ("target", "on")):
        return False
    everything = later.get("asked") == {}
    return (everything or later.get("asked") == earlier.get("asked")) and set(_names(earlier, "differing")) <= set(
        _names(later, "tables")
    )


def _names(found: Mapping[str, Any], field: str) -> tuple[str, ...]:
    return tuple(str(name) for name in found.get(field) or ())
