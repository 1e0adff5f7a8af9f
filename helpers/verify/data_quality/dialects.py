"""How PostgreSQL, Snowflake and DuckDB each say the few things in which their SQL differs.

Checks and figures are generated once, from the fragments here; whatever is not here all three read alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from functools import reduce
from typing import Literal

from helpers.platforms import postgres, snowflake
from helpers.verify.data_quality.forms import Form, Held

Name = Literal["postgresql", "snowflake", "duckdb"]

SUMMED_DIGITS = 28
"""Digits before the point of a value that enters a sum, and digits after it: 10¹⁰ such values sum to the 38 digits that
Snowflake and DuckDB add in (https://docs.snowflake.com/en/sql-reference/functions/sum). DuckDB 1.5.5 was seen to wrap
beyond them without an error."""

AVERAGED_DIGITS = 20
"""Digits of a value that enters an engine's own average: that of Snowflake adds up to six to the sum's before it divides."""

DIGITS = 38
EXACT = Context(prec=400, traps=[Inexact])
"""Adds and subtracts without rounding."""

SUMMED_FLOAT = "1e290"
"""The largest float that enters a sum: PostgreSQL refuses a sum that overflows."""

SHOWN = 200
"""Characters of a value in an example."""


@dataclass(frozen=True)
class Dialect:
    """One engine's SQL."""

    name: Name

    def literal(self, text: str) -> str:
        """A string constant."""
        return snowflake.literal(text) if self.name == "snowflake" else postgres.literal(text)

    def text(self, sql: str) -> str:
        """A value as text."""
        match self.name:
            case "postgresql":
                return f"CAST({sql} AS text)"
            case "snowflake":
                return f"TO_VARCHAR({sql})"
            case "duckdb":
                return f"CAST({sql} AS VARCHAR)"

    def shown(self, sql: str) -> str:
        """A value as text that is short enough to be shown."""
        return f"LEFT({self.text(sql)}, {SHOWN})"

    def grouped_text(self, sql: str) -> str:
        """A text as a value to group by: by its bytes, whatever the column's collation calls equal."""
        return f'CAST({sql} AS text) COLLATE "C"' if self.name == "postgresql" else sql

    def month(self, held: Held, zone: str = "UTC") -> str:
        """The month of a date or timestamp as `2024-01`; of an instant as the clocks of `zone` show it."""
        moment = held.sql
        if held.form == "timestamptz":
            moment = self._in_zone(moment, zone)
        match self.name:
            case "postgresql":
                return f"to_char({moment}, 'YYYY-MM')"
            case "snowflake":
                return f"TO_VARCHAR({moment}, 'YYYY-MM')"
            case "duckdb":
                return f"strftime({moment}, '%Y-%m')"

    def typed(self, text: str, form: Form, held: Held) -> str:
        """A constant of `form` to compare the column `held` with; a number must fit the column's type."""
        quoted = self.literal(text)
        match form:
            case "number" if self.name == "postgresql":
                return f"CAST({quoted} AS numeric)"
            case "number":
                return f"CAST({quoted} AS DECIMAL({held.digits},{held.scale}))"
            case "bool":
                return text
            case "timestamptz" if self.name == "snowflake":
                # Snowflake takes PostgreSQL's +00 for no offset (https://docs.snowflake.com/en/sql-reference/date-time-input-output).
                return f"CAST({self.literal(re.sub('[+]00$', '+00:00', text))} AS TIMESTAMP_TZ)"
            case "timestamp" if self.name == "snowflake":
                return f"CAST({quoted} AS TIMESTAMP_NTZ)"
            case "text" | "bytes" | "other":
                return quoted
            case _:
                return f"CAST({quoted} AS {_TYPES[form]})"

    def exact_sum(self, sql: str, held: Held) -> tuple[str, str | None]:
        """Two sums, of the whole parts and of the fractions, that together are exact; the second only where one would
        not do. `sql` gives values of at most `SUMMED_DIGITS` on either side of the point.
        """
        if self.name == "postgresql" or (held.digits or DIGITS) <= SUMMED_DIGITS:
            return f"SUM({sql})", None
        places = min(held.scale, SUMMED_DIGITS)
        whole = f"SUM(CAST(TRUNC({sql}) AS DECIMAL({DIGITS},0)))"
        return whole, f"SUM(CAST({sql} - TRUNC({sql}) AS DECIMAL({DIGITS},{places})))" if places else None

    def summand(self, held: Held) -> str:
        """The values of a numeric column that enter its sum, NULL for the others; the same ones in every dialect."""
        value, conditions = held.sql, [held.kept] if held.kept else []
        if held.form == "float":
            value = f"CAST({held.sql} AS DOUBLE PRECISION)"
            conditions.append(f"ABS({value}) <= CAST('{SUMMED_FLOAT}' AS DOUBLE PRECISION)")
        else:
            if held.digits is None or held.digits - held.scale > SUMMED_DIGITS:
                conditions.append(f"ABS({held.sql}) < 1{'0' * SUMMED_DIGITS}")
            if held.digits is None or held.scale > SUMMED_DIGITS:
                value = f"TRUNC({held.sql}, {SUMMED_DIGITS})"
        return f"CASE WHEN {' AND '.join(conditions)} THEN {value} END" if conditions else value

    def small(self, sql: str, held: Held) -> str | None:
        """The summands at which no engine's AVG overflows, None where hardly any value is so small."""
        if self.name == "postgresql" or (held.digits or DIGITS) <= AVERAGED_DIGITS:
            return sql
        room = AVERAGED_DIGITS - held.scale
        return f"CASE WHEN ABS({sql}) < 1{'0' * room} THEN {sql} END" if room >= 3 else None

    def _in_zone(self, moment: str, zone: str) -> str:
        if self.name == "snowflake":
            return f"CONVERT_TIMEZONE({self.literal(zone)}, {moment})"
        return f"({moment} AT TIME ZONE {self.literal(zone)})"


POSTGRES, SNOWFLAKE, DUCKDB = Dialect("postgresql"), Dialect("snowflake"), Dialect("duckdb")

_TYPES: dict[Form, str] = {
    "float": "DOUBLE PRECISION",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "time": "TIME",
}


def added(parts: Sequence[str | None]) -> Decimal | None:
    """The exact sum of numbers that came as text, without zeros at its end; None where there is none."""
    known = [Decimal(part) for part in parts if part is not None]
    return trimmed(reduce(EXACT.add, known)) if known else None


def trimmed(number: Decimal) -> Decimal:
    """The same number with as few digits after the point as it needs."""
    short = number.normalize(EXACT)
    return short.quantize(Decimal(1), context=EXACT) if short.as_tuple().exponent > 0 else short  # type: ignore[operator]
