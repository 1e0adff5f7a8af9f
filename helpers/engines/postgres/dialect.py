"""The canonical form in PostgreSQL.

The wire format's own functions give bits and microseconds at a third of the cost of printing and computing
(https://www.postgresql.org/docs/18/protocol-overview.html#PROTOCOL-FORMAT-CODES): `float8send`, `timestamp_send`. The
column is what the export reads, so decimals arrive here as text.
"""

from __future__ import annotations

from dataclasses import replace

from helpers.digests.canonical import Dialect, joined

_BITS = "('x' || encode({0}, 'hex'))::bit(64)::bigint"
_FLOAT = (
    "CASE WHEN ({{c}})::float8 = 'NaN' THEN 'NaN' WHEN ({{c}})::float8 = 0 THEN '0' "
    "ELSE CASE WHEN ({{c}})::float8 < 0 THEN '-' ELSE '' END || " + _BITS + " END"
).format("float8send(abs(({c})::float8))")


def timestamps(kind: str) -> str:
    """The text of a `timestamp` or `timestamptz`: whole microseconds since 2000, or infinity's own name."""
    return f"CASE WHEN isfinite({{c}}) THEN ({_BITS.format(f'{kind}_send({{c}})')})::text ELSE ({{c}})::text END"


DIALECT = Dialect(
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
    DIALECT,
    prefixed="coalesce(octet_length(convert_to({t}, 'UTF8'))::text || ':' || ({t}), ':')",
    hash="('x' || right(md5(convert_to({f}, 'UTF8')), 16))::bit(64)::bigint",
    low32="('x' || right(md5(convert_to({f}, 'UTF8')), 8))::bit(32)::bigint",
)
"""For any: the bytes are counted and hashed as the other engines have them."""
