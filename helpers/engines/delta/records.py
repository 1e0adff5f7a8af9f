"""Which load a Delta table's rows are of, and how far a sync has changed them since: written beside the staged files, and bound to a version of the table's own log.

Delta commits one table at a time, so no commit spans a table and a record of it. The record therefore follows the commit of
each table and names the version that it made: what anybody wrote since is a later version, and a table that was made anew has
another id. A load that is killed between a commit and its record loads that table again, which replaces and never adds; of a sync
that is, the commit itself says which batch it took in (`history.Applied`).
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from helpers.engines.delta.catalog import Version
from helpers.model.places import TargetTable
from helpers.platforms import spark
from helpers.platforms.s3 import Bucket
from helpers.platforms.spark import identifier
from helpers.settings import Databricks

NAME = "load-delta.json"


class Kept(BaseModel):
    """What a load, or the sync that goes on from it, left in one table.

    Attributes:
        rows: of the load.
        position: that the sync has reached; None where none has begun.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    rows: int
    position: int | None = None


class Reached(BaseModel):
    """How far a sync is: every table of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    position: int


class Record(BaseModel):
    """Of one load into one target.

    Attributes:
        target: its address.
        export: whose files were loaded.
        load_id: what the load was given.
        tables: by quoted schema and name in the target.
        whole: whether every table was loaded, and what the source no longer has was dropped.
        sync: that has begun to change the tables since; a load makes another record.
    """

    model_config = ConfigDict(extra="forbid")

    target: str
    export: str
    load_id: str
    tables: dict[str, Kept] = {}
    whole: bool = False
    sync: Reached | None = None
    _lock: Lock = PrivateAttr(default_factory=Lock)

    @classmethod
    def begun(cls, bucket: Bucket, target: Databricks, export: str, load_id: str) -> Record:
        """The record of a load that was broken off, if this is the same one, or else a new one; nothing is written."""
        found, where = read_record(bucket), spark.address(target)
        if found and not found.sync and (found.target, found.export, found.load_id) == (where, export, load_id):
            found.whole = False
            return found
        return cls(target=where, export=export, load_id=load_id)

    def keep(self, bucket: Bucket, table: TargetTable, version: Version, rows: int) -> None:
        """Says that the table's rows are of this load; call it once they are committed. Several threads may."""
        with self._lock:
            self.tables[identifier(*table)] = Kept(version=version, rows=rows)
            self._write(bucket)

    def follow(self, bucket: Bucket, sync: Reached, tables: Mapping[TargetTable, tuple[Version, int]]) -> None:
        """Says how far a sync is, and which version of some tables has which position."""
        self.sync = sync
        for table, (version, position) in tables.items():
            kept = self.kept(table)
            self.tables[identifier(*table)] = Kept(version=version, rows=kept.rows if kept else 0, position=position)
        self._write(bucket)

    def finish(self, bucket: Bucket) -> None:
        """Says that the load is whole."""
        self.whole = True
        self._write(bucket)

    def kept(self, table: TargetTable) -> Kept | None:
        """What this load left in a table; None where it has not come to it."""
        return self.tables.get(identifier(*table))

    def _write(self, bucket: Bucket) -> None:
        bucket.write(NAME, self.model_dump_json().encode())


def read_record(bucket: Bucket) -> Record | None:
    """What is recorded of the last load from a stage, or None."""
    content = bucket.read(NAME)
    try:
        return Record.model_validate_json(content) if content else None
    except ValidationError:
        return None  # of another version of this program: then nothing is known, and everything is loaded again
