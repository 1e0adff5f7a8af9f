"""What a load of ours made in the target, and which load a table's rows are of, as the target itself keeps it.

The records of every schema that gets tables stand in one schema beside the target's own: those schemas hold the migrated tables
and nothing else, and a table that moves to another schema, or whose schema gets no tables any more, is still known. A table counts
as ours while its time of creation is the recorded one: a table that somebody dropped and made again has another, and one that
was renamed or swapped keeps its own (https://docs.snowflake.com/en/sql-reference/info-schema/tables).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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

_LONGEST_TEXT = 200_000
"""Characters of one text within a statement; quoting may double them."""

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
        self, session: Session, table: TargetTable, rows: int, *, known: bool, created: int = 0, comments: str = "{}",
        constraints: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Says that the table is ours and its rows are of this load; call it last in the transaction that writes them.

        Other tables' transactions wait for one that has changed the records, so nothing that takes long may follow.

        Args:
            session: of the transaction.
            table: whose record it is.
            rows: that it has.
            known: whether a record of it was read; one that is new is appended, which nobody waits for.
            created: the table's time of creation, in milliseconds since 1970.
            comments: of the source, as JSON by column.
            constraints: names of those that loads made.
        """
        first, *rest = _pieces(comments)
        values = [self.load_id, self.export, self.stage, rows, created, first, json.dumps(list(constraints))]
        named = ("LOAD_ID", "EXPORT", "STAGE", "ROW_COUNT", "CREATED", "COMMENTS", "CONSTRAINTS")
        doing = "record the load"
        found = 0
        if known:
            said = ", ".join(f"{name} = %s" for name in named)
            changed = f"UPDATE {place(self.target)} SET {said}, TABLE_SCHEMA = %s, CHANGED = NULL WHERE {_IS}"
            bound = [*values, table.schema, *self._key(table)]
            found = affected(session.execute(changed, bound, doing=doing, expected=[{"number of rows updated": 1}]))
        if not found:
            columns, marks = ", ".join(("TABLE_SCHEMA", "TABLE_NAME", *named)), ", ".join(["%s"] * (2 + len(named)))
            session.execute(
                f"INSERT INTO {place(self.target)} ({columns}) VALUES ({marks})", [*table, *values], doing=doing
            )
        for piece in rest:
            more = f"UPDATE {place(self.target)} SET COMMENTS = COMMENTS || %s WHERE {_IS}"
            session.execute(more, [piece, *self._key(table)], doing=doing)

    def constrain(self, session: Session, table: TargetTable, constraints: Sequence[str]) -> None:
        """Says which constraints of a table loads made; call it before they are made, and again when some are gone."""
        session.execute(
            f"UPDATE {place(self.target)} SET CONSTRAINTS = %s WHERE {_IS}",
            [json.dumps(list(constraints)), *self._key(table)],
            doing="record the load",
        )

    def settle(self, session: Session, tables: Collection[TargetTable]) -> None:
        """Says that tables are now as this load leaves them; call it when nothing of them is to be changed any more."""
        tokens = list(changes(session, self.target, tables, expected=0).items())
        for start in range(0, len(tokens), _NAMES_A_QUERY):
            some = tokens[start : start + _NAMES_A_QUERY]
            values = [value for table, token in some for value in (*self._key(table), token)]
            keys = [value for table, _ in some for value in self._key(table)]
            session.execute(
                f"UPDATE {place(self.target)} SET CHANGED = CASE {' '.join(f'WHEN {_IS} THEN %s' for _ in some)} END "
                f"WHERE {' OR '.join(f'({_IS})' for _ in some)}",
                [*values, *keys],
                doing="record the load",
            )

    def forget(self, session: Session, table: TargetTable) -> None:
        """Says of no load that it holds the table's rows."""
        session.execute(f"DELETE FROM {place(self.target)} WHERE {_IS}", self._key(table), doing="record the load")

    def _key(self, table: TargetTable) -> list[str]:
        own = table == WHOLE or table.schema == self.target.schema_
        return [table.name, table.schema, "Y" if own else "N"]


