"""A source with everything odd about it arrives, and a single wrong cell does not stay hidden.

Would catch: a reader or writer that changes a value, an identifier that is not quoted somewhere, a comparison that
forgives, a row without a key that gets lost among its duplicates.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from helpers.errors import LoadError, SourceRefused, UsageError
from helpers.platforms.snowflake import identifier

ODD = (
    'CREATE SCHEMA "Odd ""x"" Schema"',
    """CREATE TABLE "Odd ""x"" Schema"."sélect 'é" (
        "order" bigint, "Group By" varchar(10) NOT NULL, "q""uote" text, "日本 語" numeric, "semi;colon" date,
        PRIMARY KEY ("order", "Group By"))""",
    """COMMENT ON TABLE "Odd ""x"" Schema"."sélect 'é" IS 'it''s a \\ comment'""",
    """COMMENT ON COLUMN "Odd ""x"" Schema"."sélect 'é"."order" IS 'line one
line ''two'''""",
    """INSERT INTO "Odd ""x"" Schema"."sélect 'é" VALUES
        (1, 'a', E'tab\\tnew\\nline', 1.10, '0001-01-01'), (1, 'b', '', 0, NULL), (2, 'a', NULL, -12345678901234567890.123456789, '9999-12-31')""",
)

TYPES = (
    "CREATE TYPE mood AS ENUM ('glad', 'sad, or not')",
    "CREATE DOMAIN euro AS numeric(10,2) CHECK (VALUE > -1000000)",
    """CREATE TABLE types (
        id uuid PRIMARY KEY, flag boolean, small smallint, whole integer, big bigint, price numeric(12,2), free numeric,
        wide numeric(38,10), single real, twice double precision, name varchar(20), padded char(5), body text, raw bytea,
        day date, at timestamp, instant timestamptz, clock time, details jsonb, plain json, tags text[], grid int[][],
        feeling mood, cost euro, span interval, address inet, bits bit varying(9), ranges int4range, pair point)""",
    """INSERT INTO types VALUES
        ('00000000-0000-0000-0000-000000000001', true, -32768, 2147483647, -9223372036854775808, 12.50, 1.10, 1.0000000001,
         0.1, 0.1, 'é', 'ab', E'\\u00e9 𝔘 \\\\', '\\x00ff', '2024-02-29', '2024-01-01 00:00:00.000001',
         '2024-03-31 02:30:00+02', '23:59:59.999999', '{"b": 1.10, "a": [null]}', '{"b":1,"b":2}', '{a,"b,c",NULL}',
         '{{1,2},{3,4}}', 'sad, or not', 7, '1 mon 2 days 03:00', '::1/64', '1010', '[1,5)', '(1,2)'),
        ('00000000-0000-0000-0000-000000000002', false, 0, 0, 0, 0, 0, 0, 'NaN', 'Infinity', '', '', '', '', '0001-01-01',
         '0001-01-01 00:00:00', '9999-12-31 23:59:59.999999+00', '00:00', 'null', 'null', '{}', '{}', 'glad', 0, '0', '10.0.0.1',
         '', 'empty', '(0,0)'),
        ('00000000-0000-0000-0000-000000000003', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '-0', '-0', NULL, NULL, NULL, NULL,
         NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        ('00000000-0000-0000-0000-000000000004', true, 1, 1, 1, -0.01, 1e-9, -9999999999999999999999999999.9999999999,
         1e-45, 5e-324, '  a ', ' a ', '12', '\\x', '1969-12-31', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999+00',
         '12:00:00.5', '1e2', '1E2', '{{a},{b}}', '[0:1]={7,8}', 'glad', -0.5, '-1 year', 'fe80::1', '1', '[,]', '(1e300,-0)')""",
)

EVENTS = (
    "CREATE TABLE events (at timestamptz, kind text, payload jsonb)",
    """INSERT INTO events VALUES ('2024-01-01', 'click', '{"x": 1}'), ('2024-01-01', 'click', '{"x": 1}'), (NULL, NULL, NULL),
        (NULL, NULL, NULL), ('2024-01-02', 'view', NULL)""",
)

PARTS = (
    "CREATE TABLE months (id int, month date, amount numeric(10,2), PRIMARY KEY (id, month)) PARTITION BY RANGE (month)",
    "CREATE TABLE months_1 PARTITION OF months FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')",
    "CREATE TABLE months_rest PARTITION OF months DEFAULT",
    "INSERT INTO months SELECT n, date '2024-01-01' + n, n / 3.0 FROM generate_series(1, 100) n",
    "CREATE TABLE nothing (id int PRIMARY KEY, note text)",
)


def test_everything_odd_arrives(migration: Any) -> None:
    migration.source(*ODD, *TYPES, *EVENTS, *PARTS)
    manifest = migration.migrate()
    assert {table.name: table.rows for table in manifest.tables} == {
        "sélect 'é": 3, "types": 4, "events": 5, "months": 100, "nothing": 0,
    }  # fmt: skip
    assert manifest.lsn_exact
    report = migration.verify()
    assert {str(t): t.differences for t in report.tables if t.differences} == {}
    assert report.verdict == "equal"
    assert migration.verify("stage").verdict == "equal"
    database, schema = migration.settings.snowflake.database, migration.settings.snowflake.schema_
    tables = migration.target(
        f"SELECT TABLE_NAME FROM {identifier(database)}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = '{schema}'"
    )
    assert {name for (name,) in tables} == {"sélect 'é", "types", "events", "months", "nothing"}


CHANGES = [
    ("flag", "FALSE", "true", "false"),
    ("small", "-32767", "-32768", "-32767"),
    ("big", "-9223372036854775807", "-9223372036854775808", "-9223372036854775807"),
    ("price", "12.51", "12.50", "12.51"),
    ("free", "1.100000001", "1.10", "1.100000001"),
    ("wide", "1.0000000002", "1.0000000001", "1.0000000002"),
    ("twice", "0.10000000000000002", "0.1", "0.10000000000000002"),
    ("name", "'e'", "é", "e"),
    ("padded", "'ab '", "ab", "ab "),
    ("body", "NULL", "é 𝔘 \\", None),
    ("raw", "TO_BINARY('00FE', 'HEX')", "\\x00ff", "\\x00fe"),
    ("day", "'2024-02-28'", "2024-02-29", "2024-02-28"),
    ("at", "'2024-01-01 00:00:00.000002'", "2024-01-01 00:00:00.000001", "2024-01-01 00:00:00.000002"),
    ("clock", "'23:59:59.999998'", "23:59:59.999999", "23:59:59.999998"),
    ("details", """'{"a": [null], "b": 1.1}'""", '{"a": [null], "b": 1.10}', '{"a": [null], "b": 1.1}'),
    ("tags", "'{a,\"b,c\",\"NULL\"}'", '{a,"b,c",NULL}', '{a,"b,c","NULL"}'),
]  # fmt: skip


def test_changed_cells_are_named_with_key_column_and_both_values(migration: Any) -> None:
    """One that is NULL, one that differs in the last bit, then one of every type; `test_mutations` has them one by one."""
    migration.source(*TYPES)
    migration.migrate()
    key = "00000000-0000-0000-0000-000000000001"
    for changes in ([c for c in CHANGES if c[0] == "body"], [c for c in CHANGES if c[0] == "twice"], CHANGES):
        changed = ", ".join(f'"{column}" = {value}' for column, value, *_ in changes)
        migration.target(f'UPDATE "types" SET {changed} WHERE "id" = \'{key}\'')
        report = migration.verify()
        (table,) = report.tables
        assert (report.verdict, table.missing, table.extra, table.changed) == ("different", 0, 0, 1)
        assert {(c.column, c.source, c.target) for c in table.cells} == {(c[0], *c[2:]) for c in changes}
        assert [c.key for c in table.cells] == [{"id": key}] * len(changes)
        assert {name: n for name, n in table.changed_cells.items() if n} == {column: 1 for column, *_ in changes}
        migration.load(_manifest(migration))
    assert migration.verify().verdict == "equal"


def _manifest(migration: Any) -> Any:
    from helpers.model import manifest

    return manifest.read(migration.bucket)


def test_missing_extra_and_duplicated_rows_are_counted_and_named(migration: Any) -> None:
    migration.source(*EVENTS, *PARTS)
    migration.migrate()
    migration.target(
        'DELETE FROM "months" WHERE "id" = 7',
        "INSERT INTO \"months\" VALUES (999, '2024-01-05', 1)",
        'INSERT INTO "months" SELECT * FROM "months" WHERE "id" = 8',
        "UPDATE \"events\" SET \"kind\" = 'VIEW' WHERE \"kind\" = 'view'",
        "INSERT INTO \"nothing\" VALUES (1, NULL)",
    )  # fmt: skip
    found = {t.name: t for t in migration.verify().tables}
    months, events, nothing = found["months"], found["events"], found["nothing"]
    assert (months.missing, months.extra, months.changed) == (1, 2, 0)
    assert {c.key["id"] for c in months.cells if c.key} == {"7", "8", "999"}
    assert (events.missing, events.extra, events.changed) == (1, 1, 0)
    assert [(c.key, c.column, c.source, c.target) for c in events.cells] == [(None, "kind", "view", "VIEW")]
    assert (nothing.missing, nothing.extra, nothing.rows_source, nothing.rows_target) == (0, 1, 0, 1)


def test_a_lost_duplicate_is_found(migration: Any) -> None:
    migration.source(*EVENTS)
    migration.migrate()
    migration.target(
        'CREATE OR REPLACE TEMPORARY TABLE once AS SELECT DISTINCT * FROM "events"',
        'DELETE FROM "events"',
        'INSERT INTO "events" SELECT * FROM once',
    )  # fmt: skip
    (table,) = migration.verify().tables
    assert (table.verdict, table.missing, table.extra) == ("different", 2, 0)


def test_a_changed_definition_is_a_finding(migration: Any) -> None:
    migration.source(*PARTS)
    migration.migrate()
    migration.target('ALTER TABLE "nothing" ADD COLUMN "more" VARCHAR', 'DROP TABLE "months"')
    found = {t.name: t for t in migration.verify().tables}
    assert [(f.name, f.column) for f in found["nothing"].schema_findings] == [("column-added", "more")]
    assert [f.name for f in found["months"].schema_findings] == ["table-missing"]
    assert (found["nothing"].verdict, found["months"].verdict, found["months"].missing) == (
        "different",
        "different",
        100,
    )


def test_a_second_load_replaces_and_takes_changed_rows(migration: Any) -> None:
    migration.source(*PARTS, *EVENTS)
    migration.migrate()
    migration.source("UPDATE months SET amount = 1000000 WHERE id = 3", "DELETE FROM events WHERE kind = 'view'")
    assert migration.verify().verdict == "different"
    migration.migrate()
    assert migration.verify().verdict == "equal"
    migration.migrate()
    assert migration.verify().verdict == "equal"
    migration.source("ALTER TABLE nothing ADD COLUMN since date", "INSERT INTO nothing VALUES (1, 'x', '2024-01-01')")
    migration.migrate()
    assert migration.verify().verdict == "equal"


def test_a_failed_load_leaves_the_table_as_it_was(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'old')")
    migration.migrate()
    migration.source("UPDATE t SET v = 'new'")
    manifest = migration.export()
    migration.bucket.remove([file.path for table in manifest.tables for file in table.files])
    with pytest.raises(LoadError):
        migration.load(manifest)
    assert migration.target('SELECT "v" FROM "t"') == [("old",)]


@pytest.mark.parametrize(
    ("definition", "value", "reason"),
    [
        ("numeric(5,2)", "'NaN'", "NaN or infinity"),
        ("numeric", "'Infinity'", "NaN or infinity"),
        ("numeric", "1e40", "more than 38 digits"),
        ("date", "'infinity'", "infinite"),
        ("date", "'0044-03-15 BC'", "before year 1"),
        ("timestamptz", "'10000-01-01 00:00+00'", "after year 9999"),
        ("time", "'24:00'", "24:00"),
    ],
)
def test_what_no_target_holds_is_refused_before_anything_is_written(
    migration: Any, definition: str, value: str, reason: str
) -> None:
    migration.source(
        f"CREATE TABLE t (id int PRIMARY KEY, v {definition})", f"INSERT INTO t VALUES (1, {value}), (2, NULL)"
    )
    with pytest.raises(SourceRefused, match=reason) as caught:
        migration.export()
    assert "public.t.v" in str(caught.value)
    assert migration.bucket.sizes() == {}


def test_a_policy_lets_it_through_as_text_and_is_counted(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, v numeric)", "INSERT INTO t VALUES (1, 'NaN'), (2, 1.50), (3, NULL)"
    )
    options = migration.settings.export.model_copy(update={"policies": {"public.t.v": "text"}})
    values = migration.settings.values.model_copy(update={"export": options})
    migration.settings = type(migration.settings)("local", migration.settings.file, values)
    manifest = migration.migrate()
    column = manifest.tables[0].columns[1]
    assert (column.policy, column.touched, column.snowflake) == ("text", 1, "VARCHAR")
    assert migration.verify().verdict == "equal"
    assert migration.target('SELECT "v" FROM "t" ORDER BY "id"') == [("NaN",), ("1.50",), (None,)]


def test_a_numeric_without_precision_gets_the_digits_its_values_need(migration: Any) -> None:
    migration.source("CREATE TABLE t (v numeric)", f"INSERT INTO t VALUES (0.{'0' * 19}1), ({'9' * 18}), (1.5)")
    migration.migrate()
    assert migration.verify().verdict == "equal"
    assert max(v for (v,) in migration.target('SELECT "v" FROM "t"')) == Decimal("9" * 18)


def test_two_tables_of_one_name_are_refused(migration: Any) -> None:
    migration.source("CREATE SCHEMA other", "CREATE TABLE t (id int)", "CREATE TABLE other.t (id int)")
    manifest = migration.export()
    with pytest.raises(UsageError, match=r"both would be the table .*{schema}"):
        migration.load(manifest)


def test_a_glob_that_matches_nothing_names_what_there_is(migration: Any) -> None:
    migration.source("CREATE TABLE orders (id int)")
    with pytest.raises(UsageError, match=r"public\.orders"):
        migration.verify(tables=("oders",))


def test_numbers_without_a_whole_part_and_a_whole_scale_are_equal(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, a numeric(5,5), b numeric(2,5), c numeric(5,-2))",
        "INSERT INTO t VALUES (1, 0.00012, 0.00012, 12345), (2, -0.5, -0.00001, -99999), (3, 0, 0, 0), (4, NULL, NULL, NULL)",
    )
    migration.migrate()
    assert migration.verify().verdict == "equal"
    assert migration.verify("stage").verdict == "equal"
    migration.target('UPDATE "t" SET "a" = -0.50001 WHERE "id" = 2')
    (table,) = migration.verify().tables
    assert [(c.column, c.source, c.target) for c in table.cells] == [("a", "-0.50000", "-0.50001")]


def test_a_policy_with_a_flag_keeps_the_original_beside_the_value(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, v numeric(6,2) NOT NULL, d date)",
        "INSERT INTO t VALUES (1, 'NaN', '-infinity'), (2, 1.50, '2024-01-01')",
    )
    policies = {"public.t.v": "null+flag", "public.t.d": {"sentinel": "9999-12-31"}}
    options = type(migration.settings.export).model_validate({"policies": policies})
    values = migration.settings.values.model_copy(update={"export": options})
    migration.settings = type(migration.settings)("local", migration.settings.file, values)
    manifest = migration.migrate()
    assert [c.name for c in manifest.tables[0].columns] == ["id", "v", "v__original", "d", "d__original"]
    assert [c.touched for c in manifest.tables[0].columns if c.name in ("v", "d")] == [1, 1]
    assert migration.verify().verdict == "equal"
    rows = migration.target('SELECT "v", "v__original", TO_VARCHAR("d"), "d__original" FROM "t" ORDER BY "id"')
    assert rows[0] == (None, "NaN", "9999-12-31", "-infinity")
    migration.target('UPDATE "t" SET "v__original" = \'Infinity\' WHERE "id" = 1')
    assert [(c.column, c.source, c.target) for t in migration.verify().tables for c in t.cells] == [
        ("v__original", "NaN", "Infinity")
    ]


def test_a_failed_load_of_a_changed_table_leaves_it_as_it_was(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    migration.migrate()
    migration.source("ALTER TABLE t ADD COLUMN v text DEFAULT 'x'")
    manifest = migration.export()
    migration.bucket.remove([file.path for table in manifest.tables for file in table.files])
    with pytest.raises(LoadError):
        migration.load(manifest)
    assert migration.target('SELECT COUNT(*) FROM "t"') == [(2,)]


def test_a_table_that_the_source_no_longer_has_goes_and_a_foreign_one_is_found(migration: Any) -> None:
    migration.source("CREATE TABLE a (id int)", "CREATE TABLE b (id int)", "INSERT INTO b VALUES (1)")
    migration.migrate()
    migration.source("DROP TABLE b")
    assert [(t.name, t.verdict, t.extra) for t in migration.verify().tables] == [
        ("a", "equal", 0),
        ("b", "different", 1),
    ]
    migration.migrate()
    assert migration.verify().verdict == "equal"
    migration.target('CREATE TABLE "somebody" ("x" NUMBER(10,0))')
    migration.migrate()
    assert [
        (t.name, [f.name for f in t.schema_findings]) for t in migration.verify().tables if t.verdict != "equal"
    ] == [("somebody", ["table-added"])]


def test_a_very_wide_table_is_compared_in_time(migration: Any) -> None:
    columns = ", ".join(f"c{n} int DEFAULT {n}" for n in range(600))
    migration.source(
        f"CREATE TABLE wide (id int PRIMARY KEY, {columns})", "INSERT INTO wide SELECT n FROM generate_series(1, 20) n"
    )
    migration.migrate()
    migration.target('UPDATE "wide" SET "c599" = 7 WHERE "id" = 3')
    (table,) = migration.verify().tables
    assert [(c.key, c.column, c.source, c.target) for c in table.cells] == [({"id": "3"}, "c599", "599", "7")]


def test_target_values_are_shown_as_postgresql_prints_them(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, n numeric, r real, d double precision)",
        "INSERT INTO t VALUES (1, 1.5, 1, 1), (2, 1, 1, 1), (3, 1, 1, 1)",
    )
    migration.migrate()
    migration.target(
        'UPDATE "t" SET "n" = -654.33, "r" = -20.464000701904297, "d" = 1e15 WHERE "id" = 1',
        'UPDATE "t" SET "d" = 123456.789, "r" = 1234567 WHERE "id" = 2',
        'UPDATE "t" SET "d" = 0.00001, "r" = 0.1 WHERE "id" = 3',
    )
    (table,) = migration.verify().tables
    expected = migration.source("SELECT (-654.33)::text, (-20.464::real)::text, 1e15::float8::text, 123456.789::float8::text, "
                                "1234567::real::text, 0.00001::float8::text, 0.1::float8::text")[0]  # fmt: skip
    shown = [
        c.target
        for c in sorted(
            table.cells,
            key=lambda c: (c.key["id"], ["n", "r", "d"].index(c.column) if c.key["id"] == "1" else c.column),
        )
    ]
    assert shown == list(expected)
