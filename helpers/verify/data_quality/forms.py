"""Of what kind a column's values are on each side, as far as a check or a sum depends on it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from helpers.model import types
from helpers.model.catalog import PgType

Form = Literal["number", "float", "text", "bool", "date", "timestamp", "timestamptz", "time", "bytes", "other"]

_POSTGRES: dict[str, Form] = {
    "int2": "number",
    "int4": "number",
    "int8": "number",
    "numeric": "number",
    "float4": "float",
    "float8": "float",
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
    "bool": "bool",
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "time": "time",
    "bytea": "bytes",
}
_WHOLE = {"int2": 5, "int4": 10, "int8": 19}

# Those of Snowflake's INFORMATION_SCHEMA and DDL, and those of DuckDB.
_TARGETS: dict[str, Form] = {
    "NUMBER": "number",
    "DECIMAL": "number",
    "SMALLINT": "number",
    "INTEGER": "number",
    "BIGINT": "number",
    "FLOAT": "float",
    "DOUBLE": "float",
    "VARCHAR": "text",
    "TEXT": "text",
    "BOOLEAN": "bool",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_NTZ": "timestamp",
    "TIMESTAMP_LTZ": "timestamptz",
    "TIMESTAMP_TZ": "timestamptz",
    "TIMESTAMPTZ": "timestamptz",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "BINARY": "bytes",
    "BLOB": "bytes",
}
_INTEGERS = {"SMALLINT": 5, "INTEGER": 10, "BIGINT": 19}


@dataclass(frozen=True)
class Held:
    """How one side holds a column of the source.

    Attributes:
        sql: its name there, quoted.
        type: as the side names it.
        wanted: the form that it should have there; `text` where a policy or the target's types make it text.
        form: the form that it has.
        digits: of an exact number: in total, or None where the type sets no limit.
        scale: of an exact number: digits after the point.
        kept: the condition under which the column itself holds the source's value, None where it always does; a policy
            keeps the others in a flag column.
    """

    sql: str
    type: str
    wanted: Form
    form: Form
    digits: int | None = None
    scale: int = 0
    kept: str | None = None

    @property
    def as_wanted(self) -> bool:
        """Whether the column's type is of the form that the migration gives it."""
        return self.form == self.wanted


def form_of(kind: PgType) -> Form:
    """The form of a PostgreSQL type; `other` is what has a comparison of its own, and travels as text."""
    if kind.kind == "e":
        return "text"
    return _POSTGRES.get(kind.name, "other") if kind.kind == "b" and kind.element is None else "other"


def digits_of(kind: PgType) -> tuple[int | None, int]:
    """Digits and digits after the point that a PostgreSQL type of form `number` allows; (None, 0) for no limit."""
    if kind.name == "numeric":
        return types.declared(kind) or (None, 0)
    return _WHOLE.get(kind.name), 0


def target_form(declared: str) -> tuple[Form, int | None, int]:
    """The form of a type of Snowflake or DuckDB, with its digits and digits after the point."""
    match = re.fullmatch(r"([A-Z_ ]+?)(?:\((\d+)(?:,\s*(\d+))?\))?", declared.upper())
    name = match.group(1) if match else declared
    form = _TARGETS.get(name, "other")
    if form != "number":
        return form, None, 0
    if name in _INTEGERS:
        return form, _INTEGERS[name], 0
    sizes = match.groups()[1:] if match else (None, None)
    return form, int(sizes[0] or 38), int(sizes[1] or 0)
