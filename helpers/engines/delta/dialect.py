"""The canonical form in Spark SQL, for Databricks and Delta; the session's time zone must be UTC.

Source: https://spark.apache.org/docs/latest/api/sql/ (octet_length, hex, unix_micros, datediff, conv, shiftleft), read in
November 2026; seen on Spark 4.1.3, with and without spark.sql.ansi.enabled, and on pysail 0.7.2.
"""

from __future__ import annotations

from helpers.digests.canonical import MICROSECONDS_1970_TO_2000, Dialect
from helpers.digests.canonical.ieee import bits

_FLOAT = (
    "CASE WHEN isnan({c}) THEN 'NaN' WHEN {c} = 0 THEN '0' ELSE concat(CASE WHEN {c} < 0 THEN '-' ELSE '' END, "
    "CASE WHEN abs({c}) = double('Infinity') THEN '9218868437227405312' ELSE CAST("
    + bits("abs(CAST({c} AS DOUBLE))", floor="floor", log="ln", power="power", integer="CAST({x} AS DECIMAL(18,0))")
    + " AS STRING) END) END"
)

# Without spark.sql.ansi.enabled a small decimal is printed with an exponent: 1.5E-8, of the digits that its scale asks for.
_DIGITS = "replace(replace(substring_index(CAST({c} AS STRING), 'E', 1), '.', ''), '-', '')"
_DECIMAL = (
    "CASE WHEN instr(CAST({c} AS STRING), 'E') = 0 THEN CAST({c} AS STRING) "
    "ELSE concat(CASE WHEN {c} < 0 THEN '-' ELSE '' END, '0.', "
    "repeat('0', CAST(substring_index(CAST({c} AS STRING), 'E-', -1) AS INT) - 1), " + _DIGITS + ") END"
)

_MICROSECONDS = f"CAST(unix_micros(CAST({{c}} AS TIMESTAMP)) - {MICROSECONDS_1970_TO_2000} AS STRING)"

# In halves: pysail's conv gives NULL for a number of 64 bits, and takes the text of no other function than substring.
_HALF = "CAST(conv(substring(md5({{f}}), {start}, 8), 16, 10) AS DECIMAL(10,0))"

DIALECT = Dialect(
    name="spark",
    scalars={
        "boolean": "CASE {c} WHEN TRUE THEN '1' WHEN FALSE THEN '0' END",
        "integer": "CAST({c} AS STRING)",
        "decimal": _DECIMAL,
        "float": _FLOAT,
        "bytes": "concat('x', hex({c}))",
        "date": "CAST(datediff({c}, DATE'1970-01-01') AS STRING)",
        "timestamp": _MICROSECONDS,
        "timestamptz": _MICROSECONDS,
    },
    comma="coalesce({t}, ''), ','",
    prefixed="coalesce(concat(CAST(octet_length({t}) AS STRING), ':', {t}), ':')",
    concat=lambda pieces: f"concat({', '.join(pieces)})",
    hash=f"({_HALF.format(start=17)} * CAST(4294967296 AS DECIMAL(10,0)) + {_HALF.format(start=25)})",
    low32="CAST(conv(substring(md5({f}), 25, 8), 16, 10) AS BIGINT)",
    whole="CAST({c} AS BIGINT)",
    total="CAST(SUM({h}) AS STRING)",
)
