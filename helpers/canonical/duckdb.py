"""The canonical form in DuckDB, of values as they are staged."""

from __future__ import annotations

from helpers.canonical import MICROSECONDS_1970_TO_2000, Dialect

# The epoch of infinity is NULL.
_MICROSECONDS = (
    f"CASE WHEN isfinite({{c}}) THEN CAST(epoch_us({{c}}) - {MICROSECONDS_1970_TO_2000} AS VARCHAR) "
    "ELSE CAST({c} AS VARCHAR) END"
)
_FLOAT = (
    "CASE WHEN isnan({c}) THEN 'NaN' WHEN {c} = 0 THEN '0' "
    "ELSE concat(if({c} < 0, '-', ''), CAST(CAST(abs(CAST({c} AS DOUBLE)) AS BIT) AS BIGINT)) END"
)

DIALECT = Dialect(
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
    concat=lambda pieces: f"concat({', '.join(pieces)})",
    low64="('0x' || right(md5({f}), 16))::UBIGINT",
    low32="('0x' || right(md5({f}), 8))::BIGINT",
    whole="CAST({c} AS BIGINT)",
)
"""`concat` takes NULL for nothing, which is what a NULL's piece is made of."""
