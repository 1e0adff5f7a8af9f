"""Statements: those whose meaning differs are answered here, the rest is handed to fakesnow with our types and functions.

Nothing leaves a cursor but the connector's own errors: anything else would travel as an HTTP 500, which the connector takes for a
network fault and repeats for minutes.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import duckdb
from fakesnow import transforms
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.dialect import parse_one
from snowflake.connector.errors import Error, ProgrammingError
from sqlglot import exp

from helpers.local.standin import (
    access,
    ambiguous,
    attached,
    cancelling,
    dependents,
    effects,
    expressions,
    grants,
    handlers,
    limits,
    locks,
    logins,
    masking,
    merging,
    notes,
    parameters,
    transactions,
)
from helpers.local.standin.access import NotAllowed
from helpers.local.standin.endings import session_id
from helpers.local.standin.errors import translated_error
from helpers.local.standin.names import status
from helpers.local.standin.session import Session, search

DML = (exp.Insert, exp.Update, exp.Delete, exp.Merge)
DDL = (exp.Create, exp.Drop, exp.Alter, exp.Comment, exp.TruncateTable)
_OVERWRITE = re.compile(r"INSERT\s+OVERWRITE\s+INTO", re.IGNORECASE)
_MANAGED = re.compile(r"(?<=\S)\s+WITH\s+MANAGED\s+ACCESS\s*;?\s*$", re.IGNORECASE)
_QUOTED = re.compile(r"""('(?:[^'\\]|\\.)*'|"[^"]*")""", re.DOTALL)


class Connection(Session):
    """A session that executes statements."""

    def cursor(self, cursor_class: Any = None) -> Cursor:
        return Cursor(self, self.duck)

    def translated(self, expression: exp.Expression) -> str:
        tree = Cursor(self, self.duck)._transform(expression.copy(), None)
        return str(tree.sql(dialect="duckdb"))


