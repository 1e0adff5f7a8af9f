"""Texts: trimmed, padded, cut, in another case, with something before or after, read as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from helpers.platforms.postgres import literal
from helpers.verify.hypotheses.base import SELF_EVIDENT, TEXTS, Fit, Hypothesis, Said, fitted, fixed
from helpers.verify.hypotheses.pairs import PROPOSED, Family, Pairs

CUT: frozenset[Family] = TEXTS | {"json", "array", "binary"}
BINARY: frozenset[Family] = frozenset({"binary"})

SPACES = "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)"
"""What PostgreSQL's, Python's and the readers' trim take away, in one or another of them."""

USUAL_LENGTHS = frozenset(
    map(
        int,
        (
            "8 10 12 15 16 20 24 25 30 31 32 35 36 40 45 48 50 60 63 64 80 100 120 127 128 150 160 200 240 250 254 "
            "255 256 300 400 500 512 1000 1023 1024 2000 2048 4000 4096 8000 8192 10000 16384 32000 32767 32768 65535 "
            "65536 1048576 8388608 16777216 134217728"
        ).split(),
    )
)
"""Lengths that columns and buffers are declared with, so that one text cut there already says something."""

SHOWN = {" ": "a space", "\n": "a line feed", "\r": "a carriage return", "\t": "a tab", "\r\n": "a line end"}

CASE_FIX = "Something folds the case (LOWER, UPPER, INITCAP, a case-insensitive collation or normaliser): take it out."
CUT_FIX = (
    "A type or buffer of {} lies on the way (a shorter VARCHAR or char, left(), a COPY option that cuts such as "
    "TRUNCATECOLUMNS or ENFORCE_LENGTH = FALSE): widen it."
)
SUBSTRING_FIX = (
    "A substring is taken from or up to the wrong place, or a file of fixed columns is read with the wrong positions: look "
    "at the column's expression."
)

NUMERIC = "regexp_full_match({}, '[+-]?[0-9]+(\\.[0-9]*)?([eE][+-]?[0-9]+)?')"
TRUE = "('t', 'true', 'y', 'yes', 'on', '1')"
FALSE = "('f', 'false', 'n', 'no', 'off', '0')"


