"""Conditions read from PostgreSQL's SQL: an operator's `--where`, CHECK constraints, predicates of indexes.

Only what means the same in every engine is understood: comparisons of a column with a constant of its own kind, of two columns
of one kind, of a text's length; IN, BETWEEN, IS NULL; booleans; AND, OR and NOT. Each constant is understood here, by the kind of
the column beside it, so that no engine's own reading of a text ('today', a zone, a rounded fraction) decides. A text is compared
for equality alone, because its order belongs to a collation. Everything else is refused by name: a translation that is nearly
right would compare other rows, or call good rows bad.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from helpers.engines.columns import ComparedColumn, staged_form
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
)
from helpers.engines.held import Form, form_of
from helpers.model.catalog import PgType, Table

LONGEST_NUMBER = 1000
"""Digits of a constant, and its exponent."""

_T = exp.DataType.Type
_OPERATORS: dict[type[exp.Expr], Operator] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_MIRRORED: dict[Operator, Operator] = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_INTEGERS = {_T.SMALLINT, _T.INT, _T.BIGINT}
_CASTS: dict[Form, Collection[Any]] = {
    "number": _INTEGERS | {_T.DECIMAL},
    "float": _INTEGERS | {_T.DECIMAL, _T.DOUBLE, _T.FLOAT},
    "text": {_T.TEXT, _T.VARCHAR, _T.BPCHAR, _T.USERDEFINED, _T.UUID},
    "date": {_T.DATE},
    "timestamp": {_T.DATE, _T.TIMESTAMP, _T.TIMESTAMPNTZ},
    "timestamptz": {_T.DATE, _T.TIMESTAMPTZ, _T.TIMESTAMPLTZ},
    "time": {_T.TIME},
}
"""The casts that a constant beside a column of that form may have."""


@dataclass(frozen=True)
class Operand:
    """A column that a condition may name.

    Attributes:
        form: of its values: those that are staged, of an operator's condition.
        type: as PostgreSQL names it; "text" for an enum.
    """

    name: str
    form: Form
    type: str

    @property
    def padded(self) -> bool:
        """Whether spaces at the end of its values do not count."""
        return self.type.startswith("character(") or self.type in ("bpchar", "character")

    @property
    def plain_text(self) -> bool:
        """Whether it is a text in PostgreSQL too, and not printed as one."""
        return self.form == "text" and (self.padded or self.type == "text" or self.type.startswith("character varying"))

    @property
    def one_text(self) -> bool:
        """Whether equal values have one text, as `_as_printed` gives it."""
        clock = self.type.startswith("time") and self.type.endswith("without time zone") and "stamp" not in self.type
        return self.plain_text or clock or self.type in ("uuid", "name")

    @property
    def harmless(self) -> Collection[Any]:
        """The casts that leave its values what they are."""
        match self.form:
            case "number":
                return {_T.DECIMAL, *((_T.INT, _T.BIGINT) if self.type in ("smallint", "integer") else ())}
            case "float":
                return {_T.DOUBLE}
            case "text" if self.plain_text:
                return {_T.TEXT, _T.VARCHAR, *((_T.BPCHAR,) if self.padded else ())}
        return ()


def operands_of_types(columns: Mapping[str, PgType]) -> dict[str, Operand]:
    """Columns as a constraint sees them."""
    return {
        name: Operand(name, form_of(kind), "text" if kind.kind == "e" else kind.sql) for name, kind in columns.items()
    }


def operands_as_staged(columns: Collection[ComparedColumn], table: Table) -> dict[str, Operand]:
    """Columns as an operator's condition sees them: by the values that a target should hold.

    A value that travels as PostgreSQL prints it is compared as a text only where equal values have equal texts: an inet,
    a jsonb or an interval has several. What a policy made a text is one. A manifest does not say which of a
    database's own types are enums; they count as such.
    """
    enums = {column.name for column in table.columns if column.type.kind == "e"}
    operands = {}
    for column in columns:
        operand = Operand(column.name, staged_form(column)[0], column.postgres)
        unknown = not table.oid and "." in column.postgres and not column.postgres.endswith("]")
        chosen = column.staged.policy is not None or column.staged.flag_of is not None
        as_text = operand.one_text or column.name in enums or unknown or chosen
        if operand.form == "text" and not as_text:
            operand = replace(operand, form="other")
        operands[column.name] = operand
    return operands


def read(
    text: str, columns: Mapping[str, Operand], *, value: str | None = None, table: Table | None = None
) -> Condition:
    """Understands a condition, as it is written after WHERE or as `pg_get_expr` prints it.

    Args:
        text: the condition.
        columns: by name.
        value: the column that VALUE stands for, in the constraint of a domain.
        table: by whose name its columns may be qualified.

    Raises:
        Untranslatable: with the part that is not understood, or why it cannot be meant.
    """
    try:
        trees = sqlglot.parse(text, dialect="postgres")
        if len(trees) > 1:
            raise Untranslatable("it is more than one condition", "join them by AND or OR")
        if not trees or trees[0] is None:
            raise Untranslatable("it is empty", "leave the option out to compare every row")
        return _Reader(columns, value, table).condition(trees[0])
    except SqlglotError as error:
        lines = str(error).splitlines() or ["it is no condition"]
        why = re.sub(r"^Required keyword: '\w+' missing for <class '[^']*'>", "an operand is missing", lines[0])
        raise Untranslatable(why, "write a condition as after WHERE") from None
    except RecursionError:
        raise Untranslatable("it is nested too deeply", "write a shorter condition") from None


@dataclass(frozen=True)
class _Reader:
    columns: Mapping[str, Operand]
    value: str | None
    table: Table | None

    def condition(self, tree: exp.Expr) -> Condition:
        tree = _bare(tree)
        match tree:
            case exp.And() | exp.Or():
                parts = self.condition(tree.this), self.condition(tree.expression)
                return Both(parts) if isinstance(tree, exp.And) else Either(parts)
            case exp.Not():
                return Not(self.condition(tree.this))
            case exp.Boolean():
                return Truth(bool(tree.this))
            case exp.Column():
                operand = self._named(tree)
                if operand.form != "boolean":
                    raise Untranslatable(f"{operand.name} is no boolean", "compare it with a constant")
                return IsTrue(operand.name)
            case exp.Is():
                return self._is(tree)
            case exp.In():
                return self._in(tree)
            case exp.Between() if not tree.args.get("symmetric"):
                low = self._comparison(tree, ">=", tree.this, tree.args["low"])
                return Both((low, self._comparison(tree, "<=", tree.this, tree.args["high"])))
            case _ if type(tree) in _OPERATORS:
                return self._comparison(tree, _OPERATORS[type(tree)], tree.this, tree.expression)
        raise _unknown(tree)

    def _is(self, tree: exp.Is) -> Condition:
        operand, wanted = self._named(_uncast(tree.this)), tree.expression
        if isinstance(wanted, exp.Null):
            found: Condition = IsNull(operand.name)
        elif isinstance(wanted, exp.Boolean) and operand.form == "boolean":
            truth: Condition = IsTrue(operand.name) if wanted.this else Not(IsTrue(operand.name))
            found = Both((Not(IsNull(operand.name)), truth))
        else:
            raise _unknown(tree)
        return Not(found) if tree.args.get("negate") else found

    def _in(self, tree: exp.In) -> Condition:
        if not tree.expressions or any(tree.args.get(name) for name in ("query", "unnest", "field", "is_global")):
            raise _unknown(tree)
        return self._one_of(tree.this, tree.expressions)

    def _one_of(self, left: exp.Expr, values: list[exp.Expr]) -> Condition:
        each = [self._comparison(left, "=", left, value) for value in values]
        if all(isinstance(one, Compare) for one in each):
            return OneOf(each[0].column, tuple(one.constant for one in each))  # type: ignore[union-attr]
        return Either(tuple(each))

    def _comparison(self, tree: exp.Expr, operator: Operator, left: exp.Expr, right: exp.Expr) -> Condition:
        left, right = _bare(left), _bare(right)
        every = isinstance(right, exp.Anonymous) and right.name.upper() == "ALL"
        if every or isinstance(right, exp.Any):
            # IN and NOT IN, which PostgreSQL prints as `= ANY (ARRAY[…])` and `<> ALL (ARRAY[…])`.
            values = _uncast(right.expressions[0] if every else right.this)
            if operator != ("<>" if every else "=") or not isinstance(values, exp.Array) or not values.expressions:
                raise _unknown(tree)
            found = self._one_of(left, values.expressions)
            return Not(found) if every else found
        if right.find(exp.Column) and not left.find(exp.Column):
            left, right, operator = right, left, _MIRRORED[operator]
        if isinstance(left, exp.Length):
            return self._length(left, operator, right)
        if not left.find(exp.Column):
            return _truth_of_constants(left, operator, right)
        operand = self._compared(left, operator)
        if not right.find(exp.Column):
            return Compare(operand.name, operator, _constant(right, operand, left))
        other = self._compared(right, operator)
        if operand.form != other.form:
            raise Untranslatable(f"{operand.name} and {other.name} are of different types", "compare like with like")
        return Pair(operand.name, operator, other.name)

    def _length(self, left: exp.Length, operator: Operator, right: exp.Expr) -> Condition:
        operand = self._compared(_bare(left.this), "=")
        if not operand.plain_text or not isinstance(right, exp.Literal) or not right.is_int:
            raise _unknown(left)
        return Length(operand.name, operator, int(right.this))

    def _compared(self, tree: exp.Expr, operator: Operator) -> Operand:
        """A column that is compared, through casts that leave its values what they are."""
        operand = self._named(_uncast(tree))
        if operand.form == "bytes":
            why = f"{operand.name} holds bytes, which each engine writes in its own way"
            raise Untranslatable(why, "use IS NULL alone")
        if operand.form == "other":
            raise Untranslatable(
                f"{operand.name} is {operand.type}, which each engine compares in its own way", "use IS NULL alone"
            )
        if any(cast.to.this not in operand.harmless or cast.to.expressions for cast in _casts(tree)):
            raise _unknown(tree)
        if operand.form in ("text", "boolean") and operator not in ("=", "<>"):
            raise Untranslatable(
                f"{operand.name} is compared as a {operand.form}, and its order differs between engines",
                "compare it with = or IN",
            )
        return operand

    def _named(self, tree: exp.Expr) -> Operand:
        tree = _bare(tree)
        if not isinstance(tree, exp.Column) or isinstance(tree.this, exp.Star) or tree.args.get("catalog"):
            raise _unknown(tree)
        whole = (self.table.name, self.table.schema) if self.table else ("", "")
        for part, expected in zip((tree.args.get("table"), tree.args.get("db")), whole, strict=True):
            if part is not None and _folded(part) != expected:
                raise Untranslatable(f"{tree.sql(dialect='postgres')} is not of {self.table}", "name its columns alone")
        name = _folded(tree.this)
        if self.value is not None and name == "value" and not tree.this.args.get("quoted"):
            name = self.value
        if name not in self.columns:
            raise Untranslatable(
                f"{self.table or 'the table'} has no column {name}",
                f"name one of {', '.join(self.columns)}, or only the tables that have it with --tables",
            )
        return self.columns[name]


def _truth_of_constants(left: exp.Expr, operator: Operator, right: exp.Expr) -> Condition:
    """1 = 1 is how some programs say: all."""
    for node in (left, right):
        if not isinstance(node, exp.Literal | exp.Neg | exp.Cast | exp.Boolean | exp.Null) or node.find(exp.Column):
            raise _unknown(node)
    if not all(isinstance(node, exp.Literal) and not node.is_string for node in (left, right)):
        raise Untranslatable("it compares no column", "name a column of the table")
    a, b = Decimal(left.this), Decimal(right.this)
    return Truth({"=": a == b, "<>": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator])


def _constant(tree: exp.Expr, operand: Operand, beside: exp.Expr) -> Constant:
    """The value of a constant that is compared with `beside`, an expression of the operand."""
    inner, casts, sign = _uncast(tree), list(_casts(tree)), ""
    if operand.form == "boolean":
        if not isinstance(inner, exp.Boolean) or casts:
            raise Untranslatable(f"{operand.name} is a boolean", "compare it with TRUE or FALSE")
        return Constant("TRUE" if inner.this else "FALSE", "boolean")
    if isinstance(inner, exp.Neg):
        sign, inner = "-", _uncast(inner.this)
    if isinstance(inner, exp.Null):
        raise Untranslatable("nothing is equal to NULL", "write IS NULL")
    if isinstance(inner, exp.Boolean):
        raise _no(inner.sql(dialect="postgres"), operand)
    allowed = _CASTS.get(operand.form, ())
    if not isinstance(inner, exp.Literal) or any(c.to.this not in allowed or c.to.expressions for c in casts):
        raise _unknown(tree)
    text = sign + str(inner.this)
    if operand.form in ("number", "float"):
        return _number(text, tree, operand, {cast.to.this for cast in casts})
    if not inner.is_string:
        raise Untranslatable(f"{operand.name} is a {operand.form}", f"write '{inner.this}'")
    if any(cast.to.this == _T.DATE for cast in casts) and not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise Untranslatable(f"{text} is no date", "write '2026-11-01'")
    if operand.form == "text":
        # A char(n) that was cast to text has lost its spaces, and the constant beside it keeps its own.
        as_text = any(cast.to.this == _T.TEXT for cast in _casts(beside))
        return Constant(text if as_text else _as_printed(text, operand), "text")
    return Constant(_MOMENTS[operand.form](text, operand), operand.form)


def _number(text: str, tree: exp.Expr, operand: Operand, casts: Collection[Any]) -> Constant:
    if operand.form == "float":
        try:
            value = struct.unpack("f", struct.pack("f", float(text)))[0] if _T.FLOAT in casts else float(text)
        except (ValueError, OverflowError):
            raise _no(text, operand) from None
        named = "NaN" if math.isnan(value) else repr(value).replace("inf", "Infinity")
        return Constant(named, "float")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise _no(text, operand) from None
    if not number.is_finite() or max(len(number.as_tuple().digits), abs(number.adjusted())) > LONGEST_NUMBER:
        raise _no(text, operand)
    if any(cast in _INTEGERS for cast in casts) and number != number.to_integral_value():
        raise _unknown(tree)
    return Constant(f"{number:f}", "number")


def _as_printed(text: str, operand: Operand) -> str:
    """How PostgreSQL prints the value that it reads from a text, for the types that have several texts for one value."""
    try:
        if operand.type == "uuid":
            return str(UUID(text))
        if operand.type.startswith("time") and "without time zone" in operand.type:
            return _time(text, operand)
    except ValueError:
        raise _no(text, operand) from None
    return text.rstrip(" ") if operand.padded else text


def _date(text: str, operand: Operand) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Untranslatable(f"{text} is no date that every engine understands", "write '2026-11-01'") from None


def _time(text: str, operand: Operand) -> str:
    try:
        clock = time.fromisoformat(text)
    except ValueError:
        raise _no(text, operand) from None
    return clock.isoformat().rstrip("0").rstrip(".") if clock.microsecond else clock.isoformat()


def _moment(text: str, operand: Operand) -> str:
    zoned = operand.form == "timestamptz"
    instead = f"write '2026-11-01 08:00:00{'+00' if zoned else ''}'"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Untranslatable(f"{text} is no timestamp that every engine understands", instead) from None
    if re.search(r"\.\d{7}", text) or (moment.tzinfo and not zoned):
        why = f"{operand.name} has no zone" if moment.tzinfo and not zoned else "microseconds are the finest unit"
        raise Untranslatable(why, instead)
    try:
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise Untranslatable(f"{text} lies outside the years 1 to 9999", instead) from None
    return f"{moment.replace(tzinfo=None).isoformat(' ')}{'+00' if zoned else ''}"


_MOMENTS: Mapping[Form, Callable[[str, Operand], str]] = {
    "date": _date, "time": _time, "timestamp": _moment, "timestamptz": _moment,
}  # fmt: skip


def _bare(tree: exp.Expr) -> exp.Expr:
    while isinstance(tree, exp.Paren):
        tree = tree.this
    return tree


def _uncast(tree: exp.Expr) -> exp.Expr:
    while isinstance(tree, exp.Paren | exp.Cast) and not isinstance(tree, exp.TryCast):
        tree = tree.this
    return tree


def _casts(tree: exp.Expr) -> Iterator[exp.Cast]:
    while isinstance(tree, exp.Paren | exp.Cast | exp.Neg):
        if isinstance(tree, exp.Cast):
            yield tree
        tree = tree.this


def _folded(name: exp.Expr) -> str:
    return str(name.name) if name.args.get("quoted") else str(name.name).lower()


def _no(text: str, operand: Operand) -> Untranslatable:
    return Untranslatable(f"{text} is no value of {operand.name}", "write a constant of the column's type")


def _unknown(tree: exp.Expr) -> Untranslatable:
    return Untranslatable(tree.sql(dialect="postgres"))
