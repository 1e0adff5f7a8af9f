"""Setting a sync up: a publication, a copy in the slot's own snapshot, and behind the copy the slot itself.

While the copy is made, the slot is a temporary one that the snapshot's keeper holds; what stays is copied from it once the manifest is
written. So whatever breaks a copy off leaves no slot behind, and no log is kept for nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg2

from helpers.errors import MigrationError, SourceRefused, UsageError
from helpers.model import sync as records
from helpers.model.catalog import Table
from helpers.model.manifest import Manifest
from helpers.model.sync import Sync, SyncedTable
from helpers.model.sync import read as read
from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings, Source
from helpers.source import held_snapshots
from helpers.source import snapshot as snapshots
from helpers.source.asking import asking
from helpers.source.catalog import read_catalog
from helpers.source.held_snapshots import Snapshot
from helpers.source.snapshot import Follow
from helpers.sync import needs, publication, relations
from helpers.sync.slot import drop_slot, look, server_of, survive_failover

APPLICATION = "migration-runbooks sync"

WRITES = {"default_transaction_read_only": "off"}
"""A role that was made to read alone makes its publication all the same."""


@dataclass(frozen=True)
class Setup:
    """What is to be followed, before there is anything to follow.

    Attributes:
        own: whether the publication is ours to make and to drop.
    """

    settings: Settings
    bucket: Bucket
    name: str
    publication: str
    own: bool

    @property
    def follow(self) -> Follow:
        """What a snapshot is taken for."""
        return Follow(self.name, self.settings.sync.slot_patience_seconds)


def check(
    settings: Settings, bucket: Bucket, tables: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[Table, ...]:
    """What would be followed; nothing is changed.

    Args:
        settings: the profile.
        bucket: at the location that the copy goes to.
        tables, exclude: as an export takes them.

    Raises:
        UsageError: a sync is set up there already.
        SourceRefused: something that following needs is missing; all of it is named, with its cures.
    """
    records.refuse_other_copy(bucket)
    source, name = settings.source, publication.name_for(settings, bucket)
    with asking(source, "ask what following changes needs") as cursor:
        if look(cursor, name) is not None:
            raise UsageError(
                "set a sync up", on=str(bucket.location), why=f"the slot {name} of a sync that was set up here is there, and its record is not",
                next_step="runbook sync stop, and then export again",
            )  # fmt: skip
        catalog = read_catalog(
            cursor, schemas=source.schemas, tables=tuple(tables), exclude=tuple(exclude), described=settings.tables
        )
        needs.refuse_lacking(cursor, source, catalog.tables, settings.sync)
        return catalog.tables


def of(settings: Settings, bucket: Bucket) -> Setup:
    """How a sync of the copy at a stage's location is set up by this profile; nothing is asked."""
    name, own = publication.name_for(settings, bucket), settings.sync.publication is None
    return Setup(settings, bucket, name, settings.sync.publication or name, own)


