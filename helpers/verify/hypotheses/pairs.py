"""The differing pairs of one column, as a table in DuckDB that hypotheses ask.

A pair is a source's value `s` and the target's value `t` that differ, in the same column and row. The table has a row for
each: `id` and `other` (ids of the source's and the target's row in `rest`), the texts `s` and `t` with their characters
`ls` and `lt`, `pair` (a hash of both), `first` (true for one row of each distinct pair), `info` (nats that the target's
text holds). Numbers have `sd`, `td` (doubles, NULL unless finite), `sx`, `tx` (exact, as integers in units of the column's
last place, NULL where they do not fit), `sn`, `tn` (significant digits) and `sp`, `tp` (digits after the point, below 0
where a number ends with zeros before it); dates and times have `su`, `tu` (microseconds).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import duckdb

from helpers.engines.base import DuckDB
from helpers.engines.columns import ComparedColumn
from helpers.model import types

Family = Literal["number", "float", "moment", "date", "time", "boolean", "json", "array", "binary", "text"]

PAIRS_TABLE = "diagnosis_pairs"
LOOKED_TABLE = "diagnosis_looked"
CROSSED_TABLE = "diagnosis_crossed"
DIFFERING_TABLE = "diagnosis_differing"
TABLES = (PAIRS_TABLE, LOOKED_TABLE, CROSSED_TABLE, DIFFERING_TABLE)

HELD_CHARACTERS = 128_000_000
"""Of a column's differing values; where they have more, an even sample stands for them."""

EXAMINED_PAIRS = 30_000
EXAMINED_CHARACTERS = 30_000_000
"""Distinct pairs, and characters in them, that Python examines at most: a few seconds of work."""

LOOKED_AT = 10_000
"""Rows at most in which hypotheses are looked for first; those that show there are then asked about all rows."""

PROPOSED = 3
"""The most frequent parameters of a hypothesis, which are tested; whatever the next one explains, chance does too."""

NARROW = 18
"""Digits that fit into 64 bits."""

CROSSED_SOURCES = 500
CROSSINGS = 10
"""Sources that are put together with other pairs' targets, and with how many each."""


@dataclass(frozen=True)
class Parameter:
    """A value that an expression takes, and how many distinct pairs and rows give it."""

    value: str
    distinct: int
    rows: int


