"""Databases, schemas and tables: their declarations, and what the catalogue says about them.

DuckDB has fewer types than the real service, so what was declared is kept beside: as JSON in the comment that DuckDB
keeps for a table or a column. It is written with the table, lives in the same file, follows a rename, and rolls back.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import duckdb
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin.information_schema import COLUMNS, DESCRIBE, KEYS, VIEWS

if TYPE_CHECKING:
    from helpers.local.standin.session import Session

T = exp.DataType.Type
LONGEST_TEXT = 16777216
LONGEST_BINARY = 8388608

WHOLE = {T.INT, T.BIGINT, T.SMALLINT, T.TINYINT, T.MEDIUMINT}
TEXTS = {T.VARCHAR, T.TEXT, T.CHAR, T.NCHAR, T.NVARCHAR, T.NAME}
FLOATS = {T.DOUBLE, T.FLOAT}
BINARIES = {T.BINARY, T.VARBINARY}
SEMI_STRUCTURED = {T.VARIANT: "VARIANT", T.OBJECT: "OBJECT", T.ARRAY: "ARRAY", T.JSON: "VARIANT"}
TIMES = {
    T.TIME: ("TIME", "TIME"),
    T.TIMESTAMP: ("TIMESTAMP", "TIMESTAMP_NTZ"),
    T.DATETIME: ("TIMESTAMP", "TIMESTAMP_NTZ"),
    T.TIMESTAMPNTZ: ("TIMESTAMP", "TIMESTAMP_NTZ"),
    T.TIMESTAMPTZ: ("TIMESTAMPTZ", "TIMESTAMP_TZ"),
    T.TIMESTAMPLTZ: ("TIMESTAMPTZ", "TIMESTAMP_LTZ"),
}


@dataclass(frozen=True)
class Declared:
    """A column's type: as DuckDB stores it, and as it was declared."""

    stored: str
    name: str
    length: int | None = None
    precision: int | None = None

    @classmethod
    def read(cls, kind: exp.DataType) -> Declared:
        sizes = [int(size.this.name) for size in kind.expressions if isinstance(size, exp.DataTypeParam)]
        if kind.this in WHOLE:
            return cls("DECIMAL(38,0)", "NUMBER")
        if kind.this == T.DECIMAL:
            precision, scale = [*sizes, *(38, 0)[len(sizes) :]]
            return cls(f"DECIMAL({precision},{scale})", "NUMBER")
        if kind.this in TEXTS:
            default = 1 if kind.this in (T.CHAR, T.NCHAR) else LONGEST_TEXT
            return cls("VARCHAR", "TEXT", length=sizes[0] if sizes else default)
        if kind.this in BINARIES:
            return cls("BLOB", "BINARY", length=sizes[0] if sizes else LONGEST_BINARY)
        if kind.this in FLOATS:
            return cls("DOUBLE", "FLOAT")
        if kind.this in TIMES:
            stored, name = TIMES[kind.this]
            return cls(stored, name, precision=sizes[0] if sizes else 9)
        if kind.this in SEMI_STRUCTURED:
            return cls("JSON", SEMI_STRUCTURED[kind.this])
        if kind.this in (T.BOOLEAN, T.DATE):
            return cls(str(kind.this.value), str(kind.this.value))
        raise ProgrammingError(
            msg=f"SQL compilation error: Unsupported data type '{kind.sql('snowflake')}'.", errno=2040, sqlstate="42601"
        )

    def check(self, column: str) -> str:
        """VARCHAR(n) is a limit in the real service; DuckDB parses the number and forgets it."""
        if self.name == "TEXT" and self.length is not None and self.length < LONGEST_TEXT:
            return f" CHECK (length({column}) <= {self.length})"
        if self.name == "BINARY" and self.length is not None and self.length < LONGEST_BINARY:
            return f" CHECK (octet_length({column}) <= {self.length})"
        return ""

    def note(self, comment: str | None, key: int | None) -> str:
        kept = {"type": self.name, "length": self.length, "precision": self.precision, "comment": comment, "key": key}
        return json.dumps({name: value for name, value in kept.items() if value is not None}, ensure_ascii=False)


def create_database(session: Session, statement: exp.Create) -> str:
    name = _only_name(statement)
    if attached(session.duck, name):
        if statement.args.get("exists"):
            return f"{name} already exists, statement succeeded."
        raise already_exists(name)
    attach(session.duck, session.folder, name)
    session.use(name, "PUBLIC")
    return f"Database {name} successfully created."