def affected(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many rows a statement inserted or updated, as its answer's first column says
    (https://docs.snowflake.com/en/sql-reference/sql/update#examples)."""
    return int(next(iter(rows[0].values())))


def _pieces(text: str) -> list[str]:
    return [text[start : start + _LONGEST_TEXT] for start in range(0, len(text), _LONGEST_TEXT)] or [""]


_IS = "TABLE_NAME = %s AND (TABLE_SCHEMA = %s OR TABLE_SCHEMA IS NULL AND %s = 'Y')"


def prepare(session: Session, target: Snowflake) -> Iterator[str]:
    """Statements that make the table of records, in its schema, where there is none or an older one."""
    there = _known(session, target)
    if not there:
        yield f"CREATE TABLE {place(target)} ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())})"
        return
    for name in sorted(_COLUMNS.keys() - there):
        yield f"ALTER TABLE {place(target)} ADD COLUMN {name} {_COLUMNS[name]}"


def beside(target: Snowflake, *name: str) -> str:
    """The schema of the records, or something in it."""
    return identifier(target.database, target.schema_ + SCHEMA_SUFFIX, *name)


def place(target: Snowflake) -> str:
    """The table of the records."""
    return beside(target, TABLE)


def read(session: Session, target: Snowflake, *, prepared: bool = False) -> dict[TargetTable, Made]:
    """Every record of the target by the table; none where it has no records.

    Args:
        session, target: that are asked.
        prepared: whether what `prepare` gives was sent before.

    Raises:
        TargetRefused: the schema of the records holds what others made.
    """
    schema = target.schema_ + SCHEMA_SUFFIX
    there = read_present(session, target.database, [schema])
    if not there and not prepared:
        return {}
    columns = _known(session, target, expected=None if there else list(_COLUMNS))
    if columns | _SINCE != set(_COLUMNS):
        raise TargetRefused(
            "keep a record of the load",
            on=f"{target.database}.{schema}",
            why=f"the schema in which loads are recorded is there, and no load made it: it holds {', '.join(sorted(table.name for table in there))}",
            next_step="rename that schema, or set another `schema` under the profile's snowflake section",
        )
    query = f"SELECT {', '.join(sorted(columns))} FROM {place(target)}"
    rows = session.execute(query, doing="read the loads", expected=None if there else [])
    return {
        _table(target, row.get("TABLE_SCHEMA"), row["TABLE_NAME"]): Made(
            row["LOAD_ID"], row["EXPORT"], row["STAGE"], int(row["ROW_COUNT"]), int(row["CREATED"]),
            None if row["CHANGED"] is None else int(row["CHANGED"]), json.loads(row["COMMENTS"]),
            tuple(json.loads(row.get("CONSTRAINTS") or "[]")),
        )
        for row in rows
    }  # fmt: skip


def _known(session: Session, target: Snowflake, expected: Sequence[str] | None = None) -> set[str]:
    rows = session.execute(
        f"SELECT COLUMN_NAME FROM {identifier(target.database)}.INFORMATION_SCHEMA.COLUMNS "
        "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        [target.schema_ + SCHEMA_SUFFIX, TABLE],
        doing="read the loads",
        expected=None if expected is None else [{"COLUMN_NAME": name} for name in expected],
    )
    return {row["COLUMN_NAME"] for row in rows}


def _table(target: Snowflake, schema: str | None, name: str) -> TargetTable:
    """As a record has it; one of an older version has no schema."""
    return TargetTable(target.schema_ if schema is None and name else schema or "", name)


def changes(
    session: Session, target: Snowflake, tables: Iterable[TargetTable], *, expected: int | None = None
) -> dict[TargetTable, int]:
    """A token for each table that is another after every change of its rows
    (https://docs.snowflake.com/en/sql-reference/functions/system_last_change_commit_time).

    Args:
        expected: the answer in a list of what would be sent, where a load asks for what it has just done.
    """
    chosen = sorted(tables)
    found: dict[TargetTable, int] = {}
    for start in range(0, len(chosen), _NAMES_A_QUERY):
        some = chosen[start : start + _NAMES_A_QUERY]
        asked = (
            f"SYSTEM$LAST_CHANGE_COMMIT_TIME({literal(identifier(target.database, *table))}) AS C{number}"
            for number, table in enumerate(some)
        )
        would_be = None if expected is None else [{f"C{number}": expected for number in range(len(some))}]
        doing = "ask when the tables were last changed"
        (row,) = session.execute(f"SELECT {', '.join(asked)}", doing=doing, expected=would_be)
        found |= {table: int(row[f"C{number}"]) for number, table in enumerate(some)}
    return found


def held(
    session: Session,
    target: Snowflake,
    wanted: Mapping[TargetTable, int],
    load_id: str,
    recorded: Mapping[TargetTable, Made],
    present: Mapping[TargetTable, Present],
) -> set[TargetTable]:
    """Those tables, of some with the rows that each should have, that a load made and that hold all of its rows and nobody else's."""
    likely = {
        table: made.changed for table, rows in wanted.items()
        if (made := recorded.get(table)) and (there := present.get(table))
        and (made.load_id, made.rows, made.created) == (load_id, rows, there.created)
    }  # fmt: skip
    now = changes(session, target, [table for table, changed in likely.items() if changed is not None])
    unchanged = sorted(table for table, changed in likely.items() if now.get(table) == changed)
    found = set()
    for start in range(0, len(unchanged), _NAMES_A_QUERY):
        some = unchanged[start : start + _NAMES_A_QUERY]
        asked = (
            f"(SELECT COUNT(*) FROM {identifier(target.database, *table)}) AS N{n}" for n, table in enumerate(some)
        )
        (row,) = session.execute(f"SELECT {', '.join(asked)}", doing="count the tables' rows")
        found |= {table for n, table in enumerate(some) if int(row[f"N{n}"]) == wanted[table]}
    return found


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
