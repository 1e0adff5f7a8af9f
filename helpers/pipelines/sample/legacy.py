"""The legacy pipeline in a database: run its SQL, find out whether it exists and what it holds, remove it.

Everything of ours carries a comment that begins with `OWNED`, so that nothing else is ever dropped. What the tables
hold stands in the comment of `raw_orders`, written in the transaction that filled them: a killed build leaves either
what was there before or nothing, never something that looks finished.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import errors as pg

from helpers import PROJECT
from helpers.errors import ConnectionFailed, UsageError
from helpers.platforms import pg_session
from helpers.platforms.postgres import value

SQL_FOLDER = PROJECT / "pipeline" / "legacy"
TABLES_SQL = ("10_raw.sql", "11_operations.sql", "13_star.sql")
KEYS_SQL = ("12_operations_keys.sql",)
STAR_SQL = ("20_clean.sql", "30_star.sql", "40_aggregates.sql")
REPORTS_SQL = ("50_reports.sql",)
REFRESH_SQL = ("60_refresh.sql",)

OWNED = "Legacy sales pipeline: "
_RAW_COMMENT = OWNED + "order lines as they came, before cleaning"
_LOCK_KEY = 4_120_240_101

_OWNED_OBJECTS = f"""
    SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
           format('%I.%I', nspname, relname)
    FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname = 'public' AND relkind IN ('r', 'p', 'v', 'm', 'S')
      AND obj_description(pg_class.oid, 'pg_class') LIKE '{OWNED}%'
    UNION ALL
    SELECT 'TYPE', format('%I.%I', nspname, typname)
    FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace
    WHERE nspname = 'public' AND typtype = 'e' AND obj_description(pg_type.oid, 'pg_type') LIKE '{OWNED}%'
    ORDER BY 2
"""

_DEPENDS = (
    "objects that are not part of the sample depend on it: {detail}",
    "drop them yourself, or give the sample a database of its own",
)
_TAKEN = (
    "an object of that name, which is not the sample's, is there already: {detail}",
    "rename it, or give the sample a database of its own",
)
_REFUSALS: dict[type[psycopg2.Error], tuple[str, str]] = {
    pg.DependentObjectsStillExist: _DEPENDS, pg.FeatureNotSupported: _DEPENDS, pg.ForeignKeyViolation: _DEPENDS,
    pg.DuplicateTable: _TAKEN, pg.DuplicateObject: _TAKEN,
    pg.LockNotAvailable: (
        "another session has held a lock on these tables for 30 s",
        "let it finish (pg_stat_activity and pg_locks name it), then repeat",
    ),
}  # fmt: skip
"""What the server refuses of a build: why, and what to do about it."""


@contextmanager
def transaction(dsn: str, what: str, *, alone: bool = True) -> Iterator[Any]:
    """Yields a cursor in one transaction whose session settings do not depend on the server or the caller.

    With `alone`, one such transaction at a time: two builds do not meet halfway.

    Raises:
        ConnectionFailed: the server did not let us in, or went away.
        UsageError: an object of somebody else stands in the way, or somebody holds a lock for half a minute.
    """

    def lost(doing: str, error: Exception, why: str, cure: str) -> ConnectionFailed:
        return ConnectionFailed(doing, on="the given DSN", why=why or str(error), next_step=cure)

    try:
        settings = pg_session.wanted({"lock_timeout": "30000", "application_name": "runbook sample"})
        connection = pg_session.connect(dsn, settings, "the given DSN")
    except psycopg2.OperationalError as error:
        raise lost("connect to PostgreSQL", error, "", "check that the server is up and the DSN") from error
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SET LOCAL work_mem TO '128MB'; SET LOCAL maintenance_work_mem TO '128MB'; SET LOCAL jit TO off"
            )
            if alone:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
            yield cursor
    except tuple(_REFUSALS) as error:
        why, cure = next(said for kind, said in _REFUSALS.items() if isinstance(error, kind))
        raise UsageError(what, on="schema public", why=why.format(detail=_detail(error)), next_step=cure) from error
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        cure = "repeat when the cause is gone: nothing was left half-done"
        raise lost(what, error, str(error.__context__ or ""), cure) from error
    finally:
        connection.close()


def run_sql(cursor: Any, names: tuple[str, ...]) -> None:
    """Runs files of pipeline/legacy in order."""
    for name in names:
        cursor.execute((SQL_FOLDER / name).read_text(encoding="utf-8"))


def drop_owned(cursor: Any) -> None:
    """Drops what carries our comment, and never anything that depends on it."""
    cursor.execute(_OWNED_OBJECTS)
    found: list[tuple[str, str]] = cursor.fetchall()
    for kind in ("MATERIALIZED VIEW", "VIEW", "TABLE", "SEQUENCE", "TYPE"):
        names = ", ".join(name for of, name in found if of == kind)
        if names:
            cursor.execute(f"DROP {kind} {names}")


def write_marker(cursor: Any, marker: dict[str, Any]) -> None:
    """Says in the comment of raw_orders what the tables now hold."""
    cursor.execute(
        "COMMENT ON TABLE public.raw_orders IS %s", (f"{_RAW_COMMENT} | {json.dumps(marker, sort_keys=True)}",)
    )


def read_marker(cursor: Any) -> dict[str, Any] | None:
    """What `write_marker` wrote, or None where there is no finished sample."""
    comment: str | None = value(cursor, "SELECT obj_description(to_regclass('public.raw_orders'), 'pg_class')")
    head, bar, tail = (comment or "").partition(" | ")
    if head != _RAW_COMMENT or not bar:
        return None
    marker: dict[str, Any] = json.loads(tail)
    return marker


def count_rows(cursor: Any) -> dict[str, int]:
    """Rows of each table of ours and of the materialized view; a partitioned table counts once."""
    cursor.execute(_OWNED_OBJECTS)
    names = [name for kind, name in cursor.fetchall() if kind in ("TABLE", "MATERIALIZED VIEW")]
    return {name.removeprefix("public."): int(value(cursor, f"SELECT count(*) FROM {name}")) for name in names}


def _detail(error: psycopg2.Error) -> str:
    parts = (error.diag.message_primary, error.diag.message_detail)
    return "; ".join(part.replace("\n", "; ") for part in parts if part)
