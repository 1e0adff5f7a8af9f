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

T = exp.DataType.Type

# Temporary macros belong to the connection, so none from an older version survives in a database file.
MACROS = (
    # The real service reads the digest big-endian, DuckDB's md5_number_lower does not.
    "_md5_lower(x) as concat('0x', right(md5(x), 16))::ubigint",
    "_md5_upper(x) as concat('0x', left(md5(x), 16))::ubigint",
    "_has_places_alone(type) as type like 'DECIMAL%' and regexp_extract(type, '([0-9]+),', 1) = regexp_extract(type, ',([0-9]+)', 1)",
    # Numbers, dates and texts read the same in both; these do not. A decimal of nothing but places is printed as .5.
    """_text(x) as case typeof(x)
        when 'DOUBLE' then case x::varchar when 'nan' then 'NaN' else regexp_replace(x::varchar, '\\.0$', '') end
        when 'BLOB' then hex(x::varchar::blob)
        when 'TIME' then left(x::varchar, 8)
        when 'TIMESTAMP' then strftime(x::varchar::timestamp, '%Y-%m-%d %H:%M:%S.%g')
        when 'TIMESTAMP WITH TIME ZONE' then
            strftime(x::varchar::timestamptz::timestamp, '%Y-%m-%d %H:%M:%S.%g') || ' +0000'
        else case when _has_places_alone(typeof(x)) then regexp_replace(x::varchar, '^(-?)\\.', '\\10.')
            else x::varchar end end""",
    """_text_as(x, format) as case typeof(x)
        when 'TIME' then strftime(('1970-01-01 ' || x::varchar)::timestamp, format)
        when 'TIMESTAMP WITH TIME ZONE' then strftime(x::varchar::timestamptz::timestamp, format)
        else strftime(x::varchar::timestamp, format) end""",
    "_bytes(x) as case typeof(x) when 'VARCHAR' then unhex(x::varchar) else x::varchar::blob end",
    """_timestamp(x, scale) as case
        when regexp_full_match(x::varchar, '-?[0-9]+') then _timestamp_of_integer(x::varchar::hugeint, scale)
        else x::varchar::timestamp end""",
    # Exact division of integers: half away from zero, as many digits as asked for.
    """_quotient(n, d) as case when d = 0 then error('Division by zero')::hugeint
        else sign(n)::hugeint * sign(d)::hugeint * ((abs(n) + abs(d) // 2) // abs(d)) end""",
    "_unscaled(x) as replace(x::varchar, '.', '')::hugeint",
    """_point(q, scale) as (case when q < 0 then '-' else '' end)
        || left(lpad(abs(q)::varchar, greatest(length(abs(q)::varchar), scale + 1)::integer, '0'), -scale)
        || '.' || right(lpad(abs(q)::varchar, greatest(length(abs(q)::varchar), scale + 1)::integer, '0'), scale)""",
)
INTEGER_TIMESTAMP = """_timestamp_of_integer(x, scale) as make_timestamp((case scale
    when 0 then x * 1000000 when 3 then x * 1000 when 6 then x else x // 1000 end)::bigint)"""

# Longest first: MONTH's letters begin with MON's.
FORMATS = {
    "YYYY": "%Y",
    "YY": "%y",
    "MMMM": "%B",
    "MON": "%b",
    "MM": "%m",
    "DD": "%d",
    "DY": "%a",
    "HH24": "%H",
    "HH12": "%I",
    "AM": "%p",
    "PM": "%p",
    "MI": "%M",
    "SS": "%S",
    "FF9": "%n",
    "FF6": "%f",
    "FF3": "%g",
    "FF0": "",
    "FF": "%n",
    "TZH:TZM": "+00:00",
    "TZHTZM": "+0000",
    "TZH": "+00",
}
FORMAT = re.compile("|".join([r'"[^"]*"', *sorted(FORMATS, key=len, reverse=True)]), re.IGNORECASE)

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


def install_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes them once, in `memory.main`, which every session's search path ends with."""
    for macro in (INTEGER_TIMESTAMP, *MACROS):
        connection.execute(f"create macro memory.main.{macro}")


