"""Policies by which a session reads something else than a table holds: masked values, fewer rows, an error.

https://docs.snowflake.com/en/user-guide/security-column-intro (masking), …/security-row-intro (row access), …/projection-policies,
…/aggregation-policies, …/join-policies; asked by https://docs.snowflake.com/en/sql-reference/functions/policy_references, which answers the
table's owner and who may APPLY such policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helpers.errors import LoadError
from helpers.model.places import TargetTable
from helpers.platforms.snowflake import Session, identifier, literal

TABLES_PER_QUESTION = 50


def veiled(session: Session, database: str, tables: Sequence[TargetTable]) -> dict[TargetTable, str]:
    """What stands between a session and the rows of those tables that have policies, in words; where nobody says, that.

    Args:
        tables: that exist.
    """
    found: dict[TargetTable, list[str]] = {}
    for start in range(0, len(tables), TABLES_PER_QUESTION):
        some = tables[start : start + TABLES_PER_QUESTION]
        try:
            for each in _asked(session, database, some):
                found.setdefault(each.table, []).append(str(each))
        except LoadError:
            for table in some:  # one that may not be asked about must not hide the others
                try:
                    found.setdefault(table, []).extend(map(str, _asked(session, database, [table])))
                except LoadError as error:
                    found[table] = [f"policies that this role may not ask for ({error.why})"]
    return {table: ", ".join(words) for table, words in found.items() if words}


def masked(session: Session, database: str, tables: Sequence[TargetTable]) -> dict[TargetTable, dict[str, str]]:
    """The masking policy of each column of those tables that has one, itself or by a tag; none in an edition without policies."""
    found: dict[TargetTable, dict[str, str]] = {}
    for start in range(0, len(tables), TABLES_PER_QUESTION):
        try:
            for each in _asked(session, database, tables[start : start + TABLES_PER_QUESTION]):
                if each.kind == "MASKING_POLICY" and each.column:
                    found.setdefault(each.table, {})[each.column] = each.name
        except LoadError as error:
            if "Unsupported feature" not in error.why:
                raise
    return found


@dataclass(frozen=True)
class _Policy:
    table: TargetTable
    kind: str
    name: str
    column: str | None

    def __str__(self) -> str:
        return f"the {self.kind.replace('_', ' ').lower()} {self.name}{f' on {self.column}' if self.column else ''}"


def _asked(session: Session, database: str, tables: Sequence[TargetTable]) -> list[_Policy]:
    questions = (
        f"SELECT {n} AS N, POLICY_NAME, POLICY_KIND, REF_COLUMN_NAME FROM TABLE({identifier(database)}.INFORMATION_SCHEMA."
        f"POLICY_REFERENCES(REF_ENTITY_NAME => {literal(identifier(database, *table))}, REF_ENTITY_DOMAIN => 'TABLE'))"
        for n, table in enumerate(tables)
    )
    rows = session.execute(" UNION ALL ".join(questions), doing="ask for policies on the tables of the target")
    return [
        _Policy(tables[int(row["N"])], str(row["POLICY_KIND"]), str(row["POLICY_NAME"]), row["REF_COLUMN_NAME"])
        for row in rows
    ]
