"""Dates, timestamps and times of day: shifted, cut off, with their parts exchanged."""

from __future__ import annotations

import math
from collections.abc import Iterable

from helpers.verify.hypotheses.base import MOMENTS, SELF_EVIDENT, TIMES, Fit, Hypothesis, Said, fitted, fixed
from helpers.verify.hypotheses.pairs import PROPOSED, Family, Pairs
from helpers.verify.hypotheses.zones import EASTMOST, QUARTER, SESSION, constant_offset, daylight_saving

MICROSECOND, MILLISECOND, SECOND, MINUTE, HOUR = 1, 1_000, 1_000_000, 60_000_000, 3_600_000_000
DAY = 24 * HOUR

FRACTIONS = {
    100 * MICROSECOND: "tenths of a millisecond",
    MILLISECOND: "milliseconds",
    10 * MILLISECOND: "hundredths of a second",
    100 * MILLISECOND: "tenths of a second",
    SECOND: "seconds",
    MINUTE: "minutes",
    HOUR: "hours",
}

MOMENT: frozenset[Family] = frozenset({"moment"})
CLOCK: frozenset[Family] = frozenset({"moment", "time"})

GREGORIAN = -12_219_292_800_000_000
"""Midnight of 1582-10-15 in microseconds since 1970."""


def _floor(unit: int) -> str:
    return f"(su - ((su % {unit}) + {unit}) % {unit})"


def _fractions(_: Pairs) -> Iterable[Fit]:
    for unit, name in FRACTIONS.items():
        finer = f"su % {unit} <> 0"
        near = f"tu % {unit} = 0 AND 2 * abs(tu::HUGEINT - su::HUGEINT) <= {unit}"
        likely = (
            f"A type or format on the way keeps {name} only (Python's and Java's formats, TIMESTAMP({_scale(unit)}), "
            "epoch integers): widen it to microseconds."
        )
        yield Fit(
            "fraction-truncated", f"TRY({finer} AND tu = {_floor(unit)})", f"the target is cut off to {name}", likely, math.log(14),
        )  # fmt: skip
        yield Fit(
            "fraction-rounded", f"TRY({finer} AND {near})", f"the target is rounded to {name}", likely, math.log(14)
        )  # fmt: skip
    ticks = f"(round(su * 3 / {10 * MILLISECOND}) * {10 * MILLISECOND} / 3)"
    yield Fit(
        "fraction-rounded", f"TRY(tu % {MILLISECOND} = 0 AND abs({ticks} - tu) <= {MILLISECOND // 2})",
        "the target is rounded to three-hundredths of a second",
        "The value passed through SQL Server's type datetime: use datetime2(6).", math.log(14),
    )  # fmt: skip


def _scale(unit: int) -> int:
    return max(0, 6 - round(math.log10(unit)))


def _shift(pairs: Pairs) -> Iterable[Fit]:
    difference = "(tu::HUGEINT - su::HUGEINT)"
    if pairs.family == "time":
        difference = f"((({difference} + {DAY + DAY // 2}) % {DAY}) - {DAY // 2})"
    found = pairs.top(f"nullif({difference}, 0)::VARCHAR")
    noise = pairs.noise(found)
    for parameter in found[:PROPOSED]:
        shift = int(parameter.value)
        predicate = f"TRY({difference} = {shift})"
        said = _say_shift(pairs, shift, predicate)
        yield Fit(
            said.cause or "shifted-by-constant", predicate, said.what, said.likely, said.cost, None, noise, said.least
        )


