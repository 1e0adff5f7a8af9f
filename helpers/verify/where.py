"""A condition in PostgreSQL's SQL → the same condition for every engine, or the reason why there is none.

Only what means the same everywhere is let through: columns, constants, comparisons, AND, OR, NOT, IN, BETWEEN and IS. Each
constant is understood here, by the type of the column it is compared with, and written as a typed constant of each engine,
so that no engine's own reading of a text ('today', a zone, a rounded fraction) decides which rows are compared. A text is
compared for equality alone, because its order belongs to a collation, and as it is staged: a time or UUID as PostgreSQL
prints it, whatever case or zeros the constant has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from uuid import UUID

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from helpers.digests.canonical import kind_of
from helpers.engines.columns import DIALECTS, ComparedColumn
from helpers.engines.snowflake import dialect as canonical_snowflake
from helpers.errors import UsageError
from helpers.model.catalog import Table
from helpers.platforms import snowflake, spark
from helpers.platforms.postgres import identifier, literal

_OPERATORS: dict[type[exp.Expr], str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_EXACT = Context(prec=200_000)
_WHOLE = {"SMALLINT": 2**15, "INTEGER": 2**31, "BIGINT": 2**63}

Write = Callable[[str], str]
"""From a dialect to its SQL."""


class _Unusable(Exception):  # noqa: N818 - becomes a UsageError that names the option
    """Why a condition cannot be meant, and what to write instead."""

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(why)
        self.instead = instead


@dataclass(frozen=True)
class _Operand:
    """A column as one side of a comparison.

    Attributes:
        family: "boolean", "number", "float", "bytes", "date", "timestamp", "timestamptz" or "text".
        places, limit: of a number with a fixed type: digits after the point, and the smallest number that is too large for it.
    """

    column: ComparedColumn
    family: str
    places: int | None = None
    limit: Decimal | None = None

    @property
    def name(self) -> str:
        return self.column.name

    def sql(self, dialect: str) -> str:
        """The column as a value of its family, as the target should hold it."""
        if dialect.startswith("postgresql"):
            return self._in_postgres(self.column.there if dialect.endswith("target") else self.column.staged.source)
        written = {
            "duckdb": lambda: identifier(self.column.staged.field),
            "snowflake": lambda: snowflake.identifier(self.column.there),
            "spark": lambda: spark.identifier(self.column.there),
        }[dialect]()
        if dialect == "snowflake" and self.column.type.startswith("TIME("):
            return canonical_snowflake.TIME_OF_DAY.format(c=written)
        return f"CAST({written} AS DOUBLE)" if self.family == "float" else written

    def _in_postgres(self, name: str) -> str:
        staged = self.column.staged
        read = f"({staged.read.format(c=identifier(name))})"
        match self.family:
            case "text":
                return f'({read} COLLATE "C")'
            case "float":
                return f"{read}::float8"
            case "number" if kind_of(staged.parquet)[0] != "integer":
                # A policy's value takes the place of one that the target does not hold.
                masked = staged.policy not in (None, "text")
                return f"{read}::numeric" if masked else identifier(name)
            case _:
                return read


def translated(
    condition: str, option: str, table: Table, columns: Sequence[ComparedColumn]
) -> tuple[dict[str, str], set[str]]:
    """The condition by dialect, and the names of the columns that it asks about.

    Args:
        option: by which it was given, for the error.
        columns: of the table, as they are compared.

    Raises:
        UsageError: it cannot be meant for this table, or does not mean the same in every engine.
    """
    try:
        (parsed,) = sqlglot.parse(condition, dialect="postgres")
        if parsed is None:
            raise _Unusable("it is empty", "leave the option out to compare every row")
        asked: set[str] = set()
        write = _Translation(table, {column.name: column for column in columns}, asked).condition(parsed)
        return {dialect: write(dialect) for dialect in DIALECTS}, asked
    except (SqlglotError, RecursionError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise _unusable(option, condition, lines[0], "write a condition as after WHERE") from None
    except ValueError:
        raise _unusable(option, condition, "it is more than one condition", "join them by AND or OR") from None
    except _Unusable as error:
        raise _unusable(option, condition, str(error), error.instead) from None


@dataclass(frozen=True)
class _Translation:
    table: Table
    columns: Mapping[str, ComparedColumn]
    asked: set[str]

    def condition(self, node: exp.Expr) -> Write:
        match node:
            case exp.Paren():
                return self.condition(node.this)
            case exp.And() | exp.Or():
                word = "AND" if isinstance(node, exp.And) else "OR"
                left, right = self.condition(node.this), self.condition(node.expression)
                return lambda dialect: f"({left(dialect)} {word} {right(dialect)})"
            case exp.Not():
                inner = self.condition(node.this)
                return lambda dialect: f"(NOT {inner(dialect)})"
            case exp.Boolean():
                return lambda dialect: "TRUE" if node.this else "FALSE"
            case exp.Column():
                operand = self._column(node)
                if operand.family != "boolean":
                    raise _Unusable(f"{operand.name} is no boolean", "compare it with a constant")
                return operand.sql
            case exp.Is():
                return self._is(node)
            case exp.In():
                return self._in(node)
            case exp.Between() if not node.args.get("symmetric"):
                low = self._comparison(node.this, ">=", node.args["low"])
                high = self._comparison(node.this, "<=", node.args["high"])
                return lambda dialect: f"({low(dialect)} AND {high(dialect)})"
            case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
                return self._comparison(node.this, _OPERATORS[type(node)], node.expression)
        raise _meaning(node)

    def _is(self, node: exp.Is) -> Write:
        operand, what = self._column(node.this), node.expression
        no = "NOT " if node.args.get("negate") else ""
        if isinstance(what, exp.Null):
            return lambda dialect: f"({no}{operand.sql(dialect)} IS NULL)"
        if isinstance(what, exp.Boolean) and operand.family == "boolean":
            word = "TRUE" if what.this else "FALSE"
            return lambda dialect: f"({no}({operand.sql(dialect)} IS NOT NULL AND {operand.sql(dialect)} = {word}))"
        raise _meaning(node)

    def _in(self, node: exp.In) -> Write:
        if not node.expressions or any(node.args.get(name) for name in ("query", "unnest", "field", "is_global")):
            raise _meaning(node)
        each = [self._comparison(node.this, "=", item) for item in node.expressions]
        return lambda dialect: f"({' OR '.join(one(dialect) for one in each)})"

    def _comparison(self, left: exp.Expr, operator: str, right: exp.Expr) -> Write:
        left, right = _bare(left), _bare(right)
        if not isinstance(left, exp.Column) and isinstance(right, exp.Column):
            left, right, operator = right, left, _MIRRORED[operator]
        if not isinstance(left, exp.Column):
            return _of_constants(left, operator, right)
        operand = self._column(left)
        if operand.family == "bytes":
            raise _Unusable(f"{operand.name} holds bytes, which each engine writes in its own way", "use IS NULL alone")
        if operand.family in ("text", "boolean") and operator not in ("=", "<>"):
            raise _Unusable(
                f"{operand.name} is compared as a {operand.family}, and its order differs between engines",
                "compare it with = or IN",
            )
        if isinstance(right, exp.Column):
            other = self._column(right)
            if other.family != operand.family:
                raise _Unusable(f"{operand.name} and {other.name} are of different types", "compare like with like")
            return lambda dialect: f"({operand.sql(dialect)} {operator} {other.sql(dialect)})"
        if operand.family == "number":
            return _of_number(operand, operator, _number(right, operand))
        constant = _CONSTANTS[operand.family](right, operand)
        return lambda dialect: f"({operand.sql(dialect)} {operator} {constant(dialect)})"

    def _column(self, node: exp.Expr) -> _Operand:
        node = _bare(node)
        if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
            raise _meaning(node)
        for part, expected in ((node.args.get("table"), self.table.name), (node.args.get("db"), self.table.schema)):
            if part is not None and _folded(part) != expected:
                raise _Unusable(f"{node.sql(dialect='postgres')} is not of {self.table}", "name its columns alone")
        name = _folded(node.this)
        if name not in self.columns:
            raise _Unusable(
                f"{self.table} has no column {name}",
                f"name one of {', '.join(self.columns)}, or only the tables that have it with --tables",
            )
        self.asked.add(name)
        return _operand(self.columns[name])


def _operand(column: ComparedColumn) -> _Operand:
    parquet = column.staged.parquet
    kind, digits, places = kind_of(parquet)
    match kind:
        case "integer":
            return _Operand(column, "number", 0, Decimal(_WHOLE[parquet]))
        case "decimal":
            return _Operand(column, "number", places, Decimal(10) ** (digits - places))
        case "text" if column.comparison == "number":
            return _Operand(column, "number")
        case _:
            return _Operand(column, kind)


def _bare(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _folded(name: exp.Expr) -> str:
    return str(name.name) if name.args.get("quoted") else str(name.name).lower()


def _text_of(node: exp.Expr, what: str) -> str:
    """The constant as it was written, its sign and casts seen through."""
    node = _bare(node)
    if isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast):
        if node.to.this not in _CASTS or node.to.expressions:
            raise _meaning(node)
        text = _text_of(node.this, what)
        if node.to.this == exp.DataType.Type.DATE and not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            raise _Unusable(f"{text} is no date", "write '2026-11-01'")
        return text
    if isinstance(node, exp.Neg) and isinstance(_bare(node.this), exp.Literal):
        return f"-{_text_of(node.this, what)}"
    if isinstance(node, exp.Null):
        raise _Unusable("nothing is equal to NULL", "write IS NULL")
    if not isinstance(node, exp.Literal):
        raise _meaning(node) if not isinstance(node, exp.Boolean) else _no(node.sql(dialect="postgres"), what)
    return str(node.this)


_T = exp.DataType.Type
_CASTS = {
    _T.DATE,
    _T.TIMESTAMP,
    _T.TIMESTAMPTZ,
    _T.TIMESTAMPNTZ,
    _T.TIMESTAMPLTZ,
    _T.TEXT,
    _T.VARCHAR,
    _T.DECIMAL,
    _T.UUID,
}


def _number(node: exp.Expr, operand: _Operand) -> Decimal:
    text = _text_of(node, operand.name)
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise _no(text, operand.name) from None
    if not number.is_finite() or len(number.as_tuple().digits) > 1000 or abs(number.adjusted()) > 1000:
        raise _no(text, operand.name)
    return number


def _of_number(operand: _Operand, operator: str, number: Decimal) -> Write:
    """A comparison with a number that the column's type holds, so that no engine has to widen either of them."""

    def compare(operator: str, number: Decimal) -> Write:
        return lambda dialect: f"({operand.sql(dialect)} {operator} {number:f})"

    def always(truth: bool) -> Write:
        return lambda dialect: f"({operand.sql(dialect)} {'=' if truth else '<>'} {operand.sql(dialect)})"

    if operand.places is None or operand.limit is None:
        return compare(operator, number)
    if abs(number) >= operand.limit:
        below = number > 0
        return always(operator == "<>" or (operator in ("<", "<=") if below else operator in (">", ">=")))
    unit = Decimal(1).scaleb(-operand.places)
    floor = number.quantize(unit, ROUND_FLOOR, _EXACT)
    if floor == number:
        return compare(operator, floor)
    if operator in ("=", "<>"):
        return always(operator == "<>")
    ceiling = number.quantize(unit, ROUND_CEILING, _EXACT)
    within = ceiling if operator in ("<", ">=") else floor
    if abs(within) >= operand.limit:
        return always((operator in ("<", "<=")) == (within > 0))
    return compare(operator, within)


