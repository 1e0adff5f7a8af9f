"""Tables: their definition, their rows' life as a whole, their comments and keys, and what the catalogue says about them."""

from __future__ import annotations

import json
import uuid

from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin import keys as other_keys
from helpers.local.standin.declared import Declared, collated
from helpers.local.standin.information_schema import COLUMNS, DESCRIBE, KEYS
from helpers.local.standin.names import (
    DONE,
    all_or_nothing,
    already_exists,
    first,
    identifier,
    missing,
    only_case_differs,
    path,
    text,
    unsupported,
)  # fmt: skip
from helpers.local.standin.names import table as named
from helpers.local.standin.notes import (
    exists,
    is_there,
    new_note,
    oid,
    update_note,
    write_column_note,
    write_table_note,
)
from helpers.local.standin.parameters import LEVELS
from helpers.local.standin.session import Session


def create_table(session: Session, statement: exp.Create, query: str | None) -> str:
    """CREATE TABLE with declared columns, or AS a query that is in DuckDB's dialect by now."""
    declaration = statement.this
    table = declaration.this if isinstance(declaration, exp.Schema) else declaration
    database, schema, name = session.qualified(table)
    properties = statement.args.get("properties")
    temporary = bool(properties and properties.find(exp.TemporaryProperty))
    exists = is_there(session, database, schema, name, temporary=temporary)
    if exists and not statement.args.get("replace"):
        if statement.args.get("exists"):
            return f"{name} already exists, statement succeeded."
        raise already_exists(name)
    columns = [part for part in declaration.expressions if isinstance(part, exp.ColumnDef)]
    refuse_equal_names([column.name for column in columns])
    place = f"temp.main.{identifier(name)}" if temporary else path(database, schema, name)
    comment = properties.find(exp.SchemaCommentProperty) if properties else None
    note = new_note() | ({"comment": comment.name} if comment else {})
    keys = _key_columns(declaration)
    note |= {"keys": other_keys.declared(session, declaration, (database, schema))}
    duck = session.duck
    with all_or_nothing(duck):
        if exists and query is not None:  # it may read the table that it replaces
            duck.execute(f"CREATE OR REPLACE TEMP TABLE _replacing AS {query}")
            query = "FROM temp.main._replacing"
        if exists:
            if not temporary:
                other_keys.forget_references(session, table)
            duck.execute(f"DROP TABLE {place}")
        kind = "TEMP TABLE" if temporary else "TABLE"
        if query is None:
            usual = _default_collation(session, (database, schema), properties)
            defined = [_definition(session, column, column.name in keys, usual) for column in columns]
            duck.execute(f"CREATE {kind} {place} ({', '.join(defined)})")
        else:
            names = f"({', '.join(identifier(column.name) for column in columns)})" if columns else ""
            duck.execute(f"CREATE {kind} {place} AS SELECT * FROM ({query}) AS _query{names}")
        for column in columns:
            if column.kind is not None:
                position = keys.index(column.name) + 1 if column.name in keys else None
                said = Declared.read(column.kind).note(column_comment(column), position)
                duck.execute(f"COMMENT ON COLUMN {place}.{identifier(column.name)} IS {text(said)}")
        write_table_note(duck, place, note)
    if temporary:
        session.temporary.add((database, schema, name))
    return f"Table {name} successfully created."


def drop_table(session: Session, statement: exp.Drop) -> str:
    (table,) = statement.args["tables"]
    database, schema, name = session.qualified(table)
    if not is_there(session, database, schema, name, temporary=(database, schema, name) in session.temporary):
        if statement.args.get("exists"):
            return "Drop statement executed successfully."
        raise missing("Table", name)
    if (database, schema, name) not in session.temporary:
        other_keys.forget_references(session, table)
    session.duck.execute(f"DROP TABLE {session.place(database, schema, name)}")
    session.temporary.discard((database, schema, name))
    return f"{name} successfully dropped."


