"""DuckDB's errors: it passes on what PostgreSQL, S3, a Python file system or this machine's disk said, without their codes."""

from __future__ import annotations

import re

import duckdb

from helpers.errors import ConnectionFailed, MigrationError, StageError
from helpers.platforms.faults import Fault, in_one_line, known_faults, postgres, s3
from helpers.redaction import redact

AGAIN = "run the same command again"

_FAULTS = known_faults("duck")

_OF_POSTGRES = re.compile(
    r"\b(?:ERROR|FATAL|PANIC):\s|Unable to (?:connect to Postgres|read binary COPY data)|"
    "Failed to (?:execute query|prepare (?:COPY|query)|fetch header for COPY|fetch enough rows)|Expected Postgres binary COPY header"
)
"""What its reader of PostgreSQL says before the server's words, or of an answer that broke off
(https://github.com/duckdb/duckdb-postgres)."""

_BROKEN_OFF = re.compile("invalid header|got something else|fetch enough rows")
_OF_THE_DISK = re.compile("No space left on device|Disk quota exceeded|Read-only file system|max_temp_directory_size")


def fault(error: Exception) -> Fault | None:
    """What an error of DuckDB means, or None where nobody knows."""
    text = str(error)
    if _OF_POSTGRES.search(text):
        return postgres.fault(text) or (_FAULTS["lost"] if _BROKEN_OFF.search(text) or not _reason(text) else None)
    if isinstance(error, duckdb.InterruptException):
        return Fault(ConnectionFailed, f"another reader failed, and this one was stopped: {AGAIN}", transient=True)
    if _OF_THE_DISK.search(text):
        return _FAULTS["disk"]
    if isinstance(error, duckdb.OutOfMemoryException):
        return _FAULTS["memory"]
    return s3.fault(error)


def is_of_the_source(error: Exception) -> bool:
    """Whether PostgreSQL said it, and not S3 or this machine."""
    return bool(_OF_POSTGRES.search(str(error)))


def told(
    error: Exception, doing: str, *, on: str, kind: type[MigrationError] = StageError, cure: str = ""
) -> MigrationError:
    """The error that says what was tried.

    Args:
        error: of DuckDB, or an OSError of a file system that it writes to.
        doing: the clause that it begins with.
        on: the thing it was tried on.
        kind: for an error of S3, or one that nobody knows.
        cure: for an object that is gone, or an error that nobody knows.
    """
    found = fault(error) or Fault(kind, cure or f"mend what the message names, then {AGAIN}")
    if found.kind is StageError is not kind:
        # Of an S3 that holds not the stage but what the caller names.
        found = Fault(kind, cure if cure and found is s3.GONE else found.cure, found.transient)
    return found.told(doing, on=on, why=said(error))


def said(error: Exception) -> str:
    """What was said, in one line, without the statement that it was said of."""
    text = str(error)
    if _OF_POSTGRES.search(text):
        return postgres.said_through(text) or "the connection ended"
    text = re.sub(r"\x1b\[\d*m|↳", "", text.partition("\n\nLINE ")[0].partition("\n\nAt:\n")[0])
    return redact(in_one_line(text))[: s3.MOST] or type(error).__name__


def _reason(text: str) -> str:
    return postgres.said_through(text).strip(" :")
