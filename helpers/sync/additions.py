"""A column that a table got since it was copied: how it travels, or why the table has to be copied anew.

ALTER TABLE … ADD COLUMN is in no message, and neither are the values that a default gave to the rows that were there. PostgreSQL keeps
such a value beside the column (`atthasmissing`) or has rewritten the table with it; a column of which neither can be is NULL in every
row from before (https://www.postgresql.org/docs/current/ddl-alter.html#DDL-ALTER-ADDING-A-COLUMN).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from helpers.model import manifest as manifests
from helpers.model.catalog import Column, Table
from helpers.model.manifest import StagedColumn, StagedTable
from helpers.platforms import postgres
from helpers.platforms.faults.postgres import written
from helpers.platforms.postgres import identifier
from helpers.settings import Settings
from helpers.source import census_scan as scanning
from helpers.source.catalog import read_catalog
from helpers.source.census import judge
from helpers.source.census_scan import Answer, Answers
from helpers.source.staging import staged_table


@dataclass(frozen=True)
class Added:
    """What becomes of columns that a table has got.

    Attributes:
        columns: as they are staged from now on, in the order of the table; every row from before has NULL there.
        anew: why the others need the table to be copied anew, each a clause.
    """

    columns: tuple[StagedColumn, ...] = ()
    anew: tuple[str, ...] = ()


def adding(cursor: Any, settings: Settings, oid: int, table: StagedTable, names: Sequence[str]) -> Added:
    """Decides how each of some new columns travels.

    Args:
        cursor: of psycopg2 on the source.
        settings: with what the profile says of the tables, and its policies.
        oid: of the table; a partitioned one's own.
        table: as it was copied, with what was added before.
        names: of the columns that it does not have.

    Raises:
        SettingsError: a policy or a mask that cannot be meant for one of them.
    """
    catalog = read_catalog(cursor, schemas=settings.source.schemas, described=settings.tables)
    found = next((each for each in catalog.tables if each.oid == oid), None)
    if found is None:
        return Added(anew=(f"the profile does not describe a table with {_listed(names)} any more",))
    there = {column.name: column for column in found.columns}
    columns, anew = list(table.columns), list[str]()
    for name in names:
        if name in found.omitted:
            continue
        if (column := there.get(name)) is None:
            anew.append(f"the column {written(name)} came and is gone")
        elif why := _filled(cursor, found, column):
            anew.append(f"the column {written(name)} was added, {why}")
        else:
            staged, refused = _staged(cursor, settings, found, column, columns)
            columns += staged
            anew += refused
    return Added(tuple(columns[len(table.columns) :]), tuple(anew))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(written, names))


def _filled(cursor: Any, table: Table, column: Column) -> str:
    """Why rows from before may have a value; empty where none has."""
    default = column.default
    if default and default.startswith("GENERATED"):
        return f"and every row has a value of it ({default})"
    cursor.execute(_KEPT, {"oid": table.oid, "name": column.name})
    missing, rewritten = cursor.fetchone()
    if missing:
        return f"and its default ({default or 'dropped since'}) stands for the rows that were there"
    if not rewritten:
        return ""
    some = postgres.value(
        cursor, f"SELECT EXISTS (SELECT FROM {table.sql} WHERE {identifier(column.name)} IS NOT NULL)"
    )
    if not some:
        return ""
    return "and the table was rewritten, so that nobody can tell which rows had a value of it from the beginning"


_KEPT = """
SELECT bool_or(a.atthasmissing), bool_or(pg_relation_filenode(c.oid) <> c.oid)
FROM (SELECT %(oid)s::oid AS oid UNION SELECT relid FROM pg_partition_tree(%(oid)s::oid::regclass)) m
JOIN pg_class c ON c.oid = m.oid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %(name)s AND NOT a.attisdropped
"""
"""A rewrite clears `atthasmissing`, and leaves the table in another file than its first, which has the table's own number."""


def _staged(
    cursor: Any, settings: Settings, table: Table, column: Column, before: Sequence[StagedColumn]
) -> tuple[list[StagedColumn], list[str]]:
    """The column, and its flag where a policy adds one, under names of their own beside the others; or why it is refused."""
    narrow = replace(table, columns=(column,), key=(), keys=(), foreign_keys=())
    questions = scanning.ask(cursor, narrow, settings.export.policies)
    (asked,) = questions.columns
    if asked.measured:
        why = f"{written(column.name)} was added, and how many digits a {column.type.sql} needs is measured by a copy"
        return [], [f"the column {why}"]
    census = judge(cursor, questions, Answers(0, (Answer((0,) * len(asked.counts), ()),)))
    if census.refused or any(each.verdict == "refused" for each in census.columns):
        return [], [f"the column {written(column.name)} was added, and cannot move: {'; '.join(census.refused)}"]
    fresh = staged_table(census).columns
    fields = manifests.fields([each.field for each in before] + [each.field for each in fresh])[len(before) :]
    # Rows from before have NULL there, whatever is said of rows since.
    return [
        each.model_copy(update={"field": field, "not_null": False}) for each, field in zip(fresh, fields, strict=True)
    ], []
