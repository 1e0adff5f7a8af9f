"""A target that computes: Snowflake and Spark are each asked one query at a time, and sum up what they hold themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa

from helpers.digests import ENGINES, Method, Sums, gathered
from helpers.engines import texts
from helpers.engines.answers import held_there
from helpers.engines.base import DuckDB, insert
from helpers.engines.columns import ComparedColumn, Segments, TablePlan
from helpers.engines.held import Held
from helpers.engines.shapes import TableShape
from helpers.engines.sql import Sql
from helpers.engines.where import where
from helpers.model.types import Comparison

SEGMENTS_PER_QUERY = 5_000
"""Snowflake takes at most 16,384 expressions in an IN list (https://docs.snowflake.com/en/sql-reference/functions/in, November 2026), and
they share a statement of 1 MB with the form of up to 1,600 columns."""

MOST_QUERIES = 20
"""With more segments than these, the whole table is fetched."""


class Session(Protocol):
    """A connection of one of the clients in `helpers.platforms`."""

    def execute(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        """A statement's rows."""

    def batches(self, sql: str, *, doing: str) -> Iterator[pa.Table]:
        """A query's rows, as they arrive."""


class Warehouse(ABC):
    """Tables, as `Side` and `Asked`."""

    name: str
    digested: str
    sql: Sql
    computes = True
    methods: tuple[Method, ...] = ("canonical",)

    def __init__(self, session: Session) -> None:
        self._session = session

    @abstractmethod
    def shape(self, plan: TablePlan) -> TableShape | None:
        """As `Side`."""

    @abstractmethod
    def relation(self, plan: TablePlan) -> str:
        """As `Asked`."""

    @abstractmethod
    def sent(self, name: str, kind: str) -> str:
        """The expression by which a column of a type leaves the engine with every digit, whatever the session."""

    @abstractmethod
    def arrived(self, name: str, kind: str) -> str:
        """DuckDB's expression of PostgreSQL's text of what was sent."""

    def count(self, plan: TablePlan) -> int:
        condition = where(plan, self.sql)
        return self._count(f"{self.relation(plan)}{f' WHERE {condition}' if condition else ''}")

    def _count(self, rows: str) -> int:
        ((count,),) = self.query(f"SELECT COUNT(*) AS n FROM {rows}", doing="count rows")
        return int(count)

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        batches = self._session.batches(self.digest_query(plan, segments), doing=f"sum up {plan.there}")
        return gathered(
            ENGINES["canonical"], segments, (batch.rename_columns(["segment", "n", "total"]) for batch in batches)
        )

    def digest_query(self, plan: TablePlan, segments: int) -> str:
        """`segment`, `n` and `total` of each segment that is not empty."""
        return self.sql.digest_query(plan, segments, self.relation(plan), where(plan, self.sql))

    def rows_query(self, plan: TablePlan, chosen: Segments | None, types: Mapping[str, str]) -> str:
        """The rows of some segments, each column as it is `sent`, as C0, C1 …

        Args:
            types: the target's, by column.
        """
        condition = where(plan, self.sql, chosen)
        sent = (
            f"{self.sent(self.sql.identifier(c.there), types[c.there])} AS C{n}" for n, c in enumerate(plan.columns)
        )
        return f"SELECT {', '.join(sent)} FROM {self.relation(plan)}{f' WHERE {condition}' if condition else ''}"

    def choosable(self, plan: TablePlan) -> int:
        return MOST_QUERIES * SEGMENTS_PER_QUERY

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        shape = self.shape(plan)
        assert shape
        types = {column.name: column.type.text for column in shape.columns}
        columns = list(enumerate(plan.columns))
        arrived = ", ".join(self.arrived(f"C{n}", types[c.there]) for n, c in columns)
        into.execute(f"CREATE OR REPLACE TABLE {name} ({', '.join(f'c{n} VARCHAR' for n, _ in columns)})")
        for some in _portions(chosen):
            for batch in self._session.batches(self.rows_query(plan, some, types), doing=f"read {plan.there}"):
                insert(into, name, batch, arrived)

    def value(self, text: str, comparison: Comparison) -> str:
        return texts.value(text, comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return texts.printed(text, column)

    def held(self, plan: TablePlan) -> Mapping[str, Held] | None:
        shape = self.shape(plan)
        found = {column.name: column.type for column in shape.columns} if shape else {}
        return held_there(plan, found, self.sql) if shape else None

    def query(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self._session.execute(sql, doing=doing)]

    def zone(self) -> str | None:
        return None


def _portions(chosen: Segments | None) -> Iterator[Segments | None]:
    """As many segments as one query may choose."""
    if chosen is None:
        yield None
        return
    for start in range(0, len(chosen.numbers), SEGMENTS_PER_QUERY):
        yield Segments(chosen.count, chosen.numbers[start : start + SEGMENTS_PER_QUERY])
