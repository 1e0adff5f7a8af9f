"""What differing figures, and engines' own averages, say of their cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction

from helpers.verify.data_quality.sums.amounts import ROWS, Figure, why_not_exact


def explain(figures: Sequence[Figure], source: str, target: str) -> list[str]:
    """Sentences for an operator, none where nothing is to be said.

    Args:
        figures: of one table.
        source, target: the sides, as people say them.
    """
    by_measure: dict[str, list[Figure]] = {}
    for figure in figures:
        by_measure.setdefault(figure.measure, []).append(figure)
    rows = _moved(by_measure[ROWS])
    notes = [
        f"there are as many rows, but {counts} of {name} differ: rows moved between them{_zone(name)}"
        for name, counts in rows.items()
    ]
    for measure, mine in by_measure.items():
        notes += [
            f"the total of {measure} is the same, but {counts} of {name} differ: amounts moved between them"
            for name, counts in _moved(mine).items()
            if name not in rows
        ]
        notes += [*_whole(measure, mine), *_averages(measure, mine, source, target)]
    return notes


def _moved(figures: Sequence[Figure]) -> dict[str, str]:
    """By dimension, how many buckets differ though the total is the same: what is in them went from one to another."""
    found: dict[str, str] = {}
    if not next(figure for figure in figures if not figure.by).equal:
        return found
    for name in dict.fromkeys(figure.by[0] for figure in figures if len(figure.by) == 1):
        buckets = [figure for figure in figures if figure.by == (name,)]
        differing = sum(not figure.equal for figure in buckets)
        if differing > 1:
            found[name] = f"{differing} of {len(buckets)} buckets"
    return found


def _zone(dimension: str) -> str:
    return ", as a shifted time zone moves them" if dimension.startswith("month of") else ""


def _whole(measure: str, figures: Sequence[Figure]) -> Iterator[str]:
    total = next(figure for figure in figures if not figure.by)
    if total.equal or not total.source or not total.target:
        return
    if total.source.fractions and not total.target.fractions and total.target.count:
        yield (
            f"{measure} has {total.source.fractions:,} values with digits after the point in the source and none in the "
            "target: integer division, or a type without them"
        )


def _averages(measure: str, figures: Sequence[Figure], source: str, target: str) -> Iterator[str]:
    """Where an engine's own AVG is not the exact average, by how much at most, and why."""
    for name, amounts in (
        (source, [figure.source for figure in figures]),
        (target, [figure.target for figure in figures]),
    ):
        asked = [amount for amount in amounts if amount and amount.own_average is not None]
        wrong = [(amount, why) for amount in asked if (why := why_not_exact(amount))]
        if not wrong:
            continue
        worst, why = max(wrong, key=lambda found: _off(found[0].own_average, found[0].total, found[0].count))
        off = float(_off(worst.own_average, worst.total, worst.count))
        yield f"AVG({measure}) of {name} is not the exact average in {len(wrong)} of {len(asked)} buckets, by up to {off:.2g}: {why}"


def _off(own: str | None, total: object, count: int) -> Fraction:
    assert own is not None and isinstance(total, Decimal)
    return abs(Fraction(Decimal(own)) - Fraction(total) / count)