class Cursor(FakeSnowflakeCursor):  # type: ignore[misc]
    """A statement at a time, on the session's DuckDB cursor."""

    _conn: Session
    _arrow_table: Any
    _rowcount: Any

    def _inline_variables(self, sql: str) -> str:
        # fakesnow takes a $ within a text or a quoted name for a session variable.
        parts = _QUOTED.split(sql)
        return "".join(
            part if number % 2 else super(Cursor, self)._inline_variables(part) for number, part in enumerate(parts)
        )

    def execute(self, command: str, params: Any = None, *args: Any, **kwargs: Any) -> Cursor:
        with self._conn.lock:
            try:
                limits.refuse_long_text(command)
                with effects.in_time(self._conn):
                    self._run(command, params, kwargs)
                self._arrow_table = effects.limited(self._conn, limits.shown(self._last_transformed, self._arrow_table))
            except duckdb.Error as error:
                self._note_failure()
                raise translated_error(error) from error
            except NotAllowed:
                raise
            except Error as error:
                self._note_failure()
                if isinstance(error.__cause__, duckdb.Error):  # fakesnow has worded it in its own way
                    raise translated_error(error.__cause__) from error
                raise
            except Exception as error:
                self._note_failure()
                message = f"The local stand-in could not do this: {type(error).__name__}: {error}"
                raise ProgrammingError(msg=message[:2000], errno=2, sqlstate="0A000") from error
        return self

    def _note_failure(self) -> None:
        self._conn.failed = self._conn._in_transaction

    def _run(self, command: str, params: Any, kwargs: dict[str, Any]) -> None:
        session = self._conn
        if logins.is_ours(command):
            access.require_administration(session, command)
            self._answer(parsed(command), str(logins.LOGINS.answer(command)))
            return
        if (level := parameters.level_of(command)) is not None:
            access.require_level(session, *level)
        if level is not None and (said := parameters.alter_level(session, command)) is not None:
            session.end("COMMIT")
            self._answer(exp.Command(this="PARAMETERS"), status(said))
            return
        if not session.failed:
            asked_for = (each.answer(session, command) for each in (attached, grants, dependents, transactions))
            if (answer := next((each for each in asked_for if each is not None), None)) is not None:
                self._answer(parsed(command), answer)
                return
        managed = _MANAGED.search(command)
        statement = parse_one(command[: managed.start()] if managed else command)
        if session.failed and not isinstance(statement, exp.Rollback | exp.Commit):
            raise ProgrammingError(
                msg="The transaction failed at an earlier statement; ROLLBACK first (a limit of the local stand-in).",
                errno=2,
                sqlstate="25P02",
            )
        limits.refuse(statement)
        folds = session.is_on("QUOTED_IDENTIFIERS_IGNORE_CASE")
        asked = self._named(statement) if folds else statement
        if (instead := access.check(session, asked)) is not None:
            self._answer(statement, instead)
            return
        if isinstance(statement, DDL) and session._in_transaction:
            session.end("COMMIT")  # as over there, every DDL statement commits what is open
        self._perform(statement, command, params, kwargs)
        if isinstance(statement, DDL):
            access.record(session, asked, managed=managed is not None)

    def _perform(self, statement: exp.Expression, command: str, params: Any, kwargs: dict[str, Any]) -> None:
        session = self._conn
        handler = next((handle for kind, handle in handlers.HANDLERS if isinstance(statement, kind)), None)
        if handler is not None:
            named = self._named(statement)
            self._wait_for(named)
            answer = handler(session, named)
            if answer is not None:
                self._answer(named, answer)
                if isinstance(statement, exp.TruncateTable):
                    notes.note_change(session, named.expressions[0])
                return
        if isinstance(statement, DML):
            self._change(statement, command, params, kwargs)
            return
        super().execute(command, params, **kwargs)

    def _wait_for(self, statement: Any) -> None:
        """A table's definition is changed, and the table emptied or dropped, when no other transaction holds it."""
        table = statement.find(exp.Table) if isinstance(statement, exp.Alter | exp.Drop | exp.TruncateTable) else None
        if table is not None and table.name and self._conn.database and (table.db or self._conn.schema):
            locks.LOCKS.take(self._conn, self._conn.qualified(table), keep=False)

    def _change(self, statement: exp.Expression, command: str, params: Any, kwargs: dict[str, Any]) -> None:
        """Rows are changed, and that they were is remembered, together; OVERWRITE empties the table first."""
        session, alone = self._conn, not self._conn._in_transaction
        named = self._named(statement)
        table = named.this.find(exp.Table)
        if locks.locking(statement) and session.qualified(table) not in session.temporary:
            locks.LOCKS.take(session, session.qualified(table))
        session.begin()
        try:
            ambiguous.refuse(session, named)
            if isinstance(statement, exp.Insert) and statement.args.get("overwrite"):
                session.duck.execute(f"DELETE FROM {session.place(*session.qualified(table))}")
                command = _OVERWRITE.sub("INSERT INTO", command, count=1)
            if isinstance(statement, exp.Merge):
                answer, rows = merging.merge(session, named)
                self._answer(named, answer)
                self._rowcount = rows
            else:
                super().execute(command, params, **kwargs)
            kept: Any = (self._arrow_table, self._rowcount)
            notes.note_change(session, table)
            self._arrow_table, self._rowcount = kept
        except BaseException:
            if alone:
                session.end("ROLLBACK")
            raise
        if alone and session._autocommit:
            session.end("COMMIT")

    def _named(self, statement: Any, params: Any = None) -> Any:
        """A statement with names and types as the session takes them."""
        named = statement.transform(lambda one: transforms.identifier(one, params)).transform(
            transforms.upper_case_unquoted_identifiers, copy=False
        )
        return effects.settled(self._conn, named)

    def _transform(self, expression: Any, params: Any) -> Any:
        session = self._conn
        named = self._named(expression, params)
        masking.apply(session, named)
        access.spoken(session, named)
        for table in list(named.find_all(exp.Table)):
            if (table.catalog or session.database, table.db or session.schema, table.name) in session.temporary:
                table.set("catalog", exp.to_identifier("temp"))
                table.set("db", exp.to_identifier("main"))
        for call in list(named.find_all(exp.Anonymous)):
            if call.name.upper() == "SYSTEM$LAST_CHANGE_COMMIT_TIME":
                call.replace(
                    exp.Literal.number(
                        notes.last_change(session, attached.named_table(session, call.expressions[0].name))
                    )
                )
            if call.name.upper() == "SYSTEM$CANCEL_ALL_QUERIES":
                call.replace(exp.Literal.string(cancelling.cancel_all(call.expressions[0].name)))
        for call in list(named.find_all(exp.CurrentSession)):
            call.replace(exp.Literal.string(str(session_id(session))))
        for rows in list(named.find_all(exp.TableFromRows)):
            if query := attached.references_query(session, rows):
                rows.replace(
                    exp.Subquery(this=parse_one(query), alias=exp.TableAlias(this=exp.to_identifier("_REFERENCES")))
                )
        made = super()._transform(named, params)
        access.catalogue_for(session, made)
        return expressions.rewrite(made, self._types_of, effects.texts(session))

    def _describe_only(self, command: str, *args: Any, **kwargs: Any) -> Any:
        access.check(self._conn, parsed(command))
        return super()._describe_only(command, *args, **kwargs)

    def _types_of(self, query: str) -> list[str]:
        with self._duck_conn.cursor() as aside:
            if self._conn.database:
                search(aside, self._conn.database, self._conn._schema or "main")
            return [str(row[1]) for row in aside.execute(f"describe {query}").fetchall()]

    def _answer(self, statement: exp.Expression, query: str) -> None:
        self._duck_conn.execute(query)
        self._arrow_table = self._duck_conn.to_arrow_table()
        self._arrow_table_fetch_index = None
        self._rowcount = self._arrow_table.num_rows
        self._sfqid = str(uuid.uuid4())
        self._last_sql, self._last_params = query, None
        self._last_transformed = statement

    def _describe_last_sql(self) -> list[tuple[Any, ...]]:
        """The types of the result that is there; fakesnow binds the whole statement a second time to learn them."""
        described = self._duck_conn.description or []
        names = self._arrow_table.column_names if self._arrow_table is not None else []
        if [column[0] for column in described] != list(names):
            return list(super()._describe_last_sql())
        return [(column[0], str(column[1]), None, None, None, None) for column in described]


def parsed(command: str) -> exp.Expression:
    """A statement as sqlglot has it; one that it does not know, as the words that it is."""
    if any(each.is_ours(command) for each in (attached, grants, logins, transactions)):
        return exp.Command(this="ACCOUNT", expression=command)
    statement: exp.Expression = parse_one(command)
    return statement
