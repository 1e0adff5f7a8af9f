"""Which load a Delta table's rows are of: written beside the staged files, and bound to a version of the table's own log.

Delta commits one table at a time, so no commit spans a table and a record of it. The record therefore follows the commit of
each table and names the version that it made: what anybody wrote since is a later version, and a table that was made anew has
another id. A load that is killed between a commit and its record loads that table again, which replaces and never adds.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from helpers.engines.delta.catalog import key, qualified, table_names
from helpers.model.manifest import Manifest
from helpers.platforms import spark
from helpers.platforms.delta import Lake
from helpers.platforms.s3 import Bucket
from helpers.platforms.spark import Session
from helpers.settings import Databricks

NAME = "load-delta.json"


class Version(BaseModel):
    """A state of one table; equal ones hold the same rows.

    Attributes:
        table_id: of the table, as its log has it; a table that is dropped and made again has another.
        number: of the last commit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table_id: str
    number: int


class Kept(BaseModel):
    """What a load left in one table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    rows: int


@dataclass(frozen=True)
class Versions:
    """The versions that a target's tables have now: a local table's by its log, the others' by asking the server."""

    target: Databricks
    lake: Lake | None
    session: Session | None

    @classmethod
    def of(cls, target: Databricks, bucket: Bucket, session: Session | None) -> Versions:
        """Of the tables of `target`; `bucket` is the stage, whose credentials reach a local one."""
        return cls(target, Lake.of(target, bucket.stage) if target.engine == "pysail" else None, session)

    def names(self) -> set[str]:
        """By `key`, the tables that there are."""
        if self.lake:
            return set(self.lake.tables())
        assert self.session
        return {key(self.target, name) for name in table_names(self.session, self.target)}

    def now(self, table: str) -> Version | None:
        """The version of a table; None where a file that its log names is gone.

        Raises:
            ConnectionFailed, LoadError: the target cannot be asked, or has no such table.
        """
        if self.lake:
            found = self.lake.read(table)
            return None if self.lake.lost(table, found) else Version(table_id=found.id, number=found.version)
        return self.look(table)[0]

    def look(self, table: str) -> tuple[Version, dict[str, str]]:
        """The version of a table and its properties.

        Raises:
            ConnectionFailed, LoadError: the target cannot be asked, or has no such table.
        """
        if self.lake:
            found = self.lake.read(table)
            return Version(table_id=found.id, number=found.version), found.properties
        assert self.session
        # https://docs.delta.io/latest/delta-utility.html: the details have one row, the history has the last commit first.
        name, doing = qualified(self.target, table), f"ask for the version of {table}"
        (detail,) = self.session.execute(f"DESCRIBE DETAIL {name}", doing=doing)
        (last,) = self.session.execute(f"DESCRIBE HISTORY {name} LIMIT 1", doing=doing)
        properties = detail.get("properties") or {}
        return Version(table_id=str(detail["id"]), number=int(last["version"])), dict(properties)

    def operations(self, table: str, after: int) -> list[str]:
        """What the log says was done to a table behind a version, the last first."""
        if self.lake:
            done = self.lake.history(table)
        else:
            assert self.session
            name = qualified(self.target, table)
            done = self.session.execute(f"DESCRIBE HISTORY {name}", doing=f"ask what was done to {table}")
        return [str(commit["operation"]) for commit in done if int(commit["version"]) > after]


class Record(BaseModel):
    """Of one load into one target.

    Attributes:
        target: its address.
        export: whose files were loaded.
        load_id: what the load was given.
        tables: by name in the target.
        whole: whether every table was loaded, and what the source no longer has was dropped.
    """

    model_config = ConfigDict(extra="forbid")

    target: str
    export: str
    load_id: str
    tables: dict[str, Kept] = {}
    whole: bool = False

    @classmethod
    def begun(cls, bucket: Bucket, target: Databricks, export: str, load_id: str) -> Record:
        """The record of a load that was broken off, if this is the same one, or else a new one; nothing is written."""
        found, where = _read(bucket), spark.address(target)
        if found and (found.target, found.export, found.load_id) == (where, export, load_id):
            return found.model_copy(update={"whole": False})
        return cls(target=where, export=export, load_id=load_id)

    def keep(self, bucket: Bucket, table: str, version: Version, rows: int) -> None:
        """Says that the table's rows are of this load; call it once they are committed."""
        self.tables[table] = Kept(version=version, rows=rows)
        self._write(bucket)

    def finish(self, bucket: Bucket) -> None:
        """Says that the load is whole."""
        self.whole = True
        self._write(bucket)

    def holds(self, table: str, rows: int, now: Version | None) -> bool:
        """Whether a table at version `now` holds this load's rows, all of them and nobody else's since."""
        kept = self.tables.get(table)
        return kept is not None and now is not None and kept == Kept(version=now, rows=rows)

    def _write(self, bucket: Bucket) -> None:
        bucket.write(NAME, self.model_dump_json().encode())


def is_loaded(manifest: Manifest, bucket: Bucket, target: Databricks, load_id: str) -> tuple[bool, str]:
    """Asks the tables' logs whether they stand where a load left them.

    Args:
        manifest: of the export that was loaded.
        bucket: its stage, where the record is.
        target: where the tables are.
        load_id: what the load was given.

    Returns:
        The answer, and what it was read from.

    Raises:
        ConnectionFailed, LoadError: the target cannot be asked.
    """
    where, record = spark.address(target), _read(bucket)
    if record is None or not record.whole or (record.target, record.load_id) != (where, load_id):
        return False, f"{bucket.location} does not record the load {load_id} into {where} as whole"
    with nullcontext() if target.engine == "pysail" else spark.connect(target) as session:
        versions = Versions.of(target, bucket, session)
        present = versions.names()
        for staged in manifest.tables:
            there = key(target, staged.name) in present
            if not record.holds(staged.name, staged.rows, versions.now(staged.name) if there else None):
                return False, f"{staged} in {where} is not as the load {load_id} left it"
    return True, f"the log of every table in {where} ends where the load {load_id} left it"


def _read(bucket: Bucket) -> Record | None:
    content = bucket.read(NAME)
    try:
        return Record.model_validate_json(content) if content else None
    except ValidationError:
        return None  # of another version of this program: then nothing is known, and everything is loaded again
