"""What a sync was set up with: the slot, the publication and the copy that it goes on from, as one object beside the manifest."""

from __future__ import annotations

from typing import Self

from helpers.errors import StageError
from helpers.model import lsn, stored
from helpers.model.stored import Stored
from helpers.platforms.s3 import Bucket

NAME = "sync/sync.json"


class SyncedTable(Stored):
    """One table of a sync.

    Attributes:
        start: the LSN that its copy shows; its changes are applied from there.
        stopped: why its changes are applied no more, with the LSN and the row's key; empty while they are.
    """

    schema_: str
    name: str
    start: str
    stopped: str = ""

    def __str__(self) -> str:
        return f"{self.schema_}.{self.name}"

    @property
    def position(self) -> int:
        """`start` as a number."""
        return lsn.parse(self.start)


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

    def write(self, bucket: Bucket) -> None:
        """Replaces the object; a reader sees the former record or this one."""
        bucket.write(NAME, self.model_dump_json(indent=1).encode())


def read_if_any(bucket: Bucket) -> Sync | None:
    """The sync that was set up at a stage's location, or None.

    Raises:
        StageError: the record cannot be understood.
    """
    return stored.parse(
        bucket.read(NAME), Sync, doing="understand the record of the sync", on=f"{bucket.location}{NAME}",
        cure="it was written by another version or changed by hand: `runbook sync stop`, then `runbook export --follow`",
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
