"""Why do values differ? Hypotheses tested over all differing pairs of a column, in words that an operator can act on.

For example, of 1,000 timestamps that differ 700 are 2 hours later and 300 cut off to seconds:

    shifted-by-constant   The target is 2 hours later, an offset of UTC, in 700 of 1,000 pairs that differ (70%).
    fraction-truncated    The target is cut off to seconds in 300 of 1,000 pairs that differ (30%).

In rounds, the hypothesis that explains most of what is left is believed if it explains more than accident would, and its
pairs are set aside; where several explain the same, the most specific one is believed. A column whose values differ at
random gets no diagnosis: a wrong one is worse than none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from helpers.best_effort import best_effort
from helpers.engines.base import DuckDB
from helpers.engines.columns import ComparedColumn
from helpers.engines.texts import postgres_float
from helpers.verify.hypotheses.base import Fit
from helpers.verify.hypotheses.belief import best_fit
from helpers.verify.hypotheses.pairs import TABLES, Pairs, collect

ROUNDS = 12
"""More causes than that in one column are none."""

FEW = 20
"""Differing pairs above which a cause of a single one is not told."""

EXAMPLES = 3

SHOWN = 200
"""Characters of a value that an example shows."""

FAILED = "no explanation could be looked for"


@dataclass(frozen=True)
class Example:
    """One pair.

    Attributes:
        key: the key's columns as text, or None for a table without a key.
        row: the number that the comparison gave the row.
        source: its value, as PostgreSQL prints it; a long one is cut around the first difference.
        target: the same of the target.
    """

    key: dict[str, str | None] | None
    row: int
    source: str | None
    target: str | None

    def as_dict(self) -> dict[str, Any]:
        """As in the report."""
        return {
            **({"key": self.key} if self.key else {"row": self.row}),
            "source": self.source,
            "target": self.target,
        }


@dataclass(frozen=True)
class Diagnosis:
    """Why some values of a column differ.

    Attributes:
        cause: a stable name, such as "shifted-by-constant".
        words: what differs, in a sentence with figures.
        likely: the likely cause in the pipeline, and what to do.
        pairs: how many differing pairs it explains.
        of: how many there are, or how many were examined where the words say so.
        examples: up to three.
    """

    cause: str
    words: str
    likely: str
    pairs: int
    of: int
    examples: tuple[Example, ...]

    @property
    def share(self) -> float:
        """The part of the pairs that it explains, from 0 to 1."""
        return self.pairs / self.of

    def as_dict(self) -> dict[str, Any]:
        """As in the report."""
        return {
            "cause": self.cause,
            "words": self.words,
            "likely": self.likely,
            "pairs": self.pairs,
            "of": self.of,
            "share": round(self.share, 4),
            "examples": [example.as_dict() for example in self.examples],
        }


def diagnose(
    duck: DuckDB, columns: Sequence[ComparedColumn], *, key: Sequence[str] = (), rows: int | None = None
) -> tuple[dict[str, tuple[Diagnosis, ...]], dict[str, str]]:
    """Why the values of each column differ, the diagnosis that explains most first.

    Args:
        duck: the connection in which `compare` has created `rest` and `pairs`.
        columns: what c0, c1 … of `rest` are.
        key: names of the key's columns, for the examples and for the order of rows.
        rows: how many rows of the source were compared; without it, nothing says whether booleans are inverted.

    Returns:
        An entry for each column with at least one pair of differing values, empty where nothing explains them; and for those
        columns where the search itself failed, why. It raises nothing: that values differ is known without it.
    """
    found: dict[str, tuple[Diagnosis, ...]] = {}
    failed: dict[str, str] = {}
    differing: list[int] = []
    with best_effort(FAILED, lambda why: failed.update({column.name: why for column in columns})):
        differing = _differing(duck, len(columns))
    for index in differing:
        name = columns[index].name
        with best_effort(FAILED, partial(failed.setdefault, name)):
            try:
                pairs = collect(duck, columns, index, key, rows)
                found[name] = tuple(sorted(_explain(pairs), key=lambda d: d.share, reverse=True))
            finally:
                for table in TABLES:
                    duck.execute(f"DROP TABLE IF EXISTS {table}")
    return found, failed


def _differing(duck: DuckDB, columns: int) -> list[int]:
    """The columns that differ anywhere; values are compared by their hashes, since they may be long."""
    hashes = ", ".join(f"hash(v{n}) AS h{n}" for n in range(columns))
    counts = ", ".join(f"count(*) FILTER (s.h{n} <> t.h{n})" for n in range(columns))
    hashed = f"(SELECT id, {hashes} FROM rest)"
    (found,) = duck.execute(
        f"SELECT {counts} FROM pairs JOIN {hashed} AS s ON pairs.s = s.id JOIN {hashed} AS t ON pairs.t = t.id"
    ).fetchall()
    return [n for n, count in enumerate(found) if count]


def _explain(pairs: Pairs) -> Iterator[Diagnosis]:
    of, examined = pairs.count(), pairs.count(pairs.examined)
    fewest = 1 if pairs.total <= FEW else 2
    wide = False
    for _ in range(ROUNDS):
        try:
            best = best_fit(pairs, fewest, wide=wide)
            everywhere = wide or pairs.count() <= pairs.looked_at
            if best is None and everywhere:
                best = best_fit(pairs, fewest, wide=True, fallback=True)
            if best:
                fit, explained = best
                sampled = fit.examined and pairs.stride > 1
                of = examined if sampled else of
                yield _diagnosis(pairs, fit, explained, of)
                pairs.rows(f"DELETE FROM {pairs.table} WHERE coalesce({fit.predicate}, false)")
                if sampled:
                    # What was not examined may have the same cause: from here on the sample stands for all.
                    pairs.rows(f"DELETE FROM {pairs.table} WHERE NOT ({pairs.examined})")
            elif everywhere:
                return
            wide = wide or best is None
        finally:
            pairs.forget()


def _diagnosis(pairs: Pairs, fit: Fit, explained: int, of: int) -> Diagnosis:
    total = pairs.total
    which = f"pairs examined, of {total:,} that differ" if of < total else "pairs that differ"
    if of == 1:
        where = "In the one pair that differs"
    elif explained == of == total == 2:
        where = "In both pairs that differ"
    elif explained == of:
        where = f"In all {of:,} {which}"
    else:
        where = f"In {explained:,} of {of:,} {which} ({_percent(explained / of)})"
    doubt = " One pair only: a guess." if explained == 1 else ""
    return Diagnosis(fit.cause, f"{where}, {fit.what}.{doubt}", fit.likely, explained, of, _examples(pairs, fit))


def _percent(share: float) -> str:
    if share < 0.001:
        return "under 0.1%"
    if share >= 0.9995:
        return "over 99.9%"
    return f"{share:.1%}" if share < 0.01 or share > 0.99 else f"{share:.0%}"


def _examples(pairs: Pairs, fit: Fit) -> tuple[Example, ...]:
    names = [column.name for column in pairs.columns]
    key = ", ".join(f"s.c{names.index(name)}" for name in pairs.key)
    n = pairs.index
    found = pairs.rows(
        f"SELECT p.id, s.c{n}, t.c{n}, t.v{n}, [{key}]::VARCHAR[] FROM (FROM {pairs.table} WHERE coalesce({fit.predicate}, false) "
        f"ORDER BY id LIMIT {EXAMPLES}) AS p JOIN rest AS s ON s.id = p.id JOIN rest AS t ON t.id = p.other ORDER BY p.id"
    )
    return tuple(
        Example(
            dict(zip(pairs.key, parts, strict=True)) or None, row, *_cut(source, _printed(pairs.column, target, value))
        )
        for row, source, target, value, parts in found
    )


def _printed(column: ComparedColumn, text: str | None, value: str | None) -> str | None:
    """A target's value as PostgreSQL would print it."""
    if text is None or value is None:
        return None
    if column.comparison in ("float4", "float8"):
        with suppress(ValueError):  # a target's column of another type may hold what is not a number
            return postgres_float(float(text), column.comparison == "float4")
        return text
    return value if column.comparison == "number" and column.postgres == "numeric" else text


def _cut(source: str | None, target: str | None) -> tuple[str | None, str | None]:
    """Both values from a little before their first difference on."""
    if max(len(source or ""), len(target or "")) <= SHOWN:
        return source, target
    pairs = enumerate(zip(source or "", target or "", strict=False))
    differs = next((n for n, (a, b) in pairs if a != b), min(len(source or ""), len(target or "")))
    start = max(0, differs - SHOWN // 4)
    return _window(source, start), _window(target, start)


def _window(text: str | None, start: int) -> str | None:
    if text is None or len(text) <= SHOWN:
        return text
    return ("…" if start else "") + text[start : start + SHOWN] + ("…" if start + SHOWN < len(text) else "")
