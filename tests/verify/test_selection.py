"""The rows that a condition, a watermark or a sample means are the same rows on every side.

Would catch: a constant that one engine reads in another way than PostgreSQL, a condition that is let through though its
meaning differs, a sample of an equal table that is not equal, a tolerance that hides a difference or forgives too much, a
name that is quoted in one place and not in another.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.engines.columns import ComparedColumn, as_compared
from helpers.engines.conditions import Condition
from helpers.engines.duck_dialect import SQL as DUCKDB
from helpers.engines.postgres.dialect import SQL as POSTGRES
from helpers.engines.postgres.dialect import PostgresSql
from helpers.engines.snowflake.ddl import SNOWFLAKE as SNOWFLAKE_DDL
from helpers.engines.snowflake.dialect import SQL as SNOWFLAKE
from helpers.engines.sql import Sql
from helpers.engines.where import write
from helpers.errors import UsageError
from helpers.model.catalog import Column, PgType, Table
from helpers.model.manifest import StagedColumn
from helpers.platforms import duck, postgres
from helpers.settings import Source
from helpers.verify import Options, Selection
from helpers.verify import selection as selecting
from helpers.verify.selection import choose, understood

WIDE = """CREATE TABLE w (id int PRIMARY KEY, n int, price numeric(12,2), loose numeric, f float8, r real, name text,
    padded char(4), u uuid, clock time, ts timestamp, tz timestamptz, flag boolean, raw bytea, d date, j jsonb, "Quo""ted" text)"""
ROWS = (
    """INSERT INTO w SELECT i, i % 7, i / 3.0, i * 0.125, i * 0.1, i * 0.1, 'n' || i % 5, 'a' || i % 3,
        ('00000000-0000-0000-0000-' || lpad(to_hex(i), 12, '0'))::uuid, time '01:00' + i * interval '1 second',
        timestamp '2024-01-01' + i * interval '1 hour', timestamptz '2024-01-01 00:00+00' + i * interval '1 hour', i % 2 = 0,
        '\\x00ff', date '2024-01-01' + i, '{"a": 1}', 'it''s \\ ' || i % 4 FROM generate_series(1, 300) i""",
    "INSERT INTO w (id) VALUES (1000)",
    "INSERT INTO w (id, f, r) VALUES (1001, 'NaN', 'NaN'), (1002, 'Infinity', '-Infinity')",
)

CONDITIONS = [
    "n = 1", "n = 1 OR n = 2", "n = 1 AND flag", "NOT (n = 3)", "n IS NULL", "n IS NOT NULL",
    "flag", "NOT flag", "flag IS TRUE", "flag IS NOT TRUE", "flag = false", "n IN (1, 2, 3)",
    "n NOT IN (1, 2)", "n BETWEEN 1 AND 3", "n = '3'", "-1 < n", "n > 5.5", "n = 5.5", "NOT n = 5.5",
    "n <> 5.5", "n < 99999999999999999999999", "n > -99999999999999999999999", "n > 99999999999",
    "price > 10.005", "price >= 99.999", "price = 33.33", "price > 1e1", "price < 1e30", "loose > 1.5",
    "loose = 0.1250000000001", "f > 0.3", "f = 0.1", "r > 0.3", "r = 0.1", "f = 'NaN'", "f = 'Infinity'",
    "r < 0", "f > 1e300", "name = 'n1'", "name = 'N1'", "name IN ('n1', 'n2')", "name <> 'n1'", "name <> 'n1 '",
    "name NOT IN ('N1', 'n2 ')",
    "padded = 'a1'", "padded = 'a1  '", "u = '00000000-0000-0000-0000-00000000000A'", "u = '{0000000000000000000000000000000a}'",
    "clock = '01:05'", "clock = '01:05:00.000'", "ts >= '2024-01-05'", "ts = '2024-01-05 03:00:00.000000'",
    "tz >= '2024-01-05 03:00:00+03'", "tz = timestamptz '2024-01-05 05:30+05:30'", "d = '2024-02-01'",
    "d BETWEEN date '2024-02-01' AND '2024-03-01'", "raw IS NULL", "raw IS NOT NULL",
    "\"Quo\"\"ted\" = 'it''s \\ 1'", "n = id", "name = name", "w.n = 1", "public.w.n = 1 -- a remark", "1 = 1",
    "TRUE", "N = 1", "(((n)) = ((1)))", "n = 5::int", "n = ANY (ARRAY[1, 2])", "n <> ALL (ARRAY[1, 2])", "length(name) = 2",
    "price::numeric > 1.5", "ts >= date '2024-01-05'",
]  # fmt: skip

REFUSED = {
    "": "empty", "  ": "empty", "n =": "missing", "n = 1; n = 2": "more than one", "lower(name) = 'n1'": "need not mean the same",
    "n + 1 = 2": "need not mean the same", "n IN (SELECT 1)": "need not mean the same", "EXISTS (SELECT 1)": "need not mean the same",
    "name LIKE 'n%'": "need not mean the same", "name ~ 'n'": "need not mean the same", "name > 'n1'": "order differs",
    "'n1' < name": "order differs", "name BETWEEN 'a' AND 'b'": "order differs", "clock > '01:05'": "order differs",
    "flag > false": "order differs", "nope = 1": "no column nope", '"N" = 1': "no column N", "x.n = 1": "not of public.w",
    "other.w.n = 1": "not of public.w", "n = 'abc'": "no value of n", "name = 5": "is a text", "flag = 1": "is a boolean",
    "d = 'today'": "no date", "d = '2024-02-30'": "no date", "ts < 'now'": "no timestamp", "ts = 'infinity'": "no timestamp",
    "ts >= '2024-01-05 03:00+03'": "has no zone", "tz > '0001-01-01 00:00+14'": "outside the years",
    "ts = '2024-01-01 00:00:00.1234567'": "finest unit", "raw = '\\x00'": "holds bytes", "n": "no boolean", "n = NULL": "IS NULL",
    "n = true": "no value of n", "n::text = '1'": "need not mean the same", "ts::date = '2024-01-05'": "need not mean the same",
    "price = f": "different types", "n IS DISTINCT FROM 1": "need not mean the same",
    "n BETWEEN SYMMETRIC 3 AND 1": "need not mean the same",
    "current_date = d": "need not mean the same", "u = 'abc'": "no value of u", "j = '{\"a\":1}'": "jsonb, which each engine", "n = 1 AND": "an operand is missing. Line", "clock = '25:00'": "no value of clock",
    "CASE WHEN flag THEN true END": "need not mean the same", "n = 1e9999": "no value of n", "'a' = 'a'": "compares no column",
    "*": "need not mean the same", "name = U&'x'": "need not mean the same", "n IS TRUE": "need not mean the same",
}  # fmt: skip


@pytest.fixture(scope="module")
def migrated(fresh_migration: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    with fresh_migration() as migration:
        migration.source(WIDE, *ROWS)
        migration.migrate()
        yield migration


@pytest.fixture(scope="module")
def columns(migrated: Any) -> list[ComparedColumn]:
    from helpers.model import manifest as manifests

    (staged,) = manifests.read(migrated.bucket).tables
    return [as_compared(column, column.name, None, SNOWFLAKE_DDL) for column in staged.columns]


TABLE = Table("public", "w", 0, (), ("id",), ())


DIALECTS = {
    "postgresql": POSTGRES, "postgresql target": PostgresSql(is_target=True), "stage": DUCKDB, "snowflake": SNOWFLAKE,
}  # fmt: skip


def written(condition: Condition, columns: list[ComparedColumn], sql: Sql) -> str:
    return write(condition, {column.name: sql.operand(column) for column in columns}, sql)


def where(migrated: Any, target: str, condition: str, **options: Any) -> Any:
    (table,) = migrated.verify(target, options=Options(selection=Selection(where=condition)), **options).tables
    return table


def test_a_condition_means_the_same_rows_in_every_engine(migrated: Any, columns: list[ComparedColumn]) -> None:
    """Each engine counts what the translation gives; PostgreSQL counts the condition as it was written, too."""
    from helpers import digests
    from helpers.model import manifest as manifests

    (staged,) = manifests.read(migrated.bucket).tables
    files = digests.files_of(migrated.bucket, [file.path for file in staged.files])
    found = [understood(condition, "--where", TABLE, columns) for condition in CONDITIONS]

    def counted(dialect: str, rows: str) -> str:
        """One query for all of them, in their order."""
        asked = (written(condition, columns, DIALECTS[dialect]) for condition in found)
        counts = (f"SELECT {n}, COUNT(*) FROM {rows} WHERE {condition}" for n, condition in enumerate(asked))
        return " UNION ALL ".join(counts) + " ORDER BY 1"

    said = (f"SELECT {n}, count(*) FROM w WHERE {c}\n" for n, c in enumerate(CONDITIONS))
    expected = migrated.source("SET timezone = 'UTC'", " UNION ALL ".join(said) + " ORDER BY 1")
    assert sum(0 < count < 303 for _, count in expected) > 0.75 * len(CONDITIONS)
    assert migrated.source(counted("postgresql", "w")) == expected
    assert migrated.source(counted("postgresql target", "w")) == expected
    assert migrated.target(counted("snowflake", '"w"')) == expected
    with duck.connect() as engine:
        duck.enable_s3(engine, migrated.settings.stage)
        assert engine.execute(counted("stage", files)).fetchall() == expected


@pytest.mark.parametrize(
    ("condition", "way"),
    [
        ("price > 10.005 AND name = 'n1'", {}),
        ("r > 0.3 OR clock = '01:05'", {"target": "stage"}),
        ("r > 0.3 OR clock = '01:05'", {}),
        ("NOT flag", {"source_name": "manifest"}),
    ],
)
def test_the_rows_of_a_condition_are_equal_by_their_digest(migrated: Any, condition: str, way: dict[str, Any]) -> None:
    table = where(migrated, condition=condition, **{"target": "snowflake", **way})
    ((expected,),) = migrated.source(f"SELECT count(*) FROM w WHERE {condition}")
    assert (table.verdict, table.rows_source, table.rows_target, table.fetched) == ("equal", expected, expected, 0)
    assert condition in table.method


@pytest.mark.parametrize("check", ["full", "row-counts"])
def test_a_condition_that_no_row_meets_is_no_proof(migrated: Any, check: str) -> None:
    """Would catch: a slip in a condition (a region that does not exist) that reads as an equal target."""
    table = where(migrated, "snowflake", "n = 99", check=check)
    assert (table.verdict, table.rows_source, table.rows_target) == ("refused", 0, 0)
    assert "nothing was compared" in table.method


def test_a_condition_says_nothing_of_the_schema(migrated: Any) -> None:
    assert where(migrated, "snowflake", "n = 99", check="schema").verdict == "equal"


def test_a_text_is_compared_by_its_bytes_whatever_the_columns_collation(columns: list[ComparedColumn]) -> None:
    """The query's text is looked at: the servers of these tests have no ICU, and so no collation that calls two texts equal."""
    condition = understood("name = 'N1'", "--where", TABLE, columns)
    for dialect in ("postgresql", "postgresql target"):
        assert 'COLLATE "C"' in written(condition, columns, DIALECTS[dialect])


