"""Who is connected to the source, and who has written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from psycopg2 import errors as pg


@dataclass(frozen=True)
class Session:
    """Somebody who is connected to the source, or a transaction that was prepared and waits for its end.

    Attributes:
        pid: None for a prepared transaction.
        writing: it has written in a transaction that is open.
        seconds: since that transaction began, or since the session did.
    """

    role: str
    application: str
    pid: int | None
    state: str
    writing: bool
    seconds: float

    def __str__(self) -> str:
        who = f"{self.application or 'no application name'} as {self.role}"
        where = f"session {self.pid}" if self.pid else "a prepared transaction"
        return f"{who} ({where}, {self.state}, for {self.seconds:.0f} s)"


_SESSIONS = """
SELECT coalesce(usename, '(unknown)'), coalesce(application_name, ''), pid,
       coalesce(state, 'not visible to this role'), backend_xid IS NOT NULL,
       extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start, clock_timestamp()))::float8,
       backend_start
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND (backend_type = 'client backend' OR backend_type IS NULL)
  AND NOT (application_name LIKE 'migration-runbooks%%' AND usename = session_user)
ORDER BY pid
"""

_PREPARED = """
SELECT owner, gid, extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared
"""


def terminate(cursor: Any, pid: int | None) -> None:
    """Tells a session to end; who may not is not told, and finds it among those that are left."""
    with suppress(pg.InsufficientPrivilege):
        cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))


def sessions_begun_by(cursor: Any, since: Any, *, writing: bool = False) -> list[Session]:
    """Sessions and prepared transactions that began before a time of the server; only those that have written, where asked."""
    found = [s for s, began in _with_starts(cursor) if began is None or began <= since]
    return [s for s in found if s.writing] if writing else found


def sessions(cursor: Any) -> tuple[Session, ...]:
    """All of them in the cursor's database but for our own, prepared transactions last."""
    return tuple(session for session, _ in _with_starts(cursor))


def _with_starts(cursor: Any) -> Iterator[tuple[Session, Any]]:
    cursor.execute(_SESSIONS)
    for role, application, pid, state, writing, seconds, began in cursor.fetchall():
        yield Session(role, application, pid, state, writing, seconds), began
    cursor.execute(_PREPARED)
    for owner, gid, seconds in cursor.fetchall():
        yield Session(owner, f"PREPARE TRANSACTION {gid!r}", None, "prepared", True, seconds), None
