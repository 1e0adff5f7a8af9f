"""What the profile says of tables, as the source understands it: conditions, masks, and whether an export was made by them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg2

from helpers.errors import SettingsError, UsageError
from helpers.model.catalog import Catalog, Table
from helpers.model.globs import left_by_profile
from helpers.model.manifest import Exported, ExportedTable
from helpers.platforms.faults import postgres as faults
from helpers.platforms.postgres import savepoint


def refuse_changed(exported: Exported, tables: Sequence[ExportedTable], catalog: Catalog, *, what: str) -> None:
    """Refuses to go on from an export whose profile has been changed since: one description must not be taken for another.

    Args:
        exported: the export's state or manifest.
        tables: of the export.
        catalog: of the source, read as the profile now describes it.
        what: was to be done, for the error.

    Raises:
        UsageError: names every difference.
    """
    if found := list(_changed(exported, {str(table): table for table in tables}, catalog)):
        raise UsageError(
            what,
            on=f"the export {exported.export}",
            why=f"the profile's section tables has been changed since: {'; '.join(found)}",
            next_step="export again and load again, or describe the tables as they were exported",
        )


def _changed(exported: Exported, tables: Mapping[str, ExportedTable], catalog: Catalog) -> Iterator[str]:
    left = left_by_profile(exported.left_out)
    for name, why in left_by_profile(catalog.left_out).items():
        if name in tables:
            yield f"{name} was exported, and now it is {why}"
    for table in catalog.tables:
        if str(table) in left:
            yield f"{table} was {left[str(table)]}, and now it moves"
        if former := tables.get(str(table)):
            yield from _differences(table, former)


def _differences(table: Table, former: ExportedTable) -> Iterator[str]:
    for what, then, now in (
        ("where", former.where, table.where),
        ("omit", sorted(former.omitted), sorted(table.omitted)),
        ("mask", former.masked, table.masked),
    ):
        if then != now:
            yield f"{table} was exported with {what} {then or 'unset'}, and now it is {now or 'unset'}"


def refuse_unfit(cursor: Any, tables: Sequence[Table]) -> None:
    """Refuses a condition or mask that the source does not understand, or that need not give the same answer twice.

    Args:
        cursor: of psycopg2, with the tables locked.
        tables: as the profile describes them.

    Raises:
        SettingsError: names every table of which that is so.
    """
    wrong = {f"{table}": why for table in tables if (why := _unfit(cursor, table))}
    if wrong:
        raise SettingsError(
            "describe the tables",
            on=", ".join(f"tables.match of {name}" for name in wrong),
            why="; ".join(dict.fromkeys(wrong.values())),
            next_step="correct where or mask: a condition is SQL of the source about the row alone, such as left_on IS NULL",
        )


_LITERAL = re.compile(r"'(?:[^']|'')*'")
_NAME = r'"(?:[^"]|"")+"|[a-z_][\w$]*'
_CALL = re.compile(rf"(?:({_NAME})\s*\.\s*)?({_NAME})\s*\(")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_MOMENTS = re.compile(r"'\s*(?:now|today|tomorrow|yesterday)\s*'", re.IGNORECASE)
_CHANGING_WORDS = frozenset(
    "current_date current_time current_timestamp localtime localtimestamp current_user current_role session_user user".split()
)
_CHANGING_FUNCTIONS = (
    "now age transaction_timestamp statement_timestamp current_setting txid_current pg_current_xact_id".split()
)
"""Stable functions of PostgreSQL's whose answer, like that of the words, depends on when or by whom they are asked."""


def _unfit(cursor: Any, table: Table) -> str:
    if not table.where and not table.masked:
        return ""
    bare = _QUOTED.sub(" ", table.where).lower()
    words = set(re.findall(r"[a-z_]\w*", bare))
    if ";" in bare or not _is_balanced(bare):
        return f"{table.where} is more than one condition"
    if words & {"select", "values", "table", "with"}:
        return f"{table.where} reads other rows than the row itself, which nobody locks"
    try:
        with savepoint(cursor):
            masked = ", ".join(column.sql for column in table.columns if column.mask)
            cursor.execute(
                f"EXPLAIN (FORMAT JSON, COSTS OFF) SELECT {masked} FROM {table.sql} WHERE {table.condition or 'true'}"
            )
            ((plan,),) = cursor.fetchall()
    except psycopg2.Error as error:
        return f"{table}: {faults.said(error)}"
    # As PostgreSQL itself has understood it: whatever way a name was written, there it is spelled out.
    understood = _LITERAL.sub(" ", " ".join(_conditions(plan)))
    changing = words & _CHANGING_WORDS | set(_MOMENTS.findall(table.where)) | _changing(cursor, f"{bare} {understood}")
    if changing:
        return f"{table.where} depends on when or by whom it is asked ({', '.join(sorted(changing))}): write the value instead"
    return ""


def _conditions(plan: Any) -> Iterator[str]:
    """What a plan, or a part of one, says of the rows that it takes."""
    if isinstance(plan, list):
        for each in plan:
            yield from _conditions(each)
    elif isinstance(plan, dict):
        for key, value in plan.items():
            if not isinstance(value, str):
                yield from _conditions(value)
            elif key.endswith(("Cond", "Filter")):
                yield value


def _is_balanced(bare: str) -> bool:
    depth = 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def _changing(cursor: Any, text: str) -> set[str]:
    """Functions called there that may answer otherwise the next time: volatile ones, stable ones of the users' own, which may read other
    rows, and those of PostgreSQL that tell a moment or a user."""
    called = [(_name(schema) or "pg_catalog", _name(name)) for schema, name in _CALL.findall(text)]
    cursor.execute(
        "SELECT DISTINCT p.proname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "JOIN unnest(%s::text[], %s::text[]) AS called (schema, name) ON (n.nspname, p.proname) = (schema, name) "
        "WHERE p.provolatile = 'v' OR p.provolatile = 's' AND (n.nspname <> 'pg_catalog' OR p.proname = ANY (%s))",
        [[schema for schema, _ in called], [name for _, name in called], _CHANGING_FUNCTIONS],
    )
    return {name for (name,) in cursor.fetchall()}


def _name(written: str) -> str:
    return written[1:-1].replace('""', '"') if written.startswith('"') else written
