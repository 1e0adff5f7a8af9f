"""Hypotheses that Python has to ask, over an even sample of the distinct pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from helpers.platforms.postgres import literal
from helpers.verify.hypotheses.base import Fit, Hypothesis, Said
from helpers.verify.hypotheses.pairs import PAIRS_TABLE, Family, Pairs

BATCH = 1000

PROBED = 1000
"""Pairs that are asked first; without an answer among them, the others are not asked."""

CROSSED = 2000
"""Pairs put together at random on which accidents are counted."""

MOST = 3
"""Parameters that are proposed."""

Ask = Callable[[str, str], Iterable[str]]
"""A source's and a target's text → the parameters with which they fit."""


def examined(
    cause: str,
    families: frozenset[Family],
    where: str,
    ask: Ask,
    say: Callable[[str], Said],
    *,
    accident: float | None = None,
    levels: Sequence[str] = (),
) -> Hypothesis:
    """A hypothesis that a Python function asks.

    Args:
        where: SQL that holds for every pair that can fit, so that the others need not be fetched.
        ask: the function; it must take any two texts.
        say: what a parameter means; given levels, those seen up to it, with "|" between.
        levels: parameters of which each later one includes the ones before, as reordering keys may leave some documents
            with nothing but other spacing.
    """

    def answered(pairs: Pairs, limited: str) -> list[tuple[int, str]]:
        fetched = _fetch(pairs, limited)
        return [(pair, answer) for pair, source, target in fetched for answer in ask(source, target)]

    def propose(pairs: Pairs) -> Iterable[Fit]:
        if pairs.table != PAIRS_TABLE and not answered(pairs, f"({where}) LIMIT {PROBED}"):
            return
        answers = answered(replace(pairs, table=PAIRS_TABLE), f"first AND {pairs.examined} AND ({where})")
        if not answers:
            return
        table = _remember(pairs, answers)
        by_chance = Counter(answer for _, answer in answered(pairs.crossed, f"({where}) LIMIT {CROSSED}"))
        tries = min(CROSSED, pairs.crossed.count())
        for included in _included([answer for _, answer in answers], levels):
            said = say("|".join(included))
            members = ", ".join(literal(answer) for answer in included)
            yield Fit(
                said.cause or cause, f"pair IN (SELECT pair FROM {table} WHERE answer IN ({members}))",
                said.what, said.likely, said.cost, accident, least=said.least,
                control=(sum(by_chance[answer] for answer in included), tries), examined=True,
            )  # fmt: skip

    return Hypothesis(cause, families, propose)


def _fetch(pairs: Pairs, where: str) -> Iterator[tuple[int, str, str]]:
    query = f"SELECT pair, s, t FROM {pairs.table} WHERE s IS NOT NULL AND t IS NOT NULL AND {where}"
    found = pairs.duck.execute(query)
    while batch := found.fetchmany(BATCH):
        yield from batch


def _remember(pairs: Pairs, answers: Sequence[tuple[int, str]]) -> str:
    given = pa.table(
        {
            "pair": pa.array([pair for pair, _ in answers], pa.uint64()),
            "answer": pa.array([answer for _, answer in answers], pa.string()),
        }
    )
    pairs.duck.register("diagnosis_answers", given)
    try:
        return pairs.remember("SELECT * FROM diagnosis_answers")
    finally:
        pairs.duck.unregister("diagnosis_answers")


def _included(answers: Sequence[str], levels: Sequence[str]) -> list[list[str]]:
    """The parameters to propose, each with those it includes."""
    if levels:
        seen = [level for level in levels if level in set(answers)]
        return [seen[: n + 1] for n in range(len(seen))]
    return [[answer] for answer, _ in Counter(answers).most_common(MOST)]
