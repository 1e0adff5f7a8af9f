"""How values travel: bound parameters on their way in, results on their way out."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import fakesnow.converter
import pyarrow as pa
import pyarrow.compute as pc
from snowflake.connector.errors import ProgrammingError

from helpers.local.standin import expressions
from helpers.local.standin.declared import LONGEST_BINARY, LONGEST_TEXT

LARGEST_INT64, SMALLEST_INT64 = (1 << 63) - 1, -(1 << 63)

ROW_TYPES = {
    **dict.fromkeys(expressions.INTEGERS, "fixed"),
    "DECIMAL": "fixed",
    "DOUBLE": "real",
    "FLOAT": "real",
    "BOOLEAN": "boolean",
    "VARCHAR": "text",
    "UUID": "text",
    '"NULL"': "text",
    "NULL": "text",
    "JSON": "variant",
    "BLOB": "binary",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp_ntz",
    "TIMESTAMP_NS": "timestamp_ntz",
    "TIMESTAMP WITH TIME ZONE": "timestamp_tz",
}


def bound_value(binding: dict[str, Any]) -> Any:
    """A bound parameter, exact: NULL, decimals and microseconds did not survive fakesnow's floats."""
    kind, value = binding["type"], binding["value"]
    if value is None:
        return None
    if kind == "FIXED":
        return int(value) if value.lstrip("-").isdigit() else Decimal(value)
    if kind == "REAL":
        return float(value)
    if kind == "TIME":
        return (datetime.datetime.min + datetime.timedelta(microseconds=int(value) // 1000)).time()
    if kind in ("TIMESTAMP_NTZ", "TIMESTAMP_LTZ"):
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=int(value) // 1000)
        return moment if kind == "TIMESTAMP_NTZ" else moment.replace(tzinfo=datetime.UTC)
    if kind == "DATE":
        return datetime.date(1970, 1, 1) + datetime.timedelta(milliseconds=int(value))
    return fakesnow.converter.from_binding(binding)


def row_type(described: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The columns of a result; times have six digits, which is what DuckDB keeps."""
    return [_column_info(column[0], column[1]) for column in described]


def _column_info(name: str, type_: str) -> dict[str, Any]:
    kind = ROW_TYPES.get("DECIMAL" if type_.startswith("DECIMAL") else type_, "variant")
    info: dict[str, Any] = {"name": name, "nullable": True, "type": kind}
    info |= dict.fromkeys(("database", "schema", "table"), "")
    info |= dict.fromkeys(("byteLength", "length", "scale", "precision", "collation"))
    if kind == "fixed":
        digits = type_[8:-1].split(",") if type_.startswith("DECIMAL") else ["38", "0"]
        info.update(precision=int(digits[0]), scale=int(digits[1]))
    elif kind == "text":
        info.update(byteLength=LONGEST_TEXT, length=LONGEST_TEXT)
    elif kind == "binary":
        info.update(byteLength=LONGEST_BINARY, length=LONGEST_BINARY)
    elif kind.startswith("time"):
        info.update(precision=0, scale=6)
    return info


def to_wire(table: pa.Table, columns: list[dict[str, Any]]) -> pa.Table:
    """A result as the connector expects it: times as integers, whole numbers as int64 where they fit."""
    arrays, fields = [], []
    for column, info in zip(table.columns, columns, strict=True):
        array = _wire_array(column, info["type"])
        metadata = {
            "logicalType": info["type"].upper(),
            "precision": str(info["precision"] or 38),
            "scale": str(info["scale"] or 0),
            "charLength": str(info["length"] or 0),
        }
        arrays.append(array)
        fields.append(pa.field(info["name"], array.type, metadata=metadata))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _wire_array(column: Any, kind: str) -> Any:
    type_ = column.type
    if kind == "timestamp_tz":
        return _zoned(column.cast(pa.timestamp("us", "UTC")))
    if kind == "timestamp_ntz":
        return column.cast(pa.timestamp("us")).cast(pa.int64())
    if kind == "time":
        return column.cast(pa.time64("us")).cast(pa.int64())
    if kind == "fixed" and (pa.types.is_unsigned_integer(type_) or (pa.types.is_decimal(type_) and type_.scale == 0)):
        limits = pc.min_max(column)
        _refuse_39_digits(limits, 0)
        low, high = limits["min"].as_py(), limits["max"].as_py()
        if low is None or (low >= SMALLEST_INT64 and high <= LARGEST_INT64):
            return column.cast(pa.int64())
        return column.cast(pa.decimal128(38, 0))
    if kind == "fixed" and pa.types.is_decimal(type_) and type_.precision == 38:
        _refuse_39_digits(pc.min_max(column), type_.scale)
    if pa.types.is_null(type_):
        return column.cast(pa.string())
    if kind == "variant" and not pa.types.is_string(type_):
        return column.cast(pa.string())
    return column


def _refuse_39_digits(limits: Any, scale: int) -> None:
    """A NUMBER has 38 digits; DuckDB's sums and products may have one more (…/sql-reference/data-types-numeric)."""
    for value in (limits["min"].as_py(), limits["max"].as_py()):
        # Counted, not computed: decimal's own arithmetic has 28 digits.
        if value is not None and Decimal(value).adjusted() + scale >= 38:
            raise ProgrammingError(
                msg=f"Number out of representable range: type FIXED[SB16](38,{scale}){{nullable}}, value {value:.17g}",
                errno=100046,
                sqlstate="22003",
            )


def _zoned(column: Any) -> Any:
    """TIMESTAMP_TZ travels as second, nanosecond and offset; NULL stays NULL (it came back as 1970-01-01)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    nulls = pc.is_null(array)
    whole = pc.fill_null(array.cast(pa.int64()), 0)
    seconds = pc.cast(pc.floor_temporal(pc.cast(whole, pa.timestamp("us")), unit="second"), pa.int64())
    fraction = pc.multiply(pc.subtract(whole, seconds), 1000).cast(pa.int32())
    epoch = pc.divide(seconds, 1_000_000)
    offset = pa.array([1440], pa.int32()).take(pa.array([0] * len(array), pa.int32()))
    return pa.StructArray.from_arrays([epoch, fraction, offset], ["epoch", "fraction", "timezone"], mask=nulls)