def _float(node: exp.Expr, operand: _Operand) -> Write:
    text = _text_of(node, operand.name)
    try:
        value = float(text)
    except ValueError:
        raise _no(text, operand.name) from None
    named = "NaN" if math.isnan(value) else repr(value).replace("inf", "Infinity")
    forms = {
        "postgresql": f"'{named}'::float8",
        "snowflake": f"'{repr(value) if math.isinf(value) else named}'::FLOAT",
    }
    return lambda dialect: forms.get(dialect.partition(" ")[0], f"CAST('{named}' AS DOUBLE)")


def _boolean(node: exp.Expr, operand: _Operand) -> Write:
    node = _bare(node)
    if not isinstance(node, exp.Boolean):
        raise _Unusable(f"{operand.name} is a boolean", "compare it with TRUE or FALSE")
    return lambda dialect: "TRUE" if node.this else "FALSE"


def _date(node: exp.Expr, operand: _Operand) -> Write:
    text = _text_of(node, operand.name)
    try:
        day = date.fromisoformat(text).isoformat()
    except ValueError:
        raise _Unusable(f"{text} is no date that every engine understands", "write '2026-11-01'") from None
    return lambda dialect: f"DATE '{day}'"


def _moment(node: exp.Expr, operand: _Operand) -> Write:
    text, zoned = _text_of(node, operand.name), operand.family == "timestamptz"
    instead = f"write '2026-11-01 08:00:00{'+00' if zoned else ''}'"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _Unusable(f"{text} is no timestamp that every engine understands", instead) from None
    if re.search(r"\.\d{7}", text) or (moment.tzinfo and not zoned):
        why = f"{operand.name} has no zone" if moment.tzinfo and not zoned else "microseconds are the finest unit"
        raise _Unusable(why, instead)
    try:
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise _Unusable(f"{text} lies outside the years 1 to 9999", instead) from None
    plain = moment.replace(tzinfo=None).isoformat(" ")
    forms = {
        "postgresql": f"TIMESTAMPTZ '{plain}+00'" if zoned else f"TIMESTAMP '{plain}'",
        "duckdb": f"TIMESTAMPTZ '{plain}+00'" if zoned else f"TIMESTAMP '{plain}'",
        "snowflake": f"'{plain} +00:00'::TIMESTAMP_LTZ" if zoned else f"'{plain}'::TIMESTAMP_NTZ",
        "spark": f"TIMESTAMP '{plain}+00:00'" if zoned else f"TIMESTAMP_NTZ '{plain}'",
    }
    return lambda dialect: forms[dialect.partition(" ")[0]]


