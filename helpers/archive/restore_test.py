"""The restore test of an archive: a backup that was never restored proves nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from helpers import verify as verifying
from helpers.archive import backup, restoring
from helpers.archive.backup import Dump
from helpers.archive.record import ArchivedFile, RestoredTable, RestoreTest, RestoreVerdict
from helpers.platforms import pg_tools
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings, Source
from helpers.verify.report import Report


def restore_test(
    settings: Settings,
    bucket: Bucket,
    files: Sequence[ArchivedFile],
    *,
    name: str,
    dump: str,
    parquet: str,
    dumped: str,
    server: Source | None,
    origin: Source | None = None,
    folder: Path,
    progress: Progress | None = None,
) -> RestoreTest:
    """Fetches an archive's dump back, restores it, and compares every table with the archive's Parquet files, cell by cell.

    Args:
        settings: of the profile that has the archive.
        bucket: where archives lie.
        files: the archive's, as they were locked.
        name: of the archive.
        dump, parquet: paths of the dump and of the export's manifest among `files`.
        dumped: version of the server that was dumped, such as "18.6".
        server: where a scratch database may be made; without it, see `restoring`.
        origin: the dumped database, where it still is; see `backup.restored`.
        folder: for the fetched dump, which is removed again, and for files of differing cells.

    Raises:
        BackupError: the dump does not restore there.
        SourceFailed: no scratch database could be made.
        ConnectionFailed, StageError: a server cannot be reached.
    """
    began = time.monotonic()
    fetched = folder / "fetched.dump"
    folder.mkdir(parents=True, exist_ok=True)
    version = int(re.match(r"\d+", dumped)[0]) * 10_000  # type: ignore[index]
    restoring.refuse_without_place(settings, version, named=server)
    try:
        findings = list(_damaged(bucket, name, files, dump, fetched, progress))
        if findings:
            return _answer("damaged", findings, (), "none: nothing was restored", "", began)
        original = next(file for file in files if file.path == dump)
        whole = Dump(fetched, original.bytes, original.sha256, dumped)
        with (
            restoring.place(settings, version, named=server) as place,
            backup.restored(whole, place.server, admin=place.admin, origin=origin, report=progress) as scratch,
        ):
            _, there = pg_tools.server_version(place.server)
            report = _compared(
                settings, scratch, f"{bucket.location}{name}/{parquet.rpartition('/')[0]}/", folder, progress
            )
    finally:
        fetched.unlink(missing_ok=True)
    tables = tuple(
        RestoredTable(table=str(t), verdict=t.verdict, rows=t.rows_source, differences=t.differences)
        for t in report.tables
    )
    findings = [f"{t.table} is {t.verdict}: {t.differences}" for t in tables if t.verdict != "equal"]
    if not tables:
        findings = ["no table was compared, so nothing is proved"]
    return _answer("different" if findings else "equal", findings, tables, place.what, there, began)


def _damaged(
    bucket: Bucket, name: str, files: Iterable[ArchivedFile], dump: str, fetched: Path, progress: Progress | None
) -> Iterator[str]:
    """What of the objects is not what was archived."""
    files = list(files)
    total, done = sum(file.rows or 0 for file in files), 0
    for file in files:
        if progress:
            progress(done, total, f"reading back {file.path}")
        object_name = f"{name}/{file.path}"
        if file.path == dump:
            found = bucket.fetch(object_name, fetched, file.version)
        else:
            found = bucket.sha256(object_name, file.version) or (0, "")
        done += file.rows or 0
        if found != (file.bytes, file.sha256):
            yield f"{file.path} is not what was archived: {found[0]:,} bytes of SHA-256 {found[1] or '(none)'}"
        elif bucket.newest_version(object_name) != file.version:
            yield f"another version lies over {file.path}; the archive's own is {file.version}"


def _compared(settings: Settings, scratch: Source, location: str, folder: Path, progress: Progress | None) -> Report:
    stage = settings.archive_stage.model_copy(update={"url": location})
    own = replace(settings, values=settings.values.model_copy(update={"stage": stage, "source": scratch}))
    with verifying.planned(own, target="stage", cells_folder=folder / "differences", progress=progress) as plan:
        return verifying.verify(plan, progress=progress)


def _answer(
    verdict: RestoreVerdict,
    findings: Iterable[str],
    tables: tuple[RestoredTable, ...],
    server: str,
    version: str,
    began: float,
) -> RestoreTest:
    return RestoreTest(
        verdict=verdict,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        server=server,
        server_version=version,
        tables=tables,
        findings=tuple(findings),
        seconds=round(time.monotonic() - began, 3),
    )
