"""Spark's errors, by the status of gRPC (https://grpc.io/docs/guides/status-codes/), the error's class and the SQLSTATE
(https://spark.apache.org/docs/latest/sql-error-conditions.html); what comes from Hadoop or S3 has neither.
"""

from __future__ import annotations

import re
from typing import Any

from helpers.errors import ConnectionFailed, LoadError, MigrationError
from helpers.platforms.faults import Fault, in_one_line
from helpers.redaction import redact

AGAIN = "run the same command again"
MOST = 600
"""Characters of a message; a server may add its whole plan."""

_UNREACHED = Fault(
    ConnectionFailed,
    f"check host and cluster in the profile, and that it runs (locally: runbook local status), then {AGAIN}",
    True,
)
_BUSY = Fault(ConnectionFailed, f"the server is busy or the session is over: {AGAIN}", True)
_NO_ENTRY = Fault(
    ConnectionFailed,
    "correct token, host and cluster_id in the profile: the token is wrong or expired, or may not use the cluster (CAN ATTACH TO)",
)
_CERTIFICATE = Fault(
    ConnectionFailed,
    "the server's certificate is not one to trust, or it speaks no TLS: correct url or host in the profile",
)
_NO_SUCH_HOST = Fault(ConnectionFailed, f"correct host or url in the profile, or mend the name service, then {AGAIN}")
_RIGHTS = Fault(
    LoadError,
    "grant the principal what the message names (USE CATALOG, USE SCHEMA, CREATE TABLE, MODIFY, READ FILES on the external "
    f"location), then {AGAIN}",
)
_SCHEME = Fault(
    LoadError,
    'Apache Spark reads S3 through hadoop-aws alone: set files = "s3a" in [profiles.NAME.databricks], and begin delta_root with '
    "s3a:// where it is named",
)
_HADOOP = Fault(LoadError, "start the server with hadoop-aws: without it, Spark reads nothing from S3")
_STORE = Fault(
    LoadError,
    f"give the cluster the right to read the stage and to write delta_root (instance profile, external location, keys), then {AGAIN}",
)
_CONCURRENT = Fault(LoadError, f"another writer changed the table meanwhile: {AGAIN}", True)

_BY_STATUS = {
    "UNAVAILABLE": _UNREACHED, "DEADLINE_EXCEEDED": _UNREACHED, "ABORTED": _BUSY, "RESOURCE_EXHAUSTED": _BUSY,
    "UNAUTHENTICATED": _NO_ENTRY, "PERMISSION_DENIED": _NO_ENTRY,
}  # fmt: skip

_BY_CLASS = (
    (re.compile(r"INVALID_HANDLE\.|SESSION_|OPERATION_NOT_FOUND"), _BUSY),
    (
        re.compile("DELTA_CONCURRENT_|DELTA_METADATA_CHANGED|DELTA_PROTOCOL_CHANGED|DELTA_VERSION_CONCURRENT"),
        _CONCURRENT,
    ),
    (re.compile("INSUFFICIENT_PERMISSIONS|PERMISSION_DENIED|UNAUTHORIZED_ACCESS"), _RIGHTS),
)

_BY_TEXT = (
    (re.compile(r"No FileSystem for scheme:? \"?s3\b(?!a)\"?"), _SCHEME),
    (re.compile(r"No FileSystem for scheme:? \"?s3a|S3AFileSystem not found"), _HADOOP),
    (re.compile("Concurrent(Append|DeleteRead|DeleteDelete|Write|Transaction|ModificationE)"), _CONCURRENT),
    (re.compile("INSUFFICIENT_PERMISSIONS|PERMISSION_DENIED"), _RIGHTS),
    (
        re.compile(
            "AccessDenied|Access Denied|403 Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch|"
            "NoAuthWithAWSException|No AWS Credentials|ExpiredToken"
        ),
        _STORE,
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
            return _CERTIFICATE
        return _NO_SUCH_HOST if _OF_NAMES.search(text) else _UNREACHED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    of_class = getattr(error, "getCondition", lambda: None)() or ""
    if of_class and (found := next((known for pattern, known in _BY_CLASS if pattern.search(of_class)), None)):
        return found
    if of_class and getattr(error, "getSqlState", lambda: None)() == "42501":
        return _RIGHTS
    return next((known for pattern, known in _BY_TEXT if pattern.search(text)), None)


def told(error: Exception, doing: str, *, on: str) -> MigrationError:
    """The error that says what was tried with a statement."""
    cure = f"correct what the message names (rights, space, a name), then {AGAIN}"
    return (fault(error) or Fault(LoadError, cure)).told(doing, on=on, why=said(error))


def entry_refused(error: Exception, *, on: str) -> MigrationError:
    """The same of a session that was not to be had: what is not known to pass is not tried again."""
    found = fault(error) or (_UNREACHED if isinstance(error, OSError) else _NO_ENTRY)
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
