"""The canonical form in Spark SQL, for Databricks and Delta; the session's time zone must be UTC.

Source: https://spark.apache.org/docs/latest/api/sql/ (octet_length, hex, unix_micros, datediff, conv, format_string), read in
November 2026. A decimal is printed by format_string, because a cast gives small ones an exponent.
"""

from __future__ import annotations

from helpers.canonical import MICROSECONDS_1970_TO_2000, Dialect
from helpers.canonical.ieee import bits

_FLOAT = (
    "CASE WHEN isnan({c}) THEN 'NaN' WHEN {c} = 0 THEN '0' ELSE concat(CASE WHEN {c} < 0 THEN '-' ELSE '' END, "
    "CASE WHEN abs({c}) = double('Infinity') THEN '9218868437227405312' ELSE CAST("
    + bits("abs(CAST({c} AS DOUBLE))", floor="floor", log="ln", power="power", integer="CAST({x} AS DECIMAL(38,0))")
    + " AS STRING) END) END"
)

_MICROSECONDS = f"CAST(unix_micros(CAST({{c}} AS TIMESTAMP)) - {MICROSECONDS_1970_TO_2000} AS STRING)"

DIALECT = Dialect(
    name="spark",
    scalars={
        "boolean": "CASE {c} WHEN TRUE THEN '1' WHEN FALSE THEN '0' END",
        "integer": "CAST({c} AS STRING)",
        "decimal": "format_string('%.{s}f', {c})",
        "float": _FLOAT,
        "bytes": "concat('x', hex({c}))",
        "date": "CAST(datediff({c}, DATE'1970-01-01') AS STRING)",
        "timestamp": _MICROSECONDS,
        "timestamptz": _MICROSECONDS,
    },
    comma="coalesce({t}, ''), ','",
    prefixed="coalesce(concat(CAST(octet_length({t}) AS STRING), ':', {t}), ':')",
    concat=lambda pieces: f"concat({', '.join(pieces)})",
    low64="CAST(conv(right(md5({f}), 16), 16, 10) AS DECIMAL(20,0))",
    low32="CAST(conv(right(md5({f}), 8), 16, 10) AS BIGINT)",
    whole="CAST({c} AS BIGINT)",
    total="CAST(SUM({h}) AS STRING)",
)
