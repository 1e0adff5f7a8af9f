"""The two ends of a comparison: each gives its tables, its row counts, its digests and its rows as PostgreSQL prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import duckdb

from helpers.digests import Method, Sums
from helpers.digests.canonical import Dialect, FormColumn
from helpers.load.shapes import TableShape
from helpers.model.types import Comparison
from helpers.verify.columns import ComparedColumn, Segments, TablePlan
from helpers.verify.row_forms import of_key

DuckDB = duckdb.DuckDBPyConnection

MOST_SEGMENTS_CHOSEN = 100_000
"""In one IN list of PostgreSQL or DuckDB; with more, all rows are fetched."""


class Side(Protocol):
    """A source or a target.

    Attributes:
        name: of the engine.
        methods: the digests it can give, the cheapest first.
        digested: where the canonical one is computed, in words.
    """

    name: str
    digested: str
    methods: tuple[Method, ...]

    def tables(self) -> dict[str, str]:
        """Every table it has: name → schema, of the side's own."""

    def shape(self, plan: TablePlan) -> TableShape | None:
        """The table's definition, or None where there is no such table."""

    def rows(self, schema: str, name: str) -> int:
        """How many rows a table has that `tables` names."""

    def count(self, plan: TablePlan) -> int:
        """How many rows the table has, of those that are compared."""

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        """The table's digest.

        Raises:
            NoDigest: a value has no form in this method.
        """

    def choosable(self, plan: TablePlan) -> int:
        """Of how many segments, at most, `fetch` can choose the rows; 0 where it can only fetch them all."""

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        """Creates the table `name` with a VARCHAR column `c0`, `c1` … for each of the plan's columns.

        Args:
            chosen: only the rows of these segments, no more of them than `choosable` says; None for all.
        """

    def value(self, text: str, comparison: Comparison) -> str:
        """The SQL expression of the value that `text`, one of the fetched columns, stands for."""

    def printed(self, text: str, column: ComparedColumn) -> str:
        """The SQL expression of how PostgreSQL would print that value in a column of the source's type."""


@dataclass(frozen=True)
class Ends:
    """The two sides of a verification, and the stage where it can tell what the source held at the export."""

    source: Side
    target: Side
    stage: Side | None = None


class NoDigest(Exception):  # noqa: N818 - never reaches a person: the table is then compared in full
    """A value of the table has no form in the method asked for."""


def in_segments(dialect: Dialect, forms: Sequence[FormColumn], key: Sequence[FormColumn], chosen: Segments) -> str:
    """The condition that a row is in one of the chosen segments."""
    segment = dialect.segment(forms, key, chosen.count)
    return f"{segment} IN ({', '.join(map(str, chosen.numbers))})"


def both(conditions: Iterable[str]) -> str:
    """Conditions joined by AND; empty ones are left out."""
    return " AND ".join(f"({condition})" for condition in conditions if condition)


def key_of(forms: Sequence[FormColumn], plan: TablePlan) -> list[FormColumn]:
    """Those of `forms`, one for each of the plan's columns, that are the key's."""
    return of_key(forms, plan.columns, plan.key)


__all__ = [
    "MOST_SEGMENTS_CHOSEN",
    "ComparedColumn",
    "DuckDB",
    "Ends",
    "NoDigest",
    "Segments",
    "Side",
    "TablePlan",
    "both",
    "in_segments",
    "key_of",
]
