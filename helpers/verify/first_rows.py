"""The first differing cells, put together again to the rows they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from helpers.verify.report import Cell, TableReport

On = Literal["both", "source", "target"]

CHANGED_SHOWN, LACKING_SHOWN = 5, 3
"""Rows of a table that a person is shown: changed ones, and of each side those that the other lacks."""


@dataclass(frozen=True)
class DifferingRow:
    """One row, with those of its cells that differ.

    Attributes:
        key: as of its cells; None for a table without a key.
        on: which sides have it.
    """

    key: dict[str, str | None] | None
    on: On
    cells: tuple[Cell, ...]


def differing_rows(table: TableReport) -> tuple[DifferingRow, ...]:
    """The first rows of each kind: changed ones, then those only in the source, then those only in the target."""
    rows = list(_rows(table))
    limits: dict[On, int] = {"both": CHANGED_SHOWN, "source": LACKING_SHOWN, "target": LACKING_SHOWN}
    return tuple(row for on, limit in limits.items() for row in [row for row in rows if row.on == on][:limit])


def _rows(table: TableReport) -> Iterator[DifferingRow]:
    for _, group in groupby(table.cells, key=lambda cell: cell.row):
        cells = tuple(group)
        yield DifferingRow(cells[0].key, cells[0].on, cells)
