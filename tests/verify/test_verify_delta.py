"""Every difference between a source and its Delta table is found at its place, by DuckDB over the files and by Spark itself.

Would catch: a digest that Spark computes otherwise than DuckDB, a file of the log that is not read or is read though it was
replaced, rows that a deletion vector hides, a schema that drifted, a session's time zone that shifts an instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from helpers import load as loading
from helpers import verify as verifying
from helpers.digests.canonical import FormColumn, kind_of
from helpers.digests.canonical import duckdb as canonical_duckdb
from helpers.engines.delta import dialect as canonical_spark
from helpers.engines.delta.catalog import qualified, qualified_schema
from helpers.engines.delta.ddl import delta_log_type
from helpers.engines.delta.files import DeltaSide
from helpers.engines.delta.rows import SparkSide
from helpers.model.places import TargetTable
from helpers.platforms import duck, spark
from helpers.platforms.delta import Lake, storage_options
from helpers.platforms.postgres import identifier
from tests.movers.test_migration import EVENTS, PARTS, TYPES

KEY = "00000000-0000-0000-0000-000000000001"

CHANGES = [
    ("flag", "false", "true", "false"),
    ("small", "-32767S", "-32768", "-32767"),
    ("whole", "2147483646", "2147483647", "2147483646"),
    ("big", "-9223372036854775807L", "-9223372036854775808", "-9223372036854775807"),
    ("price", "12.51", "12.50", "12.51"),
    ("free", "1.100000001", "1.10", "1.100000001"),
    ("wide", "1.0000000002", "1.0000000001", "1.0000000002"),
    ("single", "0.2F", "0.1", "0.2"),
    ("twice", "0.10000000000000002D", "0.1", "0.10000000000000002"),
    ("name", "'e'", "é", "e"),
    ("padded", "'ab '", "ab", "ab "),
    ("body", "NULL", "é 𝔘 \\", None),
    ("raw", "X'00fe'", "\\x00ff", "\\x00fe"),
    ("day", "DATE'2024-02-28'", "2024-02-29", "2024-02-28"),
    ("at", "TIMESTAMP_NTZ'2024-01-01 00:00:00.000002'", "2024-01-01 00:00:00.000001", "2024-01-01 00:00:00.000002"),
    ("instant", "TIMESTAMP'2024-03-31 00:30:01Z'", "2024-03-31 00:30:00+00", "2024-03-31 00:30:01+00"),
    ("clock", "'23:59:59.999998'", "23:59:59.999999", "23:59:59.999998"),
    ("tags", "'{a,\"b,c\",\"NULL\"}'", '{a,"b,c",NULL}', '{a,"b,c","NULL"}'),
]  # fmt: skip


def _load(migration: Any) -> None:
    loading.load(loading.plan_load(migration.export(), migration.bucket, migration.settings.databricks))


def _lake(migration: Any) -> Lake:
    return Lake.open(migration.settings.databricks, migration.settings.stage)


@contextmanager
def _session(migration: Any) -> Iterator[spark.Session]:
    """A session that knows the tables; pysail forgets them with each."""
    target, lake = migration.settings.databricks, _lake(migration)
    with spark.connect(target) as session:
        session.execute(
            f"CREATE SCHEMA IF NOT EXISTS {qualified_schema(target, target.schema_)}", doing="create the schema"
        )
        for name in lake.tables():
            session.execute(
                f"CREATE TABLE {qualified(target, TargetTable(target.schema_, name))} USING DELTA LOCATION {spark.literal(lake.location(name))}",
                doing=f"name {name}",
            )
        yield session


def _change(migration: Any, *statements: str) -> None:
    with _session(migration) as session:
        target = migration.settings.databricks
        session.execute(f"USE SCHEMA {qualified_schema(target, target.schema_)}", doing="use the schema")
        for statement in statements:
            session.execute(statement, doing="change the target")


@pytest.fixture(params=["duckdb", "spark"])
def verify(request: pytest.FixtureRequest, migration: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Verification by each of the two sides; Spark's with the logs' definitions, since pysail tells no NOT NULL."""
    if request.param == "duckdb":
        return lambda **options: migration.verify("databricks", **options)

    def through_spark(plan: verifying.VerifyPlan, stack: Any) -> SparkSide:
        session = stack.enter_context(_session(migration))
        side = SparkSide(session, migration.settings.databricks, [p.there for p in plan.tables])
        logged = DeltaSide(migration.settings.databricks, migration.settings.stage, [p.there for p in plan.tables])
        monkeypatch.setattr(side, "shape", logged.shape)
        return side

    monkeypatch.setattr(verifying, "_target", through_spark)
    return lambda **options: migration.verify("databricks", **options)


