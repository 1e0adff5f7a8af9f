"""From a side's values to PostgreSQL's texts, and from texts to the values that are compared."""

from __future__ import annotations

import math
from decimal import Context, Decimal, InvalidOperation

import duckdb
import numpy as np

from helpers.engines.columns import ComparedColumn
from helpers.model.types import Comparison

_EXACT = Context(prec=200_000)
"""PostgreSQL's numerics have at most 131,072 digits before the point and 16,383 after it."""


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Adds the functions that the expressions of this module call."""
    connection.create_function("postgres_float", postgres_float, ["DOUBLE", "BOOLEAN"], "VARCHAR")
    connection.create_function("plain_number", plain_number, ["VARCHAR"], "VARCHAR")
    connection.create_function("lies_within", lies_within, ["VARCHAR", "VARCHAR", "VARCHAR"], "BOOLEAN")


def value(text: str, comparison: Comparison) -> str:
    """The value behind PostgreSQL's text, as DuckDB compares it: equal exactly where the values are.

    Numbers are compared by value, so that 1.10 is 1.1; floats by their bits, but −0 is 0 and NaN is NaN; everything
    else by its text, as is what a column of another type holds in the place of a float.
    """
    match comparison:
        case "number":
            return (
                f"CASE WHEN contains({text}, 'e') THEN plain_number({text}) "
                f"WHEN contains({text}, '.') THEN rtrim(rtrim({with_leading_zero(text)}, '0'), '.') ELSE {text} END"
            )
        case "float8":
            return f"coalesce(CAST(TRY_CAST({text} AS DOUBLE) + 0 AS VARCHAR), {text})"
        case "float4":
            return f"coalesce(CAST(CAST(TRY_CAST({text} AS FLOAT) AS DOUBLE) + 0 AS VARCHAR), {text})"
        case "text":
            return text


def printed(text: str, column: ComparedColumn) -> str:
    """A target's text as PostgreSQL would print the value: the scale of a column without one, the digits of a float."""
    if column.comparison == "number" and column.postgres == "numeric":
        return value(text, "number")
    if column.comparison in ("float4", "float8"):
        single = "true" if column.comparison == "float4" else "false"
        return f"coalesce(postgres_float(TRY_CAST({text} AS DOUBLE), {single}), {text})"
    return text


def postgres_float(number: float, single: bool) -> str:
    """The shortest text that PostgreSQL's `float4` or `float8` prints for `number`
    (https://www.postgresql.org/docs/current/datatype-numeric.html#DATATYPE-FLOAT).
    """
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    with np.errstate(over="ignore"):  # what does not fit is infinite, and then another number
        fits = single and float(np.float32(number)) == number
    digits = np.format_float_scientific(np.float32(number) if fits else number, unique=True, trim="-")
    mantissa, _, power = digits.partition("e")
    exponent = int(power)
    if -5 < exponent < (6 if fits else 15):
        return np.format_float_positional(np.float32(number) if fits else number, unique=True, trim="-")
    return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def plain_number(text: str) -> str:
    """A number without an exponent, and without zeros at the end of its fraction; other texts as they are."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite() or abs(number.adjusted()) > 1000:
        return text
    digits = f"{number:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def lies_within(one: str, other: str, tolerance: str) -> bool:
    """Whether two numbers, as texts, lie at most `tolerance` apart; what is no finite number lies nowhere."""
    try:
        a, b = Decimal(one), Decimal(other)
    except InvalidOperation:
        return False
    return a.is_finite() and b.is_finite() and _EXACT.abs(_EXACT.subtract(a, b)) <= Decimal(tolerance)


def with_leading_zero(number: str) -> str:
    """DuckDB prints a DECIMAL of nothing but places as .5, PostgreSQL as 0.5."""
    return f"regexp_replace({number}, '^(-?)\\.', '\\10.')"


def float_text(column: str) -> str:
    """A double's text, with which its value can be told again."""
    return (
        f"CASE WHEN isnan({column}) THEN 'NaN' WHEN isinf({column}) THEN if({column} > 0, 'Infinity', '-Infinity') "
        f"ELSE regexp_replace(CAST({column} AS VARCHAR), '\\.0$', '') END"
    )


def parquet_text(column: str, parquet: str) -> str:
    """PostgreSQL's text of a staged value."""
    match parquet:
        case "DOUBLE" | "FLOAT":
            return float_text(column)
        case "BLOB":
            return f"'\\x' || lower(hex({column}))"
        case "TIMESTAMPTZ":
            return f"CAST(CAST({column} AT TIME ZONE 'UTC' AS TIMESTAMP) AS VARCHAR) || '+00'"
        case _ if parquet.startswith("DECIMAL"):
            return with_leading_zero(f"CAST({column} AS VARCHAR)")
        case _:
            return f"CAST({column} AS VARCHAR)"
