"""Batches for the tests of what applies them, written as convert.py writes them: rows of a second export, in its very Parquet types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from uuid import uuid4

from deltalake import DeltaTable

from helpers import load as loading
from helpers.digests import files_of
from helpers.engines import engine
from helpers.model import lsn
from helpers.model.batch import Batch, ChangedTable, batch_columns
from helpers.model.manifest import Manifest, StagedFile, StagedTable
from helpers.model.sync import Sync, SyncedTable
from helpers.platforms import duck, snowflake
from helpers.platforms.delta import Lake, storage_options
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket

STEP = 0x100


@dataclass(frozen=True)
class Change:
    """What a batch does to one table: by conditions in DuckDB's SQL over the fields of the rows.

    Attributes:
        written: the rows of the second export that are in the batch.
        deleted: the rows of the first export whose keys are gone; one from which a written row comes is gone by itself.
        origin: by field of the key, the former value, as an expression over the new row.
        new: which of the written rows were not there before.
        unchanged: by field, which of the written rows have the target's own value.
        values: by field, an expression that the written rows have in the place of it.
    """

    written: str = "FALSE"
    deleted: str = "FALSE"
    origin: Mapping[str, str] = field(default_factory=dict)
    new: str = "FALSE"
    unchanged: Mapping[str, str] = field(default_factory=dict)
    truncated: bool = False
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Following:
    """A target that was loaded from one export, and is to become what a second one holds."""

    migration: Any
    target: str
    before: Manifest
    sync: Sync
    after: Manifest | None = None
    fresh: Manifest | None = None
    """The export that `loaded_anew` has loaded."""
    wider: bool = False
    """Whether batches have the columns of the second export."""

    @property
    def section(self) -> Any:
        return self.migration.settings.target(self.target)

    @property
    def second(self) -> Bucket:
        """Where the second export is."""
        found: Bucket = elsewhere(self.migration, "second").bucket
        return found

    @property
    def start(self) -> int:
        return lsn.parse(self.sync.lsn)

    def opened(self) -> Any:
        """An applier, as a block."""
        return engine(self.target).applier(self.section, self.migration.bucket, self.sync)

    def begin(self) -> None:
        with self.opened() as applier:
            applier.begin({self.there(table): self.start for table in self.before.tables})

    def there(self, table: StagedTable | str) -> Any:
        staged = self.table(table) if isinstance(table, str) else table
        return staged.there(self.section.schema_)

    def table(self, name: str) -> StagedTable:
        return next(table for table in self.tables if table.name == name)

    @property
    def tables(self) -> Sequence[StagedTable]:
        """As the batches have them."""
        return self.after.tables if self.wider and self.after else self.before.tables

    def export_again(self, *statements: str) -> Manifest:
        """Changes the source and exports it elsewhere."""
        self.migration.source(*statements)
        self.after = elsewhere(self.migration, "second").export()
        return self.after

    def load_again(self) -> None:
        """Loads the second export into the same tables."""
        assert self.after
        loading.load(loading.plan_load(self.after, self.second, self.section))

    def batch(self, number: int, changes: Mapping[str, Change]) -> Batch:
        """The batch from one position to the next, staged."""
        after = self.start + number * STEP
        assert self.after
        made = tuple(self._changed(self.table(name), change, number) for name, change in changes.items())
        return Batch(
            sync=self.sync.id, after=after, until=after + STEP, committed_at="2026-12-01T00:00:00+00:00", tables=made
        )

    def apply(self, batch: Batch, tables: Sequence[StagedTable] | None = None) -> None:
        with self.opened() as applier:
            applier.apply(batch, self.tables if tables is None else tables)

    def _changed(self, staged: StagedTable, change: Change, number: int) -> ChangedTable:
        bucket, path = (
            self.migration.bucket,
            f"sync/{self.sync.id}/{number}/{sha256(staged.name.encode()).hexdigest()[:8]} é.parquet",
        )
        with closing(duck.connect()) as connection:
            duck.enable_s3(connection, bucket.stage)
            connection.execute(f"CREATE TABLE batch AS {self._query(staged, change)}")
            url = literal(f"s3://{bucket.location.bucket}/{bucket.location.key(path)}")
            connection.execute(f"COPY batch TO {url} (FORMAT parquet, COMPRESSION zstd)")
            mark = identifier(batch_columns(staged).deleted)
            origin = ", ".join(map(identifier, batch_columns(staged).origin.values()))
            asked = f"SELECT COUNT(*) FROM (SELECT DISTINCT {origin} FROM batch) AS b WHERE b IS NOT NULL AND NOT ({' AND '.join(f'{each} IS NULL' for each in origin.split(', '))})"
            (known,) = connection.execute(asked).fetchone() or (0,)
            count, gone = connection.execute(f"SELECT COUNT(*), COUNT(*) FILTER ({mark}) FROM batch").fetchone() or (
                0,
                0,
            )
        file = StagedFile(path=path, rows=count, bytes=bucket.sizes()[path], sha256="")
        return ChangedTable(
            schema_=staged.schema_, name=staged.name, truncated=change.truncated, file=file if count else None,
            written=count - gone, deleted=gone, unchanged=tuple(change.unchanged), known=known,
        )  # fmt: skip

    def _query(self, staged: StagedTable, change: Change) -> str:
        """Written rows, and the keys that are gone: those that are named, and those from which written rows have come."""
        assert self.after
        second = self.migration.bucket if self.after is self.before else self.second
        rows = next(table for table in self.after.tables if table.name == staged.name)
        added = batch_columns(staged, tuple(change.unchanged))
        mark, q = identifier(added.deleted), identifier
        values = {column.field: change.values.get(column.field, q(column.field)) for column in staged.columns}
        for name, when in change.unchanged.items():
            values[name] = f"CASE WHEN NOT ({when}) THEN {values[name]} END"
        for name, place in added.origin.items():
            values[place] = f"CASE WHEN NOT ({change.new}) THEN {change.origin.get(name, q(name))} END"
        for name, place in added.unchanged.items():
            values[place] = f"({change.unchanged[name]})"
        own = ", ".join(f"{value} AS {q(name)}" for name, value in values.items())
        same = "".join(f", FALSE AS {q(place)}" for place in added.unchanged.values())
        named = ", ".join(f"{q(name)}, {q(name)} AS {q(place)}" for name, place in added.origin.items())
        left = ", ".join(f"{q(place)} AS {q(name)}, {q(place)}" for name, place in added.origin.items())
        none = " OR ".join(f"{q(place)} IS NULL" for place in added.origin.values())
        taken = " AND ".join(f"n.{q(name)} = w.{q(place)}" for name, place in added.origin.items())
        return (
            f"WITH w AS (SELECT FALSE AS {mark}, {own} FROM {_of(second, rows)} WHERE {change.written}), "
            f"gone AS (SELECT TRUE AS {mark}, {named}{same} FROM {_of(self.migration.bucket, self._first(staged))} WHERE {change.deleted} UNION BY NAME "
            f"SELECT TRUE AS {mark}, {left}{same} FROM w WHERE NOT ({none}) AND NOT EXISTS (FROM w AS n WHERE {taken})) "
            "FROM w UNION ALL BY NAME FROM gone"
        )

    def _first(self, staged: StagedTable) -> StagedTable:
        return next(table for table in self.before.tables if table.name == staged.name)

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        """The rows of a table in the target."""
        return rows_there(self.migration, self.target, self.there(name))

    def loaded_anew(self, name: str) -> list[tuple[Any, ...]]:
        """The rows that a load of the second export gives."""
        other = elsewhere(self.migration, "second", schema="fresh")
        section = other.settings.target(self.target)
        assert self.after
        if self.fresh is not self.after:
            loading.load(loading.plan_load(self.after, other.bucket, section))
            self.fresh = self.after
        staged = next(table for table in self.after.tables if table.name == name)
        return rows_there(other, self.target, staged.there(section.schema_))


def rows_there(migration: Any, target: str, table: Any) -> list[tuple[Any, ...]]:
    """A target's rows, sorted."""
    if target == "databricks":
        lake = Lake.open(migration.settings.databricks, migration.settings.stage, table.schema)
        found = DeltaTable(lake.location(table.name), storage_options=storage_options(migration.settings.stage))
        arrow = found.to_pyarrow_table()
        return sorted((tuple(row.values()) for row in arrow.to_pylist()), key=repr)
    own = migration.settings.snowflake
    with snowflake.connect(own) as session:
        rows = session.execute(f"SELECT * FROM {snowflake.identifier(own.database, *table)}", doing="read a table")
    return sorted((tuple(row.values()) for row in rows), key=repr)


