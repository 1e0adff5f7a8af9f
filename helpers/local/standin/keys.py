"""Unique and foreign keys, which the real service keeps and does not enforce (they stand in the note of the table that has them).

As documented, a constraint with other properties than the default ones is not created, and nothing says so; a name is taken once
in a schema; and what refers to a key goes with it
(https://docs.snowflake.com/en/sql-reference/sql/create-table-constraint, …/constraints-alter).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin import notes
from helpers.local.standin.names import DONE, already_exists, missing, text
from helpers.local.standin.session import Session

UNIQUE = (
    "created_on", "database_name", "schema_name", "table_name", "column_name", "key_sequence", "constraint_name", "rely", "comment",
)  # fmt: skip
IMPORTED = (
    "created_on", "pk_database_name", "pk_schema_name", "pk_table_name", "pk_column_name", "fk_database_name", "fk_schema_name",
    "fk_table_name", "fk_column_name", "key_sequence", "update_rule", "delete_rule", "fk_name", "pk_name", "deferrability", "rely",
    "comment",
)  # fmt: skip

Key = dict[str, Any]


def declared(session: Session, declaration: exp.Expression, schema: tuple[str, str]) -> list[Key]:
    """The unique and foreign keys of a CREATE TABLE, those of one column included."""
    found = []
    for part in declaration.expressions:
        if isinstance(part, exp.ColumnDef):
            if any(isinstance(constraint.kind, exp.UniqueColumnConstraint) for constraint in part.constraints):
                found.append(_named(session, schema, "", {"columns": [part.name]}))
        elif key := _read(session, part, schema):
            found.append(key)
    return found


def add(session: Session, table: exp.Table, constraint: exp.Expression) -> str | None:
    """ADD [CONSTRAINT …] UNIQUE and FOREIGN KEY; None where it is another."""
    if not constraint.find(exp.UniqueColumnConstraint, exp.ForeignKey):
        return None
    _require_columns(session, table, constraint)
    if key := _read(session, constraint, session.qualified(table)[:2]):
        notes.update_note(session, table, keys=[*_kept(session, table), key])
    return DONE


def drop(session: Session, table: exp.Table, name: str) -> str:
    """DROP CONSTRAINT of a unique or a foreign key."""
    own = _kept(session, table)
    gone = next((key for key in own if key["name"] == name), None)
    if gone is None:
        raise missing("Constraint", name)
    notes.update_note(session, table, keys=[key for key in own if key is not gone])
    if "object" not in gone:
        forget_references(session, table, gone["columns"])
    return DONE


def forget_references(session: Session, table: exp.Table, columns: list[str] | None = None) -> None:
    """Drops the foreign keys to a key that goes, or to a table that does."""
    own = notes.read_note(session, table).get("object")
    for database, schema, name, note in _tables(session):
        kept = [
            key for key in note.get("keys", ())
            if key.get("object") != own or (columns is not None and key["referenced"] != columns)
        ]  # fmt: skip
        if len(kept) != len(note.get("keys", ())):
            other = exp.table_(name, db=schema, catalog=database, quoted=True)
            notes.update_note(session, other, keys=kept)


def without_column(note: dict[str, Any], column: str) -> dict[str, Any]:
    """A table's note once one of its columns is gone."""
    return {**note, "keys": [key for key in note.get("keys", ()) if column not in key["columns"]]}


def unique_query(session: Session, scope: dict[str, str]) -> str:
    """SHOW UNIQUE KEYS."""
    rows = [
        (database, schema, table, column, position, key["name"], "false", None)
        for database, schema, table, note in _within(session, scope)
        for key in note.get("keys", ()) if "object" not in key
        for position, column in enumerate(key["columns"], 1)
    ]  # fmt: skip
    return _values(UNIQUE, rows)


def imported_query(session: Session, scope: dict[str, str]) -> str:
    """SHOW IMPORTED KEYS: the foreign keys of the tables in the scope; a table that is gone is referred to no more."""
    objects = {note.get("object"): (database, schema, table) for database, schema, table, note in _tables(session)}
    rows = [
        (*objects[key["object"]], to, database, schema, table, column, position, "NO ACTION", "NO ACTION", key["name"],
         f"SYS_CONSTRAINT_{objects[key['object']][2]}", "NOT DEFERRABLE", "false", None)
        for database, schema, table, note in _within(session, scope)
        for key in note.get("keys", ()) if key.get("object") in objects
        for position, (column, to) in enumerate(zip(key["columns"], key["referenced"], strict=True), 1)
    ]  # fmt: skip
    return _values(IMPORTED, rows)


