"""How a table is staged, by its census; and how it is read where nothing is staged."""

from __future__ import annotations

from helpers.model import keys, types
from helpers.model import manifest as manifests
from helpers.model.catalog import Column
from helpers.model.manifest import StagedColumn, StagedTable
from helpers.source.census import ColumnCensus, Field, TableCensus


def staged_table(census: TableCensus) -> StagedTable:
    """The table as an export stages it and a load makes it, flag columns included; no file is written yet."""
    names = manifests.fields([field.name for field in census.fields])
    fields = ((column, field) for column in census.columns for field in column.fields)
    columns = tuple(_staged(column, field, name) for (column, field), name in zip(fields, names, strict=True))
    table = census.table
    own, foreign = keys.staged_keys(table, columns)
    return StagedTable(
        schema_=table.schema, name=table.name, key=table.key, comment=table.comment, columns=columns, files=(),
        rows=census.rows, keys=own, foreign_keys=foreign, where=table.where, omitted=table.omitted, reason=table.reason,
    )  # fmt: skip


def as_in_postgres(column: Column) -> StagedColumn:
    """A column as one PostgreSQL is compared with another."""
    how = types.in_postgres(column)
    return StagedColumn(
        name=column.name, field=column.name, source=column.name, postgres=column.type.sql, parquet=how.parquet,
        snowflake=how.snowflake, delta=how.delta, comparison=how.comparison, read=how.read, text=how.text,
        not_null=column.not_null, comment=column.comment, encoding="exact", note="", policy=None, touched=0,
    )  # fmt: skip


def _staged(of: ColumnCensus, field: Field, name: str) -> StagedColumn:
    how, column = field.mapping, of.column
    read, text = (through(sql, column) for sql in (how.read, how.text))
    return StagedColumn(
        name=field.name, field=name, source=column.name, postgres=column.type.sql, parquet=how.parquet,
        snowflake=how.snowflake, delta=how.delta, comparison=how.comparison, read=read, text=text,
        not_null=field.not_null, comment=field.comment, encoding="re-encoded" if how.note else "exact", note=how.note,
        policy=of.policy, touched=of.touched, flag_of=field.flag_of, default=column.default if field.flag_of is None else "",
        mask=column.mask.words if column.mask else None,
    )  # fmt: skip


def through(sql: str, column: Column) -> str:
    """An expression over `{c}` as it is of a column that is read through its mask."""
    return sql.replace("{c}", column.mask.sql) if column.mask else sql
