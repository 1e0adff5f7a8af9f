"""One connection to the stand-in: what it uses, its transaction, its temporary tables."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
from fakesnow.conn import FakeSnowflakeConnection
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin import parameters
from helpers.local.standin.account import PUBLIC, Account
from helpers.local.standin.locks import LOCKS
from helpers.local.standin.names import Name, attached, first, identifier, path, text
from helpers.local.standin.stage import Stage

_numbers = count(time.time_ns() // 1_000_000)
"""Of transactions; over there they are about the milliseconds of their beginning."""


class ResultsCache(OrderedDict[str, Any]):
    """The results RESULT_SCAN can reach: fakesnow keeps every one for good, which is all the memory of a day's work."""

    KEPT = 8

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > self.KEPT:
            self.popitem(last=False)


class Session(FakeSnowflakeConnection):  # type: ignore[misc]
    """A connection with a DuckDB cursor of its own; it creates no database because somebody named one."""

    def __init__(
        self,
        duck: duckdb.DuckDBPyConnection,
        folder: Path,
        shared_stages: dict[Name, Stage],
        *,
        database: str | None = None,
        schema: str | None = None,
        autocommit: bool = True,
        given: Mapping[str, Any] | None = None,
        account: Account,
        user: str,
        role: str | None,
        warehouse: str | None,
    ) -> None:
        super().__init__(duck, ResultsCache(), None, None, False, False, autocommit=autocommit)
        self.account = account
        self.user = user
        self.role = role
        self.secondary = False
        """Whether the user's other roles count beside the current one; as a user has it who was made with none."""
        self.warehouse = warehouse
        self.database: str | None = None
        self._schema: str | None = None
        self._in_transaction = False
        self.transaction: tuple[int, str, str] | None = None
        """Number, name and beginning of the one that is open."""
        self.parameters = parameters.given(given or {})
        self.inherited = parameters.LEVELS.inherited("")
        self.duck = duck
        self.folder = folder
        self.stages = shared_stages
        self.temporary: set[Name] = set()
        self.failed = False
        self.ended = False
        self.lock = threading.RLock()
        duck.execute(
            "create temp table _loads(table_id varchar, file varchar, etag varchar, rows bigint, loaded_at timestamptz default now())"
        )
        if database and attached(duck, database):
            self.use(database, schema or "PUBLIC")

    def use(self, database: str, schema: str) -> None:
        """Make them current; a schema that is not there leaves the database current without one."""
        found = first(
            self.duck,
            "select schema_name from duckdb_schemas() where database_name = ? and schema_name = ?",
            [database, schema],
        )
        self.database, self.database_set = database, True
        self._schema, self.schema_set = (schema, True) if found else (None, False)
        inner = schema if found else "main"
        search(self.duck, database, inner)

    def parameter(self, name: str) -> str:
        """What a parameter of the session is."""
        inherited = self.inherited.get(name, (parameters.DEFAULTS[name], ""))[0]
        return self.parameters.get(name, inherited)

    def is_on(self, name: str) -> bool:
        return self.parameter(name).lower() == "true"

    @property
    def roles(self) -> frozenset[str]:
        """Those whose privileges the session has."""
        others = self.account.roles_of(self.user) if self.secondary else ()
        return self.account.reach(*filter(None, [self.role]), *others)

    def needed_role(self) -> str:
        """The current role, which owns what is made."""
        return self.role or PUBLIC

    def needed_database(self) -> str:
        """The current database.

        Raises:
            ProgrammingError: there is none.
        """
        if self.database is None:
            raise _without("database")
        return self.database

    def leave_database(self) -> None:
        self.duck.execute("SET schema = 'memory.main'")
        self.database, self.database_set, self._schema, self.schema_set = None, False, None, False

    def qualified(self, table: exp.Table) -> Name:
        database, schema = table.catalog or self.database, table.db or self.schema
        if not database or not schema:
            raise _without("database" if not database else "schema")
        return database, schema, table.name

    def place(self, database: str, schema: str, name: str) -> str:
        """Where DuckDB has the table: temporary ones all lie in one schema of the connection."""
        if (database, schema, name) in self.temporary:
            return f"temp.main.{identifier(name)}"
        return path(database, schema, name)

    @abstractmethod
    def translated(self, expression: exp.Expression) -> str:
        """An expression or a query of the real service's dialect in DuckDB's."""

    def begin(self, name: str = "") -> None:
        if not self._in_transaction:
            self.duck.begin()
            self._in_transaction = True
            number = next(_numbers)
            self.transaction = (number, name or str(number), datetime.now(UTC).isoformat(" ", "milliseconds"))

    def end(self, how: str) -> None:
        """COMMIT after a failed statement is refused: DuckDB would roll everything back and report success."""
        if not self._in_transaction:
            return
        try:
            self._end(how)
        finally:
            LOCKS.release(self)

    def _end(self, how: str) -> None:
        failed, self.failed, self._in_transaction, self.transaction = self.failed, False, False, None
        if how == "COMMIT" and not failed:
            self.duck.commit()
            return
        self.duck.rollback()
        if how == "COMMIT":
            raise ProgrammingError(
                msg="A statement of this transaction failed, so nothing of it was kept: the local stand-in (DuckDB) "
                "cannot go on after an error, the real service can.",
                errno=2,
                sqlstate="25P02",
            )


def _without(what: str) -> ProgrammingError:
    return ProgrammingError(
        msg=f"Cannot perform this operation. This session does not have a current {what}. Call 'USE {what.upper()}', or use a "
        "qualified name.",
        errno=90105 if what == "database" else 90106,
        sqlstate="22000",
    )


def search(duck: duckdb.DuckDBPyConnection, database: str, schema: str) -> None:
    """Looks for what has no qualified name in a schema, and for our macros behind it."""
    duck.execute(f"SET search_path = {text(f'{identifier(database)}.{identifier(schema)},memory.main')}")
