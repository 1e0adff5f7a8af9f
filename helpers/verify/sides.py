"""What is compared: each side gives its tables' columns, its row counts, and its rows as PostgreSQL would print them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import duckdb
import numpy as np
import pyarrow as pa

from helpers.catalog import Table
from helpers.errors import ConnectionFailed
from helpers.load.snowflake import declared_type
from helpers.manifest import Manifest, StagedTable
from helpers.platforms import duck, postgres, snowflake
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket
from helpers.redaction import redact
from helpers.settings import Source
from helpers.types import Comparison

DuckDB = duckdb.DuckDBPyConnection

ROWS_PER_BATCH = 50_000
"""Enough to keep DuckDB busy, few enough that wide rows stay within a few hundred megabytes."""


@dataclass(frozen=True)
class SideColumn:
    """A column as one side has it."""

    name: str
    type: str
    not_null: bool


@dataclass(frozen=True)
class ComparedColumn(SideColumn):
    """A column as the target should have it, and how it is compared.

    Attributes:
        text: the expression by which PostgreSQL prints what the target should hold.
        postgres: the column's type in PostgreSQL.
    """

    comparison: Comparison
    text: str
    postgres: str


class Side(Protocol):
    """A source or a target."""

    name: str

    def tables(self) -> dict[str, str]:
        """Every table it has: name → schema, of the side's own."""

    def columns(self, schema: str, table: str) -> tuple[SideColumn, ...] | None:
        """The table's columns in their order, or None where there is no such table."""

    def count(self, schema: str, table: str) -> int:
        """How many rows the table has."""

    def fetch(self, into: DuckDB, name: str, schema: str, table: str, columns: Sequence[ComparedColumn]) -> None:
        """Creates the table `name` with a VARCHAR column `c0`, `c1` … for each of `columns`."""

    def value(self, text: str, comparison: Comparison) -> str:
        """The SQL expression of the value that `text`, one of the fetched columns, stands for."""

    def printed(self, text: str, column: ComparedColumn) -> str:
        """The SQL expression of how PostgreSQL would print that value in a column of the source's type."""


def value(text: str, comparison: Comparison) -> str:
    """The value behind PostgreSQL's text, as DuckDB compares it: equal exactly where the values are.

    Numbers are compared by value, so that 1.10 is 1.1; floats by their bits, but −0 is 0 and NaN is NaN; everything
    else by its text.
    """
    match comparison:
        case "number":
            return f"CASE WHEN contains({text}, '.') THEN rtrim(rtrim({_with_leading_zero(text)}, '0'), '.') ELSE {text} END"
        case "float8":
            return f"CAST({text} AS DOUBLE) + 0"
        case "float4":
            return f"CAST(CAST({text} AS FLOAT) AS DOUBLE) + 0"
        case "text":
            return text


def printed(text: str, column: ComparedColumn) -> str:
    """A target's text as PostgreSQL would print the value: the scale of a column without one, the digits of a float."""
    if column.comparison == "number" and column.postgres == "numeric":
        return value(text, "number")
    if column.comparison in ("float4", "float8"):
        single = "true" if column.comparison == "float4" else "false"
        return f"postgres_float(CAST({text} AS DOUBLE), {single})"
    return text


def postgres_float(number: float, single: bool) -> str:
    """The shortest text that PostgreSQL's `float4` or `float8` prints for `number`
    (https://www.postgresql.org/docs/current/datatype-numeric.html#DATATYPE-FLOAT).
    """
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    fits = single and float(np.float32(number)) == number
    digits = np.format_float_scientific(np.float32(number) if fits else number, unique=True, trim="-")
    mantissa, _, power = digits.partition("e")
    exponent = int(power)
    if -5 < exponent < (6 if fits else 15):
        return np.format_float_positional(np.float32(number) if fits else number, unique=True, trim="-")
    return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _with_leading_zero(number: str) -> str:
    """DuckDB prints a DECIMAL of nothing but places as .5, PostgreSQL as 0.5."""
    return f"regexp_replace({number}, '^(-?)\\.', '\\10.')"


