"""Is there a way back to the data? The source is dumped, restored beside itself and compared, cell by cell, in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from helpers import verify
from helpers.archive import backup
from helpers.archive.backup import Dump
from helpers.platforms import postgres
from helpers.platforms.scratch_folder import scratch_folder
from helpers.progress import Progress
from helpers.settings import Settings
from helpers.verify.report import Report


@dataclass(frozen=True)
class Recovery:
    """A backup that was restored.

    Attributes:
        dump: what was made; its file is gone again.
        report: source against the restored database.
    """

    dump: Dump
    report: Report


def recover(settings: Settings, *, cells_folder: Path, progress: Progress | None = None) -> Recovery:
    """Dumps the source, restores the dump into a scratch database on the same server, and compares the two.

    Dump and comparison read the same snapshot, so that a source that is still written to differs from neither. Dump and
    database are removed again.

    Args:
        settings: the profile; its role has to be allowed to create a database.
        cells_folder: where the files of differing cells go.
        progress: is told of rows.

    Raises:
        BackupError: it could not be dumped or restored.
        ConnectionFailed: the server cannot be reached.
    """
    source = settings.source
    with (
        scratch_folder("recovery") as folder,
        verify.planned(
            settings, target="postgresql", target_source=source, cells_folder=cells_folder, progress=progress
        ) as plan,
    ):
        made = backup.dump(source, Path(folder) / "source.dump", snapshot=plan.snapshot, report=progress)
        with backup.restored(made, source, report=progress) as scratch:
            report = verify.verify(replace(plan, target_source=scratch), progress=progress)
    return Recovery(made, report)


def words(recovery: Recovery, settings: Settings) -> str:
    """What was proven, in a sentence."""
    report = recovery.report
    return (
        f"a dump of {recovery.dump.bytes:,} bytes of {postgres.address(settings.source)} was restored and compared: "
        f"{report.verdict}, {report.rows:,} rows and {report.cells:,} cells at LSN {report.lsn}"
    )
