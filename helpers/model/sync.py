"""What a sync was set up with: the slot, the publication and the copy that it goes on from, as one object beside the manifest."""

from __future__ import annotations

from typing import Self

from helpers.errors import StageError, UsageError
from helpers.model import lsn, stored
from helpers.model.manifest import StagedColumn, StagedTable
from helpers.model.stored import Stored
from helpers.platforms.s3 import Bucket

FOLDER = "sync/"
"""What a sync keeps on the stage, below the location of its copy."""

NAME = f"{FOLDER}sync.json"

PROGRESS = f"{FOLDER}progress.json"

ANEW = "runbook sync stop, then runbook export --follow and runbook load: a new copy, and a slot from its own snapshot"
"""What is to be done about changes that cannot be followed any more."""

PREFIX = "runbook_sync_"
"""What slots and publications of ours begin with; another's are never touched."""


class SyncedTable(Stored):
    """One table of a sync.

    Attributes:
        start: the LSN that its copy shows; its changes are applied from there.
        stopped: why its changes are applied no more, with the LSN and the row's key; empty while they are.
        oid: by which the stream knows it, whatever it is called since; 0 where the set-up did not say.
        partitions: OIDs of all that it had when it was copied, and of those that were made since.
        added: columns that the source's table got since it was copied; rows from before have NULL there.
    """

    schema_: str
    name: str
    start: str
    stopped: str = ""
    oid: int = 0
    partitions: tuple[int, ...] = ()
    added: tuple[StagedColumn, ...] = ()

    def __str__(self) -> str:
        return f"{self.schema_}.{self.name}"

    @property
    def position(self) -> int:
        """`start` as a number."""
        return lsn.parse(self.start)

    @property
    def later(self) -> tuple[str, ...]:
        """The columns of `added`, as the source calls them."""
        return tuple(dict.fromkeys(column.source for column in self.added))

    def extended(self, table: StagedTable) -> StagedTable:
        """The table as it was copied, with the columns that were added since."""
        return table.model_copy(update={"columns": (*table.columns, *self.added)})


class Sync(Stored):
    """One stream of changes, from one slot.

    Attributes:
        id: 32 hexadecimal digits; a slot that is made anew begins another sync.
        source: the server's address, as the manifest has it.
        system_identifier, timeline: of the server when the slot was made (IDENTIFY_SYSTEM): a slot elsewhere is another.
        export: the name of the copy that the changes follow on.
        lsn: the slot's consistent point, and the copy's: every transaction whose commit lies before it is in the copy.
    """

    id: str
    slot: str
    publication: str
    source: str
    system_identifier: str
    timeline: int
    database: str
    export: str
    lsn: str
    created_at: str
    tables: tuple[SyncedTable, ...]

    @property
    def position(self) -> int:
        """`lsn` as a number."""
        return lsn.parse(self.lsn)

    def table(self, schema: str, name: str) -> SyncedTable | None:
        """The table of that name, or None."""
        return next((table for table in self.tables if (table.schema_, table.name) == (schema, name)), None)

    def with_stopped(self, schema: str, name: str, why: str) -> Self:
        """The same after a table has stopped."""
        changed = (
            table.model_copy(update={"stopped": why}) if (table.schema_, table.name) == (schema, name) else table
            for table in self.tables
        )  # fmt: skip
        return self.model_copy(update={"tables": tuple(changed)})

    def with_table(self, table: SyncedTable) -> Self:
        """The same with another record of that table."""
        same = (table.schema_, table.name)
        changed = (table if (each.schema_, each.name) == same else each for each in self.tables)
        return self.model_copy(update={"tables": tuple(changed)})

    def write(self, bucket: Bucket) -> None:
        """Replaces the object; a reader sees the former record or this one."""
        bucket.write(NAME, self.model_dump_json(indent=1).encode())


class TargetProgress(Stored):
    """How far one target is, as `runbook sync` last wrote it down: asking the target itself may wake a warehouse that costs.

    Attributes:
        position: as LSN text, that every table has reached that did not stop.
        as_of: the source's time in ISO 8601, of which this is so: everything that was committed before it is in the target.
        rows: written and deleted there since the copy.
    """

    position: str
    as_of: str
    rows: int


class Progress(Stored):
    """How far a sync is, replaced after each batch and every few seconds while nothing comes.

    Attributes:
        sync: its id.
        written_at: ISO 8601.
        waiting: rows that were read and that some target does not have yet.
    """

    sync: str
    written_at: str
    targets: dict[str, TargetProgress]
    waiting: int = 0

    def write(self, bucket: Bucket) -> None:
        """Replaces the object."""
        bucket.write(PROGRESS, self.model_dump_json(indent=1).encode())


def progress(bucket: Bucket, sync: Sync) -> Progress | None:
    """How far that sync is; None where it has not begun, or another's progress is there.

    Raises:
        StageError: it cannot be understood.
    """
    found = stored.parse(
        bucket.read(PROGRESS), Progress, doing="understand how far the sync is", on=f"{bucket.location}{PROGRESS}",
        cure="it was written by another version: run `runbook sync` of this one",
    )  # fmt: skip
    return found if found and found.sync == sync.id else None


def read_if_any(bucket: Bucket) -> Sync | None:
    """The sync that was set up at a stage's location, or None.

    Raises:
        StageError: the record cannot be understood.
    """
    return stored.parse(
        bucket.read(NAME), Sync, doing="understand the record of the sync", on=f"{bucket.location}{NAME}",
        cure="it was written by another version or changed by hand: `runbook sync stop`, then `runbook export --follow`",
    )  # fmt: skip


def refuse_other_copy(bucket: Bucket, lsn: str | None = None) -> None:
    """Refuses to replace the copy that a sync goes on from: its changes follow on that alone.

    Args:
        bucket: at the location.
        lsn: of the copy that is to be written; None where that is not known yet. Another export of the same snapshot is the same copy.

    Raises:
        UsageError: it is another one.
        StageError: the record cannot be understood.
    """
    there = read_if_any(bucket)
    if there is not None and there.lsn != lsn:
        raise UsageError(
            "replace the copy", on=str(bucket.location), why=f"a sync is set up there: its changes go on from the copy {there.export}, at LSN {there.lsn}",
            next_step="runbook sync stop, and then export again; or give this copy another --target-location",
        )  # fmt: skip


def read(bucket: Bucket) -> Sync:
    """The sync that was set up at a stage's location.

    Raises:
        StageError: there is none, or its record cannot be understood.
    """
    if (found := read_if_any(bucket)) is None:
        raise StageError(
            "go on from the copy", on=f"{bucket.location}{NAME}", why="no sync was set up there: its copy keeps no slot",
            next_step=f"run: runbook export --follow --target-location {bucket.location}",
        )  # fmt: skip
    return found