def attach(duck: duckdb.DuckDBPyConnection, folder: Path, name: str) -> None:
    """Attach a database from its file, with the views of its INFORMATION_SCHEMA as this version defines them."""
    duck.execute(f"ATTACH {text(str(_file(folder, name)))} AS {identifier(name)}")
    database = identifier(name)
    duck.execute(f"CREATE SCHEMA IF NOT EXISTS {database}._fs_information_schema")
    duck.execute(f'CREATE SCHEMA IF NOT EXISTS {database}."PUBLIC"')
    duck.execute(
        f"CREATE TABLE IF NOT EXISTS {database}._fs_information_schema._loads"
        "(table_id VARCHAR, file VARCHAR, etag VARCHAR, rows BIGINT, loaded_at TIMESTAMPTZ DEFAULT now())"
    )
    duck.execute(
        f"CREATE TABLE IF NOT EXISTS {database}._fs_information_schema._changes (object VARCHAR, moment BIGINT)"
    )
    duck.execute(
        f"CREATE TABLE IF NOT EXISTS {database}._fs_information_schema._policies_and_tags "
        "(schema VARCHAR, name VARCHAR, kind VARCHAR, signature VARCHAR)"
    )
    for view, query in VIEWS.items():
        duck.execute(
            f"CREATE OR REPLACE VIEW {database}._fs_information_schema.{view} AS "
            + query.replace("$database", text(name)).replace("$loads", f"{database}._fs_information_schema._loads")
        )


def drop_database(session: Session, statement: exp.Drop) -> str:
    name = statement.args["tables"][0].name if statement.args.get("tables") else _only_name(statement)
    if not attached(session.duck, name):
        if statement.args.get("exists"):
            return "Drop statement executed successfully."
        raise missing("Database", name)
    if session.database == name:
        session.leave_database()
    session.duck.execute(f"DETACH {identifier(name)}")
    file = _file(session.folder, name)
    file.unlink(missing_ok=True)
    file.with_suffix(".db.wal").unlink(missing_ok=True)
    return f"{name} successfully dropped."


def create_schema(session: Session, statement: exp.Create) -> str:
    table = statement.this
    database = table.catalog or session.database
    schema = table.db
    if not database or not attached(session.duck, database):
        raise missing("Database", str(database))
    found = first(
        session.duck,
        "select schema_name from duckdb_schemas() where database_name = ? and lower(schema_name) = lower(?)",
        [database, schema],
    )
    if found and found[0] != schema:
        raise _only_case_differs("schema", schema, found[0])
    if found and not statement.args.get("exists") and not statement.args.get("replace"):
        raise already_exists(schema)
    if found and statement.args.get("replace"):
        session.duck.execute(f"DROP SCHEMA {identifier(database)}.{identifier(schema)} CASCADE")
        found = None
    if not found:
        session.duck.execute(f"CREATE SCHEMA {identifier(database)}.{identifier(schema)}")
    session.use(database, schema)
    return f"Schema {schema} successfully created." if not found else f"{schema} already exists, statement succeeded."


def create_table(session: Session, statement: exp.Create, query: str | None) -> str:
    """CREATE TABLE with declared columns, or AS a query that is in DuckDB's dialect by now."""
    declaration = statement.this
    table = declaration.this if isinstance(declaration, exp.Schema) else declaration
    database, schema, name = session.qualified(table)
    properties = statement.args.get("properties")
    temporary = bool(properties and properties.find(exp.TemporaryProperty))
    exists = _existing_name(session, database, schema, name, temporary=temporary)
    if exists and not statement.args.get("replace"):
        if statement.args.get("exists"):
            return f"{name} already exists, statement succeeded."
        raise already_exists(name)
    columns = [part for part in declaration.expressions if isinstance(part, exp.ColumnDef)]
    refuse_equal_names([column.name for column in columns])
    place = f"temp.main.{identifier(name)}" if temporary else path(database, schema, name)
    comment = properties.find(exp.SchemaCommentProperty) if properties else None
    note = new_note() | ({"comment": comment.name} if comment else {})
    if exists and properties and properties.find(exp.CopyGrantsProperty):
        note |= {name: kept for name, kept in read_note(session, table).items() if name == "grants"}
    keys = _key_columns(declaration)
    duck = session.duck
    duck.begin()
    try:
        if exists and query is not None:  # it may read the table that it replaces
            duck.execute(f"CREATE OR REPLACE TEMP TABLE _replacing AS {query}")
            query = "FROM temp.main._replacing"
        if exists:
            duck.execute(f"DROP TABLE {place}")
        kind = "TEMP TABLE" if temporary else "TABLE"
        if query is None:
            defined = [_definition(session, column, column.name in keys) for column in columns]
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
        duck.commit()
    except BaseException:
        duck.rollback()
        raise
    if temporary:
        session.temporary.add((database, schema, name))
    return f"Table {name} successfully created."


