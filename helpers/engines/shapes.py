"""What a table looks like, on either side: what verification compares, and what a load makes.

Everywhere None is "cannot be told", which is never compared; an empty text or tuple is "there is none".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from helpers.model import declared, defaults
from helpers.model.catalog import Column, Key, Table
from helpers.model.declared import Dialect
from helpers.model.manifest import StagedColumn, StagedTable


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


TYPES: dict[Dialect, str] = {"snowflake": "snowflake", "delta": "delta", "duckdb": "parquet", "postgresql": "snowflake"}
"""Of which attribute of a staged column is the type that a load gives it; a PostgreSQL is not loaded."""


def declared_type(column: StagedColumn, dialect: Dialect) -> str:
    """The type that a load gives a column."""
    return str(getattr(column, TYPES[dialect]))


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
    now = {column.name: column for column in source.columns} if source else {}
    columns = tuple(_column(c, now.get(c.source) if c.flag_of is None else None, dialect) for c in staged.columns)
    table = source or staged
    keys = _primary(table.key) if dialect == "snowflake" else None
    return TableShape(dialect, columns, keys, table.comment or "")


def _column(staged: StagedColumn, now: Column | None, dialect: Dialect) -> ColumnShape:
    about = now or staged
    not_null = now.not_null and staged.policy != "null+flag" if now else staged.not_null
    if dialect != "snowflake":
        # Delta's own log knows neither keys nor, without a feature that the load does not use, defaults.
        return ColumnShape(staged.name, declared_type(staged, dialect), not_null, None, about.comment or "")
    postgres = now.type.sql if now else staged.postgres
    default = defaults.in_snowflake(about.default, postgres, staged.snowflake)
    return ColumnShape(staged.name, staged.snowflake, not_null, default, about.comment or "")


def difference(found: TableShape, wanted: TableShape) -> str:
    """Why the present table cannot take the rows, or would not be what the source is; empty where it serves.

    Comments are not compared, and nothing that one side does not tell.
    """
    names, needed = [column.name for column in found.columns], [column.name for column in wanted.columns]
    if lacking := [name for name in needed if name not in names]:
        return f"it lacks {', '.join(lacking)}"
    if surplus := [name for name in names if name not in needed]:
        return f"it also has {', '.join(surplus)}"
    for have, want in zip(found.columns, wanted.columns, strict=True):
        if (have.name, have.not_null) != (want.name, want.not_null) or not same_type(have, want, found.dialect):
            return f"its column {have.name} {have.type} must be {want.name} {want.type}{' NOT NULL' if want.not_null else ''}"
        if defaults_differ(have, want, found.dialect):
            return f"its column {have.name} has the default {have.default or 'NULL'} for {want.default or 'NULL'}"
    if keys_differ(found, wanted):
        have_key, want_key = (", ".join(map(str, keys)) or "none" for keys in (found.keys or (), wanted.keys or ()))
        return f"its key is {have_key}, and the source's {want_key}"
    return ""


def comment_difference(found: TableShape, wanted: TableShape) -> str:
    """Which comment of a table with the same columns is another; empty where none is."""
    for have, want in zip(found.columns, wanted.columns, strict=True):
        if have.comment != want.comment:
            return f"the comment on its column {have.name} is another"
    return "its comment is another" if found.comment != wanted.comment else ""


def same_type(have: ColumnShape, want: ColumnShape, dialect: Dialect) -> bool:
    """Whether two columns have one type, as far as the target tells."""
    return declared.change(want.type, have.type, dialect) is None


def defaults_differ(have: ColumnShape, want: ColumnShape, dialect: Dialect) -> bool:
    """Whether two defaults certainly do not mean the same."""
    if have.default is None or want.default is None:
        return False
    return defaults.same(want.default, have.default, want.type, dialect) is False


def keys_differ(found: TableShape, wanted: TableShape) -> bool:
    """Whether two tables have other keys, where the target tells them."""
    return found.keys is not None and found.keys != wanted.keys


def _primary(key: Iterable[str]) -> tuple[Key, ...]:
    """Snowflake is told of the one key by which rows are told apart; it keeps to none but NOT NULL."""
    columns = tuple(key)
    return (Key(columns, primary=True),) if columns else ()
