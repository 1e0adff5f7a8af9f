"""The canonical form in DuckDB, of values as they are staged."""

from __future__ import annotations

from helpers.digests.canonical import MICROSECONDS_1970_TO_2000, CanonicalSql

# The epoch of infinity is NULL.
_MICROSECONDS = (
    f"CASE WHEN isfinite({{c}}) THEN CAST(epoch_us({{c}}) - {MICROSECONDS_1970_TO_2000} AS VARCHAR) "
    "ELSE CAST({c} AS VARCHAR) END"
)
_FLOAT = (
    "CASE WHEN isnan({c}) THEN 'NaN' WHEN {c} = 0 THEN '0' "
    "ELSE concat(if({c} < 0, '-', ''), CAST(CAST(abs(CAST({c} AS DOUBLE)) AS BIT) AS BIGINT)) END"
)


def _reversed_bytes(number: str) -> str:
    """The SQL of a UBIGINT with its bytes in the other order: `md5_number` reads the digest little-endian."""
    for bits, kept in ((32, 0x00000000FFFFFFFF), (16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF)):
        mask = f"{kept}::UBIGINT"
        number = f"((({number} >> {bits}) & {mask}) | (({number} & {mask}) << {bits}))"
    return number


DIALECT = CanonicalSql(
    name="duckdb",
    scalars={
        "boolean": "CAST(CAST({c} AS TINYINT) AS VARCHAR)",
        "integer": "CAST({c} AS VARCHAR)",
        # A decimal of nothing but places is printed as .5.
        "decimal": "if({s} = {d}, regexp_replace(CAST({c} AS VARCHAR), '^(-?)\\.', '\\10.'), CAST({c} AS VARCHAR))",
        "float": _FLOAT,
        "bytes": "'x' || hex({c})",
        "date": "CASE WHEN isfinite({c}) THEN CAST({c} - DATE '1970-01-01' AS VARCHAR) ELSE CAST({c} AS VARCHAR) END",
        "timestamp": _MICROSECONDS,
        "timestamptz": _MICROSECONDS,
    },
    comma="{t}, ','",
    prefixed="strlen({t}), ':', {t}",
    low64=_reversed_bytes("{h}"),
    concat=lambda pieces: f"concat({', '.join(pieces)})",
    hash="(md5_number({f}) >> 64)::UBIGINT",
    low32="concat('0x', right(md5({f}), 8))::BIGINT",
    whole="CAST({c} AS BIGINT)",
)
"""`concat` takes NULL for nothing, which is what a NULL's piece is made of."""
