"""Values of every staged kind, their canonical form by plain Python, and how each engine writes them as constants.

The form is written here a second time on purpose, from the definition in `helpers.digests.canonical` and with nothing of its code:
`struct` for the bits of floats, `hashlib` for the digest.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from helpers.digests.canonical import CanonicalSql, FormColumn, kind_of
from helpers.engines.snowflake import dialect as canonical_snowflake
from helpers.platforms import snowflake
from helpers.platforms.postgres import identifier, literal

EPOCH = datetime(2000, 1, 1)


@dataclass(frozen=True)
class Kind:
    """A column of the corpus: its staged type, and its type in PostgreSQL, Snowflake and Spark."""

    name: str
    parquet: str
    postgres: str
    snowflake: str
    spark: str


KINDS = (
    Kind("flag", "BOOLEAN", "boolean", "BOOLEAN", "BOOLEAN"),
    Kind("small", "SMALLINT", "smallint", "NUMBER(5,0)", "SMALLINT"),
    Kind("whole", "INTEGER", "integer", "NUMBER(10,0)", "INT"),
    Kind("big", "BIGINT", "bigint", "NUMBER(19,0)", "BIGINT"),
    Kind("price", "DECIMAL(12,2)", "numeric(12,2)", "NUMBER(12,2)", "DECIMAL(12,2)"),
    Kind("fraction", "DECIMAL(5,5)", "numeric(5,5)", "NUMBER(5,5)", "DECIMAL(5,5)"),
    Kind("wide", "DECIMAL(38,10)", "numeric(38,10)", "NUMBER(38,10)", "DECIMAL(38,10)"),
    Kind("finest", "DECIMAL(38,37)", "numeric(38,37)", "NUMBER(38,37)", "DECIMAL(38,37)"),
    Kind("integral", "DECIMAL(38,0)", "numeric(38,0)", "NUMBER(38,0)", "DECIMAL(38,0)"),
    Kind("single", "FLOAT", "real", "FLOAT", "FLOAT"),
    Kind("twice", "DOUBLE", "double precision", "FLOAT", "DOUBLE"),
    Kind("body", "VARCHAR", "text", "VARCHAR", "STRING"),
    Kind("raw", "BLOB", "bytea", "BINARY", "BINARY"),
    Kind("day", "DATE", "date", "DATE", "DATE"),
    Kind("at", "TIMESTAMP", "timestamp", "TIMESTAMP_NTZ(6)", "TIMESTAMP_NTZ"),
    Kind("instant", "TIMESTAMPTZ", "timestamptz", "TIMESTAMP_LTZ(6)", "TIMESTAMP"),
    Kind("clock", "VARCHAR", "time", "TIME(6)", "STRING"),
)

Row = tuple[Any, ...]
"""A value for each of `KINDS`: bool, int, Decimal, float, str, bytes, date, datetime (UTC without a zone), or None."""


def single(number: float) -> float:
    """The value that a real keeps of `number`."""
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


ROWS: dict[str, Row] = {
    "nothing": (None,) * len(KINDS),
    "zeros": (
        False, 0, 0, 0, Decimal("0.00"), Decimal("0.00000"), Decimal("0E-10"), Decimal("0E-37"), Decimal(0), 0.0, 0.0, "", b"",
        date(1970, 1, 1), EPOCH, EPOCH, "00:00:00",
    ),
    "negative zeros": (
        True, -1, -1, -1, Decimal("-0.01"), Decimal("-0.00001"), Decimal("-1E-10"), Decimal("-1E-37"), Decimal(-1), -0.0, -0.0,
        " ", b"\x00", date(1969, 12, 31), datetime(1999, 12, 31, 23, 59, 59, 999999), datetime(1970, 1, 1), "23:59:59.999999",
    ),
    "largest": (
        True, 32767, 2147483647, 9223372036854775807, Decimal("9999999999.99"), Decimal("0.99999"),
        Decimal("9999999999999999999999999999.9999999999"), Decimal("9.9999999999999999999999999999999999999"),
        Decimal("99999999999999999999999999999999999999"), 3.4028234663852886e38, 1.7976931348623157e308, "\U0010ffff", b"\xff" * 3,
        date(9999, 12, 31), datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(9999, 12, 31, 23, 59, 59, 999999), "12:00:00.1",
    ),
    "smallest": (
        False, -32768, -2147483648, -9223372036854775808, Decimal("-9999999999.99"), Decimal("-0.99999"),
        Decimal("-9999999999999999999999999999.9999999999"), Decimal("-9.9999999999999999999999999999999999999"),
        Decimal("-99999999999999999999999999999999999999"), -3.4028234663852886e38, -1.7976931348623157e308, "\x01\t\r\n\x7f",
        b"\x00\x00", date(1, 1, 1), datetime(1, 1, 1), datetime(1, 1, 1), "00:00:00.000001",
    ),
    "infinite": (
        None, 1, None, 10, Decimal("1.10"), Decimal("0.10000"), Decimal("1E-7"), Decimal("1E-7"), Decimal(10), math.inf, math.inf,
        "NULL", b"\x5c\x78", date(2024, 2, 29), datetime(2024, 2, 29, 12), datetime(2024, 2, 29, 12), "10:00:00",
    ),
    "infinite below": (
        True, None, 100, None, Decimal("100.00"), None, Decimal("100"), None, Decimal(100), -math.inf, -math.inf, "1,2:3", b",:",
        date(2000, 1, 1), None, datetime(2000, 1, 1, 0, 0, 0, 1), None,
    ),
    "not a number": (
        None, None, None, None, None, Decimal("0.00001"), None, Decimal("1.5"), None, math.nan, math.nan, ",", None, None,
        datetime(1970, 1, 1, 0, 0, 0, 1), None, "01:02:03.040500",
    ),
    "denormal": (
        True, 7, 7, 7, Decimal("0.10"), Decimal("0.50000"), Decimal("0.5"), Decimal("0.5"), Decimal(7), single(1e-45), 5e-324, ":",
        b"", date(1582, 10, 10), datetime(1582, 10, 10), datetime(1883, 11, 18), "09:00:00",
    ),
    "smallest normal": (
        True, 8, 8, 8, Decimal("12.00"), Decimal("0.12000"), Decimal("12"), Decimal("1"), Decimal(8), single(1.17549435e-38),
        2.2250738585072014e-308, "1:a", b"\x0a", date(1900, 3, 1), datetime(1900, 3, 1), datetime(1900, 3, 1), "19:30:00.5",
    ),
    "largest denormal": (
        False, 9, 9, 9, Decimal("-12.30"), Decimal("-0.12300"), Decimal("-12.3"), Decimal("-1.23"), Decimal(-9),
        single(1.1754942e-38), 2.225073858507201e-308, "é", "é".encode(), date(2038, 1, 19), datetime(2038, 1, 19, 3, 14, 8),
        datetime(2038, 1, 19, 3, 14, 8), "23:59:59",
    ),
    "near a power of two": (
        False, 1024, 1024, 1024, Decimal("1024.00"), None, Decimal("1024"), None, Decimal(1024), single(0.99999994),
        math.nextafter(1024.0, 0.0), "e\u0301", b"\xc3\x28", date(2024, 12, 31), datetime(2024, 1, 1, 0, 0, 0, 123456),
        datetime(2024, 1, 1, 0, 0, 0, 120000), "00:00:00.12",
    ),
    "tenth": (
        True, 1, 1, 1, Decimal("0.10"), Decimal("0.10000"), Decimal("0.1"), Decimal("0.1"), Decimal(1), single(0.1), 0.1,
        "it's \\ 100% {c} \"q\" 𝔘日本", b"'\\", date(2023, 3, 26), datetime(2023, 3, 26, 2, 30), datetime(2023, 3, 26, 2, 30), "02:30:00",
    ),
}  # fmt: skip

BEYOND: dict[str, tuple[str, str, str]] = {
    "infinity": ("infinity", "infinity", "infinity"),
    "minus infinity": ("-infinity", "-infinity", "-infinity"),
    "before Christ": ("0044-03-15 BC", "0044-03-15 00:00:00 BC", "0044-03-15 00:00:00+00 BC"),
    "after after Christ": ("0044-03-15", "0044-03-15 00:00:00", "0044-03-15 00:00:00+00"),
    "far": ("10000-01-01", "10000-01-01 00:00:00.000001", "294246-12-31 23:59:59.999999+00"),
}
"""Dates, timestamps and instants that PostgreSQL and DuckDB hold and the other engines do not."""


def form(row: Row) -> str:
    """The canonical form of a row of the corpus."""
    return "".join(piece(value, kind) for value, kind in zip(row, KINDS, strict=True))


def low64(text: str) -> int:
    """The lower 64 bits of the MD5."""
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[8:], "big")


def piece(value: Any, kind: Kind) -> str:
    """One column's part of a form."""
    if kind.parquet == "VARCHAR":
        return ":" if value is None else f"{len(printed(value, kind).encode())}:{printed(value, kind)}"
    return "," if value is None else f"{_scalar(value, kind)},"


