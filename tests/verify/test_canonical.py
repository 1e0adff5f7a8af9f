"""The canonical form is one form: injective, and the same in every engine.

Would catch: an engine that prints a value in another way than the others (a decimal's zeros, a denormal's bits, a timestamp
before 1970, a TIME without its fraction), a digest read in the wrong byte order, two rows that share a form, a change of the
form that would make every stored digest wrong.

`REGENERATE_GOLDEN=1 pytest tests/verify/test_canonical.py` writes the golden files anew.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import canonical_corpus as corpus
import duckdb
import pytest
from canonical_corpus import KINDS, ROWS, Row
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples

from helpers.digests.canonical import FOLD, CanonicalSql, FormColumn, segments_for
from helpers.digests.canonical import duckdb as canonical_duckdb
from helpers.digests.canonical.ieee import bits
from helpers.engines.delta import dialect as canonical_spark
from helpers.engines.postgres import dialect as canonical_postgres
from helpers.engines.snowflake import dialect as canonical_snowflake
from helpers.platforms import duck, postgres, snowflake
from helpers.platforms.postgres import literal
from helpers.settings import Settings

FOLDER = Path(__file__).parent
REGENERATE = bool(os.environ.get("REGENERATE_GOLDEN"))


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duck.connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def server(local_settings: Settings) -> Iterator[Any]:
    """A PostgreSQL cursor on a database whose session is not in UTC by default."""
    with closing(postgres.connect(local_settings.source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        yield connection.cursor()


@pytest.fixture(scope="module")
def warehouse(local_settings: Settings) -> Iterator[Any]:
    """A cursor of the genuine connector."""
    target = local_settings.snowflake
    with closing(snowflake.open_connection(target)) as connection, connection.cursor() as cursor:
        schema = snowflake.identifier(target.database, f"CANONICAL_{os.getpid()}")
        cursor.execute(f"CREATE SCHEMA {schema}")
        cursor.execute(f"USE SCHEMA {schema}")
        yield cursor
        cursor.execute(f"DROP SCHEMA {schema}")


def in_duckdb(engine: duckdb.DuckDBPyConnection, rows: list[Row]) -> list[tuple[str, int]]:
    names = ", ".join(f'"{kind.name}" {kind.parquet}' for kind in KINDS)
    engine.execute(f"CREATE OR REPLACE TABLE corpus (n INT, {names})")
    values = (f"({n}, {', '.join(map(corpus.in_duckdb, row, KINDS))})" for n, row in enumerate(rows))
    engine.execute(f"INSERT INTO corpus VALUES {', '.join(values)}")
    query = corpus.forms_query(canonical_duckdb.DIALECT, corpus.columns_in_duckdb(), "corpus")
    return [(form, int(h)) for _, form, h in engine.execute(query).fetchall()]


def in_postgres(
    server: Any, rows: list[Row], dialect: CanonicalSql = canonical_postgres.CANONICAL
) -> list[tuple[str, int]]:
    names = ", ".join(f'"{kind.name}" {kind.postgres}' for kind in KINDS)
    server.execute(f"DROP TABLE IF EXISTS corpus; CREATE TEMPORARY TABLE corpus (n int, {names})")
    values = (f"({n}, {', '.join(map(corpus.in_postgres, row, KINDS))})" for n, row in enumerate(rows))
    server.execute(f"INSERT INTO corpus VALUES {', '.join(values)}")
    server.execute(corpus.forms_query(dialect, corpus.columns_in_postgres(), "corpus"))
    return [(form, int(h) % 2**64) for _, form, h in server.fetchall()]


def in_snowflake(warehouse: Any, rows: list[Row]) -> list[tuple[str, int]]:
    names = ", ".join(f'"{kind.name}" {kind.snowflake}' for kind in KINDS)
    warehouse.execute(f'CREATE OR REPLACE TABLE "corpus" (n NUMBER(9,0), {names})')
    for start in range(0, len(rows), 20):
        selects = (
            f"SELECT {start + n}, {', '.join(map(corpus.in_snowflake, row, KINDS))}"
            for n, row in enumerate(rows[start : start + 20])
        )
        warehouse.execute(f'INSERT INTO "corpus" {" UNION ALL ".join(selects)}')
    query = corpus.forms_query(canonical_snowflake.CANONICAL, corpus.columns_in_snowflake(), '"corpus"')
    warehouse.execute(query)
    return [(form, int(h)) for _, form, h in warehouse.fetchall()]


def expected(rows: list[Row]) -> list[tuple[str, int]]:
    return [(form, corpus.low64(form)) for form in map(corpus.form, rows)]


def golden() -> list[tuple[str, int]]:
    file = FOLDER / "golden.json"
    if REGENERATE:
        found = {
            name: {"form": corpus.form(row), "low64": str(corpus.low64(corpus.form(row)))} for name, row in ROWS.items()
        }
        file.write_text(json.dumps(found, indent=1, ensure_ascii=True) + "\n")
    kept = json.loads(file.read_text())
    assert list(kept) == list(ROWS)
    return [(entry["form"], int(entry["low64"])) for entry in kept.values()]


def test_plain_python_gives_the_golden_forms() -> None:
    assert expected(list(ROWS.values())) == golden()


def test_duckdb_gives_the_golden_forms(engine: duckdb.DuckDBPyConnection) -> None:
    assert in_duckdb(engine, list(ROWS.values())) == golden()


@pytest.mark.parametrize(
    "dialect", [canonical_postgres.CANONICAL, canonical_postgres.ANY_ENCODING], ids=["utf8", "any"]
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_postgresql_gives_the_golden_forms_in_any_zone(server: Any, dialect: CanonicalSql, zone: str) -> None:
    server.execute(f"SET timezone = '{zone}'")
    rows = [tuple(_zoned(value, kind) for value, kind in zip(row, KINDS, strict=True)) for row in ROWS.values()]
    try:
        assert in_postgres(server, rows, dialect) == golden()
    finally:
        server.execute("SET timezone = 'UTC'")


def _zoned(value: Any, kind: corpus.Kind) -> Any:
    return f"{value.isoformat(' ')}+00" if kind.name == "instant" and value is not None else value


def test_snowflake_gives_the_golden_forms(warehouse: Any) -> None:
    assert in_snowflake(warehouse, list(ROWS.values())) == golden()


def test_spark_gives_the_golden_forms() -> None:
    from pysail.spark import SparkConnectServer
    from pyspark.sql.connect.session import SparkSession

    server = SparkConnectServer("127.0.0.1", 0)
    server.start()
    try:
        session = SparkSession.builder.remote(f"sc://127.0.0.1:{server.listening_address[1]}").create()
        try:
            session.conf.set("spark.sql.session.timeZone", "UTC")
            assert in_spark(session, list(ROWS.values())) == golden()
        finally:
            session.stop()  # one that is left open looks for its server again and again when the process ends
    finally:
        server.stop()


def in_spark(session: Any, rows: list[Row]) -> list[tuple[str, int]]:
    names = [f"`{kind.name}`" for kind in KINDS]
    selects = (
        f"SELECT {n} AS n, " + ", ".join(f"{corpus.in_spark(v, k)} AS {name}" for v, k, name in zip(row, KINDS, names, strict=True))
        for n, row in enumerate(rows)
    )  # fmt: skip
    session.sql(f"CREATE OR REPLACE TEMPORARY VIEW corpus AS {' UNION ALL '.join(selects)}").collect()
    query = corpus.forms_query(canonical_spark.CANONICAL, corpus.columns_in_spark(), "corpus")
    return [(row[1], int(row[2]) % 2**64) for row in session.sql(query).collect()]


def test_postgresql_and_duckdb_agree_beyond_the_years_that_every_engine_has(
    engine: duckdb.DuckDBPyConnection, server: Any
) -> None:
    kinds = [kind for kind in KINDS if kind.name in ("day", "at", "instant")]
    texts = list(corpus.BEYOND.values())
    server.execute(
        "DROP TABLE IF EXISTS beyond; CREATE TEMPORARY TABLE beyond (n int, day date, at timestamp, instant timestamptz)"
    )
    server.execute(
        "INSERT INTO beyond VALUES "
        + ", ".join(f"({n}, " + ", ".join(map(literal, t)) + ")" for n, t in enumerate(texts))
    )
    server.execute(corpus.forms_query(canonical_postgres.CANONICAL, corpus.columns_in_postgres(kinds), "beyond"))
    ours = [form for _, form, _ in server.fetchall()]
    engine.execute('CREATE OR REPLACE TABLE beyond (n INT, day DATE, "at" TIMESTAMP, instant TIMESTAMPTZ)')
    for n, (day, at, instant) in enumerate(texts):
        engine.execute(
            "INSERT INTO beyond VALUES (?, ?::DATE, ?::TIMESTAMP, ?::TIMESTAMPTZ)",
            [n, *map(_in_duckdb, (day, at, instant))],
        )
    query = corpus.forms_query(canonical_duckdb.DIALECT, corpus.columns_in_duckdb(kinds), "beyond")
    theirs = [form for _, form, _ in engine.execute(query).fetchall()]
    assert ours == theirs
    assert len(set(ours)) == len(texts)


def _in_duckdb(text: str) -> str:
    """DuckDB wants the era before the time."""
    day, _, rest = text.removesuffix(" BC").partition(" ")
    return f"{day} (BC) {rest}".strip() if text.endswith(" BC") else text


# A text that PostgreSQL takes, with more of what could end a piece too early than chance would bring.
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12),
    st.text(",:x0123456789NaN- \\'\"%{}", max_size=8),
    st.sampled_from(["", ",", ":", ",,", "1:", "0:", "NULL", "\u00e9", "e\u0301", "\U0001f3f4\U000e0067"]),
)


def whole(bits_: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(-(2**bits_), 2**bits_ - 1), st.sampled_from([0, 1, -1, -(2**bits_), 2**bits_ - 1]))


def decimals(digits: int, places: int) -> st.SearchStrategy[Decimal]:
    unscaled = st.one_of(st.integers(-(10**digits) + 1, 10**digits - 1), st.integers(-1000, 1000))
    return unscaled.map(lambda n: Decimal(f"{n}E-{places}"))


def of_bits(size: str) -> st.SearchStrategy[float]:
    """Every bit pattern of a float, the denormals as often as the others."""
    width = struct.calcsize(size) * 8
    patterns = st.one_of(
        st.integers(0, 2**width - 1), st.integers(0, 2**20), st.integers(2 ** (width - 1), 2 ** (width - 1) + 2**20)
    )
    return patterns.map(lambda n: struct.unpack(size, n.to_bytes(width // 8, "little"))[0])


MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999))
CLOCKS = st.times().map(lambda t: t.isoformat())
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "flag": st.booleans(), "small": whole(15), "whole": whole(31), "big": whole(63), "price": decimals(12, 2),
    "fraction": decimals(5, 5), "wide": decimals(38, 10), "finest": decimals(38, 37), "integral": decimals(38, 0),
    "single": of_bits("<f"), "twice": of_bits("<d"), "body": TEXTS, "raw": st.binary(max_size=12),
    "day": st.dates(date(1, 1, 1), date(9999, 12, 31)), "at": MOMENTS, "instant": MOMENTS, "clock": CLOCKS,
}  # fmt: skip
RANDOM_ROWS = st.lists(
    st.tuples(*(st.one_of(st.none(), VALUES[kind.name], VALUES[kind.name]) for kind in KINDS)), min_size=1, max_size=30
)


@examples(3)
@given(RANDOM_ROWS)
def test_any_value_has_the_same_form_in_every_engine(
    engine: duckdb.DuckDBPyConnection, server: Any, warehouse: Any, rows: list[Row]
) -> None:
    compare_engines(engine, server, warehouse, rows)


@pytest.mark.slow
@examples(60)
@given(RANDOM_ROWS)
def test_very_many_values_have_the_same_form_in_every_engine(
    engine: duckdb.DuckDBPyConnection, server: Any, warehouse: Any, rows: list[Row]
) -> None:
    compare_engines(engine, server, warehouse, rows)


@examples(60)
@given(RANDOM_ROWS)
def test_any_value_has_the_same_form_in_postgresql_and_duckdb(
    engine: duckdb.DuckDBPyConnection, server: Any, rows: list[Row]
) -> None:
    assert in_duckdb(engine, rows) == in_postgres(server, rows) == expected(rows)


def compare_engines(engine: duckdb.DuckDBPyConnection, server: Any, warehouse: Any, rows: list[Row]) -> None:
    reference = expected(rows)
    assert in_duckdb(engine, rows) == reference
    assert in_postgres(server, rows) == reference
    assert in_snowflake(warehouse, rows) == reference


NARROW = st.one_of(st.none(), TEXTS)
PAIRS = st.tuples(st.tuples(NARROW, NARROW, whole(3), NARROW), st.tuples(NARROW, NARROW, whole(3), NARROW))


@examples(100)
@given(st.lists(PAIRS, min_size=1, max_size=40))
def test_rows_with_different_values_never_share_a_form(engine: duckdb.DuckDBPyConnection, pairs: list[Any]) -> None:
    rows = [
        row for pair in pairs for row in (*pair, (pair[0][1], pair[0][0], *pair[0][2:]), (*pair[0][:3], pair[1][3]))
    ]
    kinds = ["VARCHAR", "VARCHAR", "INT", "VARCHAR"]
    columns = [FormColumn(f"c{n}", "integer" if kind == "INT" else "text") for n, kind in enumerate(kinds)]
    engine.execute("CREATE OR REPLACE TABLE rows (c0 VARCHAR, c1 VARCHAR, c2 INT, c3 VARCHAR)")
    engine.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", [list(row) for row in rows])
    query = f"SELECT c0, c1, c2, c3, {canonical_duckdb.DIALECT.form(columns)} FROM rows"
    found = engine.execute(query).fetchall()
    assert len({row[:4] for row in found}) == len({row[4] for row in found})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((None, ""), ("", None)), ((None, None), ("", "")), (("a|b", "c"), ("a", "b|c")), (("1:a", ""), ("1", ":a")),
        (("", "0:"), ("0:", "")), ((None, ":"), (":", None)), ((",", None), (None, ",")), (("a\u0301",), ("\u00e1",)), (("A",), ("a",)),
        (("a ",), ("a",)), (("\t",), (" ",)), (("NULL",), (None,)), (("",), (None,)),
    ],
)  # fmt: skip
def test_what_other_tools_call_equal_is_not(
    engine: duckdb.DuckDBPyConnection, server: Any, warehouse: Any, one: tuple[Any, ...], other: tuple[Any, ...]
) -> None:
    columns = [FormColumn(f"c{n}", "text") for n in range(len(one))]

    def query(dialect: CanonicalSql, row: tuple[Any, ...]) -> str:
        values = ", ".join(f"CAST({'NULL' if v is None else literal(v)} AS VARCHAR) AS c{n}" for n, v in enumerate(row))
        return f"SELECT {dialect.form(columns)} FROM (SELECT {values}) q"

    for row in (one, other):
        forms = {engine.execute(query(canonical_duckdb.DIALECT, row)).fetchall()[0][0]}
        for cursor, dialect in ((server, canonical_postgres.CANONICAL), (warehouse, canonical_snowflake.CANONICAL)):
            cursor.execute(query(dialect, row))
            forms.add(cursor.fetchall()[0][0])
        assert len(forms) == 1, row
    assert (
        engine.execute(query(canonical_duckdb.DIALECT, one)).fetchall()
        != engine.execute(query(canonical_duckdb.DIALECT, other)).fetchall()
    )


@examples(100)
@given(st.lists(of_bits("<d").filter(lambda x: math.isfinite(x) and x != 0), min_size=1, max_size=50))
def test_bits_by_arithmetic_are_the_bits(engine: duckdb.DuckDBPyConnection, numbers: list[float]) -> None:
    magnitudes = [abs(number) for number in numbers]
    sql = bits("x", floor="floor", log="ln", power="pow", integer="CAST({x} AS HUGEINT)")
    engine.execute("CREATE OR REPLACE TABLE magnitudes (n INT, x DOUBLE)")
    engine.executemany("INSERT INTO magnitudes VALUES (?, ?)", list(enumerate(magnitudes)))
    found = engine.execute(f"SELECT {sql} FROM magnitudes ORDER BY n").fetchall()
    assert [int(row[0]) for row in found] == [struct.unpack("<q", struct.pack("<d", x))[0] for x in magnitudes]


def test_bits_at_every_power_of_two_and_beside_it(engine: duckdb.DuckDBPyConnection) -> None:
    powers = [math.ldexp(1.0, e) for e in range(-1074, 1024)]
    numbers = [x for p in powers for x in (math.nextafter(p, 0), p, math.nextafter(p, math.inf)) if 0 < x < math.inf]
    sql = bits("x", floor="floor", log="ln", power="pow", integer="CAST({x} AS HUGEINT)")
    engine.execute("CREATE OR REPLACE TABLE powers (n INT, x DOUBLE)")
    engine.executemany("INSERT INTO powers VALUES (?, ?)", list(enumerate(numbers)))
    found = engine.execute(f"SELECT {sql} FROM powers ORDER BY n").fetchall()
    assert [int(row[0]) for row in found] == [struct.unpack("<q", struct.pack("<d", x))[0] for x in numbers]


INT8 = st.one_of(whole(63), st.integers(-50, 50), st.integers(-(10**6), 10**6).map(lambda n: n * 1_000_000_000))


@examples(15)
@given(
    st.lists(st.tuples(st.none() | INT8, st.none() | INT8, TEXTS), min_size=1, max_size=25),
    st.sampled_from([1, 2, 3, 7, 293, 2**21 - 9]),
)
def test_every_engine_puts_a_row_into_the_same_segment(
    engine: duckdb.DuckDBPyConnection,
    server: Any,
    warehouse: Any,
    rows: list[tuple[int | None, int | None, str]],
    segments: int,
) -> None:
    def constant(value: Any, kind: str, quote: Any) -> str:
        return f"CAST({'NULL' if value is None else quote(value) if isinstance(value, str) else value} AS {kind})"

    def found(run: Any, dialect: CanonicalSql, whole_kind: str, text_kind: str, quote: Any) -> list[tuple[int, ...]]:
        columns = [FormColumn("a", "integer"), FormColumn("b", "integer"), FormColumn("t", "text")]
        keys = [[columns[0]], columns[:2], [columns[2]], columns, []]
        selects = " UNION ALL ".join(
            f"SELECT {n} AS n, {constant(a, whole_kind, quote)} AS a, {constant(b, whole_kind, quote)} AS b, {constant(t, text_kind, quote)} AS t"
            for n, (a, b, t) in enumerate(rows)
        )
        each = ", ".join(f"{dialect.segment(columns, key, segments)} AS s{n}" for n, key in enumerate(keys))
        return [tuple(int(s) for s in row[1:]) for row in run(f"SELECT n, {each} FROM ({selects}) q ORDER BY n")]

    def fetched(cursor: Any) -> Any:
        return lambda sql: (cursor.execute(sql), cursor.fetchall())[1]

    ours = found(lambda sql: engine.execute(sql).fetchall(), canonical_duckdb.DIALECT, "BIGINT", "VARCHAR", literal)
    assert ours == found(fetched(server), canonical_postgres.CANONICAL, "bigint", "text", literal)
    assert ours == found(
        fetched(warehouse), canonical_snowflake.CANONICAL, "NUMBER(19,0)", "VARCHAR", snowflake.literal
    )
    for (a, b, text), (one, two, of_text, *_) in zip(rows, ours, strict=True):
        assert one == (a or 0) % segments
        assert two == ((a or 0) * FOLD + (b or 0)) % segments
        assert of_text == corpus.low64(f"{len(text.encode())}:{text}") % 2**32 % segments


def test_the_number_of_segments_is_a_prime_that_its_sums_have_room_for() -> None:
    for rows in (0, 1, 39, 40, 80, 119, 120, 1000, 12345, 10**6, 5 * 10**6, 2 * 10**7, 10**9, 10**12):
        count = segments_for(rows)
        assert 1 <= count < 2**21
        assert count <= max(1, rows // 40)
        assert count < 4 or all(count % n for n in range(2, math.isqrt(count) + 1))


@pytest.mark.parametrize(
    ("dialect", "columns"),
    [
        (canonical_snowflake.CANONICAL, corpus.columns_in_snowflake()),
        (canonical_spark.CANONICAL, corpus.columns_in_spark()),
    ],
    ids=["snowflake", "spark"],
)
def test_the_sql_of_engines_that_are_not_here_is_the_golden_text(
    dialect: CanonicalSql, columns: list[FormColumn]
) -> None:
    """What was checked against the engine's documentation; a change of it has to be checked again."""
    table = '"corpus"' if dialect.name == "snowflake" else "`corpus`"
    pieces = [
        f"-- {kind.name}: {kind.parquet}\n{dialect.piece(column)}" for kind, column in zip(KINDS, columns, strict=True)
    ]
    by_number = dialect.digest_query(columns[:1], columns[1:4], 293, table)
    by_text = dialect.digest_query(columns[:1], columns[11:12], 293, table, "TRUE")
    text = (
        "\n\n".join(
            [*pieces, f"-- by a key of whole numbers\n{by_number}", f"-- by a key of text, some rows\n{by_text}"]
        )
        + "\n"
    )
    file = FOLDER / f"golden_{dialect.name}.sql"
    if REGENERATE:
        file.write_text(text)
    assert text == file.read_text()


def test_no_dialect_leaves_a_placeholder_or_a_name_of_another_engine() -> None:
    for dialect, columns in (
        (canonical_snowflake.CANONICAL, corpus.columns_in_snowflake()),
        (canonical_spark.CANONICAL, corpus.columns_in_spark()),
        (canonical_duckdb.DIALECT, corpus.columns_in_duckdb()),
        (canonical_postgres.CANONICAL, corpus.columns_in_postgres()),
    ):
        sql = dialect.digest_query(columns, columns[:2], 7, "t")
        assert not re.search(r"[{}]", sql), dialect.name
        assert sql.count("(") == sql.count(")"), dialect.name