def test_one_changed_cell_is_named_with_key_column_and_both_values(migration: Any, verify: Any) -> None:
    migration.source(*TYPES)
    _load(migration)
    _change(
        migration,
        *(f"UPDATE types SET `{column}` = {value} WHERE id = '{KEY}'" for column, value, _, _ in CHANGES),
    )
    report = verify()
    (table,) = report.tables
    assert (report.verdict, table.missing, table.extra, table.changed) == ("different", 0, 0, 1)
    found = {cell.column: (cell.key, cell.source, cell.target) for cell in table.cells}
    assert found == {column: ({"id": KEY}, source, target) for column, _, source, target in CHANGES}


def test_equal_tables_are_equal_by_every_side_and_method(migration: Any, verify: Any) -> None:
    migration.source(*TYPES, *EVENTS, *PARTS)
    _load(migration)
    for options in ({}, {"source_name": "manifest"}, {"options": verifying.Options(witness=True)}):
        report = verify(**options)
        assert {str(t): (t.verdict, t.cells) for t in report.tables if t.verdict != "equal"} == {}
    assert all("cell" not in table.method for table in report.tables)


def test_missing_extra_and_duplicated_rows_are_counted_and_named(migration: Any, verify: Any) -> None:
    migration.source(*EVENTS, *PARTS)
    _load(migration)
    _change(
        migration,
        "DELETE FROM months WHERE id = 7",
        "INSERT INTO months VALUES (999, DATE'2024-01-05', 1)",
        "INSERT INTO months SELECT * FROM months WHERE id = 8",
        "UPDATE events SET kind = 'VIEW' WHERE kind = 'view'",
        "INSERT INTO nothing VALUES (1, NULL)",
    )
    found = {t.name: t for t in verify().tables}
    months, events, nothing = found["months"], found["events"], found["nothing"]
    assert (months.missing, months.extra, months.changed) == (1, 2, 0)
    assert (events.missing, events.extra) == (1, 1)
    assert (nothing.missing, nothing.extra, nothing.rows_target) == (0, 1, 1)
    counts = {t.name: (t.rows_source, t.rows_target) for t in verify(check="row-counts").tables}
    assert counts == {"months": (100, 101), "events": (5, 5), "nothing": (0, 1)}


def test_only_some_rows_are_compared(migration: Any, verify: Any) -> None:
    migration.source(*PARTS)
    _load(migration)
    _change(migration, "UPDATE months SET amount = 0 WHERE id IN (7, 70)")
    options = verifying.Options(verifying.Selection(where="id < 50 and month >= '2024-01-02'"))
    (table,) = verify(tables=("months",), options=options).tables
    assert (table.changed, table.rows_source) == (1, 49)


def test_tables_that_are_gone_or_came_are_named(migration: Any, verify: Any) -> None:
    migration.source(*PARTS)
    _load(migration)
    _lake(migration).remove("nothing")
    _change(
        migration,
        f"CREATE TABLE new (a INT) USING DELTA LOCATION {spark.literal(_lake(migration).location('new'))}",
        "INSERT INTO new VALUES (1), (2)",
    )
    found = {t.name: (t.verdict, [f.name for f in t.schema_findings], t.extra) for t in verify().tables}
    assert found["nothing"][:2] == ("different", ["table-missing"])
    assert found["new"] == ("different", ["table-added"], 2)
    assert found["months"][0] == "equal"


