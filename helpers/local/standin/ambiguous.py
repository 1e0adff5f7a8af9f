"""A MERGE or an UPDATE for which a row of the target has several rows of the source: ERROR_ON_NONDETERMINISTIC_MERGE and …_UPDATE
(https://docs.snowflake.com/en/sql-reference/sql/merge#nondeterministic-results-for-update-and-delete, …/sql/update).
"""

from __future__ import annotations

from typing import Any

from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin import masking
from helpers.local.standin.names import first
from helpers.local.standin.session import Session


def refuse(session: Session, statement: Any) -> None:
    """Raises `ProgrammingError` where it is so and the session's parameters make an error of it."""
    if isinstance(statement, exp.Merge) and session.is_on("ERROR_ON_NONDETERMINISTIC_MERGE"):
        query = _of_a_merge(statement)
    elif isinstance(statement, exp.Update) and session.is_on("ERROR_ON_NONDETERMINISTIC_UPDATE"):
        query = _of_an_update(statement)
    else:
        return
    if query is not None and first(session.duck, session.translated(query)):
        raise ProgrammingError(
            msg="Duplicate row detected during DML action\nRow Values: [of the local stand-in]",
            errno=100090,
            sqlstate="42P18",
        )


def _of_a_merge(statement: exp.Merge) -> exp.Select | None:
    conditions = [
        each.args.get("condition") or exp.true()
        for each in statement.args["whens"].expressions
        if each.args.get("matched")
    ]
    if not conditions:
        return None
    source: Any = statement.args["using"].copy()
    target = statement.this.copy()
    target.meta[masking.AS_IT_IS] = True
    query = exp.select("1").from_(target).join(source, on=statement.args["on"].copy())
    return _twice(query.where(exp.or_(*(condition.copy() for condition in conditions))), statement.this)


def _of_an_update(statement: exp.Update) -> exp.Select | None:
    source = statement.args.get("from_") or statement.args.get("from")
    if source is None:
        return None
    query = exp.select("1").from_(statement.this.copy()).join(source.this.copy(), join_type="cross")
    if (where := statement.args.get("where")) is not None:
        query = query.where(where.this.copy())
    return _twice(query, statement.this)


def _twice(query: exp.Select, target: Any) -> exp.Select:
    row = exp.column(
        "rowid", table=target.alias_or_name, quoted=bool(target.this.args.get("quoted")) and not target.alias
    )
    return query.group_by(row).having("COUNT(*) > 1").limit(1)
