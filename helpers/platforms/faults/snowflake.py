"""Snowflake's errors, by the connector's class, its number and the SQLSTATE
(https://docs.snowflake.com/en/developer-guide/python-connector/python-connector-api#exceptions).
"""

from __future__ import annotations

import re

from snowflake.connector import errors as snow

from helpers.errors import ConnectionFailed, LoadError, MigrationError
from helpers.platforms.faults import Fault, in_one_line, known_faults
from helpers.redaction import redact

AGAIN = "run the same command again"

_FAULTS = known_faults("snowflake")


_OF_A_SERVER = (
    snow.OperationalError, snow.InterfaceError, snow.InternalServerError, snow.ServiceUnavailableError, snow.GatewayTimeoutError,
    snow.BadGatewayError, snow.RequestTimeoutError, snow.TooManyRequests, snow.OtherHTTPRetryableError,
    snow.RequestExceedMaxRetryError,
)  # fmt: skip


_BY_WORDS = (
    ("is not allowed to access Snowflake", "network_policy"),
    ("Multi-factor authentication is required", "mfa"),
    ("temporarily locked", "locked_out"),
)
"""Of a login that the connector gives no other number than its own (250001)."""

_ENDED = frozenset({"390104", "390111", "390112", "390113", "390114", "390115", "390195"})
"""The service refused a statement before it ran, because the session is no more
(`snowflake.connector.network`; https://docs.snowflake.com/en/user-guide/session-policies)."""

_VALUES = (
    (re.compile(r"Row Values: \[.*\]", re.DOTALL), "Row Values: […]"),
    (
        re.compile(
            r"\b(value|String|Date|Time|Timestamp|Numeric value|Boolean value|field key|hex string) '(?:[^']|'')*'"
        ),
        r"\1 '…'",
    ),
    (re.compile(r"\['.*?'\]", re.DOTALL), "['…']"),
)
"""What of a message is a row's and not a name's."""


def fault(error: Exception) -> Fault | None:
    """What an error of the connector means, or None where nobody knows."""
    if isinstance(error, snow.NonRetryableTlsError | snow.RevocationCheckError):
        return _FAULTS["certificate"]
    if isinstance(error, snow.ForbiddenError):
        return _FAULTS["account"]
    if isinstance(error, snow.TokenExpiredError):
        return _FAULTS["session"]
    if isinstance(error, snow.Error):
        known = _FAULTS.get(str(error.errno)) or _FAULTS.get(error.sqlstate or "")
        known = known or next((_FAULTS[name] for words, name in _BY_WORDS if words in str(error)), None)
        if known:
            return known
        return _FAULTS["passing"] if isinstance(error, _OF_A_SERVER) else None
    # A connection that breaks in the middle of an answer is an OSError of the connector's own HTTP client.
    return _FAULTS["passing"] if isinstance(error, OSError) else None


def session_ended(error: Exception) -> bool:
    """Whether the session is no more, and the statement was not run."""
    return isinstance(error, snow.Error) and str(error.errno) in _ENDED


def session_lost(error: Exception, doing: str, *, on: str) -> MigrationError:
    """The error of a session that took a transaction, or rows of a temporary table, with it."""
    cure = f"the table is as it was before, because what was not committed is rolled back: {AGAIN}, and it goes on behind what is done"
    return Fault(ConnectionFailed, cure, transient=True).told(doing, on=on, why=said(error))


def told(error: Exception, doing: str, *, on: str) -> MigrationError:
    """The error that says what was tried with a statement."""
    cure = f"correct what the message names (rights, space, a name), then {AGAIN}"
    return (fault(error) or Fault(LoadError, cure)).told(doing, on=on, why=said(error))


def entry_refused(error: Exception, *, on: str) -> MigrationError:
    """The same of a connection that was not to be had: what is not known to pass is not tried again."""
    if isinstance(error, FileNotFoundError | PermissionError | ValueError | TypeError):
        found = _FAULTS["key"]
    else:
        found = fault(error) or _FAULTS["no_entry"]
    return Fault(ConnectionFailed, found.cure, found.transient).told("connect", on=on, why=said(error))


def said(error: Exception) -> str:
    """The whole message in one line, without values of rows: the reason stands in the second of Snowflake's."""
    text = str(getattr(error, "msg", None) or error)
    for pattern, instead in _VALUES:
        text = pattern.sub(instead, text)
    return redact(in_one_line(text)) or type(error).__name__
