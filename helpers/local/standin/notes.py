"""What DuckDB has no place for is kept beside: as JSON in the comment that it keeps for a table or a column.

It is written with the table, lives in the same file, follows a rename, and rolls back.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import duckdb
from sqlglot import exp

from helpers.local.standin.names import attached, first, identifier, missing, only_case_differs, text
from helpers.local.standin.session import Session


def read_note(session: Session, table: exp.Table) -> dict[str, Any]:
    row = first(session.duck, "select comment from duckdb_tables() where table_oid = ?", [oid(session, table)])
    note: dict[str, Any] = json.loads(row[0]) if row and row[0] else {}
    return note


def table_id(session: Session, table: exp.Table) -> str:
    """What loaded files are remembered under; it changes when a table is emptied or made anew."""
    note = read_note(session, table)
    if "id" not in note:
        note["id"] = str(uuid.uuid4())
        update_note(session, table, id=note["id"])
    return str(note["id"])


def new_note() -> dict[str, Any]:
    """What is kept of a table that is made now: what its loaded files go by, itself, and when."""
    return {"id": str(uuid.uuid4()), "object": str(uuid.uuid4()), "created": time.time_ns() // 1_000_000}


def update_note(session: Session, table: exp.Table, **kept: Any) -> None:
    write_table_note(session.duck, session.place(*session.qualified(table)), {**read_note(session, table), **kept})


def note_change(session: Session, table: exp.Table) -> None:
    """Remembers, in the transaction that is open, that rows of a table were changed."""
    name = session.qualified(table)
    if name not in session.temporary and attached(session.duck, name[0]):
        changes = f"{identifier(name[0])}._fs_information_schema._changes"
        session.duck.execute(
            f"INSERT INTO {changes} VALUES (?, ?)", [read_note(session, table).get("object"), time.time_ns()]
        )


def last_change(session: Session, table: exp.Table) -> int:
    """The token of SYSTEM$LAST_CHANGE_COMMIT_TIME: greater after each change of the rows."""
    note, name = read_note(session, table), session.qualified(table)
    changes = f"{identifier(name[0])}._fs_information_schema._changes"
    row = first(session.duck, f"select max(moment) from {changes} where object = ?", [note.get("object")])
    return int(row[0]) if row and row[0] else int(note.get("created", 0)) * 1_000_000


def declared_type(session: Session, table: exp.Table, column: str) -> str:
    """The name of a column's type; raises where there is no such column."""
    row = first(
        session.duck,
        "select comment, data_type from duckdb_columns() where table_oid = ? and column_name = ?",
        [oid(session, table), column],
    )
    if row is None:
        raise missing("Column", column)
    return str(json.loads(row[0] or "{}").get("type", row[1]))


def write_table_note(duck: duckdb.DuckDBPyConnection, place: str, note: dict[str, Any]) -> None:
    duck.execute(f"COMMENT ON TABLE {place} IS {text(json.dumps(note, ensure_ascii=False))}")


def oid(session: Session, table: exp.Table) -> int:
    database, schema, name = session.qualified(table)
    place = ("temp", "main") if (database, schema, name) in session.temporary else (database, schema)
    row = first(
        session.duck,
        "select table_oid from duckdb_tables() where database_name = ? and schema_name = ? and table_name = ?",
        [*place, name],
    )
    if row is None:
        raise missing("Table", name)
    return int(row[0])


def exists(session: Session, database: str, schema: str, name: str) -> bool:
    """Whether there is a table of this name that is not temporary."""
    return is_there(session, database, schema, name, temporary=False)


def is_there(session: Session, database: str, schema: str, name: str, *, temporary: bool) -> bool:
    """Whether the table is there; a name that differs only in case cannot be told apart in DuckDB, so that is said."""
    place = ("temp", "main") if temporary else (database, schema)
    found = first(
        session.duck,
        "select table_name from duckdb_tables() where database_name = ? and schema_name = ? "
        "and lower(table_name) = lower(?)",
        [*place, name],
    )
    if found and found[0] != name:
        raise only_case_differs("table", name, found[0])
    return found is not None


def write_column_note(duck: duckdb.DuckDBPyConnection, place: str, column: str, note: dict[str, Any]) -> None:
    kept = json.dumps(note, ensure_ascii=False)
    duck.execute(f"COMMENT ON COLUMN {place}.{identifier(column)} IS {text(kept)}")
