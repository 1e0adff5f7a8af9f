"""Snowflake's errors, by the connector's class, its number and the SQLSTATE
(https://docs.snowflake.com/en/developer-guide/python-connector/python-connector-api#exceptions).
"""

from __future__ import annotations

from snowflake.connector import errors as snow

from helpers.errors import ConnectionFailed, LoadError, MigrationError
from helpers.platforms.faults import Fault, in_one_line
from helpers.redaction import redact

AGAIN = "run the same command again"

_NO_ENTRY = Fault(
    ConnectionFailed,
    "correct account, user, role and credentials in the profile (locally: runbook local status); a login that was refused is "
    "not tried again, for Snowflake locks a user that fails too often",
)
_ACCOUNT = Fault(
    ConnectionFailed,
    "correct account in the profile (myorg-myaccount), or let this address in (a network policy, a private link)",
)
_CERTIFICATE = Fault(
    ConnectionFailed,
    "the certificate is expired, of another name, or not one to trust: look at this machine's clock, at a proxy between, and at "
    "host and account in the profile",
)
_PASSING = Fault(
    ConnectionFailed, f"see that the account is reachable (https://status.snowflake.com), then {AGAIN}", True
)
_SESSION = Fault(ConnectionFailed, f"the session is over (four idle hours, or a policy): {AGAIN}", True)
_KEY = Fault(ConnectionFailed, "correct private_key_file and private_key_passphrase in the profile")
_RIGHTS = Fault(
    LoadError,
    "grant the role what the message names (USAGE on warehouse, database and schema, CREATE TABLE on the schema; an object that "
    f"may not be seen looks like one that is not there), then {AGAIN}",
)
_WAREHOUSE = Fault(
    LoadError,
    "name a warehouse in the profile that the role may use and that may resume (GRANT USAGE, OPERATE; its resource monitor), "
    f"then {AGAIN}",
)
_TIMED_OUT = Fault(
    LoadError,
    "somebody cancelled the statement, or it reached STATEMENT_TIMEOUT_IN_SECONDS of user, session or warehouse: raise that, "
    f"then {AGAIN}",
)
_LOCKED = Fault(LoadError, f"another transaction holds a lock on the table: once it has ended, {AGAIN}", True)

_BY_NUMBER = {
    **dict.fromkeys((390110, 390111, 390112, 390114, 390115, 390195, 390318), _SESSION),
    250002: _SESSION,
    **dict.fromkeys((250003, 250005, 251011, 251012, 252010), _PASSING),
    290403: _ACCOUNT,
    290404: _ACCOUNT,
    251008: _KEY,
    251006: _NO_ENTRY,
    606: _WAREHOUSE,
    90073: _WAREHOUSE,
    2043: _RIGHTS,
    2003: _RIGHTS,
    3001: _RIGHTS,
    604: _TIMED_OUT,
    630: _TIMED_OUT,
    625: _LOCKED,
}
_BY_SQLSTATE = {"28000": _NO_ENTRY, "42501": _RIGHTS, "57P03": _WAREHOUSE, "57014": _TIMED_OUT}

_OF_A_SERVER = (
    snow.OperationalError, snow.InterfaceError, snow.InternalServerError, snow.ServiceUnavailableError, snow.GatewayTimeoutError,
    snow.BadGatewayError, snow.RequestTimeoutError, snow.TooManyRequests, snow.OtherHTTPRetryableError,
    snow.RequestExceedMaxRetryError,
)  # fmt: skip


def fault(error: Exception) -> Fault | None:
    """What an error of the connector means, or None where nobody knows."""
    if isinstance(error, snow.NonRetryableTlsError | snow.RevocationCheckError):
        return _CERTIFICATE
    if isinstance(error, snow.ForbiddenError):
        return _ACCOUNT
    if isinstance(error, snow.TokenExpiredError):
        return _SESSION
    if isinstance(error, snow.Error):
        known = _BY_NUMBER.get(error.errno) or _BY_SQLSTATE.get(error.sqlstate)
        if known:
            return known
        return _PASSING if isinstance(error, _OF_A_SERVER) else None
    # A connection that breaks in the middle of an answer is an OSError of the connector's own HTTP client.
    return _PASSING if isinstance(error, OSError) else None


def told(error: Exception, doing: str, *, on: str) -> MigrationError:
    """The error that says what was tried with a statement."""
    cure = f"correct what the message names (rights, space, a name), then {AGAIN}"
    return (fault(error) or Fault(LoadError, cure)).told(doing, on=on, why=said(error))


def entry_refused(error: Exception, *, on: str) -> MigrationError:
    """The same of a connection that was not to be had: what is not known to pass is not tried again."""
    if isinstance(error, FileNotFoundError | PermissionError | ValueError | TypeError):
        found = _KEY
    else:
        found = fault(error) or _NO_ENTRY
    return Fault(ConnectionFailed, found.cure, found.transient).told("connect", on=on, why=said(error))


def said(error: Exception) -> str:
    """The whole message in one line: the reason stands in the second of Snowflake's."""
    return redact(in_one_line(str(getattr(error, "msg", None) or error))) or type(error).__name__
