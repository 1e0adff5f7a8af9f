"""Is there a way back to the data? The source is dumped, restored beside itself and compared, cell by cell, in one snapshot."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from helpers import verify
from helpers.archive import backup
from helpers.archive.backup import Dump
from helpers.errors import BackupError
from helpers.finding import Finding, stop
from helpers.frames import frame
from helpers.platforms import postgres
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
    """

    dump: Dump
    dump_seconds: float
    restore_seconds: float
    report: Report


def recover(settings: Settings, *, cells_folder: Path, progress: Progress | None = None) -> Recovery:
    """Dumps the source, restores the dump into a scratch database on the same server, and compares the two.

    Dump and comparison read the same snapshot, so that a source that is still written to differs from neither. Dump and
    database are removed again.

    Args:
        settings: the profile; its role has to be allowed to create a database.
        cells_folder: where the files of differing cells go.

    Raises:
        BackupError: it could not be dumped or restored, or the disk has no room for it.
        ConnectionFailed: the server cannot be reached.
    """
    source = settings.source
    with scratch_folder("recovery") as folder:
        _refuse_a_full_disk(settings, Path(folder))
        with verify.planned(
            settings, target="postgresql", target_source=source, cells_folder=cells_folder, progress=progress
        ) as plan:
            began = time.monotonic()
            made = backup.dump(plan.source, Path(folder) / "source.dump", snapshot=plan.snapshot, report=progress)
            dumped = time.monotonic()
            with backup.restored(made, source, report=progress) as scratch:
                restored = time.monotonic()
                report = verify.verify(replace(plan, target_source=scratch), progress=progress)
    return Recovery(made, dumped - began, restored - dumped, report)


def sentence(recovery: Recovery, settings: Settings) -> str:
    """What was proven, in a sentence."""
    report = recovery.report
    return (
        f"a dump of {recovery.dump.bytes:,} bytes of {postgres.address(settings.source)} was restored and compared: "
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


def _refuse_a_full_disk(settings: Settings, folder: Path) -> None:
    with asking(settings.source, "ask for the database's size") as cursor:
        size = int(postgres.value(cursor, "SELECT pg_database_size(current_database())"))
    if (free := shutil.disk_usage(folder).free) < size:
        why = f"the database has {size:,} bytes, and {free:,} are free for its backup"
        cure = "free some space, or point TMPDIR to a larger disk"
        raise BackupError("make a backup", on=str(folder), why=why, next_step=cure)
