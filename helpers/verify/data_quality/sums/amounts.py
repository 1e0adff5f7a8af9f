"""One measure in one bucket, and how two sides of it compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact
from fractions import Fraction
from functools import reduce
from typing import Any

EXACT = Context(prec=400, traps=[Inexact])
"""Adds and subtracts without rounding."""

ROWS = "rows"
"""The measure that every table has."""

AVERAGE_PLACES = 6
"""Digits after the point of an average, rounded half away from zero."""

UNIT_ROUNDOFF = 2.0**-53

Number = Decimal | float
Bucket = tuple[str | None, ...]


@dataclass(frozen=True)
class Amount:
    """One measure in one bucket on one side.

    Attributes:
        count: rows that have a value, or rows at all for `ROWS`.
        total: of the values: exact, or of a float column the engine's own sum; None where nothing was added.
        own_average: what the engine's `AVG` says, as it prints it; None where it was not asked.
        left_out: values that enter no sum: NaN, infinities, and what is too large for a target to add.
        fractions: values that are not whole.
        magnitude: of a float column: the sum of the absolute values.
    """

    count: int
    total: Number | None = None
    own_average: str | None = None
    left_out: int = 0
    fractions: int = 0
    magnitude: float = 0.0

    @property
    def average(self) -> Number | None:
        """The total divided by the count; a decimal one rounded half away from zero to `AVERAGE_PLACES` digits."""
        if self.total is None or not self.count:
            return None
        if isinstance(self.total, float):
            return self.total / self.count
        exact = EXACT.copy()
        exact.clear_traps()
        step = Decimal(1).scaleb(-AVERAGE_PLACES)
        return exact.divide(self.total, Decimal(self.count)).quantize(step, ROUND_HALF_UP, exact)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: numbers as text, since JSON's have no exact digits."""
        return {
            "count": self.count,
            "sum": printed(self.total),
            "average": printed(self.average),
            "own_average": self.own_average,
            "left_out": self.left_out,
        }


@dataclass(frozen=True)
class Figure:
    """One measure in one bucket, side by side.

    Attributes:
        by: the dimensions that the bucket is of; none for the total.
        bucket: their values; None is the bucket of NULL.
        source, target: None where the side has no such bucket.
    """

    measure: str
    by: tuple[str, ...]
    bucket: Bucket
    source: Amount | None
    target: Amount | None

    @property
    def difference(self) -> Number | None:
        """Target minus source, of the sums, or of the counts for `ROWS`; a bucket that one side lacks counts as 0."""
        if self.measure == ROWS:
            mine, theirs = (Decimal(side.count if side else 0) for side in (self.source, self.target))
            return theirs - mine
        before, after = (side.total if side else None for side in (self.source, self.target))
        if before is None and after is None:
            return None
        if isinstance(before, float) or isinstance(after, float):
            return float(after or 0) - float(before or 0)
        return trimmed(EXACT.subtract(after or Decimal(0), before or Decimal(0)))

    @property
    def equal(self) -> bool:
        """Whether counts and sums are the same; sums of floats may differ by what the order of adding explains."""
        mine, theirs = self.source, self.target
        if mine is None or theirs is None or (mine.count, mine.left_out) != (theirs.count, theirs.left_out):
            return False
        if isinstance(mine.total, float) and isinstance(theirs.total, float):
            return abs(theirs.total - mine.total) <= order_of_adding(mine, theirs)
        return mine.total == theirs.total

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "measure": self.measure,
            "by": list(self.by),
            "bucket": list(self.bucket),
            "source": self.source.as_dict() if self.source else None,
            "target": self.target.as_dict() if self.target else None,
            "difference": printed(self.difference),
            "equal": self.equal,
        }


def order_of_adding(mine: Amount, theirs: Amount) -> float:
    """How far two sums of the same floats may lie apart when they are added in another order.

    Each is within (n − 1)·u·Σ|x| of the exact sum, to first order in u
    (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2002, section 4.2).
    """
    return 2.01 * max(mine.count - 1, 0) * UNIT_ROUNDOFF * max(mine.magnitude, theirs.magnitude)


def why_not_exact(amount: Amount) -> str:
    """Why an engine's own average is not the exact one rounded, empty where it is."""
    if amount.own_average is None or not isinstance(amount.total, Decimal) or not amount.count:
        return ""
    own, exact = Decimal(amount.own_average), Fraction(amount.total) / amount.count
    exponent = own.as_tuple().exponent
    places = max(-exponent, 0) if isinstance(exponent, int) else 0
    off = abs(Fraction(own) - exact) * 10**places
    if off == 0 or (places >= AVERAGE_PLACES and 2 * off <= 1):
        return ""
    if places == 0:
        return "integer division: it has no digits after the point"
    if 2 * off <= 1:
        return f"it has only {places} digits after the point"
    return f"cut off after {places} digits" if off < 1 else "computed in floating point"


def added(parts: Sequence[str | None]) -> Decimal | None:
    """The exact sum of numbers that came as text, without zeros at its end; None where there is none."""
    known = [Decimal(part) for part in parts if part is not None]
    return trimmed(reduce(EXACT.add, known)) if known else None


def trimmed(number: Decimal) -> Decimal:
    """The same number with as few digits after the point as it needs."""
    short = number.normalize(EXACT)
    return short.quantize(Decimal(1), context=EXACT) if short.as_tuple().exponent > 0 else short  # type: ignore[operator]


def printed(number: Number | None) -> str | None:
    """A number with all its digits and no more zeros than it needs."""
    if number is None:
        return None
    return repr(number) if isinstance(number, float) else f"{trimmed(number):f}"
