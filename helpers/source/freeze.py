"""Keeps writers out of the source during a cutover, and lets them in again exactly as they were.

PostgreSQL has no switch that forbids writing to one database. What there is, is a default: transactions are read-only where
`default_transaction_read_only` says so, which a database stores for all who connect, and a role for itself. It holds for new
sessions, so those that were open before are ended; and it is a default, so a session that asks for READ WRITE by name still
gets it. Whether it holds is therefore tried, as the application, and whoever writes all the same is named
(https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-DEFAULT-TRANSACTION-READ-ONLY).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import errors as pg
from pydantic import SecretStr

from helpers.errors import SourceRefused
from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.platforms.postgres import identifier, literal
from helpers.settings import Source
from helpers.source.sessions import Session, sessions, sessions_begun_by, terminate

SETTING = "default_transaction_read_only"
OURS = "migration-runbooks freeze"
WRITES = {SETTING: "off"}
"""Settings of a session of our own that writes while the source is frozen."""

SECONDS_TO_END = 10.0
"""A session that was told to end does so at its next check for interrupts."""

_POLL = 0.1


@dataclass(frozen=True)
class Stored:
    """What the catalog stores of the setting for one database.

    Attributes:
        role: None where it is for everybody.
        value: as it was written ("on", "false"); None where nothing is stored.
    """

    role: str | None
    value: str | None


@dataclass(frozen=True)
class FreezePlan:
    """What a freeze will change; nothing was changed to make it.

    Attributes:
        former: what is stored now, for everybody first, then for each role that has a value of its own.
        overriding: roles whose own value, stored for all databases, would stand above the database's.
        sessions: who is connected now.
    """

    source: Source
    former: tuple[Stored, ...]
    overriding: tuple[str, ...]
    sessions: tuple[Session, ...]


@dataclass(frozen=True)
class Frozen:
    """What a freeze has done.

    Attributes:
        ended: sessions that had been opened before it.
        waited: seconds until the last writing transaction was over.
    """

    ended: tuple[Session, ...]
    waited: float


@dataclass(frozen=True)
class Tried:
    """A write that was tried as the application.

    Attributes:
        refused: whether the server refused it because the transaction was read-only.
        how: as whom, on which table, and what the server said.
    """

    refused: bool
    how: str


def plan_freeze(source: Source) -> FreezePlan:
    """Reads who is connected and what the settings are.

    Raises:
        ConnectionFailed: the source does not answer.
    """
    with _connected(source) as cursor:
        return FreezePlan(source, stored(cursor), _overriding(cursor), sessions(cursor))


def freeze(plan: FreezePlan, *, patience: float, end_writers: bool = False) -> Frozen:
    """Makes new transactions of everybody read-only, and ends the sessions that began before.

    Args:
        plan: of this source.
        patience: seconds that transactions which have written get to end by themselves.
        end_writers: end them when their time is over; otherwise the freeze is given up, and they are named.

    Raises:
        SourceRefused: a session is left that may write, or a setting could not be changed; the settings are as before.
    """
    with _connected(plan.source) as cursor:
        try:
            since = _set(cursor, plan)
            waited = _wait_for_writers(cursor, since, patience)
            return Frozen(_end(cursor, since, end_writers=end_writers), waited)
        except BaseException:
            _restore(cursor, plan.former)
            raise


def unfreeze(source: Source, former: Sequence[Stored]) -> tuple[Session, ...]:
    """Puts the settings back to what they were, and ends the sessions that were opened meanwhile, which would stay read-only.

    Args:
        source: the frozen server.
        former: of the plan of the freeze.

    Returns:
        Sessions that could not be ended: they read, and write nothing until they connect anew.

    Raises:
        SourceRefused: the settings are not what they were after that.
    """
    with _connected(source) as cursor:
        _restore(cursor, former)
        now = stored(cursor)
        if _sorted(now) != _sorted(former):
            raise SourceRefused(
                "unfreeze the source",
                on=postgres.address(source),
                why=f"{SETTING} was {_words(former)} and is {_words(now)}",
                next_step=f"put it back by hand: ALTER DATABASE … RESET {SETTING}, and ALTER ROLE … IN DATABASE …",
            )
        since = postgres.value(cursor, "SELECT clock_timestamp()")
        for session in (each for each in sessions_begun_by(cursor, since) if each.pid is not None):
            terminate(cursor, session.pid)
        until = time.monotonic() + SECONDS_TO_END
        while (left := sessions_begun_by(cursor, since)) and time.monotonic() < until:
            time.sleep(_POLL)
        return tuple(left)


def is_frozen(source: Source) -> bool:
    """Whether the settings keep writers out; who writes all the same, `writers` tells."""
    with _connected(source) as cursor:
        values = {each.role: each.value for each in stored(cursor)}
        own = [values.get(role) for role in (None, *_overriding(cursor))] + list(values.values())
        return all(value is not None and _is_on(value) for value in own)


def writers(source: Source) -> tuple[Session, ...]:
    """Who has written in a transaction that is open now, our own sessions left out."""
    with _connected(source) as cursor:
        return tuple(session for session in sessions(cursor) if session.writing)


def try_a_write(source: Source, *, role: str | None = None, password: str | None = None) -> Tried:
    """Tries to write as the application does: a statement that touches no row, in a transaction that is rolled back.

    Args:
        source: the server.
        role: the application's; the profile's own user when None.
        password: of that role, for a connection of its own with its own defaults; without it our user takes the role by
            SET ROLE, which brings its rights and not its defaults. Those are then read from the catalog.

    Raises:
        ConnectionFailed: the role cannot connect.
        SourceRefused: there is no table that the role may change, so that nothing can be tried.
    """
    own = source if password is None or role is None else _as(source, role, password)
    with closing(postgres.connect(own, application=OURS)) as connection, connection.cursor() as cursor:
        who = role or str(postgres.value(cursor, "SELECT session_user"))
        if role and password is None:
            _set_role(cursor, role, source)
        schema, table = _table_to_try(cursor, who, source)
        try:
            cursor.execute(f"DELETE FROM {identifier(schema, table)} WHERE false")
            said = "the server took it"
            refused = False
        except pg.ReadOnlySqlTransaction as error:
            said, refused = faults.said(error), True
        connection.rollback()
    how = f"as {who}{' (by SET ROLE)' if role and password is None else ''} on {schema}.{table}: {said}"
    if refused and role and password is None:
        with _connected(source) as cursor:
            effective = _effective(cursor, role)
        if not _is_on(effective):
            return Tried(False, f"{how}, but the role's own {SETTING} is {effective} and stands above the database's")
    return Tried(refused, how)


def who_writes(source: Source, role: str | None = None) -> str:
    """As whom, and on which table, `try_a_write` will try; nothing is tried.

    Raises:
        SourceRefused: there is no table that the role may change, so that nothing can be tried.
    """
    with _connected(source) as cursor:
        who = role or str(postgres.value(cursor, "SELECT session_user"))
        schema, table = _table_to_try(cursor, who, source)
    return f"{who} on {schema}.{table}"


def _table_to_try(cursor: Any, who: str, source: Source) -> tuple[str, str]:
    cursor.execute(_A_TABLE, {"role": who})
    if (found := cursor.fetchone()) is None:
        raise SourceRefused(
            "try a write", on=f"{who} on {postgres.address(source)}", why="there is no table that this role may change",
            next_step="name the application's role in migration.toml: [profiles.NAME.cutover] application = …",
        )  # fmt: skip
    return str(found[0]), str(found[1])


def stored(cursor: Any) -> tuple[Stored, ...]:
    """What the catalog stores of the setting for the cursor's database: for everybody, and for single roles."""
    cursor.execute(_STORED, {"setting": SETTING})
    found = tuple(Stored(role, value) for role, value in cursor.fetchall())
    return found if any(each.role is None for each in found) else (Stored(None, None), *found)


