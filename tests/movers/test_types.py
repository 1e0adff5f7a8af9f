"""A value of every type arrives as PostgreSQL prints it, or the census refuses it by name.

Would catch: a type that the table forgot, a reader or a cast that changes a value, a documentation that lies.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from property_support import examples

from helpers.model import types, types_page
from helpers.model.catalog import PgType
from helpers.platforms import duck, postgres
from helpers.platforms.postgres import identifier, literal
from helpers.settings import Settings, Source
from helpers.source.catalog import read_catalog
from helpers.source.census import ColumnCensus, TableCensus, take_census

EXTENSIONS = ("hstore", "citext", "ltree", "cube", "isn", "seg", "intarray")

# What each type's input takes; each must arrive. "name" stands for any catalog name that exists everywhere.
CORPUS: dict[str, list[str]] = {
    "boolean": ["t", "f"],
    "smallint": ["-32768", "32767", "0"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "2147483648", "4294967295"],
    "real": ["NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "0.1", "16777217"],
    "double precision": ["NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "0.1", "9007199254740993"],
    "numeric": ["0", "-0.000", "1e-9", "99999999999999999999", "123456789012345678.123456789", "1.10"],
    "numeric(38,37)": ["9.9999999999999999999999999999999999999", "0.0000000000000000000000000000000000001"],
    "numeric(38,0)": ["99999999999999999999999999999999999999", "-1"],
    "numeric(3,-2)": ["12345", "-99900", "50", "49"],
    "numeric(2,5)": ["0.00012", "-0.00099"],
    "numeric(1000,3)": ["123456789.125", "0.001"],
    "money": ["-92233720368547758.08", "0", "1234567.89"],
    "text": ["", " ", "é 𝔘 \\ ' \" {} %s", "a\tb\nc\r", "\x01\x7f", "NULL", "\u202e\ufeff\uffff"],
    "varchar(3)": ["äöü", "   "],
    "varchar": ["x" * 100_000],
    "char(5)": ["ab", " b ", "", "äöüß€"],
    "bpchar": ["ab  ", ""],
    "name": ["pg_class", "x" * 63],
    '"char"': ["", "a", "\\200", "\\377"],
    "bytea": ["", "\\x00", "\\x00ff5c27", "\\x" + "00ff" * 1000],
    "date": ["0001-01-01", "9999-12-31", "2024-02-29", "1582-10-10", "1900-02-28"],
    "timestamp": ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999", "1582-10-10 00:00"],
    "timestamp(0)": ["2024-01-01 00:00:00.5"],
    "timestamptz": ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00", "2024-03-31 02:30+02", "1883-11-18 12:00-05:50:36"],
    "time": ["00:00", "23:59:59.999999", "12:00:00.1"],
    "time(0)": ["12:00:00.4"],
    "timetz": ["24:00:00+15:59", "00:00:00-15:59", "12:00:00.000001+05:30:15"],
    "interval": ["1 mon -1 day 24:00:00.000001", "-178000000 years", "0", "30 days", "1 mon", "infinity"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "json": ['{"b":1.10, "a":1,  "a":2}', "null", '"\\u0000"', "1e400", '"\\ud800"'],
    "jsonb": ['{"b": 1.10, "a": [null]}', "1e400", '{"x": 12345678901234567890123}', '"é"'],
    "jsonpath": ["$.a[*] ? (@ > 1)", "lax $"],
    "bit(9)": ["101010101"],
    "bit varying": ["", "1", "1" * 1000],
    "inet": ["::1/64", "10.0.0.1", "255.255.255.255/0", "fe80::1%eth0"[:7]],
    "cidr": ["10.0.0.0/8", "::/0"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "point": ["(1e300,-0)", "(NaN,Infinity)"],
    "line": ["{1,2,3}"],
    "lseg": ["[(0,0),(1e-300,1)]"],
    "box": ["(1,1),(0,0)"],
    "path": ["[(0,0),(1,1)]", "((0,0),(1,1))"],
    "polygon": ["((0,0),(1,1),(0.1,3))"],
    "circle": ["<(0,0),1e100>"],
    "tsvector": ["a:1A b:2,3 'c d'", ""],
    "tsquery": ["a & !b | c <2> d:*A", ""],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF"],
    "xid": ["4294967295"],
    "xid8": ["18446744073709551615"],
    "cid": ["4294967295"],
    "tid": ["(4294967295,65535)"],
    "pg_snapshot": ["10:20:10,14,15"],
    "txid_snapshot": ["10:20:10,14,15"],
    "regclass": ["pg_class", "0", "4294967295"],
    "regproc": ["pg_backend_pid"],
    "regprocedure": ["abs(integer)"],
    "regoper": ["0"],
    "regoperator": ["+(integer,integer)"],
    "regtype": ["timestamp with time zone", "text[]"],
    "regrole": ["postgres"],
    "regnamespace": ["pg_catalog"],
    "regconfig": ["english"],
    "regdictionary": ["simple"],
    "regcollation": ["pg_catalog.\"C\""],
    "int2vector": ["1 2 -3", ""],
    "oidvector": ["1 4294967295"],
    "refcursor": ["a cursor"],
    "aclitem": ["postgres=r/postgres"],
    "int4range": ["[1,5)", "empty", "(,)", "[2147483646,)"],
    "int8range": ["[1,5)"],
    "numrange": ["[1.10,1e100]", "(NaN,)"],
    "daterange": ["[0044-03-15 BC,infinity)"],
    "tsrange": ["[-infinity,2024-01-01 00:00:00.000001]"],
    "tstzrange": ["[2024-01-01 00:00+05,infinity]"],
    "int4multirange": ["{[1,2),[5,6)}", "{}"],
    "int8multirange": ["{[1,2)}"],
    "nummultirange": ["{[1.10,2.0)}"],
    "datemultirange": ["{[2024-01-01,2024-01-02)}"],
    "tsmultirange": ["{[2024-01-01,2024-01-02)}"],
    "tstzmultirange": ["{[2024-01-01,2024-01-02)}"],
    "integer[]": ["{}", "{NULL}", "{1,2}", "[0:1]={1,2}", "{{1,2},{3,4}}", "[-1:0][2:3]={{1,2},{3,4}}"],
    "text[]": ['{"a,b","NULL",NULL,"","\\"","{}"}', "{{{{{{a}}}}}}"],
    "bytea[]": ['{"\\\\x00ff"}'],
    "numeric(5,2)[]": ["{NaN,1.10}"],
    "timestamptz[]": ["{infinity,2024-01-01 00:00+02}"],
    "jsonb[]": ['{"{\\"a\\": 1.10}"}'],
    "mood": ["glad", "sad, or not"],
    "mood[]": ["{glad,NULL}"],
    "euro": ["1.10", "-999999.99"],
    "pair": ['(1,"a,""b""")', "(,)", '(,"")'],
    "pair[]": ['{"(1,a)",NULL}'],
    "floatrange": ["[-0,0.1]"],
    "floatmultirange": ["{[1,2)}"],
    "hstore": ['"a"=>NULL, "b"=>"NULL", ""=>"\\""', ""],
    "citext": ["ÀB", ""],
    "ltree": ["Top.Science", ""],
    "lquery": ["*.a*@{1,2}"],
    "ltxtquery": ["a & b*@"],
    "cube": ["(0.1,2),(3,4)"],
    "seg": ["1.0 .. 2.50", "~5"],
    "query_int": ["1&(2|!3)"],
    "ean13": ["9780393040029"],
    "isbn": ["0-393-04002-X"],
    "isbn13": ["978-0-393-04002-9"],
    "ismn": ["M-1234-5678-5"],
    "ismn13": ["979-0-1234-5678-5"],
    "issn": ["1436-4522"],
    "issn13": ["977-1436-452-00-8"],
    "upc": ["220356483481"],
    "vector(3)": ["[1,2.5,-0]"],
    "halfvec": ["[1,65504]"],
    "sparsevec": ["{1:1.5}/3"],
    "xml": [],
}  # fmt: skip

