"""The next value of each sequence: what makes keys in the target has to begin there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg2

from helpers.model.manifest import NextValue
from helpers.platforms.postgres import identifier, rows, savepoint
from helpers.source.relations import FIRST_OF_USERS

UNREADABLE = "the role has no SELECT on it"


def next_values(cursor: Any, schemas: Sequence[str] = ()) -> tuple[NextValue, ...]:
    """Of every sequence that is no extension's, by schema and name.

    A sequence is in no snapshot: its value is that of the moment, which is never behind the rows that the snapshot shows.

    Args:
        cursor: a psycopg2 cursor.
        schemas: of the sequences; empty for all but PostgreSQL's own.
    """
    found: list[NextValue] = []
    try:
        with savepoint(cursor):
            listed = rows(cursor, _SEQUENCES, {"first": FIRST_OF_USERS, "schemas": list(schemas)})
    except psycopg2.DataError:
        return ()  # a name is no text in UTF-8; the list of what stays behind has them all
    for row in listed:
        value, why = None, UNREADABLE
        if row["readable"]:
            value, why = _next(cursor, row)
        found.append(
            NextValue(
                schema_=row["schema"], name=row["name"], value=value, increment=row["increment"], column=row["column"] or "",
                why=why,
            )
        )  # fmt: skip
    return tuple(found)


def _next(cursor: Any, row: dict[str, Any]) -> tuple[int | None, str]:
    try:
        with savepoint(cursor):
            cursor.execute(f"SELECT last_value, is_called FROM {identifier(row['schema'], row['name'])}")
            last, called = cursor.fetchone()
    except psycopg2.Error as error:
        return None, " ".join(str(error).split())
    if not called:
        return int(last), ""
    value = int(last) + row["increment"]
    if row["lowest"] <= value <= row["highest"]:
        return value, ""
    if row["cycles"]:
        return (row["lowest"] if row["increment"] > 0 else row["highest"]), ""
    return None, "it has no value left"


_SEQUENCES = """
    SELECT n.nspname AS schema, c.relname AS name, s.seqincrement AS increment, s.seqmin AS lowest, s.seqmax AS highest,
           s.seqcycle AS cycles, has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable,
           (SELECT o.nspname || '.' || r.relname || '.' || a.attname
            FROM pg_depend d
            LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
            JOIN pg_attribute a ON (a.attrelid, a.attnum) IN ((d.refobjid, d.refobjsubid), (f.adrelid, f.adnum))
            JOIN pg_class r ON r.oid = a.attrelid JOIN pg_namespace o ON o.oid = r.relnamespace
            WHERE a.attnum > 0 AND r.relkind IN ('r', 'p') AND (
                d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
                    AND d.deptype IN ('a', 'i')
                OR d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                    AND f.adrelid = a.attrelid AND f.adnum = a.attnum)
            ORDER BY d.deptype <> 'i', d.deptype <> 'a', 1 LIMIT 1) AS column
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid >= %(first)s AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s))
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1, 2
"""
