"""One query that gives a side's figures of one table: every bucket of every grouping, in one scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from helpers.engines.answers import Answers
from helpers.engines.held import Held
from helpers.engines.sql import Sql
from helpers.model.catalog import Column
from helpers.verify.data_quality.sums.amounts import ROWS, Amount, Bucket, added, printed
from helpers.verify.data_quality.sums.cubes import Cube, Dimension

MEASURES_PER_QUERY = 100

BUCKETS = 50_000
"""More of them do not come here: a column that should have few values and has a million does not fill the memory."""


class TooManyBuckets(Exception):  # noqa: N818
    """A side has more buckets than anybody looks at."""


Place = tuple[tuple[int, ...], Bucket]
"""Positions of the dimensions that are grouped by, and their values."""

TOTAL: Place = ((), ())


@dataclass(frozen=True)
class Aggregated:
    """One side's figures.

    Attributes:
        amounts: by place and measure.
        moved: rows that the side's own time zone puts into another month than UTC; None where it has no such zone, or
            the month is none of instants.
    """

    amounts: dict[tuple[Place, str], Amount]
    moved: int | None = None


def aggregate(engine: Answers, cube: Cube, zone: str | None = None) -> Aggregated:
    """Counts and adds.

    Args:
        engine: the side; it has every column of the cube, in the form that the migration gives it.
        cube: of one table.
        zone: the time zone in which the side's reports run, where that is not UTC.

    Raises:
        TooManyBuckets: nothing is returned of more than `BUCKETS`.
    """
    amounts: dict[tuple[Place, str], Amount] = {}
    moved: int | None = None
    for start in range(0, max(len(cube.measures), 1), MEASURES_PER_QUERY):
        some = cube.measures[start : start + MEASURES_PER_QUERY]
        query = _Query(engine, cube, some, zone)
        rows = engine.rows(query.sql, doing=f"add up {cube.table}")
        if len(rows) > BUCKETS:
            raise TooManyBuckets
        for row in rows:
            place, values = query.place(row), query.values(row)
            amounts[place, ROWS] = Amount(int(next(values)))
            if query.zoned:
                count = int(next(values))
                moved = count if place == TOTAL else moved
            for column, measure in zip(some, query.measures, strict=True):
                amounts[place, column.name] = measure.amount(values)
    for name in (ROWS, *(column.name for column in cube.measures)):
        amounts.setdefault((TOTAL, name), Amount(0))  # no row makes no group
    return Aggregated(amounts, moved)


class _Query:
    def __init__(self, engine: Answers, cube: Cube, measures: Sequence[Column], zone: str | None) -> None:
        held, sql = engine.columns(cube.table) or {}, engine.sql
        self._cube = cube
        self._numbers = {n for n, d in enumerate(cube.dimensions) if _column(d, held, engine).form == "number"}
        self.measures = [_Measure(n, held[column.name], engine) for n, column in enumerate(measures)]
        # The total is grouped by a constant: Snowflake documents no empty grouping set
        # (https://docs.snowflake.com/en/sql-reference/constructs/group-by-grouping-sets).
        inner, joins = ["0 AS whole", *(part for measure in self.measures for part in measure.inner)], []
        for n, dimension in enumerate(cube.dimensions):
            if dimension.other is None:
                inner.append(f"{_value(dimension, held, sql)} AS d{n}")
            else:
                assert dimension.via
                inner.append(f"{held[dimension.via].sql} AS k{n}")
                joins.append(_join(n, dimension, engine))
        instants = [held[d.column] for d in cube.dimensions if d.other is None and held[d.column].form == "timestamptz"]
        self.zoned = bool(zone and instants)
        if zone and instants:
            inner.append(f"{sql.month(instants[0])} AS z, {sql.month(instants[0], zone)} AS own")
        keys = [f"d{n}" for n in range(len(cube.dimensions))]
        asked = [*(f"GROUPING({key}) AS g{n}" for n, key in enumerate(keys)), *keys, "COUNT(*) AS n"]
        asked += ["COUNT(CASE WHEN z <> own THEN 1 END) AS moved"] if self.zoned else []
        asked += [part for measure in self.measures for part in measure.outer]
        facts = f"SELECT {', '.join(inner)} FROM {engine.relation(cube.table)}"
        self.sql = f"SELECT {', '.join(asked)} FROM ({facts}) AS fact{''.join(joins)}"
        if keys:
            sets = ", ".join(f"({', '.join(keys[n] for n in grouping) or 'whole'})" for grouping in cube.groupings)
            self.sql += f" GROUP BY GROUPING SETS ({sets}) LIMIT {BUCKETS + 1}"

    def place(self, row: Sequence[Any]) -> Place:
        """Where a row of the answer belongs."""
        count = len(self._cube.dimensions)
        grouping = tuple(n for n in range(count) if not int(row[n]))
        return grouping, tuple(self._bucket(n, row[count + n]) for n in grouping)

    def _bucket(self, n: int, value: str | None) -> str | None:
        """A number without the zeros that an engine prints after it."""
        return printed(Decimal(value)) if value is not None and n in self._numbers else value

    def values(self, row: Sequence[Any]) -> Iterator[Any]:
        """What was counted and added."""
        return iter(row[2 * len(self._cube.dimensions) :])


class _Measure:
    """The expressions of one measure, and how their values are read."""

    def __init__(self, n: int, held: Held, engine: Answers) -> None:
        sql, name = engine.sql, f"m{n}"
        summand = sql.summand(held)
        self.inner = [f"{summand} AS {name}"]
        self._float = held.form == "float"
        self._whole = self._own = self._fractional = False
        if self._float:
            self.outer = [f"COUNT({name}) AS c{n}", f"SUM({name}) AS s{n}", f"SUM(ABS({name})) AS a{n}"]
        else:
            total, rest = sql.exact_sum(name, held)
            self.outer = [f"COUNT({name}) AS c{n}", f"{sql.text(total)} AS s{n}"]
            self._whole = rest is not None
            if rest is not None:
                self.outer.append(f"{sql.text(rest)} AS r{n}")
            self._fractional = held.digits is None or held.scale > 0
            if self._fractional:
                self.outer.append(f"COUNT(CASE WHEN {name} <> {sql.truncated(name)} THEN 1 END) AS f{n}")
            small = sql.small(name, held) if engine.computes else None
            self._own = small is not None
            if small is not None:
                self.outer += [f"{sql.text(f'AVG({small})')} AS o{n}", f"COUNT({small}) AS w{n}"]
        self._masked = summand != held.sql
        if self._masked:
            present = f"{held.sql} IS NOT NULL" + (f" OR NOT ({held.kept})" if held.kept else "")
            self.inner.append(f"CASE WHEN {present} THEN 1 END AS p{n}")
            self.outer.append(f"COUNT(p{n}) AS p{n}")

    def amount(self, values: Iterator[Any]) -> Amount:
        """Reads as many values as `outer` has expressions."""
        count = int(next(values))
        own: str | None = None
        fractions, magnitude = 0, 0.0
        if self._float:
            total: Any = next(values)
            total = None if total is None else float(total)
            magnitude = float(next(values) or 0.0)
        else:
            total = added([next(values), next(values) if self._whole else None])
            fractions = int(next(values)) if self._fractional else 0
            if self._own:
                average, averaged = next(values), int(next(values))
                own = str(average) if average is not None and averaged == count else None
        left_out = int(next(values)) - count if self._masked else 0
        return Amount(count, total, own, left_out, fractions, magnitude)


def _column(dimension: Dimension, held: Mapping[str, Held], engine: Answers) -> Held:
    other = engine.columns(dimension.other) if dimension.other else held
    return (other or {})[dimension.column]


def _value(dimension: Dimension, held: Mapping[str, Held], sql: Sql) -> str:
    """The expression of a dimension's value; one that a policy replaced counts as none."""
    column = held[dimension.column]
    text = sql.grouped_text(column.sql) if column.form == "text" else sql.text(column.sql)
    value = sql.month(column) if dimension.monthly else text
    return f"CASE WHEN {column.kept} THEN {value} END" if column.kept else value


def _join(n: int, dimension: Dimension, engine: Answers) -> str:
    assert dimension.other and dimension.key
    held = engine.columns(dimension.other) or {}
    value, key = _value(dimension, held, engine.sql), held[dimension.key].sql
    other = f"SELECT {key} AS j{n}, {value} AS d{n} FROM {engine.relation(dimension.other)}"
    return f" LEFT JOIN ({other}) AS other{n} ON other{n}.j{n} = fact.k{n}"
