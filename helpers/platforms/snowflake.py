"""Connections to Snowflake by the genuine connector."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pyarrow as pa
import snowflake.connector
from snowflake.connector.errors import Error

from helpers import log
from helpers.platforms import snowflake_login, snowflake_parameters, statements
from helpers.platforms.faults import snowflake as faults
from helpers.platforms.naming import NameRules
from helpers.platforms.snowflake_parameters import SESSION as SESSION
from helpers.settings import Snowflake

Answer = TypeVar("Answer")

QUERY_TAG = "migration-runbooks"
"""By which QUERY_HISTORY knows our statements."""

_TRIES = 3
"""Of a request that is not answered. While a statement runs the service answers every 45 seconds that it does."""

_REPEATED = re.compile(
    r"\s*(?:USE\b|ALTER\s+SESSION\b|CREATE\s+(?:OR\s+REPLACE\s+)?TEMP(?:ORARY)?\s+STAGE\b)", re.IGNORECASE
)
"""What makes a session what it is and can be said again: where it stands, its parameters, the way to a stage."""

_ROWS = re.compile(r"\s*CREATE\s+(?:OR\s+REPLACE\s+)?TEMP(?:ORARY)?\s+TABLE\s+(?P<name>\S+)", re.IGNORECASE)
_DROPPED = re.compile(r"\s*DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?P<name>\S+)", re.IGNORECASE)
"""A temporary table has rows that go with its session."""

NAMES = NameRules("Snowflake", longest=255)
"""Between double quotes every character is allowed (https://docs.snowflake.com/en/sql-reference/identifiers-syntax)."""


def address(target: Snowflake) -> str:
    """How the target is named to people."""
    return f"Snowflake {target.account}, {target.database}.{target.schema_}"


@contextmanager
def connect(target: Snowflake) -> Iterator[Session]:
    """A session that is closed with the block, its transaction rolled back unless it was committed.

    Raises:
        ConnectionFailed: no answer, or no entry.
    """
    session = Session(open_connection(target), address(target), lambda: open_connection(target))
    try:
        yield session
    finally:
        session.close()


def open_connection(target: Snowflake) -> Any:
    """The connector's own connection.

    Raises:
        ConnectionFailed: no answer, or no entry.
        SessionRefused: a parameter of `SESSION` does not hold.
        SettingsError: the profile does not say how to log in.
    """
    answer = math.ceil(target.answer_timeout_seconds)
    options = {
        "login_timeout": math.ceil(target.connect_timeout_seconds),
        "socket_timeout": answer,
        "network_timeout": _TRIES * answer,
        # Else a session ends after four idle hours (https://docs.snowflake.com/en/user-guide/session-policies).
        "client_session_keep_alive": True,
        **target.connect,
    }
    options["session_parameters"] = {"QUERY_TAG": QUERY_TAG, **SESSION, **options.get("session_parameters", {})}
    options |= snowflake_login.arguments(target)
    for name in ("warehouse", "role"):
        if value := getattr(target, name):
            options[name] = value
    try:
        connection = snowflake.connector.connect(account=target.account, user=target.user, **options)
    except (Error, OSError, ValueError, TypeError) as error:
        raise faults.entry_refused(error, on=address(target)) from None
    try:
        snowflake_parameters.check(Session(connection, address(target)).execute, address(target))
    except BaseException:
        connection.close()
        raise
    return connection


class Session:
    """Statements over one connection, with errors that name what was tried.

    Where the service has ended the session (idle, by a policy, by an administrator), the next statement opens another one with the same
    parameters, the same place and the same stages. Not within a transaction, and not while a temporary table holds rows: those are
    lost, and the error says so. A statement that finds its session ended was not run.

    Args:
        where: the target, for an error.
        reopen: makes another connection; without it, an ended session stays ended.
    """

    def __init__(self, connection: Any, where: str, reopen: Callable[[], Any] | None = None) -> None:
        self._connection = connection
        self._where = where
        self._reopen = reopen
        self._repeated: dict[str, None] = {}
        self._temporary: set[str] = set()
        self._in_transaction = self._ended = False

    def close(self) -> None:
        """Ends the session; one that has ended is no error."""
        with suppress(Error, OSError):
            self._connection.close()

    @property
    def id(self) -> int:
        """By which the service knows the session."""
        return int(self._connection.session_id)

    def execute(
        self, sql: str, values: Sequence[Any] = (), *, doing: str, expected: list[dict[str, Any]] | None = None
    ) -> list[dict[str, Any]]:
        """Runs one statement and returns its rows by column name.

        Args:
            sql: with `%s` for each of `values`.
            doing: the clause that an error begins with ("create the table …"); the statement itself may hold
                credentials and is never shown.
            expected: what it answers where it reads back what statements before it did, for a list of what would be sent.
        """

        def run() -> list[dict[str, Any]]:
            with self._connection.cursor(snowflake.connector.DictCursor) as cursor:
                cursor.execute(sql, tuple(values) or None)
                return list(cursor.fetchall()) if cursor.description else []

        def send() -> list[dict[str, Any]]:
            found = self._said(run, doing)
            self._note(sql)
            return found

        return statements.sent("snowflake", sql, values, send, [], expected)

    def columns(self, sql: str, *, doing: str) -> tuple[str, ...]:
        """Names of the columns that a query gives; no row is fetched."""

        def run() -> tuple[str, ...]:
            with self._connection.cursor() as cursor:
                cursor.execute(f"{sql} LIMIT 0")
                return tuple(str(each.name) for each in cursor.description)

        return statements.sent("snowflake", f"{sql} LIMIT 0", (), lambda: self._said(run, doing), ())

    def batches(self, sql: str, *, doing: str) -> Iterator[pa.Table]:
        """Runs a query and yields its rows as Arrow tables."""

        def run() -> Any:
            cursor = self._connection.cursor()
            cursor.execute(sql)
            return cursor

        cursor = statements.sent("snowflake", sql, (), lambda: self._said(run, doing), None)
        if cursor is not None:
            with cursor, self._errors(doing):
                yield from cursor.fetch_arrow_batches()

    @contextmanager
    def transaction(self, *, doing: str, name: str = "") -> Iterator[None]:
        """Commits at the end of the block, or rolls back what it did.

        Args:
            doing: as in `execute`.
            name: an identifier, by which `abort` knows the transaction when this session is gone.
        """
        self.execute(f"BEGIN NAME {name}" if name else "BEGIN", doing=doing)
        self._in_transaction = True
        try:
            yield
        except BaseException:
            if not self._ended:  # which has rolled it back
                self.execute("ROLLBACK", doing=f"roll back: {doing}")
            raise
        else:
            self.execute("COMMIT", doing=doing)
        finally:
            self._in_transaction = False

    def abort(self, name: str, *, doing: str) -> int:
        """Rolls back this user's transactions of a name; how many there were.

        A session that is gone leaves its transaction open with all that it has locked: for five minutes where somebody waits for that,
        for four hours where nobody does (https://docs.snowflake.com/en/sql-reference/transactions#aborting-transactions).
        """
        left = [
            row["id"]
            for row in self.execute("SHOW TRANSACTIONS", doing=doing)
            if row["name"].casefold() == name.casefold()
        ]
        for number in left:
            self.execute(f"SELECT SYSTEM$ABORT_TRANSACTION({int(number)})", doing=doing)
        return len(left)

    def _note(self, sql: str) -> None:
        if _REPEATED.match(sql):
            self._repeated.pop(sql, None)
            self._repeated[sql] = None
        elif made := _ROWS.match(sql):
            self._temporary.add(made["name"])
        elif gone := _DROPPED.match(sql):
            self._temporary.discard(gone["name"])

    def _said(self, run: Callable[[], Answer], doing: str) -> Answer:
        """What a statement answers, once more in another session where this one had ended and nothing went with it."""
        if self._ended:
            self._open_again()
        try:
            return run()
        except (Error, OSError) as error:
            if not faults.session_ended(error) or self._reopen is None:
                raise faults.told(error, doing, on=self._where) from None
            lost = self._in_transaction or bool(self._temporary)
            self._ended = True
            self._temporary.clear()
            if lost:
                raise faults.session_lost(error, doing, on=self._where) from None
            log.event("session-reopened", system=self._where, why=faults.said(error))
        self._open_again()
        with self._errors(doing):
            return run()

    def _open_again(self) -> None:
        assert self._reopen
        self.close()
        self._connection = self._reopen()
        self._ended = False
        for sql in self._repeated:
            with self._errors("open the session again"), self._connection.cursor() as cursor:
                cursor.execute(sql)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (Error, OSError) as error:
            raise faults.told(error, doing, on=self._where) from None


def identifier(*parts: str) -> str:
    """A name, or a dotted one, quoted so that its case and every character survive."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(text: str) -> str:
    """A string constant; a backslash is an escape in Snowflake's (https://docs.snowflake.com/en/sql-reference/data-types-text)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
