"""The figures a business reads, from both sides: counts, sums and averages by month, category and region.

Sums are exact on both sides, so they are equal to the last digit or they differ. An average is their sum divided here, by
decimal arithmetic, so that no engine's integer division, floating point or rounding can make one; what an engine's own
AVG says is compared with it, and told. Months are those of UTC, and NULL is a bucket of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from helpers.best_effort import best_effort
from helpers.engines.answers import Answers
from helpers.engines.held import Form
from helpers.model.catalog import Table
from helpers.progress import Progress
from helpers.verify.data_quality.rules.rule import Rule
from helpers.verify.data_quality.sums.aggregates import BUCKETS, Aggregated, Place, TooManyBuckets, aggregate
from helpers.verify.data_quality.sums.amounts import AVERAGE_PLACES, ROWS, Figure
from helpers.verify.data_quality.sums.cubes import Cube, Dimension, cubes
from helpers.verify.data_quality.sums.diagnosis import explain
from helpers.verify.data_quality.sums.traits import Trait, traits

CROSSED_SHOWN = 1_000
"""Differing buckets of several dimensions together that are kept of each measure."""


@dataclass(frozen=True)
class TableFigures:
    """The figures of one table.

    Attributes:
        figures: the totals, the buckets of each dimension, and of several together those that differ, the first
            `CROSSED_SHOWN` of each measure.
        crossed: how many figures of several dimensions together were compared.
        lacking: what the target lacks for a figure; such a table is not equal.
        notes: what the figures say of their cause, and what the engines compute differently.
        seconds: of wall clock.
    """

    table: str
    measures: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    crossed: int = 0
    lacking: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether every figure is."""
        return not self.lacking and not self.differences

    @property
    def differences(self) -> tuple[Figure, ...]:
        """Those that differ."""
        return tuple(figure for figure in self.figures if not figure.equal)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "table": self.table,
            "verdict": "equal" if self.equal else "different",
            "measures": list(self.measures),
            "dimensions": list(self.dimensions),
            "figures": [figure.as_dict() for figure in self.figures],
            "crossed": self.crossed,
            "lacking": list(self.lacking),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Figures:
    """The figures of all tables.

    Attributes:
        traits: how the two engines compute, whatever the data; empty where one only holds files.
    """

    source: str
    target: str
    tables: tuple[TableFigures, ...]
    traits: tuple[Trait, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether every figure of every table is."""
        return all(table.equal for table in self.tables)

    def table(self, name: str) -> TableFigures:
        """Of the table with that name, its schema included."""
        return next(found for found in self.tables if found.table == name)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "verdict": "equal" if self.equal else "different",
            "source": self.source,
            "target": self.target,
            "average_places": AVERAGE_PLACES,
            "engines": [trait.as_dict() for trait in self.traits],
            "tables": [table.as_dict() for table in self.tables],
        }


def figures(
    source: Answers,
    target: Answers,
    tables: Sequence[Table],
    rules: Sequence[Rule],
    *,
    progress: Progress | None = None,
) -> Figures:
    """Computes the figures of every table, in one query a side and table.

    Args:
        source: in the snapshot in which `rules` were read.
        target: what is compared with it.
        tables: of the verification.
        rules: of those tables, as `helpers.verify.data_quality.rules` reads them: where keys and few values are.

    Raises:
        MigrationError: a side could not be read; a difference is never an error.
    """
    zones = source.zone(), target.zone()
    found = []
    planned = cubes(tables, rules)
    for done, cube in enumerate(planned):
        if progress:
            progress(done, len(planned), f"adding up {cube.table}")
        found.append(_table_figures(source, target, cube, zones))
    return Figures(source.name, target.name, tuple(found), traits(source, target, zones))


def _table_figures(source: Answers, target: Answers, asked: Cube, zones: tuple[str | None, str | None]) -> TableFigures:
    started = time.monotonic()
    if target.columns(asked.table) is None:
        return TableFigures(str(asked.table), lacking=("the target has no such table",))
    cube, lacking, notes = _comparable(target, asked)
    cube, sides = _aggregated(source, target, cube, zones, lacking, notes)
    every = list(_paired(cube, *sides))
    kept = [figure for figure in every if len(figure.by) < 2]
    crossed = [figure for figure in every if len(figure.by) > 1]
    names = tuple(column.name for column in cube.measures)
    for measure in (ROWS, *names):
        kept += [figure for figure in crossed if figure.measure == measure and not figure.equal][:CROSSED_SHOWN]
    with best_effort("why figures differ was not found out", notes.append):
        notes += explain(kept, source.name, target.name)
    for engine, zone, side in zip((source, target), zones, sides, strict=True):
        if side.moved:
            notes.append(f"{zone}, in which reports of {engine.name} run, puts {side.moved:,} rows into another month")
    return TableFigures(
        str(cube.table), names, tuple(str(dimension) for dimension in cube.dimensions), tuple(kept), len(crossed),
        tuple(lacking), tuple(notes), time.monotonic() - started,
    )  # fmt: skip


def _aggregated(
    source: Answers,
    target: Answers,
    cube: Cube,
    zones: tuple[str | None, str | None],
    lacking: list[str],
    notes: list[str],
) -> tuple[Cube, list[Aggregated]]:
    """Both sides, by fewer groupings where a side has too many buckets, which is said."""
    alone, total = replace(cube, crossed=0), replace(cube, crossed=0, dimensions=())
    for reduced in (cube, alone, total):
        sides = []
        for engine, zone in zip((source, target), zones, strict=True):
            try:
                sides.append(aggregate(engine, reduced, _unless_utc(zone)))
            except TooManyBuckets:
                together = "its dimensions together" if reduced is cube else "a dimension"
                told = notes if reduced is cube and engine is source else lacking
                told.append(f"{engine.name} has more than {BUCKETS:,} buckets of {together}: they are not compared")
                break
        else:
            return reduced, sides
    raise AssertionError("a total is one bucket")


def _comparable(target: Answers, cube: Cube) -> tuple[Cube, list[str], list[str]]:
    """What of the cube the target can show, what it lacks that it should have, and what is no figure there by design."""
    lacking: list[str] = []
    notes: list[str] = []

    def shows(table: Table, name: str, forms: frozenset[Form] | None) -> bool:
        held, of = target.columns(table), "" if table is cube.table else f" of {table}"
        if held is None or name not in held:
            lacking.append(f"the target has no column {name}{of}")
        elif not held[name].as_wanted:
            lacking.append(f"{name}{of} is {held[name].type} in the target")
        elif forms is not None and held[name].form not in forms:
            notes.append(f"{name}{of} travels as text and is in no figure")
        else:
            return True
        return False

    def groups(dimension: Dimension) -> bool:
        other = dimension.other or cube.table
        needed = [(other, dimension.column, _DATED if dimension.monthly else None)]
        if dimension.via and dimension.key:
            needed += [(cube.table, dimension.via, None), (other, dimension.key, None)]
        shown = [shows(*one) for one in needed]  # all of them, so that everything that is lacking is named
        return all(shown)

    measures = tuple(column for column in cube.measures if shows(cube.table, column.name, _SUMMED))
    dimensions = [groups(dimension) for dimension in cube.dimensions]
    reduced = replace(
        cube,
        measures=measures,
        dimensions=tuple(d for d, shown in zip(cube.dimensions, dimensions, strict=True) if shown),
        crossed=sum(dimensions[: cube.crossed]),
    )
    return reduced, lacking, notes


_SUMMED: frozenset[Form] = frozenset({"number", "float"})
_DATED: frozenset[Form] = frozenset({"date", "timestamp", "timestamptz"})


def _paired(cube: Cube, source: Aggregated, target: Aggregated) -> Iterator[Figure]:
    """Every figure that either side has, by measure, grouping and bucket, NULL last."""
    places = {place for place, _ in (*source.amounts, *target.amounts)}
    names = [str(dimension) for dimension in cube.dimensions]

    def order(place: Place) -> tuple[object, ...]:
        grouping, bucket = place
        return len(grouping), grouping, tuple((value is None, value or "") for value in bucket)

    ordered = sorted(places, key=order)
    for measure in (ROWS, *(column.name for column in cube.measures)):
        for place in ordered:
            grouping, bucket = place
            mine, theirs = source.amounts.get((place, measure)), target.amounts.get((place, measure))
            yield Figure(measure, tuple(names[n] for n in grouping), bucket, mine, theirs)


def _unless_utc(zone: str | None) -> str | None:
    return None if zone is None or zone.upper().removeprefix("ETC/") in ("UTC", "GMT", "UCT", "ZULU") else zone
