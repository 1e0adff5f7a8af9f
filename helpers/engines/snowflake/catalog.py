"""What Snowflake's catalog says of the tables in a schema."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from helpers.engines.shapes import ColumnShape, TableShape
from helpers.engines.snowflake.ddl import SNOWFLAKE
from helpers.errors import LoadError
from helpers.model import types
from helpers.model.catalog import ForeignKey, Key
from helpers.model.places import TargetTable
from helpers.platforms.snowflake import Session, identifier

MOST_LISTED = 10_000
"""In one IN list, which takes 16,384 expressions (https://docs.snowflake.com/en/sql-reference/functions/in)."""

MOST_SHOWN = 10_000
"""Rows of one SHOW; it says nothing of those that it leaves out (https://docs.snowflake.com/en/sql-reference/sql/show)."""

_LONGEST_LIST = 300_000
"""Characters of the names in one statement, which stays below a megabyte."""

_OF_TIME = ("TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ")


TABLE = "BASE TABLE"
"""What INFORMATION_SCHEMA calls a permanent or transient table (https://docs.snowflake.com/en/sql-reference/info-schema/tables)."""


@dataclass(frozen=True)
class Present:
    """An object with rows that a schema has: a table, a view, or something like one.

    Attributes:
        kind: its TABLE_TYPE; only a `TABLE` takes rows.
        created: milliseconds since 1970; what is dropped and made again has another, what is renamed or swapped keeps its own.
    """

    kind: str
    comment: str
    created: int


def read_present(session: Session, database: str, schemas: Iterable[str]) -> dict[TargetTable, Present]:
    """What some schemas hold, without looking into any of it.

    Args:
        session: of a role that may see it.
        database: which must exist.
        schemas: of one that is not there, there is nothing.

    Raises:
        LoadError: the database is not there, or not for this role.
    """
    chosen = list(dict.fromkeys(schemas))
    rows = session.execute(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, COMMENT, DATE_PART(EPOCH_MILLISECOND, CREATED) AS CREATED "
        f"FROM {identifier(database)}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA IN ({', '.join('%s' for _ in chosen)})",
        chosen,
        doing="list the tables of the target",
    )
    return {
        TargetTable(row["TABLE_SCHEMA"], row["TABLE_NAME"]): Present(
            row["TABLE_TYPE"], row["COMMENT"] or "", int(row["CREATED"])
        )
        for row in rows
    }


def created(session: Session, database: str, table: TargetTable) -> int:
    """When a table that a load has just made was created, as `Present` has it."""
    (row,) = session.execute(
        f"SELECT DATE_PART(EPOCH_MILLISECOND, CREATED) AS CREATED FROM {identifier(database)}.INFORMATION_SCHEMA.TABLES "
        "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        [*table],
        doing="ask when the table was created",
        expected=[{"CREATED": 0}],
    )
    return int(row["CREATED"])


def read_tables(
    session: Session, database: str, tables: Collection[TargetTable], present: Mapping[TargetTable, Present]
) -> dict[TargetTable, TableShape]:
    """Some tables; nothing else that lies beside them is looked at.

    Args:
        session: of a role that may see them.
        database: which must exist.
        tables: that are wanted, whether they are there or not.
        present: as `read_present` has it.

    Raises:
        LoadError: the database is not there, or not for this role.
    """
    by_schema: dict[str, dict[str, Present]] = {}
    for table in tables:
        if table in present:
            by_schema.setdefault(table.schema, {})[table.name] = present[table]
    return {
        TargetTable(schema, name): shape
        for schema, wanted in by_schema.items()
        for name, shape in _read_schema(session, database, schema, wanted).items()
    }


def _read_schema(session: Session, database: str, schema: str, wanted: Mapping[str, Present]) -> dict[str, TableShape]:
    few = len(wanted) <= MOST_LISTED and sum(map(len, wanted)) <= _LONGEST_LIST
    named = f" AND TABLE_NAME IN ({', '.join('%s' for _ in wanted)})" if few else ""
    rows = session.execute(
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, IS_NULLABLE, NUMERIC_PRECISION, NUMERIC_SCALE, CHARACTER_MAXIMUM_LENGTH, "
        f"DATETIME_PRECISION, COLUMN_DEFAULT, IS_IDENTITY, COMMENT FROM {identifier(database)}.INFORMATION_SCHEMA.COLUMNS "
        f"WHERE TABLE_SCHEMA = %s{named} ORDER BY TABLE_NAME, ORDINAL_POSITION",
        [schema, *(wanted if named else ())],
        doing="read the columns of the target",
    )
    columns: dict[str, list[ColumnShape]] = {}
    described: dict[str, dict[str, str]] = {}
    for row in rows:
        table = row["TABLE_NAME"]
        if table not in wanted:
            continue
        if row["DATA_TYPE"] in _OF_TIME and row["DATETIME_PRECISION"] is None and table not in described:
            described[table] = _described(session, database, schema, table)
        columns.setdefault(table, []).append(_column(row, described.get(table, {})))
    keys, foreign = (
        (read_keys(session, database, schema), read_foreign_keys(session, database, schema)) if columns else ({}, {})
    )
    return {
        table: TableShape(
            SNOWFLAKE, tuple(found), None if keys is None else keys.get(table, ()), wanted[table].comment,
            None if foreign is None else foreign.get(table, ()),
        )
        for table, found in columns.items()
    }  # fmt: skip


def declared_type(
    name: str, precision: int | None, scale: int | None, length: int | None, fraction: int | None = 6
) -> str:
    """A type of INFORMATION_SCHEMA as our DDL writes it.

    Args:
        name: DATA_TYPE.
        precision: NUMERIC_PRECISION.
        scale: NUMERIC_SCALE.
        length: CHARACTER_MAXIMUM_LENGTH.
        fraction: digits of a second; None where they cannot be told, and then the type goes without them.
    """
    match name.upper():
        case "NUMBER" | "DECIMAL" | "NUMERIC":
            return f"NUMBER({precision},{scale})"
        case "TEXT" | "VARCHAR":
            return "VARCHAR" if length is None or length >= types.TEXT_BYTES else f"VARCHAR({length})"
        case "BINARY":
            return "BINARY" if length is None or length >= types.BINARY_BYTES else f"BINARY({length})"
        case kind if kind in _OF_TIME:
            return kind if fraction is None else f"{kind}({fraction})"
        case kind:
            return kind


def _column(row: dict[str, Any], described: dict[str, str]) -> ColumnShape:
    name, kind = row["COLUMN_NAME"], row["DATA_TYPE"]
    fraction = row["DATETIME_PRECISION"]
    declared = declared_type(
        kind, row["NUMERIC_PRECISION"], row["NUMERIC_SCALE"], row["CHARACTER_MAXIMUM_LENGTH"], fraction
    )
    if kind in _OF_TIME and fraction is None:
        declared = described.get(name, declared)
    default = "GENERATED AS IDENTITY" if row["IS_IDENTITY"] == "YES" else row["COLUMN_DEFAULT"] or ""
    return ColumnShape(name, SNOWFLAKE.read(declared), row["IS_NULLABLE"] == "NO", default, row["COMMENT"] or "")


def _described(session: Session, database: str, schema: str, table: str) -> dict[str, str]:
    """Types of the columns by DESCRIBE TABLE, which always has the digits of a second; INFORMATION_SCHEMA's documentation
    says of them that they do not apply (https://docs.snowflake.com/en/sql-reference/info-schema/columns).
    """
    try:
        rows = session.execute(
            f"DESCRIBE TABLE {identifier(database, schema, table)}", doing=f"describe {table} in the target"
        )
    except LoadError:
        return {}
    return {row["name"]: row["type"] for row in rows}


def read_keys(session: Session, database: str, schema: str) -> dict[str, tuple[Key, ...]] | None:
    """Primary and unique keys by table; None where the target does not list them to this role."""
    found: dict[str, list[Key]] = {}
    for kind in ("PRIMARY", "UNIQUE"):
        rows = _shown(session, f"{kind} KEYS", database, schema)
        if rows is None:
            return None
        parts: dict[tuple[str, str], list[tuple[int, str]]] = {}
        for row in rows:
            part = int(row["key_sequence"]), row["column_name"]
            parts.setdefault((row["table_name"], row["constraint_name"]), []).append(part)
        for (table, name), columns in parts.items():
            key = Key(tuple(column for _, column in sorted(columns)), kind == "PRIMARY", name=name)
            found.setdefault(table, []).append(key)
    return {table: tuple(keys) for table, keys in found.items()}


def read_foreign_keys(session: Session, database: str, schema: str) -> dict[str, tuple[ForeignKey, ...]] | None:
    """Foreign keys by the table that has them; None where the target does not list them to this role."""
    rows = _shown(session, "IMPORTED KEYS", database, schema)
    if rows is None:
        return None
    parts: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = {}
    for row in rows:
        if row["fk_schema_name"] == schema:
            parts.setdefault((row["fk_table_name"], row["fk_name"]), []).append((int(row["key_sequence"]), row))
    found: dict[str, list[ForeignKey]] = {}
    for (table, name), columns in parts.items():
        own = [row for _, row in sorted(columns, key=lambda part: part[0])]
        key = ForeignKey(
            tuple(row["fk_column_name"] for row in own), own[0]["pk_schema_name"], own[0]["pk_table_name"],
            tuple(row["pk_column_name"] for row in own), name,
        )  # fmt: skip
        found.setdefault(table, []).append(key)
    return {table: tuple(keys) for table, keys in found.items()}


def _shown(session: Session, what: str, database: str, schema: str) -> list[dict[str, Any]] | None:
    """https://docs.snowflake.com/en/sql-reference/sql/show-primary-keys, …/show-unique-keys, …/show-imported-keys

    They have no LIMIT … FROM to go on by: where a schema has more than one answer holds, each table is asked.
    """
    doing = f"list the {what.lower()} of the target"
    try:
        rows = session.execute(f"SHOW {what} IN SCHEMA {identifier(database, schema)}", doing=doing)
        if len(rows) < MOST_SHOWN:
            return rows
        tables = [
            table.name for table, there in read_present(session, database, [schema]).items() if there.kind == TABLE
        ]
        return [
            row for name in tables for row in session.execute(f"SHOW {what} IN TABLE {identifier(database, schema, name)}", doing=doing)
        ]  # fmt: skip
    except LoadError:
        return None