@pytest.mark.parametrize("condition", REFUSED)
def test_what_need_not_mean_the_same_is_refused(columns: list[ComparedColumn], condition: str) -> None:
    with pytest.raises(UsageError, match=REFUSED[condition]) as refused:
        understood(condition, "--where", TABLE, columns)
    assert refused.value.exit_code == 2
    assert "--where" in refused.value.on


def test_a_refused_condition_is_refused_before_anything_is_read(migrated: Any) -> None:
    with pytest.raises(UsageError):
        where(migrated, "snowflake", "name > 'n1'")


def staged(postgres_type: str, parquet: str, comparison: Any = "number") -> ComparedColumn:
    column = StagedColumn(
        name="c", field="c", source="c", postgres=postgres_type, parquet=parquet, snowflake="NUMBER(12,2)", comparison=comparison,
        delta="", read="{c}::text", text="{c}::text", not_null=False, comment=None, encoding="exact", note="", policy=None, touched=0,
    )  # fmt: skip
    return as_compared(column, "c", None, SNOWFLAKE_DDL)


NUMBERS = st.one_of(
    st.decimals(-200, 200, places=4),
    st.decimals(-(10**13), 10**13, places=6),
    st.integers(-(10**40), 10**40).map(Decimal),
)


@given(NUMBERS, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), st.booleans())
def test_a_number_that_the_column_cannot_hold_is_compared_as_if_it_could(
    number: Decimal, operator: str, negated: bool
) -> None:
    """In DuckDB, whose decimals overflow, against PostgreSQL's rule that numbers are compared by value."""
    condition = f"NOT (c {operator} {number:f})" if negated else f"c {operator} {number:f}"
    held = [
        Decimal(text)
        for text in ("-9999999999.99", "-100.01", "-0.01", "0.00", "0.01", "100.00", "100.01", "9999999999.99")
    ]
    column = staged("numeric(12,2)", "DECIMAL(12,2)")
    asked = written(understood(condition, "--where", TABLE, [column]), [column], DUCKDB)
    with duck.connect(threads=1) as engine:
        engine.execute("CREATE TABLE t (c DECIMAL(12,2))")
        engine.executemany("INSERT INTO t VALUES (?)", [[str(value)] for value in held] + [[None]])
        found = {row[0] for row in engine.execute(f"SELECT c FROM t WHERE {asked}").fetchall()}
    compare: dict[str, Callable[[Decimal], bool]] = {
        "=": lambda c: c == number, "<>": lambda c: c != number, "<": lambda c: c < number, "<=": lambda c: c <= number,
        ">": lambda c: c > number, ">=": lambda c: c >= number,
    }  # fmt: skip
    assert found == {value for value in held if compare[operator](value) != negated}