def printed(value: str, kind: Kind) -> str:
    """A text as it is staged: a time without the zeros at the end of its fraction."""
    return value.rstrip("0").rstrip(".") if kind.name == "clock" and "." in value else value


def _scalar(value: Any, kind: Kind) -> str:
    match value:
        case bool():
            return str(int(value))
        case Decimal():
            _, _, places = kind_of(kind.parquet)
            return f"{value:.{places}f}"
        case float():
            return "NaN" if math.isnan(value) else bits(value)
        case bytes():
            return f"x{value.hex().upper()}"
        case datetime():
            gone = value - EPOCH
            return str((gone.days * 86400 + gone.seconds) * 10**6 + gone.microseconds)
        case date():
            return str((value - date(1970, 1, 1)).days)
        case _:
            return str(value)


def bits(number: float) -> str:
    """Sign and bits of a float, as the form has them."""
    found = struct.unpack("<q", struct.pack("<d", abs(number)))[0]
    return f"{'-' if number < 0 else ''}{found}"


def in_duckdb(value: Any, kind: Kind) -> str:
    """The value as a DuckDB constant of the staged type."""
    if isinstance(value, bytes):
        return f"from_hex('{value.hex()}')"
    return f"CAST({_text(value, kind)} AS {kind.parquet})"


