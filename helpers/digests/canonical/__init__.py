"""One canonical form per staged type, equal in PostgreSQL, DuckDB, Snowflake and Spark SQL, and the digest made of it.

A row's form is its columns' pieces, one after the other. A value of a scalar type is a text without commas, followed by a
comma; NULL is the comma alone. A text is its length in bytes, a colon, and its bytes; NULL is the colon alone. Reading
from the left, every piece says where it ends, so two rows with different values never share a form:

    (7, 'a|b', NULL, '')   →   7,3:a|b:0:

Numbers have all the digits of their type's scale, floats are the sign and the IEEE 754 bits of their magnitude as a
number (−0 is 0, NaN is NaN), dates are days since 1970-01-01, timestamps microseconds since 2000-01-01 UTC (as PostgreSQL
keeps them), bytes are hexadecimal digits after an x.

The digest of a segment is its rows counted, and the sum modulo 2⁶⁴ of the lower 64 bits of each row's MD5, read
big-endian. A segment is a bucket of the key: of whole numbers by arithmetic, of any other key by the MD5 of its form, and
where there is no key by the MD5 of the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from helpers.model.declared import DUCKDB

Kind = Literal[
    "boolean", "integer", "decimal", "float", "bytes", "date", "timestamp", "timestamptz", "text", "verbatim"
]
"""What a piece is made from; "verbatim" is a text that is a scalar's canonical text already."""

FOLD = 1_000_003
"""A prime that spreads the parts of a compound key; with segments below 2²¹ every product stays within 64 bits."""

MICROSECONDS_1970_TO_2000 = 946_684_800_000_000


@dataclass(frozen=True)
class FormColumn:
    """One column of a row's form.

    Attributes:
        sql: the value in the dialect at hand.
        kind: which piece it becomes.
        digits, places: of a decimal.
    """

    sql: str
    kind: Kind
    digits: int = 0
    places: int = 0


@dataclass(frozen=True)
class CanonicalSql:
    """How one engine says the canonical form: what differs between engines.

    Attributes:
        scalars: for each kind the SQL of its text, NULL for NULL, with `{c}` for the value, `{d}` and `{s}` for a decimal's digits
            and places.
        comma: a scalar's piece, with `{t}` for its text.
        prefixed: a text's piece, with `{t}` for the text.
        concat: joins pieces.
        hash: what is computed of `{f}` for each row: the lower 64 bits of its MD5, in the form that the engine makes soonest.
        low64: those bits of a `{h}` of that form as a number that sums without overflow.
        low32: the lower 32 bits, as a number of at least 64 bits.
        whole: `{c}`, a whole number, as one of at least 64 bits.
        total: the sum of `{h}`, as text where a driver would not keep every digit of a number.
    """

    name: str
    scalars: Mapping[Kind, str]
    comma: str
    prefixed: str
    concat: Callable[[Sequence[str]], str]
    hash: str
    low32: str
    whole: str
    total: str = "SUM({h})"
    low64: str = "{h}"

    def piece(self, column: FormColumn) -> str:
        """The SQL of one column's piece, never NULL."""
        if column.kind == "text":
            return self.prefixed.format(t=column.sql)
        text = "{c}" if column.kind == "verbatim" else self.scalars[column.kind]
        return self.comma.format(t=text.format(c=column.sql, s=column.places, d=column.digits))

    def form(self, columns: Sequence[FormColumn]) -> str:
        """The SQL of a row's form."""
        return self.concat([self.piece(column) for column in columns])

    def row_hash(self, columns: Sequence[FormColumn]) -> str:
        """The SQL of a row's 64 bits."""
        return self.low64.format(h=self.hash.format(f=self.form(columns)))

    def segment(self, columns: Sequence[FormColumn], key: Sequence[FormColumn], segments: int) -> str:
        """The SQL of the segment that a row belongs to, a whole number from 0 below `segments`.

        Args:
            columns: of the row.
            key: of the key, empty where there is none.
            segments: how many there are, at most 2²¹.
        """
        if segments == 1:
            return "0"
        if not key or any(column.kind != "integer" for column in key):
            return f"{self.low32.format(f=self.form(key or columns))} % {segments}"
        parts = [f"(COALESCE({self.whole.format(c=column.sql)}, 0) % {segments})" for column in key]
        folded = parts[0]
        for part in parts[1:]:
            folded = f"({folded} * {FOLD} + {part}) % {segments}"
        return f"({folded} + {segments}) % {segments}"

    def digest_query(
        self, columns: Sequence[FormColumn], key: Sequence[FormColumn], segments: int, rows: str, where: str = ""
    ) -> str:
        """A query with a row for each segment that is not empty: `segment`, `n` (rows) and `total` (their sum).

        Args:
            columns, key, segments: as `segment` takes them.
            rows: what follows FROM.
            where: a condition on the rows, empty for all.
        """
        condition = f" WHERE {where}" if where else ""
        row = self.hash.format(f=self.form(columns))
        inner = f"SELECT {self.segment(columns, key, segments)} AS segment, {row} AS h FROM {rows}{condition}"
        total = self.total.format(h=self.low64.format(h="h"))
        return f"SELECT segment, COUNT(*) AS n, {total} AS total FROM ({inner}) q GROUP BY segment"


def kind_of(parquet: str) -> tuple[Kind, int, int]:
    """Kind, digits and places of a staged type, as `types.Mapping.parquet` names it."""
    held = DUCKDB.read(parquet)
    if held.family == "number":
        return ("decimal", held.digits, int(held.places or 0)) if held.name == "DECIMAL" else ("integer", 0, 0)
    return cast(Kind, held.family), 0, 0


def joined(pieces: Sequence[str], group: int = 32) -> str:
    """Pieces joined by `||`, in groups: a parser's recursion grows with the longest chain, and tables have 1,600 columns."""
    parts = [f"({piece})" for piece in pieces]
    while len(parts) > 1:
        parts = [f"({' || '.join(parts[start : start + group])})" for start in range(0, len(parts), group)]
    return parts[0]


def segments_for(rows: int) -> int:
    """How many segments so many rows are put into: about 40 rows in each, so that a differing row costs
    twice as many fetched, from both sides together.

    A prime, so that keys which all are multiples of one number still spread.
    """
    wanted = min(max(1, rows // ROWS_PER_SEGMENT), MOST_SEGMENTS)
    while wanted > 3 and any(wanted % n == 0 for n in range(2, int(wanted**0.5) + 1)):
        wanted -= 1
    return wanted


ROWS_PER_SEGMENT = 40
MOST_SEGMENTS = 2**21 - 9
"""The largest prime below 2²¹; more rows than 84 million make the segments larger, not more."""
