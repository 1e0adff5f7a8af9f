"""Numbers: rounded, cut off, through a float, scaled, shifted, without their sign.

What can be is asked of exact decimals or of the digits themselves; only ratios are doubles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

from helpers.verify.data_quality.sums.amounts import EXACT as UNROUNDED
from helpers.verify.data_quality.sums.amounts import trimmed
from helpers.verify.hypotheses.base import NUMBERS, Fit, Hypothesis, Said, digits_cost, fitted, fixed
from helpers.verify.hypotheses.pairs import Family, Pairs, digits

SPELT_OUT = 40
"""Powers of ten up to which a number is written without an exponent."""

EXACT: frozenset[Family] = frozenset({"number"})
FLOATS: frozenset[Family] = frozenset({"float"})

OTHER_UNIT = (
    "The two sides count in different units (cents and euros, percent and fractions), or a NUMBER without a scale met a "
    "text without a point: look at the column's expression and the target's scale."
)

SQL_ROUNDS = "SQL's ROUND and casts to NUMBER or DECIMAL round this way."
IEEE_ROUNDS = "Python, pandas and IEEE floats round this way."
DOUBLES_ROUND = "A double rounds this way: most decimal halves are a little more or less than half in it."
CUT = "Integer division, TRUNC and casts in many languages truncate this way."
FLOOR = "FLOOR or CEIL does this: look at the column's expression."


def _rounded(pairs: Pairs) -> Iterable[Fit]:
    # 1.999 rounded to two digits prints without any: the usual number of digits tells, not each pair's.
    found = pairs.top(
        "tp::VARCHAR", 3, f"sx <> tx AND sp > tp AND tp BETWEEN {max(-15, pairs.scale - 36)} AND {pairs.scale}"
    )
    for parameter in found:
        yield from _rounded_to(pairs, int(parameter.value))


def _rounded_to(pairs: Pairs, places: int) -> Iterable[Fit]:
    unit, off = 10 ** (pairs.scale - places), "abs(tx - sx)"
    coarser = f"sp > {places} AND tp <= {places} AND sx <> tx"
    last = "right(t, 1)" if places >= 0 else f"substr(t, length(t) + 1 + {places}, 1)"
    even = f"(tp < {places} OR {last} IN ('0', '2', '4', '6', '8'))"
    nearer, half = f"{off} + {off} < {unit}", f"{off} + {off} = {unit}"
    halves = bool(pairs.count(f"TRY({coarser} AND {half})"))
    for cause, condition, what, halving, why in (
        ("rounded", f"{nearer} OR ({half} AND abs(tx) > abs(sx))", "rounded", "half away from zero", SQL_ROUNDS),
        ("rounded", f"{nearer} OR ({half} AND {even})", "rounded", "half to even", IEEE_ROUNDS),
        ("rounded", f"{nearer} OR {half}", "rounded", "half either way", DOUBLES_ROUND),
        ("truncated", f"{off} < {unit} AND abs(tx) < abs(sx)", "cut off", "", CUT),
        ("rounded-down", f"{off} < {unit} AND tx < sx", "rounded down", "", FLOOR),
        ("rounded-up", f"{off} < {unit} AND tx > sx", "rounded up", "", FLOOR),
    ):
        detail = f", {halving}" if halving and halves else ""
        yield Fit(
            cause, f"TRY({coarser} AND ({condition}))", f"the target is {what} {_to(places)}{detail}",
            f"{_kept(places)} {why}", cost=math.log(40),
        )  # fmt: skip


def _to(places: int) -> str:
    if places > 0:
        return f"to {places} digit{'s' if places > 1 else ''} after the point"
    return "to whole numbers" if places == 0 else f"to multiples of {10**-places:,}"


def _kept(places: int) -> str:
    if places > 0:
        return f"A type or cast on the way keeps {places} digit{'s' if places > 1 else ''} after the point: widen it."
    if places < 0:
        return "An expression rounds on the way, as for a report: look at the column's expression."
    return "An integer type or a cast on the way keeps no digits after the point: widen it."


def _significant(pairs: Pairs) -> Iterable[Fit]:
    for parameter in pairs.top("tn::VARCHAR", 2, "sn > tn"):
        count = int(parameter.value)
        if not 2 <= count <= 17:
            continue
        same = f"TRY_CAST(printf('%.{count - 1}e', sd) AS DOUBLE) = td"
        yield Fit(
            "rounded-significant",
            f"TRY(tn <= {count} AND sn > {count} AND {same})",
            f"the target is rounded to {count} significant digits",
            "The number was printed with that many digits and read back: C's %g prints 6, Excel keeps 15, a double 15 "
            "to 17. Print it with all its digits, or load Parquet.",
            cost=math.log(40),
        )  # fmt: skip


def _shift(pairs: Pairs, text: str) -> Said | None:
    return _say_shift(Decimal(text).scaleb(-pairs.scale, context=UNROUNDED))


def _float_shift(pairs: Pairs) -> Iterable[Fit]:
    # Digits of the difference that are left where the values are about a hundred times as great.
    count = 5 if pairs.column.comparison == "float4" else 9
    difference = f"CASE WHEN isfinite(td - sd) THEN printf('%.{count}g', td - sd) END"
    yield from fitted("shifted-by-constant", FLOATS, difference, lambda _, by: _say_shift(Decimal(by))).propose(pairs)


def _say_shift(by: Decimal) -> Said | None:
    if not by:
        return None
    size = trimmed(by).copy_abs()
    shown = format(size, "f") if abs(size.adjusted()) <= SPELT_OUT else str(size.normalize()).lower()
    return Said(
        f"the target is {'less' if by < 0 else 'greater'} by {shown}",
        "A constant is added on the way, or an index counts from another start: look at the column's expression.",
        digits_cost(shown),
        least=2,
    )


def _say_power(_: Pairs, text: str) -> Said | None:
    power = int(text)
    if power == 0:
        return None
    factor = f"{10**power:,}" if power > 0 else f"0.{'0' * (-power - 1)}1"
    return Said(f"the target is {factor} times the source", OTHER_UNIT, math.log(4 if abs(power) in (2, 3) else 20))


def _overflow(pairs: Pairs) -> Iterable[Fit]:
    one = 10**pairs.scale
    for bits in (16, 32, 64):
        size, half = 2**bits * one, 2 ** (bits - 1) * one
        outside = f"(sx >= {half} OR sx < -{half}) AND tx >= -{half} AND tx < {size}"
        yield Fit(
            "integer-overflow",
            f"TRY({outside} AND sx <> tx AND (sx::HUGEINT - tx::HUGEINT) % {size} = 0)",
            f"the target is the source modulo 2^{bits}",
            f"Integers of {bits} bits overflowed on the way: use a wider type.",
            accident=max(1e-6, 2.0**-bits),
        )  # fmt: skip


def _factor(pairs: Pairs) -> Iterable[Fit]:
    """A constant factor, the target rounded to its usual number of digits."""
    ratios = pairs.top("printf('%.2e', td / sd)", 3, RATIO)
    usual = pairs.top("greatest(0, tp)::VARCHAR", 1)
    places = int(usual[0].value) if usual else 0
    for ratio in ratios:
        # The greatest sources tell the ratio best, because the target's rounding disturbs them least.
        ((exact,),) = pairs.rows(
            f"SELECT median(r) FROM (SELECT td / sd AS r FROM {pairs.table} WHERE {RATIO} AND printf('%.2e', td / sd) = "
            f"'{ratio.value}' ORDER BY abs(sd) DESC LIMIT 100)"
        )
        # Between two values far apart the median overflows, and between the least ones it vanishes.
        for factor, spoken in _nice(float(exact)) if exact and math.isfinite(exact) else ():
            rounding = f"0.500001 * pow(10, -{places})" if pairs.family == "number" else "1e-9 * abs(td)"
            close = f"abs(td - sd * {factor!r}) <= greatest({rounding}, 1e-12 * abs(td))"
            yield Fit(
                "constant-factor", f"TRY(sd <> 0 AND td <> 0 AND sd <> td AND {close})", f"the target is {spoken}",
                "A rate, a tax or a unit is applied on one side only: look at the column's expression.",
                cost=digits_cost(spoken.split()[-1] if "divided" in spoken else spoken.split()[0]), least=3,
            )  # fmt: skip


RATIO = "sd <> 0 AND td <> 0 AND isfinite(td / sd) AND td / sd <> 0"
"""Where a ratio says anything: that of two doubles overflows, and vanishes."""


def _nice(ratio: float) -> Iterable[tuple[float, str]]:
    """Factors of few digits near a ratio, and divisors of few digits near its inverse."""
    seen = set()
    for count in (1, 2, 3, 4, 5):
        factor, divisor = float(f"{ratio:.{count}e}"), float(f"{1 / ratio:.{count}e}")
        inverse = 1 / divisor if divisor else 0.0
        for value, number, spoken in (
            (factor, factor, "{} times the source"),
            (inverse, divisor, "the source divided by {}"),
        ):
            shown = f"{number:.12g}"
            near = math.isfinite(value) and math.isfinite(number) and abs(value / ratio - 1) < 5e-3
            if near and shown not in ("1", "-1") and value not in seen:
                seen.add(value)
                yield value, spoken.format(shown)
    fraction = Fraction(ratio).limit_denominator(60)
    if abs(float(fraction) - ratio) < 1e-6 * abs(ratio) and float(fraction) not in seen and abs(fraction) != 1:
        yield float(fraction), f"{fraction} times the source"


SINGLE = "TRY_CAST(sd AS FLOAT)"

SHORTEST = "CASE {} END".format(
    " ".join(
        f"WHEN {count} = 9 OR TRY_CAST(printf('%.{count}g', sd::FLOAT::DOUBLE) AS FLOAT) = {SINGLE} "
        f"THEN TRY_CAST(printf('%.{count}g', sd::FLOAT::DOUBLE) AS DOUBLE)"
        for count in range(6, 10)
    )
)
"""SQL of the float with the fewest digits that still say which one it is."""

HYPOTHESES: tuple[Hypothesis, ...] = (
    fixed("absolute", NUMBERS, "s = '-' || t"),
    fixed("sign-flipped", NUMBERS, "s = '-' || t OR t = '-' || s"),
    fitted(
        "scaled-by-power-of-ten", EXACT,
        f"CASE WHEN sn = tn AND sd * td > 0 AND {digits('s')} = {digits('t')} THEN round(log10(td / sd))::INT::VARCHAR END",
        _say_power,
    ),
    fitted(
        "scaled-by-power-of-ten", FLOATS,
        "CASE WHEN sd * td > 0 AND abs(td - sd * pow(10, round(log10(td / sd)))) <= 1e-6 * abs(td) "
        "THEN round(log10(td / sd))::INT::VARCHAR END",
        _say_power,
    ),
    fixed("decimal-point-lost", NUMBERS, "contains(s, '.') AND t = ltrim(replace(s, '.', ''), '0')"),
    fixed("float32", NUMBERS, f"sd <> {SINGLE}::DOUBLE AND TRY_CAST(td AS FLOAT) = {SINGLE} AND (td = {SINGLE}::DOUBLE OR td = {SHORTEST})"),
    fixed("double", EXACT, "sd = td AND s <> t AND sn > 15 AND (tn <= 17 OR tn > 40 OR t = TRY_CAST(sd AS HUGEINT)::VARCHAR)", accident=1e-6),
    Hypothesis("rounded", NUMBERS, _rounded),
    Hypothesis("rounded-significant", NUMBERS, _significant),
    Hypothesis("integer-overflow", EXACT, _overflow),
    fitted("shifted-by-constant", EXACT, "(tx - sx)::VARCHAR", _shift),
    Hypothesis("shifted-by-constant", FLOATS, _float_shift),
    Hypothesis("constant-factor", NUMBERS, _factor),
)  # fmt: skip
