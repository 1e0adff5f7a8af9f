"""A target that breaks one rule breaks exactly that rule, by the right count; an untouched one breaks none.

Would catch: a rule of the source that is never checked, a count that is off by one, a broken constraint that passes because
its translation is wrong, an expectation that fails a correct migration, a table that no rule can be read from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from quality_support import STAR, broken, in_postgres, in_snowflake, in_stage

from helpers.engines.conditions import Compare, Constant
from helpers.settings import Export, Settings
from helpers.verify import data_quality
from helpers.verify.data_quality import RuleResult
from helpers.verify.data_quality.rules import declared


def test_an_untouched_migration_keeps_every_rule_and_the_others_are_named(migration: Any) -> None:
    migration.source(*STAR)
    migration.migrate()
    for side in (in_snowflake, in_stage, in_postgres):
        with side(migration) as sides:
            results = sides.results()
            assert broken(results) == {}, side.__name__
            assert data_quality.kept(results)
            unchecked = {r.rule.id: r.why for r in results if r.verdict == "not checked"}
            assert list(unchecked) == ["public.sales:check:odd"], side.__name__
            assert "amount % " in unchecked["public.sales:check:odd"]
            assert [r.rule for r in results] == list(sides.rules)
            assert len({rule.id for rule in sides.rules}) == len(sides.rules)
            kinds = {(rule.kind, rule.declared) for rule in sides.rules}
            assert kinds == {
                ("not-null", True), ("unique", True), ("foreign-key", True), ("check", True), ("accepted-values", True),
                ("range", False), ("null-share", False), ("accepted-values", False),
            }  # fmt: skip
            assert all(
                r.violations == r.violations_source == 0 for r in results if r.rule.kind in ("range", "foreign-key")
            )


WORDS = {
    "sales:range:amount": "amount is between 1.005 and 603",
    "sales:range:sold_at": "sold_at is between 2024-01-01 00:30:00+00 and 2024-03-30 00:30:00+00",
    "sales:accepted-values:region": "region is one of 'East', 'North', 'South'",
    "sales:null-share:region": "region is NULL in 150 of 600 rows",
    "sales:check:priced": "CHECK (((price >= 0.5) AND (price < (1000)::numeric)))",
    "sales:check:sold.quantity.quantity_check": "sold: CHECK ((VALUE <> 0))",
    "sales:foreign-key:sales_date_key_fkey": "date_key is NULL or one of public.calendar (date_key)",
    "calendar:unique:calendar_pkey": "date_key is the primary key",
    "sales:accepted-values:via": "via is one of the 2 labels of channel",
}

SPOILS: tuple[tuple[str, dict[str, tuple[str, int]], dict[str, str | None]], ...] = (
    ('UPDATE "sales" SET "amount" = NULL WHERE "sale_id" = 7', {"sales:not-null:amount": ("fail", 1)}, {"sale_id": "7", "amount": None}),
    (
        'INSERT INTO "sales" SELECT * FROM "sales" WHERE "sale_id" IN (8, 9)',
        {"sales:unique:sales_pkey": ("fail", 2)},
        {"sale_id": "8"},
    ),
    (
        'UPDATE "sales" SET "date_key" = 20240230 WHERE "sale_id" = 7',
        {"sales:foreign-key:sales_date_key_fkey": ("fail", 1)},
        {"sale_id": "7", "date_key": "20240230"},
    ),
    (
        'DELETE FROM "products" WHERE "product_key" = 5',
        {"sales:foreign-key:sales_product_key_fkey": ("fail", 109)},
        {"sale_id": "104", "product_key": "5"},
    ),
    (
        """UPDATE "sales" SET "sold_at" = '2031-01-01 00:00:00+00:00' WHERE "sale_id" IN (1, 2, 3)""",
        {"sales:range:sold_at": ("warn", 3)},
        {"sale_id": "1", "sold_at": "2031-01-01"},
    ),
    ("""UPDATE "sales" SET "via" = 'fax' WHERE "sale_id" = 7""", {"sales:accepted-values:via": ("fail", 1)}, {"sale_id": "7", "via": "fax"}),
    (
        """UPDATE "sales" SET "region" = 'north' WHERE "sale_id" = 4""",
        {"sales:accepted-values:region": ("warn", 1), "sales:check:placed": ("fail", 1)},
        {"sale_id": "4", "region": "north"},
    ),
    (
        """UPDATE "sales" SET "region" = 'North' WHERE "region" IS NULL""",
        {"sales:null-share:region": ("warn", 150)},
        {},
    ),
    ('UPDATE "sales" SET "price" = 0.49 WHERE "sale_id" = 7', {"sales:check:priced": ("fail", 1), "sales:range:price": ("warn", 1)}, {"sale_id": "7", "price": "0.49"}),
    ('UPDATE "sales" SET "sold" = 0 WHERE "sale_id" = 7', {"sales:check:sold.quantity.quantity_check": ("fail", 1), "sales:range:sold": ("warn", 1)}, {"sale_id": "7", "sold": "0"}),
    ('UPDATE "sales" SET "amount" = 0.000000001 WHERE "sale_id" = 7', {"sales:range:amount": ("warn", 1)}, {"sale_id": "7"}),
    ("""UPDATE "sales" SET "weight" = 'NaN' WHERE "sale_id" = 7""", {"sales:range:weight": ("warn", 1)}, {"sale_id": "7", "weight": "NaN"}),
    ('UPDATE "calendar" SET "day" = \'2024-01-01\' WHERE "date_key" = 20240102', {"calendar:unique:calendar_day_key": ("fail", 1)}, {"day": "2024-01-01"}),
)  # fmt: skip
"""What is done to the target, the rules that this breaks with their counts, and part of the first example."""


NULLABLE = 'ALTER TABLE "sales" ALTER COLUMN "amount" DROP NOT NULL'
"""A warehouse that enforces NOT NULL takes no NULL until somebody has dropped the constraint."""


def test_each_way_of_spoiling_the_target_breaks_its_rule_by_the_right_count(migration: Any) -> None:
    migration.source(*STAR)
    migration.migrate()
    migration.target(NULLABLE)
    with in_snowflake(migration) as sides:
        said = {rule.id.removeprefix("public."): rule.words for rule in sides.rules}
        assert {name: said[name] for name in WORDS} == WORDS
        assert broken(sides.results()) == {}
        for statement, expected, example in SPOILS:
            with sides.spoilt(statement):
                results = sides.results()
            assert broken(results) == expected, statement
            assert data_quality.kept(results) == all(verdict != "fail" for verdict, _ in expected.values())
            found = {result.rule.id.removeprefix("public."): result for result in results}[next(iter(expected))]
            first = found.examples[0] if found.examples else {}
            assert {k: v and v[: len(example[k] or "")] for k, v in first.items() if k in example} == example, statement
            assert len(found.examples) == min(found.violations or 0, data_quality.EXAMPLES) * bool(example)
        assert broken(sides.results()) == {}
        with sides.spoilt("""UPDATE "sales" SET "via" = 'fax' WHERE "sale_id" = 7"""):
            results = sides.results()
        _check_json(results)
        first = data_quality.frame(results).iloc[0]
        assert (first["rule"], first["verdict"], first["violations"], first["examples"]) == (
            "via is one of the 2 labels of channel", "fail", 1, "sale_id=7, via=fax",
        )  # fmt: skip
        sides.tables = [table for table in sides.tables if table.name == "sales"]
        sides.rules = tuple(rule for rule in sides.rules if rule.table == "public.sales")
        results = sides.results()
        assert broken(results) == {}
        assert {r.why for r in results if r.rule.kind == "foreign-key"} == {
            "not checked: public.calendar is not part of this verification",
            "not checked: public.products is not part of this verification",
        }


def _check_json(results: Sequence[RuleResult]) -> None:
    (result,) = [r for r in results if r.rule.id == "public.sales:accepted-values:via"]
    found = json.loads(json.dumps(result.as_dict()))
    assert found.pop("seconds") >= 0
    assert found == {
        "rule": "public.sales:accepted-values:via", "words": "via is one of the 2 labels of channel", "kind": "accepted-values",
        "origin": "declared", "table": "public.sales", "columns": ["via"], "verdict": "fail", "why": "", "violations": 1,
        "violations_source": 0, "examples": [{"sale_id": "7", "via": "fax"}],
    }  # fmt: skip


def test_a_rule_that_the_source_breaks_too_does_not_fail_the_target_unless_it_breaks_it_more(
    migration: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration.source(
        "CREATE TABLE parents (id int PRIMARY KEY)",
        "CREATE TABLE t (id int PRIMARY KEY, parent int, n int)",
        "INSERT INTO t SELECT g, CASE WHEN g < 4 THEN g END, g FROM generate_series(1, 10) g",
        "ALTER TABLE t ADD CONSTRAINT parent_fk FOREIGN KEY (parent) REFERENCES parents NOT VALID",
        "ALTER TABLE t ADD CONSTRAINT small CHECK (n <= 5) NOT VALID",
    )
    migration.migrate()
    with in_snowflake(migration) as sides:
        found = {r.rule.name: r for r in sides.results() if r.rule.kind in ("check", "foreign-key")}
        assert {name: (r.verdict, r.violations, r.violations_source) for name, r in found.items()} == {
            "parent_fk": ("pass", 3, 3), "small": ("pass", 5, 5),
        }  # fmt: skip
        assert {r.why for r in found.values()} == {"the source breaks it itself"}
        with sides.spoilt('UPDATE "t" SET "parent" = 9, "n" = 7 WHERE "id" = 5'):
            worse = {r.rule.name: r for r in sides.results() if r.rule.declared and r.verdict == "fail"}
        assert {name: (r.violations, r.violations_source) for name, r in worse.items()} == {
            "parent_fk": (4, 3),
            "small": (6, 5),
        }
    # Should a constraint ever be misread, that is said, and nothing is judged by it.
    monkeypatch.setattr(declared, "read", lambda *_, **__: Compare("n", "<=", Constant("6", "number")))
    with in_snowflake(migration) as sides:
        (misread,) = [r for r in sides.results() if r.rule.kind == "check"]
    assert (misread.verdict, misread.why) == (
        "not checked", "not checked: its translation says something else of 1 of the source's rows",
    )  # fmt: skip


def test_a_table_or_column_that_the_target_lacks_keeps_no_rule(migration: Any) -> None:
    migration.source(*STAR)
    migration.migrate()
    migration.target('DROP TABLE "months"', 'ALTER TABLE "sales" DROP COLUMN "region"')
    migration.target(
        'ALTER TABLE "products" RENAME TO "old"',
        'CREATE TABLE "products" AS SELECT "product_key"::VARCHAR AS "product_key", "name", "category" FROM "old"',
    )
    with in_snowflake(migration) as sides:
        results = sides.results()
    why = {r.rule.id.removeprefix("public."): r.why for r in results if r.verdict == "fail"}
    assert {k: v for k, v in why.items() if k.startswith("months:")} == {
        rule.id.removeprefix("public."): "the target has no such table" for rule in sides.rules if rule.table == "public.months"
    }  # fmt: skip
    assert {k for k in why if k.startswith("sales:")} == {
        "sales:check:placed", "sales:null-share:region", "sales:accepted-values:region", "sales:foreign-key:sales_product_key_fkey",
    }  # fmt: skip
    assert why["products:range:product_key"] == "product_key is VARCHAR in the target"
    reference = {r.rule.name: (r.verdict, r.why) for r in results if r.rule.kind == "foreign-key"}
    assert reference["sales_product_key_fkey"] == (
        "fail", "product_key of public.products is VARCHAR in the target",
    )  # fmt: skip
    assert not data_quality.kept(results)


KEYS = (
    "CREATE TABLE keys (id int PRIMARY KEY, a int, b text, c int, gone boolean NOT NULL, cost numeric)",
    "CREATE UNIQUE INDEX together ON keys (a, b)",
    "CREATE UNIQUE INDEX alive ON keys (c) WHERE NOT gone",
    "CREATE UNIQUE INDEX folded ON keys (lower(b))",
    "CREATE UNIQUE INDEX nulls_too ON keys (cost) NULLS NOT DISTINCT",
    "CREATE EXTENSION IF NOT EXISTS btree_gist",
    "ALTER TABLE keys ADD CONSTRAINT apart EXCLUDE USING gist (a WITH =, int4range(c, c, '[]') WITH &&)",
    "INSERT INTO keys VALUES (1, 1, 'x', 5, false, NULL), (2, 2, NULL, 5, true, 1), (3, NULL, NULL, 6, true, 1.5), (4, NULL, 'y', 7, false, 2)",
    "CREATE TABLE whole (a int, b text, FOREIGN KEY (a, b) REFERENCES keys (a, b) MATCH FULL)",
    "INSERT INTO whole VALUES (1, 'x'), (NULL, NULL)",
    "CREATE TABLE parts (id int, month int, CHECK (id > 0)) PARTITION BY RANGE (month)",
    "CREATE TABLE parts_1 PARTITION OF parts (CONSTRAINT own CHECK (id < 100)) FOR VALUES FROM (1) TO (2)",
    "INSERT INTO parts VALUES (1, 1)",
)  # fmt: skip


def test_keys_of_every_kind_are_checked_or_named(migration: Any) -> None:
    migration.source(*KEYS)
    migration.migrate()
    with in_snowflake(migration) as sides:
        assert broken(sides.results()) == {}
        unchecked = {r.rule.name: r.why for r in sides.results() if r.verdict == "not checked"}
        assert set(unchecked) == {"folded", "apart", "parts_1.own"}
        assert "lower(b)" in unchecked["folded"]
        for statement, expected in (
            ("INSERT INTO \"keys\" VALUES (5, 1, 'x', 8, FALSE, 3)", {"keys:unique:together": ("fail", 1)}),
            ("INSERT INTO \"keys\" VALUES (5, NULL, NULL, 8, FALSE, 3)", {}),
            ("INSERT INTO \"keys\" VALUES (5, 2, 'z', 5, FALSE, 3)", {"keys:unique:alive": ("fail", 1)}),
            ("INSERT INTO \"keys\" VALUES (5, 2, 'z', 5, TRUE, 3)", {}),
            ("INSERT INTO \"keys\" VALUES (5, 2, 'z', 8, FALSE, NULL)", {"keys:unique:nulls_too": ("fail", 1)}),
            ("INSERT INTO \"whole\" VALUES (1, NULL)", {"whole:foreign-key:whole_a_b_fkey": ("fail", 1)}),
            ("INSERT INTO \"whole\" VALUES (9, 'x')", {"whole:foreign-key:whole_a_b_fkey": ("fail", 1)}),
            ("INSERT INTO \"parts\" VALUES (0, 1)", {"parts:check:parts_id_check": ("fail", 1)}),
        ):  # fmt: skip
            with sides.spoilt(statement):
                results = [result for result in sides.results() if result.rule.declared]
            assert broken(results) == expected, statement


STRANGE = (
    'CREATE SCHEMA "Odd ""x"" Schema"',
    """CREATE TABLE "Odd ""x"" Schema"."sélect 'é" ("order" bigint, "Group By" varchar(10) NOT NULL, "q""uote" text CHECK ("q""uote" <> ''),
        "日本 語" numeric, PRIMARY KEY ("order", "Group By"))""",
    """INSERT INTO "Odd ""x"" Schema"."sélect 'é" VALUES (1, 'a', E'x\\ny', 1.10), (1, 'b', 'a\\b''', -12345678901234567890.123456789)""",
    "CREATE TABLE nothing (id int PRIMARY KEY, note text, day date, amount numeric)",
    "CREATE TABLE no_columns ()",
    "INSERT INTO no_columns DEFAULT VALUES",
    "CREATE TABLE all_null (a int, b text, c date, d timestamptz, e float8, f numeric, g boolean, h bytea, i jsonb, j int[])",
    "INSERT INTO all_null DEFAULT VALUES",
    "INSERT INTO all_null DEFAULT VALUES",
    "CREATE TABLE floats (a float8, b real)",
    "INSERT INTO floats VALUES ('NaN', 'NaN'), ('Infinity', '-Infinity'), (-0.0, 1e-45), (1.7976931348623157e308, 3.4028235e38), (5e-324, NULL)",
    "CREATE TABLE huge (a numeric, b numeric(38,0), c numeric(38,37), d bigint)",
    """INSERT INTO huge VALUES (99999999999999999999999999999999999999, 99999999999999999999999999999999999999,
        9.9999999999999999999999999999999999999, -9223372036854775808), (-1, -99999999999999999999999999999999999999, -0.0000000000000000000000000000000000001, 1)""",
    "CREATE TABLE texts (same text, long text, mixed text COLLATE \"C\")",
    "INSERT INTO texts SELECT 'x', repeat('y', 100000), chr(97 + n % 3) || CASE WHEN n % 2 = 0 THEN ' ' ELSE '' END FROM generate_series(1, 60) n",
    "CREATE DOMAIN outer_domain AS text CHECK (VALUE <> 'no') NOT NULL",
    "CREATE TYPE pair AS (a int, b int)",
    "CREATE TABLE kinds (a outer_domain, b pair, c int4range, d interval, e uuid, f time, g inet, h money, i oid, j \"char\", k xml)",
    "INSERT INTO kinds VALUES ('yes', '(1,2)', '[1,2)', '1 mon', '00000000-0000-0000-0000-000000000001', '23:59', '::1', '1', 4000000000, 'x', NULL)",
)  # fmt: skip


def test_strange_tables_have_rules_and_keep_them(migration: Any) -> None:
    migration.source(*(s.replace(", k xml)", ")").replace(", 'x', NULL)", ", 'x')") for s in STRANGE))
    migration.migrate()
    for side in (in_snowflake, in_stage, in_postgres):
        with side(migration) as sides:
            assert broken(sides.results()) == {}, side.__name__
            by_id = {rule.id: rule for rule in sides.rules}
            assert by_id["public.floats:range:a"].words == "a is between 0 and NaN"
            assert not any(rule.table == "public.nothing" and not rule.declared for rule in sides.rules)
            assert "public.texts:accepted-values:long" not in by_id
            assert by_id["public.texts:accepted-values:mixed"].words.startswith("mixed is one of 'a', 'a ', 'b'")
    with in_snowflake(migration) as sides:
        for statement, expected in (
            ("""UPDATE "huge" SET "c" = 9.9999999999999999999999999999999999998 WHERE "d" = 1""", {}),
            ('UPDATE "huge" SET "c" = -0.0000000000000000000000000000000000002 WHERE "d" = 1', {"huge:range:c": ("warn", 1)}),
            ('UPDATE "huge" SET "b" = 0 WHERE "d" = 1', {}),
            ('UPDATE "floats" SET "b" = NULL', {"floats:null-share:b": ("warn", 4)}),
            ("UPDATE \"all_null\" SET \"b\" = ''", {"all_null:null-share:b": ("warn", 2)}),
            ("INSERT INTO \"nothing\" VALUES (1, NULL, NULL, NULL), (1, NULL, NULL, NULL)", {"nothing:unique:nothing_pkey": ("fail", 1)}),
            ("UPDATE \"texts\" SET \"mixed\" = 'a  ' WHERE \"mixed\" = 'a '", {"texts:accepted-values:mixed": ("warn", 10)}),
        ):  # fmt: skip
            with sides.spoilt(statement):
                assert broken(sides.results()) == expected, statement


POLICIES = {
    "public.readings.value": "null+flag",
    "public.readings.at": {"sentinel": "9999-12-31"},
    "public.readings.precise": "text",
    "public.moments.at": "null+flag",
}


def test_values_that_a_policy_replaced_break_no_rule_and_others_still_do(migration: Any) -> None:
    values = migration.settings.values
    own = values.model_copy(update={"export": Export(policies=POLICIES)})
    migration.settings = Settings("local", migration.settings.file, own)
    migration.source(
        "CREATE TABLE moments (at timestamptz UNIQUE)",
        "INSERT INTO moments SELECT timestamptz '2024-01-01' + n * interval '1 hour' FROM generate_series(1, 20) n",
        "INSERT INTO moments VALUES ('infinity'), ('-infinity')",
        """CREATE TABLE readings (id int PRIMARY KEY, value numeric NOT NULL CHECK (value > 0),
           at timestamptz NOT NULL UNIQUE REFERENCES moments (at), precise numeric)""",
        "INSERT INTO readings SELECT n, n, timestamptz '2024-01-01' + n * interval '1 hour', n / 7.0 FROM generate_series(1, 20) n",
        "INSERT INTO readings VALUES (21, 'NaN', 'infinity', 'NaN'), (22, 'Infinity', '-infinity', 1)",
    )
    migration.migrate()
    for side in (in_snowflake, in_stage):
        with side(migration) as sides:
            results = sides.results()
            assert broken(results) == {}, side.__name__
            unchecked = {r.rule.name: r.why for r in results if r.verdict == "not checked"}
            assert unchecked == {"precise": "not checked: precise travels as text"}
            words = {rule.id.removeprefix("public.readings:"): rule.words for rule in sides.rules}
            assert words["range:value"] == "value is between 1 and 20"
            assert words["range:at"] == "at is between 2024-01-01 01:00:00+00 and 2024-01-01 20:00:00+00"
    with in_snowflake(migration) as sides:
        for statement, expected in (
            ('UPDATE "readings" SET "value" = NULL WHERE "id" = 3', {"readings:not-null:value": ("fail", 1)}),
            ('UPDATE "readings" SET "value__original" = NULL WHERE "id" = 21', {"readings:not-null:value": ("fail", 1)}),
            ('UPDATE "readings" SET "value" = -1 WHERE "id" = 3', {"readings:check:readings_value_check": ("fail", 1), "readings:range:value": ("warn", 1)}),
            ("""UPDATE "readings" SET "at" = '9999-12-31 00:00:00+00:00' WHERE "id" = 3""", {"readings:range:at": ("warn", 1), "readings:foreign-key:readings_at_fkey": ("fail", 1)}),
        ):  # fmt: skip
            with sides.spoilt(statement):
                assert broken(sides.results()) == expected, statement
