"""A PostgreSQL server asked through one cursor, whose transaction decides what is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2

from helpers.engines.columns import TablePlan
from helpers.engines.held import Held, digits_of, form_of
from helpers.engines.postgres.dialect import SQL
from helpers.engines.sql import Sql
from helpers.model import limits as limiting
from helpers.model import types
from helpers.model.catalog import Column, Table
from helpers.model.limits import Server
from helpers.platforms.faults import postgres as faults
from helpers.platforms.postgres import identifier

# What a session sets for itself, as ours does, hides what is set for the role and the database.
_ZONE = """
SELECT split_part(setting, '=', 2)
FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) AS setting
WHERE lower(setting) LIKE 'timezone=%'
  AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
  AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
ORDER BY s.setrole = 0, s.setdatabase = 0
LIMIT 1
"""


class PostgresAnswers:
    """The tables of a server.

    Args:
        cursor: of psycopg2.
        tables: that it has, each by the name that the source has for it.
        plans: as the other side has them, which holds other types. None where it is PostgreSQL too: then what no other
            target holds is left out on both.
        name: as people say it.
    """

    sql: Sql = SQL
    computes = True

    def __init__(
        self,
        cursor: Any,
        tables: Mapping[str, Table],
        plans: Sequence[TablePlan] | None = None,
        *,
        name: str = "postgresql",
    ) -> None:
        self.name = name
        self._cursor = cursor
        self._tables = tables
        self._flags = None if plans is None else {
            (str(plan.table), column.staged.flag_of): f"({column.text}) IS NULL"
            for plan in plans for column in plan.columns if column.staged.flag_of
        }  # fmt: skip

    def columns(self, table: Table) -> Mapping[str, Held] | None:
        found, asked = self._tables.get(str(table)), {column.name: column for column in table.columns}
        if found is None:
            return None
        return {c.name: self._held(table, c, asked[c.name]) for c in found.columns if c.name in asked}

    def relation(self, table: Table) -> str:
        return self._tables[str(table)].relation

    def rows(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        try:
            self._cursor.execute(sql)
            return list(self._cursor.fetchall())
        except psycopg2.Error as error:
            raise faults.told(error, doing, on=self.name) from None

    def zone(self) -> str | None:
        rows = self.rows(_ZONE, doing="read the time zone that is set for the database")
        return str(rows[0][0]) if rows else None

    def _held(self, table: Table, column: Column, asked: Column) -> Held:
        kept = holdable(column) if self._flags is None else self._flags.get((str(table), column.name))
        form, wanted = form_of(column.type), form_of(asked.type)
        return Held(identifier(column.name), column.type.sql, wanted, form, *digits_of(column.type), kept)


def holdable(column: Column) -> str | None:
    """The condition under which every target holds a value of the column, None where each does."""
    if column.type.kind != "b" or column.type.name not in types.MASKED:
        return None
    limits = [limit.condition.format(c=identifier(column.name)) for limit in limiting.limits(column.type, Server())]
    return f"({' OR '.join(f'({limit})' for limit in limits)}) IS NOT TRUE" if limits else None