_STORED = """
SELECT r.rolname, split_part(entry, '=', 2)
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS entry LEFT JOIN pg_roles r ON r.oid = s.setrole
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND split_part(entry, '=', 1) = %(setting)s
ORDER BY r.rolname NULLS FIRST
"""

_OVERRIDING = """
SELECT r.rolname FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS entry JOIN pg_roles r ON r.oid = s.setrole
WHERE s.setdatabase = 0 AND split_part(entry, '=', 1) = %(setting)s
ORDER BY 1
"""

_EFFECTIVE = """
SELECT split_part(entry, '=', 2)
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS entry
WHERE split_part(entry, '=', 1) = %(setting)s
  AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = %(role)s))
ORDER BY (s.setrole <> 0 AND s.setdatabase <> 0) DESC, (s.setrole <> 0) DESC, (s.setdatabase <> 0) DESC
LIMIT 1
"""
"""The order in which a session takes them: role in database, role, database, everybody
(https://www.postgresql.org/docs/current/sql-alterrole.html)."""

_A_TABLE = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relpersistence = 'p'
  AND has_schema_privilege(%(role)s, n.oid, 'USAGE') AND has_table_privilege(%(role)s, c.oid, 'DELETE')
ORDER BY 1, 2 LIMIT 1
"""


def _set(cursor: Any, plan: FreezePlan) -> Any:
    """Stores the setting, all of it or nothing; returns the server's time after that."""
    try:
        cursor.execute("BEGIN")
        cursor.execute(f"ALTER DATABASE {_database(cursor)} SET {SETTING} = on")
        for role in {*plan.overriding, *(each.role for each in plan.former if each.role)}:
            cursor.execute(f"ALTER ROLE {identifier(role)} IN DATABASE {_database(cursor)} SET {SETTING} = on")
        cursor.execute("COMMIT")
    except psycopg2.Error as error:
        with suppress(psycopg2.Error):
            cursor.execute("ROLLBACK")
        raise faults.told(
            error,
            "freeze the source",
            on=postgres.address(plan.source),
            rights="the profile's user must own the database, and administer the roles that have a value of their own: "
            f"{', '.join(plan.overriding) or 'none'}",
        ) from None
    return postgres.value(cursor, "SELECT clock_timestamp()")


