"""Delta tables as DuckDB reads them: the files that their log names at one version, for the local stack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import duckdb

from helpers.engines.answers import held_there
from helpers.engines.columns import TablePlan
from helpers.engines.delta.catalog import version_shape
from helpers.engines.delta.ddl import DELTA, delta_type
from helpers.engines.files import Files
from helpers.engines.held import Held
from helpers.engines.shapes import TableShape
from helpers.errors import LoadError, MigrationError
from helpers.model import types
from helpers.model.places import TargetTable
from helpers.platforms.delta import DeltaVersion, Lake
from helpers.platforms.faults import duck as faults
from helpers.platforms.postgres import identifier, literal
from helpers.settings import Databricks, Stage

_WITHOUT_STATISTICS = "SET disabled_optimizers = 'statistics_propagation,filter_pushdown'"
"""Writers leave NaN out of a Parquet file's largest value, and DuckDB 1.5.5 then takes no value to be larger."""


class DeltaSide(Files):
    """The tables of some schemas below one location, each at the version that it had when it was first asked for.

    Its rows do not pass Spark, so what Spark reads or computes wrongly is not hidden by Spark's own digest.

    Args:
        target: with the location.
        stage: whose credentials reach it.
        tables: that are compared; the schemas of no others are looked at.
    """

    name = "delta"
    digested = "over the Delta tables' files"
    settings = _WITHOUT_STATISTICS

    def __init__(self, target: Databricks, stage: Stage, tables: Iterable[TargetTable]) -> None:
        super().__init__(Lake.open(target, stage).bucket)
        self._root = str(target.delta_root)
        self._lakes = {schema: Lake.open(target, stage, schema) for schema in {table.schema for table in tables}}
        self._there = {TargetTable(schema, name) for schema, lake in self._lakes.items() for name in lake.tables()}
        self._versions: dict[TargetTable, DeltaVersion] = {}

    def tables(self) -> list[TargetTable]:
        return sorted(self._there)

    def shape(self, plan: TablePlan) -> TableShape | None:
        return version_shape(self._version(plan.there)) if plan.there in self._there else None

    def rows(self, table: TargetTable) -> int:
        return self._count(_files(self._whole(table)))

    def parquet(self, plan: TablePlan) -> Iterator[str]:
        kinds = {column.name: delta_type(column.type) for column in self._version(plan.there).columns}
        return (parquet_type(kinds[column.there]) for column in plan.columns)

    def failed(self, error: duckdb.Error, doing: str) -> MigrationError:
        where = self._root
        cure = "a file is gone or damaged: load the table again"
        return faults.told(error, f"{doing} of a Delta table", on=where, kind=LoadError, cure=cure)

    def held(self, plan: TablePlan) -> Mapping[str, Held] | None:
        if plan.there not in self._there:
            return None
        found = {c.name: DELTA.read(delta_type(c.type)) for c in self._version(plan.there).columns}
        return held_there(plan, found, self.sql, field=lambda column: column.staged.field)

    def _version(self, table: TargetTable) -> DeltaVersion:
        if table not in self._versions:
            self._versions[table] = self._lakes[table.schema].read(table.name)
        return self._versions[table]

    def _whole(self, table: TargetTable) -> DeltaVersion:
        return _whole(self._lakes[table.schema], table.name, self._version(table))

    def relation(self, plan: TablePlan) -> str:
        """The rows, under the names that the staged fields have; columns that the table lacks are left out."""
        version = self._whole(plan.there)
        columns = {column.name: column for column in version.columns}
        chosen = ", ".join(
            f"{identifier(columns[c.there].physical)} AS {identifier(c.staged.field)}"
            for c in plan.columns
            if c.there in columns
        )
        return f"(SELECT {chosen or '1'} FROM {_files(version)})"


def whole_relation(lake: Lake, name: str) -> str:
    """The rows of a table as it is now, under its columns' own names, for DuckDB.

    Raises:
        LoadError: its log cannot be understood, or names rows that its files do not tell apart.
    """
    version = _whole(lake, name, lake.read(name))
    chosen = ", ".join(f"{identifier(column.physical)} AS {identifier(column.name)}" for column in version.columns)
    return f"(SELECT {chosen} FROM {_files(version)})"


def _whole(lake: Lake, name: str, version: DeltaVersion) -> DeltaVersion:
    if version.whole:
        raise LoadError(
            f"read the Delta table {name} without Spark",
            on=lake.location(name),
            why=version.whole,
            next_step="load it again: runbook load --target databricks, or verify it through Spark: a profile with "
            "databricks.url instead of the local stack",
        )
    return version


def parquet_type(delta: str) -> str:
    """DuckDB's name of the type that a column of a Delta table, declared so, has in its files."""
    return types.PARQUET_OF_DELTA.get(delta, delta)


def _files(version: DeltaVersion) -> str:
    """Of no files, the same columns without rows; columns that a file lacks, because they came later, are NULL."""
    typed = ", ".join(
        f"CAST(NULL AS {parquet_type(delta_type(c.type))}) AS {identifier(c.physical)}" for c in version.columns
    )
    none = f"(SELECT {typed} WHERE false)"
    if not version.files:
        return none
    urls = ", ".join(literal(url) for url in version.files)
    return f"(FROM {none} UNION ALL BY NAME FROM read_parquet([{urls}], union_by_name = true))"
