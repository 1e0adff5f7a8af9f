"""What stays behind beside the tables that move: rows of inheriting tables, large objects, code; and all of it for people.

`left_out` is one mapping of an object to why it does not move. `relations` says it of tables, views and sequences; this
module adds what no relation shows. It stands in the manifest, in every verdict and on its page: "equal" is said of what
was chosen, beside what was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg2

from helpers.model.catalog import Catalog, Table
from helpers.model.globs import left_by_choice
from helpers.model.manifest import StagedColumn
from helpers.model.sync import PREFIX
from helpers.platforms.postgres import identifier, savepoint, value
from helpers.source import census_scan, rules
from helpers.source.relations import FIRST_OF_USERS

NAMED = 5
"""Objects that a line for people names; the manifest and the JSON have them all."""


def complete(cursor: Any, catalog: Catalog) -> Catalog:
    """The catalog, its `left_out` with what no relation shows; call it once the tables are locked.

    Args:
        cursor: a psycopg2 cursor, in the snapshot.
        catalog: of the same snapshot.

    Raises:
        SourceRefused: rows of a table may not be read.
    """
    moved = {str(table) for table in catalog.tables}
    excluded = set(left_by_choice(catalog.left_out))
    rows = {
        f"rows that {table} inherits": _inherited(cursor, table, moved, excluded)
        for table in catalog.tables
        if table.heirs
    }
    parts = {name: why for table in catalog.tables for name, why in _parts(cursor, table)}
    own = rules.staying(cursor, catalog.tables)
    return replace(catalog, left_out={**parts, **rows, **catalog.left_out, **own, **_no_relations(cursor)})


def with_keys(
    catalog: Catalog, staged: Iterable[tuple[Table, Sequence[StagedColumn]]], moved: Iterable[str] = ()
) -> Catalog:
    """The catalog, its `left_out` with the keys that no target is told of.

    Args:
        catalog: whose tables move.
        staged: its tables, each with its columns as they are staged.
        moved: tables that were moved before and are not in the catalog.
    """
    there = {str(table) for table in catalog.tables} | set(moved)
    return replace(catalog, left_out={**catalog.left_out, **rules.keys_staying(staged, there)})


def grouped(left_out: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The first objects that stay behind for one reason, and the reason."""
    found: dict[str, list[str]] = {}
    for name, why in left_out.items():
        found.setdefault(why, []).append(name)
    for why, names in found.items():
        more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        yield f"{', '.join(names[:NAMED])}{more}", why


def lines(left_out: Mapping[str, str], said: str = "left out") -> list[str]:
    """The same as sentences, for a terminal."""
    return [f"{said}: {names} ({why})" for names, why in grouped(left_out)]


def own_rows(rows: Iterable[tuple[int, int]], table: Table) -> int:
    """Those of `rows`, numbers by the OID of the table they lie in, that are not of tables that inherit from `table`."""
    heirs = {heir.oid for heir in table.heirs}
    return sum(number for oid, number in rows if oid not in heirs)


def by_table(rows: str) -> str:
    """The query that counts rows by the OID of the table they lie in; `rows` is what follows FROM."""
    return f"SELECT tableoid::int8, count(*) FROM {rows} GROUP BY 1"


def _inherited(cursor: Any, table: Table, moved: set[str], excluded: set[str]) -> str:
    how = [(heir, "moves as a table of its own" if heir.name in moved else "does not move") for heir in table.heirs]
    if any(heir.elsewhere or heir.name in excluded for heir in table.heirs):  # nothing is asked of either
        return "; ".join(f"those of {heir.name}, which {goes}" for heir, goes in how)
    with census_scan.reading(table):
        cursor.execute(by_table(identifier(table.schema, table.name)))
    rows = dict(cursor.fetchall())
    parts = "; ".join(f"{rows.get(heir.oid, 0):,} of {heir.name}, which {goes}" for heir, goes in how)
    return f"SELECT count(*) FROM {table} answers {sum(rows.values()):,}, and {own_rows(rows.items(), table):,} are its own; {parts}"


def _parts(cursor: Any, table: Table) -> Iterator[tuple[str, str]]:
    """What of a table that moves does not move, or not as it is."""
    for name in table.omitted:
        yield f"{table}.{name}", f"a column that the profile omits: {table.reason}"
    for name, words in table.masked.items():
        yield f"the values of {table}.{name}", f"each is replaced by {words}: {table.reason}"
    if table.where:
        with census_scan.reading(table):
            cursor.execute(f"SELECT count(*), count(*) FILTER (WHERE {table.condition}) FROM {table.sql}")
        every, moving = cursor.fetchone()
        yield f"the other rows of {table}", f"{moving:,} of {every:,} match {table.where}, and move: {table.reason}"


