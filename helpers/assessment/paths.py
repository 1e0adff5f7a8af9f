"""Which path fits: criteria with weights, what was measured for each, and the points that each option gets for it.

The points and weights are this project's judgement, written down so that it can be disputed; they only recommend. Three points
are for an option, none is against it, and every option gets one where nothing was measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from helpers.checklist import Option

OPTIONS: tuple[Option, ...] = ("A", "B", "C")
POSTGRES_SUPPORTED_UNTIL = {
    12: date(2024, 11, 21), 13: date(2025, 11, 13), 14: date(2026, 11, 12), 15: date(2027, 11, 11), 16: date(2028, 11, 9),
    17: date(2029, 11, 8), 18: date(2030, 11, 14),
}  # fmt: skip
"""Each version's final release (https://www.postgresql.org/support/versioning/); of an older one the support has ended before
the first of these, of a newer one the page had nothing yet."""

MOST_POINTS = 3
GIGABYTE = 10**9


@dataclass(frozen=True)
class Support:
    """How long the legacy components are supported.

    Attributes:
        until: the last day; None where nobody knows.
        by: what says so.
    """

    until: date | None
    by: str

    def has_ended(self, today: date) -> bool:
        """Whether the day is past."""
        return self.until is not None and today > self.until

    def said(self, today: date) -> str:
        """The same in words."""
        if self.until is None:
            return f"no end is known ({self.by})"
        return f"{'ended' if self.has_ended(today) else 'ends'} on {self.until:%d %B %Y} ({self.by})"


@dataclass(frozen=True)
class Facts:
    """What the assessment has measured; None where it did not.

    Attributes:
        bytes: of the database.
        last_year, year_before: rows by their dates, all tables together.
        slowest_share: the largest share of its promised time that a query takes.
        integrations: systems and roles that use the source.
        targets: how many targets answered, and how many the profile has.
        support: until when the legacy components are supported, and what says so.
    """

    bytes: int
    last_year: int | None
    year_before: int | None
    slowest_share: float | None
    integrations: int
    targets: tuple[int, int] | None
    support: Support
    today: date


@dataclass(frozen=True)
class Criterion:
    """One line of the score: `points` of A, B and C, each from 0 to 3."""

    name: str
    weight: int
    measured: str
    points: tuple[int, int, int]

    def weighted(self, option: Option) -> float:
        """Of a hundred, what this criterion gives an option."""
        return self.weight * self.points[OPTIONS.index(option)] / MOST_POINTS


def score(facts: Facts) -> tuple[Criterion, ...]:
    """Every criterion, in a fixed order; the weights sum up to a hundred."""
    return (_volume(facts), _growth(facts), _speed(facts), _integrations(facts), _targets(facts), _support(facts))


def totals(criteria: Sequence[Criterion]) -> dict[Option, float]:
    """Points of a hundred for each option."""
    return {option: round(sum(each.weighted(option) for each in criteria), 1) for option in OPTIONS}


def recommended(criteria: Sequence[Criterion]) -> Option:
    """The option with most points; of several, the one that the document recommends first."""
    found = totals(criteria)
    return max(OPTIONS, key=lambda option: found[option])


def support(said: date | None, version: str) -> Support:
    """How long the legacy components are supported.

    Args:
        said: by the settings; None where they say nothing, and the server's version counts.
        version: of the source, as `server_version` has it.
    """
    if said is not None:
        return Support(said, "legacy.supported_until")
    major = int(re.match(r"\d+", version)[0])  # type: ignore[index]
    oldest = min(POSTGRES_SUPPORTED_UNTIL)
    return Support(POSTGRES_SUPPORTED_UNTIL.get(max(major, oldest)), f"PostgreSQL {major}")


def _volume(facts: Facts) -> Criterion:
    size = facts.bytes / GIGABYTE
    points = (3, 2, 0) if size >= 100 else (2, 2, 1) if size >= 1 else (1, 2, 3)
    return Criterion("data volume", 20, f"{size:,.2f} GB in PostgreSQL", points)


def _growth(facts: Facts) -> Criterion:
    if not facts.year_before or facts.last_year is None:
        return Criterion("growth", 15, "no table has dates of two years", (1, 1, 1))
    rate = facts.last_year / facts.year_before - 1
    points = (3, 2, 0) if rate >= 0.5 else (2, 2, 1) if rate >= 0.1 else (1, 2, 2)
    measured = f"{facts.last_year:,} dated rows in the last year, {facts.year_before:,} in the one before"
    return Criterion("growth", 15, measured, points)


def _speed(facts: Facts) -> Criterion:
    if facts.slowest_share is None:
        return Criterion("run time against the promise", 20, "no limit was promised", (1, 1, 1))
    share = facts.slowest_share
    points = (3, 2, 0) if share > 1 else (2, 2, 1) if share > 0.5 else (1, 2, 3)
    return Criterion("run time against the promise", 20, f"{share:.0%} of the promised time, at most", points)


def _integrations(facts: Facts) -> Criterion:
    count = facts.integrations
    points = (1, 3, 2) if count >= 10 else (2, 3, 2) if count >= 3 else (3, 2, 2)
    return Criterion("systems that integrate", 15, f"{count} connected or granted", points)


def _targets(facts: Facts) -> Criterion:
    if facts.targets is None:
        return Criterion("targets that answer", 20, "not asked on this path", (1, 1, 1))
    answering, configured = facts.targets
    points = (0, 0, 3) if not answering else (1, 2, 1) if answering < configured else (3, 3, 1)
    return Criterion("targets that answer", 20, f"{answering} of {configured} that the profile has", points)


def _support(facts: Facts) -> Criterion:
    points = (3, 2, 0) if facts.support.has_ended(facts.today) else (2, 2, 1)
    points = (1, 1, 1) if facts.support.until is None else points
    return Criterion("support of the legacy components", 10, facts.support.said(facts.today), points)
