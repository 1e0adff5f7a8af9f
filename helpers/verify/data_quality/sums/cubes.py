"""Which sums a business reads off a table, and by what: found from the catalog and the rules.

A table that others refer to, and that refers to none, is a dimension: of it only the rows are counted. Every other table is
taken for facts. Its measures are numbers that are no part of a key and are not named like one; its dimensions are a month and
the texts that have few values, its own or those of a table that one of its columns refers to, as in a star.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from helpers.engines.conditions import Not, OneOf
from helpers.engines.held import form_of
from helpers.model.catalog import Column, Table
from helpers.verify.data_quality.rules.rule import Breaks, NullShare, Reference, Rule, Unique

TEXTS = 4
"""Dimensions beside the month, those of the fewest values first."""

CROSSED = 20_000
"""About how many buckets the dimensions may have that are looked at together."""

MONTHS = 120
KEY_LIKE = re.compile(r"(^|_)(id|key|no|nr|number|code)$", re.IGNORECASE)


@dataclass(frozen=True)
class Dimension:
    """What rows are grouped by.

    Attributes:
        column: of the table, or of `other`.
        monthly: whether a date or timestamp is grouped by month.
        other: the table that has the column, where the table itself only refers to it.
        via: the table's own column that refers to `other`.
        key: the column of `other` that it refers to.
    """

    column: str
    monthly: bool
    other: Table | None = None
    via: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        name = f"{self.other.name}.{self.column}" if self.other else self.column
        return f"month of {name}" if self.monthly else name


@dataclass(frozen=True)
class Cube:
    """The figures to compute of one table.

    Attributes:
        crossed: how many of the dimensions, from the first, are also looked at together.
    """

    table: Table
    measures: tuple[Column, ...]
    dimensions: tuple[Dimension, ...]
    crossed: int

    @property
    def groupings(self) -> tuple[tuple[int, ...], ...]:
        """The total, each dimension, and some of them together, as positions in `dimensions`."""
        alone = [(n,) for n in range(len(self.dimensions))]
        together = [tuple(range(self.crossed))] if self.crossed > 1 else []
        return ((), *alone, *together)


def cubes(tables: Sequence[Table], rules: Sequence[Rule]) -> tuple[Cube, ...]:
    """The figures of every table.

    Args:
        tables: as the catalog has them.
        rules: of those tables, as `helpers.verify.data_quality.rules` reads them.
    """
    return tuple(map(_Finder(tables, rules).found, tables))


class _Finder:
    def __init__(self, tables: Sequence[Table], rules: Sequence[Rule]) -> None:
        self._tables = {str(table): table for table in tables}
        self._rules = {name: [rule for rule in rules if rule.table == name] for name in self._tables}
        references = [
            (r.table, r.test.table) for r in rules if isinstance(r.test, Reference) and r.test.table != r.table
        ]
        self._around = {there for _, there in references} - {here for here, _ in references}

    def found(self, table: Table) -> Cube:
        if str(table) in self._around:
            return Cube(table, (), (), 0)
        measures = tuple(column for column in table.columns if self._measures(table, column))
        month = next(self._months(table), None)
        texts = sorted(self._texts(table), key=lambda found: found[0])[:TEXTS]
        dimensions = (*([month] if month else []), *(dimension for _, dimension in texts))
        sizes = [*([MONTHS] if month else []), *(count + 1 for count, _ in texts)]
        crossed = next(n for n in range(len(sizes), -1, -1) if n <= 1 or prod(sizes[:n]) <= CROSSED)
        return Cube(table, measures, dimensions, crossed)

    def _measures(self, table: Table, column: Column) -> bool:
        if form_of(column.type) not in ("number", "float"):
            return False
        in_keys = {
            name for rule in self._rules[str(table)] if rule.kind in ("unique", "foreign-key") for name in rule.columns
        }
        return column.name not in in_keys and not KEY_LIKE.search(column.name)

    def _months(self, table: Table) -> Iterator[Dimension]:
        """Dates that may stand for when a row happened, the likeliest first."""
        dated = [column for column in table.columns if form_of(column.type) in _DATED]
        for column in sorted(dated, key=lambda c: (c.name not in table.key, not c.not_null)):
            yield _grouped(column)
        needed = {column.name: not column.not_null for column in table.columns}
        for via, other, key in sorted(self._references(table), key=lambda found: needed[found[0]]):
            for column in other.columns:
                # In a calendar each day stands once; in other tables a date says something else.
                if form_of(column.type) in _DATED and self._alone_unique(other, column.name):
                    yield _grouped(column, other, via, key)

    def _texts(self, table: Table) -> Iterator[tuple[int, Dimension]]:
        """Texts with few values, and how many; the table's own first."""
        for column, count in self._few(table):
            yield count, _grouped(column)
        for via, other, key in self._references(table):
            calendar = any(form_of(c.type) in _DATED and self._alone_unique(other, c.name) for c in other.columns)
            for column, count in () if calendar else self._few(other):
                yield count, _grouped(column, other, via, key)

    def _few(self, table: Table) -> Iterator[tuple[Column, int]]:
        rules = self._rules[str(table)]
        empty = {
            rule.columns[0]
            for rule in rules
            if isinstance(rule.test, NullShare) and 2 * rule.test.nulls > rule.test.rows
        }
        columns = {column.name: column for column in table.columns}
        for rule in rules:
            match rule.test:
                case Breaks(Not(OneOf(name, values)), _) if rule.kind == "accepted-values" and len(values) > 1:
                    if name not in empty:
                        yield columns[name], len(values)

    def _references(self, table: Table) -> Iterator[tuple[str, Table, str]]:
        """The columns that alone refer to another table: its name, that table, and its key."""
        for rule in self._rules[str(table)]:
            if not isinstance(rule.test, Reference) or len(rule.columns) > 1 or rule.test.table == str(table):
                continue
            if rule.test.table in self._tables:
                yield rule.columns[0], self._tables[rule.test.table], rule.test.columns[0]

    def _alone_unique(self, table: Table, column: str) -> bool:
        return any(
            isinstance(r.test, Unique) and r.columns == (column,) and not r.test.only for r in self._rules[str(table)]
        )


_DATED = frozenset({"date", "timestamp", "timestamptz"})


def _grouped(column: Column, other: Table | None = None, via: str | None = None, key: str | None = None) -> Dimension:
    return Dimension(column.name, form_of(column.type) in _DATED, other, via, key)