SENTINELS = {
    "public.p.a": "null+flag",
    "public.p.b": {"sentinel": "-1"},
    "public.p.c": {"sentinel": "9999-12-31"},
    "public.p.n": "text",
}


def _with_policies(migration: Any, policies: dict[str, Any]) -> None:
    options = type(migration.settings.export).model_validate({"policies": policies})
    values = migration.settings.values.model_copy(update={"export": options})
    migration.settings = type(migration.settings)("local", migration.settings.file, values)


def test_a_condition_is_about_the_values_that_the_target_should_hold(migration: Any) -> None:
    """In PostgreSQL NaN is above every number and infinity after every date; in the target they are what the policy made of them."""
    migration.source(
        "CREATE TABLE p (id int PRIMARY KEY, a numeric(6,2), b numeric(38,10), c date, n numeric)",
        "INSERT INTO p VALUES (1, 'NaN', 'NaN', 'infinity', 'NaN'), (2, 9, 9, '2020-01-01', 9), (3, NULL, NULL, NULL, NULL)",
    )
    _with_policies(migration, SENTINELS)
    migration.migrate()
    expected = {
        "a > 5": 1, "a IS NULL": 2, "a__original = 'NaN'": 1, "b > 5": 1, "b = -1": 1, "c > '2021-01-01'": 1, "c = '9999-12-31'": 1,
        "n = 'NaN'": 1, "n = '9'": 1,
    }  # fmt: skip
    for (condition, rows), target in zip(expected.items(), itertools.cycle(["snowflake", "stage"]), strict=False):
        table = where(migration, target, condition)
        assert (table.verdict, table.rows_source, table.rows_target, table.fetched) == ("equal", rows, rows, 0), (
            condition
        )
    with pytest.raises(UsageError, match="order differs"):
        where(migration, "snowflake", "n > '5'")