@contextmanager
def prepared(
    settings: Settings, bucket: Bucket, tables: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Iterator[Setup]:
    """`publish`, and behind the block `withdraw`: unless it has ended with `keep`."""
    setup = publish(settings, bucket, tables, exclude)
    try:
        yield setup
    finally:
        withdraw(setup)


def publish(settings: Settings, bucket: Bucket, tables: Sequence[str] = (), exclude: Sequence[str] = ()) -> Setup:
    """Publishes the tables, so that a slot that is made afterwards tells of them.

    Args, raises: as `check`; SourceRefused also where the publication cannot be made.
    """
    chosen, setup = check(settings, bucket, tables, exclude), of(settings, bucket)
    if setup.own:
        comment = f"migration-runbooks, profile {settings.profile}: the sync of {bucket.location}; `runbook sync stop` drops it"
        with changing(settings.source, "publish the tables") as cursor:
            wanted = publication.wanted(cursor, chosen, publication.identities(cursor, chosen))
            # A copy that is gone on with has its slot already, and a slot knows only publications that were there before it.
            if not publication.is_exactly(cursor, setup.name, wanted):
                publication.make(cursor, setup.name, wanted, comment=comment)
    return setup


def withdraw(setup: Setup) -> None:
    """Drops the publication again, if nothing came of the copy and nobody can go on with it."""
    if setup.own and records.read_if_any(setup.bucket) is None and not _is_gone_on_with(setup):
        with changing(setup.settings.source, "drop the publication") as cursor:
            publication.drop(cursor, setup.name)


def _is_gone_on_with(setup: Setup) -> bool:
    """Whether the snapshot of a copy that was broken off is held for another attempt, with a slot that is to be kept under this name."""
    mine = (postgres.address(setup.settings.source), setup.name)
    return any(each.purpose and (each.source, each.follow) == mine for each in held_snapshots.held())


def refuse_unpublished(setup: Setup, tables: Sequence[Table], snapshot: Snapshot) -> None:
    """Makes sure that all that is copied was published before the slot was made: what a slot tells, it tells by the catalog of then.

    Raises:
        SourceRefused: a table was made since, or the publication.
    """
    source = snapshots.on(setup.settings.source, snapshot)
    with snapshots.reading(source, snapshot.name) as cursor:
        missing = publication.unpublished(
            cursor, setup.publication, [table.oid for table in tables] if setup.own else []
        )
    if missing is None or missing:
        names = [str(table) for table in tables if missing and table.oid in missing]
        error = SourceRefused(
            "follow changes", on=", ".join(names) or f"publication {setup.publication}",
            why="it was made after the slot, which therefore does not tell of it", next_step="run the same command again",
        )  # fmt: skip
        error.transient = True
        raise error


def keep(setup: Setup, manifest: Manifest, snapshot: Snapshot) -> Sync:
    """Lets the slot of a finished copy outlive it, and writes down what there is to follow.

    The record comes first: a slot that nobody knows of would hold back the log for ever, while a record without a slot is refused.
    Where tables that an export had set aside follow in the same snapshot, they are added to the record.

    Args:
        setup: that the copy was made for.
        manifest: of the copy.
        snapshot: that it was made in, while it is held.

    Raises:
        SourceRefused: the slot is gone, and with it what was changed since; nothing is left of the set-up.
        UsageError: the sync has gone on already, and tables that come from before could not follow.
    """
    source = snapshots.on(setup.settings.source, snapshot)
    tables = tuple(SyncedTable(schema_=each.schema_, name=each.name, start=manifest.lsn) for each in manifest.tables)
    with snapshots.reading(source, snapshot.name) as cursor:
        tables = relations.identified(cursor, tables)
    with changing(source, "keep the slot") as cursor:
        if (there := records.read_if_any(setup.bucket)) is not None:
            refuse_begun(cursor, there, {str(each) for each in tables} - set(map(str, there.tables)))
            record = there.model_copy(update={"export": manifest.export, "tables": tables})
            record.write(setup.bucket)
            return record
        server = server_of(cursor)
        record = Sync(
            id=uuid4().hex, slot=setup.name, publication=setup.publication, source=postgres.address(source),
            system_identifier=server.system_identifier, timeline=server.timeline, database=str(setup.settings.source.dbname),
            export=manifest.export, lsn=manifest.lsn, created_at=datetime.now(UTC).isoformat(timespec="seconds"), tables=tables,
        )  # fmt: skip
        record.write(setup.bucket)
        try:
            _keep_slot(cursor, source, snapshot, setup.name, manifest.lsn)
        except (psycopg2.Error, MigrationError):
            setup.bucket.remove([records.NAME])
            drop_slot(cursor, setup.name)
            raise
    return record


def _keep_slot(cursor: Any, source: Source, snapshot: Snapshot, name: str, lsn: str) -> None:
    if not snapshot.slot:
        raise SourceRefused(
            "keep the slot", on=name, why=f"the snapshot at LSN {lsn} was taken without one",
            next_step="export again: under a new snapshot there is one",
        )  # fmt: skip
    query = "SELECT lsn::text FROM pg_copy_logical_replication_slot(%s, %s, false)"
    if (at := postgres.value(cursor, query, [snapshot.slot, name])) != lsn:
        raise SourceRefused(
            "keep the slot", on=name, why=f"it goes on from {at}, and the copy from {lsn}",
            next_step="report this: both are of one snapshot",
        )  # fmt: skip
    if int(cursor.connection.server_version) >= 170_000:
        survive_failover(source, name)


def refuse_late(settings: Settings, bucket: Bucket, tables: Collection[str]) -> None:
    """`refuse_begun` before anything is copied, where there is a sync at all."""
    if (there := records.read_if_any(bucket)) is not None:
        with asking(settings.source, "ask how far the sync is") as cursor:
            refuse_begun(cursor, there, tables)


def refuse_begun(cursor: Any, sync: Sync, tables: Collection[str]) -> None:
    """Raises `UsageError` where `tables`, copied at the beginning of a sync, would follow on one that has gone on since."""
    slot = look(cursor, sync.slot)
    if tables and (
        slot is None or slot.confirmed is None or slot.confirmed > sync.position or slot.active_pid is not None
    ):
        raise UsageError(
            "follow what was set aside", on=", ".join(sorted(tables)), why=f"the sync has gone on from LSN {sync.lsn}, at which they were copied",
            next_step=records.ANEW,
        )  # fmt: skip


@contextmanager
def changing(source: Source, doing: str) -> Iterator[Any]:
    """A cursor that may write on the source, whose every statement commits by itself.

    Args:
        doing: the clause that an error begins with.

    Raises:
        ConnectionFailed, SessionRefused: as `postgres.connect`.
        SourceRefused: the server refused.
    """
    try:
        with postgres.committing(source, application=APPLICATION, settings=WRITES) as cursor:
            yield cursor
    except psycopg2.Error as error:
        raise faults.told(error, doing, on=postgres.address(source)) from None


@dataclass(frozen=True)
class Stopped:
    """What `stop` has dropped; empty where there was none."""

    slot: str
    publication: str
    record: str


def stop(settings: Settings, bucket: Bucket) -> Stopped:
    """Drops what a sync was set up with: the slot first, since it is what holds back the log.

    Args:
        settings: the profile.
        bucket: at the location of the copy that the sync goes on from.

    Raises:
        SourceFailed: the slot is being read.
        SourceRefused: a right is missing.
    """
    found, name = records.read_if_any(bucket), publication.name_for(settings, bucket)
    slot, published = (found.slot, found.publication) if found else (name, name)
    with changing(settings.source, "drop what the sync was set up with") as cursor:
        dropped = drop_slot(cursor, slot)
        withdrawn = publication.drop(cursor, published)
    bucket.remove(list(bucket.sizes(records.FOLDER)))
    return Stopped(slot if dropped else "", published if withdrawn else "", found.id if found else "")