class PostgresSide:
    """A PostgreSQL server, read as `value::text`, inside one snapshot.

    This is deliberately another path than the export's: a fault of the export's reader cannot hide on both sides. The
    connection is its own, because the snapshot lives in one long transaction, and the tables it is compared in do not.
    """

    name = "postgresql"

    def __init__(self, source: Source, snapshot: str, tables: Sequence[Table]) -> None:
        self._source = source
        self._tables = {(table.schema, table.name): table for table in tables}
        self._connection = duck.connect(memory="256MB")
        try:
            duck.attach_postgres(self._connection, source)
            duck.read_snapshot(self._connection, snapshot)
        except duckdb.Error as error:
            duck.close(self._connection)
            raise self._failed(error) from None

    def close(self) -> None:
        """Ends the transaction."""
        duck.close(self._connection)

    def tables(self) -> dict[str, str]:
        return {name: schema for schema, name in self._tables}

    def columns(self, schema: str, table: str) -> tuple[SideColumn, ...] | None:
        found = self._tables.get((schema, table))
        return tuple(SideColumn(c.name, c.type.sql, c.not_null) for c in found.columns) if found else None

    def count(self, schema: str, table: str) -> int:
        rows = self._query(f"SELECT count(*) AS n FROM {self._tables[schema, table].sql}").fetchall()
        return int(rows[0][0])

    def fetch(self, into: DuckDB, name: str, schema: str, table: str, columns: Sequence[ComparedColumn]) -> None:
        texts = ", ".join(f"{column.text} AS c{n}" for n, column in enumerate(columns))
        rows = self._query(f"SELECT {texts} FROM {self._tables[schema, table].sql}")
        try:
            into.register("arriving", rows.to_arrow_reader(ROWS_PER_BATCH))
            into.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM arriving")
        except duckdb.Error as error:
            raise self._failed(error) from None
        finally:
            into.unregister("arriving")

    def value(self, text: str, comparison: Comparison) -> str:
        return value(text, comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return text

    def _query(self, sql: str) -> DuckDB:
        try:
            return self._connection.execute(f"SELECT * FROM postgres_query('source', {literal(sql)})")
        except duckdb.Error as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> ConnectionFailed:
        return ConnectionFailed(
            "read the source",
            on=postgres.address(self._source),
            why=redact(str(error)),
            next_step="check the server's log, then run the same command again",
        )


_RENDER = {
    "BINARY": "HEX_ENCODE({c})",
    "DATE": "TO_VARCHAR({c}, 'YYYY-MM-DD')",
    "TIME": "TO_VARCHAR({c}, 'HH24:MI:SS.FF9')",
    "TIMESTAMP_NTZ": "TO_VARCHAR({c}, 'YYYY-MM-DD HH24:MI:SS.FF9')",
    "TIMESTAMP_LTZ": "TO_VARCHAR({c}, 'YYYY-MM-DD HH24:MI:SS.FF9')",
    "TIMESTAMP_TZ": "TO_VARCHAR(CONVERT_TIMEZONE('UTC', {c}), 'YYYY-MM-DD HH24:MI:SS.FF9')",
    "FLOAT": "{c}",
    "TEXT": "{c}",
}
"""Per Snowflake type: text that does not depend on the session, with every digit; floats travel as they are, since
Snowflake's own text of a FLOAT is rounded."""

_SHORTEN_FRACTION = "regexp_replace(regexp_replace({c}, '(\\.\\d*?)0+$', '\\1'), '\\.$', '')"


class SnowflakeSide:
    """A Snowflake schema, read through the genuine connector."""

    name = "snowflake"

    def __init__(self, session: snowflake.Session, database: str, schema: str) -> None:
        self._session = session
        self._database = database
        self._schema = schema
        rows = session.execute(
            f"SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, IS_NULLABLE, NUMERIC_PRECISION, NUMERIC_SCALE, CHARACTER_MAXIMUM_LENGTH "
            f"FROM {snowflake.identifier(database)}.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = %s ORDER BY TABLE_NAME, ORDINAL_POSITION",
            [schema],
            doing="read the columns of the target",
        )
        self._columns: dict[str, list[SideColumn]] = {}
        self._types: dict[tuple[str, str], str] = {}
        for row in rows:
            declared = declared_type(
                row["DATA_TYPE"], row["NUMERIC_PRECISION"], row["NUMERIC_SCALE"], row["CHARACTER_MAXIMUM_LENGTH"]
            )
            column = SideColumn(row["COLUMN_NAME"], declared, row["IS_NULLABLE"] == "NO")
            self._columns.setdefault(row["TABLE_NAME"], []).append(column)
            self._types[row["TABLE_NAME"], row["COLUMN_NAME"]] = row["DATA_TYPE"]

    def tables(self) -> dict[str, str]:
        return dict.fromkeys(self._columns, self._schema)

    def columns(self, schema: str, table: str) -> tuple[SideColumn, ...] | None:
        found = self._columns.get(table)
        return tuple(found) if found else None

    def count(self, schema: str, table: str) -> int:
        (row,) = self._session.execute(f"SELECT COUNT(*) AS N FROM {self._from(table)}", doing=f"count {table}")
        return int(row["N"])

    def fetch(self, into: DuckDB, name: str, schema: str, table: str, columns: Sequence[ComparedColumn]) -> None:
        types = [self._types[table, column.name] for column in columns]
        rendered = ", ".join(
            f"{_RENDER.get(kind, 'TO_VARCHAR({c})').format(c=snowflake.identifier(column.name))} AS C{n}"
            for n, (column, kind) in enumerate(zip(columns, types, strict=True))
        )
        into.execute(f"CREATE OR REPLACE TABLE {name} ({', '.join(f'c{n} VARCHAR' for n in range(len(columns)))})")
        texts = ", ".join(_as_postgres_prints(f"C{n}", kind) for n, kind in enumerate(types))
        for batch in self._session.batches(f"SELECT {rendered} FROM {self._from(table)}", doing=f"read {table}"):
            _insert(into, name, batch, texts)

    def value(self, text: str, comparison: Comparison) -> str:
        # Snowflake has no single-precision type: a real arrives as the double of the same value.
        return value(text, "float8" if comparison == "float4" else comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return printed(text, column)

    def _from(self, table: str) -> str:
        return snowflake.identifier(self._database, self._schema, table)


def _as_postgres_prints(column: str, snowflake_type: str) -> str:
    match snowflake_type:
        case "FLOAT":
            return _float_text(column)
        case "BINARY":
            return f"'\\x' || lower({column})"
        case "TIME" | "TIMESTAMP_NTZ":
            return _SHORTEN_FRACTION.format(c=column)
        case "TIMESTAMP_LTZ" | "TIMESTAMP_TZ":
            return _SHORTEN_FRACTION.format(c=column) + " || '+00'"
        case "NUMBER":
            return _with_leading_zero(column)
        case _:
            return f"CAST({column} AS VARCHAR)"


def _float_text(column: str) -> str:
    return (
        f"CASE WHEN isnan({column}) THEN 'NaN' WHEN isinf({column}) THEN if({column} > 0, 'Infinity', '-Infinity') "
        f"ELSE regexp_replace(CAST({column} AS VARCHAR), '\\.0$', '') END"
    )


def _insert(into: DuckDB, name: str, batch: pa.Table, texts: str) -> None:
    into.register("arrived", batch)
    into.execute(f"INSERT INTO {name} SELECT {texts} FROM arrived")
    into.unregister("arrived")


class StageSide:
    """The Parquet files of an export."""

    name = "stage"

    def __init__(self, bucket: Bucket, manifest: Manifest) -> None:
        self._bucket = bucket
        self._manifest = manifest

    def tables(self) -> dict[str, str]:
        return {table.name: table.schema_ for table in self._manifest.tables}

    def columns(self, schema: str, table: str) -> tuple[SideColumn, ...] | None:
        staged = self._manifest.table(schema, table)
        return tuple(SideColumn(c.name, c.snowflake, c.not_null) for c in staged.columns) if staged else None

    def count(self, schema: str, table: str) -> int:
        with duck.connect() as connection:
            duck.enable_s3(connection, self._bucket.stage)
            return int(
                connection.execute(f"SELECT count(*) FROM {self._files(self._staged(schema, table))}").fetchall()[0][0]
            )

    def fetch(self, into: DuckDB, name: str, schema: str, table: str, columns: Sequence[ComparedColumn]) -> None:
        staged = self._staged(schema, table)
        by_name = {column.name: column for column in staged.columns}
        duck.enable_s3(into, self._bucket.stage)
        texts = ", ".join(
            f"{_parquet_text(identifier(by_name[column.name].field), by_name[column.name].parquet)} AS c{n}"
            for n, column in enumerate(columns)
        )
        into.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT {texts} FROM {self._files(staged)}")

    def value(self, text: str, comparison: Comparison) -> str:
        return value(text, comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return printed(text, column)

    def _staged(self, schema: str, table: str) -> StagedTable:
        staged = self._manifest.table(schema, table)
        assert staged is not None
        return staged

    def _files(self, staged: StagedTable) -> str:
        location = self._bucket.location
        urls = ", ".join(literal(f"s3://{location.bucket}/{location.key(file.path)}") for file in staged.files)
        return f"read_parquet([{urls}])"


def _parquet_text(column: str, parquet: str) -> str:
    match parquet:
        case "DOUBLE" | "FLOAT":
            return _float_text(column)
        case "BLOB":
            return f"'\\x' || lower(hex({column}))"
        case "TIMESTAMPTZ":
            return f"CAST(CAST({column} AT TIME ZONE 'UTC' AS TIMESTAMP) AS VARCHAR) || '+00'"
        case _ if parquet.startswith("DECIMAL"):
            return _with_leading_zero(f"CAST({column} AS VARCHAR)")
        case _:
            return f"CAST({column} AS VARCHAR)"
