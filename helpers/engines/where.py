"""The one writer of conditions as SQL, and the condition on the rows of a table that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Context, Decimal

from helpers.engines.columns import Segments, TablePlan
from helpers.engines.conditions import (
    Both,
    Compare,
    Condition,
    Constant,
    Either,
    IsNull,
    IsTrue,
    Length,
    Not,
    OneOf,
    Operator,
    Pair,
    Truth,
    Untranslatable,
)  # fmt: skip
from helpers.engines.held import Held
from helpers.engines.sql import DIGITS, Sql


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