def _no_relations(cursor: Any) -> dict[str, str]:
    """What is no relation. It is read for the list alone: where a server does not tell, the list says so."""
    try:
        with savepoint(cursor):
            return _large_objects(cursor) | _others(cursor)
    except (psycopg2.errors.InternalError, psycopg2.ProgrammingError, psycopg2.DataError) as error:
        # A right on the system tables is missing, a name is no text in UTF-8, or, before PostgreSQL 14, something was
        # dropped since the snapshot.
        why = " ".join(str(error).split())
        return {"large objects, functions, types, triggers and rules": f"they could not be listed: {why}"}


def _large_objects(cursor: Any) -> dict[str, str]:
    if not (number := value(cursor, "SELECT count(*) FROM pg_largeobject_metadata")):
        return {}
    cursor.execute(
        """
        SELECT n.nspname || '.' || c.relname || '.' || a.attname
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_type t ON t.oid = a.atttypid
        WHERE c.oid >= %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
          AND (t.oid = 'oid'::regtype OR t.typbasetype = 'oid'::regtype)
        ORDER BY 1
        """,
        [FIRST_OF_USERS],
    )
    columns = [name for (name,) in cursor.fetchall()]
    where = f"; numbers of them may stand in {', '.join(columns)}" if columns else ""
    return {"large objects": f"the contents of {number:,}: where a column holds their numbers, only those move{where}"}


_CODE = "it belongs to the new pipeline"
_OTHERS = {
    "function": ("pg_proc", "true", f"code: {_CODE}"),
    "trigger": ("pg_trigger", "NOT tgisinternal AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = tgrelid AND c.relispartition)", f"code: {_CODE}"),
    "rule": ("pg_rewrite", "rulename <> '_RETURN'", f"code: {_CODE}"),
    "operator": ("pg_operator", "true", f"code: {_CODE}"),
    "cast": ("pg_cast", "true", f"code: {_CODE}"),
    "collation": ("pg_collation", "true", "an order of texts: the target has its own"),
    "text search configuration": ("pg_ts_config", "true", f"code: {_CODE}"),
    "event trigger": ("pg_event_trigger", "true", f"code: {_CODE}"),
    "policy": ("pg_policy", "true", "who may see which rows: the target has its own rights"),
    "type": (
        "pg_type", "typtype IN ('d', 'e', 'r') OR typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND c.relkind = 'c')",
        "a type: values of it move, under a type of the target",
    ),
    "foreign server": ("pg_foreign_server", "true", "a connection to another server"),
    "publication": ("pg_publication", f"pubname !~ '^{PREFIX}'", "a stream of changes to others: it ends with the source"),
    "subscription": (
        "pg_subscription", "subdbid = (SELECT d.oid FROM pg_database d WHERE datname = current_database())",
        "rows that another server sends: what it sends after the snapshot does not move",
    ),
    "extension": ("pg_extension", "extname <> 'plpgsql'", "an extension of the server: values of its types move as docs/types.md says"),
}  # fmt: skip
"""Kind → the catalog, which of its rows, and why they stay."""


def _others(cursor: Any) -> dict[str, str]:
    """Code and rights, by the names that PostgreSQL gives them; members of extensions come with those."""
    queries = [
        f"SELECT '{kind}' AS kind, pg_identify_object('{catalog}'::regclass, o.oid, 0) AS named FROM {catalog} o "
        f"WHERE o.oid >= {FIRST_OF_USERS} AND ({which}) AND NOT EXISTS (SELECT FROM pg_depend d "
        f"WHERE d.classid = '{catalog}'::regclass AND d.objid = o.oid AND d.deptype = 'e')"
        for kind, (catalog, which, _) in _OTHERS.items()
    ]
    cursor.execute(
        f"SELECT kind, coalesce((named).type, kind) || ' ' || (named).identity FROM ({' UNION ALL '.join(queries)}) o "
        "WHERE (named).identity IS NOT NULL"
    )
    found = {name: _OTHERS[kind][2] for kind, name in cursor.fetchall()}
    cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
    return found | {f"prepared transaction {gid}": _PREPARED for (gid,) in cursor.fetchall()}


_PREPARED = "neither committed nor rolled back: what it wrote is not in the snapshot"