def test_a_difference_outside_the_condition_is_not_looked_at_and_one_inside_is_found(migration: Any) -> None:
    migration.source(WIDE, *ROWS)
    migration.migrate()
    migration.target('UPDATE "w" SET "name" = \'bad\' WHERE "id" IN (7, 8)')
    assert where(migration, "snowflake", "id > 100").verdict == "equal"
    table = where(migration, "snowflake", "id < 8")
    assert (table.rows_source, table.changed, [c.key for c in table.cells]) == (7, 1, [{"id": "7"}])
    # The condition is about the source's value here and the target's there: a row that leaves it is missing.
    table = where(migration, "snowflake", "name = 'n2'")
    assert (table.missing, table.extra, table.changed) == (1, 0, 0)


def test_a_target_of_another_type_is_not_asked_for_the_rows_of_a_condition_on_it(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, c time, n int)", "INSERT INTO t VALUES (1, '10:00', 1), (2, '11:00', 2)"
    )
    migration.migrate()
    migration.target(
        'CREATE TABLE "other" AS SELECT "id", TO_VARCHAR("c") AS "c", "n" FROM "t"',
        'DROP TABLE "t"',
        'ALTER TABLE "other" RENAME TO "t"',
    )
    table = where(migration, "snowflake", "c = '10:00'")
    assert table.verdict == "different"
    assert "not compared: c is VARCHAR in the target" in table.method
    assert where(migration, "snowflake", "n = 1").rows_source == 1


