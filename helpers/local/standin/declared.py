"""A column's declared type, and how DuckDB stores it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

T = exp.DataType.Type
LONGEST_TEXT = 16777216
LONGEST_BINARY = 8388608
"""Where no length is said (https://docs.snowflake.com/en/sql-reference/data-types-text)."""
MOST_TEXT = 134217728
MOST_BINARY = 67108864
"""The longest that may be said there."""

WHOLE = {T.INT, T.BIGINT, T.SMALLINT, T.TINYINT, T.MEDIUMINT}
TEXTS = {T.VARCHAR, T.TEXT, T.CHAR, T.NCHAR, T.NVARCHAR, T.NAME}
FLOATS = {T.DOUBLE, T.FLOAT}
BINARIES = {T.BINARY, T.VARBINARY}
SEMI_STRUCTURED = {T.VARIANT: "VARIANT", T.OBJECT: "OBJECT", T.ARRAY: "ARRAY", T.JSON: "VARIANT"}
TIMES = {
    T.TIME: ("TIME", "TIME"),
    T.TIMESTAMP: ("TIMESTAMP", "TIMESTAMP_NTZ"),
    T.DATETIME: ("TIMESTAMP", "TIMESTAMP_NTZ"),
    T.TIMESTAMPNTZ: ("TIMESTAMP", "TIMESTAMP_NTZ"),
    T.TIMESTAMPTZ: ("TIMESTAMPTZ", "TIMESTAMP_TZ"),
    T.TIMESTAMPLTZ: ("TIMESTAMPTZ", "TIMESTAMP_LTZ"),
}


@dataclass(frozen=True)
class Declared:
    """A column's type: as DuckDB stores it, and as it was declared."""

    stored: str
    name: str
    length: int | None = None
    precision: int | None = None

    @classmethod
    def read(cls, kind: exp.DataType) -> Declared:
        sizes = [int(size.this.name) for size in kind.expressions if isinstance(size, exp.DataTypeParam)]
        if kind.this in WHOLE:
            return cls("DECIMAL(38,0)", "NUMBER")
        if kind.this == T.DECIMAL:
            precision, scale = [*sizes, *(38, 0)[len(sizes) :]]
            return cls(f"DECIMAL({precision},{scale})", "NUMBER")
        if (
            kind.this in {*TEXTS, *BINARIES}
            and sizes
            and not 0 < sizes[0] <= (MOST_BINARY if kind.this in BINARIES else MOST_TEXT)
        ):
            raise ProgrammingError(
                msg=f"SQL compilation error:\ninvalid type length {sizes[0]} in '{kind.sql('snowflake')}'",
                errno=2041,
                sqlstate="42601",
            )
        if kind.this in TEXTS:
            default = 1 if kind.this in (T.CHAR, T.NCHAR) else LONGEST_TEXT
            return cls("VARCHAR", "TEXT", length=sizes[0] if sizes else default)
        if kind.this in BINARIES:
            return cls("BLOB", "BINARY", length=sizes[0] if sizes else LONGEST_BINARY)
        if kind.this in FLOATS:
            return cls("DOUBLE", "FLOAT")
        if kind.this in TIMES:
            stored, name = TIMES[kind.this]
            return cls(stored, name, precision=sizes[0] if sizes else 9)
        if kind.this in SEMI_STRUCTURED:
            return cls("JSON", SEMI_STRUCTURED[kind.this])
        if kind.this in (T.BOOLEAN, T.DATE):
            return cls(str(kind.this.value), str(kind.this.value))
        raise ProgrammingError(
            msg=f"SQL compilation error: Unsupported data type '{kind.sql('snowflake')}'.", errno=2040, sqlstate="42601"
        )

    def check(self, column: str) -> str:
        """VARCHAR(n) is a limit in the real service; DuckDB parses the number and forgets it."""
        if self.name == "TEXT" and self.length is not None and self.length < LONGEST_TEXT:
            return f" CHECK (length({column}) <= {self.length})"
        if self.name == "BINARY" and self.length is not None and self.length < LONGEST_BINARY:
            return f" CHECK (octet_length({column}) <= {self.length})"
        return ""

    def note(self, comment: str | None, key: int | None) -> str:
        kept = {"type": self.name, "length": self.length, "precision": self.precision, "comment": comment, "key": key}
        return json.dumps({name: value for name, value in kept.items() if value is not None}, ensure_ascii=False)


def collated(specification: str) -> str:
    """What follows VARCHAR in DuckDB for a collation (https://docs.snowflake.com/en/sql-reference/collation): case and accents that
    make no difference; the order of a language is not DuckDB's.
    """
    wanted = specification.lower().split("-")
    names = [name for word, name in (("ci", "NOCASE"), ("ai", "NOACCENT")) if word in wanted]
    return f" COLLATE {'.'.join(names)}" if names else ""
