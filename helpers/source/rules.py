"""Constraints, unique indexes and defaults that no target is told of, by the names that people know them by.

They are read for the list of what stays behind. Whether the rows keep to them is what the check of the data's quality asks
(`helpers.verify.data_quality.rules.declared`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import psycopg2

from helpers.model import defaults, keys
from helpers.model.catalog import ForeignKey, Key, Table
from helpers.model.declared import POSTGRESQL
from helpers.model.manifest import StagedColumn
from helpers.platforms.postgres import savepoint

CHECK = "a rule for its rows, which no load makes: the new pipeline has to keep it"
EXCLUSION = "an exclusion constraint, which no target has: the new pipeline has to keep it"
SOME_ROWS = "unique over an expression or over some of the rows, of which no target can be told"
PERIOD = "a foreign key over periods, which no target has"
DEFAULT = "an expression that PostgreSQL evaluates for each row: what writes the target's rows has to give the value"
SEQUENCE = (
    "the next value of a sequence: what writes the target's rows has to give the value, above those that are there"
)


def staying(cursor: Any, tables: Sequence[Table]) -> dict[str, str]:
    """What of these tables is no key, and stays behind.

    Args:
        cursor: a psycopg2 cursor, in the snapshot that the tables were read in.
        tables: that move.
    """
    found: dict[tuple[str, str], list[str]] = {}
    try:
        with savepoint(cursor):
            cursor.execute(_QUERY, {"oids": [table.oid for table in tables if table.kind in "rp"]})
            listed = cursor.fetchall()
    except psycopg2.DataError:
        unlisted = {"check and exclusion constraints": "they could not be listed: a name is no text in UTF-8"}
        return unlisted | dict(_defaults(tables))
    for kind, table, name in listed:
        found.setdefault((kind, table), []).append(name)
    rules = {_of_table(_WORDS[kind], table, names): _WHY[kind] for (kind, table), names in found.items()}
    return rules | dict(_defaults(tables))


def keys_staying(tables: Iterable[tuple[Table, Sequence[StagedColumn]]], moved: Collection[str]) -> dict[str, str]:
    """The keys that no target is told of.

    Args:
        tables: as the source has them, each with its columns as they are staged.
        moved: the tables that move, as `schema.name`; some of them may not be in `tables`.
    """
    found, listed = {}, list(tables)
    held = {str(table): keys.hold(table.keys, columns) for table, columns in listed}
    in_part = {str(table) for table, _ in listed if table.where}
    for table, columns in listed:
        for key in {*table.keys, *table.lost_keys} - set(held[str(table)]):
            found[_named(table, key)] = "a key over a column that does not move as it is"
        for reference in table.foreign_keys:
            parent = f"{reference.schema}.{reference.table}"
            if why := keys.why_not(reference, columns):
                found[_named(table, reference)] = why
            elif parent not in moved:
                found[_named(table, reference)] = f"{parent}, to which it refers, does not move"
            elif parent in in_part:
                found[_named(table, reference)] = f"only some rows of {parent}, to which it refers, move"
            elif parent in held and not keys.referred(reference, held[parent]):
                found[_named(table, reference)] = f"the key of {parent} to which it refers does not move as it is"
    return found


def _named(table: Table, key: Key | ForeignKey) -> str:
    return f"{'foreign key' if isinstance(key, ForeignKey) else 'key'} {key.name} of {table}"


def _defaults(tables: Iterable[Table]) -> Iterable[tuple[str, str]]:
    for table in tables:
        found: dict[str, list[str]] = {}
        for column in table.columns:
            default, kind = column.default or "", POSTGRESQL.read(column.type.sql)
            if default.endswith(" AS IDENTITY") or default.startswith("nextval("):
                found.setdefault(SEQUENCE, []).append(column.name)
            elif default and defaults.constant(default, kind, POSTGRESQL) is None:
                found.setdefault(DEFAULT, []).append(column.name)
        for why, columns in found.items():
            yield _of_table("default", str(table), columns), why


def _of_table(what: str, table: str, names: Sequence[str]) -> str:
    """One line for what a table has of a kind: a list of one for each would bury the tables that do not move."""
    plural = "" if len(names) == 1 else "es" if what.endswith("x") else "s"
    return f"{what}{plural} {', '.join(names)} of {table}"


_WORDS = {"c": "check", "x": "exclusion constraint", "i": "unique index", "f": "foreign key"}
_WHY = {"c": CHECK, "x": EXCLUSION, "i": SOME_ROWS, "f": PERIOD}

_QUERY = """
    SELECT k.contype::text AS kind, n.nspname || '.' || c.relname AS table, k.conname AS name
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.conrelid = ANY (%(oids)s::oid[])
      AND (k.contype IN ('c', 'x') OR k.contype = 'f' AND coalesce((to_jsonb(k) ->> 'conperiod')::bool, false))
    UNION ALL
    SELECT 'i', n.nspname || '.' || c.relname, x.relname
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE i.indrelid = ANY (%(oids)s::oid[]) AND i.indisunique AND (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL)
    ORDER BY 1, 2, 3
"""
