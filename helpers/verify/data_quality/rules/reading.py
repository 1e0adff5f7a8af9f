"""CHECK constraints and predicates of indexes, read from PostgreSQL's text.

What is understood is a closed list: comparisons of a column with a constant of its own kind, of two columns of one kind,
of a text's length; IN and BETWEEN; IS NULL; booleans; AND, OR and NOT. Everything else is refused by name, because a
translation that is nearly right would call good rows bad.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from helpers.model.catalog import PgType
from helpers.verify.data_quality.dialects import DIGITS
from helpers.verify.data_quality.forms import Form, form_of
from helpers.verify.data_quality.rules.conditions import (
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
    Untranslatable,
)


def read(text: str, columns: Mapping[str, PgType], *, value: str | None = None) -> Condition:
    """Understands an expression as `pg_get_expr` prints it.

    Args:
        text: the expression.
        columns: of the table, by name.
        value: the column that VALUE stands for, in the constraint of a domain.

    Raises:
        Untranslatable: with the part that is not on the list.
    """
    try:
        tree = sqlglot.parse_one(text, dialect="postgres")
        assert isinstance(tree, exp.Expression)
        return _Reader(columns, value).condition(tree)
    except SqlglotError:
        raise Untranslatable("an expression of PostgreSQL's own") from None
    except RecursionError:
        raise Untranslatable("an expression nested so deeply") from None


_OPERATORS: dict[type[exp.Expression], Operator] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_MIRRORED: dict[Operator, Operator] = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

_T = exp.DataType.Type
_INTEGERS = {_T.SMALLINT, _T.INT, _T.BIGINT}
_CONSTANTS: dict[Form, set[Any]] = {
    "number": _INTEGERS | {_T.DECIMAL},
    "float": _INTEGERS | {_T.DECIMAL, _T.DOUBLE, _T.FLOAT},
    "text": {_T.TEXT, _T.VARCHAR, _T.BPCHAR, _T.USERDEFINED},
    "date": {_T.DATE},
    "timestamp": {_T.TIMESTAMP, _T.TIMESTAMPNTZ},
    "timestamptz": {_T.TIMESTAMPTZ},
    "time": {_T.TIME},
}
"""The casts that a constant beside a column of that form may have."""


class _Reader:
    def __init__(self, columns: Mapping[str, PgType], value: str | None) -> None:
        self._columns = columns
        self._value = value

    def condition(self, tree: exp.Expression) -> Condition:
        tree = _bare(tree)
        match tree:
            case exp.And():
                return Both((self.condition(tree.this), self.condition(tree.expression)))
            case exp.Or():
                return Either((self.condition(tree.this), self.condition(tree.expression)))
            case exp.Not():
                return Not(self.condition(tree.this))
            case exp.Is():
                return self._is(tree)
            case exp.Column() if self._form(self._name(tree)) == "bool":
                return IsTrue(self._name(tree))
            case _ if type(tree) in _OPERATORS:
                return self._comparison(tree)
        raise _untranslatable(tree)

    def _is(self, tree: exp.Is) -> Condition:
        column, wanted = self._name(_uncast(tree.this)), tree.expression
        if isinstance(wanted, exp.Null):
            found: Condition = IsNull(column)
        elif isinstance(wanted, exp.Boolean) and self._form(column) == "bool":
            truth: Condition = IsTrue(column) if wanted.this else Not(IsTrue(column))
            found = Both((Not(IsNull(column)), truth))
        else:
            raise _untranslatable(tree)
        return Not(found) if tree.args.get("negate") else found

    def _comparison(self, tree: exp.Expression) -> Condition:
        operator, left, right = _OPERATORS[type(tree)], _bare(tree.this), _bare(tree.expression)
        every = isinstance(right, exp.Anonymous) and right.name.upper() == "ALL"
        if every or isinstance(right, exp.Any):
            return self._one_of(tree, operator, left, right.expressions[0] if every else right.this, every)
        if right.find(exp.Column) and not left.find(exp.Column):
            left, right, operator = right, left, _MIRRORED[operator]
        if isinstance(left, exp.Length):
            return self._length(left, operator, right)
        column = self._column(left, ordered=operator not in ("=", "<>"))
        if not right.find(exp.Column):
            return Compare(column, operator, self._constant(right, column, left))
        other = self._column(right, ordered=operator not in ("=", "<>"))
        if self._form(column) != self._form(other):
            raise Untranslatable(f"{column} and {other} are of two kinds")
        return Pair(column, operator, other)

    def _one_of(
        self, tree: exp.Expression, operator: Operator, left: exp.Expression, listed: exp.Expression, every: bool
    ) -> Condition:
        """IN and NOT IN, which PostgreSQL prints as `= ANY (ARRAY[…])` and `<> ALL (ARRAY[…])`."""
        values = _uncast(listed)
        if operator != ("<>" if every else "=") or not isinstance(values, exp.Array) or not values.expressions:
            raise _untranslatable(tree)
        column = self._column(left)
        found = OneOf(column, tuple(self._constant(value, column, left) for value in values.expressions))
        return Not(found) if every else found

    def _length(self, left: exp.Length, operator: Operator, right: exp.Expression) -> Condition:
        if not isinstance(right, exp.Literal) or not right.is_int:
            raise _untranslatable(right)
        column = self._column(_bare(left.this))
        if self._form(column) != "text":
            raise _untranslatable(left)
        return Length(column, operator, int(right.this))

    def _column(self, tree: exp.Expression, *, ordered: bool = False) -> str:
        """The name of a column, through casts that leave its values what they are."""
        name = self._name(_uncast(tree))
        form, kind = self._form(name), self._columns[name]
        harmless: dict[Form, set[Any]] = {
            "number": {_T.DECIMAL} | (_INTEGERS - {_T.SMALLINT} if kind.name in ("int2", "int4") else set()),
            "float": {_T.DOUBLE},
            "text": {_T.TEXT, _T.VARCHAR} | ({_T.BPCHAR} if kind.name == "bpchar" else set()),
        }
        if any(cast.to.this not in harmless.get(form, set()) or cast.to.expressions for cast in _casts(tree)):
            raise _untranslatable(tree)
        if form == "text" and ordered:
            raise Untranslatable(f"the order of {name} depends on a collation")
        return name

    def _name(self, tree: exp.Expression) -> str:
        if not isinstance(tree, exp.Column) or len(tree.parts) != 1:
            raise _untranslatable(tree)
        name = str(tree.name)
        if self._value is not None and name == "VALUE" and not tree.this.args.get("quoted"):
            name = self._value
        if name not in self._columns:
            raise _untranslatable(tree)
        return name

    def _form(self, column: str) -> Form:
        kind = self._columns[column]
        form = form_of(kind)
        if form in ("bytes", "other"):
            raise Untranslatable(f"{column} is {kind.sql}")
        return form

    def _constant(self, tree: exp.Expression, column: str, beside: exp.Expression) -> Constant:
        """The value of a constant that is compared with `beside`, an expression of `column`."""
        form, inner, casts = self._form(column), _uncast(tree), list(_casts(tree))
        if form == "bool" and isinstance(inner, exp.Boolean):
            return Constant("TRUE" if inner.this else "FALSE", form)
        sign = ""
        if isinstance(inner, exp.Neg):
            sign, inner = "-", _bare(inner.this)
        if not isinstance(inner, exp.Literal) or any(
            cast.to.this not in _CONSTANTS.get(form, set()) or cast.to.expressions for cast in casts
        ):
            raise _untranslatable(tree)
        text = sign + str(inner.this)
        if form in ("number", "float"):
            number = _number(text, tree)
            if any(cast.to.this in _INTEGERS for cast in casts) and number != number.to_integral_value():
                raise _untranslatable(tree)
            if form == "number" and _fits(number):
                return Constant(f"{number:f}", form)
            if form == "float":
                return Constant(_float(text, tree, single=any(cast.to.this == _T.FLOAT for cast in casts)), form)
            raise _untranslatable(tree)
        if not inner.is_string or (form != "text" and "infinity" in text.lower()):
            raise _untranslatable(tree)
        padded = self._columns[column].name == "bpchar" and not any(c.to.this == _T.TEXT for c in _casts(beside))
        return Constant(text.rstrip(" ") if padded else text, form)


def _bare(tree: exp.Expression) -> exp.Expression:
    while isinstance(tree, exp.Paren):
        tree = tree.this
    return tree


def _uncast(tree: exp.Expression) -> exp.Expression:
    while isinstance(tree, exp.Paren | exp.Cast):
        tree = tree.this
    return tree


def _casts(tree: exp.Expression) -> Iterator[exp.Cast]:
    while isinstance(tree, exp.Paren | exp.Cast):
        if isinstance(tree, exp.Cast):
            yield tree
        tree = tree.this


def _number(text: str, tree: exp.Expression) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise _untranslatable(tree) from None
    if not value.is_finite():
        raise _untranslatable(tree)
    return value


def _fits(number: Decimal) -> bool:
    """Whether a decimal of Snowflake's or DuckDB's holds it."""
    return number.adjusted() < DIGITS and len(number.as_tuple().digits) <= DIGITS


def _float(text: str, tree: exp.Expression, *, single: bool) -> str:
    try:
        return repr(struct.unpack("f", struct.pack("f", float(text)))[0] if single else float(text))
    except OverflowError:
        raise _untranslatable(tree) from None


def _untranslatable(tree: exp.Expression) -> Untranslatable:
    return Untranslatable(tree.sql(dialect="postgres"))
