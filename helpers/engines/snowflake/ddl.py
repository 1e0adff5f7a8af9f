"""How Snowflake defines tables: its types (https://docs.snowflake.com/en/sql-reference/intro-summary-data-types), as its catalog
gives them, and its defaults.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import inf

from helpers.model import defaults
from helpers.model.declared import POSTGRESQL, Ddl, Declared, Rule
from helpers.platforms.snowflake import literal


def snowflake_default(default: str | None, source: Declared, target: Declared) -> str | None:
    """A default of PostgreSQL's as Snowflake's DDL takes it: of numbers, texts, booleans and dates, with a cast where the
    constant alone is of another type (https://docs.snowflake.com/en/sql-reference/sql/create-table).

    Args:
        default: PostgreSQL's expression, empty for none, None where it is not known.
        source: the column's type there.
        target: its type in Snowflake.

    Returns:
        The SQL of the constant, empty for none; None where it is an expression, or no value of the target's type.
    """
    if not default:
        return default
    found = defaults.constant(default, source, POSTGRESQL)
    if found is None:
        return None
    if found.value is None:
        return ""
    value = found.value
    match target.family:
        case "number":
            return f"{value:f}" if isinstance(value, Decimal) and _fits(value, target) else None
        case "float":
            return f"{value}::FLOAT" if isinstance(value, Decimal) else None
        case "boolean":
            return str(value).upper() if isinstance(value, bool) else None
        case "date":
            return f"{literal(value)}::DATE" if isinstance(value, str) else None
        case "text":
            return literal(value) if isinstance(value, str) and len(value) <= target.size else None
        case _:
            return None


def _fits(number: Decimal, target: Declared) -> bool:
    scaled = Fraction(number) * Fraction(10) ** int(target.places or 0)
    return number.copy_abs() < Decimal(10) ** int(target.size) and scaled.denominator == 1


SNOWFLAKE = Ddl(
    "snowflake",
    {
        "NUMBER": Rule("number", "digits and places", size=38),
        "FLOAT": Rule("float", size=53),
        "VARCHAR": Rule("text", "size", size=inf),
        "BINARY": Rule("bytes", "size", size=inf),
        "DATE": Rule("date"),
        "TIME": Rule("time", "places", places=None),
        "TIMESTAMP_NTZ": Rule("timestamp", "places", places=None),
        "TIMESTAMP_LTZ": Rule("timestamptz", "places", places=None),
        "BOOLEAN": Rule("boolean"),
        # TIMESTAMP_TZ is left to its name: it keeps an offset beside the instant, which no type of PostgreSQL does.
    },
    sqlglot="snowflake",
    staged="snowflake",
    default=snowflake_default,
    keys="all",
)
