"""Defaults of columns: which are constants, whether two mean the same, and how a target writes one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from helpers.model.declared import Declared, Dialect, Family, read
from helpers.platforms.snowflake import literal

_SQLGLOT: dict[Dialect, str] = {
    "postgresql": "postgres",
    "snowflake": "snowflake",
    "delta": "databricks",
    "duckdb": "duckdb",
}

_DAY = r"\d{4}-\d\d-\d\d"
_FORMS: dict[Family, re.Pattern[str]] = {
    "date": re.compile(_DAY),
    "timestamp": re.compile(rf"{_DAY} \d\d:\d\d:\d\d(\.\d+)?"),
    "timestamptz": re.compile(rf"{_DAY} \d\d:\d\d:\d\d(\.\d+)?\+00"),
}
"""What a constant of these families looks like; another text, such as 'now', is worked out anew for every row."""


@dataclass(frozen=True)
class Constant:
    """One value; None is NULL, which means the same as no default at all."""

    value: bool | Decimal | str | None


def same(expected: str, found: str, column_type: str, dialect: Dialect) -> bool | None:
    """Whether two defaults of a column of one type mean the same.

    Args:
        expected: an SQL expression, or empty for none.
        found: likewise.
        column_type: as the dialect's catalog prints it.
        dialect: in which both are written.

    Returns:
        None where both are expressions and not the same text: they may still mean the same.
    """
    if expected == found:
        return True
    want, have = (constant(text, column_type, dialect) for text in (expected, found))
    return None if want is None and have is None else want == have


def constant(default: str, column_type: str, dialect: Dialect) -> Constant | None:
    """The value of a default that is one constant, as a column of the type takes it; None for any other expression."""
    if not default:
        return Constant(None)
    if default.startswith("GENERATED "):
        return None
    try:
        found = _folded(sqlglot.parse_one(default, read=_SQLGLOT[dialect]))
    except SqlglotError:
        return None
    if found is None or found.value is None:
        return found
    value = _taken(str(found.value), column_type, dialect)
    return None if value is None else Constant(value)


def in_snowflake(default: str | None, postgres_type: str, snowflake_type: str) -> str | None:
    """A default of PostgreSQL's as Snowflake's DDL takes it: of numbers, texts, booleans and dates, with a cast where the
    constant alone is of another type (https://docs.snowflake.com/en/sql-reference/sql/create-table).

    Args:
        default: PostgreSQL's expression, empty for none, None where it is not known.
        postgres_type: of the column in the source.
        snowflake_type: of the column in the target.

    Returns:
        The SQL of the constant, empty for none; None where it is an expression, or no value of the target's type.
    """
    if not default:
        return default
    found = constant(default, postgres_type, "postgresql")
    if found is None:
        return None
    if found.value is None:
        return ""
    value = found.value
    target = read(snowflake_type, "snowflake")
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


def _taken(text: str, column_type: str, dialect: Dialect) -> bool | Decimal | str | None:
    declared = read(column_type, dialect)
    if declared.dimensions:
        return text
    match declared.family:
        case "number" | "float":
            return _number(text)
        case "boolean":
            return {"true": True, "false": False, "t": True, "f": False}.get(text.lower())
        case "date" | "timestamp" | "timestamptz":
            return text if _FORMS[declared.family].fullmatch(text) else None
        case "padded text":
            return text.rstrip(" ")
        case _:
            return text


def _folded(node: Any) -> Constant | None:
    """A literal's text, below signs and below casts that leave it as it is."""
    match node:
        case exp.Paren():
            return _folded(node.this)
        case exp.Cast():
            inner = _folded(node.this)
            return None if inner is None or _cuts(node.to, inner) else inner
        case exp.Neg():
            inner = _folded(node.this)
            number = _number(str(inner.value)) if inner else None
            return Constant(f"{-number:f}") if number is not None else None
        case exp.Literal() | exp.ByteString():
            return Constant(str(node.this))
        case exp.Boolean():
            return Constant("true" if node.this else "false")
        case exp.Null():
            return Constant(None)
        case _:
            return None


def _cuts(target: Any, inner: Constant) -> bool:
    """Whether a cast may cut or round what it is given: to a type with sizes, or of a fraction to an integer."""
    if any(isinstance(part, exp.DataTypeParam) for part in target.expressions):
        return True
    number = _number(str(inner.value))
    whole = number is None or Fraction(number).denominator == 1
    return not whole and bool(target.this in exp.DataType.INTEGER_TYPES)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _fits(number: Decimal, target: Declared) -> bool:
    scaled = Fraction(number) * Fraction(10) ** int(target.places or 0)
    return number.copy_abs() < Decimal(10) ** int(target.size) and scaled.denominator == 1
