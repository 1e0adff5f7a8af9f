"""The one reader of declared types: what "NUMBER(10,2)" or "timestamp with time zone" holds, in each dialect, and in what way
another type holds less. Which type a column of PostgreSQL becomes elsewhere is decided in `helpers.model.types`.

Names and sizes are those that PostgreSQL's `format_type` prints
(https://www.postgresql.org/docs/18/datatype.html), that Snowflake's catalog gives
(https://docs.snowflake.com/en/sql-reference/intro-summary-data-types), that Spark SQL writes
(https://spark.apache.org/docs/latest/sql-ref-datatypes.html) and that DuckDB has for the staged files
(https://duckdb.org/docs/stable/sql/data_types/overview).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from math import inf
from typing import Any, Literal

Dialect = Literal["postgresql", "snowflake", "delta", "duckdb"]

Change = Literal["type-narrowed", "precision-lost", "type-widened", "type-changed"]

Family = Literal[
    "number", "float", "text", "padded text", "bytes", "fixed bits", "bits",
    "date", "time", "timetz", "timestamp", "timestamptz", "interval", "boolean", "other",
]  # fmt: skip

Argument = Literal["size", "places", "digits and places", ""]


@dataclass(frozen=True)
class Declared:
    """What one declared type holds.

    Attributes:
        name: without its sizes; two types of the family "other" are alike only if their names are.
        needs: what a type of the same family must have in `size` to hold every value of this one.
        size: what it has for certain: digits before the point, characters, bytes, or bits of a mantissa.
        places: digits after the point, of a number or a second; None where the target does not tell.
        dimensions: whether it is an array of this.
    """

    family: Family
    name: str
    needs: float = 0
    size: float = 0
    places: float | None = 0
    dimensions: bool = False

    @property
    def digits(self) -> int:
        """Of a number with sizes: all of its digits."""
        return int(self.size + (self.places or 0))


@dataclass(frozen=True)
class _Rule:
    """How one name is read: its family, what its argument means, and what holds without one."""

    family: Family
    argument: Argument = ""
    size: float = 0
    places: float | None = 0
    needs: float | None = None


_POSTGRESQL: dict[str, _Rule] = {
    # An integer holds every number of one digit less than its largest, which has `needs`.
    "smallint": _Rule("number", size=4, needs=5),
    "integer": _Rule("number", size=9, needs=10),
    "bigint": _Rule("number", size=18, needs=19),
    "numeric": _Rule("number", "digits and places", size=inf, places=inf),
    "real": _Rule("float", size=24),
    "double precision": _Rule("float", size=53),
    "text": _Rule("text", size=inf),
    "character varying": _Rule("text", "size", size=inf),
    "character": _Rule("padded text", "size", size=1),
    "bpchar": _Rule("padded text", size=inf),
    "bytea": _Rule("bytes", size=inf),
    "bit": _Rule("fixed bits", "size", size=1),
    "bit varying": _Rule("bits", "size", size=inf),
    "date": _Rule("date"),
    "time without time zone": _Rule("time", "places", places=6),
    "time with time zone": _Rule("timetz", "places", places=6),
    "timestamp without time zone": _Rule("timestamp", "places", places=6),
    "timestamp with time zone": _Rule("timestamptz", "places", places=6),
    "interval": _Rule("interval", "places", places=6),
    "boolean": _Rule("boolean"),
}

_SNOWFLAKE: dict[str, _Rule] = {
    "NUMBER": _Rule("number", "digits and places", size=38),
    "FLOAT": _Rule("float", size=53),
    "VARCHAR": _Rule("text", "size", size=inf),
    "BINARY": _Rule("bytes", "size", size=inf),
    "DATE": _Rule("date"),
    "TIME": _Rule("time", "places", places=None),
    "TIMESTAMP_NTZ": _Rule("timestamp", "places", places=None),
    "TIMESTAMP_LTZ": _Rule("timestamptz", "places", places=None),
    "BOOLEAN": _Rule("boolean"),
}
# TIMESTAMP_TZ is left to its name: it keeps an offset beside the instant, which no type of PostgreSQL does.

_DELTA: dict[str, _Rule] = {
    "TINYINT": _Rule("number", size=2, needs=3),
    "SMALLINT": _Rule("number", size=4, needs=5),
    "INT": _Rule("number", size=9, needs=10),
    "BIGINT": _Rule("number", size=18, needs=19),
    "DECIMAL": _Rule("number", "digits and places", size=10),
    "FLOAT": _Rule("float", size=24),
    "DOUBLE": _Rule("float", size=53),
    "STRING": _Rule("text", size=inf),
    "BINARY": _Rule("bytes", size=inf),
    "DATE": _Rule("date"),
    "TIMESTAMP_NTZ": _Rule("timestamp", places=6),
    "TIMESTAMP": _Rule("timestamptz", places=6),
    "BOOLEAN": _Rule("boolean"),
}

_DELTA_LOG = {"byte": "TINYINT", "short": "SMALLINT", "integer": "INT", "long": "BIGINT"}
"""Of a log's names those that are not DDL's in small letters
(https://github.com/delta-io/delta/blob/master/PROTOCOL.md#schema-serialization-format)."""

_DUCKDB: dict[str, _Rule] = {
    **{name: _DELTA[name] for name in ("SMALLINT", "BIGINT", "FLOAT", "DOUBLE", "DATE", "BOOLEAN")},
    "INTEGER": _DELTA["INT"],
    "DECIMAL": _Rule("number", "digits and places", size=15, places=3),
    "VARCHAR": _Rule("text", size=inf),
    "BLOB": _Rule("bytes", size=inf),
    "TIME": _Rule("time", places=6),
    "TIMESTAMP": _Rule("timestamp", places=6),
    "TIMESTAMPTZ": _Rule("timestamptz", places=6),
    "TIMESTAMP WITH TIME ZONE": _Rule("timestamptz", places=6),
}

_RULES: dict[Dialect, dict[str, _Rule]] = {
    "postgresql": _POSTGRESQL, "snowflake": _SNOWFLAKE, "delta": _DELTA, "duckdb": _DUCKDB,
}  # fmt: skip

_LOSES_PRECISION: frozenset[tuple[Family, Family]] = frozenset(
    {("number", "float"), ("timestamp", "date"), ("timestamptz", "date")}
)
"""Families whose values another can only approach: sums of a float are not exact, and a date has no time of day."""

_SIZES = re.compile(r"\((-?\d+)(?:,(-?\d+))?\)")
_SCHEMA = re.compile(r'^(?:"(?:[^"]|"")+"|[^".]+)\.')


@cache
def read(text: str, dialect: Dialect) -> Declared:
    """The type behind its text; one that the table lacks is of the family "other" and alike only to its own name."""
    dimensions = text.endswith("[]")
    plain = text.removesuffix("[]")
    sizes = _SIZES.search(plain)
    name = (plain[: sizes.start()] + plain[sizes.end() :]).strip() if sizes else plain
    rule = _RULES[dialect].get(name)
    if rule is None:
        # Whether PostgreSQL prints a schema depends on the session's search_path.
        known_as = _SCHEMA.sub("", plain) if dialect == "postgresql" else plain
        return Declared("other", known_as, dimensions=dimensions)
    first, second = (int(size or 0) for size in sizes.groups()) if sizes else (0, 0)
    size, places = rule.size, rule.places
    if sizes and rule.argument == "size":
        size = first
    elif sizes and rule.argument == "places":
        places = first
    elif sizes and rule.argument == "digits and places":
        size, places = first - second, second
    return Declared(rule.family, name, size if rule.needs is None else rule.needs, size, places, dimensions)


def delta_type(in_the_log: Any) -> str:
    """A type of a Delta log as DDL writes it; of a nested one only what it is."""
    name = in_the_log if isinstance(in_the_log, str) else str(in_the_log["type"])
    return _DELTA_LOG.get(name, name.upper())


def delta_log_type(ddl: str) -> str:
    """The other way round: a type of DDL as a Delta log and Spark's JSON write it."""
    return next((name for name, known in _DELTA_LOG.items() if known == ddl), ddl.lower())


@cache
def change(expected: str, found: str, dialect: Dialect) -> Change | None:
    """In what way `found` is another type than `expected`; None where it is none, or where the target does not tell.

    A type that holds less after the point has lost precision, or for fractions of a second is narrower; one that holds
    less before the point, or fewer characters, is narrower; any other that holds all of it is wider.
    """
    want, have = read(expected, dialect), read(found, dialect)
    if None in (want.places, have.places):
        want, have = replace(want, places=None), replace(have, places=None)
    if want == have:
        return None
    if want.dimensions != have.dimensions or "other" in (want.family, have.family):
        return "type-changed"
    if want.family != have.family:
        return "precision-lost" if (want.family, have.family) in _LOSES_PRECISION else "type-changed"
    if want.places is not None and have.places is not None and have.places < want.places:
        return "precision-lost" if want.family == "number" else "type-narrowed"
    if have.size < want.needs:
        return "precision-lost" if want.family == "float" else "type-narrowed"
    return "type-widened"


def is_told(expected: str, found: str, dialect: Dialect) -> bool:
    """Whether both types say all that their comparison needs; Snowflake may keep the digits of a second to itself."""
    return None not in (read(expected, dialect).places, read(found, dialect).places)
