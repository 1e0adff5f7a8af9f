"""Masking and row access policies at work: a role reads what they leave it.

A table with policies is read through a query of its own, in which a masked column is what the policy's expression gives and a row is
there where the row access policy says TRUE; rows that it hides are neither changed nor deleted
(https://docs.snowflake.com/en/user-guide/security-column-intro, …/user-guide/security-row-intro). A view that reads such a table
shows it as it is: a limit of the stand-in.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fakesnow.dialect import parse_one
from sqlglot import exp

from helpers.local.standin import attached, notes, privileges
from helpers.local.standin.names import first
from helpers.local.standin.session import Session

AS_IT_IS = "as it is"
"""In the `meta` of a table that the stand-in itself looks at."""


def apply(session: Session, statement: exp.Expression) -> None:
    """Puts the policies of every table that a statement reads, or changes rows of, into the statement.

    Args:
        session: whose role reads.
        statement: as it was parsed, its names in upper case where they had no quotes; it is changed in place.
    """
    if not _are_any(session) or isinstance(statement, exp.Create | exp.Alter | exp.Drop | exp.Describe | exp.Show):
        return
    for table in list(privileges.read(statement)):
        if table.meta.get(AS_IT_IS):
            continue
        if (policies := _policies(session, table)) and table.parent is not None:
            alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
            table.replace(exp.Subquery(this=_read(session, table, policies), alias=alias.copy()))
    if isinstance(statement, exp.Update | exp.Delete):
        changed = privileges.target(statement)
        for rows in _row_conditions(session, _policies(session, changed)) if changed is not None else ():
            statement.where(rows, copy=False)
    if isinstance(statement, exp.Merge):
        into = statement.this
        for rows in _row_conditions(session, _policies(session, into)):
            for column in rows.find_all(exp.Column):
                column.set("table", exp.to_identifier(into.alias_or_name, quoted=True))
            statement.set("on", exp.and_(statement.args["on"], rows))


def _are_any(session: Session) -> bool:
    """Whether a table of some database has a policy; asked again after each change of what anybody may do or has made.

    The answer is kept for all, so it is not asked within this session's transaction, which may have begun before the change.
    """
    query = "select 1 from duckdb_tables() where comment like '%\"POLICY_KIND\"%' limit 1"

    def asked() -> bool:
        with session.duck.cursor() as now:
            return first(now, query) is not None

    return bool(session.account.known("policies", asked))


def _policies(session: Session, table: exp.Table) -> list[dict[str, Any]]:
    name = (
        session.qualified(table) if table.db.upper() not in ("INFORMATION_SCHEMA", "_FS_INFORMATION_SCHEMA") else None
    )
    if name is None or name in session.temporary or not notes.exists(session, *name):
        return []
    return list(notes.read_note(session, table).get("policies", ()))


def _read(session: Session, table: exp.Table, policies: list[dict[str, Any]]) -> exp.Select:
    """The table as the policies leave it."""
    inner = table.copy()
    inner.set("alias", None)
    masked = [policy for policy in policies if policy["POLICY_KIND"] == "MASKING_POLICY"]
    replaced = []
    for policy in masked:
        column = str(policy["REF_COLUMN_NAME"])
        row = first(
            session.duck,
            "select data_type from duckdb_columns() where table_oid = ? and column_name = ?",
            [notes.oid(session, table), column],
        )
        value = _computed(session, policy, [column, *_arguments(policy)])
        if value is not None and row is not None:
            kept = exp.cast(value, exp.DataType.build(row[0], dialect="duckdb"))
            replaced.append(exp.alias_(kept, exp.to_identifier(column, quoted=True)))
    star = exp.Star(replace=replaced) if replaced else exp.Star()
    query = exp.select(star).from_(inner)
    for rows in _row_conditions(session, policies):
        query = query.where(rows)
    return query


def _row_conditions(session: Session, policies: list[dict[str, Any]]) -> list[exp.Expression]:
    rows = [policy for policy in policies if policy["POLICY_KIND"] == "ROW_ACCESS_POLICY"]
    return [found for policy in rows if (found := _computed(session, policy, _arguments(policy))) is not None]


def _arguments(policy: dict[str, Any]) -> list[str]:
    return list(json.loads(policy["REF_ARG_COLUMN_NAMES"] or "[]"))


def _computed(session: Session, policy: dict[str, Any], columns: list[str]) -> exp.Expression | None:
    """The policy's expression over a table's columns in the place of its arguments."""
    name = (policy["POLICY_DB"], policy["POLICY_SCHEMA"], policy["POLICY_NAME"])
    found = attached.definition(session, name, policy["POLICY_KIND"])
    if found is None or found[1] is None:
        return None
    signature, body = found
    parameters = [attached.parts_of(each)[0] for each in re.split(r",(?![^(]*\))", signature)]
    given = dict(zip(parameters, columns, strict=False))
    tree = parse_one(f"SELECT {body}").expressions[0]

    def placed(node: Any) -> Any:
        if isinstance(node, exp.Column) and not node.table:
            written = node.this
            own = str(written.this) if written.args.get("quoted") else str(written.this).upper()
            if own in given:
                return exp.column(exp.to_identifier(given[own], quoted=True))
        return node

    computed: exp.Expression = exp.paren(tree.transform(placed))
    return computed
