"""Snowflake's errors, by the connector's class, its number and the SQLSTATE
(https://docs.snowflake.com/en/developer-guide/python-connector/python-connector-api#exceptions).
"""

from __future__ import annotations

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
        if known:
            return known
        return _FAULTS["passing"] if isinstance(error, _OF_A_SERVER) else None
    # A connection that breaks in the middle of an answer is an OSError of the connector's own HTTP client.
    return _FAULTS["passing"] if isinstance(error, OSError) else None


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
    """The whole message in one line: the reason stands in the second of Snowflake's."""
    return redact(in_one_line(str(getattr(error, "msg", None) or error))) or type(error).__name__
