"""How fast tables grow, by the dates that their own rows carry.

The server's counters restart with every reset and include deleted rows. A table's dates tell how many of its present rows came
in each of its last two years, which is what a target has to be sized for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from helpers.model.catalog import Catalog, Table
from helpers.platforms.postgres import identifier
from helpers.settings import Settings
from helpers.source.asking import asking, rows
from helpers.source.catalog import read_catalog

DATED = ("date", "timestamp", "timestamptz")


@dataclass(frozen=True)
class Growth:
    """Of one table, by one column.

    Attributes:
        by: the column.
        first, last: the earliest and the latest day that is not in the future.
        last_year: rows of the 365 days up to the last.
        year_before: rows of the 365 days before those.
    """

    schema: str
    name: str
    by: str
    first: date
    last: date
    last_year: int
    year_before: int

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def days(self) -> int:
        """That the dates span."""
        return (self.last - self.first).days + 1


def measure(settings: Settings) -> tuple[Growth, ...]:
    """Scans each table with a date once; those without one, and those without rows, are left out.

    Raises:
        ConnectionFailed, SourceRefused: see `asking`.
    """
    with asking(settings.source, "measure the growth") as cursor:
        catalog: Catalog = read_catalog(cursor, schemas=settings.source.schemas, described=settings.tables.choice)
        found = [_measure_table(cursor, table, column) for table in catalog.tables if (column := _dated(table))]
    return tuple(growth for growth in found if growth)


def _dated(table: Table) -> str | None:
    """The first column that always has a date, else the first that may; a day of birth says nothing of when a row came."""
    columns = [column for column in table.columns if column.type.name in DATED and "birth" not in column.name.lower()]
    return next((c.name for c in sorted(columns, key=lambda c: not c.not_null)), None)


def _measure_table(cursor: Any, table: Table, column: str) -> Growth | None:
    (row,) = rows(
        cursor,
        f"""
        WITH dated AS (SELECT {identifier(column)}::date AS day FROM {table.sql}
                       WHERE isfinite({identifier(column)}) AND {identifier(column)} BETWEEN '0001-01-01' AND now()),
             ends AS (SELECT min(day) AS first, max(day) AS last FROM dated)
        SELECT first, last, count(*) FILTER (WHERE day > last - 365) AS last_year,
               count(*) FILTER (WHERE day <= last - 365 AND day > last - 730) AS year_before
        FROM ends LEFT JOIN dated ON true GROUP BY first, last
        """,
    )
    if row["last"] is None:
        return None
    return Growth(
        table.schema, table.name, column, row["first"], row["last"], int(row["last_year"]), int(row["year_before"])
    )
