"""Which load a table's rows are of, as the target itself keeps it: written in the transaction that writes the rows.

The record stands in a schema beside the target's, whose own schema holds the migrated tables and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from helpers.manifest import Manifest
from helpers.platforms import snowflake
from helpers.platforms.snowflake import Session, identifier
from helpers.settings import Snowflake

SCHEMA_SUFFIX = "__migration"
TABLE = "LOADS"
WHOLE = ""
"""The name under which a whole load is recorded; no table has it."""


@dataclass(frozen=True)
class Record:
    """Of one load into one target."""

    target: Snowflake
    export: str
    load_id: str

    def write(self, session: Session, table: str, rows: int) -> None:
        """Says that the table's rows are of this load; call it in the transaction that writes them."""
        self.forget(session, table)
        session.execute(
            f"INSERT INTO {_table(self.target)} (TABLE_NAME, LOAD_ID, EXPORT, ROW_COUNT) VALUES (%s, %s, %s, %s)",
            [table, self.load_id, self.export, rows],
            doing="record the load",
        )

    def forget(self, session: Session, table: str) -> None:
        """Says of no load that it holds the table's rows."""
        session.execute(f"DELETE FROM {_table(self.target)} WHERE TABLE_NAME = %s", [table], doing="record the load")


def prepare(target: Snowflake) -> list[str]:
    """Statements that make the place for records where there is none."""
    return [
        f"CREATE SCHEMA IF NOT EXISTS {identifier(target.database, target.schema_ + SCHEMA_SUFFIX)}",
        f"CREATE TABLE IF NOT EXISTS {_table(target)} (TABLE_NAME VARCHAR NOT NULL, LOAD_ID VARCHAR NOT NULL, "
        "EXPORT VARCHAR NOT NULL, ROW_COUNT NUMBER(38, 0) NOT NULL)",
    ]


def is_loaded(manifest: Manifest, target: Snowflake, load_id: str) -> tuple[bool, str]:
    """Asks the target whether it holds the rows of a load, all of them and nobody else's since.

    Args:
        manifest: of the export that was loaded.
        target: the Snowflake account, database and schema.
        load_id: what the load was given.

    Returns:
        The answer, and what it was read from.

    Raises:
        ConnectionFailed, LoadError: the target cannot be asked.
    """
    where = snowflake.address(target)
    with snowflake.connect(target) as session:
        recorded = recorded_rows(session, target, load_id)
        if WHOLE not in recorded:
            return False, f"{where} does not record the load {load_id} as whole"
        present = _tables(session, target.database, target.schema_)
        for staged in manifest.tables:
            if staged.name not in present or recorded.get(staged.name) != staged.rows:
                return False, f"{staged} in {where} is not of the load {load_id}"
            if (rows := count(session, target, staged.name)) != staged.rows:
                return False, f"{staged} in {where} has {rows:,} rows, not {staged.rows:,}"
    return True, f"{where} holds every table of the load {load_id}"


def recorded_rows(session: Session, target: Snowflake, load_id: str) -> dict[str, int]:
    """Rows by table that the target records for a load; none where it records nothing."""
    databases = session.execute("SHOW DATABASES", doing="list the databases")
    if target.database not in {row["name"] for row in databases}:
        return {}
    if TABLE not in _tables(session, target.database, target.schema_ + SCHEMA_SUFFIX):
        return {}
    rows = session.execute(
        f"SELECT TABLE_NAME, ROW_COUNT FROM {_table(target)} WHERE LOAD_ID = %s", [load_id], doing="read the loads"
    )
    return {row["TABLE_NAME"]: int(row["ROW_COUNT"]) for row in rows}


def count(session: Session, target: Snowflake, table: str) -> int:
    """Rows that a table of the target has now."""
    name = identifier(target.database, target.schema_, table)
    (row,) = session.execute(f"SELECT COUNT(*) AS N FROM {name}", doing=f"count {table}")
    return int(row["N"])


def _tables(session: Session, database: str, schema: str) -> set[str]:
    rows = session.execute(
        f"SELECT TABLE_NAME FROM {identifier(database)}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = %s",
        [schema],
        doing=f"list the tables of {schema}",
    )
    return {row["TABLE_NAME"] for row in rows}


def _table(target: Snowflake) -> str:
    return identifier(target.database, target.schema_ + SCHEMA_SUFFIX, TABLE)
