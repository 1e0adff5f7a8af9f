"""Snowflake's SQL: the canonical form, computed in its warehouse, and what it says otherwise than others.

Sources, all under https://docs.snowflake.com/en/sql-reference/, read in November 2026: functions/md5_number_lower64 (big-endian,
unsigned), functions/octet_length, functions/hex_encode, functions/datediff, functions/date_part (EPOCH_MICROSECOND, NANOSECOND),
sql-format-models (TM9 prints a fixed-point number with all digits of its scale; FF9 are the nanoseconds).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from helpers.digests.canonical import MICROSECONDS_1970_TO_2000, CanonicalSql, joined
from helpers.digests.canonical.ieee import bits
from helpers.engines.columns import ComparedColumn
from helpers.engines.held import Form
from helpers.engines.sql import Sql
from helpers.platforms import snowflake

# A real that Snowflake keeps is the double of the same value. POWER and a division by it are exact for powers of two.
_FLOAT = (
    "CASE WHEN {c} = 'NaN'::FLOAT THEN 'NaN' WHEN {c} = 0 THEN '0' ELSE IFF({c} < 0, '-', '') || "
    "CASE WHEN ABS({c}) = 'inf'::FLOAT THEN '9218868437227405312' ELSE TO_VARCHAR("
    + bits("ABS({c})", floor="FLOOR", log="LN", power="POWER", integer="({x})::NUMBER(18,0)", double="'{x}'::FLOAT")
    + ") END END"
)

# A column's precision is not in its declared type, so what is finer than a microsecond is part of the form: it has no equal.
_MICROSECONDS = (
    f"TO_VARCHAR(DATE_PART(EPOCH_MICROSECOND, {{c}}) - {MICROSECONDS_1970_TO_2000}) "
    "|| IFF(DATE_PART(NANOSECOND, {c}) % 1000 = 0, '', '.' || LPAD(TO_VARCHAR(DATE_PART(NANOSECOND, {c}) % 1000), 3, '0'))"
)

TIME_OF_DAY = "REGEXP_REPLACE(TO_VARCHAR({c}, 'HH24:MI:SS.FF9'), '[.]?0+$', '')"
"""A TIME as PostgreSQL prints it, which is how it is staged: as a text."""

CANONICAL = CanonicalSql(
    name="snowflake",
    scalars={
        "boolean": "CASE {c} WHEN TRUE THEN '1' WHEN FALSE THEN '0' END",
        "integer": "TO_VARCHAR({c})",
        "decimal": "TO_VARCHAR({c}, 'TM9')",
        "float": _FLOAT,
        "bytes": "'x' || HEX_ENCODE({c})",
        "date": "TO_VARCHAR(DATEDIFF('day', '1970-01-01'::DATE, {c}))",
        "timestamp": _MICROSECONDS,
        "timestamptz": _MICROSECONDS,
    },
    comma="COALESCE({t}, '') || ','",
    prefixed="COALESCE(TO_VARCHAR(OCTET_LENGTH({t})) || ':' || {t}, ':')",
    concat=joined,
    hash="MD5_NUMBER_LOWER64({f})",
    low32="MD5_NUMBER_LOWER64({f}) % 4294967296",
    whole="{c}",
    total="TO_VARCHAR(SUM({h}))",
)


@dataclass(frozen=True)
class SnowflakeSql(Sql):
    """Snowflake's SQL."""

    canonical: CanonicalSql = CANONICAL

    def literal(self, text: str) -> str:
        return snowflake.literal(text)

    def text(self, sql: str) -> str:
        return f"TO_VARCHAR({sql})"

    def year_and_month(self, moment: str) -> str:
        return f"TO_VARCHAR({moment}, 'YYYY-MM')"

    def in_zone(self, moment: str, zone: str) -> str:
        return f"CONVERT_TIMEZONE({self.literal(zone)}, {moment})"

    def float(self, text: str) -> str:
        return super().float(text.replace("Infinity", "inf"))

    def moment(self, text: str, form: Form) -> str:
        # Snowflake takes PostgreSQL's +00 for no offset (https://docs.snowflake.com/en/sql-reference/date-time-input-output).
        zoned = re.sub("[+]00$", " +00:00", text) if form == "timestamptz" else text
        return f"CAST({self.literal(zoned)} AS {_MOMENTS.get(form, form.upper())})"

    def staged(self, column: ComparedColumn) -> str:
        name = self.identifier(column.there)
        return TIME_OF_DAY.format(c=name) if column.type.family == "time" else name


_MOMENTS = {"timestamp": "TIMESTAMP_NTZ", "timestamptz": "TIMESTAMP_TZ"}

SQL = SnowflakeSql()
