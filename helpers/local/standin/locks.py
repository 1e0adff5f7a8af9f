"""Tables that a transaction has changed rows of, until it ends (https://docs.snowflake.com/en/sql-reference/transactions#resource-locking).

UPDATE, DELETE, MERGE, TRUNCATE and INSERT OVERWRITE of one table wait for one another, and a change of its definition waits for them all;
INSERT and COPY write new partitions and wait for nobody. LOCK_TIMEOUT says for how long, and of two that wait for each other the later
one is given up.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin.names import Name

_SECONDS_BETWEEN_LOOKS = 0.2
"""At whether the session that waits has been ended."""


class Locks:
    """Who holds which table, and who waits for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders: dict[Name, Any] = {}
        self._waiting: dict[int, Name] = {}

    def take(self, session: Any, table: Name, *, keep: bool = True) -> None:
        """Waits until nobody else holds the table.

        Args:
            session: which asks.
            table: that it is to change.
            keep: until its transaction ends; otherwise it only waits.

        Raises:
            ProgrammingError: it waited too long, or for one that waits for it.
        """
        until = time.monotonic() + int(session.parameter("LOCK_TIMEOUT"))
        with self._changed:
            while (holder := self._holders.get(table)) not in (None, session):
                if self._holders.get(self._waiting.get(id(holder), table)) is session:
                    raise _given_up(table, "a deadlock was found")
                if (left := until - time.monotonic()) <= 0 or session.ended:
                    raise _given_up(
                        table, f"it waited for {session.parameter('LOCK_TIMEOUT')} second(s), its LOCK_TIMEOUT"
                    )
                self._waiting[id(session)] = table
                self._changed.wait(min(left, _SECONDS_BETWEEN_LOOKS))
                self._waiting.pop(id(session), None)
            if keep:
                self._holders[table] = session

    def release(self, session: Any) -> None:
        """Gives up what a transaction held."""
        with self._changed:
            for table in [table for table, holder in self._holders.items() if holder is session]:
                del self._holders[table]
            self._changed.notify_all()


LOCKS = Locks()


def locking(statement: Any) -> bool:
    """Whether a change of rows keeps others away."""
    return isinstance(statement, exp.Update | exp.Delete | exp.Merge) or bool(
        isinstance(statement, exp.Insert) and statement.args.get("overwrite")
    )


def _given_up(table: Name, why: str) -> ProgrammingError:
    return ProgrammingError(
        msg=f"Another statement has locked table '{table[2]}' in its transaction and this lock has not yet been released.\n"
        f"Your statement was aborted because {why}.",
        errno=625,
        sqlstate="57014",
    )