def truncate(session: Session, statement: exp.TruncateTable) -> str:
    """TRUNCATE also forgets which files were loaded."""
    (table,) = statement.expressions
    place = session.place(*session.qualified(table))
    session.duck.execute(f"DELETE FROM {place}")
    update_note(session, table, id=str(uuid.uuid4()))
    return DONE


def swap(session: Session, statement: exp.Alter, other: exp.Table) -> str:
    """SWAP WITH: three renames in one transaction, which fakesnow lacks."""
    first, second = session.qualified(statement.this), session.qualified(other)
    if first[:2] != second[:2] or {first, second} & session.temporary:
        raise unsupported("SWAP WITH between schemas or of temporary tables")
    for one in (first, second):
        if not is_there(session, *one, temporary=False):
            raise missing("Table", one[2])
    between = f"_swap_{uuid.uuid4().hex}"
    schema = first[:2]
    with all_or_nothing(session.duck):
        for old, new in ((first[2], between), (second[2], first[2]), (between, second[2])):
            session.duck.execute(f"ALTER TABLE {path(*schema, old)} RENAME TO {identifier(new)}")
    return DONE


def rename(session: Session, statement: exp.Alter, new: exp.Table) -> str:
    old = session.qualified(statement.this)
    target = session.qualified(new)
    if target[:2] != old[:2]:
        raise unsupported("RENAME TO another database, or of a temporary table to another schema")
    if exists(session, *target):
        raise already_exists(target[2])
    session.duck.execute(f"ALTER TABLE {session.place(*old)} RENAME TO {identifier(target[2])}")
    if old in session.temporary:
        session.temporary.discard(old)
        session.temporary.add(target)
    return DONE


def comment(session: Session, statement: exp.Comment) -> str | None:
    """COMMENT ON TABLE and COLUMN, kept with the declaration."""
    said, target, kind = statement.expression.name, statement.this, str(statement.args["kind"]).upper()
    if kind == "TABLE":
        update_note(session, target, comment=said)
    elif kind == "COLUMN":
        parts = [part.name for part in target.parts]
        _comment_on_column(session, named(parts[:-1]), parts[-1], said)
    else:
        return None
    return DONE


def commented(session: Session, statement: exp.Alter) -> str | None:
    """ALTER TABLE … SET COMMENT, UNSET COMMENT and ALTER COLUMN … COMMENT; None where an action is another."""
    (action,) = actions if len(actions := statement.args["actions"]) == 1 else (None,)
    if isinstance(action, exp.AlterSet) and (said := action.find(exp.SchemaCommentProperty)):
        update_note(session, statement.this, comment=said.name)
    elif isinstance(action, exp.AlterColumn) and (words := action.args.get("comment")) is not None:
        _comment_on_column(session, statement.this, action.name, words.name)
    elif action and action.sql("snowflake").upper() == "UNSET COMMENT":
        update_note(session, statement.this, comment="")
    else:
        return None
    return DONE


def _comment_on_column(session: Session, table: exp.Table, column: str, said: str) -> None:
    row = first(
        session.duck,
        "select comment from duckdb_columns() where column_name = ? and table_oid = ?",
        [column, oid(session, table)],
    )
    if row is None:
        raise missing("Column", column)
    note = json.loads(row[0]) if row[0] else {}
    write_column_note(session.duck, session.place(*session.qualified(table)), column, {**note, "comment": said})


def set_key(session: Session, table: exp.Table, columns: list[str]) -> str:
    """ADD and DROP PRIMARY KEY: informative, but its columns take no NULL from then on, and keep to that."""
    place = session.place(*session.qualified(table))
    notes = session.duck.execute(
        "select column_name, comment from duckdb_columns() where table_oid = ?", [oid(session, table)]
    ).fetchall()
    if unknown := [name for name in columns if name not in dict(notes)]:
        raise missing("Column", unknown[0])
    former = {key: name for name, said in notes if (key := json.loads(said or "{}").get("key"))}
    if former:
        other_keys.forget_references(session, table, [former[position] for position in sorted(former)])
    with all_or_nothing(session.duck):
        for name, said in notes:
            note = {kind: value for kind, value in json.loads(said or "{}").items() if kind != "key"}
            if name in columns:
                note["key"] = columns.index(name) + 1
                session.duck.execute(f"ALTER TABLE {place} ALTER COLUMN {identifier(name)} SET NOT NULL")
            write_column_note(session.duck, place, name, note)
    return DONE