def since(migrated: Any, watermark: str, target: str = "snowflake", **options: Any) -> Any:
    return migrated.verify(target, options=Options(selection=Selection(since=watermark)), **options)


def test_a_watermark(migration: Any) -> None:
    migration.source(
        "CREATE TABLE a (id int PRIMARY KEY, updated_at timestamptz, v text)",
        "CREATE TABLE b (id int PRIMARY KEY, v text)",
        "INSERT INTO a SELECT i, timestamptz '2024-01-01 00:00+00' + i * interval '1 hour', 'v' FROM generate_series(1, 100) i",
        "INSERT INTO a VALUES (1000, NULL, 'v'), (1001, '9999-12-31', 'v')",
        "INSERT INTO b VALUES (1, 'v')",
    )
    migration.migrate()
    for target in ("snowflake", "stage"):
        found = {t.name: t for t in since(migration, "updated_at=2024-01-03 02:00+02", target).tables}
        assert (found["a"].verdict, found["a"].rows_source, found["a"].fetched) == ("equal", 100 - 48 + 1 + 1, 0)
        assert "not those where it is NULL" in found["a"].method
        assert (found["b"].rows_source, "updated_at" in found["b"].method) == (1, False)
    migration.target('UPDATE "a" SET "v" = \'bad\' WHERE "id" IN (1, 1000)')
    assert since(migration, "updated_at=2024-01-03").equal
    assert not since(migration, "updated_at=2024-01-01").equal
    migration.target('UPDATE "a" SET "updated_at" = NULL WHERE "id" = 90')
    (a, _) = since(migration, "updated_at=2024-01-03").tables
    assert (a.missing, a.extra, a.changed) == (1, 0, 0)
    for bad in (
        "updated_at",
        "updated_at=",
        "=2024-01-01",
        "updated_at=yesterday",
        "updatd_at=2024-01-01",
        "v=a",
        "UPDATED_AT=2024-01-01",
    ):
        with pytest.raises(UsageError):
            since(migration, bad)