@dataclass(frozen=True)
class Pairs:
    """The pairs that nothing explains yet, or a sample of them.

    Attributes:
        index: of the column: cN and vN in `rest`.
        columns: all of them.
        key: names of the key's columns.
        compared_rows: rows of the source in all, where it is known.
        total: how many pairs differ, held or not.
        stride: of how many distinct pairs one is examined by what cannot be asked in SQL.
        length: characters of a pair, on the average.
        scale: digits after the point that `sx` and `tx` count in units of.
        table: where they are.
        made: tables that hypotheses have created for this round.
    """

    duck: DuckDB
    column: ComparedColumn
    index: int
    family: Family
    columns: Sequence[ComparedColumn]
    key: Sequence[str]
    compared_rows: int | None
    total: int
    stride: int
    length: int
    scale: int
    table: str = PAIRS_TABLE
    made: list[str] = field(default_factory=list)

    @property
    def crossed(self) -> Pairs:
        """Sources with the targets of other pairs, to see what fits by accident."""
        return replace(self, table=CROSSED_TABLE)

    @property
    def examined(self) -> str:
        """SQL that is true for an even sample, the same in every round."""
        return f"pair % {self.stride} = 0"

    @property
    def looked_at(self) -> int:
        """Rows in which hypotheses are looked for first."""
        return min(LOOKED_AT, HELD_CHARACTERS // 4 // self.length)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """A query's rows."""
        try:
            return self.duck.execute(sql).fetchall()
        except duckdb.Error:
            # DuckDB computes once, and outside of the TRY around it, what two expressions have in common (1.5.5).
            self.duck.execute("SET disabled_optimizers = 'common_subexpressions'")
            try:
                return self.duck.execute(sql).fetchall()
            finally:
                self.duck.execute("RESET disabled_optimizers")

    def top(self, expression: str, limit: int = PROPOSED + 1, where: str = "true") -> list[Parameter]:
        """The most frequent values of a text expression, NULL aside."""
        found = self.rows(
            f"SELECT p, count(*) FILTER (first), count(*) FROM (SELECT first, TRY({expression}) AS p FROM {self.table} "
            f"WHERE {where}) WHERE p IS NOT NULL GROUP BY p ORDER BY 3 DESC, p LIMIT {limit}"
        )
        return [Parameter(*row) for row in found]

    def noise(self, found: Sequence[Parameter]) -> float:
        """The share of distinct pairs that a parameter has which is not among the few that are proposed."""
        return found[PROPOSED].distinct / max(1, self.count("first")) if len(found) > PROPOSED else 0.0

    def count(self, predicate: str = "true") -> int:
        """Rows for which it holds."""
        ((count,),) = self.rows(f"SELECT count(*) FILTER (coalesce({predicate}, false)) FROM {self.table}")
        return int(count)

    def remember(self, query: str) -> str:
        """Creates a table of the query's rows that lives until the round is over; its name."""
        name = f"diagnosis_fit_{len(self.made)}"
        self.rows(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")
        self.made.append(name)
        return name

    def forget(self) -> None:
        """Drops what was remembered."""
        for name in self.made:
            self.duck.execute(f"DROP TABLE {name}")
        self.made.clear()


def collect(
    duck: DuckDB, columns: Sequence[ComparedColumn], index: int, key: Sequence[str], compared_rows: int | None
) -> Pairs:
    """Creates the table of a column's differing pairs."""
    kind = family(columns[index])
    # A float's text has the digits that were meant, and its value all those of the double.
    text = f"c{index}" if kind == "float" else f"v{index}"
    whole, places = _digits_needed(duck, index) if kind in ("number", "float") else (0, 0)
    scale = min(places, 2 * NARROW - min(NARROW, whole))
    forms = _forms(kind, scale, wide=whole + scale > NARROW)
    parsed = "".join(f", {form.format(x=x)} AS {x}{letter}" for letter, form in forms.items() for x in "st")
    total, every = _differing(duck, index)
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE {PAIRS_TABLE} AS WITH texts AS (SELECT d.id, d.other, s.{text} AS s, t.{text} AS t, "
        f"s.v{index} AS sv, t.v{index} AS tv FROM {DIFFERING_TABLE} AS d JOIN rest AS s ON d.id = s.id "
        f"JOIN rest AS t ON d.other = t.id WHERE hash(d.id) % {every} = 0), "
        f"parsed AS (SELECT *, length(s) AS ls, length(t) AS lt, hash(s, t) AS pair{parsed} FROM texts) "
        f"SELECT * EXCLUDE (sv, tv), false AS first, {_information(kind)} AS info FROM parsed"
    )
    # A window function would keep the texts in memory, which may be long.
    duck.execute(f"UPDATE {PAIRS_TABLE} SET first = true WHERE id IN (SELECT min(id) FROM {PAIRS_TABLE} GROUP BY pair)")
    ((distinct, characters),) = duck.execute(
        f"SELECT count(*), coalesce(sum(coalesce(ls, 0) + coalesce(lt, 0)), 0)::BIGINT FROM {PAIRS_TABLE} WHERE first"
    ).fetchall()
    stride = max(1, -(-distinct // EXAMINED_PAIRS), -(-characters // EXAMINED_CHARACTERS))
    length = 1 + characters // max(1, distinct)
    return Pairs(duck, columns[index], index, kind, columns, key, compared_rows, total, stride, length, scale)


def _differing(duck: DuckDB, index: int) -> tuple[int, int]:
    """Creates the table of the differing pairs' ids; how many there are, and of how many the texts of one can be held."""
    hashed = f"(SELECT id, hash(v{index}) AS value, coalesce(length(c{index}), 0) AS characters FROM rest)"
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE {DIFFERING_TABLE} AS SELECT s.id, t.id AS other, s.characters + t.characters AS characters "
        f"FROM pairs JOIN {hashed} AS s ON pairs.s = s.id JOIN {hashed} AS t ON pairs.t = t.id WHERE s.value <> t.value"
    )
    ((total, characters),) = duck.execute(
        f"SELECT count(*), coalesce(sum(characters), 0) FROM {DIFFERING_TABLE}"
    ).fetchall()
    return total, max(1, -(-int(characters) // HELD_CHARACTERS))


def look(pairs: Pairs, *, wide: bool) -> Pairs:
    """Where to look for hypotheses: in an even sample, or in all pairs if `wide`; also creates the crossed pairs."""
    looked = pairs
    if not wide and pairs.count() > pairs.looked_at:
        looked = replace(pairs, table=LOOKED_TABLE)
        pairs.rows(
            f"CREATE OR REPLACE TEMP TABLE {LOOKED_TABLE} AS SELECT * REPLACE (row_number() OVER (PARTITION BY pair) = 1 AS first) "
            f"FROM {pairs.table} WHERE id IN (SELECT id FROM {pairs.table} ORDER BY hash(id) LIMIT {pairs.looked_at})"
        )
    names = [name for (name,) in pairs.rows(f"SELECT column_name FROM (DESCRIBE {pairs.table})")]
    targets = {"other", "info", *(name for name in names if name.startswith("t") or name == "lt")}
    made = {"pair": "hash(a.s, b.t)", "first": "true"}
    mixed = ", ".join(f"{made.get(n) or ('b.' if n in targets else 'a.') + n} AS {n}" for n in names)
    sources = max(2, min(CROSSED_SOURCES, HELD_CHARACTERS // 8 // CROSSINGS // pairs.length))
    pairs.rows(
        f"CREATE OR REPLACE TEMP TABLE {CROSSED_TABLE} AS WITH numbered AS (SELECT *, row_number() OVER (ORDER BY pair) - 1 "
        f"AS place FROM (FROM {looked.table} WHERE first ORDER BY pair LIMIT {sources})), size AS (SELECT count(*) AS n "
        f"FROM numbered) SELECT {mixed} FROM numbered AS a, size, range(1, {CROSSINGS + 1}) AS steps(step) "
        f"JOIN numbered AS b ON step < n AND b.place = (a.place + step) % n WHERE a.s IS DISTINCT FROM b.t"
    )
    return looked


def family(column: ComparedColumn) -> Family:
    """Which hypotheses a column's type admits."""
    if column.comparison in ("float4", "float8"):
        return "float"
    if column.comparison == "number":
        return "number"
    if column.postgres.endswith("]"):
        return "array"
    match types.type_name(re.sub(r"\s*\([^)]*\)", "", column.postgres)):
        case "timestamp" | "timestamptz":
            return "moment"
        case "date":
            return "date"
        case "time":
            return "time"
        case "bool":
            return "boolean"
        case "json" | "jsonb":
            return "json"
        case "bytea":
            return "binary"
        case _:
            return "text"


def digits(number: str) -> str:
    """SQL of a number's digits without its sign, its point, its exponent and the zeros around."""
    return f"trim(replace(ltrim(split_part({number}, 'e', 1), '-'), '.', ''), '0')"


def _digits_needed(duck: DuckDB, index: int) -> tuple[int, int]:
    """The most digits before and after the point that the column's numbers have, exponents aside."""
    number = f"c{index}"
    ((whole, places),) = duck.execute(
        f"SELECT max(length(split_part(ltrim({number}, '-'), '.', 1))), max(length(split_part({number}, '.', 2))) FROM rest "
        f"WHERE NOT contains({number}, 'e') AND NOT contains({number}, 'N')"
    ).fetchall()
    return whole or 0, places or 0


def _integer(scale: int, *, wide: bool) -> str:
    """SQL of a decimal number in units of its last place; NULL where it is none, or has more places.

    DuckDB takes 20 seconds to cast a million texts to DECIMAL(38), and none at all to cast them to BIGINT (1.5.5).
    """
    digits = f"replace({{x}}, '.', '') || repeat('0', {scale} - length(split_part({{x}}, '.', 2)))"
    fits = f"NOT contains({{x}}, 'e') AND length(split_part({{x}}, '.', 2)) <= {scale}"
    if not wide:
        return f"CASE WHEN {fits} THEN TRY_CAST({digits} AS BIGINT) END"
    unsigned = f"lpad(ltrim({digits}, '-'), {2 * NARROW}, '0')"
    high, low = (f"TRY_CAST({end}({unsigned}, {NARROW}) AS BIGINT)::HUGEINT" for end in ("left", "right"))
    sign = "if(starts_with({x}, '-'), -1, 1)"
    return f"CASE WHEN {fits} AND length({digits}) <= {2 * NARROW} THEN {sign} * ({high} * {10**NARROW} + {low}) END"


def _forms(kind: Family, scale: int, *, wide: bool) -> dict[str, str]:
    """What a text `{x}` with the value `{x}v` can be computed with: the letter after s and t in the column's name, and its SQL."""
    match kind:
        case "number" | "float":
            return {
                "d": "CASE WHEN isfinite(TRY_CAST({x}v AS DOUBLE)) THEN TRY_CAST({x}v AS DOUBLE) END",
                "x": _integer(scale, wide=wide),
                "n": f"length({digits('{x}')})",
                "p": "CASE WHEN {x} = '0' OR contains({x}, 'e') THEN -99 WHEN contains({x}, '.') "
                "THEN length({x}) - strpos({x}, '.') ELSE length(rtrim({x}, '0')) - length({x}) END",
            }
        case "moment" | "date":
            return {"u": "epoch_us(TRY_CAST(replace(replace({x}, '+00', ''), ' BC', ' (BC)') AS TIMESTAMP))"}
        case "time":
            return {"u": "epoch_us(TRY_CAST({x} AS TIME))"}
        case _:
            return {}


def _information(kind: Family) -> str:
    """SQL of the nats in a target's text: how improbable it is that a value replaced at random is just this one."""
    match kind:
        case "number" | "float":
            nats = f"2.3 * length({digits('t')})"
        case "moment":
            # Times on the grid of a schedule, and midnights, say less than those to the second.
            nats = f"CASE WHEN tu % {24 * 3_600_000_000} = 0 THEN 8.5 WHEN tu % {900_000_000} = 0 THEN 9.5 ELSE 16 END"
        case "date":
            nats = "8.5"
        case "json":
            nats = "16"
        case "time":
            nats = "11"
        case "boolean":
            nats = "0.7"
        case _:
            nats = "3.2 * length(t)"
    return f"CAST(least(16, greatest(0.7, coalesce({nats}, 2.3))) AS FLOAT)"