def _say_shift(pairs: Pairs, shift: int, predicate: str) -> Said:
    what = f"the target is {duration(abs(shift))} {'later' if shift > 0 else 'earlier'}"
    if abs(shift) == DAY and pairs.family in MOMENTS:
        return Said(
            f"the target is one day {'later' if shift > 0 else 'earlier'}",
            "A date went through a timestamp with time zone, or a time zone's midnight through UTC; days counted from 1 "
            "instead of 0 do it too: convert dates as dates.",
            math.log(4),
            cause="off-by-one-day",
        )
    if shift % QUARTER == 0 and abs(shift) <= EASTMOST and pairs.family != "date":
        half_day = " Exactly twelve hours may also be a lost AM or PM." if abs(shift) == 12 * HOUR else ""
        likely = constant_offset(pairs, shift, predicate) if pairs.family == "moment" else f"{SESSION}."
        return Said(f"{what}, an offset of UTC", likely + half_day, math.log(105))  # fmt: skip
    if shift % DAY == 0:
        excel = " 1,462 days lie between Excel's two calendars." if abs(shift) == 1462 * DAY else ""
        likely = (
            "Days are counted from a different start, or an interval is added: look at the column's expression." + excel
        )
        return Said(what, likely, math.log(20) + math.log(abs(shift) // DAY), least=2)
    likely = "A clock, an offset or an interval is added on one side only: look at the column's expression."
    return Said(what, likely, 2.3 * len(str(abs(shift)).rstrip("0")) + 3, least=2)


def duration(microseconds: int) -> str:
    """An interval in words: 5 hours 30 minutes."""
    words = []
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second"), (1, "microsecond")):
        count, microseconds = divmod(microseconds, unit)
        if count:
            words.append(f"{count:,} {name}{'' if count == 1 else 's'}")
    return " ".join(words)


def _say_years(_: Pairs, text: str) -> Said | None:
    years = int(text)
    if years == 0:
        return None
    word, count = ("later" if years > 0 else "earlier"), abs(years)
    what = f"the target is {count:,} year{'' if count == 1 else 's'} {word}, the rest of the date equal"
    if count % 100 == 0:
        likely = "A year of two digits was read in another century: use a format with four digits (YYYY)."
        return Said(what, likely, 1.5, cause="century")
    calendar = " 543 years lie between the Buddhist calendar and ours." if count == 543 else ""
    likely = (
        f"Years are counted from a different start, or an interval is added: look at the column's expression.{calendar}"
    )
    return Said(what, likely, 3 + math.log(count), least=1 if count == 543 else 2)


def _say_months(_: Pairs, text: str) -> Said | None:
    months = int(text)
    if months % 12 == 0:
        return None
    count = abs(months)
    what = f"the target is {count:,} month{'' if count == 1 else 's'} {'later' if months > 0 else 'earlier'}, the day of the month equal"
    likely = "Months are counted from 0 in one place and from 1 in another (JavaScript, Java), or an interval is added."
    return Said(what, likely, 2 + math.log(count), least=2)


YEAR_S, YEAR_T = "substr(s, 1, 4)::INT", "substr(t, 1, 4)::INT"
MONTHS_S, MONTHS_T = f"({YEAR_S} * 12 + substr(s, 6, 2)::INT)", f"({YEAR_T} * 12 + substr(t, 6, 2)::INT)"
PLAIN = "s[5] = '-' AND t[5] = '-' AND NOT contains(s, 'BC') AND NOT contains(t, 'BC')"
CENTURIES = f"(({YEAR_S} - if(substr(s, 6, 2) < '03', 1, 0)) // 100)"

HYPOTHESES: tuple[Hypothesis, ...] = (
    fixed("time-dropped", MOMENT, f"su % {DAY} <> 0 AND tu = {_floor(DAY)}"),
    Hypothesis("fraction-truncated", CLOCK, _fractions),
    fixed("day-month-swapped", MOMENTS, f"{PLAIN} AND s <> t AND t = substr(s, 1, 5) || substr(s, 9, 2) || '-' || substr(s, 6, 2) || substr(s, 11)", accident=1e-3),
    fitted(
        "shifted-by-years", MOMENTS, f"CASE WHEN {PLAIN} AND substr(s, 5) = substr(t, 5) THEN ({YEAR_T} - {YEAR_S})::VARCHAR END",
        _say_years,
    ),
    fitted(
        "shifted-by-months", MOMENTS, f"CASE WHEN {PLAIN} AND substr(s, 8) = substr(t, 8) THEN ({MONTHS_T} - {MONTHS_S})::VARCHAR END",
        _say_months,
    ),
    Hypothesis("shifted-by-constant", TIMES, _shift),
    Hypothesis("time-zone", MOMENT, daylight_saving),
    fixed("epoch-unit", MOMENT, f"abs(su) > {DAY} AND (abs(tu::HUGEINT * 1000 - su) <= 1000 * {SECOND} OR abs(tu::HUGEINT - su::HUGEINT * 1000) <= 1000 * {SECOND})", accident=SELF_EVIDENT),
    fixed("julian-calendar", MOMENTS, f"su < {GREGORIAN} AND {PLAIN} AND abs(tu - su) = {DAY}::HUGEINT * abs({CENTURIES} - {CENTURIES} // 4 - 2)", accident=1e-3),
    fixed("era-lost", MOMENTS, "s = t || ' BC' OR (s LIKE '% BC' AND s = replace(t, '+00', '') || '+00 BC')", accident=SELF_EVIDENT),
    fixed("end-of-day", frozenset({"time"}), "s LIKE '24:00%' AND t LIKE '00:00%'", accident=SELF_EVIDENT),
    fixed("reformatted", TIMES, "su = tu AND s <> t", accident=SELF_EVIDENT),
)  # fmt: skip
