"""A backup that was really restored and compared with its source, cell by cell, in the snapshot that it was made in."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers import verify
from helpers.archive import backup
from helpers.errors import BackupError
from helpers.finding import Finding
from helpers.platforms.scratch_folder import scratch_folder
from helpers.progress import Progress
from helpers.settings import Settings
from helpers.source import held_snapshots, snapshot
from helpers.source.asking import asking, one
from helpers.verify.report import Report


@dataclass(frozen=True)
class Recovery:
    """How it went.

    Attributes:
        bytes, sha256: of the backup.
        dump_seconds, restore_seconds: how long each took.
        report: of the comparison; None where it did not come so far.
        why_not: what stopped it.
    """

    bytes: int = 0
    sha256: str = ""
    dump_seconds: float = 0.0
    restore_seconds: float = 0.0
    report: Report | None = None
    why_not: str = ""
    fix: str = ""


def prove(settings: Settings, folder: Path | None = None, *, progress: Progress | None = None) -> Recovery:
    """Dumps the source, restores the dump into a scratch database on the same server, compares, and removes both.

    Args:
        settings: the profile.
        folder: where the dump lies meanwhile, with room for about as much as the database has; a temporary one where None.
        progress: is told of tables and rows.

    Raises:
        ConnectionFailed: the server cannot be reached.
    """
    source = settings.source
    with scratch_folder("backup", folder=folder) as own:
        with asking(source, "ask for the database's size") as cursor:
            size = int(one(cursor, "SELECT pg_database_size(current_database())"))
        if (free := shutil.disk_usage(own).free) < size:
            why = f"the database has {size:,} bytes, and {free:,} are free for its backup"
            return Recovery(why_not=why, fix="free some space, or point TMPDIR to a larger disk")
        held = snapshot.take(source)
        try:
            began = time.monotonic()
            dump = backup.dump(source, Path(own) / "source.dump", snapshot=held.name, report=progress)
            dumped = time.monotonic()
            with backup.restored(dump, source, report=progress) as scratch:
                restored = time.monotonic()
                planned = verify.planned(
                    settings,
                    target="postgresql",
                    target_source=scratch,
                    snapshot=held,
                    cells_folder=Path(own) / "cells",
                )
                with planned as plan:
                    report = verify.verify(plan, progress=progress)
        except BackupError as error:
            return Recovery(why_not=f"could not {error.what}: {error.why}", fix=error.next_step)
        finally:
            held_snapshots.release(held)
    return Recovery(dump.bytes, dump.sha256, dumped - began, restored - dumped, report)


def findings(found: Recovery) -> Iterator[Finding]:
    """Whether the backup is one."""
    if found.report is None:
        yield Finding("stop", "the backup", found.why_not, found.fix)
        return
    on = f"backup {found.sha256[:12]}"
    for table in found.report.tables:
        if table.verdict != "equal":
            yield Finding(
                "stop",
                f"{on}, {table}",
                f"the restored table is {table.verdict}: {table.differences}",
                "do not rely on this backup; find out why before anything is changed",
            )
    if not found.report.tables:
        yield Finding(
            "stop", on, "it holds no table, so nothing was compared", "check dbname and schemas of the source"
        )
    elif found.report.equal:
        yield Finding(
            "note",
            on,
            f"{len(found.report.tables)} tables were restored, and every cell of {found.report.rows:,} rows is equal",
        )
    yield Finding(
        "warning",
        "the backups that run every night",
        "were not looked at: this one was made for the proof",
        "restore the last of them as well, and keep one until the cutover is behind you",
    )
