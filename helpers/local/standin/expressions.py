"""Functions and types whose result in DuckDB differs from the real service's.

`rewrite` takes a statement that fakesnow has turned into DuckDB's dialect. Where the result depends on a type it uses
a macro that asks `typeof`: DuckDB settles that when it binds, so only the branch that applies is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import duckdb
from sqlglot import exp
from sqlglot.dialects.snowflake import Snowflake

from helpers.local.standin.texts import Texts, strftime_format

T = exp.DataType.Type

EPOCHS = {
    "EPOCH_SECOND": "epoch_us({0}) // 1000000",
    "EPOCH": "epoch_us({0}) // 1000000",
    "EPOCH_MILLISECOND": "epoch_us({0}) // 1000",
    "EPOCH_MICROSECOND": "epoch_us({0})",
    "NANOSECOND": "(microsecond({0}) % 1000000) * 1000",
    "EPOCH_NANOSECOND": "epoch_us({0})::decimal(38,0) * 1000",
}

INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}

Describe = Callable[[str], list[str]]


def parse_plainly() -> None:
    """sqlglot reads TO_VARCHAR and TO_TIME in several ways, by what it can tell of the argument; here there is one."""
    functions: Any = Snowflake.Parser.FUNCTIONS
    for name in ("TO_VARCHAR", "TO_CHAR"):
        functions[name] = lambda args: exp.ToChar(this=args[0], format=args[1] if len(args) > 1 else None)
    functions["TO_TIME"] = lambda args: exp.cast(args[0], T.TIME)


def rewrite(statement: exp.Expression, describe: Describe, texts: Texts) -> exp.Expression:
    """The statement with every function and type that differs replaced.

    Args:
        describe: gives the types of a query.
        texts: as the session has it.
    """
    for node in reversed(list(statement.walk())):  # the innermost first: what is replaced is not looked into again
        changed = _rewrite_node(node, texts)
        if changed is not node and node.parent is not None:
            node.replace(changed)
    divided = list(reversed(list(statement.find_all(exp.Div, exp.Avg))))
    known = _types_at_once(divided, describe)
    for node in divided:
        _divide_exactly(node, describe, known.get(id(node)))
    for node in reversed(list[Any](statement.find_all(exp.TimestampTrunc, exp.DateTrunc))):
        _truncate(node, describe, texts)
    return statement


def timestamps_from_integers(node: Any) -> Any:
    """TO_TIMESTAMP of an integer column, exact: fakesnow goes through a float and knows no negative scale.

    Takes the place of fakesnow's `to_timestamp`, which also made every cast to a timestamp guess at its input.
    """
    if isinstance(node, exp.UnixToTime):
        scale = node.args.get("scale") or exp.Literal.number(0)
        made: exp.Expression = _call("_timestamp_of_integer", exp.cast(node.this.copy(), "HUGEINT"), scale.copy())
        target = node.args.get("target_type")
        return exp.cast(made, T.TIMESTAMPTZ) if target is not None and target.this != T.TIMESTAMPNTZ else made
    if isinstance(node, exp.Anonymous) and node.name.upper() in ("TO_TIMESTAMP", "TO_TIMESTAMP_NTZ"):
        return _call("_timestamp", node.expressions[0], exp.Literal.number(0))
    if isinstance(node, exp.Anonymous) and node.name.upper() in ("TO_TIMESTAMP_LTZ", "TO_TIMESTAMP_TZ"):
        return exp.cast(node.expressions[0], T.TIMESTAMPTZ)
    return node


def whole_numbers(node: Any) -> Any:
    """NUMBER without a scale has 38 digits, and INTEGER is another name for it; fakesnow makes it a 64-bit integer."""
    if isinstance(node, exp.DataType) and (
        node.this in (T.INT, T.BIGINT, T.SMALLINT, T.TINYINT) or (node.this == T.DECIMAL and not node.expressions)
    ):
        return exp.DataType.build("DECIMAL(38,0)", dialect="duckdb")
    return node


def trim_of_a_text(node: Any) -> Any:
    """TRIM of what is no text; fakesnow's `trim_cast_varchar` loses the characters that are to go."""
    if isinstance(node, exp.Trim) and not isinstance(node.this, exp.Cast | exp.Literal):
        node.set("this", exp.cast(node.this, T.VARCHAR))
    return node


