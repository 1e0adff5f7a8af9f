"""What a hypothesis about differing values is: it proposes fits, predicates over pairs in SQL, each with the words for it."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from helpers.platforms.postgres import literal
from helpers.verify.hypotheses.pairs import PROPOSED, Family, Pairs

NUMBERS: frozenset[Family] = frozenset({"number", "float"})
MOMENTS: frozenset[Family] = frozenset({"moment", "date"})
TIMES: frozenset[Family] = MOMENTS | {"time"}
TEXTS: frozenset[Family] = frozenset({"text"})
ANY: frozenset[Family] = NUMBERS | TIMES | TEXTS | {"boolean", "json", "array", "binary"}

SELF_EVIDENT = 1e-5
"""How often a value replaced by another one would look like, say, the same text trimmed."""


@dataclass(frozen=True)
class Fit:
    """One way to explain pairs.

    Attributes:
        cause: its stable name.
        predicate: SQL over the table of pairs; NULL counts as false, and it must not raise.
        what: a clause without its full stop, such as "the target is 5 hours earlier".
        likely: the likely cause in the pipeline, and what to do; whole sentences.
        cost: nats that the choice of its parameter takes, so that a peculiar constant needs more evidence.
        accident: how often a replaced value would fit by chance; None for what the targets' own length or digits say.
        noise: the share of pairs that an arbitrary other parameter explains.
        least: distinct pairs that it must explain.
        by_rows: whether equal pairs in many rows count each, as they do for a constant.
        control: (fits, tries) among pairs put together at random, where the predicate cannot be asked about them.
        examined: whether only the sampled pairs were asked.
    """

    cause: str
    predicate: str
    what: str
    likely: str
    cost: float = 1.0
    accident: float | None = None
    noise: float = 0.0
    least: int = 1
    by_rows: bool = False
    control: tuple[int, int] | None = None
    examined: bool = False


@dataclass(frozen=True)
class Hypothesis:
    """A kind of cause. Adding one is one more entry of `HYPOTHESES`.

    Attributes:
        cause: its stable name.
        families: the types that it is about.
        propose: its fits for the pairs given; those that explain nothing do no harm.
        fallback: whether it is asked only where no other explains anything, because it would explain too much.
    """

    cause: str
    families: frozenset[Family]
    propose: Callable[[Pairs], Iterable[Fit]]
    fallback: bool = False


def fixed(
    cause: str,
    families: frozenset[Family],
    predicate: str,
    *,
    accident: float | None = None,
    least: int = 1,
    by_rows: bool = False,
    fallback: bool = False,
) -> Hypothesis:
    """A hypothesis without a parameter, by its predicate over `s` and `t`; `words.toml` has its words."""
    words = _words()[cause]
    fit = Fit(
        cause, f"TRY({predicate})", words["what"], words["likely"], accident=accident, least=least, by_rows=by_rows
    )
    return Hypothesis(cause, families, lambda _: (fit,), fallback)


@cache
def _words() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Said:
    """What a parameter means: the words, what it costs to single it out, and how many distinct pairs must have it."""

    what: str
    likely: str
    cost: float
    least: int = 1
    cause: str | None = None


def fitted(
    cause: str, families: frozenset[Family], expression: str, say: Callable[[Pairs, str], Said | None]
) -> Hypothesis:
    """A hypothesis with a parameter that each pair gives.

    The most frequent parameters are proposed; the share of the next one is the noise among them.

    Args:
        expression: SQL of the parameter as text, NULL where the pair cannot fit.
        say: what a parameter means; None for one that means nothing.
    """

    def propose(pairs: Pairs) -> Iterable[Fit]:
        found = pairs.top(expression)
        noise = pairs.noise(found)
        for parameter in found[:PROPOSED]:
            said = say(pairs, parameter.value)
            if said:
                predicate = f"TRY(({expression}) = {literal(parameter.value)})"
                yield Fit(
                    said.cause or cause, predicate, said.what, said.likely, said.cost, noise=noise, least=said.least
                )

    return Hypothesis(cause, families, propose)


def digits_cost(number: str) -> float:
    """What it takes to single out a constant: its significant digits, its sign and where its point is."""
    digits = number.lstrip("-").split("e")[0].replace(".", "").strip("0")
    return math.log(10) * len(digits) + math.log(20)
