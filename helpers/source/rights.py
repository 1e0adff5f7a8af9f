"""What a role lacks for reading tables, all of it at once, before anything is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from helpers.errors import SourceFailed
from helpers.model.catalog import Table

_MISSING = """
WITH wanted AS (
    SELECT c.oid, c.relnamespace, c.relkind, c.relispopulated,
           quote_ident(n.nspname) AS schema, format('%%I.%%I', n.nspname, c.relname) AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%s::oid[])
), lacking AS (
    SELECT 1 AS turn, format('GRANT USAGE ON SCHEMA %%s TO %%I', schema, current_user) AS cure
    FROM wanted WHERE NOT has_schema_privilege(relnamespace, 'USAGE')
    UNION
    SELECT 2, format('GRANT SELECT ON %%s TO %%I', string_agg(name, ', ' ORDER BY name), current_user)
    FROM wanted WHERE NOT has_table_privilege(oid, 'SELECT') GROUP BY schema
    UNION
    SELECT 3, format('ALTER ROLE %%I BYPASSRLS (row-level security hides rows of %%s from it)', current_user,
                     string_agg(name, ', ' ORDER BY name))
    FROM wanted WHERE row_security_active(oid) HAVING count(*) > 0
    UNION
    SELECT 4, format('REFRESH MATERIALIZED VIEW %%s', name) FROM wanted WHERE relkind = 'm' AND NOT relispopulated
)
SELECT cure FROM lacking ORDER BY turn, cure
"""
"""A table that was dropped since the snapshot has no rights to ask for: the functions see the present, and answer NULL."""


def missing(cursor: Any, tables: Iterable[Table]) -> tuple[str, ...]:
    """The statements after which the cursor's role can read `tables`; none where it can.

    Args:
        cursor: a psycopg2 cursor.
        tables: with partitions, which are read through them.
    """
    cursor.execute(_MISSING, ([table.oid for table in tables],))
    return tuple(cure for (cure,) in cursor.fetchall())


def refuse_missing(cursor: Any, tables: Iterable[Table]) -> None:
    """Raises `SourceFailed` that names every right which is missing, as the statements that grant them."""
    if found := missing(cursor, tables):
        info = cursor.connection.info
        raise SourceFailed(
            "read the tables that are to move",
            on=f"PostgreSQL {info.dbname} at {info.host}:{info.port} as {info.user}",
            why=f"{len(found)} {'thing is' if len(found) == 1 else 'things are'} in the way of reading all rows: rights are "
            "missing, or a materialized view was never filled",
            next_step=f"let an owner or a superuser run: {'; '.join(found)}; then run the same command again",
        )
