"""ALTER TABLE of columns, RENAME to another schema, and CLONE: a table built anew from what was declared.

DuckDB alters no column that a check is on and moves no table to another schema, so the table is written again, with its note and
those of its columns. What the real service refuses to change is refused.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from typing import Any

from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin import attached, keys, notes, tables
from helpers.local.standin.declared import LONGEST_BINARY, LONGEST_TEXT, Declared
from helpers.local.standin.names import DONE, all_or_nothing, already_exists, identifier, missing, path, text
from helpers.local.standin.session import Session


@dataclass(frozen=True)
class Built:
    """A column as it is to be written; `source` is the expression that fills it, None for a new one."""

    name: str
    declared: Declared
    nullable: bool
    default: str | None
    note: dict[str, Any]
    source: str | None

    @property
    def definition(self) -> str:
        default = f" DEFAULT {self.default}" if self.default else ""
        required = "" if self.nullable else " NOT NULL"
        return f"{identifier(self.name)} {self.declared.stored}{default}{required}{self.declared.check(identifier(self.name))}"


def alter_columns(session: Session, statement: exp.Alter) -> str | None:
    """ADD, ALTER and DROP COLUMN; None where an action is another."""
    actions = statement.args["actions"]
    columns, note = _read(session, statement.this), notes.read_note(session, statement.this)
    for action in actions:
        changed = _changed(session, statement.this, columns, action)
        if changed is None:
            return None
        for gone in {column.name for column in columns} - {column.name for column in changed}:
            note = keys.without_column(note, gone)
        columns = changed
    if not columns:
        raise ProgrammingError(msg="SQL compilation error:\nCannot drop the last column of a table.", errno=2025)
    place = session.qualified(statement.this)
    between = (*place[:2], f"_altered_{uuid.uuid4().hex}")
    _build(session, place, between, columns, note, then=(
        f"DROP TABLE {path(*place)}", f"ALTER TABLE {path(*between)} RENAME TO {identifier(place[2])}",
    ))  # fmt: skip
    return DONE


def move(session: Session, table: exp.Table, target: tuple[str, str, str]) -> str | None:
    """RENAME TO another schema of the same database; None where it is another rename."""
    place = session.qualified(table)
    if place in session.temporary or target[0] != place[0] or target[1] == place[1]:
        return None
    if notes.exists(session, *target):
        raise already_exists(target[2])
    _build(session, place, target, _read(session, table), notes.read_note(session, table), then=(
        f"DROP TABLE {path(*place)}",
    ))  # fmt: skip
    return DONE


def clone(session: Session, statement: exp.Create) -> str:
    """CREATE TABLE … CLONE: rows, definition, policies and tags; the grants stay with the one that was cloned."""
    source, target = statement.args["clone"].this, session.qualified(statement.this)
    if notes.exists(session, *target):
        if statement.args.get("exists"):
            return f"{target[2]} already exists, statement succeeded."
        if not statement.args.get("replace"):
            raise already_exists(target[2])
        session.duck.execute(f"DROP TABLE {path(*target)}")
    former = notes.read_note(session, source)
    note = notes.new_note() | {k: v for k, v in former.items() if k in ("comment", "policies", "tags")}
    # Constraints are copied too, under names of their own.
    note["keys"] = [{**key, "name": f"SYS_CONSTRAINT_{uuid.uuid4()}"} for key in former.get("keys", ())]
    _build(session, session.qualified(source), target, _read(session, source), note)
    return f"Table {target[2]} successfully created."


def _read(session: Session, table: exp.Table) -> list[Built]:
    rows = session.duck.execute(
        "select column_name, data_type, is_nullable, column_default, comment from duckdb_columns() where table_oid = ? "
        "order by column_index",
        [notes.oid(session, table)],
    ).fetchall()
    return [_as_built(*row) for row in rows]


def _as_built(name: str, stored: str, nullable: bool, default: str | None, said: str | None) -> Built:
    note = json.loads(said) if said else {}
    kind = note.get("type", "NUMBER" if stored.startswith("DECIMAL") else "TEXT" if stored == "VARCHAR" else stored)
    declared = Declared(stored, kind, note.get("length"), note.get("precision"))
    return Built(name, declared, nullable, default, note, identifier(name))


def _changed(session: Session, table: exp.Table, columns: list[Built], action: Any) -> list[Built] | None:
    if isinstance(action, exp.ColumnDef):
        if action.args.get("exists") and action.name in {column.name for column in columns}:
            return columns
        return [*columns, _added(session, columns, action)]
    if isinstance(action, exp.Drop) and str(action.args.get("kind")).upper() == "COLUMN":
        return _dropped(session, table, columns, action.args["tables"][0].name)
    if not isinstance(action, exp.AlterColumn):
        return None
    column = _column_named(columns, action.name)
    if kind := action.args.get("dtype"):
        changed = _retyped(column, kind)
    elif action.args.get("drop"):
        changed = replace(column, nullable=True) if action.args.get("allow_null") else replace(column, default=None)
    elif action.args.get("allow_null") is False:
        changed = replace(column, nullable=False)
    else:
        return None
    return [changed if one is column else one for one in columns]


def _added(session: Session, columns: list[Built], action: exp.ColumnDef) -> Built:
    if action.kind is None:
        raise ProgrammingError(msg=f"Column {action.name} has no type.", errno=1003, sqlstate="42000")
    tables.refuse_equal_names([*(column.name for column in columns), action.name])
    declared = Declared.read(action.kind)
    kinds = [constraint.kind for constraint in action.constraints]
    default = next((session.translated(k.this) for k in kinds if isinstance(k, exp.DefaultColumnConstraint)), None)
    required = any(isinstance(k, exp.NotNullColumnConstraint) and not k.args.get("allow_null") for k in kinds)
    return Built(
        action.name,
        declared,
        not required,
        default,
        json.loads(declared.note(tables.column_comment(action), None)),
        default,
    )


def _dropped(session: Session, table: exp.Table, columns: list[Built], name: str) -> list[Built]:
    column = _column_named(columns, name)
    if policies := attached.policies_on(notes.read_note(session, table), name):
        raise ProgrammingError(
            msg=f"SQL compilation error:\nColumn {name} cannot be dropped: the policy {policies[0]} is on it.",
            errno=3001,
        )
    return [one for one in columns if one is not column]


def _retyped(column: Built, kind: exp.DataType) -> Built:
    old, new = column.declared, Declared.read(kind)
    digits, wanted = (_digits(one.stored) for one in (old, new))
    same = old.name == new.name and old.precision == new.precision and (digits or (0, 0))[1] == (wanted or (0, 0))[1]
    longest = LONGEST_TEXT if old.name == "TEXT" else LONGEST_BINARY
    if not same or (old.name in ("TEXT", "BINARY") and (new.length or longest) < (old.length or longest)):
        raise ProgrammingError(
            msg=f"SQL compilation error:\ncannot change column {column.name} from type {_shown(old)} to {_shown(new)}",
            errno=2108, sqlstate="22000",
        )  # fmt: skip
    kept = {k: v for k, v in column.note.items() if k in ("comment", "key")}
    return replace(column, declared=new, note=json.loads(new.note(None, None)) | kept)


def _digits(stored: str) -> tuple[int, int] | None:
    if not stored.startswith("DECIMAL"):
        return None
    precision, scale = stored[8:-1].split(",")
    return int(precision), int(scale)


def _shown(declared: Declared) -> str:
    if digits := _digits(declared.stored):
        return f"NUMBER({digits[0]},{digits[1]})"
    return f"{declared.name}({declared.length})" if declared.length else declared.name


def _column_named(columns: list[Built], name: str) -> Built:
    found = next((column for column in columns if column.name == name), None)
    if found is None:
        raise missing("Column", name)
    return found


def _build(
    session: Session, source: tuple[str, str, str], target: tuple[str, str, str], columns: list[Built], note: dict[str, Any],
    then: tuple[str, ...] = (),
) -> None:  # fmt: skip
    place, duck = path(*target), session.duck
    with all_or_nothing(duck):
        duck.execute(f"CREATE TABLE {place} ({', '.join(column.definition for column in columns)})")
        values = ", ".join(f"CAST({column.source or 'NULL'} AS {column.declared.stored})" for column in columns)
        duck.execute(f"INSERT INTO {place} SELECT {values} FROM {session.place(*source)}")
        for column in columns:
            said = text(json.dumps(column.note, ensure_ascii=False))
            duck.execute(f"COMMENT ON COLUMN {place}.{identifier(column.name)} IS {said}")
        notes.write_table_note(duck, place, note)
        for statement in then:
            duck.execute(statement)