def in_postgres(value: Any, kind: Kind) -> str:
    """The value as a PostgreSQL constant."""
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    return f"{_text(value, kind, typed_clock=True)}::{kind.postgres}"


def in_snowflake(value: Any, kind: Kind) -> str:
    """The value as a Snowflake constant."""
    if isinstance(value, bytes):
        return f"TO_BINARY('{value.hex()}', 'HEX')"
    if isinstance(value, float):
        value = {math.inf: "inf", -math.inf: "-inf"}.get(value, value)
    text = "NULL" if value is None else snowflake.literal(_plain(value))
    return text if kind.name == "body" else f"{text}::{kind.snowflake}"


def in_spark(value: Any, kind: Kind) -> str:
    """The value as a constant of Spark SQL."""
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    text = "NULL" if value is None else "'" + _plain(value, kind).replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"CAST({text} AS {kind.spark})"


def _text(value: Any, kind: Kind, *, typed_clock: bool = False) -> str:
    return "NULL" if value is None else literal(_plain(value, None if typed_clock else kind))


def _plain(value: Any, kind: Kind | None = None) -> str:
    match value:
        case datetime():
            zone = "+00" if kind and kind.name == "instant" else ""
            return f"{value.replace(tzinfo=None).isoformat(' ')}{zone}"
        case float():
            return repr(value).replace("inf", "Infinity")
        case Decimal():
            return f"{value:f}"
        case str():
            return printed(value, kind) if kind else value
        case _:
            return str(value)


def columns_in_duckdb(kinds: Sequence[Kind] = KINDS) -> list[FormColumn]:
    """The corpus as DuckDB's form takes it."""
    return [FormColumn(identifier(kind.name), *kind_of(kind.parquet)) for kind in kinds]


def columns_in_postgres(kinds: Sequence[Kind] = KINDS) -> list[FormColumn]:
    """The corpus as PostgreSQL's form takes it: what the export reads, decimals and times as text."""
    as_text = {"DECIMAL", "VARCHAR"}
    return [
        FormColumn(
            f"({identifier(kind.name)}{'::text' if kind.parquet.partition('(')[0] in as_text else ''})",
            *kind_of(kind.parquet),
        )
        for kind in kinds
    ]


def columns_in_snowflake(kinds: Sequence[Kind] = KINDS) -> list[FormColumn]:
    """The corpus as Snowflake's form takes it."""
    found = [FormColumn(snowflake.identifier(kind.name), *kind_of(kind.parquet)) for kind in kinds]
    clock = canonical_snowflake.TIME_OF_DAY.format(c='"clock"')
    return [FormColumn(clock, "text") if kind.name == "clock" else c for c, kind in zip(found, kinds, strict=True)]


def columns_in_spark(kinds: Sequence[Kind] = KINDS) -> list[FormColumn]:
    """The corpus as Spark's form takes it."""
    return [FormColumn(f"`{kind.name}`", *kind_of(kind.parquet)) for kind in kinds]


def utc(moment: datetime) -> datetime:
    """The same moment as the corpus keeps it."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def forms_query(dialect: CanonicalSql, columns: Sequence[FormColumn], rows: str) -> str:
    """Each row's number, form and 64 bits."""
    return f"SELECT n, {dialect.form(columns)} AS form, {dialect.row_hash(columns)} AS h FROM {rows} ORDER BY n"
