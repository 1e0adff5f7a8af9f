"""Values that are right in another place: in another column, or in the neighbouring row."""

from __future__ import annotations

from collections.abc import Iterable

from helpers.verify.hypotheses.base import ANY, Fit, Hypothesis
from helpers.verify.hypotheses.pairs import CROSSED_TABLE, PAIRS_TABLE, Pairs, family

SAMPLE = 2000
"""Pairs that every other column is tried on, before the best are asked about all pairs."""

BEST = 2

BOTH_ROWS = "JOIN rest AS s ON s.id = p.id JOIN rest AS t ON t.id = p.other"

BY_NAME = (
    "The columns are mapped by position or under a wrong name: map them by name (MATCH_BY_COLUMN_NAME, explicit column "
    "lists) and look at the order of both."
)

BY_POSITION = (
    "Columns were put side by side by position after rows were lost, added or sorted in one of them (concat, zip, a "
    "spreadsheet): join by key instead."
)


def _other_column(pairs: Pairs) -> Iterable[Fit]:
    others = [
        n
        for n, column in enumerate(pairs.columns)
        if n != pairs.index and column.comparison == pairs.column.comparison and family(column) == pairs.family
    ]
    if not others:
        return
    mine = f"v{pairs.index}"
    counts = ", ".join(f"count(*) FILTER (t.{mine} = s.v{n})" for n in others)
    (found,) = pairs.rows(
        f"SELECT {counts} FROM (SELECT id, other FROM {pairs.table} ORDER BY hash(id) LIMIT {SAMPLE}) AS p {BOTH_ROWS}"
    )
    cost = 2.0 + len(others).bit_length()
    for count, n in sorted(zip(found, others, strict=True), reverse=True)[:BEST]:
        if not count:
            continue
        control = _by_chance(pairs, n)
        name = pairs.columns[n].name
        table = pairs.remember(
            f"SELECT p.id, coalesce(t.v{n} = s.{mine}, false) AS mutual FROM {PAIRS_TABLE} AS p {BOTH_ROWS} WHERE t.{mine} = s.v{n}"
        )
        yield Fit(
            "swapped-columns", f"id IN (SELECT id FROM {table} WHERE mutual)", f'the values of this column and of "{name}" are exchanged',
            BY_NAME, cost, control=control,
        )  # fmt: skip
        yield Fit(
            "another-column", f"id IN (SELECT id FROM {table})", f'the target holds the source\'s "{name}"', BY_NAME, cost,
            control=control,
        )  # fmt: skip


def _neighbour(pairs: Pairs) -> Iterable[Fit]:
    """The values of the rows before and after, in the order of the key, among those that differ anywhere."""
    if not pairs.key:
        return
    names = [column.name for column in pairs.columns]
    parts = [(names.index(name), pairs.columns[names.index(name)].comparison) for name in pairs.key]
    order = ", ".join(f"s.v{n}" if kind == "text" else f"TRY_CAST(s.v{n} AS DOUBLE), s.v{n}" for n, kind in parts)
    # The hash of a value is enough, and a value may be long.
    value = f"hash(s.v{pairs.index})"
    table = pairs.remember(
        f"SELECT s.id, lag({value}) OVER w AS before, lead({value}) OVER w AS after FROM pairs JOIN rest AS s ON s.id = pairs.s "
        f"WHERE pairs.t IS NOT NULL WINDOW w AS (ORDER BY {order})"
    )
    chance = max(_anywhere(pairs), 1e-4)
    for column, word in (("before", "preceding"), ("after", "following")):
        ids = pairs.remember(
            f"SELECT p.id FROM {PAIRS_TABLE} AS p JOIN {table} USING (id) JOIN rest AS t ON t.id = p.other "
            f"WHERE hash(t.v{pairs.index}) = {column}"
        )
        ((moved, all_of_them),) = pairs.rows(
            f"SELECT (SELECT count(*) FROM {ids}), (SELECT count(*) FROM {PAIRS_TABLE})"
        )
        if 2 * moved < all_of_them:
            continue
        yield Fit(
            "neighbouring-row", f"id IN (SELECT id FROM {ids})", f"the target holds the value of the {word} row, in the order of the key",
            BY_POSITION, cost=3.0, accident=chance, least=3, by_rows=True, control=(0, 0),
        )  # fmt: skip


def _by_chance(pairs: Pairs, other: int) -> tuple[int, int]:
    """How often a target's value is that of the other column in a row of another pair, and of how many tries."""
    ((hits, tries),) = pairs.rows(
        f"SELECT count(*) FILTER (t.v{pairs.index} = s.v{other}), count(*) FROM {CROSSED_TABLE} AS p {BOTH_ROWS}"
    )
    return hits, tries


def _anywhere(pairs: Pairs) -> float:
    """How often a target's value is that of a row picked at random."""
    ((share,),) = pairs.rows(
        f"WITH sources AS (SELECT hash(s) AS value, count(*) AS n FROM {pairs.table} GROUP BY value), "
        f"targets AS (SELECT hash(t) AS value, count(*) AS n FROM {pairs.table} GROUP BY value) "
        f"SELECT coalesce(sum(sources.n::DOUBLE * targets.n), 0) / (SELECT count(*)::DOUBLE ^ 2 FROM {pairs.table}) "
        "FROM sources JOIN targets USING (value)"
    )
    return float(share)


HYPOTHESES: tuple[Hypothesis, ...] = (
    Hypothesis("swapped-columns", ANY, _other_column),
    Hypothesis("neighbouring-row", ANY, _neighbour, fallback=True),
)