MADE = (
    "CREATE TYPE mood AS ENUM ('glad', 'sad, or not')",
    "CREATE DOMAIN euro AS numeric(10,2)",
    "CREATE TYPE pair AS (n int, body text)",
    "CREATE TYPE floatrange AS RANGE (subtype = float8)",
    "CREATE TYPE opaque",
    "CREATE FUNCTION opaque_in(cstring) RETURNS opaque IMMUTABLE STRICT LANGUAGE internal AS 'textin'",
    "CREATE FUNCTION opaque_out(opaque) RETURNS cstring IMMUTABLE STRICT LANGUAGE internal AS 'textout'",
    "CREATE TYPE opaque (INPUT = opaque_in, OUTPUT = opaque_out, LIKE = text)",
    "CREATE TYPE holder AS (n int, o opaque[])",
)


@dataclass
class Reader:
    """A database with every kind of type, read as the export reads it."""

    source: Source
    cursor: Any
    engine: duckdb.DuckDBPyConnection
    folder: Path
    number: int = 0

    def table(self, definition: str, values: list[str | None], **column: Any) -> str:
        """Creates and fills a table (id, v)."""
        self.number += 1
        name = f"t{self.number}"
        self.cursor.execute(f"CREATE TABLE {name} (id int, v {definition})")
        rows = list(enumerate([*values, None]))
        for row, value in rows:
            self.cursor.execute(f"INSERT INTO {name} VALUES (%s, %s::{definition})", [row, value])
        return name

    def census(self, name: str, policies: Any = None) -> TableCensus:
        (table,) = read_catalog(self.cursor, tables=[f"public.{name}"]).tables
        return take_census(self.cursor, table, policies or {})

    def arrived(self, name: str, column: ColumnCensus) -> list[tuple[Any, Any]]:
        """Per row what the staged file holds and what PostgreSQL prints, both as canonical values."""
        mapping, quoted = column.mapping, identifier(column.column.name)
        self.engine.execute("ROLLBACK; BEGIN")
        read = f"SELECT id, {mapping.read.format(c=quoted)} AS v FROM {name}"
        file = self.folder / f"{name}.parquet"
        self.engine.execute(
            f"COPY (SELECT id, CAST(v AS {mapping.parquet}) AS v FROM postgres_query('source', {literal(read)})) TO '{file}'"
        )
        shown = {"BLOB": "'\\x' || lower(hex(v))", "TIMESTAMPTZ": "CAST(v AT TIME ZONE 'UTC' AS VARCHAR) || '+00'"}
        staged = dict(
            self.engine.execute(
                f"SELECT id, CAST({shown.get(mapping.parquet, 'v')} AS VARCHAR) FROM read_parquet('{file}')"
            ).fetchall()
        )
        self.cursor.execute(f"SELECT id, {mapping.text.format(c=quoted)} FROM {name} ORDER BY id")
        return [
            (canonical(staged[row], mapping.comparison), canonical(printed, mapping.comparison))
            for row, printed in self.cursor.fetchall()
        ]