def _rewrite_node(node: Any, texts: Texts) -> Any:
    for cure in (_text, _binary, _from_text, _week):
        changed = cure(node, texts)
        if changed is not node:
            return changed
    for of_any_session in (_bytes, _digest, _epoch, _precision, _one_account):
        changed = of_any_session(node)
        if changed is not node:
            return changed
    return node


def _text(node: Any, texts: Texts) -> Any:
    """TO_VARCHAR and ::VARCHAR in the forms of the real service, with its format codes."""
    if isinstance(node, exp.ToChar):
        wanted = node.args.get("format")
        if wanted is None:
            return _printed(node.this, texts)
        if not (isinstance(wanted, exp.Literal) and wanted.is_string):
            return node
        encoding = wanted.name.upper()
        if encoding == "HEX":
            return _call("hex", node.this)
        if encoding == "BASE64":
            return _call("to_base64", node.this)
        if encoding in ("UTF-8", "UTF8"):
            return _call("decode", node.this)
        if encoding in ("TM9", "TM"):
            return _printed(node.this, texts)
        return _call("_text_as", node.this, exp.Literal.string(strftime_format(wanted.name)))
    if isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast) and node.to.this in (T.VARCHAR, T.TEXT):
        return node if isinstance(node.this, exp.Literal | exp.Placeholder) else _printed(node.this, texts)
    return node


def _printed(value: Any, texts: Texts) -> exp.Expression:
    if texts.usual:
        return _call("_text", value)
    forms = (texts.date, texts.time, texts.timestamp, texts.zoned, texts.binary)
    return _call("_text_in", value, *map(exp.Literal.string, forms))


def _from_text(node: Any, texts: Texts) -> Any:
    """A text that is cast to a date or a time, where an INPUT_FORMAT says how it is written."""
    if not texts.inputs or not isinstance(node, exp.Cast) or isinstance(node, exp.TryCast):
        return node
    kind = {T.DATE: "DATE", T.TIME: "TIME"}.get(node.to.this, "TIMESTAMP" if node.to.this in _MOMENTS else "")
    if kind not in texts.inputs:
        return node
    form = exp.Literal.string(texts.inputs[kind])
    read = _call("_clock_in" if kind == "TIME" else "_moment_in", node.this, form)
    return exp.cast(read, node.to.copy())


_MOMENTS = (T.TIMESTAMP, T.TIMESTAMPNTZ, T.TIMESTAMPLTZ, T.TIMESTAMPTZ)


def _week(node: Any, texts: Texts) -> Any:
    """WEEK_START, WEEK_OF_YEAR_POLICY and TWO_DIGIT_CENTURY_START."""
    first = exp.Literal.number(texts.week_start or 1)
    if texts.week_start and isinstance(node, exp.DayOfWeek):
        return _parsed("(isodow({0}) - {1} + 7) % 7 + 1", node.this, first)
    if (texts.week_start or texts.week_policy) and isinstance(node, exp.Week | exp.WeekOfYear):
        return _call("_week_by_first" if texts.week_policy else "_week_by_days", node.this, first)
    form = node.args.get("format") if isinstance(node, exp.StrToTime | exp.TsOrDsToDate) else None
    if form is not None and "%y" in form.name:
        read = _call("strptime", node.this.copy(), form.copy())
        made = _call("_century", read, exp.Literal.number(texts.century))
        return exp.cast(made, T.DATE) if isinstance(node, exp.TsOrDsToDate) else made
    return node


def _bytes(node: Any) -> Any:
    """OCTET_LENGTH of a text, which DuckDB has for bytes alone."""
    return _call("_octets", node.this) if isinstance(node, exp.ByteLength) else node


def _digest(node: Any) -> Any:
    """MD5_NUMBER_LOWER64 and its like, which fakesnow lacks, and HASH_AGG, whose value is the stand-in's own."""
    if isinstance(node, exp.MD5NumberLower64):
        return _call("_md5_lower", node.this)
    if isinstance(node, exp.MD5NumberUpper64):
        return _call("_md5_upper", node.this)
    if isinstance(node, exp.HashAgg):
        of = [node.this, *node.expressions]
        return _parsed("(sum(hash({0})) % 18446744073709551616)::decimal(38,0)", _call("row", *of))
    return node


