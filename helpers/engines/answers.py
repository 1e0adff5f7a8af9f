"""A side that answers any query: what the checks of rules and the sums of figures ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from helpers.engines.columns import ComparedColumn, TablePlan
from helpers.engines.held import Held, declared_form
from helpers.engines.sql import Sql
from helpers.model.catalog import Table
from helpers.model.declared import Declared


class Answers(Protocol):
    """A side, by the source's tables.

    Attributes:
        name: as people say it.
        sql: in which it is asked.
        computes: whether reports will be computed by it; files are only read.
    """

    name: str
    sql: Sql
    computes: bool

    def columns(self, table: Table) -> Mapping[str, Held] | None:
        """The columns of the source's table that the side has, by their names in the source; None without the table."""

    def relation(self, table: Table) -> str:
        """What follows FROM."""

    def rows(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        """Every row of a query; an error is told as having failed to do `doing`."""

    def zone(self) -> str | None:
        """The time zone in which a report runs there that sets none, or None where that cannot be told."""


class Asked(Protocol):
    """What a side needs, beside what compares its rows, to be asked by `AnswersOf`."""

    name: str
    sql: Sql
    computes: bool

    def held(self, plan: TablePlan) -> Mapping[str, Held] | None:
        """As `Answers.columns`."""

    def relation(self, plan: TablePlan) -> str:
        """What follows FROM, with the names that `held` has."""

    def query(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        """As `Answers.rows`."""

    def zone(self) -> str | None:
        """As `Answers.zone`."""


class AnswersOf:
    """A target that was loaded from an export, asked by the source's tables."""

    def __init__(self, side: Asked, plans: Sequence[TablePlan]) -> None:
        self._side = side
        self._plans = {str(plan.table): plan for plan in plans}
        self._held: dict[str, Mapping[str, Held] | None] = {}
        self.name, self.sql, self.computes = side.name, side.sql, side.computes

    def columns(self, table: Table) -> Mapping[str, Held] | None:
        name = str(table)
        if name not in self._held:
            self._held[name] = self._side.held(self._plans[name])
        return self._held[name]

    def relation(self, table: Table) -> str:
        return self._side.relation(self._plans[str(table)])

    def rows(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        return self._side.query(sql, doing=doing)

    def zone(self) -> str | None:
        return self._side.zone()


def held_there(
    plan: TablePlan,
    found: Mapping[str, Declared],
    sql: Sql,
    *,
    name: Callable[[ComparedColumn], str] = lambda column: column.there,
    field: Callable[[ComparedColumn], str] | None = None,
    wanted: Callable[[ComparedColumn], Declared] = lambda column: column.type,
) -> dict[str, Held]:
    """The columns of a table that a target has.

    Args:
        found: the target's types by name.
        sql: in which it is asked.
        name, wanted: of a column, its name in `found` and the type that it should have there.
        field: its name in a query, where that is another one.
    """
    flags = {column.staged.flag_of: column for column in plan.columns if column.staged.flag_of}
    asked = field or name
    held = {}
    for column in plan.columns:
        if column.staged.flag_of or name(column) not in found:
            continue
        source, there = column.staged.source, found[name(column)]
        flag = flags.get(source)
        kept = f"{sql.identifier(asked(flag))} IS NULL" if flag and name(flag) in found else None
        form, digits, scale = declared_form(there)
        should = declared_form(wanted(column))[0]
        held[source] = Held(sql.identifier(asked(column)), there.text, should, form, digits, scale, kept)
    return held