def test_a_schema_that_drifted_is_found(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, price numeric(12,2) NOT NULL, at timestamp, note varchar(5), big bigint)",
        "COMMENT ON COLUMN t.note IS 'short'",
        "INSERT INTO t VALUES (1, 1.5, '2024-01-01', 'a', 5)",
    )
    _load(migration)
    location = spark.literal(_lake(migration).location("t"))
    _change(
        migration,
        "CREATE OR REPLACE TABLE t (id INT NOT NULL, price DECIMAL(12,1), at TIMESTAMP, note STRING, big INT, more DATE) "
        f"USING DELTA LOCATION {location}",
        "INSERT INTO t VALUES (1, 1.5, TIMESTAMP'2024-01-01 00:00:00Z', 'a', 5, NULL)",
    )
    report = migration.verify("databricks", check="schema")
    found = [(f.name, f.column) for t in report.tables for f in t.schema_findings]
    assert found == [
        ("precision-lost", "price"), ("nullability-lost", "price"), ("type-changed", "at"), ("comment-changed", "note"),
        ("type-narrowed", "big"), ("column-added", "more"),
    ]  # fmt: skip
    (table,) = migration.verify("databricks").tables
    assert (table.verdict, table.changed_cells["price"], table.changed_cells["big"]) == ("different", 0, 0)


def test_columns_that_came_later_are_null_in_the_older_files(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, note text)", "INSERT INTO t VALUES (1, 'a'), (2, NULL)")
    _load(migration)
    migration.source("ALTER TABLE t ADD COLUMN more int")
    lake = _lake(migration)
    table = DeltaTable(lake.location("t"), storage_options=storage_options(lake.bucket.stage))
    table.alter.add_columns([Field("more", PrimitiveType("integer"))])
    assert migration.verify("databricks").verdict == "equal"


