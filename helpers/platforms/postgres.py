"""Connections to PostgreSQL, by psycopg2 for statements and by DuckDB for data."""

from __future__ import annotations

import math
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import make_dsn

from helpers.errors import ConnectionFailed, MigrationError
from helpers.platforms import pg_session
from helpers.platforms.faults import postgres as faults
from helpers.platforms.pg_session import literal as literal
from helpers.settings import Instance, Source


def identifier(*parts: str) -> str:
    """A name, or a dotted one, quoted for PostgreSQL and DuckDB."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def dsn(source: Source, *, application: str = "migration-runbooks", settings: dict[str, str] | None = None) -> str:
    """The libpq connection string, password included: hand it to a driver, never to a log.

    Args:
        source: where to connect.
        application: shown in `pg_stat_activity`.
        settings: server settings for the session, beside those of `pg_session.SETTINGS`.

    Raises:
        ConnectionFailed: there is nothing to sign a token for RDS with.
    """
    return str(make_dsn(**keywords(source, application=application, settings=settings)))


def keywords(
    source: Source, *, application: str = "migration-runbooks", settings: dict[str, str] | None = None
) -> dict[str, str]:
    """The same as libpq's keywords: what every driver and program is given, secrets included; arguments and errors as of `dsn`."""
    # A service of the environment would be looked up by every driver where it was built to look, and found by none.
    os.environ.pop("PGSERVICE", None)
    own = pg_session.options(wanted(source, settings))
    given: dict[str, str | int | None] = {
        # libpq takes from the environment what is not said here, and PGHOSTADDR would lead elsewhere.
        "hostaddr": "",
        "host": source.host,
        "port": source.port,
        "dbname": source.dbname,
        "user": source.user,
        "password": password(source),
        "passfile": source.passfile,
        "sslmode": source.sslmode,
        "sslrootcert": trusted(source.sslrootcert),
        "sslcert": source.sslcert,
        "sslkey": source.sslkey,
        "sslpassword": source.sslpassword.get_secret_value() if source.sslpassword else None,
        "target_session_attrs": source.target_session_attrs,
        # Older ones of libpq than 16 do not know it, and "disable" is what they do.
        "load_balance_hosts": None if source.load_balance_hosts == "disable" else source.load_balance_hosts,
        "application_name": application,
        "connect_timeout": math.ceil(source.connect_timeout_seconds),
        **_silence(source),
        **source.connect,
        # The last one counts.
        "options": f"{source.connect.get('options', '')} {own}".strip(),
    }
    if one := source.instance:
        # A standby that was promoted since is the same server, with the same snapshots.
        alone: dict[str, str | int | None] = {
            "host": one.host,
            "port": one.port,
            "target_session_attrs": "any",
            "load_balance_hosts": None,
        }
        given |= alone | ({"hostaddr": one.address} if one.address else {})
    return {name: str(value) for name, value in given.items() if value is not None}


def password(source: Source) -> str | None:
    """What is sent as the password: it lasts, but for a token of RDS, which is good for a quarter of an hour; None where libpq finds one."""
    if source.auth == "rds-iam":
        from helpers.platforms import rds  # boto3 takes a tenth of a second of every command's start

        return rds.token(source)
    return source.password.get_secret_value() if source.password else None


def trusted(sslrootcert: str | None) -> str | None:
    """The file of authorities that a source names, "system" being this machine's: libpq looks for that where its own OpenSSL was
    built to, which is nowhere for one that came in a package, and does not know the word before version 16."""
    if sslrootcert != "system":
        return sslrootcert
    found = ssl.get_default_verify_paths().cafile or next((file for file in _AUTHORITIES if Path(file).exists()), None)
    return found or sslrootcert


_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"
)  # fmt: skip
"""Where distributions keep them: Debian, Red Hat, SUSE, Alpine."""


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
    """How the server is named to people, and in records that are compared: the same for every one of several hosts."""
    where = ",".join(f"{host}:{port}" for host, port in source.hosts)
    return f"PostgreSQL {source.dbname} at {where} as {source.user}"


def settled(source: Source) -> Source:
    """The source on the one server that answers now, of several that it may lead to.

    Raises:
        ConnectionFailed, SessionRefused: as `connect`.
    """
    with closing(connect(source, application="migration-runbooks probe")) as connection, connection.cursor() as cursor:
        started = str(value(cursor, f"SELECT {pg_session.STARTED}"))
        host, port = str(connection.info.host), int(connection.info.port)
        return source.on(Instance(host, _chosen_address(connection, host, port), port, started))


def refuse_another_server(source: Source) -> None:
    """Asks, after a snapshot was not to be had, whether the server that it lies on still is the one that answers.

    Raises:
        SourceRefused: another one does; nothing is raised where none does, or `source` is not settled on one.
    """
    if source.instance is None:
        return
    with suppress(ConnectionFailed, psycopg2.Error), closing(connect(source)) as connection:
        connection.begin()


def _chosen_address(connection: pg_session.Connection, host: str, port: int) -> str:
    """The address that the connection was made to, where the name leads to several."""
    if host.startswith(("/", "@")):
        return ""
    try:
        known = {each[4][0] for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:  # libpq was told the address beside the name
        return ""
    with socket.socket(fileno=os.dup(connection.fileno())) as peer:
        return str(peer.getpeername()[0]) if len(known) > 1 else ""


def connect(
    source: Source, *, application: str = "migration-runbooks", settings: dict[str, str] | None = None
) -> pg_session.Connection:
    """A psycopg2 connection whose every transaction holds the settings.

    Raises:
        ConnectionFailed: no answer, or no entry.
        SessionRefused: see `pg_session.connect`; each transaction that begins on it may raise it, too.
    """
    own = {**wanted(source, settings), "application_name": application}
    started = source.instance.started if source.instance else None
    try:
        where = dsn(source, application=application, settings=settings)
        return pg_session.connect(where, own, address(source), started=started)
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
        psycopg2.Error, MigrationError: what was raised in the block; nothing of it is left.
    """
    in_transaction = not cursor.connection.autocommit
    if in_transaction:
        cursor.execute("SAVEPOINT before")
    try:
        yield
    except (psycopg2.Error, MigrationError):
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