def drop_table(session: Session, statement: exp.Drop) -> str:
    (table,) = statement.args["tables"]
    database, schema, name = session.qualified(table)
    if not _existing_name(session, database, schema, name, temporary=(database, schema, name) in session.temporary):
        if statement.args.get("exists"):
            return "Drop statement executed successfully."
        raise missing("Table", name)
    session.duck.execute(f"DROP TABLE {session.place(database, schema, name)}")
    session.temporary.discard((database, schema, name))
    return f"{name} successfully dropped."


def truncate(session: Session, statement: exp.TruncateTable) -> str:
    """TRUNCATE also forgets which files were loaded."""
    (table,) = statement.expressions
    place = session.place(*session.qualified(table))
    session.duck.execute(f"DELETE FROM {place}")
    update_note(session, table, id=str(uuid.uuid4()))
    return "Statement executed successfully."


def swap(session: Session, statement: exp.Alter, other: exp.Table) -> str:
    """SWAP WITH: three renames in one transaction, which fakesnow lacks."""
    first, second = session.qualified(statement.this), session.qualified(other)
    if first[:2] != second[:2] or {first, second} & session.temporary:
        raise unsupported("SWAP WITH between schemas or of temporary tables")
    for one in (first, second):
        if not _existing_name(session, *one, temporary=False):
            raise missing("Table", one[2])
    between = f"_swap_{uuid.uuid4().hex}"
    schema = first[:2]
    session.duck.begin()
    try:
        for old, new in ((first[2], between), (second[2], first[2]), (between, second[2])):
            session.duck.execute(f"ALTER TABLE {path(*schema, old)} RENAME TO {identifier(new)}")
        session.duck.commit()
    except BaseException:
        session.duck.rollback()
        raise
    return "Statement executed successfully."


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
    return "Statement executed successfully."


def comment(session: Session, statement: exp.Comment) -> str | None:
    """COMMENT ON TABLE and COLUMN, kept with the declaration."""
    said, target, kind = statement.expression.name, statement.this, str(statement.args["kind"]).upper()
    if kind == "TABLE":
        update_note(session, target, comment=said)
    elif kind == "COLUMN":
        parts = [part.name for part in target.parts]
        table = exp.Table(**{kind: exp.to_identifier(part, quoted=True) for kind, part in _table_parts(parts[:-1])})
        _comment_on_column(session, table, parts[-1], said)
    else:
        return None
    return "Statement executed successfully."


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
    return "Statement executed successfully."


def _comment_on_column(session: Session, table: exp.Table, column: str, said: str) -> None:
    row = first(
        session.duck,
        "select comment from duckdb_columns() where column_name = ? and table_oid = ?",
        [column, oid(session, table)],
    )
    if row is None:
        raise missing("Column", column)
    note = json.loads(row[0]) if row[0] else {}
    _write_column_note(session.duck, session.place(*session.qualified(table)), column, {**note, "comment": said})


def set_key(session: Session, table: exp.Table, columns: list[str]) -> str:
    """ADD and DROP PRIMARY KEY: informative, but its columns take no NULL from then on, and keep to that."""
    place = session.place(*session.qualified(table))
    notes = session.duck.execute(
        "select column_name, comment from duckdb_columns() where table_oid = ?", [oid(session, table)]
    ).fetchall()
    if unknown := [name for name in columns if name not in dict(notes)]:
        raise missing("Column", unknown[0])
    session.duck.begin()
    try:
        for name, said in notes:
            note = {kind: value for kind, value in json.loads(said or "{}").items() if kind != "key"}
            if name in columns:
                note["key"] = columns.index(name) + 1
                session.duck.execute(f"ALTER TABLE {place} ALTER COLUMN {identifier(name)} SET NOT NULL")
            _write_column_note(session.duck, place, name, note)
        session.duck.commit()
    except BaseException:
        session.duck.rollback()
        raise
    return "Statement executed successfully."


def keys_query(session: Session, scope: exp.Table | None, kind: str) -> str:
    """SHOW PRIMARY KEYS of a table, a schema, a database, or of what is current."""
    names: list[str | None] = [session.database, session.schema if session.schema_set else None, None]
    if scope is not None:
        parts: list[str | None] = [part.name for part in scope.parts]
        given = {"TABLE": 3, "SCHEMA": 2, "DATABASE": 1}[kind]
        names = [*names[: given - len(parts)], *parts]
    levels = zip(("database_name", "schema_name", "table_name"), names, strict=False)
    conditions = [f"{level} = {text(name)}" for level, name in levels if name]
    return KEYS.replace("$columns", COLUMNS.replace("$condition", " and ".join(conditions) or "true"))