def _text(node: exp.Expr, operand: _Operand) -> Write:
    node = _bare(node)
    if isinstance(node, exp.Literal) and not node.is_string:
        raise _Unusable(f"{operand.name} is a text", f"write '{node.this}'")
    text = _as_printed(_text_of(node, operand.name), operand.column.postgres, operand.name)
    forms = {"snowflake": snowflake.literal(text), "spark": spark.literal(text)}
    return lambda dialect: forms.get(dialect, literal(text))


def _as_printed(text: str, postgres: str, name: str) -> str:
    """How PostgreSQL prints the value that it reads from `text`, for the types that have several texts for one value."""
    try:
        if postgres == "uuid":
            return str(UUID(text))
        if postgres.startswith("time") and "without time zone" in postgres:
            clock = time.fromisoformat(text)
            return clock.isoformat().rstrip("0").rstrip(".") if clock.microsecond else clock.isoformat()
    except ValueError:
        raise _no(text, name) from None
    return text.rstrip(" ") if postgres.startswith("character(") or postgres == "bpchar" else text


_CONSTANTS: dict[str, Callable[[exp.Expr, _Operand], Write]] = {
    "boolean": _boolean, "float": _float, "date": _date, "timestamp": _moment, "timestamptz": _moment, "text": _text,
}  # fmt: skip


def _of_constants(left: exp.Expr, operator: str, right: exp.Expr) -> Write:
    """1 = 1 is how some programs say: all."""
    for node in (left, right):
        if not isinstance(node, exp.Literal | exp.Neg | exp.Cast | exp.Boolean | exp.Null) or node.find(exp.Column):
            raise _meaning(node)
    if not all(isinstance(node, exp.Literal) and not node.is_string for node in (left, right)):
        raise _Unusable("it compares no column", "name a column of the table")
    a, b = Decimal(left.this), Decimal(right.this)
    truth = {"=": a == b, "<>": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator]
    return lambda dialect: "TRUE" if truth else "FALSE"


def _no(text: str, name: str) -> _Unusable:
    return _Unusable(f"{text} is no value of {name}", "write a constant of the column's type")


def _meaning(node: exp.Expr) -> _Unusable:
    return _Unusable(
        f"{node.sql(dialect='postgres')} need not mean the same in every engine",
        "use columns, constants, comparisons, AND, OR, NOT, IN, BETWEEN and IS NULL",
    )


def _unusable(option: str, text: str, why: str, next_step: str) -> UsageError:
    return UsageError("choose the rows to compare", on=f"{option} {text}", why=why, next_step=next_step)
