"""What the tests ask of a database."""

from __future__ import annotations

from typing import Any

import psycopg2


def query(dsn: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SET datestyle TO 'ISO, YMD'; SET timezone TO 'UTC'")
            cursor.execute(sql, values or None)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def fingerprint(dsn: str) -> dict[str, str]:
    """Per table and materialized view of schema public: rows, and md5 of all of them as text, in byte order."""
    tables = query(
        dsn,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p', 'm') ORDER BY 1",
    )
    return {
        name: query(
            dsn,
            f"SELECT count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' ORDER BY md5(t::text) COLLATE \"C\")), '')"
            f' FROM "{name}" t',
        )[0][0]
        for (name,) in tables
    }
