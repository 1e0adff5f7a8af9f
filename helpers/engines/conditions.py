"""What a row may be asked, as a tree, and its one writer; three-valued logic is the same in every engine.

`helpers.verify.conditions` reads such trees from PostgreSQL's SQL, an operator's or a constraint's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Literal, TypeAlias

from helpers.engines.columns import Segments, TablePlan
from helpers.engines.held import Form, Held
from helpers.engines.sql import DIGITS, Sql

Operator = Literal["=", "<>", "<", "<=", ">", ">="]


class Untranslatable(Exception):  # noqa: N818
    """Why a condition has no equal in other engines: the part that has none, or a sentence and what to write instead."""

    def __init__(self, why: str, instead: str = "") -> None:
        super().__init__(why)
        self.instead = instead


@dataclass(frozen=True)
class Constant:
    """A value: its text, and its kind; a float's text is one that every engine reads back to the same bits."""

    text: str
    form: Form


@dataclass(frozen=True)
class Truth:
    """True or false of every row."""

    value: bool


@dataclass(frozen=True)
class IsNull:
    """The column has no value."""

    column: str


@dataclass(frozen=True)
class IsTrue:
    """A boolean column by itself."""

    column: str


@dataclass(frozen=True)
class Compare:
    """A column beside a constant."""

    column: str
    operator: Operator
    constant: Constant


@dataclass(frozen=True)
class Pair:
    """A column beside another of the same table."""

    left: str
    operator: Operator
    right: str


@dataclass(frozen=True)
class Length:
    """The characters of a text beside a number."""

    column: str
    operator: Operator
    characters: int


@dataclass(frozen=True)
class OneOf:
    """The column has one of these values."""

    column: str
    constants: tuple[Constant, ...]


@dataclass(frozen=True)
class Not:
    """The opposite."""

    of: Condition


@dataclass(frozen=True)
class Both:
    """All of several."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Either:
    """One of several."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = Truth | IsNull | IsTrue | Compare | Pair | Length | OneOf | Not | Both | Either


def columns_of(condition: Condition) -> tuple[str, ...]:
    """The columns it looks at, each once, in the order in which they come."""
    return tuple(dict.fromkeys(_columns(condition)))


def write(condition: Condition, held: Mapping[str, Held], sql: Sql) -> str:
    """The condition as SQL over a side's columns, true, false or NULL for the same rows as in PostgreSQL.

    Raises:
        Untranslatable: two columns that the side's engine has no common type for.
    """
    match condition:
        case Truth(value):
            return "TRUE" if value else "FALSE"
        case IsNull(column):
            return f"{held[column].sql} IS NULL"
        case IsTrue(column):
            return held[column].sql
        case Compare(column, operator, constant):
            return _compare(held[column], operator, constant, sql)
        case Pair(left, operator, right):
            _check_common_type(held[left], held[right], sql)
            return f"{_plain(held[left], sql)} {operator} {_plain(held[right], sql)}"
        case Length(column, operator, characters):
            return f"LENGTH({_plain(held[column], sql)}) {operator} {characters}"
        case OneOf(column, constants):
            return _one_of(held[column], constants, sql)
        case Not(of):
            return f"NOT ({write(of, held, sql)})"
        case Both(parts):
            return " AND ".join(f"({write(part, held, sql)})" for part in parts)
        case Either(parts):
            return " OR ".join(f"({write(part, held, sql)})" for part in parts)


def where(plan: TablePlan, sql: Sql, chosen: Segments | None = None) -> str:
    """The condition, in one engine's SQL, on the rows of a table that are compared; empty for all rows.

    Args:
        chosen: only those in some segments.
    """
    parts = [sql.in_segments(plan, some) for some in (plan.sample, chosen) if some]
    if plan.condition:
        parts.insert(0, write(plan.condition, {c.name: sql.operand(c) for c in plan.columns}, sql))
    return " AND ".join(f"({part})" for part in parts)


def _columns(condition: Condition) -> Iterator[str]:
    match condition:
        case Pair(left, _, right):
            yield from (left, right)
        case Not(of):
            yield from _columns(of)
        case Both(parts) | Either(parts):
            for part in parts:
                yield from _columns(part)
        case Truth():
            pass
        case _:
            yield condition.column


def _plain(held: Held, sql: Sql) -> str:
    return sql.compared_text(held.sql) if held.form == "text" else held.sql


def _check_common_type(left: Held, right: Held, sql: Sql) -> None:
    """An engine compares two decimals as one type, and fails at a value that this has not the digits for."""
    if not sql.limits_digits or left.digits is None or right.digits is None:
        return
    if max(left.digits - left.scale, right.digits - right.scale) + max(left.scale, right.scale) > DIGITS:
        raise Untranslatable(f"a common type of {left.type} and {right.type}")


def _compare(held: Held, operator: Operator, constant: Constant, sql: Sql) -> str:
    if constant.form != "number" or held.digits is None:
        return f"{_plain(held, sql)} {operator} {sql.constant(constant.text, constant.form, held)}"
    return _compare_number(held, operator, Decimal(constant.text), sql)


def _one_of(held: Held, constants: tuple[Constant, ...], sql: Sql) -> str:
    if constants[0].form == "number" and held.digits is not None:
        return " OR ".join(f"({_compare_number(held, '=', Decimal(c.text), sql)})" for c in constants)
    values = ", ".join(sql.constant(c.text, c.form, held) for c in constants)
    return f"{_plain(held, sql)} IN ({values})"


def _compare_number(held: Held, operator: Operator, constant: Decimal, sql: Sql) -> str:
    """A comparison with a constant that need not fit the column's digits.

    An engine would round the constant, or overflow where it widens the column; a number that the column cannot hold
    lies between two that it can, so one of those says the same.
    """
    assert held.digits is not None
    always, never = f"{held.sql} = {held.sql}", f"{held.sql} <> {held.sql}"  # for no value NULL, as any comparison is
    largest = Decimal(10) ** (held.digits - held.scale)
    if abs(constant) >= largest:
        beyond = ("<", "<=", "<>") if constant > 0 else (">", ">=", "<>")
        return always if operator in beyond else never
    below = constant.quantize(Decimal(1).scaleb(-held.scale), ROUND_FLOOR, _EXACT)
    if below == constant:
        return f"{held.sql} {operator} {sql.constant(f'{below:f}', 'number', held)}"
    if operator in ("=", "<>"):
        return never if operator == "=" else always
    # With the constant between two steps, x < c and x <= c both say x <= the step below.
    less = operator in ("<", "<=")
    if abs(below) >= largest:
        return never if less else always
    return f"{held.sql} {'<=' if less else '>'} {sql.constant(f'{below:f}', 'number', held)}"


_EXACT = Context(prec=200_000)