def _cut(pairs: Pairs) -> Iterable[Fit]:
    """Cut at a number of characters or, where characters take more bytes than one, at a number of bytes."""
    shorter = replace(pairs, table=pairs.remember(f"FROM {pairs.table} WHERE lt > 0 AND lt < ls AND starts_with(s, t)"))
    found = shorter.top("lt::VARCHAR")
    noise = pairs.noise(found)
    for parameter in found[:PROPOSED]:
        length = int(parameter.value)
        # A type such as char(n) or a trim takes trailing spaces away after the cut.
        predicate = f"TRY(ls > {length} AND lt > 0 AND (t = left(s, {length}) OR t = rtrim(left(s, {length}), ' ')))"
        # The text of bytes is \x and two digits for each.
        size, unit = (length // 2 - 1, "bytes") if pairs.family == "binary" else (length, "characters")
        yield _cut_at(predicate, size, unit, noise)
    sizes = [int(parameter.value) for parameter in shorter.top("strlen(t)::VARCHAR", 1)]
    ((most,),) = shorter.rows(f"SELECT max(strlen(t)) FROM {shorter.table}")
    for size in dict.fromkeys((*sizes, most) if sizes else ()):
        fits = f"strlen(t) <= {size} AND strlen(left(s, lt + 1)) > {size}"
        yield _cut_at(f"TRY(lt > 0 AND lt < ls AND starts_with(s, t) AND {fits})", size, "bytes", noise)


def _cut_at(predicate: str, size: int, unit: str, noise: float) -> Fit:
    usual = size in USUAL_LENGTHS
    what, likely = f"the target is cut after {size:,} {unit}", CUT_FIX.format(f"{size:,} {unit}")
    cost = math.log(20) + (0 if usual else 2) + (1 if unit == "bytes" else 0)
    return Fit("truncated-text", predicate, what, likely, cost, noise=noise, least=1 if usual else 3)


def _padded(pairs: Pairs) -> Iterable[Fit]:
    for side, character, function in (("left", "left(t, 1)", "lpad"), ("right", "right(t, 1)", "rpad")):
        padded = f"lt > ls AND lt <= 10000 AND t = {function}(s, lt::INT, {character})"
        expression = f"CASE WHEN {padded} THEN {character} || lt END"
        for parameter in pairs.top(expression, 2):
            filler, length = parameter.value[0], int(parameter.value[1:])
            shown = "spaces" if filler == " " else f"'{filler}'"
            yield Fit(
                "padded",
                f"TRY(({expression}) = {literal(parameter.value)})",
                f"the target is padded on the {side} with {shown} to {length:,} characters",
                f"A type or format of fixed length lies on the way (char({length}), {function}, a file of fixed columns): "
                "use a type of variable length.",
                math.log(50),
                least=1 if filler in " 0" else 2,
            )


def _affixes(longer: str, shorter: str, verb: str) -> tuple[Hypothesis, ...]:
    """What stands before or after every text: a currency, a unit, a line end."""

    def say(where: str, text: str) -> Said:
        likely = (
            "An expression or a format adds or takes it on one side only: look at the column's expression and at the "
            "file's line ends and units."
        )
        what = f"{SHOWN.get(text, repr(text))} is {verb} at the {where}"
        return Said(what, likely, 1 + 3.3 * len(text), least=1 if text in SHOWN else 2)

    count = f"(length({longer}) - length({shorter}))"
    some = f"{count} BETWEEN 1 AND 40 AND length({shorter}) > 0"
    after = f"CASE WHEN {some} AND starts_with({longer}, {shorter}) THEN right({longer}, {count}) END"
    before = f"CASE WHEN {some} AND suffix({longer}, {shorter}) THEN left({longer}, {count}) END"
    return (
        fitted(f"affix-{verb}", TEXTS | BINARY, after, lambda _, text: say("end", text)),
        fitted(f"affix-{verb}", TEXTS | BINARY, before, lambda _, text: say("start", text)),
    )


def _lost(which: str, matches: str) -> Hypothesis:
    def say(_: Pairs, text: str) -> Said:
        count = int(text)
        lost = f"the {which} character is lost" if count == 1 else f"the {which} {count:,} characters are lost"
        return Said(lost, SUBSTRING_FIX, 3 + 2 * math.log(count), least=3)

    expression = f"CASE WHEN lt > 0 AND lt < ls AND {matches} THEN (ls - lt)::VARCHAR END"
    return fitted(f"{which}-characters-lost", TEXTS, expression, say)


HYPOTHESES: tuple[Hypothesis, ...] = (
    fixed("trimmed-right", TEXTS, f"lt < ls AND t IN (rtrim(s, ' '), rtrim(s, {SPACES}))", accident=SELF_EVIDENT),
    fixed("trimmed-left", TEXTS, f"lt < ls AND t IN (ltrim(s, ' '), ltrim(s, {SPACES}))", accident=SELF_EVIDENT),
    fixed("trimmed", TEXTS, f"lt < ls AND t IN (trim(s, ' '), trim(s, {SPACES}))", accident=SELF_EVIDENT),
    fixed("lower-case", TEXTS, "lower(s) = lower(t) AND NOT regexp_matches(t, '\\p{Lu}')"),
    fixed(
        "upper-case",
        TEXTS,
        "(lower(s) = lower(t) OR t = replace(upper(s), 'ẞ', 'SS')) AND NOT regexp_matches(t, '\\p{Ll}')",
    ),
    fixed(
        "leading-zeros-lost",
        TEXTS,
        "lt < ls AND starts_with(s, '0') AND t = coalesce(nullif(ltrim(s, '0'), ''), '0') "
        "AND regexp_full_match(s, '[0-9]+')",
    ),
    Hypothesis("padded", TEXTS, _padded),
    fixed(
        "number-reformatted",
        TEXTS,
        f"s <> t AND {NUMERIC.format('s')} AND {NUMERIC.format('t')} AND TRY_CAST(s AS DOUBLE) = TRY_CAST(t AS DOUBLE)",
    ),
    fixed(
        "boolean-spelling",
        TEXTS | {"boolean"},
        f"s <> t AND ((lower(s) IN {TRUE} AND lower(t) IN {TRUE}) OR (lower(s) IN {FALSE} AND lower(t) IN {FALSE}))",
        accident=1e-3,
    ),
    Hypothesis("truncated-text", CUT, _cut),
    *_affixes("t", "s", "added"),
    *_affixes("s", "t", "removed"),
    _lost("last", "starts_with(s, t)"),
    _lost("first", "suffix(s, t)"),
)

WHITE_SPACE: tuple[Hypothesis, ...] = (
    fixed(
        "spaces-collapsed",
        TEXTS,
        f"CASE WHEN lt < ls THEN t IN (regexp_replace(s, '\\s+', ' ', 'g'), "
        f"regexp_replace(trim(s, {SPACES}), '\\s+', ' ', 'g')) ELSE contains(s, chr(160)) AND t = replace(s, chr(160), ' ') END",
        accident=SELF_EVIDENT,
    ),
    fixed(
        "white-space",
        TEXTS,
        "s <> t AND t <> '' AND regexp_replace(s, '\\s+', '', 'g') = regexp_replace(t, '\\s+', '', 'g')",
        accident=1e-4,
        fallback=True,
    ),
)
"""Tested after everything else that takes or adds white space."""