def _epoch(node: Any) -> Any:
    """DATE_PART of the epoch; DuckDB knows no such part, and its `epoch` is a float."""
    if isinstance(node, exp.Extract) and (form := EPOCHS.get(node.this.name.upper())):
        return _parsed(form, node.expression)
    return node


def _binary(node: Any, texts: Texts) -> Any:
    """Text becomes BINARY through its hex digits, or as BINARY_INPUT_FORMAT says; DuckDB takes the characters."""
    if isinstance(node, exp.ToBinary):
        wanted = node.args.get("format")
        return _read_bytes(node.this, texts.from_binary if wanted is None else wanted.name.upper()) or node
    if (
        isinstance(node, exp.Cast)
        and node.to.this in (T.BINARY, T.VARBINARY)
        and not isinstance(node.this, exp.Placeholder)
    ):
        return _read_bytes(node.this, texts.from_binary)
    if isinstance(node, exp.Hex):
        made = _call("hex", node.this)
        return _call("lower", made) if (case := node.args.get("case")) is not None and case.name == "0" else made
    return node


def _read_bytes(value: Any, form: str) -> exp.Expression | None:
    if form == "HEX":
        return _call("unhex" if value.is_string else "_bytes", value)
    if form in ("UTF-8", "UTF8"):
        return _call("encode", value)
    return _call("from_base64", value) if form == "BASE64" else None


def _precision(node: Any) -> Any:
    """TIME(6) and TIMESTAMP_NTZ(6): DuckDB has microseconds and reads the number as another type's name."""
    if isinstance(node, exp.DataType) and node.this in (T.TIME, T.TIMESTAMP, T.TIMESTAMPNTZ, T.TIMESTAMPTZ):
        node.set("expressions", None)
    return node


def _one_account(node: Any) -> Any:
    """CURRENT_ACCOUNT and CURRENT_REGION: there is one of each."""
    if isinstance(node, exp.CurrentAccount):
        return exp.Literal.string("LOCAL")
    return exp.Literal.string("LOCAL_STAND_IN") if isinstance(node, exp.CurrentRegion) else node


def _divide_exactly(node: exp.Expression, describe: Describe, known: list[str] | None) -> None:
    """NUMBER / NUMBER and AVG(NUMBER) are NUMBER: scale is the dividend's, plus up to six, to at most twelve.

    DuckDB divides in floating point. The operands' types come from asking for them where they stand; where that
    cannot be asked (a correlated query) the division stays DuckDB's.
    """
    select = node.find_ancestor(exp.Select)
    operands = _operands(node)
    types = known or _types(select, operands, describe)
    scales = [_scale(type_) for type_ in types]
    dividend_scale = scales[0] if scales else None
    if any(scale is None for scale in scales) or dividend_scale is None:
        return
    if isinstance(node, exp.Avg):
        distinct = isinstance(node.this, exp.Distinct)
        argument = node.this.expressions[0] if distinct else node.this
        inner = exp.Distinct(expressions=[argument.copy()]) if distinct else argument.copy()
        dividend: exp.Expression = exp.Sum(
            this=exp.cast(inner, f"DECIMAL(38,{dividend_scale})") if not distinct else inner
        )
        # An average over nothing is NULL, and no division by zero.
        count = exp.Count(this=inner.copy())
        divisor, divisor_scale = exp.Nullif(this=count, expression=exp.Literal.number(0)), 0
    else:
        dividend, divisor, divisor_scale = node.this.copy(), node.expression.copy(), scales[1] or 0
    scale = max(dividend_scale, min(dividend_scale + 6, 12))
    shift = "1" + "0" * (scale - dividend_scale + divisor_scale)
    made = _parsed(
        f"_point(_quotient(_unscaled({{0}}) * {shift}::hugeint, _unscaled({{1}})), {scale})::decimal(38,{scale})",
        dividend,
        divisor,
    )
    if isinstance(node.parent, exp.Window) or (select is not None and isinstance(node.parent, exp.Filter)):
        return
    node.replace(made)


