"""A table's definition in Snowflake: what a new one is made with, how a present one differs, and what can be altered in place.

What ALTER TABLE can change, and what it cannot: https://docs.snowflake.com/en/sql-reference/sql/alter-table-column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from helpers.engines.shapes import TableShape, defaults_differ, keys_differ, primary, same_type
from helpers.engines.snowflake.ddl import SNOWFLAKE, snowflake_default
from helpers.model.declared import POSTGRESQL
from helpers.model.keys import of_table
from helpers.model.manifest import StagedColumn, StagedTable
from helpers.platforms.snowflake import identifier, literal


@dataclass(frozen=True)
class Alteration:
    """Clauses of ALTER TABLE that give a present table another definition and keep the table.

    Attributes:
        before: make room for rows of the new definition; the former rows fit too.
        undo: take back of that what can be, where no new row came.
        after: make it as strict as the new definition, once the new rows are there.
        gone: columns that go.
    """

    before: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


_LONGEST_COMMENTS = 300_000
"""Characters of all columns' comments in one CREATE TABLE: a statement stays below a megabyte
(https://docs.snowflake.com/en/user-guide/query-size-limits)."""


def column_definition(column: StagedColumn) -> str:
    """A column of the final table as DDL."""
    parts = [identifier(column.name), column.snowflake]
    if default := _default(column):
        parts.append(f"DEFAULT {default}")
    if column.not_null:
        parts.append("NOT NULL")
    if column.comment:
        parts.append(f"COMMENT {literal(column.comment)}")
    return " ".join(parts)


def table_definition(staged: StagedTable) -> str:
    """What follows CREATE TABLE and its name. Snowflake keeps the key as information for those who read the catalog, and
    does not enforce it (https://docs.snowflake.com/en/sql-reference/constraints-overview); the other keys are told when all
    tables are there (`keys`). Comments that are too long together come later (`later_comments`). Texts are compared by their
    bytes, whatever the schema, the database or the account has (https://docs.snowflake.com/en/sql-reference/parameters#default-ddl-collation).
    """
    columns = staged.columns
    if _comments_come_later(staged):
        columns = tuple(column.model_copy(update={"comment": None}) for column in columns)
    parts = [column_definition(column) for column in columns]
    parts += _primary_key(staged)
    comment = f" COMMENT = {literal(staged.comment)}" if staged.comment else ""
    return f"({', '.join(parts)}) DEFAULT_DDL_COLLATION = ''{comment}"


def later_comments(table: str, staged: StagedTable) -> Iterator[str]:
    """Statements for the comments of a new table's columns, by its quoted name, that its definition left out."""
    for column in staged.columns if _comments_come_later(staged) else ():
        if column.comment:
            yield f"COMMENT ON COLUMN {table}.{identifier(column.name)} IS {literal(column.comment)}"


def _comments_come_later(staged: StagedTable) -> bool:
    return sum(len(column.comment or "") for column in staged.columns) > _LONGEST_COMMENTS


def alteration(found: TableShape, wanted: TableShape, staged: StagedTable) -> Alteration | None:
    """How the present table becomes the wanted one and stays the same table; None where Snowflake alters none like that."""
    needed = [column.name for column in wanted.columns]
    kept = [column for column in found.columns if column.name in needed]
    if [column.name for column in kept] != needed[: len(kept)]:
        return None
    before: list[str] = []
    undo: list[str] = []
    after: list[str] = []
    another_key = keys_differ(found, wanted)
    for key in primary(found) if another_key else ():
        before.append("DROP PRIMARY KEY")
        undo.append(f"ADD PRIMARY KEY ({', '.join(map(identifier, key.columns))})")
    for have, want in zip(kept, wanted.columns, strict=False):
        name = identifier(have.name)
        if not same_type(have, want):
            if not _is_wider(have.type.text, want.type.text):
                return None
            before.append(f"ALTER COLUMN {name} SET DATA TYPE {want.type}")
        if defaults_differ(have, want, found.ddl):
            if want.default:
                return None
            after.append(f"ALTER COLUMN {name} DROP DEFAULT")
        if have.not_null and not want.not_null:
            before.append(f"ALTER COLUMN {name} DROP NOT NULL")
            undo.append(f"ALTER COLUMN {name} SET NOT NULL")
        elif want.not_null and not have.not_null:
            after.append(f"ALTER COLUMN {name} SET NOT NULL")
    for column in staged.columns[len(kept) :]:
        if _default(column):
            return None
        before.append(f"ADD COLUMN {column_definition(column.model_copy(update={'not_null': False}))}")
        undo.append(f"DROP COLUMN {identifier(column.name)}")
        if column.not_null:
            after.append(f"ALTER COLUMN {identifier(column.name)} SET NOT NULL")
    gone = tuple(column.name for column in found.columns if column.name not in needed)
    required = [identifier(c.name) for c in found.columns if c.name in gone and c.not_null]
    before += [f"ALTER COLUMN {name} DROP NOT NULL" for name in required]
    undo += [f"ALTER COLUMN {name} SET NOT NULL" for name in required]
    after += [f"DROP COLUMN {identifier(name)}" for name in gone]
    if another_key:
        after += [f"ADD {key}" for key in _primary_key(staged)]
    return Alteration(tuple(before), tuple(reversed(undo)), tuple(after), gone)


def _primary_key(staged: StagedTable) -> list[str]:
    return [f"PRIMARY KEY ({', '.join(map(identifier, key.columns))})" for key in of_table(staged) if key.primary]


def comment_statements(table: str, found: TableShape, wanted: TableShape) -> Iterable[str]:
    """Statements that give the present table, by its quoted name, the wanted comments."""
    if found.comment is not None and found.comment != wanted.comment:
        yield f"COMMENT ON TABLE {table} IS {literal(wanted.comment or '')}"
    for want in wanted.columns:
        have = found.column(want.name)
        if have and have.comment != want.comment:
            yield f"COMMENT ON COLUMN {table}.{identifier(want.name)} IS {literal(want.comment or '')}"


def changed_columns(found: TableShape, wanted: TableShape) -> Iterator[str]:
    """Columns that go, or that get a type which another table must have."""
    for have in found.columns:
        want = wanted.column(have.name)
        if want is None or not same_type(have, want):
            yield have.name


def _is_wider(have: str, want: str) -> bool:
    """Whether every value of one type is one of the other, in a way that ALTER COLUMN takes: more digits before the point, a
    longer text, more bytes.
    """
    old, new = (re.fullmatch(r"(NUMBER|VARCHAR|BINARY)(?:\((\d+)(?:, ?(\d+))?\))?", kind) for kind in (have, want))
    if not old or not new or old[1] != new[1] or old[3] != new[3]:
        return False
    return new[2] is None or (old[2] is not None and int(old[2]) <= int(new[2]))


def _default(column: StagedColumn) -> str | None:
    return snowflake_default(column.default, POSTGRESQL.read(column.postgres), SNOWFLAKE.read(column.snowflake))
