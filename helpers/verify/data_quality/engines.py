"""The sides as engines that answer SQL: how each holds a table's columns, and the rows that a query over them gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import duckdb
import psycopg2

from helpers.engines.snowflake.catalog import declared_type
from helpers.errors import MigrationError
from helpers.model import limits as limiting
from helpers.model import types
from helpers.model.catalog import Column, Table
from helpers.model.limits import Server
from helpers.model.manifest import Manifest, StagedColumn
from helpers.platforms import duck, snowflake
from helpers.platforms.faults import duck as duck_faults
from helpers.platforms.faults import postgres as postgres_faults
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket
from helpers.source.census import TableCensus
from helpers.verify.data_quality import forms
from helpers.verify.data_quality.dialects import DUCKDB, POSTGRES, SNOWFLAKE, Dialect
from helpers.verify.data_quality.forms import Form, Held, form_of, target_form


@dataclass(frozen=True)
class Expected:
    """A column of the source as the migration brings it to a target.

    Attributes:
        name: in the target.
        declared: its type there.
        flag: the target's column that keeps the values which a policy replaced.
        replaced: PostgreSQL's expression over the source that is not NULL exactly for those values.
    """

    name: str
    declared: str
    flag: str | None = None
    replaced: str | None = None

    @property
    def form(self) -> Form:
        """Of its values in the target."""
        return target_form(self.declared)[0]


Columns = Mapping[str, Expected]
"""By the name in the source."""


class Engine(Protocol):
    """A side that answers queries.

    Attributes:
        name: as people say it.
        dialect: of its SQL.
        computes: whether reports will be computed by it; a stage only holds files.
    """

    name: str
    dialect: Dialect
    computes: bool

    def columns(self, table: Table) -> Mapping[str, Held] | None:
        """The columns of the source's table that the side has, by their names in the source; None without the table."""

    def relation(self, table: Table) -> str:
        """What follows FROM."""

    def rows(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        """Every row of a query; an error is told as having failed to do `doing`."""

    def zone(self) -> str | None:
        """The time zone in which a report runs there that sets none, or None where that cannot be told."""


def expected(columns: Sequence[StagedColumn], *, staged: bool = False) -> dict[str, Expected]:
    """The columns that a manifest says a table has, in the target or as they are staged."""
    flags = {column.flag_of: column for column in columns if column.flag_of}
    found = {}
    for column in columns:
        if column.flag_of is None:
            flag = flags.get(column.source)
            found[column.source] = Expected(
                column.field if staged else column.name,
                column.parquet if staged else column.snowflake,
                (flag.field if staged else flag.name) if flag else None,
                flag.text.format(c=identifier(column.source)) if flag else None,
            )
    return found


def expected_by_census(census: TableCensus) -> dict[str, Expected]:
    """The columns that an export would give a table that it has not moved yet."""
    found = {}
    for column in census.columns:
        own, *flags = column.fields
        flag = flags[0] if flags else None
        found[column.column.name] = Expected(
            own.name,
            own.mapping.snowflake,
            flag.name if flag else None,
            flag.mapping.text.format(c=identifier(column.column.name)) if flag else None,
        )
    return found


def _held(columns: Columns, there: Mapping[str, str]) -> dict[str, Held]:
    """Those of the expected columns that a target has, given its types by name."""
    found = {}
    for source, column in columns.items():
        if column.name in there:
            form, digits, scale = target_form(there[column.name])
            kept = f"{identifier(column.flag)} IS NULL" if column.flag in there and column.flag else None
            found[source] = Held(identifier(column.name), there[column.name], column.form, form, digits, scale, kept)
    return found


class PostgresEngine:
    """A PostgreSQL server through one cursor, whose transaction decides what is seen.

    Args:
        cursor: of psycopg2.
        tables: that it has.
        expected: of each table, by its name with the schema: what a target of other types holds in its place. Without
            it, the other side is PostgreSQL too, and what no other target holds is left out on both.
        name: as people say it.
    """

    dialect = POSTGRES
    computes = True

    def __init__(
        self,
        cursor: Any,
        tables: Sequence[Table],
        *,
        expected: Mapping[str, Columns] | None = None,
        name: str = "postgresql",
    ) -> None:
        self.name = name
        self._cursor = cursor
        self._tables = {str(table): table for table in tables}
        self._expected = expected

    def columns(self, table: Table) -> Mapping[str, Held] | None:
        found, asked = self._tables.get(str(table)), {column.name: column for column in table.columns}
        if found is None:
            return None
        return {c.name: self._held(table, c, asked[c.name]) for c in found.columns if c.name in asked}

    def relation(self, table: Table) -> str:
        return self._tables[str(table)].sql

    def rows(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        try:
            self._cursor.execute(sql)
            return list(self._cursor.fetchall())
        except psycopg2.Error as error:
            raise postgres_faults.told(error, doing, on=self.name) from None

    def zone(self) -> str | None:
        rows = self.rows(_ZONE, doing="read the time zone that is set for the database")
        return str(rows[0][0]) if rows else None

    def _held(self, table: Table, column: Column, asked: Column) -> Held:
        digits, scale = forms.digits_of(column.type)
        quoted = identifier(column.name)
        return Held(
            quoted, column.type.sql, form_of(asked.type), form_of(column.type), digits, scale, self._kept(table, column)
        )

    def _kept(self, table: Table, column: Column) -> str | None:
        if self._expected is not None:
            known = self._expected.get(str(table), {}).get(column.name)
            return f"({known.replaced}) IS NULL" if known and known.replaced else None
        return holdable(column)


# What a session sets for itself, as ours does, hides what is set for the role and the database.
_ZONE = """
SELECT split_part(setting, '=', 2)
FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) AS setting
WHERE lower(setting) LIKE 'timezone=%'
  AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
  AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
ORDER BY s.setrole = 0, s.setdatabase = 0
LIMIT 1
"""


def holdable(column: Column) -> str | None:
    """The condition under which every target holds a value of the column, None where each does."""
    if column.type.kind != "b" or column.type.name not in types.MASKED:
        return None
    limits = [limit.condition.format(c=identifier(column.name)) for limit in limiting.limits(column.type, Server())]
    return f"({' OR '.join(f'({limit})' for limit in limits)}) IS NOT TRUE" if limits else None


class SnowflakeEngine:
    """A Snowflake schema, through the genuine connector.

    Args:
        session: open.
        database, schema: where the tables are.
        expected: of each of the source's tables, by its name with the schema.
    """

    name = "snowflake"
    dialect = SNOWFLAKE
    computes = True

    def __init__(self, session: snowflake.Session, database: str, schema: str, expected: Mapping[str, Columns]) -> None:
        self._session = session
        self._place = (database, schema)
        self._expected = expected
        rows = self.rows(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, NUMERIC_PRECISION, NUMERIC_SCALE, CHARACTER_MAXIMUM_LENGTH "
            f"FROM {snowflake.identifier(database)}.INFORMATION_SCHEMA.COLUMNS "
            f"WHERE TABLE_SCHEMA = {snowflake.literal(schema)}",
            doing="read the columns of the target",
        )
        self._types: dict[str, dict[str, str]] = {}
        for table, column, *declared in rows:
            self._types.setdefault(table, {})[column] = declared_type(*declared)

    def columns(self, table: Table) -> Mapping[str, Held] | None:
        there = self._types.get(table.name)
        return None if there is None else _held(self._expected.get(str(table), {}), there)

    def relation(self, table: Table) -> str:
        return snowflake.identifier(*self._place, table.name)

    def rows(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self._session.execute(sql, doing=doing)]

    @cache  # noqa: B019 - as long as the session
    def zone(self) -> str | None:
        try:
            rows = self._session.execute("SHOW PARAMETERS LIKE 'TIMEZONE' IN ACCOUNT", doing="read the account's zone")
        except MigrationError:
            return None
        return str(rows[0]["value"]) if rows else None


class StageEngine:
    """The Parquet files of an export, read by DuckDB.

    Args:
        connection: of DuckDB.
        bucket: where the files are.
        manifest: that names them.
    """

    name = "stage"
    dialect = DUCKDB
    computes = False

    def __init__(self, connection: duckdb.DuckDBPyConnection, bucket: Bucket, manifest: Manifest) -> None:
        self._connection = connection
        self._bucket = bucket
        self._manifest = manifest
        self._types: dict[str, dict[str, str]] = {}
        duck.enable_s3(connection, bucket.stage)

    def columns(self, table: Table) -> Mapping[str, Held] | None:
        staged = self._manifest.table(table.schema, table.name)
        if staged is None:
            return None
        if str(table) not in self._types:
            rows = self.rows(f"DESCRIBE SELECT * FROM {self.relation(table)}", doing=f"read the columns of {table}")
            self._types[str(table)] = {name: kind for name, kind, *_ in rows}
        return _held(expected(staged.columns, staged=True), self._types[str(table)])

    def relation(self, table: Table) -> str:
        staged = self._manifest.table(table.schema, table.name)
        assert staged is not None
        location = self._bucket.location
        urls = ", ".join(literal(f"s3://{location.bucket}/{location.key(file.path)}") for file in staged.files)
        return f"read_parquet([{urls}])"

    def rows(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        try:
            return list(self._connection.execute(sql).fetchall())
        except duckdb.Error as error:
            cure = "export again if files are gone or were changed by hand"
            raise duck_faults.told(error, doing, on=str(self._bucket.location), cure=cure) from None

    def zone(self) -> str | None:
        return None