def canonical(text: str | None, comparison: types.Comparison) -> Any:
    if text is None or comparison == "text":
        return text
    if comparison == "number":
        return Decimal(text)
    value = float(text)
    return "NaN" if math.isnan(value) else struct.pack("<f" if comparison == "float4" else "<d", value + 0.0)


@pytest.fixture(scope="module")
def reader(local_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    name = f"types_{os.getpid()}"
    source = local_settings.source.model_copy(update={"dbname": name})
    with closing(postgres.connect(local_settings.source, settings={"search_path": "public"})) as server:
        server.autocommit = True
        server.cursor().execute(f"CREATE DATABASE {name}")
        state = json.loads((Path(os.environ["RUNBOOK_LOCAL_ROOT"]) / "state.json").read_text())
        superuser = {"user": "postgres", "password": state["passwords"]["superuser"]}
        parameters = server.get_dsn_parameters() | superuser | {"dbname": name}
        with closing(psycopg2.connect(**parameters)) as connection:
            connection.autocommit = True
            for statement in (*(f"CREATE EXTENSION {e}" for e in (*EXTENSIONS, "vector")), *MADE):
                connection.cursor().execute(statement)
            connection.cursor().execute(f"GRANT CREATE ON SCHEMA public TO {identifier(source.user)}")
        with (
            closing(postgres.connect(source, settings={"search_path": "public"})) as connection,
            duck.connect() as engine,
        ):
            connection.autocommit = True
            duck.attach_postgres(engine, source, settings={"search_path": "public"})
            yield Reader(source, connection.cursor(), engine, tmp_path_factory.mktemp("types"))
        postgres.drop_database(server.cursor(), name)


@pytest.mark.parametrize("definition", CORPUS)
def test_every_value_arrives_as_postgresql_prints_it(reader: Reader, definition: str) -> None:
    name = reader.table(definition, list(CORPUS[definition]))
    census = reader.census(name)
    assert census.refused == ()
    column = census.columns[1]
    assert column.verdict == ("re-encoded" if column.mapping.note else "exact")
    pairs = reader.arrived(name, column)
    assert len(pairs) == len(CORPUS[definition]) + 1
    assert [staged for staged, _ in pairs] == [printed for _, printed in pairs]


def test_no_type_of_the_catalog_is_missing(reader: Reader) -> None:
    reader.cursor.execute(
        """SELECT t.typname, t.typtype::text, e.typname FROM pg_type t LEFT JOIN pg_type e ON t.typcategory = 'A' AND e.oid = t.typelem
           WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm')"""
    )
    found = reader.cursor.fetchall()
    assert len(found) > 300
    listed = {name for entry in types.TABLE for name in entry.names}
    for name, kind, element in found:
        column_type = PgType(name, name, kind, element)
        assert types.known(column_type) or name in listed, name
    assert sum(len(entry.names) for entry in types.TABLE) == len(listed), "a type is listed twice"
    missing = {
        types.type_name(definition.partition("(")[0]) for definition in CORPUS
    } ^ {name for entry in types.TABLE if entry.mapping for name in entry.names}  # fmt: skip
    made = {"mood", "euro", "pair", "_mood", "_pair", "floatrange", "floatmultirange"}
    arrays_and_ranges = {
        name for name in missing if name.startswith("_") or name.endswith("range") or name.endswith("[]")
    }
    assert missing - made - arrays_and_ranges == {"char", '"char"', "bit"} & missing


@pytest.mark.parametrize("definition", ["opaque", "opaque[]", "holder", "holder[]"])
def test_a_type_without_a_mapping_is_refused_by_name_and_a_policy_lets_it_through(
    reader: Reader, definition: str
) -> None:
    value = {"opaque": "a b", "opaque[]": '{"a b"}', "holder": "(1,{x})", "holder[]": '{"(1,{x})"}'}[definition]
    name = reader.table(definition, [value])
    (sentence,) = reader.census(name).refused
    assert "opaque" in sentence and '"text"' in sentence
    census = reader.census(name, {f"public.{name}.v": "text"})
    assert (census.refused, census.columns[1].touched) == ((), 1)
    assert reader.arrived(name, census.columns[1]) == [(value, value), (None, None)]


@pytest.mark.parametrize("definition", ["gtsvector", "pg_node_tree", "pg_mcv_list", "pg_ndistinct", "pg_dependencies"])
def test_internal_types_are_refused_even_when_empty(reader: Reader, definition: str) -> None:
    (sentence,) = reader.census(reader.table(definition, [])).refused
    assert definition in sentence


def test_a_value_that_was_not_measured_fails_instead_of_being_rounded(reader: Reader) -> None:
    name = reader.table("numeric", ["1.5"])
    column = reader.census(name).columns[1]
    assert column.mapping.parquet == "DECIMAL(38,9)"
    for late in ("1.0000000001", "NaN", "1e30"):
        reader.cursor.execute(f"UPDATE {name} SET v = {literal(late)} WHERE id = 0")
        with pytest.raises(duckdb.Error):
            reader.arrived(name, column)


PROPERTIES = examples(25)
DIGITS = st.text("0123456789", min_size=1, max_size=45)
NUMBERS = st.builds(
    lambda sign, whole, fraction: f"{sign}{whole}.{fraction}", st.sampled_from(["", "-"]), DIGITS, DIGITS
)
FRACTIONS = st.integers(-(10**37) + 1, 10**37 - 1).map(lambda n: str(Decimal(n).scaleb(-20)))
SMALL = st.decimals(-(10**15), 10**15, places=9).map(str)


@PROPERTIES
@example(["0.010000000000000000000000000001", "100000000.0"])
@given(
    st.one_of(
        st.lists(SMALL, max_size=40),
        st.lists(FRACTIONS, max_size=40),
        st.lists(st.one_of(NUMBERS, SMALL, st.sampled_from(["NaN", "Infinity", "-Infinity"])), max_size=20),
    )
)
def test_numerics_are_equal_or_refused(reader: Reader, values: list[str]) -> None:
    name = reader.table("numeric", list(values))
    column = reader.census(name).columns[1]
    finite = [Decimal(value) for value in values if "a" not in value and "f" not in value]
    exact = Context(prec=200)  # the default rounds to 28 digits, and the text of a value may have 90
    places = [max(0, -int(n.normalize(exact).as_tuple().exponent)) if n else 0 for n in finite]  # type: ignore[arg-type]
    whole = [len(str(int(n.copy_abs()))) if n.copy_abs() >= 1 else 0 for n in finite]
    alone = [p > 37 or w + p > 38 for p, w in zip(places, whole, strict=True)]
    held = [(p, w) for p, w, bad in zip(places, whole, alone, strict=True) if not bad]
    room = min(37, 38 - max((w for _, w in held), default=0))
    expected = {
        "NaN or infinity": len(values) - len(finite),
        "more than 38 digits": sum(alone),
        "more digits after": sum(p > room for p, _ in held),
    }
    counted = {start: n for reason, n in column.refusals.items() for start in expected if reason.startswith(start)}
    assert counted == {reason: n for reason, n in expected.items() if n}
    assert len(counted) == len(column.refusals)
    if not column.refusals:
        assert all(staged == printed for staged, printed in reader.arrived(name, column))


@PROPERTIES
@given(st.lists(st.floats().map(repr), max_size=40))
def test_floats_are_equal_to_the_bit(reader: Reader, values: list[str]) -> None:
    name = reader.table("double precision", list(values))
    assert all(staged == printed for staged, printed in reader.arrived(name, reader.census(name).columns[1]))


@PROPERTIES
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=40))
def test_texts_and_arrays_of_texts_are_equal(reader: Reader, values: list[str]) -> None:
    name = reader.table("text", list(values))
    pairs = reader.arrived(name, reader.census(name).columns[1])
    assert pairs == [(value, value) for value in [*values, None]]
    reader.cursor.execute(f"CREATE TABLE {name}_a (id int, v text[][])")
    reader.cursor.execute(
        f"INSERT INTO {name}_a VALUES (0, %s), (1, %s)", [values, [values, values] if values else None]
    )
    assert all(
        staged == printed for staged, printed in reader.arrived(f"{name}_a", reader.census(f"{name}_a").columns[1])
    )


