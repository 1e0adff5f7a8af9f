"""Archives the legacy data before its system is removed: Parquet and a dump of one snapshot, locked in S3, restored as a test.
Whatever moves of them, all tables are archived, whole.

An archive is finished when its record exists, which is written last. One that was killed resumes: export and dump in their
snapshot while that is held, otherwise both start over, since nothing is locked before both are complete; then with the first
file that is not locked yet.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from helpers import digests
from helpers import export as exporting
from helpers.archive import backup, restoring
from helpers.archive import record as records
from helpers.archive.backup import Dump
from helpers.archive.record import Archive, ArchivedFile, ArchiveState, DumpState, RestoreTest
from helpers.archive.restore_test import restore_test
from helpers.errors import SourceRefused, StageError, UsageError
from helpers.model import manifest as manifests
from helpers.model.manifest import Manifest
from helpers.platforms import pg_tools, postgres
from helpers.platforms.s3 import Bucket, retain_until
from helpers.progress import Progress
from helpers.settings import Settings, Source
from helpers.source import held_snapshots
from helpers.source import snapshot as snapshots
from helpers.source.catalog import measured, read_catalog
from helpers.source.held_snapshots import Snapshot

DUMP = "dump/database.dump"
PARQUET = "parquet/"


@dataclass(frozen=True)
class PlannedTable:
    """A table of the source with what its statistics say of it."""

    table: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class ArchivePlan:
    """What will be archived, and where; nothing was written to make it.

    Attributes:
        folder: the working folder, which holds the dump until it is locked, and the state.
        bucket: where archives lie.
        server: on which the restore test makes its scratch database; None for what `restoring` finds.
        state: how far this archive has come already.
    """

    settings: Settings
    folder: Path
    bucket: Bucket
    server: Source | None
    tables: tuple[PlannedTable, ...]
    state: ArchiveState

    @property
    def resumed(self) -> bool:
        """Whether it goes on with an archive that was broken off."""
        return bool(self.state.snapshot)


def working_folder(outputs: Path, *, run: str | None = None, profile: str = "") -> Path:
    """Where an archive of a run, or without one of a profile, is put together: a later call goes on with what lies there."""
    return outputs / ".archives" / (f"run-{run}" if run else f"profile-{profile}")


def plan_archive(settings: Settings, folder: Path, *, server: Source | None = None) -> ArchivePlan:
    """Finds out what would be archived, and refuses what could not be.

    Args:
        settings: the profile, with the sections `source`, `stage` and `archive`.
        folder: a working folder with room for the dump; a later call with the same one goes on.
        server: for the restore test, instead of what `restoring` finds.

    Raises:
        BackupError: no pg_dump fits the source, or there is no server to restore on.
        SourceFailed: the role may not read all of the source.
        ConnectionFailed: a server cannot be reached.
        SettingsError: a section is missing or wrong.
        StageError: the bucket is not there or locks nothing.
        UsageError: the folder holds an unfinished archive of another source or location, there is no table to archive, or some stay.
    """
    if stay := settings.tables.stay:
        why = f"an archive is of a system that is removed, and {', '.join(stay)} of it stays in PostgreSQL"
        cure = "option B archives nothing; take tables.stay away once nothing stays, or back the database up as ever"
        raise UsageError("archive the source", on=f"[profiles.{settings.profile}.tables] stay", why=why, next_step=cure)
    settings = settings.undescribed
    source, bucket = settings.source, Bucket.open(settings.archive_stage)
    former = records.unfinished(folder)
    state = former or _new(settings, bucket)
    if (state.source, state.location) != (postgres.address(source), str(bucket.location)):
        why = f"it holds one of {state.source} at {state.location}"
        raise UsageError("resume an archive", on=str(folder), why=why, next_step="archive under another run's name")
    bucket.refuse_without_lock()
    version, _ = pg_tools.server_version(source)
    pg_tools.tools_for(version, on=postgres.address(source))
    backup.refuse_unreadable(source)
    restoring.refuse_without_place(settings, version, named=server)
    with postgres.reading(source) as cursor:
        catalog = measured(cursor, read_catalog(cursor, schemas=source.schemas))
    tables = tuple(PlannedTable(str(t), t.estimated_rows or 0, sum(h.bytes for h in t.heaps)) for t in catalog.tables)
    if not tables and former is None:
        why = "there is no table in it, and what is locked cannot be deleted again"
        cure = "correct dbname and schemas of the source in migration.toml"
        raise UsageError("archive the source", on=postgres.address(source), why=why, next_step=cure)
    return ArchivePlan(settings, folder, bucket, server, tables, state)


def archive(plan: ArchivePlan, *, progress: Progress | None = None) -> Archive:
    """Archives what `plan` says, tests that it restores, and writes the record.

    Returns:
        The record. Its restore test may say no: see `Archive.proved`.

    Raises:
        BackupError: the source could not be dumped, or the dump does not restore on that server.
        SourceRefused: a column cannot be moved without loss; nothing was locked.
        StageError: the bucket did not take or lock a file. The next call goes on.
        UsageError: another process works in the same folder.
    """
    with _alone(plan.folder):
        if found := records.read(plan.bucket, plan.state.name):
            _clean_up(plan, found)
            return found
        state, manifest = plan.state, None
        if not state.files:
            state, manifest = _export_and_dump(plan, progress)
        manifest = manifest or manifests.read(_staging(plan.settings, state))
        state = _lock_all(plan, state, manifest, progress)
        tested = restore_test(
            plan.settings, plan.bucket, state.files, name=state.name, dump=DUMP, parquet=PARQUET + manifests.NAME,
            dumped=manifest.server_version, server=plan.server, origin=plan.settings.source, folder=plan.folder, progress=progress,
        )  # fmt: skip
        record = _record(plan, state, manifest, tested)
        _lock_record(plan, record)
        _clean_up(plan, record)
        return record


def retest(
    settings: Settings, name: str, folder: Path, *, server: Source | None = None, progress: Progress | None = None
) -> RestoreTest:
    """Repeats the restore test of a finished archive; nothing is written to it.

    Args:
        settings: the profile that has the archive.
        name: of the archive, such as 20261125T120000Z-1a2b3c.
        folder: for the dump while it is restored.
        server: where a scratch database may be made, instead of what `restoring` finds.

    Raises:
        StageError: there is no such archive.
        BackupError, ConnectionFailed: as `archive_restore.restore_test`.
    """
    settings = settings.undescribed
    bucket = Bucket.open(settings.archive_stage)
    record = records.read(bucket, name)
    if record is None:
        why = "there is no finished archive of that name"
        cure = "`runbook archive` says the name when it ends"
        raise StageError("test an archive", on=f"{bucket.location}{name}/{records.NAME}", why=why, next_step=cure)
    return restore_test(
        settings, bucket, record.files, name=name, dump=record.dump, parquet=record.parquet,
        dumped=record.server_version, server=server, folder=folder, progress=progress,
    )  # fmt: skip


def _new(settings: Settings, bucket: Bucket) -> ArchiveState:
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ-") + uuid4().hex[:6]
    staging = f"{settings.stage.url.rstrip('/')}/archive/{name}/"
    return ArchiveState(
        name=name, source=postgres.address(settings.source), location=str(bucket.location), staging=staging
    )


def _staging(settings: Settings, state: ArchiveState) -> Bucket:
    return Bucket.open(settings.stage, state.staging)


def _export_and_dump(plan: ArchivePlan, progress: Progress | None) -> tuple[ArchiveState, Manifest]:
    path = plan.folder / "database.dump"
    with _held(plan) as (snapshot, same):
        source = snapshots.on(plan.settings.source, snapshot)
        state = plan.state
        if not same:
            path.unlink(missing_ok=True)
            state = state.model_copy(update={"snapshot": snapshot.name, "exported": False, "dump": None})
            state.write(plan.folder)
        with snapshots.reading(source, snapshot.name) as cursor:
            # Held through the dump: to both a table that was truncated since would look empty.
            tables = read_catalog(cursor, schemas=source.schemas).tables
            snapshots.lock(cursor, tables, timeout_seconds=plan.settings.export.lock_timeout_seconds)
            if not state.exported:
                state = _export(plan, state, snapshot, progress)
            manifest = manifests.read(_staging(plan.settings, state))
            if state.dump is None or not path.exists():
                path.unlink(missing_ok=True)
                made = backup.dump(source, path, snapshot=snapshot.name, report=progress)
                dumped = DumpState(bytes=made.bytes, sha256=made.sha256, server_version=made.server_version)
                state = state.model_copy(update={"dump": dumped})
                state.write(plan.folder)
            _refuse_other_snapshot(manifest, snapshot, state)
    return state, manifest


@contextmanager
def _held(plan: ArchivePlan) -> Iterator[tuple[Snapshot, bool]]:
    """The snapshot of the archive, and whether it is that of a former call; it stays held when the block fails, for the next one.

    Its name alone does not tell: a server that was restarted gives the same names again.
    """
    source = plan.settings.source
    mine = (plan.state.snapshot, postgres.address(source))
    known = next((each for each in held_snapshots.held() if (each.name, each.source) == mine), None)
    if known and not snapshots.is_held(snapshots.on(source, known), known.name):
        known = None
    chosen = known or snapshots.take(
        source, hold_hours=plan.settings.export.hold_snapshot_hours, purpose=f"archive {plan.state.name}"
    )
    try:
        yield chosen, known is not None
    except SourceRefused:
        held_snapshots.release(chosen)  # the next call looks at the source as it is then
        raise
    held_snapshots.release(chosen)


def _export(plan: ArchivePlan, state: ArchiveState, snapshot: Snapshot, progress: Progress | None) -> ArchiveState:
    with exporting.planned(
        plan.settings, location=state.staging, snapshot=snapshot, resume=state.export, keep_for_resume=True,
        release=False, progress=progress,
    ) as what:  # fmt: skip
        exporting.refuse_losses(what)
        state = state.model_copy(update={"export": what.state.export})
        state.write(plan.folder)
        exporting.export(what, progress=progress)
    state = state.model_copy(update={"export": None, "exported": True})
    state.write(plan.folder)
    return state


def _refuse_other_snapshot(manifest: Manifest, snapshot: Snapshot, state: ArchiveState) -> None:
    if manifest.snapshot != snapshot.name:
        why = f"the staged files are of the snapshot {manifest.snapshot}, the dump is of {snapshot.name}"
        cure = "another export went to the same place: archive under a new run's name"
        raise StageError("archive one snapshot", on=state.staging, why=why, next_step=cure)


def _lock_all(plan: ArchivePlan, state: ArchiveState, manifest: Manifest, progress: Progress | None) -> ArchiveState:
    staging = _staging(plan.settings, state)
    if state.retain_until is None:
        state = state.model_copy(update={"retain_until": retain_until(plan.settings.archive.retention_days)})
        state.write(plan.folder)
    locked = {file.path for file in state.files}
    wanted: list[tuple[str, int | None, str | None]]
    wanted = [(file.path, file.rows, file.sha256) for table in manifest.tables for file in table.files]
    homes = [manifests.home(table) for table in manifest.tables]
    there = staging.sizes()
    wanted += [
        (f"{home}/{name}", None, None) for home in homes for name in digests.OBJECTS if f"{home}/{name}" in there
    ]
    wanted.append((manifests.NAME, None, None))
    total, done = sum(rows or 0 for _, rows, _ in wanted), 0
    for path, rows, sha256 in wanted:
        if progress:
            progress(done, total, f"locking {path}")
        done += rows or 0
        if PARQUET + path not in locked:
            state = _lock_staged(plan, state, staging, path, rows, sha256)
    if DUMP not in locked:
        if progress:
            progress(done, total, "locking the dump")
        state = _lock(plan, state, DUMP, _whole_dump(plan, state), None)
    plan.bucket.abort_uploads(state.name)
    return state


def _lock_staged(
    plan: ArchivePlan, state: ArchiveState, staging: Bucket, path: str, rows: int | None, sha256: str | None
) -> ArchiveState:
    with tempfile.NamedTemporaryFile(dir=plan.folder, prefix="staged-") as file:
        copy = Path(file.name)
        found = staging.fetch(path, copy)
        if sha256 not in (None, found[1]):
            why = "its bytes are not those that the export wrote"
            cure = "somebody changed the stage: archive under a new run's name"
            raise StageError("lock a staged file", on=f"{staging.location}{path}", why=why, next_step=cure)
        return _lock(plan, state, PARQUET + path, Dump(copy, *found, ""), rows)


def _whole_dump(plan: ArchivePlan, state: ArchiveState) -> Dump:
    assert state.dump
    whole = Dump(plan.folder / "database.dump", state.dump.bytes, state.dump.sha256, state.dump.server_version)
    backup.check(whole)
    return whole


def _lock(plan: ArchivePlan, state: ArchiveState, path: str, file: Dump, rows: int | None) -> ArchiveState:
    assert state.retain_until
    name, mode = f"{state.name}/{path}", plan.settings.archive.mode
    # A call that was killed after an upload and before it wrote that down left one: it is not uploaded twice.
    version = plan.bucket.locked_version(name, file.sha256, until=state.retain_until, mode=mode)
    version = version or plan.bucket.write_locked(name, file.path, until=state.retain_until, mode=mode)
    done = ArchivedFile(path=path, bytes=file.bytes, sha256=file.sha256, version=version, rows=rows)
    state = state.model_copy(update={"files": (*state.files, done)})
    state.write(plan.folder)
    return state


def _record(plan: ArchivePlan, state: ArchiveState, manifest: Manifest, tested: RestoreTest) -> Archive:
    assert state.retain_until
    return Archive(
        name=state.name,
        location=f"{plan.bucket.location}{state.name}/",
        source=state.source,
        server_version=manifest.server_version,
        snapshot=manifest.snapshot,
        lsn=manifest.lsn,
        lsn_exact=manifest.lsn_exact,
        why_approximate=manifest.why_approximate,
        archived_at=datetime.now(UTC).isoformat(timespec="seconds"),
        mode=plan.settings.archive.mode,
        retain_until=state.retain_until,
        dump=DUMP,
        parquet=PARQUET + manifests.NAME,
        files=state.files,
        left_out=manifest.left_out,
        restore_test=tested,
    )


def _lock_record(plan: ArchivePlan, record: Archive) -> None:
    path = plan.folder / records.NAME
    path.write_text(record.model_dump_json(indent=1), encoding="utf-8")
    plan.bucket.write_locked(f"{record.name}/{records.NAME}", path, until=record.retain_until, mode=record.mode)


def _clean_up(plan: ArchivePlan, record: Archive) -> None:
    staging = _staging(plan.settings, plan.state)
    staging.remove(list(staging.sizes()))
    if record.proved:
        shutil.rmtree(plan.folder)
    else:
        (plan.folder / records.STATE).unlink(missing_ok=True)  # what differs stays to be looked at


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why = "another process works on the same archive"
            raise UsageError("archive", on=str(folder), why=why, next_step="wait for it") from None
        yield


__all__ = [
    "Archive",
    "ArchivePlan",
    "PlannedTable",
    "RestoreTest",
    "archive",
    "plan_archive",
    "retest",
    "working_folder",
]
