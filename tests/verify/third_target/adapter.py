"""What a DuckDB file is as a target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import duckdb

from helpers.engines.answers import held_there
from helpers.engines.base import Engine, Place
from helpers.engines.columns import TablePlan
from helpers.engines.files import Files
from helpers.engines.held import Held
from helpers.engines.shapes import ColumnShape, TableShape
from helpers.errors import LoadError, MigrationError
from helpers.model.declared import DUCKDB
from helpers.model.places import TargetTable
from helpers.platforms.faults import duck as faults
from helpers.platforms.postgres import identifier, literal
from helpers.settings import Settings

FILE = Path("/nowhere")
SCHEMA = "target"


class DuckFile(Files):
    """The tables of one schema."""

    name = "duckdb"
    digested = "over the file"

    def __init__(self, place: Place) -> None:
        assert place.bucket
        super().__init__(place.bucket)
        self.settings = f"ATTACH IF NOT EXISTS {literal(str(FILE))} AS there (READ_ONLY)"
        rows = self.query(
            "SELECT table_name, column_name, replace(data_type, 'TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ'), is_nullable FROM duckdb_columns() "
            f"WHERE database_name = 'there' AND schema_name = {literal(SCHEMA)}",
            doing="read the columns",
        )
        self._columns: dict[str, list[ColumnShape]] = {}
        for table, column, kind, nullable in rows:
            self._columns.setdefault(table, []).append(
                ColumnShape(column, DUCKDB.read(kind), None if nullable else True)
            )

    def tables(self) -> list[TargetTable]:
        return [TargetTable(SCHEMA, name) for name in self._columns]

    def shape(self, plan: TablePlan) -> TableShape | None:
        found = self._columns.get(plan.there.name)
        return TableShape(DUCKDB, tuple(found)) if found else None

    def rows(self, table: TargetTable) -> int:
        return self._count(f"there.{identifier(*table)}")

    def parquet(self, plan: TablePlan) -> Iterator[str]:
        kinds = {column.name: column.type.text for column in self._columns[plan.there.name]}
        return (kinds[column.there] for column in plan.columns)

    def relation(self, plan: TablePlan) -> str:
        there = {column.name for column in self._columns[plan.there.name]}
        named = (f"{identifier(c.there)} AS {identifier(c.staged.field)}" for c in plan.columns if c.there in there)
        return f"(SELECT {', '.join(named)} FROM there.{identifier(*plan.there)})"

    def held(self, plan: TablePlan) -> Mapping[str, Held] | None:
        found = {column.name: column.type for column in self._columns.get(plan.there.name, ())}
        field = lambda column: column.staged.field  # noqa: E731
        return held_there(plan, found, self.sql, field=field) if found else None

    def failed(self, error: duckdb.Error, doing: str) -> MigrationError:
        return faults.told(error, doing, on=str(FILE), kind=LoadError, cure="write the file again")


class Duck(Engine):
    """A DuckDB file."""

    title = "DuckDB"
    ddl = DUCKDB

    def own_schema(self, profile: Settings) -> str:
        return SCHEMA

    def address(self, place: Place) -> str:
        return f"DuckDB file {FILE}"

    def open(self, place: Place, stack: ExitStack) -> DuckFile:
        return DuckFile(place)


ENGINE = Duck()
