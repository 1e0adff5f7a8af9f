"""SYSTEM$CANCEL_ALL_QUERIES, by which one session ends what another runs
(https://docs.snowflake.com/en/sql-reference/functions/system_cancel_all_queries).
"""

from __future__ import annotations

import fakesnow.server

from helpers.local.standin.endings import session_id


def cancel_all(number: str) -> str:
    """Ends the statement that a session runs; what the function answers.

    Args:
        number: of the session, as CURRENT_SESSION says it.
    """
    found = [each for each in list(fakesnow.server.sessions.values()) if str(session_id(each)) == number]
    for each in found:
        each.duck.interrupt()
    return f"{len(found)} cancelled."
