"""How much evidence makes a fit believable, and which explains most.

A fit is believed if it explains far more pairs than it would by accident, after the cost of its parameter. For example, of
1,000 prices replaced at random some two are sure to differ by exactly 17, and no such constant is believed; if 50 of them
differ by 17, it is. How often a fit holds by accident is counted on sources put together with other pairs' targets, and
where pairs are too few for that, it is what the length of the targets says: a text of ten letters is hardly ever the trimmed
source without having been trimmed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from helpers.verify.hypotheses import HYPOTHESES
from helpers.verify.hypotheses.base import Fit
from helpers.verify.hypotheses.pairs import Pairs, look

ENOUGH = 7.0
"""Nats of evidence, about 1,000 to 1, from which on a fit is believed."""

NEARLY_ALL = 0.95
"""From this share on, a fit need not also beat the accidents among pairs put together at random: where all sources are of
one day, any of them cut to its date gives the target of any other."""

LEAST_SHARE = 0.15
"""Of what is left, below which nothing is said that is not evident by itself: where digits are mistyped at random, one in
nine of the last ones becomes 0, which looks cut off, and one in five mistyped texts may have lost its last letter."""


def best_fit(pairs: Pairs, fewest: int, *, wide: bool, fallback: bool = False) -> tuple[Fit, int] | None:
    """The believed fit that explains most of what is left, the first of equals, and how many rows it explains.

    Args:
        fewest: rows that it must explain at least.
        wide: whether to look for hypotheses in all pairs and not in a sample.
        fallback: whether to ask the fallbacks instead of the others.
    """
    everything, sample = _left(pairs, "true"), _left(pairs, pairs.examined)
    if not everything.rows:
        return None
    looked = look(pairs, wide=wide)
    asked = [h for h in HYPOTHESES if pairs.family in h.families and h.fallback == fallback]
    fits = _shown(looked, [fit for hypothesis in asked for fit in hypothesis.propose(looked)])
    tries = pairs.crossed.count()
    best: tuple[float, Fit, int] | None = None
    for fit, explained, by_chance in zip(fits, _explained(pairs, fits), _explained(pairs.crossed, fits), strict=True):
        left = sample if fit.examined else everything
        share = explained.rows / left.rows if left.rows else 0.0
        if fit.examined and sample != everything:
            # A sample shows a little more or less than there is, which must not decide between equals.
            share -= 3 * math.sqrt(share * (1 - share) / max(1, left.rows))
        control = fit.control if fit.control is not None else (by_chance.rows, tries)
        believed = explained.rows >= fewest and _believed(fit, explained, left, control)
        if believed and (best is None or share > best[0]):
            best = share, fit, explained.rows
    return best[1:] if best else None


@dataclass(frozen=True)
class _Counted:
    """Rows and distinct pairs, and the mean of the nats in those targets."""

    rows: int
    distinct: int
    information: float = 0.0


def _left(pairs: Pairs, predicate: str) -> _Counted:
    ((rows, distinct),) = pairs.rows(f"SELECT count(*), count(*) FILTER (first) FROM {pairs.table} WHERE {predicate}")
    return _Counted(rows, distinct)


def _shown(pairs: Pairs, fits: Sequence[Fit]) -> list[Fit]:
    """Those that explain anything at all, or may do so outside of these pairs."""
    asked = ", ".join(f"count(*) FILTER ({fit.predicate})" for fit in fits)
    (found,) = pairs.rows(f"SELECT {asked} FROM {pairs.table}") if fits else ((),)
    return [fit for fit, rows in zip(fits, found, strict=True) if rows or fit.examined]


def _explained(pairs: Pairs, fits: Sequence[Fit]) -> list[_Counted]:
    """What each fit explains, in one scan."""
    if not fits:
        return []
    asked = ", ".join(f"coalesce({fit.predicate}, false) AS p{n}" for n, fit in enumerate(fits))
    counts = ", ".join(
        f"count(*) FILTER (p{n}), count(*) FILTER (p{n} AND first), "
        + (f"coalesce(avg(info) FILTER (p{n} AND first), 0)" if fit.accident is None else "0.0")
        for n, fit in enumerate(fits)
    )
    (found,) = pairs.rows(f"SELECT {counts} FROM (SELECT first, info, {asked} FROM {pairs.table})")
    return [_Counted(*counted) for counted in zip(found[::3], found[1::3], found[2::3], strict=True)]


def _believed(fit: Fit, explained: _Counted, left: _Counted, control: tuple[int, int]) -> bool:
    count, of = (explained.rows, left.rows) if fit.by_rows else (explained.distinct, left.distinct)
    least = LEAST_SHARE if fit.accident is None else 0
    # A peculiar parameter must explain nearly all of a few pairs, or more than two.
    fewest = fit.least if fit.least == 1 or count >= NEARLY_ALL * of else max(fit.least, 3)
    if not count or explained.distinct < fewest or count < least * of:
        return False
    accident = fit.accident if fit.accident is not None else math.exp(-explained.information)
    if count < NEARLY_ALL * of:
        # That nothing was seen among few tries does not make it impossible.
        accident = (control[0] + 1) / (control[1] + 1 / accident)
    return evidence(count, of, max(accident, fit.noise), fit.cost) >= ENOUGH


def evidence(explained: int, of: int, accident: float, cost: float) -> float:
    """Nats by which the data speak for a fit: Chernoff's bound on explaining that many by accident, less its cost
    (https://en.wikipedia.org/wiki/Chernoff_bound#Additive_form_(absolute_error)).
    """
    share, accident = explained / of, min(max(accident, 1e-12), 1 - 1e-12)
    if share <= accident:
        return -cost
    divergence = share * math.log(share / accident)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - accident))
    return of * divergence - cost