def describe_query(session: Session, table: exp.Table) -> str:
    database, schema, name = session.qualified(table)
    if not _existing_name(session, database, schema, name, temporary=(database, schema, name) in session.temporary):
        raise missing("Table", name)
    condition = f"table_oid = {oid(session, table)}"
    return DESCRIBE.replace("$columns", COLUMNS.replace("$condition", condition))


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


def first(duck: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | None = None) -> tuple[Any, ...] | None:
    """The first row, with the rest taken as well: DuckDB refuses other work beside a half-read result."""
    rows: list[tuple[Any, ...]] = duck.execute(query, parameters).fetchall()
    return rows[0] if rows else None


def attached(duck: duckdb.DuckDBPyConnection, name: str) -> bool:
    return first(duck, "select 1 from duckdb_databases() where database_name = ?", [name]) is not None


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def missing(kind: str, name: str) -> ProgrammingError:
    return ProgrammingError(
        msg=f"SQL compilation error:\n{kind} '{name}' does not exist or not authorized.", errno=2003, sqlstate="42S02"
    )


def already_exists(name: str) -> ProgrammingError:
    return ProgrammingError(
        msg=f"SQL compilation error:\nObject '{name}' already exists.", errno=2002, sqlstate="42710"
    )


def unsupported(what: str) -> ProgrammingError:
    return ProgrammingError(msg=f"The local stand-in does not support {what}.", errno=2, sqlstate="0A000")


def _file(folder: Path, name: str) -> Path:
    return folder / f"{quote(name, safe='')}.db"


def _definition(session: Session, column: exp.ColumnDef, key: bool) -> str:
    if column.kind is None:
        raise ProgrammingError(msg=f"Column {column.name} has no type.", errno=1003, sqlstate="42000")
    declared = Declared.read(column.kind)
    name = identifier(column.name)
    parts = [name, declared.stored]
    for constraint in column.constraints:
        kind = constraint.kind
        if isinstance(kind, exp.NotNullColumnConstraint) and not kind.args.get("allow_null"):
            key = True
        elif isinstance(kind, exp.DefaultColumnConstraint):
            parts.append(f"DEFAULT {session.translated(kind.this)}")
    # PRIMARY KEY and UNIQUE are informative in the real service: only NOT NULL is enforced.
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


def exists(session: Session, database: str, schema: str, name: str) -> bool:
    """Whether there is a table of this name that is not temporary."""
    return _existing_name(session, database, schema, name, temporary=False)


def _existing_name(session: Session, database: str, schema: str, name: str, *, temporary: bool) -> bool:
    """Whether the table is there; a name that differs only in case cannot be told apart in DuckDB, so that is said."""
    place = ("temp", "main") if temporary else (database, schema)
    found = first(
        session.duck,
        "select table_name from duckdb_tables() where database_name = ? and schema_name = ? "
        "and lower(table_name) = lower(?)",
        [*place, name],
    )
    if found and found[0] != name:
        raise _only_case_differs("table", name, found[0])
    return found is not None


def refuse_equal_names(names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            raise (
                ProgrammingError(msg=f"SQL compilation error:\nduplicate column name '{name}'", errno=2025)
                if other == name
                else _only_case_differs("column", name, other)
            )


def _only_case_differs(kind: str, name: str, other: str) -> ProgrammingError:
    return ProgrammingError(
        msg=f"The {kind} names '{other}' and '{name}' differ only in case: the real service tells them apart, "
        "the local stand-in (DuckDB) cannot.",
        errno=2,
        sqlstate="0A000",
    )


def _write_column_note(duck: duckdb.DuckDBPyConnection, place: str, column: str, note: dict[str, Any]) -> None:
    kept = json.dumps(note, ensure_ascii=False)
    duck.execute(f"COMMENT ON COLUMN {place}.{identifier(column)} IS {text(kept)}")


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


def _only_name(statement: exp.Expression) -> str:
    found = statement.find(exp.Identifier)
    if found is None:
        raise ProgrammingError(msg="A name is missing.", errno=1003, sqlstate="42000")
    return str(found.this)


def path(database: str, schema: str, name: str) -> str:
    return f"{identifier(database)}.{identifier(schema)}.{identifier(name)}"


def _table_parts(parts: list[str]) -> list[tuple[str, str]]:
    return list(zip(("this", "db", "catalog"), reversed(parts), strict=False))
