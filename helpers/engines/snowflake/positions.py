"""How far a sync is with each table, as the target keeps it: in a table beside that of the loads, changed in the transactions that
change the rows.

A position holds while the table is the one that was loaded, and while Snowflake's token of its last change is the one that the
sync left. That token is known only after the commit; until it is recorded, the number of rows is all that tells a stranger's write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from helpers.engines.snowflake.catalog import read_present
from helpers.engines.snowflake.records import SCHEMA_SUFFIX, affected, beside, changes
from helpers.model.places import TargetTable
from helpers.platforms.snowflake import Session
from helpers.settings import Snowflake

TABLE = "SYNCED_TABLES"

WHOLE = TargetTable("", "")
"""The name under which stands what every table has reached; no table has it."""

_COLUMNS = {
    "TABLE_SCHEMA": "VARCHAR NOT NULL", "TABLE_NAME": "VARCHAR NOT NULL", "SYNC": "VARCHAR NOT NULL", "STAGE": "VARCHAR NOT NULL",
    "REACHED": "NUMBER(38,0) NOT NULL", "CREATED": "NUMBER(38,0) NOT NULL", "CHANGED": "NUMBER(38,0)", "ROW_COUNT": "NUMBER(38,0) NOT NULL",
}  # fmt: skip

_AT_ONCE = 100
"""Tables in one statement, each with several names in it."""

_IS = "TABLE_SCHEMA = %s AND TABLE_NAME = %s"
_DOING = "record the sync"


@dataclass(frozen=True)
class Synced:
    """What is recorded of one table, or of all of them.

    Attributes:
        sync: its id.
        stage: where its batches are.
        reached: the position.
        created: of the table, in milliseconds since 1970.
        changed: Snowflake's token of the last change; None where the sync was broken off before it was read.
        rows: that the table has.
    """

    sync: str
    stage: str
    reached: int
    created: int = 0
    changed: int | None = None
    rows: int = 0


def place(target: Snowflake) -> str:
    """The table of the positions."""
    return beside(target, TABLE)


def read(session: Session, target: Snowflake) -> dict[TargetTable, Synced]:
    """Every position in the target, whose database is there, by the table; none where no sync was ever begun."""
    if not is_there(session, target):
        return {}
    rows = session.execute(f"SELECT {', '.join(_COLUMNS)} FROM {place(target)}", doing="read how far the sync is")
    return {
        TargetTable(row["TABLE_SCHEMA"], row["TABLE_NAME"]): Synced(
            row["SYNC"], row["STAGE"], int(row["REACHED"]), int(row["CREATED"]),
            None if row["CHANGED"] is None else int(row["CHANGED"]), int(row["ROW_COUNT"]),
        )
        for row in rows
    }  # fmt: skip


def is_there(session: Session, target: Snowflake) -> bool:
    """Whether a sync was ever begun in the target, whose database is there."""
    schema = target.schema_ + SCHEMA_SUFFIX
    return TargetTable(schema, TABLE) in read_present(session, target.database, [schema])


def begin(session: Session, target: Snowflake, tables: Mapping[TargetTable, Synced]) -> None:
    """Says where tables begin; the schema of the records is there."""
    if not is_there(session, target):
        columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
        session.execute(f"CREATE TABLE {place(target)} ({columns})", doing=_DOING)
    with session.transaction(doing=_DOING):
        _forget(session, target, tables)
        for some in _portions(tables):
            marks = ", ".join(f"({', '.join(['%s'] * len(_COLUMNS))})" for _ in some)
            values = [
                value for table in some for each in [tables[table]]
                for value in (*table, each.sync, each.stage, each.reached, each.created, each.changed, each.rows)
            ]  # fmt: skip
            session.execute(f"INSERT INTO {place(target)} ({', '.join(_COLUMNS)}) VALUES {marks}", values, doing=_DOING)


def forget(session: Session, target: Snowflake, tables: Collection[TargetTable]) -> None:
    """Says of no sync that it has changed these tables: others' rows come into them."""
    if is_there(session, target):
        _forget(session, target, tables)


def _forget(session: Session, target: Snowflake, tables: Collection[TargetTable]) -> None:
    for some in _portions(tables):
        keys = [value for table in some for value in table]
        session.execute(f"DELETE FROM {place(target)} WHERE {_any(some)}", keys, doing=_DOING)


def move(session: Session, target: Snowflake, sync: str, until: int, rows: Mapping[TargetTable, int]) -> bool:
    """Says that tables have a batch, in the transaction that takes it in; whether none of them had it.

    Args:
        sync: whose batch it is.
        until: the position that the tables reach by it.
        rows: the tables, or `WHOLE`, with the number of rows that each now has.
    """
    moved = True
    for some in _portions(rows):
        keys = [value for table in some for value in table]
        counts = [value for table in some for value in (*table, rows[table])]
        changed = session.execute(
            f"UPDATE {place(target)} SET REACHED = %s, CHANGED = NULL, ROW_COUNT = CASE {' '.join(f'WHEN {_IS} THEN %s' for _ in some)} END "
            f"WHERE SYNC = %s AND REACHED < %s AND ({_any(some)})",
            [until, *counts, sync, until, *keys],
            doing=_DOING,
            expected=[{"number of rows updated": len(some)}],
        )  # fmt: skip
        moved = moved and affected(changed) == len(some)
    return moved


def doubt(session: Session, target: Snowflake, tables: Collection[TargetTable]) -> None:
    """Says of tables that their tokens are to be read anew, since something changes them that changes no row."""
    for some in _portions(tables):
        keys = [value for table in some for value in table]
        session.execute(f"UPDATE {place(target)} SET CHANGED = NULL WHERE {_any(some)}", keys, doing=_DOING)


def settle(session: Session, target: Snowflake, tables: Collection[TargetTable]) -> dict[TargetTable, int]:
    """Reads the tokens of tables as a sync leaves them, and records them: who changes them from now on is somebody else."""
    tokens = changes(session, target, tables, expected=0)
    for some in _portions(tokens):
        values = [value for table in some for value in (*table, tokens[table])]
        keys = [value for table in some for value in table]
        session.execute(
            f"UPDATE {place(target)} SET CHANGED = CASE {' '.join(f'WHEN {_IS} THEN %s' for _ in some)} END WHERE {_any(some)}",
            [*values, *keys],
            doing=_DOING,
        )
    return tokens


def _portions(tables: Collection[TargetTable]) -> Iterator[list[TargetTable]]:
    chosen = list(tables)
    for start in range(0, len(chosen), _AT_ONCE):
        yield chosen[start : start + _AT_ONCE]


def _any(tables: Sequence[TargetTable]) -> str:
    return " OR ".join(f"({_IS})" for _ in tables)
