"""Connections to Snowflake by the genuine connector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import snowflake.connector
from snowflake.connector.errors import Error

from helpers.errors import SessionRefused
from helpers.platforms.faults import snowflake as faults
from helpers.platforms.naming import NameRules
from helpers.settings import Snowflake

SESSION: dict[str, str | int | bool] = {
    "AUTOCOMMIT": True,
    "TIMEZONE": "UTC",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "BINARY_INPUT_FORMAT": "HEX",
    "BINARY_OUTPUT_FORMAT": "HEX",
    "DATE_INPUT_FORMAT": "AUTO",
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD",
    "TIME_INPUT_FORMAT": "AUTO",
    "TIME_OUTPUT_FORMAT": "HH24:MI:SS",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "TIMESTAMP_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM",
    "TIMESTAMP_NTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3",
    "TIMESTAMP_LTZ_OUTPUT_FORMAT": "",
    "TIMESTAMP_TZ_OUTPUT_FORMAT": "",
    "TWO_DIGIT_CENTURY_START": 1970,
    "WEEK_START": 0,
    "WEEK_OF_YEAR_POLICY": 0,
    "JSON_INDENT": 2,
    "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
    "ROWS_PER_RESULTSET": 0,
    "ERROR_ON_NONDETERMINISTIC_MERGE": True,
}
"""What an answer rests on, set at login and read back, whatever the account or the user has: all but the first four are the service's
own defaults (https://docs.snowflake.com/en/sql-reference/parameters). A time-out ends in an error and is left to the account."""

_TRIES = 3
"""Of a request that is not answered. While a statement runs the service answers every 45 seconds that it does."""

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
    connection = open_connection(target)
    try:
        yield Session(connection, address(target))
    finally:
        connection.close()


def open_connection(target: Snowflake) -> Any:
    """The connector's own connection.

    Raises:
        ConnectionFailed: no answer, or no entry.
        SessionRefused: a parameter of `SESSION` does not hold.
    """
    answer = math.ceil(target.answer_timeout_seconds)
    options = {
        "login_timeout": math.ceil(target.connect_timeout_seconds),
        "socket_timeout": answer,
        "network_timeout": _TRIES * answer,
        **target.connect,
    }
    options["session_parameters"] = {
        "QUERY_TAG": "migration-runbooks",
        **SESSION,
        **options.get("session_parameters", {}),
    }
    if target.password:
        options["password"] = target.password.get_secret_value()
    if target.private_key_file:
        options["authenticator"] = "SNOWFLAKE_JWT"
        options["private_key_file"] = target.private_key_file
        if target.private_key_passphrase:
            options["private_key_file_pwd"] = target.private_key_passphrase.get_secret_value()
    for name in ("warehouse", "role"):
        if value := getattr(target, name):
            options[name] = value
    try:
        connection = snowflake.connector.connect(account=target.account, user=target.user, **options)
    except (Error, OSError, ValueError, TypeError) as error:
        raise faults.entry_refused(error, on=address(target)) from None
    try:
        _check(connection, address(target))
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: Any, where: str) -> None:
    rows = Session(connection, where).execute("SHOW PARAMETERS IN SESSION", doing="read the session's parameters")
    held = {str(row["key"]): str(row["value"]) for row in rows}
    for name, value in SESSION.items():
        found = held.get(name)
        if found is None or found.casefold() != str(value).casefold():
            raise SessionRefused(
                "hold the session's parameters",
                on=where,
                why=f"{name} is {found!r} after it was set to {str(value)!r}",
                next_step=f"take {name} out of connect.session_parameters in [profiles.X.snowflake], or let the user set it "
                "(ALTER SESSION needs no right of its own)",
            )


class Session:
    """Statements over one connection, with errors that name what was tried."""

    def __init__(self, connection: Any, where: str) -> None:
        self._connection = connection
        self._where = where

    def execute(self, sql: str, values: Sequence[Any] = (), *, doing: str) -> list[dict[str, Any]]:
        """Runs one statement and returns its rows by column name.

        Args:
            sql: with `%s` for each of `values`.
            doing: the clause that an error begins with ("create the table …"); the statement itself may hold
                credentials and is never shown.
        """
        with self._errors(doing), self._connection.cursor(snowflake.connector.DictCursor) as cursor:
            cursor.execute(sql, tuple(values) or None)
            return list(cursor.fetchall()) if cursor.description else []

    def columns(self, sql: str, *, doing: str) -> tuple[str, ...]:
        """Names of the columns that a query gives; no row is fetched."""
        with self._errors(doing), self._connection.cursor() as cursor:
            cursor.execute(f"{sql} LIMIT 0")
            return tuple(str(each.name) for each in cursor.description)

    def batches(self, sql: str, *, doing: str) -> Iterator[pa.Table]:
        """Runs a query and yields its rows as Arrow tables."""
        with self._errors(doing), self._connection.cursor() as cursor:
            cursor.execute(sql)
            yield from cursor.fetch_arrow_batches()

    @contextmanager
    def transaction(self, *, doing: str) -> Iterator[None]:
        """Commits at the end of the block, or rolls back what it did."""
        self.execute("BEGIN", doing=doing)
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK", doing=f"roll back: {doing}")
            raise
        self.execute("COMMIT", doing=doing)

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