def _read(session: Session, part: exp.Expression, schema: tuple[str, str]) -> Key | None:
    """A key as it is kept; None where it is another constraint, or one that is not created."""
    name = part.this.name if isinstance(part, exp.Constraint) else ""
    inner = part.expressions[0] if isinstance(part, exp.Constraint) else part
    others = part.expressions[1:] if isinstance(part, exp.Constraint) else []
    if others or (isinstance(inner, exp.ForeignKey) and _has_options(inner)):
        return None
    if isinstance(inner, exp.UniqueColumnConstraint):
        return _named(session, schema, name, {"columns": [column.name for column in inner.this.expressions]})
    if not isinstance(inner, exp.ForeignKey):
        return None
    reference = inner.args["reference"].this
    table = reference.this if isinstance(reference, exp.Schema) else reference
    columns = [column.name for column in inner.expressions]
    primary = _primary(session, table)
    referenced = [column.name for column in reference.expressions] if isinstance(reference, exp.Schema) else primary
    if referenced not in [primary, *(key["columns"] for key in _kept(session, table) if "object" not in key)]:
        raise ProgrammingError(
            msg=f"SQL compilation error:\nForeign key refers to columns of {table.name} that are neither a primary nor a unique key.",
            errno=2001, sqlstate="42601",
        )  # fmt: skip
    there = notes.read_note(session, table)["object"]
    return _named(session, schema, name, {"columns": columns, "object": there, "referenced": referenced})


def _has_options(key: exp.ForeignKey) -> bool:
    reference = key.args["reference"]
    return bool(key.args.get("delete") or key.args.get("update") or reference.args.get("options"))


def _named(session: Session, schema: tuple[str, str], name: str, key: Key) -> Key:
    taken = {k["name"] for *place, _, note in _tables(session) if tuple(place) == schema for k in note.get("keys", ())}
    if name in taken:
        raise already_exists(name)
    return {"name": name or f"SYS_CONSTRAINT_{uuid.uuid4()}", **key}


def _require_columns(session: Session, table: exp.Table, constraint: exp.Expression) -> None:
    there = {row[0] for row in _columns(session, table)}
    own = constraint.find(exp.UniqueColumnConstraint, exp.ForeignKey)
    listed = own.expressions if isinstance(own, exp.ForeignKey) else own.this.expressions if own else []
    for column in listed:
        if column.name not in there:
            raise missing("Column", column.name)


def _primary(session: Session, table: exp.Table) -> list[str]:
    noted = ((name, json.loads(said or "{}").get("key")) for name, said in _columns(session, table))
    return [name for name, _ in sorted(((n, k) for n, k in noted if k), key=lambda column: int(column[1]))]


def _columns(session: Session, table: exp.Table) -> list[tuple[str, str | None]]:
    asked = "select column_name, comment from duckdb_columns() where table_oid = ?"
    return [(row[0], row[1]) for row in session.duck.execute(asked, [notes.oid(session, table)]).fetchall()]


def _kept(session: Session, table: exp.Table) -> list[Key]:
    return list(notes.read_note(session, table).get("keys", ()))


def _tables(session: Session) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    asked = "select database_name, schema_name, table_name, comment from duckdb_tables() where comment is not null and not temporary"
    for database, schema, table, said in session.duck.execute(asked).fetchall():
        yield database, schema, table, json.loads(said)


def _within(session: Session, scope: dict[str, str]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for found in _tables(session):
        named = dict(zip(("database_name", "schema_name", "table_name"), found, strict=False))
        if all(named[level] == name for level, name in scope.items()):
            yield found


def _values(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    kinds = {"created_on": "to_timestamp(0)", "key_sequence": "0::integer"}
    nothing = ", ".join(f'{kinds.get(name, "null::varchar")} as "{name}"' for name in columns)
    selected = [f"select {nothing} where false"]
    for row in rows:
        cells = ", ".join(
            "null::varchar" if cell is None else str(cell) if isinstance(cell, int) else text(str(cell)) for cell in row
        )
        selected.append(f"select to_timestamp(0), {cells}")
    return " union all ".join(selected)