@PROPERTIES
@given(
    st.lists(st.integers(-210_000_000_000_000_000, 252_460_800_000_000_000), max_size=40),
    st.sampled_from(["timestamp", "timestamptz"]),
)
def test_timestamps_are_equal_or_refused(reader: Reader, microseconds: list[int], definition: str) -> None:
    expressions = [f"(timestamp '2000-01-01' + interval '1 microsecond' * {m})" for m in microseconds]
    reader.number += 1
    name = f"t{reader.number}"
    reader.cursor.execute(f"CREATE TABLE {name} (id int, v {definition})")
    for row, expression in enumerate(expressions):
        reader.cursor.execute(f"INSERT INTO {name} VALUES ({row}, {expression})")
    first, after = -63_082_281_600_000_000, 252_455_616_000_000_000
    column = reader.census(name).columns[1]
    expected = {
        "before year 1, which Snowflake does not hold": sum(m < first for m in microseconds),
        "after year 9999, which Snowflake does not hold": sum(m >= after for m in microseconds),
    }
    assert column.refusals == {reason: n for reason, n in expected.items() if n}
    if not column.refusals:
        assert all(staged == printed for staged, printed in reader.arrived(name, column))


def test_the_page_says_what_the_table_says() -> None:
    assert types_page.FILE.read_text(encoding="utf-8") == types_page.render(), "run: runbook assess --types"