def _restore(cursor: Any, former: Sequence[Stored]) -> None:
    wanted = {each.role: each.value for each in former}
    present = {each.role for each in stored(cursor)}
    cursor.execute("BEGIN")
    try:
        for role in present | set(wanted):
            value = wanted.get(role)
            whose = f"ALTER DATABASE {_database(cursor)}"
            if role is not None:
                whose = f"ALTER ROLE {identifier(role)} IN DATABASE {_database(cursor)}"
            cursor.execute(f"{whose} RESET {SETTING}" if value is None else f"{whose} SET {SETTING} = {literal(value)}")
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")


def _wait_for_writers(cursor: Any, since: Any, patience: float) -> float:
    began = time.monotonic()
    while sessions_begun_by(cursor, since, writing=True) and time.monotonic() - began < patience:
        time.sleep(_POLL)
    return time.monotonic() - began


def _end(cursor: Any, since: Any, *, end_writers: bool) -> tuple[Session, ...]:
    """Ends the sessions that were opened before `since`; refuses where one is left."""
    if not end_writers and (writing := sessions_begun_by(cursor, since, writing=True)):
        raise _left_over(writing, "have written and not ended their transaction")
    ended: dict[int, Session] = {}
    until = time.monotonic() + SECONDS_TO_END
    while left := sessions_begun_by(cursor, since):
        for session in left:
            if session.pid is not None and session.pid not in ended:
                ended[session.pid] = session
                terminate(cursor, session.pid)
        if time.monotonic() > until or all(session.pid is None for session in left):
            raise _left_over(left, "could not be ended")
        time.sleep(_POLL)
    return tuple(ended.values())


def _overriding(cursor: Any) -> tuple[str, ...]:
    cursor.execute(_OVERRIDING, {"setting": SETTING})
    return tuple(role for (role,) in cursor.fetchall())


def _effective(cursor: Any, role: str) -> str:
    cursor.execute(_EFFECTIVE, {"setting": SETTING, "role": role})
    found = cursor.fetchone()
    return str(found[0]) if found else "off"


def _set_role(cursor: Any, role: str, source: Source) -> None:
    try:
        cursor.execute(f"SET ROLE {identifier(role)}")
    except psycopg2.Error as error:
        cure = "give its password: [profiles.NAME.cutover] application_password = { env = … }"
        raise faults.told(
            error, "take the application's role", on=f"{role} on {postgres.address(source)}", cure=cure, rights=cure
        ) from None


def _as(source: Source, role: str, password: str) -> Source:
    return source.model_copy(update={"user": role, "password": SecretStr(password)})


def _database(cursor: Any) -> str:
    return identifier(cursor.connection.info.dbname)


def _is_on(value: str) -> bool:
    return value.strip().lower() in ("on", "true", "yes", "1", "t", "y", "tr", "tru", "ye")


def _sorted(stored_now: Sequence[Stored]) -> list[tuple[str, str]]:
    return sorted((each.role or "", each.value) for each in stored_now if each.value is not None)


def _words(values: Sequence[Stored]) -> str:
    return ", ".join(f"{each.value or 'unset'}{f' for {each.role}' if each.role else ''}" for each in values) or "unset"


def _left_over(sessions: Sequence[Session], how: str) -> SourceRefused:
    return SourceRefused(
        "freeze the source",
        on=f"{len(sessions)} sessions that {how}",
        why="; ".join(map(str, sessions)),
        next_step="let them finish, or set end_writers = true in [profiles.NAME.cutover], then run the same command again; "
        "the source is as it was before",
    )


def _connected(source: Source) -> AbstractContextManager[Any]:
    """A cursor in autocommit that may write while the source is frozen."""
    return postgres.committing(source, application=OURS, settings=WRITES)
