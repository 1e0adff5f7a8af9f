"""A database of one's own on a server, dropped when the block ends; what a killed process left is dropped by the next.

A session whose application name ends with the database's name marks it as in use. It lives as long as the process, however that
ends.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg2

from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.platforms.postgres import identifier
from helpers.settings import Source

SESSION = "migration-runbooks "
"""With the scratch database's name behind it, the name of the session that marks it as in use."""


@contextmanager
def scratch_database(server: Source, prefix: str, *definitions: str) -> Iterator[Source]:
    """Makes a database, and drops it when the block ends.

    Args:
        server: its role must be allowed to create databases; the database named there is connected to and not changed.
        prefix: of the name, by which `remove_stale` knows what is ours.
        definitions: what follows the name in CREATE DATABASE; the next one where the server does not have the locale of the one
            before.

    Yields:
        The scratch database.

    Raises:
        SourceFailed: the server made no database.
        ConnectionFailed: the server cannot be reached.
    """
    name = f"{prefix}{secrets.token_hex(4)}"
    with _session(server, SESSION + name) as cursor:
        with _told(server, "create a scratch database"):
            _create(cursor, name, definitions or ("",))
        try:
            yield server.model_copy(update={"dbname": name})
        finally:
            _drop(server, name)


def _create(cursor: Any, name: str, definitions: Sequence[str]) -> None:
    for last, definition in enumerate(definitions, 1):
        try:
            cursor.execute(f"CREATE DATABASE {identifier(name)} {definition}")
            return
        except psycopg2.Error as error:
            if error.pgcode not in _NO_SUCH_LOCALE or last == len(definitions):
                raise


_NO_SUCH_LOCALE = frozenset({"22023", "42809", "42704", "0A000", "42601"})
"""An unknown locale, one that does not go with the encoding, a provider that the server was built without or does not know."""


def remove_stale(server: Source, prefix: str) -> list[str]:
    """Drops the scratch databases of this prefix that killed processes left on the server; returns their names.

    Raises:
        ConnectionFailed: the server cannot be reached.
    """
    with _session(server) as cursor:
        cursor.execute(
            "SELECT datname FROM pg_database d WHERE datname ~ %s AND pg_has_role(datdba, 'USAGE') "
            "AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = %s || d.datname)",
            (f"^{prefix}[0-9a-f]{{8}}$", SESSION),
        )
        names = [str(name) for (name,) in cursor.fetchall()]
    for name in names:
        _drop(server, name)
    return names


def _drop(server: Source, name: str) -> None:
    # By a session of its own: the one that marks the database may have been lost meanwhile.
    with _session(server) as cursor, _told(server, "drop the scratch database"):
        postgres.drop_database(cursor, name)


def _session(server: Source, application: str = "migration-runbooks scratch") -> AbstractContextManager[Any]:
    # A database that is frozen for a cutover is read-only by default; the scratch databases beside it are not its data.
    settings = {"statement_timeout": "0", "idle_session_timeout": "0", "default_transaction_read_only": "off"}
    return postgres.committing(server, application=application, settings=settings)


@contextmanager
def _told(server: Source, doing: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        cure = "let the role create databases (ALTER ROLE … CREATEDB), or name another server"
        raise faults.told(error, doing, on=postgres.address(server), cure=cure, rights=cure) from None