def test_rows_that_a_deletion_vector_may_hide_are_not_read_without_spark(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    location = spark.literal(_lake(migration).location("t"))
    _change(
        migration,
        f"CREATE TABLE t (id INT NOT NULL) USING DELTA LOCATION {location} TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')",
        "INSERT INTO t VALUES (1), (2), (3)",
        "DELETE FROM t WHERE id = 3",
    )
    (table,) = migration.verify("databricks").tables
    assert (table.verdict, "deletion vectors" in table.method) == ("refused", True)


def test_a_table_that_cannot_be_read_is_refused_and_the_others_are_compared(migration: Any) -> None:
    """Would catch: one damaged log that keeps the verdict of every other table from being told."""
    migration.source(
        "CREATE TABLE a (id int)", "INSERT INTO a VALUES (1)", "CREATE TABLE b (id int)", "CREATE TABLE c (id int)"
    )
    _load(migration)
    lake = _lake(migration)
    lake.bucket.write("b/_delta_log/00000000000000000000.json", b"{ not a log")
    lake.bucket.remove([path for path in lake.bucket.sizes("a/") if path.endswith(".parquet")])
    found = migration.verify("databricks")
    assert {table.name: table.verdict for table in found.tables} == {"a": "refused", "b": "refused", "c": "equal"}
    assert "load the table again" in found.tables[0].method
    assert found.verdict == "refused"


def test_renamed_physical_columns_are_read_by_their_mapping(migration: Any) -> None:
    migration.source('CREATE TABLE t ("a, b" int PRIMARY KEY, c text)', "INSERT INTO t VALUES (1, 'x')")
    location = spark.literal(_lake(migration).location("t"))
    _change(
        migration,
        f"CREATE TABLE t (`a, b` INT NOT NULL, c STRING) USING DELTA LOCATION {location} TBLPROPERTIES ('delta.columnMapping.mode' = 'name')",
        "INSERT INTO t VALUES (1, 'x')",
    )
    version = _lake(migration).read("t")
    assert all(column.physical != column.name for column in version.columns)
    assert migration.verify("databricks").verdict == "equal"


VALUES: dict[str, list[str]] = {
    "BOOLEAN": ["true", "false"],
    "SMALLINT": ["-32768", "7"],
    "INTEGER": ["-2147483648", "1"],
    "BIGINT": ["-9223372036854775808", "9223372036854775807"],
    "FLOAT": ["'NaN'", "'inf'", "'-inf'", "'-0'", "1e-45", "3.4028235e38", "0.1", "16777216", "1.17549435e-38", "-2.5"],
    "DOUBLE": ["'NaN'", "'inf'", "'-inf'", "'-0'", "5e-324", "1.7976931348623157e308", "2.2250738585072014e-308",
               "2.225073858507201e-308", "-1e-310", "1e22", "123.456", "0.9999999999999999", "9007199254740993"],
    "DECIMAL(12,2)": ["1.10", "-0.01", "0", "9999999999.99"],
    "DECIMAL(38,37)": ["9.9999999999999999999999999999999999999", "-0.0000000000000000000000000000000000001", "0"],
    "DECIMAL(38,0)": ["99999999999999999999999999999999999999", "-1"],
    "DECIMAL(38,10)": ["-9999999999999999999999999999.9999999999", "0.0000000001"],
    "DECIMAL(5,5)": ["0.00001", "-0.5"],
    "VARCHAR": ["''", "' '", "'é 𝔘 \\ ''\" {} %s'", "chr(1) || 'a'", "'a:b,c'", "'2:ab'"],
    "BLOB": ["'\\x00\\xFF'", "''"],
    "DATE": ["'0001-01-01'", "'9999-12-31'", "'1582-10-10'", "'1969-12-31'", "'1900-02-28'"],
    "TIMESTAMP": ["'0001-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.999999'", "'1582-10-10'"],
    "TIMESTAMPTZ": ["'0001-01-01 00:00:00+00'", "'9999-12-31 23:59:59.999999+00'", "'1883-11-18 17:00:00+00'"],
}  # fmt: skip

SPARK_TYPES = {
    "VARCHAR": "STRING",
    "BLOB": "BINARY",
    "INTEGER": "INT",
    "TIMESTAMP": "TIMESTAMP_NTZ",
    "TIMESTAMPTZ": "TIMESTAMP",
}


@pytest.mark.parametrize("kind", VALUES)
def test_spark_makes_the_forms_hashes_and_segments_that_duckdb_makes(migration: Any, kind: str) -> None:
    url = f"s3://{migration.bucket.location.bucket}/{migration.bucket.location.key('forms.parquet')}"
    rows = " UNION ALL ".join(
        f"SELECT {n} AS id, CAST({value} AS {kind}) AS v" for n, value in enumerate([*VALUES[kind], "NULL"])
    )
    column = FormColumn("v", *kind_of(kind))
    with duck.connect() as connection:
        duck.enable_s3(connection, migration.settings.stage)
        connection.execute(f"COPY ({rows}) TO '{url}' (FORMAT parquet)")
        asked = _asked(canonical_duckdb.DIALECT, column, "VARCHAR")
        ours = connection.execute(f"SELECT id, {asked} FROM read_parquet('{url}') ORDER BY id").fetchall()
    with spark.connect(migration.settings.databricks) as session:
        session.view_of_files(
            "forms",
            [url],
            [("id", "integer"), ("v", delta_log_type(SPARK_TYPES.get(kind, kind)))],
            doing="read the values",
        )
        asked = _asked(canonical_spark.CANONICAL, column, "STRING")
        theirs = session.execute(f"SELECT id, {asked} FROM forms ORDER BY id", doing="form them")
    assert [tuple(row.values()) for row in theirs] == ours


def _asked(dialect: Any, column: FormColumn, text: str) -> str:
    form, row_hash = dialect.form([column]), dialect.row_hash([column])
    return (
        f"{form} AS f, CAST({row_hash} AS {text}) AS h, CAST({dialect.segment([column], [column], 97)} AS BIGINT) AS s"
    )


def test_the_time_zone_of_whoever_runs_it_does_not_matter(
    migration: Any, monkeypatch: pytest.MonkeyPatch, verify: Any
) -> None:
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        migration.source(*TYPES)
        _load(migration)
        assert verify().verdict == "equal"
        with spark.connect(migration.settings.databricks) as session:
            (row,) = session.execute("SELECT current_timezone() AS zone", doing="ask for the zone")
        assert row["zone"] == "UTC"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_names_are_quoted_for_each_engine() -> None:
    assert (spark.identifier("a`b", "c"), identifier('a"b')) == ("`a``b`.`c`", '"a""b"')
