"""Connections to PostgreSQL, by psycopg2 for statements and by DuckDB for data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import make_dsn

from helpers.platforms import pg_session
from helpers.platforms.faults import postgres as faults
from helpers.platforms.pg_session import literal as literal
from helpers.settings import Source


def identifier(*parts: str) -> str:
    """A name, or a dotted one, quoted for PostgreSQL and DuckDB."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def dsn(source: Source, *, application: str = "migration-runbooks", settings: dict[str, str] | None = None) -> str:
    """The libpq connection string, password included: hand it to a driver, never to a log.

    Args:
        source: where to connect.
        application: shown in `pg_stat_activity`.
        settings: server settings for the session, beside those of `pg_session.SETTINGS`.
    """
    return str(
        make_dsn(
            host=source.host,
            port=source.port,
            dbname=source.dbname,
            user=source.user,
            password=source.password.get_secret_value() if source.password else None,
            sslmode=source.sslmode,
            sslrootcert=source.sslrootcert,
            application_name=application,
            connect_timeout=math.ceil(source.connect_timeout_seconds),
            **_silence(source),
            options=pg_session.options(wanted(source, settings)),
        )
    )


def wanted(source: Source, settings: dict[str, str] | None = None) -> dict[str, str]:
    """What a session of this source is set to: `pg_session.SETTINGS`, those of one session, and the salt of its masks."""
    salt = {pg_session.MASK_SALT: source.mask_salt.get_secret_value()} if source.mask_salt else {}
    return {**pg_session.wanted(settings), **salt}


def _silence(source: Source) -> dict[str, int]:
    """A server whose machine or network is gone, as libpq finds it out; one that still computes is left to.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES-IDLE
    """
    probes = 3
    seconds = math.ceil(source.answer_timeout_seconds)
    interval = max(1, seconds // (2 * probes))
    return {
        "keepalives_idle": max(1, seconds - probes * interval), "keepalives_interval": interval, "keepalives_count": probes,
        "tcp_user_timeout": seconds * 1000,
    }  # fmt: skip


def address(source: Source) -> str:
    """How the server is named to people."""
    return f"PostgreSQL {source.dbname} at {source.host}:{source.port} as {source.user}"


def connect(
    source: Source, *, application: str = "migration-runbooks", settings: dict[str, str] | None = None
) -> pg_session.Connection:
    """A psycopg2 connection whose every transaction holds the settings.

    Raises:
        ConnectionFailed: no answer, or no entry.
        SessionRefused: see `pg_session.connect`; each transaction that begins on it may raise it, too.
    """
    own = {**wanted(source, settings), "application_name": application}
    try:
        return pg_session.connect(dsn(source, application=application, settings=settings), own, address(source))
    except psycopg2.OperationalError as error:
        raise faults.entry_refused(error, on=address(source)) from None


@contextmanager
def reading(source: Source, *, application: str = "migration-runbooks") -> Iterator[Any]:
    """A cursor in a read-only REPEATABLE READ transaction that ends with the block."""
    with closing(connect(source, application=application)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            yield cursor


@contextmanager
def committing(
    source: Source, *, application: str = "migration-runbooks", settings: dict[str, str] | None = None
) -> Iterator[Any]:
    """A cursor whose every statement commits by itself, for the length of the block; arguments and errors as of `connect`."""
    with closing(connect(source, application=application, settings=settings)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def value(cursor: Any, sql: str, parameters: Any = None) -> Any:
    """The first value of a query's first row."""
    cursor.execute(sql, parameters)
    return cursor.fetchone()[0]


def rows(cursor: Any, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
    """A query's rows by column name."""
    cursor.execute(sql, parameters)
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def savepoint(cursor: Any) -> Iterator[None]:
    """A block after whose failure the transaction goes on, where there is one.

    Raises:
        psycopg2.Error: what was raised in the block; nothing of it is left.
    """
    in_transaction = not cursor.connection.autocommit
    if in_transaction:
        cursor.execute("SAVEPOINT before")
    try:
        yield
    except psycopg2.Error:
        if in_transaction and not cursor.connection.closed:
            # Released too: from within a subtransaction no snapshot can be exported.
            cursor.execute("ROLLBACK TO SAVEPOINT before; RELEASE SAVEPOINT before")
        raise
    if in_transaction:
        cursor.execute("RELEASE SAVEPOINT before")


def drop_database(cursor: Any, name: str) -> None:
    """Drops a database, if it is there, with the sessions that are in it.

    Where one of them is a superuser's, be it only about to end, WITH (FORCE) is refused to everybody else before it ended
    anything. The others are then ended one by one, and a plain DROP DATABASE waits some seconds for the last to leave
    (https://www.postgresql.org/docs/current/sql-dropdatabase.html).

    Args:
        cursor: of a session that commits by itself, in another database.
        name: the database.

    Raises:
        psycopg2.Error: the server refused, or a superuser stays connected.
    """
    statement = f"DROP DATABASE IF EXISTS {identifier(name)}"
    try:
        cursor.execute(f"{statement} WITH (FORCE)")
    except psycopg2.errors.InsufficientPrivilege:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = %s AND usename IN (SELECT rolname FROM pg_roles WHERE NOT rolsuper)",
            [name],
        )
        cursor.execute(statement)