def elsewhere(migration: Any, folder: str, schema: str = "") -> Any:
    """The same source with another place on the stage, and other schemas in the targets where one is named."""
    values = migration.settings.values
    more: dict[str, Any] = {"stage": values.stage.model_copy(update={"url": f"{values.stage.url}{folder}/"})}
    if schema:
        for section in ("databricks", "snowflake"):
            own = getattr(values, section)
            more[section] = own.model_copy(update={"schema_": f"{own.schema_}_{schema}"})
    return type(migration)(replace(migration.settings, values=values.model_copy(update=more)))


def following(migration: Any, target: str, *statements: str) -> Following:
    """A source that was exported and loaded, and a sync that begins there."""
    migration.source(*statements)
    manifest = migration.export()
    loading.load(loading.plan_load(manifest, migration.bucket, migration.settings.target(target)))
    tables = tuple(SyncedTable(schema_=t.schema_, name=t.name, start=manifest.lsn) for t in manifest.tables)
    sync = Sync(
        id=uuid4().hex, slot="s", publication="p", source=manifest.source, system_identifier="1", timeline=1, database="d",
        export=manifest.export, lsn=manifest.lsn, created_at="2026-12-01T00:00:00+00:00", tables=tables,
    )  # fmt: skip
    found = Following(migration, target, manifest, sync)
    found.begin()
    return found


def _of(bucket: Bucket, staged: StagedTable) -> str:
    return files_of(bucket, [file.path for file in staged.files])
