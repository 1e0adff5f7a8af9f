"""Spark SQL, of Databricks and Delta: the canonical form, and what it says otherwise than others; the session must be in UTC.

Source: https://spark.apache.org/docs/latest/api/sql/ (octet_length, hex, unix_micros, datediff, conv, shiftleft), read in
November 2026; seen on Spark 4.1.3 and 4.2.0, with and without spark.sql.ansi.enabled, and on pysail 0.7.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from helpers.digests.canonical import MICROSECONDS_1970_TO_2000, CanonicalSql
from helpers.digests.canonical.ieee import bits
from helpers.engines.held import Form
from helpers.engines.sql import DIGITS, Sql
from helpers.platforms import spark

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

CANONICAL = CanonicalSql(
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


@dataclass(frozen=True)
class SparkSql(Sql):
    """Spark's SQL."""

    canonical: CanonicalSql = CANONICAL
    double: ClassVar[str] = "DOUBLE"

    def identifier(self, name: str) -> str:
        return spark.identifier(name)

    def literal(self, text: str) -> str:
        return spark.literal(text)

    def text(self, sql: str) -> str:
        return f"CAST({sql} AS STRING)"

    def year_and_month(self, moment: str) -> str:
        return f"date_format({moment}, 'yyyy-MM')"

    def in_zone(self, moment: str, zone: str) -> str:
        return f"from_utc_timestamp({moment}, {self.literal(zone)})"

    def truncated(self, sql: str, places: int = 0) -> str:
        digits = f", {places}" if places else ""
        return f"CASE WHEN {sql} < 0 THEN ceil({sql}{digits}) ELSE floor({sql}{digits}) END"

    def fraction(self, sql: str, places: int) -> str:
        """By its digits: of a difference of two decimals Spark rounds what has no place in 38."""
        digits = f"substring_index({_DECIMAL.format(c=sql)}, '.', -1)"
        return f"CAST(concat(CASE WHEN {sql} < 0 THEN '-' ELSE '' END, '0.', {digits}) AS DECIMAL({DIGITS},{places}))"

    def moment(self, text: str, form: Form) -> str:
        match form:
            case "timestamptz":
                return f"TIMESTAMP {self.literal(re.sub('[+]00$', '+00:00', text))}"
            case "timestamp":
                return f"TIMESTAMP_NTZ {self.literal(text)}"
            case _:
                return super().moment(text, form)


SQL = SparkSql()