def parse_plainly() -> None:
    """sqlglot reads TO_VARCHAR and TO_TIME in several ways, by what it can tell of the argument; here there is one."""
    functions: Any = Snowflake.Parser.FUNCTIONS
    for name in ("TO_VARCHAR", "TO_CHAR"):
        functions[name] = lambda args: exp.ToChar(this=args[0], format=args[1] if len(args) > 1 else None)
    functions["TO_TIME"] = lambda args: exp.cast(args[0], T.TIME)


def rewrite(statement: exp.Expression, describe: Describe) -> exp.Expression:
    """The statement with every function and type that differs replaced. `describe` gives the types of a query."""
    for node in reversed(list(statement.walk())):  # the innermost first: what is replaced is not looked into again
        changed = _rewrite_node(node)
        if changed is not node and node.parent is not None:
            node.replace(changed)
    for node in reversed(list(statement.find_all(exp.Div, exp.Avg))):
        _divide_exactly(node, describe)
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


def _rewrite_node(node: Any) -> Any:
    for cure in (_text, _bytes, _digest, _epoch, _binary, _precision, _one_of_each):
        changed = cure(node)
        if changed is not node:
            return changed
    return node


def _text(node: Any) -> Any:
    """TO_VARCHAR and ::VARCHAR in the forms of the real service, with its format codes."""
    if isinstance(node, exp.ToChar):
        wanted = node.args.get("format")
        if wanted is None:
            return _call("_text", node.this)
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
            return _call("_text", node.this)
        return _call("_text_as", node.this, exp.Literal.string(strftime_format(wanted.name)))
    if isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast) and node.to.this in (T.VARCHAR, T.TEXT):
        return node if isinstance(node.this, exp.Literal | exp.Placeholder) else _call("_text", node.this)
    return node


def _bytes(node: Any) -> Any:
    """OCTET_LENGTH of a text, which DuckDB has for bytes alone."""
    return _call("strlen", node.this) if isinstance(node, exp.ByteLength) else node


def strftime_format(wanted: str) -> str:
    def code(match: re.Match[str]) -> str:
        found = match.group()
        return found[1:-1] if found.startswith('"') else FORMATS[found.upper()]

    return FORMAT.sub(code, wanted.replace("%", "%%"))


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


def _binary(node: Any) -> Any:
    """Text becomes BINARY through its hex digits; DuckDB takes the characters."""
    if isinstance(node, exp.ToBinary):
        wanted = node.args.get("format")
        if wanted is None or wanted.name.upper() == "HEX":
            return _call("_bytes", node.this)
        if wanted.name.upper() in ("UTF-8", "UTF8"):
            return _call("encode", node.this)
        return node
    if (
        isinstance(node, exp.Cast)
        and node.to.this in (T.BINARY, T.VARBINARY)
        and not isinstance(node.this, exp.Placeholder)
    ):
        return _call("unhex" if node.this.is_string else "_bytes", node.this)
    if isinstance(node, exp.Hex):
        return _call("hex", node.this)
    return node


def _precision(node: Any) -> Any:
    """TIME(6) and TIMESTAMP_NTZ(6): DuckDB has microseconds and reads the number as another type's name."""
    if isinstance(node, exp.DataType) and node.this in (T.TIME, T.TIMESTAMP, T.TIMESTAMPNTZ, T.TIMESTAMPTZ):
        node.set("expressions", None)
    return node


def _one_of_each(node: Any) -> Any:
    """CURRENT_ROLE, CURRENT_WAREHOUSE and CURRENT_ACCOUNT: there is one of each."""
    if isinstance(node, exp.CurrentRole):
        return exp.Literal.string("ACCOUNTADMIN")
    if isinstance(node, exp.CurrentWarehouse | exp.CurrentAccount):
        return exp.Literal.string("LOCAL")
    return node


def _divide_exactly(node: exp.Expression, describe: Describe) -> None:
    """NUMBER / NUMBER and AVG(NUMBER) are NUMBER: scale is the dividend's, plus up to six, to at most twelve.

    DuckDB divides in floating point. The operands' types come from asking for them where they stand; where that
    cannot be asked (a correlated query) the division stays DuckDB's.
    """
    select = node.find_ancestor(exp.Select)
    operands = [node.this, node.expression] if isinstance(node, exp.Div) else [node.this]
    try:
        types = describe(_operands_query(select, operands))
    except duckdb.Error:
        return
    scales = [_scale(type_) for type_ in types]
    dividend_scale = scales[0]
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
