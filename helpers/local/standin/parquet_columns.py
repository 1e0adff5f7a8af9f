"""What COPY makes of a Parquet file's columns: the type each arrives as, and what its format's options do to a value.

https://docs.snowflake.com/en/sql-reference/sql/copy-into-table#type-parquet and, under it, USE_VECTORIZED_SCANNER: the older scanner,
which is the default, takes bytes without a logical type for text (BINARY_AS_TEXT) and gives times and timestamps that have no
zone as integers; the newer one heeds neither BINARY_AS_TEXT nor USE_LOGICAL_TYPE and knows every logical type. NULL_IF and TRIM_SPACE
work where columns are matched by name, and not where a query reads `$1`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin.names import identifier, text, unsupported

DEFAULTS = {
    "COMPRESSION": "AUTO",
    "SNAPPY_COMPRESSION": "TRUE",
    "BINARY_AS_TEXT": "TRUE",
    "USE_LOGICAL_TYPE": "FALSE",
    "TRIM_SPACE": "FALSE",
    "USE_VECTORIZED_SCANNER": "FALSE",
    "REPLACE_INVALID_CHARACTERS": "FALSE",
    "NULL_IF": '["\\\\N"]',
}
"""Of a Parquet format, as documented; NULL_IF as JSON, whose only default is the two characters \\N."""

_PLACES_OF_INTEGERS = ((31_536_000_000, 1_000_000), (31_536_000_000_000, 1_000), (31_536_000_000_000_000, 1))
"""An integer that has to be a timestamp is read by its size: seconds, milliseconds, microseconds, or else nanoseconds
(https://docs.snowflake.com/en/sql-reference/functions/to_timestamp)."""


@dataclass(frozen=True)
class ParquetFormat:
    """The options that have a say in a value."""

    vectorized: bool
    logical: bool
    bytes_are_text: bool
    trim: bool
    replace_invalid: bool
    nulls: tuple[str, ...]

    @classmethod
    def read(cls, said: Mapping[str, str]) -> ParquetFormat:
        """From FILE_FORMAT, the stage's and COPY's own over it."""
        if unknown := said.keys() - DEFAULTS.keys() - {"TYPE"}:
            raise unsupported(f"a Parquet format with {', '.join(sorted(unknown))}")
        options = {**DEFAULTS, **said}
        yes = {name: options[name].upper() == "TRUE" for name in DEFAULTS}
        vectorized = yes["USE_VECTORIZED_SCANNER"]
        return cls(
            vectorized,
            vectorized or yes["USE_LOGICAL_TYPE"],
            yes["BINARY_AS_TEXT"] and not vectorized,
            yes["TRIM_SPACE"],
            yes["REPLACE_INVALID_CHARACTERS"],
            tuple(json.loads(options["NULL_IF"])),
        )

    def matched(self, column: Any, stored: str) -> str:
        """A column of the file as a column of that type has it, where the two were matched by their names."""
        value, arrives = self._arriving(column)
        if arrives == "VARCHAR":
            value = f"trim({value}, ' \t\r\n')" if self.trim else value
            if self.nulls:
                value = f"(case when {value} in ({', '.join(map(text, self.nulls))}) then null else {value} end)"
        return _converted(value, arrives, stored)

    def _arriving(self, column: Any) -> tuple[str, str]:
        """A column's value and the type of it that COPY sees."""
        name, type_ = identifier(column.name), storage(column.type)
        if pa.types.is_timestamp(type_):
            if self.vectorized or (self.logical and type_.tz):
                return name, "TIMESTAMP WITH TIME ZONE" if type_.tz else "TIMESTAMP"
            return f"epoch_{'ns' if type_.unit == 'ns' else 'ms' if type_.unit == 'ms' else 'us'}({name})", "BIGINT"
        if pa.types.is_time(type_):
            return (
                (name, "TIME") if self.vectorized else (f"date_diff('microsecond', time '00:00:00', {name})", "BIGINT")
            )
        if pa.types.is_date(type_):
            return (name, "DATE") if self.logical else (f"date_diff('day', date '1970-01-01', {name})", "BIGINT")
        if pa.types.is_decimal(type_):
            if not self.logical:
                raise unsupported(
                    "a DECIMAL with USE_LOGICAL_TYPE = FALSE, which is read as its digits without the point"
                )
            return name, "DECIMAL"
        if is_bytes(type_):
            if not self.bytes_are_text:
                return name, "BLOB"
            return (f"_replaced({name})" if self.replace_invalid else f"decode({name})"), "VARCHAR"
        if pa.types.is_string(type_) or pa.types.is_large_string(type_):
            return name, "VARCHAR"
        return name, "NUMBER"


def storage(type_: Any) -> Any:
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def stored(array: Any) -> Any:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def is_bytes(type_: Any) -> bool:
    return any(is_(type_) for is_ in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary))


def null_if(value: exp.Expression) -> str:
    """NULL_IF as a format keeps it."""
    return json.dumps([each.name for each in (value.expressions if isinstance(value, exp.Tuple) else [value])])


def _converted(value: str, arrives: str, stored: str) -> str:
    if stored == "VARCHAR" and arrives == "BLOB":
        return f"hex({value})"
    if stored == "BLOB" and arrives != "BLOB":
        return f"unhex({value}::varchar)"
    if stored.startswith("DECIMAL") and arrives in ("DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
        raise ProgrammingError(
            msg=f"Failed to cast variant value of type {arrives} to FIXED", errno=100071, sqlstate="22000"
        )
    if arrives == "BIGINT" and stored.startswith("TIMESTAMP"):
        return f"{_moment(value)}::{stored}"
    if arrives == "BIGINT" and stored in ("DATE", "TIME"):
        return f"{_moment(value)}::timestamp::{stored}"
    return f"{value}::{stored}"


def _moment(value: str) -> str:
    sized = " ".join(f"when abs({value}) < {limit} then {value} * {factor}" for limit, factor in _PLACES_OF_INTEGERS)
    return f"make_timestamp((case {sized} else {value} // 1000 end)::bigint)"
