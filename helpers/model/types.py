"""The one table of types: how a value of each PostgreSQL type is read, staged, kept in a target and compared.

`runbook assess --types` renders it as docs/types.md. Each entry names the page it follows (all read in November 2026);
what the reader does to a value was measured against DuckDB 1.5.5:

- its cast of text to DECIMAL **rounds** what has too many digits after the point ('1.255' becomes 1.26), so the read
  expression of a measured numeric turns such a value into text that no cast takes;
- NaN and the infinities of a numeric become 0 in the binary protocol, so numerics are read as text, where the cast fails;
- a timestamp beyond DuckDB's own range wraps (294276 AD arrives as 290279 BC), so the census refuses it beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from helpers.model.catalog import Column, PgType

Comparison = Literal["text", "number", "float4", "float8"]

DECIMAL_DIGITS = 38
"""What Snowflake's NUMBER, Parquet's and DuckDB's DECIMAL and Delta's DECIMAL hold."""

DECIMAL_SCALE = 37
"""The most digits after the point that Snowflake's NUMBER takes
(https://docs.snowflake.com/en/sql-reference/data-types-numeric)."""

SPARE_SCALE = 9
"""Digits after the point that a numeric without precision gets at least, so that later changes fit too."""

TEXT_BYTES = 16_777_216
BINARY_BYTES = 8_388_608
"""Snowflake's VARCHAR and BINARY without a declared length, where the account has not taken the larger default of bundle
2025_07 (https://docs.snowflake.com/en/release-notes/bcr-bundles/2025_07/bcr-2118)."""

READ = "November 2026"

DOES_NOT_FIT = "does not fit"
"""In the text that a read expression turns a value into which has no place in the staged type; no cast takes it."""


@dataclass(frozen=True)
class Mapping:
    """One column's way from the source to a target.

    `read` and `text` are SQL that PostgreSQL evaluates, with `{c}` for the quoted column; a literal brace is doubled.

    Attributes:
        read: the expression of the export.
        parquet: DuckDB's type of the column in the staged file.
        snowflake: the type in Snowflake's final table.
        delta: the type in a Delta table.
        comparison: what makes two texts of this type the same value.
        text: the expression of the verification: what PostgreSQL prints for the value that the target should hold.
        note: how the value is re-encoded, empty where it is kept as it is.
    """

    read: str
    parquet: str
    snowflake: str
    delta: str
    comparison: Comparison = "text"
    text: str = "{c}::text"
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """Some types that travel alike.

    Attributes:
        names: of `pg_type`.
        mapping: of the type without a modifier; None where it is refused by name.
        length: the SQL of a value's length in bytes as staged, where the type itself does not bound it below the limit.
        lost: what a target does not hold, or what the text does not say.
        source: the page of PostgreSQL's documentation, or of the extension's.
        native: whether DuckDB tells its values apart as PostgreSQL does, so that its own hash and comparison serve.
        masked: whether some of its values are in no target, and the policies with a flag column are therefore for it.
        ascii: whether PostgreSQL prints it in ASCII, whatever the database's encoding is.
    """

    names: tuple[str, ...]
    mapping: Mapping | None
    length: str | None
    lost: str
    source: str
    native: bool = False
    masked: bool = False
    ascii: bool = True


_PRINTED = Mapping("{c}::text", "VARCHAR", "VARCHAR", "STRING", note="as PostgreSQL prints it")
_BY_PRINTING = "octet_length({c}::text)"


def _exact(
    names: str, mapping: Mapping | None, source: str, lost: str = "", length: str | None = None, **what: bool
) -> Entry:
    return Entry(tuple(names.split()), mapping, length, lost, _page(source), **what)


def _printed(names: str, source: str, lost: str = "", length: str | None = None, **what: bool) -> Entry:
    return _exact(names, _PRINTED, source, lost, length, **what)


def _internal(names: str, why: str) -> Entry:
    return _exact(names, None, "catalogs", why, ascii=False)


def _page(name: str) -> str:
    return name if name.startswith("https://") else f"https://www.postgresql.org/docs/18/{name}.html"


_YEARS = "infinite, before year 1 and after year 9999: refused"
_NAMES = "names, which a dropped or renamed object changes"

TABLE: tuple[Entry, ...] = (
    _exact("bool", Mapping("{c}", "BOOLEAN", "BOOLEAN", "BOOLEAN"), "datatype-boolean", native=True),
    _exact("int2", Mapping("{c}", "SMALLINT", "NUMBER(5,0)", "SMALLINT", "number"), "datatype-numeric", native=True),
    _exact("int4", Mapping("{c}", "INTEGER", "NUMBER(10,0)", "INT", "number"), "datatype-numeric", native=True),
    _exact("int8", Mapping("{c}", "BIGINT", "NUMBER(19,0)", "BIGINT", "number"), "datatype-numeric", native=True),
    _exact("oid", Mapping("{c}::int8", "BIGINT", "NUMBER(19,0)", "BIGINT", "number"), "datatype-oid", native=True),
    _exact("float4", Mapping("{c}", "FLOAT", "FLOAT", "FLOAT", "float4"), "datatype-numeric",
           "the sign of −0 counts as no difference; Snowflake keeps a real as the double of the same value", native=True),
    _exact("float8", Mapping("{c}", "DOUBLE", "FLOAT", "DOUBLE", "float8"), "datatype-numeric",
           "the sign of −0 counts as no difference", native=True),
    _exact("numeric", Mapping("{c}::text", "DECIMAL(p,s)", "NUMBER(p,s)", "DECIMAL(p,s)", "number"), "datatype-numeric",
           "NaN, the infinities and more than 38 digits (37 after the point): refused; zeros at the end of the fraction "
           "are not kept", masked=True),
    _exact("text", Mapping("{c}", "VARCHAR", "VARCHAR", "STRING"), "datatype-character", length="octet_length({c})", native=True, ascii=False),
    _exact("varchar", Mapping("{c}", "VARCHAR", "VARCHAR", "STRING"), "datatype-character", length="octet_length({c})", native=True, ascii=False),
    _exact("bpchar", Mapping("{c}::text", "VARCHAR", "VARCHAR", "STRING", note="without the padding"),
           "datatype-character", "the padding, which PostgreSQL itself ignores", length=_BY_PRINTING, native=True, ascii=False),
    _exact("bytea", Mapping("{c}", "BLOB", "BINARY", "BINARY"), "datatype-binary", length="octet_length({c})", native=True),
    _exact("date", Mapping("{c}", "DATE", "DATE", "DATE"), "datatype-datetime", _YEARS, native=True, masked=True),
    _exact("timestamp", Mapping("{c}", "TIMESTAMP", "TIMESTAMP_NTZ(6)", "TIMESTAMP_NTZ"), "datatype-datetime", _YEARS, native=True, masked=True),
    _exact("timestamptz", Mapping("{c}", "TIMESTAMPTZ", "TIMESTAMP_LTZ(6)", "TIMESTAMP",
           note="the instant, as PostgreSQL stores it"), "datatype-datetime", _YEARS, native=True, masked=True),
    # Delta and Snowflake's Parquet reader know no time of day.
    _exact("time", Mapping("{c}::text", "VARCHAR", "TIME(6)", "STRING", note="staged as text"), "datatype-datetime",
           "24:00: refused", masked=True),
    _exact("uuid", Mapping("{c}::text", "VARCHAR", "VARCHAR(36)", "STRING", note=_PRINTED.note), "datatype-uuid"),
    _printed("timetz interval", "datatype-datetime"),
    _printed("name", "datatype-character", ascii=False),
    _printed("char", "datatype-character", "printed with an octal escape from 128 on", ascii=False),
    _printed("money", "datatype-money", "printed under lc_monetary C, which has two digits after the point: a database "
             "whose currency has another number of them shows the same integer otherwise"),
    _printed("bit varbit", "datatype-bit", length="length({c})"),
    _printed("json", "datatype-json", "the text as it was written, doubled keys and all", _BY_PRINTING, ascii=False),
    _printed("jsonb jsonpath", "datatype-json", length=_BY_PRINTING, ascii=False),
    _printed("xml", "datatype-xml", "the text as it is stored, with the encoding it declares", _BY_PRINTING, ascii=False),
    _printed("cidr macaddr macaddr8", "datatype-net-types"),
    # A cast to text adds the mask of a single address, which PostgreSQL itself does not print.
    _exact("inet", replace(_PRINTED, read="abbrev({c})", text="abbrev({c})"), "datatype-net-types"),
    _printed("point line lseg box circle", "datatype-geometric"),
    _printed("path polygon", "datatype-geometric", length=_BY_PRINTING),
    _printed("tsvector tsquery", "datatype-textsearch", length=_BY_PRINTING, ascii=False),
    _printed("pg_lsn", "datatype-pg-lsn"),
    _printed("xid xid8 cid tid", "datatype-oid", "has a meaning only in the server it came from"),
    _printed("pg_snapshot txid_snapshot", "functions-info", length=_BY_PRINTING),
    _printed("regclass regproc regprocedure regoper regoperator regtype regrole regnamespace regconfig regdictionary "
             "regcollation", "datatype-oid", _NAMES, _BY_PRINTING, ascii=False),
    _printed("int2vector oidvector", "catalogs", length=_BY_PRINTING),
    _printed("refcursor", "plpgsql-cursors", length=_BY_PRINTING, ascii=False),
    _printed("aclitem", "ddl-priv", _NAMES, _BY_PRINTING, ascii=False),
    _printed("citext", "citext", "the target compares with case", _BY_PRINTING, ascii=False),
    _printed("hstore", "hstore", length=_BY_PRINTING, ascii=False),
    _printed("ltree lquery ltxtquery", "ltree", length=_BY_PRINTING, ascii=False),
    _printed("cube", "cube", length=_BY_PRINTING),
    _printed("seg", "seg"),
    _printed("query_int", "intarray", length=_BY_PRINTING),
    _printed("ean13 isbn13 ismn13 issn13 isbn ismn issn upc", "isn"),
    _printed("vector halfvec sparsevec", "https://github.com/pgvector/pgvector", length=_BY_PRINTING),
    _internal("pg_node_tree pg_ndistinct pg_dependencies pg_mcv_list pg_brin_bloom_summary pg_brin_minmax_multi_summary",
              "a catalog's own type, which no PostgreSQL reads back"),
    _internal("gtsvector", "a type of index entries; its text is a summary and not the value"),
)  # fmt: skip
"""Every base type of PostgreSQL 18's catalog, and those of the extensions that come with it."""

DERIVED: tuple[tuple[str, str, str], ...] = (
    ("enum", "", "datatype-enum"),
    ("composite", "", "rowtypes"),
    ("range, multirange", "", "rangetypes"),
    ("array of any of these, of any dimension", "with its lower bounds where they are not 1", "arrays"),
)
"""Kinds of types that are made of others: they travel as PostgreSQL prints them if all they are made of is known."""

_ENTRIES = {name: entry for entry in TABLE for name in entry.names}

MASKED = frozenset(name for name, entry in _ENTRIES.items() if entry.masked)

PARQUET_OF_DELTA = {entry.mapping.delta: entry.mapping.parquet for entry in TABLE if entry.mapping}
"""The type that DuckDB gives a Delta table's column in its files; a decimal has one name in both."""

_ALIASES = {
    "boolean": "bool", "smallint": "int2", "integer": "int4", "int": "int4", "bigint": "int8", "real": "float4",
    "double precision": "float8", "decimal": "numeric", "character varying": "varchar", "character": "bpchar", '"char"': "char",
    "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
    "time without time zone": "time", "time with time zone": "timetz", "bit varying": "varbit",
}  # fmt: skip


def type_name(text: str) -> str:
    """The `pg_type` name behind the way SQL spells a type: "timestamp with time zone" is "timestamptz"."""
    plain = text.removesuffix("[]")
    name = _ALIASES.get(plain, plain)
    return f"_{name}" if text.endswith("[]") else name


def entry(kind: PgType) -> Entry | None:
    """The table's entry for a base type, or None for one that it lacks or that is made of others."""
    return _ENTRIES.get(kind.name) if kind.kind == "b" else None


def known_name(name: str) -> bool:
    """Whether the base type of this name has a mapping of its own."""
    found = _ENTRIES.get(name)
    return found is not None and found.mapping is not None


def prints_ascii(name: str) -> bool:
    """Whether PostgreSQL prints the values of the base type of this name in ASCII."""
    found = _ENTRIES.get(name)
    return found is not None and found.ascii


def known(column_type: PgType) -> bool:
    """Whether the type has a mapping; what an array, composite or range is made of is the census's to ask."""
    if column_type.kind in {"e", "c", "r", "m"} or column_type.element is not None:
        return True
    return column_type.kind == "b" and known_name(column_type.name)


def as_text() -> Mapping:
    """The mapping of the policy `text`, which every type can take."""
    return _PRINTED


def mapping(column: Column, *, scale: int | None = None) -> Mapping:
    """How `column` travels.

    Args:
        column: as the catalog has it; `known(column.type)` must hold.
        scale: for a numeric whose type sets no usable limit, the digits after the point that its values need
            (from the census).
    """
    kind, found = column.type, entry(column.type)
    if found is None or found.mapping is None:
        return _PRINTED
    if kind.name == "numeric":
        return _numeric(kind, scale)
    if kind.length:
        # Both count characters, and PostgreSQL allows fewer than Snowflake: 10,485,760.
        return replace(found.mapping, snowflake=f"VARCHAR({kind.length})")
    return found.mapping


def in_postgres(column: Column) -> Mapping:
    """How a column is compared with the same one of another PostgreSQL: numbers by value, most other types as they are printed.

    Its type in the target, under the name `snowflake`, is the source's own.
    """
    kind, found = column.type, entry(column.type)
    how = mapping(column) if known(kind) else _PRINTED
    native = found is not None and found.native
    numeric = kind.kind == "b" and kind.name == "numeric"
    read = how.read if native else "trim_scale({c})::text" if numeric else how.text
    if native and kind.name in ("timestamp", "timestamptz"):
        # DuckDB's last timestamp is of January 294247; it would take a later one for infinity, or for one before Christ.
        read = (
            f"CASE WHEN {{c}} < '294247-01-01'::{kind.name} OR NOT isfinite({{c}}) THEN {{c}} "
            f"ELSE ('{DOES_NOT_FIT}: ' || {{c}}::text)::{kind.name} END"
        )
    return replace(how, read=read, parquet=how.parquet if native else "VARCHAR", snowflake=kind.sql, delta="")


def declared(kind: PgType) -> tuple[int, int] | None:
    """Digits and digits after the point that hold whatever a numeric's declaration allows, or None if no target has them.

    A scale below 0 leaves zeros before the point, and one above the precision leaves zeros after it.
    """
    if kind.precision is None:
        return None
    places = max(0, kind.scale)
    digits = max(1, places, kind.precision - kind.scale + places)
    return (digits, places) if digits <= DECIMAL_DIGITS and places <= DECIMAL_SCALE else None


def fits_declared(kind: PgType) -> bool:
    """Whether a numeric's declared digits fit a target, so that its values need not be measured."""
    return declared(kind) is not None


def length(kind: PgType) -> str | None:
    """The SQL of a value's length in bytes as staged; None where the type keeps it below every target's limit."""
    found = entry(kind)
    if found is None:
        return None if kind.kind == "e" else _BY_PRINTING
    if kind.length and 4 * kind.length <= TEXT_BYTES:
        return None
    return found.length


def _numeric(kind: PgType, scale: int | None) -> Mapping:
    fixed = declared(kind)
    digits, places = fixed or (DECIMAL_DIGITS, scale or 0)
    read = "{c}::text"
    if fixed is None:
        # DuckDB's cast would round; this makes it fail, should the values not be those that were measured.
        fits = f"scale({{c}}) <= {places} OR scale(trim_scale({{c}})) <= {places}"
        read = f"CASE WHEN {fits} THEN round({{c}}, {places})::text ELSE '{DOES_NOT_FIT} {places} digits: ' || {{c}}::text END"
    sized = f"({digits},{places})"
    note = "" if fixed else "digits as the values need them"
    return Mapping(read, f"DECIMAL{sized}", f"NUMBER{sized}", f"DECIMAL{sized}", "number", note=note)
