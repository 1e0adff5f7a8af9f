"""What a load of ours made in the target, and which load a table's rows are of, as the target itself keeps it.

The records of every schema that gets tables stand in one schema beside the target's own: those schemas hold the migrated tables
and nothing else, and a table that moves to another schema, or whose schema gets no tables any more, is still known. A table counts
as ours while its time of creation is the recorded one: a table that somebody dropped and made again has another, and one that
was renamed or swapped keeps its own (https://docs.snowflake.com/en/sql-reference/info-schema/tables).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from helpers.engines.snowflake.catalog import Present, read_present
from helpers.errors import TargetRefused
from helpers.model.places import TargetTable
from helpers.platforms.snowflake import Session, identifier, literal
from helpers.settings import Snowflake

SCHEMA_SUFFIX = "__migration"
TABLE = "LOADED_TABLES"
NEW_SUFFIX = "__migration_new"
"""Of the table that is to take another's place; its record stands beside the other's until it has."""

WHOLE = TargetTable("", "")
"""The name under which a whole load is recorded; no table has it."""

_COLUMNS = {
    "TABLE_NAME": "VARCHAR NOT NULL", "LOAD_ID": "VARCHAR NOT NULL", "EXPORT": "VARCHAR NOT NULL", "STAGE": "VARCHAR NOT NULL",
    "ROW_COUNT": "NUMBER(38,0) NOT NULL", "CREATED": "NUMBER(38,0) NOT NULL", "CHANGED": "NUMBER(38,0)",
    "COMMENTS": "VARCHAR NOT NULL", "CONSTRAINTS": "VARCHAR", "TABLE_SCHEMA": "VARCHAR",
}  # fmt: skip
_SINCE = {"CONSTRAINTS", "TABLE_SCHEMA"}
"""Columns that a table of records made by an earlier version lacks; it gets them when a load begins. Without a schema, a record
is of the target's own."""

_NAMES_A_QUERY = 200
"""Tables that are asked about in one statement; Snowflake's advice is to keep a statement below a megabyte."""


