"""Policies by which a session reads something else than a table holds: masked values, fewer rows, an error.

https://docs.snowflake.com/en/user-guide/security-column-intro (masking), …/security-row-intro (row access), …/projection-policies,
…/aggregation-policies, …/join-policies; asked by https://docs.snowflake.com/en/sql-reference/functions/policy_references, which answers the
table's owner and who may APPLY such policies.
"""

from __future__ import annotations

from collections.abc import Sequence

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
            for table, words in _asked(session, database, some):
                found.setdefault(table, []).append(words)
        except LoadError:
            for table in some:  # one that may not be asked about must not hide the others
                try:
                    found.setdefault(table, []).extend(words for _, words in _asked(session, database, [table]))
                except LoadError as error:
                    found[table] = [f"policies that this role may not ask for ({error.why})"]
    return {table: ", ".join(words) for table, words in found.items() if words}


def _asked(session: Session, database: str, tables: Sequence[TargetTable]) -> list[tuple[TargetTable, str]]:
    questions = (
        f"SELECT {n} AS N, POLICY_NAME, POLICY_KIND, REF_COLUMN_NAME FROM TABLE({identifier(database)}.INFORMATION_SCHEMA."
        f"POLICY_REFERENCES(REF_ENTITY_NAME => {literal(identifier(database, *table))}, REF_ENTITY_DOMAIN => 'TABLE'))"
        for n, table in enumerate(tables)
    )
    rows = session.execute(" UNION ALL ".join(questions), doing="ask for policies on the tables of the target")
    return [
        (tables[int(row["N"])], _words(row["POLICY_KIND"], row["POLICY_NAME"], row["REF_COLUMN_NAME"])) for row in rows
    ]


def _words(kind: str, name: str, column: str | None) -> str:
    return f"the {str(kind).replace('_', ' ').lower()} {name}{f' on {column}' if column else ''}"
