"""What a session of PostgreSQL must be, set and read back in the transaction that reads, whatever a role, a database or a pooler says.

A setting that is only asked for at start-up is dropped in silence by a pooler that was told to ignore it, and one that was set
in a transaction before may have been set on another server process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ, STATUS_READY

from helpers.errors import SessionRefused, SourceRefused

SETTINGS = {
    # Names mean what they mean in pg_catalog: no function, operator or type of another role's making is found.
    "search_path": "pg_catalog, pg_temp",
    # `value::text` depends on the value alone; extra_float_digits ≥ 1 prints floats exactly.
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "client_encoding": "UTF8",
    # What the server tells of its own work at "debug" reaches a terminal and its logs, and is no answer of ours.
    "client_min_messages": "warning",
    # Expressions of the catalog are printed in one way, so that one way of reading them is enough.
    "quote_all_identifiers": "off",
    # A literal, a condition and an array mean what they say.
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "xmloption": "content",
    # No row is missing: one that a policy hides is an error, and an index gives all that it has.
    "row_security": "off",
    "gin_fuzzy_search_limit": "0",
    # Views and foreign tables may be read; `restriction` says otherwise where tables are.
    "restrict_nonsystem_relation_kind": "",
    # Nothing waits for ever for a lock, and nothing else ends a transaction that holds a snapshot or a lock.
    "lock_timeout": "10000",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
"""By name, what every session of ours has; time-outs in milliseconds. A version that lacks one has no such behaviour either
(https://www.postgresql.org/docs/current/runtime-config-client.html)."""

HELD = {"zero_damaged_pages": "off", "ignore_checksum_failure": "off"}
"""What only a superuser may set, and what would lose or change rows: read back alone."""

HELD_FOR_WRITES = {"session_replication_role": "origin"}
"""The same where we write: triggers, rules and foreign keys act."""

MASK_SALT = "migration_runbooks.mask_salt"
"""What `tables.mask_salt` is called in a session: a setting of ours, which no list of settings shows."""

NOT_AT_START = {"restrict_nonsystem_relation_kind", "transaction_timeout", "idle_session_timeout", MASK_SALT}
"""What some versions do not know, and refuse as a start-up option; and a secret, which belongs in no connection string."""

_NOT_READ_BACK = {"application_name"}
"""It is cut to 63 characters, and changes no answer."""


def wanted(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """`SETTINGS` with those that one session has otherwise."""
    return {**SETTINGS, **(settings or {})}


def options(settings: Mapping[str, str]) -> str:
    """The same as libpq's start-up options, but for those of `NOT_AT_START`."""
    return " ".join(
        f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in settings.items() if name not in NOT_AT_START
    )


def restriction(kinds: set[str]) -> str:
    """`restrict_nonsystem_relation_kind` where relations of these kinds (`pg_class.relkind`) are read: a table that somebody
    has meanwhile exchanged for a view, which would run its owner's functions as us, is then refused."""
    return ", ".join(name for kind, name in (("v", "view"), ("f", "foreign-table")) if kind not in kinds)


def restrict(cursor: Any, kinds: set[str]) -> None:
    """Sets `restriction` for the rest of the transaction, where the server knows it."""
    cursor.execute(
        "SELECT set_config(name, %s, true) FROM (VALUES ('restrict_nonsystem_relation_kind')) AS wanted (name) "
        "WHERE current_setting(name, true) IS NOT NULL",
        [restriction(kinds)],
    )


def setting(settings: Mapping[str, str], *, local: bool = True, first: Sequence[str] = ()) -> str:
    """The statements that set them, in one text; no name in it can be another's.

    Args:
        local: for the transaction (SET LOCAL); otherwise for the session.
        first: statements that have to come before the transaction's first query, and with it its snapshot.
    """
    scope = "LOCAL" if local else "SESSION"
    values = ", ".join(f"({literal(name)}, {literal(value)})" for name, value in settings.items())
    return "; ".join(
        # The role's own limit must not end what comes before it is lifted.
        [f"SET {scope} statement_timeout = 0", *first, f"SET {scope} search_path = pg_catalog, pg_temp", ""]
    ) + (
        f"SELECT set_config(name, value, {str(local).lower()}) FROM (VALUES {values}) AS wanted (name, value) "
        f"WHERE current_setting(name, true) IS NOT NULL OR name = {literal(MASK_SALT)}"
    )


STARTED = "pg_catalog.pg_postmaster_start_time()::text"
"""When the server was started: no two have that in common, nor one and itself before it was started anew."""

READING_BACK = (
    "SELECT pg_catalog.lower(name), setting FROM pg_catalog.pg_settings "
    f"UNION ALL SELECT 'pg_postmaster_start_time', {STARTED}"
)
"""Every setting as it is now, time-outs in milliseconds, and `STARTED`."""


def check(found: Mapping[str, str | None], settings: Mapping[str, str], *, on: str, writes: bool = False) -> None:
    """Compares what `READING_BACK` gave with what was set.

    Raises:
        SessionRefused: a setting does not hold.
    """
    held = {**settings, **HELD, **(HELD_FOR_WRITES if writes else {})}
    for name, value in held.items():
        if name in found and name not in _NOT_READ_BACK and found[name] != value:
            raise SessionRefused(
                "hold the session's settings",
                on=on,
                why=f"{name} is {found[name]!r} after it was set to {value!r}"
                if name in settings
                else f"{name} is {found[name]!r}, and only a superuser may change it",
                next_step="connect directly, without a pooler or proxy"
                if name in settings
                else f"ALTER ROLE … SET {name} = {value} (or ALTER DATABASE, or postgresql.conf), then run it again",
            )


def check_instance(found: Mapping[str, str | None], started: str | None, *, on: str) -> None:
    """Compares the server that gave what `READING_BACK` gives with the one that is meant.

    Args:
        found: what it gave.
        started: what `STARTED` is there; None where any server is meant.
        on: the source, as people name it.

    Raises:
        SourceRefused: it is another one, or was started anew.
    """
    other = found["pg_postmaster_start_time"]
    if started not in (None, other):
        raise SourceRefused(
            "read on one server",
            on=on,
            why=f"the snapshot lies on the server that was started at {started}, and one that was started at {other} answers: "
            "another of several, behind one name or several hosts, or the same one since",
            next_step="run the same command again: it goes to the server that answers then, under a new snapshot",
        )


class Connection(psycopg2.extensions.connection):  # type: ignore[misc]
    """A connection whose every transaction begins with the settings, set and read back; in autocommit, the session does.

    Attributes:
        settings: what `wanted` gave.
        address: the server, as people name it.
        started: see `check_instance`.
    """

    settings: Mapping[str, str] = SETTINGS
    address = "PostgreSQL"
    started: str | None = None
    _process: int | None = None

    def begin(self, first: str = "") -> None:
        """Begins a transaction, if none is open; in autocommit makes sure that the session is still the one that was set.

        Args:
            first: statements that have to come before the transaction's first query, and with it its snapshot.

        Raises:
            SessionRefused: a setting does not hold, or the session does not.
            psycopg2.Error: the server, or its snapshot, is gone.
        """
        if self.autocommit:
            self._hold_session()
        elif self.status == STATUS_READY:
            try:
                self._hold_transaction(first)
            except (SessionRefused, SourceRefused):
                self.rollback()
                raise

    @contextmanager
    def statement(self) -> Iterator[None]:
        """What one statement is executed in; where a read-only session commits by itself, a transaction for it alone, so that
        it needs no session that lasts."""
        access = self.settings.get("default_transaction_read_only")
        if not (self.autocommit and access == "on"):
            self.begin()
            yield
            return
        with self.cursor(cursor_factory=psycopg2.extensions.cursor) as aside:
            aside.execute("BEGIN READ ONLY")
            try:
                self._hold(setting(self.settings), {"transaction_read_only": "on"})
                yield
            finally:
                if not self.closed:
                    aside.execute("COMMIT")

    def _hold_transaction(self, first: str) -> None:
        # What the session's default says comes too late for a transaction that has begun.
        access = self.settings.get("default_transaction_read_only")
        mode = "" if access is None else f"SET TRANSACTION READ {'ONLY' if access == 'on' else 'WRITE'}"
        modes = {} if access is None else {"transaction_read_only": access}
        if self.readonly:
            modes["transaction_read_only"] = "on"
        if self.isolation_level == ISOLATION_LEVEL_REPEATABLE_READ:
            modes["transaction_isolation"] = "repeatable read"
        self._hold(setting(self.settings, first=[*filter(None, (mode, first))]), modes)

    def _hold_session(self) -> None:
        if self._process is None:
            if (process := process_of(self)) != self.info.backend_pid:
                require_session(self)
            self._hold(setting(self.settings, local=False), {})
            self._process = process
        elif self._process != self.info.backend_pid and self._process != process_of(self):
            raise _not_a_session(self.address)

    def _hold(self, sql: str, modes: Mapping[str, str]) -> None:
        with self.cursor(cursor_factory=psycopg2.extensions.cursor) as cursor:
            cursor.execute(f"{sql}; {READING_BACK}")
            found = dict(cursor.fetchall())
        check(found, {**self.settings, **modes}, on=self.address, writes=not self.readonly)
        check_instance(found, self.started, on=self.address)


class Cursor(psycopg2.extensions.cursor):  # type: ignore[misc]
    """A cursor of a `Connection`."""

    def execute(self, query: Any, vars: Any = None) -> None:
        with self.connection.statement():
            super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        self.connection.begin()
        super().executemany(query, vars_list)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        self.connection.begin()
        super().copy_expert(sql, file, size)


def connect(dsn: str, settings: Mapping[str, str], address: str, *, started: str | None = None) -> Connection:
    """A connection whose transactions hold `settings`.

    Args:
        dsn: with the same settings as start-up options, which alone reach what a driver asks before the first transaction.
        settings: what `wanted` gave.
        address: the server, as people name it.
        started: see `check_instance`.

    Raises:
        psycopg2.Error: no answer, or no entry.
        SessionRefused: the start-up options were dropped, and psycopg2 has learnt from the server to quote in another way than
            the settings say.
    """
    connection: Connection = psycopg2.connect(dsn, connection_factory=Connection, cursor_factory=Cursor)
    connection.settings, connection.address, connection.started = settings, address, started
    if connection.get_parameter_status("standard_conforming_strings") == "off":
        connection.close()
        raise SessionRefused(
            "hold the session's settings",
            on=address,
            why="standard_conforming_strings is off at the start of the session, though it was asked for as on",
            next_step="connect directly, without a pooler, or ALTER ROLE … SET standard_conforming_strings = on",
        )
    return connection


def require_options(connection: Connection) -> None:
    """Makes sure that start-up options reach the session: all that a program which is not ours can be told beforehand.

    Args:
        connection: a new one, which nothing was executed on.

    Raises:
        SessionRefused: they do not, or it is no session.
        SourceRefused: see `check_instance`.
    """
    connection.autocommit = True
    if process_of(connection) != connection.info.backend_pid:
        require_session(connection)
    with connection.cursor(cursor_factory=psycopg2.extensions.cursor) as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = 0; {READING_BACK}")
        found = dict(cursor.fetchall())
    asked = {name: value for name, value in connection.settings.items() if name not in NOT_AT_START}
    check(found, asked, on=connection.address)
    check_instance(found, connection.started, on=connection.address)


def require_session(connection: psycopg2.extensions.connection) -> None:
    """Makes sure that a pooler gives each of its clients a server process of its own, for as long as it stays.

    Two clients ask by turns which process serves them, outside a transaction: where a pooler deals processes out by the
    transaction, one of them changes, or both have the same.

    Args:
        connection: in autocommit.

    Raises:
        SessionRefused: it does not; nothing was set or changed.
    """
    with closing(psycopg2.connect(connection.dsn, password=connection.info.password)) as other:
        other.autocommit = True
        for _ in range(3):
            mine, others = ({process_of(each) for _ in range(3)} for each in (connection, other))
            mine.add(process_of(connection))
            if len(mine | others) > 2 or mine & others:
                raise _not_a_session(getattr(connection, "address", "PostgreSQL"))


def process_of(connection: psycopg2.extensions.connection) -> int:
    """The server's process; where it is not `connection.info.backend_pid`, a pooler stands between, which makes up its own."""
    with connection.cursor(cursor_factory=psycopg2.extensions.cursor) as cursor:
        cursor.execute("SELECT pg_catalog.pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _not_a_session(address: str) -> SessionRefused:
    return SessionRefused(
        "hold a session",
        on=address,
        why="a pooler serves its transactions by different server processes (transaction pooling), and what is to be done "
        "takes several transactions of one",
        next_step="connect directly to the server, or to a pool with pool_mode = session",
    )


def literal(text: str) -> str:
    """A string quoted for PostgreSQL (with standard_conforming_strings) and DuckDB."""
    return "'" + text.replace("'", "''") + "'"
