"""Is there a way back to the data? The source is dumped, restored on another server and compared, cell by cell, in one snapshot."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from helpers import verify
from helpers.archive import backup, restoring
from helpers.archive.backup import Dump
from helpers.errors import BackupError
from helpers.finding import Finding, stop
from helpers.frames import frame
from helpers.platforms import pg_tools, postgres
from helpers.platforms.scratch_folder import scratch_folder
from helpers.progress import Progress
from helpers.settings import Settings
from helpers.source.asking import asking
from helpers.verify.report import Report


@dataclass(frozen=True)
class Recovery:
    """A backup that was restored.

    Attributes:
        dump: what was made; its file is gone again.
        dump_seconds, restore_seconds: how long each took.
        report: source against the restored database.
        where: the server that it was restored on.
    """

    dump: Dump
    dump_seconds: float
    restore_seconds: float
    report: Report
    where: str


def recover(settings: Settings, *, cells_folder: Path, progress: Progress | None = None) -> Recovery:
    """Dumps the source, restores the dump on another server (see `restoring`), and compares the two, every row as it is.

    Dump and comparison read the same snapshot, so that a source that is still written to differs from neither. Dump and
    database are removed again; nothing is created on the source.

    Args:
        settings: the profile.
        cells_folder: where the files of differing cells go.

    Raises:
        BackupError: it could not be dumped or restored, or the disk has no room for it.
        ConnectionFailed: a server cannot be reached.
        SourceFailed: the role may not read all of the source.
    """
    settings = settings.undescribed  # a backup has what does not move, too
    source = settings.source
    version, _ = pg_tools.server_version(source)
    backup.refuse_unreadable(source)
    with scratch_folder("recovery") as folder, restoring.place(settings, version) as place:
        _refuse_a_full_disk(settings, Path(folder), 2 if place.is_here else 1)
        with verify.planned(
            settings, target="postgresql", target_source=place.server, cells_folder=cells_folder, progress=progress
        ) as plan:
            began = time.monotonic()
            made = backup.dump(plan.source, Path(folder) / "source.dump", snapshot=plan.snapshot, report=progress)
            dumped = time.monotonic()
            with backup.restored(made, place.server, admin=place.admin, origin=plan.source, report=progress) as scratch:
                restored = time.monotonic()
                report = verify.verify(replace(plan, target_source=scratch), progress=progress)
    return Recovery(made, dumped - began, restored - dumped, report, place.what)


def sentence(recovery: Recovery, settings: Settings) -> str:
    """What was proven, in a sentence."""
    report = recovery.report
    return (
        f"a dump of {recovery.dump.bytes:,} bytes of {postgres.address(settings.source)} was restored on {recovery.where} and compared: "
        f"{report.verdict}, {report.rows:,} rows and {report.cells:,} cells at LSN {report.lsn}"
    )


def findings(report: Report, on: str = "") -> Iterator[Finding]:
    """Whether the backup is one: a table that was not restored as it is stops.

    Args:
        report: of the comparison.
        on: what the tables are of, such as "backup 3f2a".
    """
    fix = "do not rely on this backup: read the differing cells, find out why, and make another dump"
    for table in report.tables:
        if table.verdict != "equal":
            what = f"the restored table is {table.verdict}: {table.differences or table.method}"
            yield stop(f"{on}, {table}" if on else str(table), what, fix)
    if not report.tables:
        yield stop(on or "the source", "it has no table that could be lost", "check dbname and schemas of the source")


def frame_tables(report: Report | None) -> pd.DataFrame:
    """Every table that was restored, and how it compares."""
    rows = ((str(t), t.verdict, t.rows_source, t.rows_target, t.differences) for t in (report.tables if report else ()))
    return frame(rows, "table", "restored", "source rows", "restored rows", "differences")


def _refuse_a_full_disk(settings: Settings, folder: Path, times: int) -> None:
    with asking(settings.source, "ask for the database's size") as cursor:
        size = int(postgres.value(cursor, "SELECT pg_database_size(current_database())"))
    if (free := shutil.disk_usage(folder).free) < size * times:
        twice = ", which takes it twice: as a dump and restored" if times == 2 else ""
        why = f"the database has {size:,} bytes, and {free:,} are free for its backup{twice}"
        cure = "free some space, point TMPDIR to a larger disk, or name a server under [profiles.NAME.backup.restore]"
        raise BackupError("make a backup", on=str(folder), why=why, next_step=cure)
