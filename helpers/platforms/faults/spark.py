"""Spark's errors, by the status of gRPC (https://grpc.io/docs/guides/status-codes/), the error's class and the SQLSTATE
(https://spark.apache.org/docs/latest/sql-error-conditions.html); what comes from Hadoop or S3 has neither.
"""

from __future__ import annotations

import re
from typing import Any

from helpers.errors import ConnectionFailed, LoadError, MigrationError
from helpers.platforms.faults import Fault, in_one_line, known_faults
from helpers.redaction import redact

AGAIN = "run the same command again"

_FAULTS = known_faults("spark")
MOST = 600
"""Characters of a message; a server may add its whole plan."""


_BY_CLASS = (
    (re.compile(r"INVALID_HANDLE\.|SESSION_|OPERATION_NOT_FOUND"), _FAULTS["busy"]),
    (
        re.compile("DELTA_CONCURRENT_|DELTA_METADATA_CHANGED|DELTA_PROTOCOL_CHANGED|DELTA_VERSION_CONCURRENT"),
        _FAULTS["concurrent"],
    ),
    (re.compile("INSUFFICIENT_PERMISSIONS|PERMISSION_DENIED|UNAUTHORIZED_ACCESS"), _FAULTS["rights"]),
)

_BY_TEXT = (
    (re.compile(r"No FileSystem for scheme:? \"?s3\b(?!a)\"?"), _FAULTS["scheme"]),
    (re.compile(r"No FileSystem for scheme:? \"?s3a|S3AFileSystem not found"), _FAULTS["hadoop"]),
    (re.compile("Concurrent(Append|DeleteRead|DeleteDelete|Write|Transaction|ModificationE)"), _FAULTS["concurrent"]),
    (re.compile("INSUFFICIENT_PERMISSIONS|PERMISSION_DENIED"), _FAULTS["rights"]),
    (
        re.compile(
            "AccessDenied|Access Denied|403 Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch|"
            "NoAuthWithAWSException|No AWS Credentials|ExpiredToken"
        ),
        _FAULTS["store"],
    ),
)
_OF_TLS = re.compile("certificate|CERTIFICATE|SSL_ERROR|[Hh]andshake|WRONG_VERSION")
_OF_NAMES = re.compile("Domain name not found|NXDOMAIN|Name or service not known")


def fault(error: Exception) -> Fault | None:
    """What an error of the client or of gRPC means, or None where nobody knows."""
    text = str(error)
    status = _status(error)
    if status == "UNAVAILABLE" or type(error).__name__ == "RetriesExceeded":
        if _OF_TLS.search(text):
            return _FAULTS["certificate"]
        return _FAULTS["no_such_host"] if _OF_NAMES.search(text) else _FAULTS["unreached"]
    if status in _FAULTS:
        return _FAULTS[status]
    of_class = getattr(error, "getCondition", lambda: None)() or ""
    if of_class and (found := next((known for pattern, known in _BY_CLASS if pattern.search(of_class)), None)):
        return found
    if of_class and getattr(error, "getSqlState", lambda: None)() == "42501":
        return _FAULTS["rights"]
    return next((known for pattern, known in _BY_TEXT if pattern.search(text)), None)


def told(error: Exception, doing: str, *, on: str) -> MigrationError:
    """The error that says what was tried with a statement."""
    cure = f"correct what the message names (rights, space, a name), then {AGAIN}"
    return (fault(error) or Fault(LoadError, cure)).told(doing, on=on, why=said(error))


def entry_refused(error: Exception, *, on: str) -> MigrationError:
    """The same of a session that was not to be had: what is not known to pass is not tried again."""
    found = fault(error) or (_FAULTS["unreached"] if isinstance(error, OSError) else _FAULTS["no_entry"])
    return Fault(ConnectionFailed, found.cure, found.transient).told("connect", on=on, why=said(error))


def said(error: Exception) -> str:
    """What the server said, in one line, without its stack and its plan."""
    details = getattr(error, "details", None)
    text = str(details() if callable(details) and details() else error)
    lines = [
        line for line in redact(text).splitlines() if line.strip() and not line.lstrip().startswith(("at ", "+-", "'"))
    ]
    return in_one_line(" ".join(lines))[:MOST] or type(error).__name__


def _status(error: Any) -> str:
    """gRPC's status of the error, of the one that it came from, or empty."""
    for each in (error, error.__cause__, error.__context__):
        for name in ("getGrpcStatusCode", "code"):
            if callable(ask := getattr(each, name, None)):
                code = getattr(ask(), "name", "")
                if code and code not in ("UNKNOWN", "INTERNAL", "OK"):
                    return str(code)
    return ""
