"""The data's way through the stages, table by table (source → stage → target), from ledger, reports and manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import settings as profiles
from helpers.control_room.differences import Verification, VerifiedTable, verifications
from helpers.errors import MigrationError
from helpers.ledger.ledger import NAME, Ledger
from helpers.ledger.view import view
from helpers.model import manifest as manifests
from helpers.model.manifest import Manifest
from helpers.platforms.s3 import Bucket

_STAGE = "stage"


@dataclass(frozen=True)
class Held:
    """What one target holds of a table."""

    target: str
    rows: int | None
    verdict: str


@dataclass(frozen=True)
class TableFlow:
    """One table; counts are rows, None where nothing says it.

    Attributes:
        bytes, files: on the stage, by the manifest.
        staged_verdict: of the comparison of stage and source.
        held: what each target holds.
    """

    table: str
    rows_source: int | None
    rows_staged: int | None
    bytes: int | None
    files: int | None
    staged_verdict: str
    held: tuple[Held, ...]

    @property
    def most(self) -> int:
        """The largest count of rows anywhere."""
        return max(self.rows_source or 0, self.rows_staged or 0, *(each.rows or 0 for each in self.held), 0)

    @property
    def verdicts(self) -> tuple[tuple[str, str], ...]:
        """Where it was compared, and what was found there."""
        told = (("stage", self.staged_verdict), *((each.target, each.verdict) for each in self.held))
        return tuple((where, verdict) for where, verdict in told if verdict)


@dataclass(frozen=True)
class Flow:
    """All tables.

    Attributes:
        lsn: of the snapshot; empty before there is one.
        export: its name; empty before there is one.
        targets: the columns of `held`.
        rows, bytes: of the export, by the ledger.
        notes: what is not known, and why.
    """

    lsn: str
    export: str
    targets: tuple[str, ...]
    tables: tuple[TableFlow, ...]
    rows: int | None = None
    bytes: int | None = None
    notes: tuple[str, ...] = ()


def flow(folder: Path, staged: Manifest | None = None, why_not: str = "") -> Flow:
    """Reads the way of the data from a run's folder.

    Args:
        folder: `outputs/<run>`.
        staged: the export's manifest; the files on the stage are told only by it.
        why_not: why there is none.
    """
    exported, snapshot = result(folder, "s30-export"), result(folder, "s30-snapshot")
    export = str(exported.get("export", ""))
    notes = [why_not] if why_not and export else []
    if staged and staged.export != export:
        notes.append(f"the stage holds another export now ({staged.export}), so bytes and files are not told")
        staged = None
    last: dict[str, Verification] = {}
    for verification in verifications(folder):
        if verification.name.startswith("30_") and not verification.problem:
            last.setdefault(verification.target, verification)
    on_stage = last.pop(_STAGE, None)
    names = dict.fromkeys(
        [str(table) for table in staged.tables]
        if staged
        else [] + [table.name for each in (on_stage, *last.values()) if each for table in each.tables]
    )
    return Flow(
        str(snapshot.get("lsn") or exported.get("lsn") or ""), export, tuple(last),
        tuple(_table(name, staged, on_stage, last.values()) for name in names),
        exported.get("rows"), exported.get("bytes"), tuple(notes),
    )  # fmt: skip


def staged_manifest(profile: str) -> tuple[Manifest | None, str]:
    """The manifest at the profile's stage, or why it cannot be had; asks S3."""
    try:
        found = manifests.read_if_any(Bucket.open(profiles.load(profile or None).stage))
        return found, "" if found else "the stage has no manifest, so bytes and files are not told"
    except MigrationError as error:
        return None, f"the stage cannot be asked, so bytes and files are not told: {error.why}"


def result(folder: Path, step: str) -> dict[str, Any]:
    """What a step recorded when it was done last; empty where it never was."""
    try:
        return view(Ledger(folder / NAME).entries())[step].result or {}
    except Exception:  # a ledger that anybody may have written must not end the page that tells of it
        return {}


def _table(name: str, staged: Manifest | None, on_stage: Verification | None, targets: Any) -> TableFlow:
    of_manifest = next((t for t in staged.tables if str(t) == name), None) if staged else None
    checked = _named(on_stage.tables, name) if on_stage else None
    held, rows = [], checked.rows_source if checked else None
    for target in targets:
        there = _named(target.tables, name)
        rows = rows if rows is not None else there.rows_source if there else None
        held.append(Held(target.target, there.rows_target if there else None, there.verdict if there else ""))
    return TableFlow(
        name, rows, of_manifest.rows if of_manifest else checked.rows_target if checked else None,
        of_manifest.bytes if of_manifest else None, len(of_manifest.files) if of_manifest else None,
        checked.verdict if checked else "", tuple(held),
    )  # fmt: skip


def _named(tables: Sequence[VerifiedTable], name: str) -> VerifiedTable | None:
    return next((table for table in tables if table.name == name), None)
