"""Transactions that are open: named, listed, and ended from outside.

A session that is gone leaves its transaction open, with what it holds, until somebody ends it
(https://docs.snowflake.com/en/sql-reference/transactions#aborting-transactions, …/sql/begin, …/sql/show-transactions,
…/functions/system_abort_transaction).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import fakesnow.server

from helpers.local.standin.endings import session_id
from helpers.local.standin.names import status, text
from helpers.local.standin.session import Session


def is_ours(command: str) -> bool:
    """Whether it is such a statement; sqlglot reads it otherwise, or not at all."""
    return any(re.fullmatch(pattern, _bare(command), re.IGNORECASE) for pattern, _ in _STATEMENTS)


def answer(session: Session, command: str) -> str | None:
    """What DuckDB answers to a statement of this subject; None where it is another's."""
    for pattern, handle in _STATEMENTS:
        if match := re.fullmatch(pattern, _bare(command), re.IGNORECASE):
            return handle(session, match)
    return None


def _bare(command: str) -> str:
    return command.strip().rstrip(";").strip()


def _begin(session: Session, match: re.Match[str]) -> str:
    session.begin(match["name"].upper())
    return status()


def _show(session: Session, match: re.Match[str]) -> str:
    rows = ", ".join(
        f"({number}, {text(each.user)}, {session_id(each)}, {text(name)}, {text(started)}, 'running', 0)"
        for each in _of_user(session)
        for number, name, started in [each.transaction]
    )
    columns = '"id", "user", "session", "name", "started_on", "state", "scope"'
    values = rows or "(NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
    return f"SELECT * FROM (VALUES {values}) AS t({columns}){'' if rows else ' WHERE FALSE'}"


def _abort(session: Session, match: re.Match[str]) -> str:
    number = int(match["id"])
    for each in _of_user(session):
        if each.transaction[0] == number:
            each.duck.interrupt()
            with each.lock:
                each.end("ROLLBACK")
            return f"SELECT 'Aborted transaction id: {number}' AS \"SYSTEM$ABORT_TRANSACTION({number})\""
    return f"SELECT 'Transaction {number} is not running' AS \"SYSTEM$ABORT_TRANSACTION({number})\""


def _of_user(session: Session) -> Iterable[Any]:
    """The sessions of the same user that have a transaction."""
    found = list(fakesnow.server.sessions.values())
    return [each for each in found if each.user == session.user and each.transaction is not None]


_STATEMENTS: tuple[tuple[str, Callable[[Session, re.Match[str]], str]], ...] = (
    (r"BEGIN(?:\s+(?:WORK|TRANSACTION))?\s+NAME\s+(?P<name>\w+)", _begin),
    (r"SHOW\s+TRANSACTIONS", _show),
    (r"SELECT\s+SYSTEM\$ABORT_TRANSACTION\s*\(\s*(?P<id>\d+)\s*\)", _abort),
)