def _truncate(node: exp.Expression, describe: Describe, texts: Texts) -> None:
    """DATE_TRUNC of a DATE is a DATE, and its weeks begin as WEEK_START says."""
    (kind,) = _types(node.find_ancestor(exp.Select), [node.this], describe) or [""]
    made: exp.Expression = node.copy()
    if texts.week_start and str(node.args["unit"].name).upper() == "WEEK":
        made = _call("_week", node.this.copy(), exp.Literal.number(texts.week_start))
    if kind in ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
        node.replace(exp.cast(made, kind))


def _operands(node: exp.Expression) -> list[exp.Expression]:
    return [node.this, node.expression] if isinstance(node, exp.Div) else [node.this]


def _types_at_once(divided: list[exp.Expression], describe: Describe) -> dict[int, list[str]]:
    """The types of the operands of those divisions that have none within, by the division: one question for each SELECT that has
    several. What cannot be asked together is asked alone."""
    by_select: dict[int, list[exp.Expression]] = {}
    for node in divided:
        select = node.find_ancestor(exp.Select)
        if select is not None and not any(operand.find(exp.Div, exp.Avg) for operand in _operands(node)):
            by_select.setdefault(id(select), []).append(node)
    found: dict[int, list[str]] = {}
    for nodes in by_select.values():
        asked = [operand for node in nodes for operand in _operands(node)]
        within = nodes[0].find_ancestor(exp.Select)
        if len(nodes) < 2 or (within is not None and within.find(exp.Avg)):
            continue
        try:
            types = iter(describe(_operands_query(within, asked)))
        except duckdb.Error:
            continue
        found |= {id(node): [next(types) for _ in _operands(node)] for node in nodes}
    return found


def _types(select: exp.Expression | None, operands: list[exp.Expression], describe: Describe) -> list[str]:
    """The operands' types; an operand may name what the same query has given a name before it. None where it cannot be asked."""
    named = [one for one in (select.expressions if select is not None else []) if isinstance(one, exp.Alias)]
    for before in ([], [one for one in named if not any(operand in one.walk() for operand in operands)]):
        try:
            return describe(_operands_query(select, [*before, *operands]))[len(before) :]
        except duckdb.Error:
            continue
    return []


def _operands_query(select: exp.Expression | None, operands: list[exp.Expression]) -> str:
    items = []
    for operand in operands:
        argument = operand.expressions[0] if isinstance(operand, exp.Distinct) else operand
        items.append(argument.copy())
    query = exp.Select(expressions=items)
    if select is not None:
        for part in ("from_", "joins", "laterals"):
            if select.args.get(part):
                value = select.args[part]
                query.set(part, [one.copy() for one in value] if isinstance(value, list) else value.copy())
        if named := _named_queries(select):
            query.set("with_", exp.With(expressions=named))
    runnable = query.transform(lambda one: exp.Null() if isinstance(one, exp.Placeholder) else one)
    return str(runnable.sql(dialect="duckdb"))


def _named_queries(select: exp.Expression) -> list[exp.Expression]:
    """The CTEs that a query can name: its own, and of each query around it those before the one that it stands in."""
    found: list[exp.Expression] = []
    inside: Any = select
    around: Any = select
    while around is not None:
        if isinstance(around, exp.CTE):
            inside = around
        if isinstance(around, exp.Query) and (named := around.args.get("with_")):
            before = []
            for each in named.expressions:
                if each is inside:
                    break
                before.append(each.copy())
            found = before + found
        around = around.parent
    return found


def _scale(type_: str) -> int | None:
    if type_ in INTEGERS:
        return 0
    match = re.fullmatch(r"DECIMAL\(\d+,\s*(\d+)\)", type_)
    return int(match.group(1)) if match else None


def _call(name: str, *arguments: exp.Expression) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=list(arguments))


def _parsed(form: str, *arguments: exp.Expression) -> exp.Expression:
    """A DuckDB expression with placeholders filled by other expressions, rather than by their text."""
    names = [f"__{place}__" for place in range(len(arguments))]
    tree = exp.Paren(this=exp.maybe_parse(form.format(*names), dialect="duckdb"))
    filled = tree.transform(
        lambda one: (
            arguments[names.index(one.name)].copy() if isinstance(one, exp.Column) and one.name in names else one
        )
    )
    return filled