@dataclass(frozen=True)
class Made:
    """What is recorded of one table.

    Attributes:
        load_id: whose rows it holds.
        export: whose files they were.
        stage: where they came from.
        created: of the table, in milliseconds since 1970.
        changed: Snowflake's token of the last change, after the load; None where the load was broken off before it was read.
        comments: of the source at that load, by column, and of the table itself under "".
        constraints: names of those that loads made on it, but for the primary key.
    """

    load_id: str
    export: str
    stage: str
    rows: int
    created: int
    changed: int | None
    comments: dict[str, str] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """Of one load into one target."""

    target: Snowflake
    export: str
    load_id: str
    stage: str

    def write(
        self, session: Session, table: TargetTable, rows: int, *, created: int = 0, comments: str = "{}",
        constraints: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Says that the table is ours and its rows are of this load; call it in the transaction that writes them."""
        self.forget(session, table)
        columns = "TABLE_SCHEMA, TABLE_NAME, LOAD_ID, EXPORT, STAGE, ROW_COUNT, CREATED, COMMENTS, CONSTRAINTS"
        made = json.dumps(list(constraints))
        session.execute(
            f"INSERT INTO {place(self.target)} ({columns}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [*table, self.load_id, self.export, self.stage, rows, created, comments, made],
            doing="record the load",
        )

    def constrain(self, session: Session, table: TargetTable, constraints: Sequence[str]) -> None:
        """Says which constraints of a table loads made; call it before they are made, and again when some are gone."""
        session.execute(
            f"UPDATE {place(self.target)} SET CONSTRAINTS = %s WHERE {_IS}",
            [json.dumps(list(constraints)), *self._key(table)],
            doing="record the load",
        )

    def settle(self, session: Session, table: TargetTable) -> None:
        """Says that the table is now as this load leaves it; call it when nothing of it is to be changed any more."""
        token = changes(session, self.target, [table])[table]
        session.execute(
            f"UPDATE {place(self.target)} SET CHANGED = %s WHERE {_IS}",
            [token, *self._key(table)],
            doing="record the load",
        )

    def forget(self, session: Session, table: TargetTable) -> None:
        """Says of no load that it holds the table's rows."""
        session.execute(f"DELETE FROM {place(self.target)} WHERE {_IS}", self._key(table), doing="record the load")

    def _key(self, table: TargetTable) -> list[str]:
        own = table == WHOLE or table.schema == self.target.schema_
        return [table.name, table.schema, "Y" if own else "N"]


_IS = "TABLE_NAME = %s AND (TABLE_SCHEMA = %s OR TABLE_SCHEMA IS NULL AND %s = 'Y')"


def prepare(target: Snowflake) -> list[str]:
    """Statements that make the table of records, in its schema, where there is none."""
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    return [
        f"CREATE TABLE IF NOT EXISTS {place(target)} ({columns})",
        *(f"ALTER TABLE {place(target)} ADD COLUMN IF NOT EXISTS {name} {_COLUMNS[name]}" for name in sorted(_SINCE)),
    ]


def beside(target: Snowflake, *name: str) -> str:
    """The schema of the records, or something in it."""
    return identifier(target.database, target.schema_ + SCHEMA_SUFFIX, *name)


def place(target: Snowflake) -> str:
    """The table of the records."""
    return beside(target, TABLE)


def read(session: Session, target: Snowflake) -> dict[TargetTable, Made]:
    """Every record of the target by the table; none where it has no records.

    Raises:
        TargetRefused: the schema of the records holds what others made.
    """
    schema = target.schema_ + SCHEMA_SUFFIX
    there = read_present(session, target.database, [schema])
    if not there:
        return {}
    columns = _known(session, target)
    if columns | _SINCE != set(_COLUMNS):
        raise TargetRefused(
            "keep a record of the load",
            on=f"{target.database}.{schema}",
            why=f"the schema in which loads are recorded is there, and no load made it: it holds {', '.join(sorted(table.name for table in there))}",
            next_step="rename that schema, or set another `schema` under the profile's snowflake section",
        )
    rows = session.execute(f"SELECT {', '.join(sorted(columns))} FROM {place(target)}", doing="read the loads")
    return {
        _table(target, row.get("TABLE_SCHEMA"), row["TABLE_NAME"]): Made(
            row["LOAD_ID"], row["EXPORT"], row["STAGE"], int(row["ROW_COUNT"]), int(row["CREATED"]),
            None if row["CHANGED"] is None else int(row["CHANGED"]), json.loads(row["COMMENTS"]),
            tuple(json.loads(row.get("CONSTRAINTS") or "[]")),
        )
        for row in rows
    }  # fmt: skip


def _known(session: Session, target: Snowflake) -> set[str]:
    rows = session.execute(
        f"SELECT COLUMN_NAME FROM {identifier(target.database)}.INFORMATION_SCHEMA.COLUMNS "
        "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        [target.schema_ + SCHEMA_SUFFIX, TABLE],
        doing="read the loads",
    )
    return {row["COLUMN_NAME"] for row in rows}


def _table(target: Snowflake, schema: str | None, name: str) -> TargetTable:
    """As a record has it; one of an older version has no schema."""
    return TargetTable(target.schema_ if schema is None and name else schema or "", name)


def changes(session: Session, target: Snowflake, tables: Iterable[TargetTable]) -> dict[TargetTable, int]:
    """A token for each table that is another after every change of its rows
    (https://docs.snowflake.com/en/sql-reference/functions/system_last_change_commit_time).
    """
    chosen = sorted(tables)
    found: dict[TargetTable, int] = {}
    for start in range(0, len(chosen), _NAMES_A_QUERY):
        some = chosen[start : start + _NAMES_A_QUERY]
        asked = (
            f"SYSTEM$LAST_CHANGE_COMMIT_TIME({literal(identifier(target.database, *table))}) AS C{number}"
            for number, table in enumerate(some)
        )
        (row,) = session.execute(f"SELECT {', '.join(asked)}", doing="ask when the tables were last changed")
        found |= {table: int(row[f"C{number}"]) for number, table in enumerate(some)}
    return found


def holds(
    session: Session,
    target: Snowflake,
    table: TargetTable,
    rows: int,
    load_id: str,
    recorded: Mapping[TargetTable, Made],
    present: Mapping[TargetTable, Present],
) -> bool:
    """Whether a table is the one that a load made, with all of the load's rows and nobody else's since."""
    made, there = recorded.get(table), present.get(table)
    if made is None or there is None or (made.load_id, made.rows, made.created) != (load_id, rows, there.created):
        return False
    if made.changed is not None and made.changed != changes(session, target, [table])[table]:
        return False
    (row,) = session.execute(f"SELECT COUNT(*) AS N FROM {identifier(target.database, *table)}", doing=f"count {table}")
    return int(row["N"]) == rows


def schemas(session: Session, target: Snowflake) -> set[str] | None:
    """The schemas that the target's database has for this role; None where there is no such database for it."""
    if not has_database(session, target):
        return None
    sql = f"SELECT SCHEMA_NAME FROM {identifier(target.database)}.INFORMATION_SCHEMA.SCHEMATA"
    return {row["SCHEMA_NAME"] for row in session.execute(sql, doing="list the schemas")}


def has_database(session: Session, target: Snowflake) -> bool:
    """Whether the target's database is there for this role."""
    databases = session.execute("SHOW DATABASES", doing="list the databases")
    return target.database in {row["name"] for row in databases}
