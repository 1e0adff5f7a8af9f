"""PostgreSQL's SQL: the canonical form, and what it says otherwise than others.

The wire format's own functions give bits and microseconds at a third of the cost of printing and computing
(https://www.postgresql.org/docs/18/protocol-overview.html#PROTOCOL-FORMAT-CODES): `float8send`, `timestamp_send`. The
column is what the export reads, so decimals arrive here as text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from helpers.digests.canonical import CanonicalSql, joined
from helpers.engines.columns import ComparedColumn
from helpers.engines.held import Held
from helpers.engines.sql import Sql

_BITS = "('x' || encode({0}, 'hex'))::bit(64)::bigint"
_FLOAT = (
    "CASE WHEN ({{c}})::float8 = 'NaN' THEN 'NaN' WHEN ({{c}})::float8 = 0 THEN '0' "
    "ELSE CASE WHEN ({{c}})::float8 < 0 THEN '-' ELSE '' END || " + _BITS + " END"
).format("float8send(abs(({c})::float8))")


def timestamps(kind: str) -> str:
    """The text of a `timestamp` or `timestamptz`: whole microseconds since 2000, or infinity's own name."""
    return f"CASE WHEN isfinite({{c}}) THEN ({_BITS.format(f'{kind}_send({{c}})')})::text ELSE ({{c}})::text END"


CANONICAL = CanonicalSql(
    name="postgresql",
    scalars={
        "boolean": "({c})::int::text",
        "integer": "({c})::text",
        "decimal": "{c}",
        "float": _FLOAT,
        "bytes": "'x' || upper(encode({c}, 'hex'))",
        "date": "CASE WHEN isfinite({c}) THEN (({c}) - date '1970-01-01')::text ELSE ({c})::text END",
        "timestamp": timestamps("timestamp"),
        "timestamptz": timestamps("timestamptz"),
    },
    comma="coalesce({t}, '') || ','",
    prefixed="coalesce(octet_length({t})::text || ':' || ({t}), ':')",
    concat=joined,
    hash="('x' || right(md5({f}), 16))::bit(64)::bigint",
    low32="('x' || right(md5({f}), 8))::bit(32)::bigint",
    whole="({c})::bigint",
    total="sum({h})::text",
)
"""For a server whose encoding is UTF8."""

ANY_ENCODING = replace(
    CANONICAL,
    prefixed="coalesce(octet_length(convert_to({t}, 'UTF8'))::text || ':' || ({t}), ':')",
    hash="('x' || right(md5(convert_to({f}, 'UTF8')), 16))::bit(64)::bigint",
    low32="('x' || right(md5(convert_to({f}, 'UTF8')), 8))::bit(32)::bigint",
)
"""For any: the bytes are counted and hashed as the other engines have them."""


@dataclass(frozen=True)
class PostgresSql(Sql):
    """PostgreSQL's SQL.

    Attributes:
        is_target: whether the target's names of columns apply.
    """

    canonical: CanonicalSql = ANY_ENCODING
    is_target: bool = False
    limits_digits: ClassVar[bool] = False

    def text(self, sql: str) -> str:
        return f"CAST({sql} AS text)"

    def grouped_text(self, sql: str) -> str:
        return f'CAST({sql} AS text) COLLATE "C"'

    def compared_text(self, sql: str) -> str:
        """An enum or a char(n) as the text that it stands for."""
        return f"CAST({sql} AS text)"

    def year_and_month(self, moment: str) -> str:
        return f"to_char({moment}, 'YYYY-MM')"

    def number(self, text: str, held: Held) -> str:
        plain = "." not in text and held.scale == 0 and len(text) <= 18
        return text if plain else f"CAST({self.literal(text)} AS numeric)"

    def name(self, column: ComparedColumn) -> str:
        """A column's name on this side."""
        return column.there if self.is_target else column.staged.source

    def staged(self, column: ComparedColumn) -> str:
        """As the export reads it; decimals arrive as the text of their digits."""
        return f"({column.staged.read.format(c=self.identifier(self.name(column)))})"

    def operand(self, column: ComparedColumn) -> Held:
        held = super().operand(column)
        if held.form == "text":
            return replace(held, sql=f'({held.sql} COLLATE "C")')
        if held.form == "number" and not column.staged.parquet.endswith("INT") and column.staged.parquet != "INTEGER":
            # A policy's or a mask's value takes the place of the column's own.
            masked = column.staged.policy not in (None, "text") or column.staged.mask
            return replace(held, sql=f"{held.sql}::numeric" if masked else self.identifier(self.name(column)))
        return held


SQL = PostgresSql()