SAMPLED = (
    "CREATE TABLE numbers (id bigint PRIMARY KEY, v text)",
    "INSERT INTO numbers SELECT i * 2, 'v' || i FROM generate_series(1, 1500) i",
    "CREATE TABLE texts (k text, c time, v int, PRIMARY KEY (k, c))",
    "INSERT INTO texts SELECT 'ü' || i, time '00:00' + i * interval '1.5 s', i FROM generate_series(1, 1500) i",
    "CREATE TABLE heap (v text, c time, n numeric, f real)",
    "INSERT INTO heap SELECT 'ü' || i, '10:00', i / 8.0, i * 0.1 FROM generate_series(1, 1500) i",
    "CREATE TABLE small (id int PRIMARY KEY)",
    "INSERT INTO small SELECT generate_series(1, 100)",
)


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
def test_a_sample_of_an_equal_table_is_equal(
    fresh_migration: Callable[..., AbstractContextManager[Any]], monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr(selecting, "SMALLEST_SAMPLED", 1000)
    with fresh_migration(f"TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'") as migration:
        migration.source(*SAMPLED)
        migration.migrate()
        options = Options(selection=Selection(sample=0.2))
        for way in ({}, {"target": "stage"}, {"source_name": "manifest"}):
            found = {t.name: t for t in migration.verify(options=options, **way).tables}
            for name in ("numbers", "texts", "heap"):
                table = found[name]
                assert (table.verdict, table.fetched) == ("equal", 0), (name, way)
                assert 150 < table.rows_source < 450
                assert "with 95% confidence fewer than" in table.method
            # Rows of a small table cost nothing: it is compared whole.
            assert (found["small"].rows_source, "confidence" in found["small"].method) == (100, False)
        report = migration.verify(options=replace(options, witness=True))
        assert {t.name: t.fetched for t in report.tables if t.verdict == "equal"} == dict.fromkeys(found, 0)
        (numbers,) = migration.verify(options=Options(selection=Selection(sample=1.0)), tables=("numbers",)).tables
        assert numbers.rows_source == 1500
        migration.target('UPDATE "numbers" SET "v" = \'x\'', 'UPDATE "heap" SET "v" = \'x\'')
        found = {t.name: t for t in migration.verify(options=options).tables}
        numbers = found["numbers"]
        assert (numbers.missing, numbers.extra, numbers.changed) == (0, 0, numbers.rows_source)
        assert found["heap"].missing > 100
        assert "confidence" not in numbers.method
        for share in (0.0, -0.1, 1.5, float("nan")):
            with pytest.raises(UsageError):
                migration.verify(options=Options(selection=Selection(sample=share)))


def test_a_sample_that_has_no_rows_proves_nothing(migration: Any) -> None:
    """Keys that are multiples of the number of the sample's segments are all in one of them."""
    migration.source(
        "CREATE TABLE t (id bigint PRIMARY KEY)", "INSERT INTO t SELECT i * 997 FROM generate_series(1, 10001) i"
    )
    migration.migrate()
    (table,) = migration.verify(options=Options(selection=Selection(sample=0.01))).tables
    assert (table.verdict, table.rows_source) in (("refused", None), ("equal", 10001))


def test_a_condition_that_speaks_of_samples_is_none(migrated: Any) -> None:
    assert "confidence" not in where(migrated, "snowflake", "name = 'sample'").method


def test_equal_seeds_choose_equal_samples(columns: list[ComparedColumn]) -> None:
    chosen = [choose(Selection(sample=0.01), TABLE, columns, 10**6, seed) for seed in ("0/1", "0/1", "0/2")]
    assert chosen[0] == chosen[1] != chosen[2]
    assert choose(Selection(), TABLE, columns, 10**6, "0/1").condition is None


ODD = (
    'CREATE TABLE "Or ""der" ("select" int, "Gr\'oup" text, "q""uote" numeric(12,2), "日本 %s {c}" date, PRIMARY KEY ("select", "Gr\'oup"))',
    "INSERT INTO \"Or \"\"der\" SELECT i, 'g' || i, i / 3.0, date '2024-01-01' + i FROM generate_series(1, 100) i",
    "CREATE TABLE plain (id int PRIMARY KEY, v text)",
    "INSERT INTO plain VALUES (1, 'a')",
)
NAMES = {
    'public.Or "der': 'FROM "x"', 'public.Or "der.select': "WHERE", 'public.Or "der.q"uote': 'a"b.c', 'public.Or "der.日本 %s {c}': "{rows}",
}  # fmt: skip


def test_the_target_may_call_everything_otherwise(migration: Any) -> None:
    migration.source(*ODD)
    migration.migrate()
    options = Options(names=NAMES)
    migration.target(
        'ALTER TABLE "Or ""der" RENAME TO "FROM ""x"""',
        'ALTER TABLE "FROM ""x""" RENAME COLUMN "select" TO "WHERE"',
        'ALTER TABLE "FROM ""x""" RENAME COLUMN "q""uote" TO "a""b.c"',
        'ALTER TABLE "FROM ""x""" RENAME COLUMN "日本 %s {c}" TO "{rows}"',
    )
    for more in ({}, {"witness": True}, {"selection": Selection(where='"select" > 10 AND "Gr\'oup" <> \'g50\'')}):
        for way in ({}, {"source_name": "manifest"}) if "witness" not in more else ({},):
            (table,) = migration.verify(options=replace(options, **more), tables=('public.Or "der',), **way).tables
            assert (table.missing, table.extra, table.changed, table.fetched) == (0, 0, 0, 0)
    # The stage calls everything as the source does, whatever the names are for.
    assert migration.verify("stage", options=options).equal
    migration.target('UPDATE "FROM ""x""" SET "a""b.c" = -1 WHERE "WHERE" = 7')
    (table,) = migration.verify(options=options, tables=('public.Or "der',)).tables
    assert [(c.key, c.column, c.source, c.target) for c in table.cells] == [
        ({"select": "7", "Gr'oup": "g7"}, 'q"uote', "2.33", "-1.00")
    ]
    for bad in ({"public.nothing": "x"}, {"public.plain.nothing": "x"}, {"plain.id": "x"}):
        for way in ({}, {"source_name": "manifest"}, {"target": "stage"}):
            with pytest.raises(UsageError, match="match the names"):
                migration.verify(options=Options(names=bad), **way)
    # Names of a table that was not asked for are no error.
    migration.verify(options=options, tables=("plain",))
    with pytest.raises(UsageError):
        migration.verify(options=Options(names={"public.plain.nothing": "x"}), tables=("plain",))


@pytest.fixture
def copy(migration: Any) -> Iterator[Source]:
    """Another database of the same server."""
    source = migration.settings.source
    name = f"{source.dbname}_copy"
    migration.source(f"CREATE DATABASE {name}")
    yield source.model_copy(update={"dbname": name})
    migration.drop(name)


def _run(source: Source, *statements: str) -> None:
    with closing(postgres.connect(source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)


def test_conditions_and_names_against_another_postgresql(migration: Any, copy: Source) -> None:
    migration.source(WIDE, *ROWS)
    renamed = (
        WIDE.replace("w (id", "v (id").replace("price numeric", '"Price" numeric').replace("name text", "n_ame text")
    )
    _run(copy, renamed, *(sql.replace("INTO w", "INTO v") for sql in ROWS))
    names = {"public.w": "v", "public.w.price": "Price", "public.w.name": "n_ame"}
    for condition in [*CONDITIONS[::15], "price > 10.005", "name = 'n1'"]:
        ((expected,),) = migration.source("SET timezone = 'UTC'", f"SELECT count(*) FROM w WHERE {condition}")
        options = Options(names=names, selection=Selection(where=condition))
        (table,) = migration.verify("postgresql", target_source=copy, options=options).tables
        assert (table.missing, table.extra, table.changed, table.rows_source) == (0, 0, 0, expected), condition
    options = Options(names=names, selection=Selection(sample=0.5), witness=True)
    assert migration.verify("postgresql", target_source=copy, options=options).tables[0].fetched == 0


TOLERANT = (
    "CREATE TABLE t (id int PRIMARY KEY, f float8, r real, n numeric(38,2), v text)",
    "INSERT INTO t VALUES (1, 1, 1, 100000000000000000000.00, 'a'), (2, 'NaN', 'NaN', -1, 'b'), (3, NULL, NULL, NULL, 'c'), (4, 'Infinity', 1e30, 0, 'd')",
    "INSERT INTO t SELECT i, i, i, i, 'x' FROM generate_series(5, 200) i",
)


def tolerant(migration: Any, **columns: float) -> Any:
    options = Options(tolerances={f"public.t.{name}": tolerance for name, tolerance in columns.items()})
    (table,) = migration.verify(options=options).tables
    return table


def test_a_tolerance_forgives_what_lies_within_it_and_nothing_else(migration: Any) -> None:
    migration.source(*TOLERANT)
    migration.migrate()
    assert tolerant(migration, f=0.01, n=0.01).verdict == "equal"
    migration.target('UPDATE "t" SET "f" = "f" + 0.5, "r" = "r" + 0.5, "n" = "n" + 0.5 WHERE "id" = 1')
    assert tolerant(migration, f=0.5, r=0.5, n=0.5).verdict == "equal"
    table = tolerant(migration, f=0.5, r=0.5, n=0.49)
    assert (table.changed, {c.column for c in table.cells}) == (1, {"n"})
    table = tolerant(migration, f=0.5, r=0.4)
    assert {c.column for c in table.cells} == {"r", "n"}
    # So far apart that a double of the two would be one.
    migration.target('UPDATE "t" SET "n" = "n" + 5000 WHERE "id" = 1')
    assert tolerant(migration, f=1, r=1, n=4000).changed == 1
    assert tolerant(migration, f=1, r=1, n=6000).verdict == "equal"
    migration.load(_manifest(migration))
    changes = {
        1: '"n" = NULL', 2: '"f" = 0', 3: '"n" = 0', 4: '"f" = 1e308', 5: '"f" = \'NaN\'::FLOAT', 6: '"f" = \'-inf\'::FLOAT', 7: '"f" = NULL',
        8: '"v" = \'z\', "f" = 8.1', 9: '"r" = NULL',
    }  # fmt: skip
    for n, change in changes.items():
        migration.target(f'UPDATE "t" SET {change} WHERE "id" = {n}')
    table = tolerant(migration, f=1e300, r=1e300, n=1e300)
    assert {(c.key["id"], c.column) for c in table.cells if c.key} == {
        ("1", "n"), ("2", "f"), ("3", "n"), ("4", "f"), ("5", "f"), ("6", "f"), ("7", "f"), ("8", "v"), ("9", "r"),
    }  # fmt: skip
    assert (table.changed, len(table.cells)) == (9, 9)
    for bad in ({"v": 0.1}, {"id": 1}, {"f": -1.0}, {"f": float("nan")}, {"f": float("inf")}, {"nothing": 1}):
        with pytest.raises(UsageError):
            tolerant(migration, **bad)


def _manifest(migration: Any) -> Any:
    from helpers.model import manifest

    return manifest.read(migration.bucket)


def test_a_tolerance_without_a_key_pairs_the_rows_that_are_equal_elsewhere(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (day date, total float8, n numeric(12,4))",
        "INSERT INTO t SELECT date '2024-01-01' + i % 300, i, i FROM generate_series(1, 900) i",
    )
    migration.migrate()
    migration.target('UPDATE "t" SET "total" = "total" * 1.0000001, "n" = "n" + 0.0001')
    assert tolerant(migration, total=0.01, n=0.001).verdict == "equal"
    assert tolerant(migration, total=0.01).missing == 900
    migration.target('UPDATE "t" SET "total" = 10000 WHERE "day" = \'2024-01-05\' AND "total" < 10')
    table = tolerant(migration, total=0.01, n=0.001)
    assert (table.missing, table.extra) == (1, 1)
    assert [(c.column, c.target) for c in table.cells] == [("total", "10000")]


def test_a_tolerance_and_a_source_that_moved(migration: Any) -> None:
    migration.source(*TOLERANT)
    migration.migrate()
    # Within the tolerance of what was exported; beyond it; and spoiled beyond it.
    migration.source("UPDATE t SET f = f + 0.001 WHERE id = 10", "UPDATE t SET f = f + 5 WHERE id = 20")
    migration.target('UPDATE "t" SET "f" = "f" + 0.001 WHERE "id" = 30', 'UPDATE "t" SET "f" = "f" + 7 WHERE "id" = 40')
    table = tolerant(migration, f=0.01)
    assert (table.missing, table.extra, table.changed, table.changed_since) == (0, 0, 1, 1)
    assert [(c.key, c.source, c.target) for c in table.cells] == [({"id": "40"}, "40", "47")]


def test_a_typed_name_is_seen_through(columns: list[ComparedColumn]) -> None:
    assert Column("n", PgType("int4", "integer")).type.sql == "integer"
    assert {column.name for column in columns} >= {"n", 'Quo"ted'}
