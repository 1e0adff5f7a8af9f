"""Databases and schemas: a file each database, with the views of its INFORMATION_SCHEMA."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import duckdb
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin.information_schema import VIEWS
from helpers.local.standin.names import already_exists, attached, first, identifier, missing, only_case_differs, text
from helpers.local.standin.session import Session


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
    duck.execute(
        f"ALTER TABLE {database}._fs_information_schema._policies_and_tags ADD COLUMN IF NOT EXISTS body VARCHAR"
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
        raise only_case_differs("schema", schema, found[0])
    if found and not statement.args.get("exists") and not statement.args.get("replace"):
        raise already_exists(schema)
    if found and statement.args.get("replace"):
        session.duck.execute(f"DROP SCHEMA {identifier(database)}.{identifier(schema)} CASCADE")
        found = None
    if not found:
        session.duck.execute(f"CREATE SCHEMA {identifier(database)}.{identifier(schema)}")
    session.use(database, schema)
    return f"Schema {schema} successfully created." if not found else f"{schema} already exists, statement succeeded."


def _file(folder: Path, name: str) -> Path:
    return folder / f"{quote(name, safe='')}.db"


def _only_name(statement: exp.Expression) -> str:
    found = statement.find(exp.Identifier)
    if found is None:
        raise ProgrammingError(msg="A name is missing.", errno=1003, sqlstate="42000")
    return str(found.this)
