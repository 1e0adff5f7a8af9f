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
    "Failed to (?:execute query|prepare (?:COPY|query)|describe prepared statement|fetch header for COPY|fetch enough rows)|"
    "Expected Postgres binary COPY header|buffer_ptr not set in CheckHeader|GetConn - no connection|Connection reset failure"
)
"""What its reader of PostgreSQL says before the server's or libpq's words, or of an answer that broke off
(https://github.com/duckdb/duckdb-postgres, postgres_connection.cpp, postgres_query.cpp and postgres_binary_reader.cpp in src)."""

_AT_THE_DOOR = "Unable to connect to Postgres"
_BY_THE_SERVER = re.compile(r"\w:  \S")
"""A server's message begins with its severity, in the language of lc_messages, and two spaces; libpq's own has none
(https://github.com/postgres/postgres/blob/REL_18_STABLE/src/interfaces/libpq/fe-protocol3.c, pqBuildErrorMessage3)."""

_OF_THE_DISK = re.compile("No space left on device|Disk quota exceeded|Read-only file system|max_temp_directory_size")


def fault(error: Exception) -> Fault | None:
    """What an error of DuckDB means, or None where nobody knows."""
    text = str(error)
    if _OF_POSTGRES.search(text):
        return postgres.fault(text) or (_FAULTS["lost"] if _is_broken_off(text) else None)
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


def _is_broken_off(text: str) -> bool:
    """Whether no server said it, once it had let us in: the connection had ended, however libpq or DuckDB put that."""
    return _AT_THE_DOOR not in text and not _BY_THE_SERVER.search(text)


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
    text = str(error).partition("\n\nLINE ")[0]
    if _OF_POSTGRES.search(text):
        return postgres.said_through(text) or "the connection ended"
    text = re.sub(r"\x1b\[\d*m|↳", "", text.partition("\n\nAt:\n")[0])
    return redact(in_one_line(text))[: s3.MOST] or type(error).__name__
