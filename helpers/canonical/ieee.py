"""The bits of a double by arithmetic alone, for engines that cannot show them.

IEEE 754 binary64 of a positive number a with exponent e, 2^e ≤ a < 2^(e+1), is (e + 1023) · 2^52 + (a / 2^e − 1) · 2^52, and
below 2^-1022, where the exponent field is 0, a · 2^1074. Every step is exact: a division by a power of two, a subtraction of
1 from a number in [1, 2), a product with a power of two. Only the logarithm is not, and it is put right by comparison.
"""

from __future__ import annotations

SMALLEST_NORMAL = "2.2250738585072014e-308"
LARGEST_EXPONENT = 1023


def bits(magnitude: str, *, floor: str, log: str, power: str, integer: str, double: str = "{x}") -> str:
    """The SQL of the bits of `magnitude` as a whole number; it must be positive and finite.

    Args:
        magnitude: SQL of a double.
        floor, log, power: the engine's functions of that name, the logarithm being the natural one.
        integer: how it casts `{x}`, a whole double below 2^63, to an exact number.
        double: how it writes the constant `{x}`, so that it is a double and no decimal.
    """
    two, smallest = double.format(x="2e0"), double.format(x=SMALLEST_NORMAL)
    guess = f"LEAST({floor}({log}({magnitude}) / {log}({two})), {LARGEST_EXPONENT})"
    exponent = (
        f"({guess} + CASE WHEN {magnitude} < {power}({two}, {guess}) THEN -1 "
        f"WHEN {magnitude} / {power}({two}, {guess}) >= 2 THEN 1 ELSE 0 END)"
    )
    normal = (
        f"{integer.format(x=f'({exponent} + 1023)')} * 4503599627370496 + "
        f"{integer.format(x=f'({magnitude} / {power}({two}, {exponent}) - 1) * 4503599627370496')}"
    )
    half = f"{power}({two}, 537)"
    denormal = integer.format(x=f"{magnitude} * {half} * {half}")
    return f"CASE WHEN {magnitude} < {smallest} THEN {denormal} ELSE {normal} END"
