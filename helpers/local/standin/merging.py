"""MERGE (https://docs.snowflake.com/en/sql-reference/sql/merge), by DuckDB's own: fakesnow's takes neither a query whose columns have
other names for its source, nor values that are no plain columns.
"""

from __future__ import annotations

from typing import Any

from fakesnow.transforms.merge import operations
from sqlglot import exp

from helpers.local.standin.session import Session

_ACTIONS = {"inserted": "INSERT", "updated": "UPDATE", "deleted": "DELETE"}


def merge(session: Session, statement: exp.Merge) -> tuple[str, int]:
    """Merges.

    Args:
        statement: with names as the session takes them, refused already where it could choose.

    Returns:
        The query of what Snowflake answers, a count for each kind of change that the statement has; and how many rows were changed.
    """
    done: dict[str, int] = {}
    sql = f"{session.translated(statement)} RETURNING merge_action"
    for (action,) in session.duck.execute(sql).fetchall():
        done[action] = done.get(action, 0) + 1
    kinds: dict[str, Any] = operations(statement)
    counted = (
        f'{done.get(_ACTIONS[kind], 0)}::BIGINT AS "number of rows {kind}"' for kind, found in kinds.items() if found
    )
    return f"SELECT {', '.join(counted)}", sum(done.values())
