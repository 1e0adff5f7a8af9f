"""What a table looks like, on either side: what verification compares, and what a load makes.

Everywhere None is "cannot be told", which is never compared; an empty text or tuple is "there is none".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from helpers.model import defaults
from helpers.model.catalog import Column, Key, Table
from helpers.model.declared import Dialect
from helpers.model.manifest import StagedTable
from helpers.source.census import TableCensus


@dataclass(frozen=True)
class ColumnShape:
    """A column as one side has it.

    Attributes:
        type: as the dialect's catalog prints it, with its sizes.
        default: an SQL expression of the dialect.
        labels: of an enum, in their order.
    """

    name: str
    type: str
    not_null: bool | None = None
    default: str | None = None
    comment: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableShape:
    """A table as one side has it.

    Attributes:
        columns: in their order.
        keys: that the target keeps, or, in Snowflake, that it was told of.
    """

    dialect: Dialect
    columns: tuple[ColumnShape, ...]
    keys: tuple[Key, ...] | None = None
    comment: str | None = None

    def column(self, name: str) -> ColumnShape | None:
        """The column of exactly that name, or None."""
        return next((column for column in self.columns if column.name == name), None)


def of_table(table: Table) -> TableShape:
    """A table of PostgreSQL as its catalog has it."""
    columns = (
        ColumnShape(c.name, c.type.sql, c.not_null, c.default, c.comment or "", c.type.labels) for c in table.columns
    )
    return TableShape("postgresql", tuple(columns), table.keys, table.comment or "")


def of_staged(staged: StagedTable, source: Table | None = None, dialect: Dialect = "snowflake") -> TableShape:
    """The table that a load of `staged` makes in the target.

    Args:
        staged: from the manifest.
        source: the table as it is now, with the columns and types of `staged`: what the values do not depend on, which is
            nullability, defaults, keys and comments, is then taken from it.
        dialect: the target's.
    """
    if dialect == "delta":
        return _staged_in_delta(staged, source)
    now = {column.name: column for column in source.columns} if source else {}
    columns = (
        _in_snowflake(c.name, c.snowflake, c.policy, now[c.source])
        if c.source in now and c.flag_of is None
        else ColumnShape(
            c.name, c.snowflake, c.not_null, defaults.in_snowflake(c.default, c.postgres, c.snowflake), c.comment or ""
        )
        for c in staged.columns
    )
    table = source or staged
    return TableShape("snowflake", tuple(columns), _primary(table.key), table.comment or "")


def of_census(census: TableCensus, dialect: Dialect = "snowflake") -> TableShape:
    """The table that an export and load would make in the target of the source as it is counted."""
    if dialect == "delta":
        fields = (
            ColumnShape(f.name, f.mapping.delta, f.not_null, None, f.comment or "")
            for c in census.columns
            for f in c.fields
        )
        return TableShape("delta", tuple(fields), None, census.table.comment or "")
    columns = (
        _in_snowflake(f.name, f.mapping.snowflake, c.policy, c.column)
        if f.flag_of is None
        else ColumnShape(f.name, f.mapping.snowflake, f.not_null, "", f.comment or "")
        for c in census.columns
        for f in c.fields
    )
    return TableShape("snowflake", tuple(columns), _primary(census.table.key), census.table.comment or "")


def _staged_in_delta(staged: StagedTable, source: Table | None) -> TableShape:
    """Delta's own log knows neither keys nor, without a feature that the load does not use, defaults."""
    now = {column.name: column for column in source.columns} if source else {}
    columns = (
        ColumnShape(
            c.name, c.delta, now[c.source].not_null and c.policy != "null+flag", None, now[c.source].comment or ""
        )
        if c.source in now and c.flag_of is None
        else ColumnShape(c.name, c.delta, c.not_null, None, c.comment or "")
        for c in staged.columns
    )
    return TableShape("delta", tuple(columns), None, (source or staged).comment or "")


def _in_snowflake(name: str, snowflake_type: str, policy: str | None, column: Column) -> ColumnShape:
    return ColumnShape(
        name,
        snowflake_type,
        column.not_null and policy != "null+flag",
        defaults.in_snowflake(column.default, column.type.sql, snowflake_type),
        column.comment or "",
    )


def _primary(key: Iterable[str]) -> tuple[Key, ...]:
    """Snowflake is told of the one key by which rows are told apart; it keeps to none but NOT NULL."""
    columns = tuple(key)
    return (Key(columns, primary=True),) if columns else ()
