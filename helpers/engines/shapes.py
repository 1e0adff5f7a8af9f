"""What a table looks like, on either side: what verification compares, and what a load makes.

Everywhere None is "cannot be told", which is never compared; an empty text or tuple is "there is none".
"""

from __future__ import annotations

from dataclasses import dataclass

from helpers.model import declared, defaults
from helpers.model import keys as model_keys
from helpers.model.catalog import Column, ForeignKey, Key, Table
from helpers.model.declared import POSTGRESQL, Ddl, Declared
from helpers.model.manifest import StagedColumn, StagedTable


@dataclass(frozen=True)
class ColumnShape:
    """A column as one side has it.

    Attributes:
        default: an SQL expression of the engine.
        labels: of an enum, in their order.
    """

    name: str
    type: Declared
    not_null: bool | None = None
    default: str | None = None
    comment: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableShape:
    """A table as one side has it.

    Attributes:
        ddl: of the engine that it is in, or for.
        columns: in their order.
        keys: that the target keeps, or that it was told of.
        foreign_keys: likewise, by the names of that side.
    """

    ddl: Ddl
    columns: tuple[ColumnShape, ...]
    keys: tuple[Key, ...] | None = None
    comment: str | None = None
    foreign_keys: tuple[ForeignKey, ...] | None = None

    def column(self, name: str) -> ColumnShape | None:
        """The column of exactly that name, or None."""
        return next((column for column in self.columns if column.name == name), None)


def declared_type(column: StagedColumn, ddl: Ddl) -> Declared:
    """The type that a load gives a column."""
    return ddl.read(getattr(column, ddl.staged))


def source_shape(table: Table) -> TableShape:
    """A table of PostgreSQL as its catalog has it."""
    columns = (
        ColumnShape(c.name, POSTGRESQL.read(c.type.sql), c.not_null, c.default, c.comment or "", c.type.labels)
        for c in table.columns
    )
    return TableShape(POSTGRESQL, tuple(columns), table.keys, table.comment or "", table.foreign_keys)


def loaded_shape(staged: StagedTable, ddl: Ddl, source: Table | None = None) -> TableShape:
    """The table that a load of `staged` makes in the target.

    Args:
        staged: from the manifest.
        ddl: the target's.
        source: the table as it is now, with the columns and types of `staged`: what the values do not depend on, which is
            nullability, defaults, keys and comments, is then taken from it.

    Returns:
        Without the foreign keys, for which the places of other tables have to be known.
    """
    now = {column.name: column for column in source.columns} if source else {}
    columns = tuple(_column(c, now.get(c.source) if c.flag_of is None else None, ddl) for c in staged.columns)
    own = model_keys.distinct(model_keys.hold(source.keys, staged.columns)) if source else model_keys.of_table(staged)
    keys = None if ddl.keys == "none" else tuple(key for key in own if key.primary or ddl.keys == "all")
    return TableShape(ddl, columns, keys, (source or staged).comment or "")


def _column(staged: StagedColumn, now: Column | None, ddl: Ddl) -> ColumnShape:
    about = now or staged
    not_null = now.not_null and staged.policy != "null+flag" if now else staged.not_null
    kind, postgres = declared_type(staged, ddl), POSTGRESQL.read(now.type.sql if now else staged.postgres)
    default = ddl.default(about.default, postgres, kind) if ddl.default else None
    return ColumnShape(staged.name, kind, not_null, default, about.comment or "")


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
        if (have.name, have.not_null) != (want.name, want.not_null) or not same_type(have, want):
            return f"its column {have.name} {have.type} must be {want.name} {want.type}{' NOT NULL' if want.not_null else ''}"
        if defaults_differ(have, want, found.ddl):
            return f"its column {have.name} has the default {have.default or 'NULL'} for {want.default or 'NULL'}"
    if keys_differ(found, wanted):
        have_key, want_key = (", ".join(map(str, primary(shape))) or "none" for shape in (found, wanted))
        return f"its key is {have_key}, and the source's {want_key}"
    return ""


def comment_difference(found: TableShape, wanted: TableShape) -> str:
    """Which comment of a table with the same columns is another; empty where none is."""
    for have, want in zip(found.columns, wanted.columns, strict=True):
        if have.comment != want.comment:
            return f"the comment on its column {have.name} is another"
    return "its comment is another" if found.comment != wanted.comment else ""


def same_type(have: ColumnShape, want: ColumnShape) -> bool:
    """Whether two columns have one type, as far as the target tells."""
    return declared.change(want.type, have.type) is None


def defaults_differ(have: ColumnShape, want: ColumnShape, ddl: Ddl) -> bool:
    """Whether two defaults certainly do not mean the same."""
    if have.default is None or want.default is None:
        return False
    return defaults.same(want.default, have.default, want.type, ddl) is False


def keys_differ(found: TableShape, wanted: TableShape) -> bool:
    """Whether two tables have other primary keys, where the target tells them; the others are told when all tables are there."""
    return found.keys is not None and primary(found) != primary(wanted)


def primary(shape: TableShape) -> tuple[Key, ...]:
    """Its primary key, if it has one."""
    return tuple(key for key in shape.keys or () if key.primary)
