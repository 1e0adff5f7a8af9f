"""The one reader of declared types: what "NUMBER(10,2)" or "timestamp with time zone" holds, and in what way another type of
the same engine holds less. Which type a column of PostgreSQL becomes elsewhere is decided in `helpers.model.types`.

Here are the names that PostgreSQL's `format_type` prints (https://www.postgresql.org/docs/18/datatype.html) and those that
DuckDB has for the staged files (https://duckdb.org/docs/stable/sql/data_types/overview); a target's are in its folder under
`helpers/engines`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

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
        text: as the engine prints it, with its sizes.
    """

    family: Family
    name: str
    needs: float = 0
    size: float = 0
    places: float | None = 0
    dimensions: bool = False
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text

    @property
    def digits(self) -> int:
        """Of a number with sizes: all of its digits."""
        return int(self.size + (self.places or 0))


@dataclass(frozen=True)
class Rule:
    """How one name is read: its family, what its argument means, and what holds without one."""

    family: Family
    argument: Argument = ""
    size: float = 0
    places: float | None = 0
    needs: float | None = None


_LOSES_PRECISION: frozenset[tuple[Family, Family]] = frozenset(
    {("number", "float"), ("timestamp", "date"), ("timestamptz", "date")}
)
"""Families whose values another can only approach: sums of a float are not exact, and a date has no time of day."""

_SIZES = re.compile(r"\((-?\d+)(?:,(-?\d+))?\)")
_SCHEMA = re.compile(r'^(?:"(?:[^"]|"")+"|[^".]+)\.')


DefaultWriter = Callable[["str | None", Declared, Declared], "str | None"]
"""From a default of PostgreSQL, the column's type there and in the target: the target's default; empty for none, None where
that cannot be told."""


@dataclass(frozen=True, eq=False)
class Ddl:
    """How one engine defines tables.

    Attributes:
        engine: whose it is.
        rules: how each name of a type is read.
        sqlglot: sqlglot's name of the SQL that its defaults are written in.
        staged: the attribute of a staged column that has the type which a load gives it.
        default: writes a column's default; None where it has none, or its catalog does not tell them.
        keys: of which keys it may be told, or keeps: none, primary and foreign ones, or unique ones too.
        enforces_keys: whether it keeps to its keys.
        drops_schemas: whether a name may follow its schema's, since PostgreSQL prints that or not by the session's search_path.
    """

    engine: str
    rules: Mapping[str, Rule]
    sqlglot: str
    staged: str
    default: DefaultWriter | None = None
    keys: Literal["none", "primary", "all"] = "none"
    enforces_keys: bool = False
    drops_schemas: bool = False
    _known: dict[str, Declared] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.engine

    def read(self, text: str) -> Declared:
        """The type behind its text; one that the rules lack is of the family "other" and alike only to its own name."""
        if text not in self._known:
            self._known[text] = self._read(text)
        return self._known[text]

    def _read(self, text: str) -> Declared:
        dimensions = text.endswith("[]")
        plain = text.removesuffix("[]")
        sizes = _SIZES.search(plain)
        name = (plain[: sizes.start()] + plain[sizes.end() :]).strip() if sizes else plain
        rule = self.rules.get(name)
        if rule is None:
            known_as = _SCHEMA.sub("", plain) if self.drops_schemas else plain
            return Declared("other", known_as, dimensions=dimensions, text=text)
        first, second = (int(size or 0) for size in sizes.groups()) if sizes else (0, 0)
        size, places = rule.size, rule.places
        if sizes and rule.argument == "size":
            size = first
        elif sizes and rule.argument == "places":
            places = first
        elif sizes and rule.argument == "digits and places":
            size, places = first - second, second
        return Declared(rule.family, name, size if rule.needs is None else rule.needs, size, places, dimensions, text)


POSTGRESQL = Ddl(
    "postgresql",
    {
        # An integer holds every number of one digit less than its largest, which has `needs`.
        "smallint": Rule("number", size=4, needs=5),
        "integer": Rule("number", size=9, needs=10),
        "bigint": Rule("number", size=18, needs=19),
        "numeric": Rule("number", "digits and places", size=inf, places=inf),
        "real": Rule("float", size=24),
        "double precision": Rule("float", size=53),
        "text": Rule("text", size=inf),
        "character varying": Rule("text", "size", size=inf),
        "character": Rule("padded text", "size", size=1),
        "bpchar": Rule("padded text", size=inf),
        "bytea": Rule("bytes", size=inf),
        "bit": Rule("fixed bits", "size", size=1),
        "bit varying": Rule("bits", "size", size=inf),
        "date": Rule("date"),
        "time without time zone": Rule("time", "places", places=6),
        "time with time zone": Rule("timetz", "places", places=6),
        "timestamp without time zone": Rule("timestamp", "places", places=6),
        "timestamp with time zone": Rule("timestamptz", "places", places=6),
        "interval": Rule("interval", "places", places=6),
        "boolean": Rule("boolean"),
    },
    sqlglot="postgres",
    staged="snowflake",  # nothing is loaded into it: the column's name is all that counts
    keys="all",
    enforces_keys=True,
    drops_schemas=True,
)

DUCKDB = Ddl(
    "duckdb",
    {
        "SMALLINT": Rule("number", size=4, needs=5),
        "INTEGER": Rule("number", size=9, needs=10),
        "BIGINT": Rule("number", size=18, needs=19),
        "FLOAT": Rule("float", size=24),
        "DOUBLE": Rule("float", size=53),
        "DATE": Rule("date"),
        "BOOLEAN": Rule("boolean"),
        "DECIMAL": Rule("number", "digits and places", size=15, places=3),
        "VARCHAR": Rule("text", size=inf),
        "BLOB": Rule("bytes", size=inf),
        "TIME": Rule("time", places=6),
        "TIMESTAMP": Rule("timestamp", places=6),
        "TIMESTAMPTZ": Rule("timestamptz", places=6),
        "TIMESTAMP WITH TIME ZONE": Rule("timestamptz", places=6),
    },
    sqlglot="duckdb",
    staged="parquet",
)


def change(want: Declared, have: Declared) -> Change | None:
    """In what way `have` is another type than `want`; None where it is none, or where the target does not tell.

    A type that holds less after the point has lost precision, or for fractions of a second is narrower; one that holds
    less before the point, or fewer characters, is narrower; any other that holds all of it is wider.
    """
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


def is_told(want: Declared, have: Declared) -> bool:
    """Whether both types say all that their comparison needs; Snowflake may keep the digits of a second to itself."""
    return None not in (want.places, have.places)
