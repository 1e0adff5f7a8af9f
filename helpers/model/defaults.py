"""Defaults of columns: which are constants, and whether two mean the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from helpers.model.declared import Ddl, Declared, Family

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


def same(expected: str, found: str, kind: Declared, ddl: Ddl) -> bool | None:
    """Whether two defaults of a column of one type mean the same.

    Args:
        expected: an SQL expression, or empty for none.
        found: likewise.
        kind: the column's type.
        ddl: in which both are written.

    Returns:
        None where both are expressions and not the same text: they may still mean the same.
    """
    if expected == found:
        return True
    want, have = (constant(text, kind, ddl) for text in (expected, found))
    return None if want is None and have is None else want == have


def constant(default: str, kind: Declared, ddl: Ddl) -> Constant | None:
    """The value of a default that is one constant, as a column of the type takes it; None for any other expression."""
    if not default:
        return Constant(None)
    if default.startswith("GENERATED "):
        return None
    try:
        found = _folded(sqlglot.parse_one(default, read=ddl.sqlglot))
    except SqlglotError:
        return None
    if found is None or found.value is None:
        return found
    value = _taken(str(found.value), kind)
    return None if value is None else Constant(value)


def _taken(text: str, kind: Declared) -> bool | Decimal | str | None:
    if kind.dimensions:
        return text
    match kind.family:
        case "number" | "float":
            return _number(text)
        case "boolean":
            return {"true": True, "false": False, "t": True, "f": False}.get(text.lower())
        case "date" | "timestamp" | "timestamptz":
            return text if _FORMS[kind.family].fullmatch(text) else None
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
