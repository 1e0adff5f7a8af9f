"""The bits of a double by arithmetic alone, for engines that cannot show them.

IEEE 754 binary64 of a positive number a with exponent e, 2^e ≤ a < 2^(e+1), is (e + 1023) · 2^52 + (a / 2^e − 1) · 2^52, and
below 2^-1022, where the exponent field is 0, a · 2^1074. Every step is exact: a division by a power of two, a subtraction of
1 from a number in [1, 2), a product with a power of two. Only the logarithm is not: it is taken a little too small, so that
the exponent found is the right one or the one below, and a / 2^e, then from 2 to 4, tells which.
"""

from __future__ import annotations

SMALLEST_NORMAL = "2.2250738585072014e-308"
MARGIN = "1e-9"
"""Far more than the error of a logarithm to the base 2 of at most 1,074, in units of its last place."""


def bits(magnitude: str, *, floor: str, log: str, power: str, integer: str, double: str = "{x}") -> str:
    """The SQL of the bits of `magnitude` as a whole number; it must be positive and finite.

    Args:
        magnitude: SQL of a double.
        floor, log, power: the engine's functions of that name, the logarithm being the natural one.
        integer: how it casts `{x}`, a whole double below 2^53, to an exact number of 18 digits.
        double: how it writes the constant `{x}`, so that it is a double and no decimal.
    """
    two, smallest, margin = (double.format(x=x) for x in ("2e0", SMALLEST_NORMAL, MARGIN))
    exponent = f"{floor}({log}({magnitude}) / {log}({two}) - {margin})"
    scaled = f"{magnitude} / {power}({two}, {exponent})"
    fraction = f"(CASE WHEN {scaled} < 2 THEN {scaled} - 1 ELSE {scaled} / 2 END) * 4503599627370496"
    normal = f"{integer.format(x=f'({exponent} + 1023)')} * 4503599627370496 + {integer.format(x=fraction)}"
    half = f"{power}({two}, 537)"
    denormal = integer.format(x=f"{magnitude} * {half} * {half}")
    return f"CASE WHEN {magnitude} < {smallest} THEN {denormal} ELSE {normal} END"
