"""How engines say the few things in which their SQL differs: conditions, checks and figures are written once, with what is here.

The class is what most of them understand; each engine's `dialect.py` has only what it says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from helpers.digests.canonical import CanonicalSql, FormColumn, kind_of
from helpers.engines.columns import ComparedColumn, Segments, TablePlan, staged_form
from helpers.engines.held import Form, Held
from helpers.platforms import postgres

SUMMED_DIGITS = 28
"""Digits before the point of a value that enters a sum, and digits after it: 10¹⁰ such values sum to the 38 digits that
Snowflake, Spark and DuckDB add in (https://docs.snowflake.com/en/sql-reference/functions/sum). DuckDB 1.5.5 was seen to wrap
beyond them without an error."""

AVERAGED_DIGITS = 20
"""Digits of a value that enters an engine's own average: that of Snowflake adds up to six to the sum's before it divides."""

DIGITS = 38
PLAIN_DIGITS = 18
"""Whole numbers of so many digits are written as they are, so that an engine can still skip what its statistics rule out."""

SUMMED_FLOAT = "1e290"
"""The largest float that enters a sum: PostgreSQL refuses a sum that overflows."""

SHOWN = 200
"""Characters of a value in an example."""


@dataclass(frozen=True)
class Sql:
    """One engine's SQL.

    Attributes:
        canonical: a row's form and its digest.
        double: its type of a float of 64 bits.
    """

    canonical: CanonicalSql
    double: ClassVar[str] = "DOUBLE PRECISION"
    limits_digits: ClassVar[bool] = True
    """Whether decimals end at `DIGITS`."""

    def identifier(self, name: str) -> str:
        """A quoted name."""
        return postgres.identifier(name)

    def literal(self, text: str) -> str:
        """A string constant."""
        return postgres.literal(text)

    def text(self, sql: str) -> str:
        """A value as text."""
        return f"CAST({sql} AS VARCHAR)"

    def shown(self, sql: str) -> str:
        """A value as text that is short enough to be shown."""
        return f"LEFT({self.text(sql)}, {SHOWN})"

    def grouped_text(self, sql: str) -> str:
        """A text as a value to group by: by its bytes, whatever the column's collation calls equal."""
        return sql

    def compared_text(self, sql: str) -> str:
        """A text as a value to compare with a constant."""
        return sql

    def month(self, held: Held, zone: str = "UTC") -> str:
        """The month of a date or timestamp as `2024-01`; of an instant as the clocks of `zone` show it."""
        return self.year_and_month(self.in_zone(held.sql, zone) if held.form == "timestamptz" else held.sql)

    def year_and_month(self, moment: str) -> str:
        """The month of a date or a timestamp without a zone."""
        return f"strftime({moment}, '%Y-%m')"

    def in_zone(self, moment: str, zone: str) -> str:
        """An instant as the clocks of a zone show it."""
        return f"({moment} AT TIME ZONE {self.literal(zone)})"

    def truncated(self, sql: str, places: int = 0) -> str:
        """A decimal without its digits after so many places."""
        return f"TRUNC({sql}, {places})" if places else f"TRUNC({sql})"

    def fraction(self, sql: str, places: int) -> str:
        """A decimal's digits after the point, with its sign, in so many places."""
        return f"CAST({sql} - TRUNC({sql}) AS DECIMAL({DIGITS},{places}))"

    def constant(self, text: str, form: Form, held: Held) -> str:
        """A constant to compare a column with.

        Args:
            text: the value as PostgreSQL prints it, an instant in UTC.
            form: of the value; a number must fit the column's type.
            held: the column.
        """
        match form:
            case "boolean":
                return text
            case "number":
                return self.number(text, held)
            case "text" | "bytes" | "other":
                return self.literal(text)
            case "float":
                return self.float(text)
            case _:
                return self.moment(text, form)

    def number(self, text: str, held: Held) -> str:
        """An exact number."""
        plain = "." not in text and len(text) <= PLAIN_DIGITS
        return (
            text
            if plain or held.digits is None
            else f"CAST({self.literal(text)} AS DECIMAL({held.digits},{held.scale}))"
        )

    def float(self, text: str) -> str:
        """A float; NaN, Infinity and -Infinity are called so."""
        return f"CAST({self.literal(text)} AS {self.double})"

    def moment(self, text: str, form: Form) -> str:
        """A date, a time or a timestamp."""
        return f"CAST({self.literal(text)} AS {form.upper()})"

    def exact_sum(self, sql: str, held: Held) -> tuple[str, str | None]:
        """Two sums, of the whole parts and of the fractions, that together are exact; the second only where one would
        not do. `sql` gives values of at most `SUMMED_DIGITS` on either side of the point.
        """
        if not self.limits_digits or (held.digits or DIGITS) <= SUMMED_DIGITS:
            return f"SUM({sql})", None
        places = min(held.scale, SUMMED_DIGITS)
        rest = f"SUM({self.fraction(sql, places)})" if places else None
        return f"SUM(CAST({self.truncated(sql)} AS DECIMAL({DIGITS},0)))", rest

    def summand(self, held: Held) -> str:
        """The values of a numeric column that enter its sum, NULL for the others; the same ones in every dialect."""
        value, conditions = held.sql, [held.kept] if held.kept else []
        if held.form == "float":
            value = f"CAST({held.sql} AS {self.double})"
            conditions.append(f"ABS({value}) <= CAST('{SUMMED_FLOAT}' AS {self.double})")
        else:
            if held.digits is None or held.digits - held.scale > SUMMED_DIGITS:
                conditions.append(f"ABS({held.sql}) < 1{'0' * SUMMED_DIGITS}")
            if held.digits is None or held.scale > SUMMED_DIGITS:
                value = self.truncated(held.sql, SUMMED_DIGITS)
        return f"CASE WHEN {' AND '.join(conditions)} THEN {value} END" if conditions else value

    def small(self, sql: str, held: Held) -> str | None:
        """The summands at which no engine's AVG overflows, None where hardly any value is so small."""
        if not self.limits_digits or (held.digits or DIGITS) <= AVERAGED_DIGITS:
            return sql
        room = AVERAGED_DIGITS - held.scale
        return f"CASE WHEN ABS({sql}) < 1{'0' * room} THEN {sql} END" if room >= 3 else None

    def staged(self, column: ComparedColumn) -> str:
        """A column's value as it is staged, of a column that has the type that a load gives it."""
        return self.identifier(column.there)

    def operand(self, column: ComparedColumn) -> Held:
        """A column as an operator's condition sees it: the value that a target should hold, of the form in which it is staged."""
        form, digits, scale = staged_form(column)
        value = self.staged(column)
        return Held(
            f"CAST({value} AS {self.double})" if form == "float" else value, column.type.text, form, form, digits, scale
        )

    def _forms(self, plan: TablePlan) -> tuple[list[FormColumn], list[FormColumn]]:
        """A table's columns, and those of its key, as the canonical form takes them."""
        forms = {c.name: FormColumn(self.staged(c), *kind_of(c.staged.parquet)) for c in plan.columns}
        return list(forms.values()), [forms[name] for name in plan.key]

    def segment(self, plan: TablePlan, segments: int) -> str:
        """The segment that a row belongs to, a whole number from 0 below `segments`."""
        return self.canonical.segment(*self._forms(plan), segments)

    def in_segments(self, plan: TablePlan, chosen: Segments) -> str:
        """The condition that a row is in one of some segments."""
        return f"{self.segment(plan, chosen.count)} IN ({', '.join(map(str, chosen.numbers))})"

    def digest_query(self, plan: TablePlan, segments: int, rows: str, where: str) -> str:
        """The canonical digest of `rows`, which follow FROM, as `canonical.digest_query` makes it."""
        return self.canonical.digest_query(*self._forms(plan), segments, rows, where)

    def pieces_query(self, plan: TablePlan, rows: str) -> str:
        """Of each of `rows`, which follow FROM, every column's piece of the canonical form and the 64 bits of the whole."""
        columns, _ = self._forms(plan)
        pieces = ", ".join(f"{self.canonical.form([column])} AS p{n}" for n, column in enumerate(columns))
        return f"SELECT {pieces}, {self.canonical.row_hash(columns)} AS h FROM {rows}"
