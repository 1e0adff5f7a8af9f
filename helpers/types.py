"""How a value of each PostgreSQL type is read, staged and kept in a target.

Sources: https://www.postgresql.org/docs/18/datatype.html, https://docs.snowflake.com/en/sql-reference/intro-summary-data-types
and https://parquet.apache.org/docs/file-format/types/logicaltypes (read November 2026); what the readers do to a value was
measured against DuckDB 1.5.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from helpers.catalog import Column, PgType

Comparison = Literal["text", "number", "float4", "float8"]

DECIMAL_DIGITS = 38
"""What Snowflake's NUMBER, Parquet's and DuckDB's DECIMAL hold."""

SPARE_SCALE = 9
"""Digits after the point that a numeric without precision gets at least, so that later changes fit too."""

TEXT_BYTES = 16_777_216
BINARY_BYTES = 8_388_608
"""Snowflake's VARCHAR and BINARY without a declared length."""


@dataclass(frozen=True)
class Mapping:
    """One column's way from the source to a target.

    Attributes:
        read: the expression PostgreSQL evaluates; `{c}` is the quoted column.
        parquet: DuckDB's type of the column in the staged file.
        snowflake: the type in the final table.
        comparison: what makes two texts of this type the same value.
        note: how the value is re-encoded, empty where it is kept as it is.
    """

    read: str
    parquet: str
    snowflake: str
    comparison: Comparison = "text"
    note: str = ""


_AS_IT_IS = {
    "bool": Mapping("{c}", "BOOLEAN", "BOOLEAN"),
    "int2": Mapping("{c}", "SMALLINT", "NUMBER(5,0)", "number"),
    "int4": Mapping("{c}", "INTEGER", "NUMBER(10,0)", "number"),
    "int8": Mapping("{c}", "BIGINT", "NUMBER(19,0)", "number"),
    "oid": Mapping("{c}::int8", "BIGINT", "NUMBER(19,0)", "number"),
    "float4": Mapping("{c}", "FLOAT", "FLOAT", "float4"),
    "float8": Mapping("{c}", "DOUBLE", "FLOAT", "float8"),
    "text": Mapping("{c}", "VARCHAR", "VARCHAR"),
    "bytea": Mapping("{c}", "BLOB", "BINARY"),
    "date": Mapping("{c}", "DATE", "DATE"),
    "timestamp": Mapping("{c}", "TIMESTAMP", "TIMESTAMP_NTZ(6)"),
    "timestamptz": Mapping("{c}", "TIMESTAMPTZ", "TIMESTAMP_LTZ(6)", note="the instant, as PostgreSQL stores it"),
    # Delta and Snowflake's Parquet reader know no time of day, and the scanner no 24:00.
    "time": Mapping("{c}::text", "VARCHAR", "TIME(6)", note="staged as text"),
}

_AS_TEXT = Mapping("{c}::text", "VARCHAR", "VARCHAR", note="as PostgreSQL prints it")

_PRINTED = frozenset(
    "name char citext uuid json jsonb jsonpath xml money interval timetz bit varbit inet cidr macaddr macaddr8 "
    "point line lseg box path polygon circle tsvector tsquery pg_lsn xid xid8 cid tid txid_snapshot pg_snapshot "
    "regclass regproc regprocedure regoper regoperator regtype regrole regnamespace regconfig regdictionary regcollation "
    "hstore ltree lquery ltxtquery vector halfvec sparsevec cube isbn issn ean13 upc".split()
)
"""Types whose text form PostgreSQL reads back to the same value, so that the text is the value."""


def known(column_type: PgType) -> bool:
    """Whether the type has a mapping of its own."""
    return (
        column_type.name in _AS_IT_IS
        or column_type.name in _PRINTED
        or column_type.name in {"numeric", "varchar", "bpchar"}
        or column_type.kind in {"e", "c", "r", "m"}
        or column_type.element is not None
    )


def as_text() -> Mapping:
    """The mapping of the policy `text`, which every type can take."""
    return _AS_TEXT


def mapping(column: Column, *, scale: int | None = None) -> Mapping:
    """How `column` travels.

    Args:
        column: as the catalog has it; `known(column.type)` must hold.
        scale: for a numeric whose type sets no usable limit, the digits after the point that its values need
            (from the census).
    """
    kind = column.type
    if kind.name == "numeric":
        return _numeric(kind, scale)
    if kind.name in {"varchar", "bpchar"}:
        length = f"({kind.length})" if kind.length else ""
        note = "without the padding" if kind.name == "bpchar" else ""
        return Mapping("{c}::text" if kind.name == "bpchar" else "{c}", "VARCHAR", f"VARCHAR{length}", note=note)
    if kind.name == "uuid":
        return Mapping("{c}::text", "VARCHAR", "VARCHAR(36)", note=_AS_TEXT.note)
    return _AS_IT_IS.get(kind.name, _AS_TEXT)


def fits_declared(kind: PgType) -> bool:
    """Whether a numeric's declared digits fit a target, so that its values need not be measured."""
    return kind.precision is not None and 0 <= kind.scale <= kind.precision <= DECIMAL_DIGITS


def _numeric(kind: PgType, scale: int | None) -> Mapping:
    if fits_declared(kind):
        digits, places = kind.precision, kind.scale
        note = ""
    else:
        digits, places = DECIMAL_DIGITS, scale or 0
        note = "digits as the values need them"
    # The binary protocol's reader turns NaN and the infinities into 0; text fails loudly instead.
    return Mapping("{c}::text", f"DECIMAL({digits},{places})", f"NUMBER({digits},{places})", "number", note)
