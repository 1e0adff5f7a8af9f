"""The record of a finished archive, and the progress of an unfinished one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from helpers.ledger.folders import write_atomically
from helpers.model import stored
from helpers.model.stored import Stored
from helpers.platforms.s3 import Bucket

NAME = "archive.json"
STATE = "state.json"

Mode = Literal["COMPLIANCE", "GOVERNANCE"]
RestoreVerdict = Literal["equal", "different", "damaged"]


class ArchivedFile(Stored):
    """One locked object.

    Attributes:
        path: relative to the archive's own folder.
        version: of the object; another one that lies over it is not the archive's.
        rows: of a table's file, else None.
    """

    path: str
    bytes: int
    sha256: str
    version: str
    rows: int | None = None


class RestoredTable(Stored):
    """One table of the restored dump beside the archive's Parquet files."""

    table: str
    verdict: Literal["equal", "different", "refused"]
    rows: int | None
    differences: str


class RestoreTest(Stored):
    """The dump was fetched back and restored, and its rows compared with the Parquet files, cell by cell.

    Attributes:
        verdict: `damaged` where an object is not what was archived; then nothing was restored.
        findings: a sentence each; empty where equal.
        server: on which it was restored.
    """

    verdict: RestoreVerdict
    at: str
    server: str
    server_version: str
    tables: tuple[RestoredTable, ...]
    findings: tuple[str, ...]
    seconds: float

    @property
    def rows(self) -> int:
        """Rows compared."""
        return sum(table.rows or 0 for table in self.tables)


class Archive(Stored):
    """A finished archive: one snapshot of the source as Parquet and as a dump, under lock. Written last.

    Attributes:
        location: its own folder.
        lsn_exact, why_approximate: as the export's manifest has them.
        retain_until: before then nobody deletes its files.
        dump, parquet: paths of the dump and of the export's manifest.
        left_out: what of the source is only in the dump, and why.
    """

    version: Literal[1] = 1
    name: str
    location: str
    source: str
    server_version: str
    snapshot: str
    lsn: str
    lsn_exact: bool
    why_approximate: str
    archived_at: str
    mode: Mode
    retain_until: datetime
    dump: str
    parquet: str
    files: tuple[ArchivedFile, ...]
    left_out: dict[str, str]
    restore_test: RestoreTest

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(file.rows or 0 for file in self.files)

    @property
    def proved(self) -> bool:
        """Whether its dump was seen to hold what its Parquet files hold."""
        return self.restore_test.verdict == "equal"

    def file(self, path: str) -> ArchivedFile:
        """The file of that path; raises `KeyError` where there is none."""
        found = next((file for file in self.files if file.path == path), None)
        if found is None:
            raise KeyError(path)
        return found


class DumpState(Stored):
    """A finished dump that lies in the working folder."""

    bytes: int
    sha256: str
    server_version: str


class ArchiveState(Stored):
    """How far an archive has come.

    Attributes:
        name: of the archive.
        source: whose data; `location`: where they go.
        staging: where the export is staged before it is locked.
        export: the export's name, once it was planned.
        snapshot: of export and dump; empty before it is taken.
        exported: whether the export is whole.
        dump: once it is whole.
        retain_until: once the first file was locked.
        files: locked ones.
    """

    name: str
    source: str
    location: str
    staging: str
    export: str | None = None
    snapshot: str = ""
    exported: bool = False
    dump: DumpState | None = None
    retain_until: datetime | None = None
    files: tuple[ArchivedFile, ...] = ()

    def write(self, folder: Path) -> None:
        """Replaces the state in the working folder; a reader sees the former one or this one."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / STATE, self.model_dump_json())


def unfinished(folder: Path) -> ArchiveState | None:
    """The state in a working folder, or None; raises `StageError` where it cannot be understood."""
    path = folder / STATE
    return stored.parse(
        path.read_bytes() if path.exists() else None, ArchiveState, doing="resume an archive", on=str(path),
        cure="it was written by another version: archive under a new run's name",
    )  # fmt: skip


def read(bucket: Bucket, name: str) -> Archive | None:
    """The record of the archive `name`, or None where it is not finished; raises `StageError` as `unfinished` does."""
    path = f"{name}/{NAME}"
    return stored.parse(
        bucket.read(path), Archive, doing="understand the archive's record", on=f"{bucket.location}{path}",
        cure="it was written by another version, or another file lies over it: read its first version",
    )  # fmt: skip
