"""Which statement is answered here rather than by fakesnow, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from helpers.local.standin import (
    access,
    alterations,
    databases,
    effects,
    keys,
    loading,
    names,
    notes,
    parameters,
    stages,
    tables,
)
from helpers.local.standin.names import missing, status
from helpers.local.standin.session import Session


def _create(session: Session, statement: Any) -> str | None:
    kind = str(statement.args.get("kind")).upper()
    if kind == "DATABASE":
        return status(databases.create_database(session, statement))
    if kind == "SCHEMA":
        return status(databases.create_schema(session, statement))
    if kind == "STAGE":
        return status(stages.create_stage(session, statement))
    if kind == "TABLE" and statement.args.get("clone"):
        return status(alterations.clone(session, statement))
    if kind == "TABLE" and not statement.find(
        exp.AutoIncrementColumnConstraint, exp.GeneratedAsIdentityColumnConstraint
    ):
        query = statement.expression
        return status(tables.create_table(session, statement, session.translated(query) if query else None))
    return None


def _drop(session: Session, statement: Any) -> str | None:
    kind = str(statement.args.get("kind")).upper()
    handle = {"TABLE": tables.drop_table, "STAGE": stages.drop_stage, "DATABASE": databases.drop_database}.get(kind)
    return status(handle(session, statement)) if handle else None


def _alter(session: Session, statement: Any) -> str | None:
    actions = statement.args.get("actions") or []
    if str(statement.args.get("kind")).upper() == "SESSION":
        return _alter_session(session, statement)
    if len(actions) == 1 and isinstance(actions[0], exp.SwapTable):
        return status(tables.swap(session, statement, actions[0].this))
    if len(actions) == 1 and isinstance(actions[0], exp.AlterRename):
        moved = alterations.move(session, statement.this, session.qualified(actions[0].this))
        return status(moved or tables.rename(session, statement, actions[0].this))
    if len(actions) == 1 and isinstance(actions[0], exp.AddConstraint):
        if key := actions[0].find(exp.PrimaryKey):
            return status(tables.set_key(session, statement.this, [part.name for part in key.expressions]))
        added = keys.add(session, statement.this, actions[0].expressions[0])
        return status(added) if added else None
    if len(actions) == 1 and isinstance(actions[0], exp.Drop) and str(actions[0].args.get("kind")) == "CONSTRAINT":
        return status(keys.drop(session, statement.this, actions[0].args["tables"][0].name))
    # sqlglot leaves what it does not know as the words that it read.
    if len(actions) == 1 and actions[0].sql("snowflake").upper() == "DROP PRIMARY KEY":
        return status(tables.set_key(session, statement.this, []))
    if str(statement.args.get("kind")).upper() != "TABLE":
        return None
    altered = tables.commented(session, statement) or alterations.alter_columns(session, statement)
    return status(altered) if altered else None


def _show(session: Session, statement: Any) -> str | None:
    kind = str(statement.args.get("scope_kind") or "")
    query = tables.keys_query(session, statement.name, statement.args.get("scope"), kind)
    names = ("fk_database_name", "fk_schema_name", "fk_table_name") if statement.name == "IMPORTED KEYS" else _NAMES
    return query and access.keys_for(session, query, *names)


_NAMES = ("database_name", "schema_name", "table_name")


def _alter_session(session: Session, statement: Any) -> str:
    for item in statement.find_all(exp.SetItem):
        if isinstance(item.this, exp.Identifier):
            parameters.altered(session.parameters, item.this.name.upper(), None)
            continue
        name, value = item.this.this.name.upper(), item.this.expression
        parameters.altered(session.parameters, name, bool(value.this) if isinstance(value, exp.Boolean) else value.name)
    if session.is_on("AUTOCOMMIT") != session._autocommit:
        session.end("COMMIT")
        session._autocommit = session.is_on("AUTOCOMMIT")
    effects.follow(session)
    return status()


def _command(session: Session, statement: Any) -> str | None:
    if str(statement.this).upper() != "SHOW":
        return None
    return parameters.show_query(session, str(statement.args["expression"]))


def _comment(session: Session, statement: Any) -> str | None:
    said = tables.comment(session, statement)
    return status(said) if said else None


def _use(session: Session, statement: Any) -> str:
    kind = statement.args.get("kind")
    kind = kind.name.upper() if kind is not None else "DATABASE"
    if kind == "DATABASE":
        name = statement.this.name
        if not names.attached(session.duck, name):
            raise missing("Database", name)
        session.use(name, "PUBLIC")
    elif kind == "SCHEMA":
        database = statement.this.args["db"].name if statement.this.args.get("db") else session.database
        before = session.database, session._schema
        if not database or not names.attached(session.duck, database):
            raise missing("Database", str(database))
        session.use(database, statement.this.name)
        if not session.schema_set:
            if before[0]:
                session.use(before[0], before[1] or "PUBLIC")
            raise missing("Schema", statement.this.name)
    return status()


def _describe(session: Session, statement: Any) -> str | None:
    if str(statement.args.get("kind")).upper() != "TABLE" or not isinstance(statement.this, exp.Table):
        return None
    return None if statement.this.db == "INFORMATION_SCHEMA" else tables.describe_query(session, statement.this)


def _copy(session: Session, statement: Any) -> str:
    """One transaction a COPY, so that a file that fails leaves nothing of those before it."""
    if session._in_transaction:
        return _copied(session, statement)
    session.begin()
    try:
        result = _copied(session, statement)
    except BaseException:
        session.end("ROLLBACK")
        raise
    if session._autocommit:
        session.end("COMMIT")
    return result


def _copied(session: Session, statement: Any) -> str:
    result = loading.copy_into(session, statement)
    if table := statement.this.find(exp.Table):
        notes.note_change(session, table)
    return result


def _transaction(session: Session, statement: Any) -> str:
    session.begin()
    return status()


def _commit(session: Session, statement: Any) -> str:
    session.end("COMMIT")
    return status()


def _rollback(session: Session, statement: Any) -> str:
    session.end("ROLLBACK")
    return status()


def _list(session: Session, statement: Any) -> str:
    return stages.list_query(session, statement.this.name)


HANDLERS: tuple[tuple[type, Callable[[Session, Any], str | None]], ...] = (
    (exp.Create, _create),
    (exp.Drop, _drop),
    (exp.Alter, _alter),
    (exp.Use, _use),
    (exp.Describe, _describe),
    (exp.Show, _show),
    (exp.Command, _command),
    (exp.Copy, _copy),
    (exp.Transaction, _transaction),
    (exp.Commit, _commit),
    (exp.Rollback, _rollback),
    (exp.ListStage, _list),
    (exp.TruncateTable, lambda session, statement: status(tables.truncate(session, statement))),
    (exp.Comment, _comment),
)