def keys_query(session: Session, what: str, scope: exp.Table | None, kind: str) -> str | None:
    """SHOW PRIMARY, UNIQUE and IMPORTED KEYS of a table, a schema, a database, or of what is current; None for another SHOW."""
    names: list[str | None] = [session.database, session.schema if session.schema_set else None, None]
    if scope is not None:
        parts: list[str | None] = [part.name for part in scope.parts]
        given = {"TABLE": 3, "SCHEMA": 2, "DATABASE": 1}[kind]
        names = [*names[: given - len(parts)], *parts]
    levels = {
        level: name for level, name in zip(("database_name", "schema_name", "table_name"), names, strict=False) if name
    }
    if what == "UNIQUE KEYS":
        return other_keys.unique_query(session, levels)
    if what == "IMPORTED KEYS":
        return other_keys.imported_query(session, levels)
    if what != "PRIMARY KEYS":
        return None
    conditions = [f"{level} = {text(name)}" for level, name in levels.items()]
    return KEYS.replace("$columns", COLUMNS.replace("$condition", " and ".join(conditions) or "true"))


def describe_query(session: Session, table: exp.Table) -> str:
    database, schema, name = session.qualified(table)
    if not is_there(session, database, schema, name, temporary=(database, schema, name) in session.temporary):
        raise missing("Table", name)
    condition = f"table_oid = {oid(session, table)}"
    return DESCRIBE.replace("$columns", COLUMNS.replace("$condition", condition))


def _default_collation(session: Session, schema: tuple[str, str], properties: exp.Properties | None) -> str:
    """DEFAULT_DDL_COLLATION of the statement, else of the schema, the database or the account."""
    for one in properties.expressions if properties else ():
        if type(one) is exp.Property and one.name.upper() == "DEFAULT_DDL_COLLATION":
            return str(one.args["value"].name)
    return LEVELS.of_an_object(schema).get("DEFAULT_DDL_COLLATION", ("", ""))[0]


def _definition(session: Session, column: exp.ColumnDef, key: bool, collation: str) -> str:
    if column.kind is None:
        raise ProgrammingError(msg=f"Column {column.name} has no type.", errno=1003, sqlstate="42000")
    declared = Declared.read(column.kind)
    name = identifier(column.name)
    parts = [name, declared.stored]
    for constraint in column.constraints:
        kind = constraint.kind
        if isinstance(kind, exp.NotNullColumnConstraint) and not kind.args.get("allow_null"):
            key = True
        elif isinstance(kind, exp.CollateColumnConstraint):
            collation = kind.name
        elif isinstance(kind, exp.DefaultColumnConstraint):
            parts.append(f"DEFAULT {session.translated(kind.this)}")
    # PRIMARY KEY and UNIQUE are informative in the real service: only NOT NULL is enforced.
    if declared.name == "TEXT":
        parts[1] += collated(collation)
    return " ".join(parts) + (" NOT NULL" if key else "") + declared.check(name)


def _key_columns(declaration: exp.Expression) -> list[str]:
    """In the key's order; declared with the table, or with the one column that it is."""
    columns = [part.name for key in declaration.find_all(exp.PrimaryKey) for part in key.expressions]
    own = [column for column in declaration.find_all(exp.ColumnDef) if column.find(exp.PrimaryKeyColumnConstraint)]
    return columns or [column.name for column in own]


def column_comment(column: exp.ColumnDef) -> str | None:
    for constraint in column.constraints:
        if isinstance(constraint.kind, exp.CommentColumnConstraint):
            return str(constraint.kind.this.name)
    return None


def refuse_equal_names(names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            raise (
                ProgrammingError(msg=f"SQL compilation error:\nduplicate column name '{name}'", errno=2025)
                if other == name
                else only_case_differs("column", name, other)
            )
