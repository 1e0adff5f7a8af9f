"""Rules and figures of Delta tables are those of the same rows in Snowflake, by DuckDB over the files and by Spark itself.

Would catch: a constant that Spark reads otherwise, a fault planted in a Delta table that no rule or figure shows, a file of the
log that is not read, a sum of decimals that Spark rounds, a query that only DuckDB understands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from deltalake import DeltaTable
from quality_support import STAR, Sides, broken, in_delta, in_snowflake
from test_verify_delta import _change, _lake, _load, _session

from helpers.engines.answers import AnswersOf
from helpers.engines.delta.rows import SparkSide
from helpers.platforms.delta import storage_options
from helpers.verify.data_quality import RuleResult

KINDS = (
    "CREATE TABLE kinds (id int PRIMARY KEY, wide numeric(38,10), fine numeric(38,30) CHECK (fine < 1.5), at timestamp, clock time, "
    "flag boolean CHECK (flag OR id > 2), day date CHECK (day >= '2024-01-01'), raw bytea, twice float8 CHECK (twice <> 'NaN'), "
    "CHECK (length(note) < 9), note text)",
    "INSERT INTO kinds VALUES (1, -1234567890123456789012345678.0123456789, -0.000000000000000000000000000001, "
    "'2024-02-29 12:00', '23:59:59.999999', true, '2024-01-01', '\\x00ff', 1e300, 'it''s \\'), "
    "(2, 9999999999999999999999999999.9999999999, 1.25, '2024-03-01', '00:00', true, '2024-12-31', NULL, -0.1, 'é'), "
    "(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'Infinity', NULL), (4, -0.5, -7.5, '2024-03-31 23:59:59.999999', NULL, false, NULL, '', 0, '')",
)

EVERY = {"rows", "amount", "sold", "price", "weight"}
SPOILS: tuple[tuple[str, dict[str, tuple[str, int]], set[str]], ...] = (
    ("INSERT INTO sales SELECT * FROM sales WHERE sale_id IN (8, 9)", {"sales:unique:sales_pkey": ("fail", 2)}, EVERY),
    ("DELETE FROM products WHERE product_key = 5", {"sales:foreign-key:sales_product_key_fkey": ("fail", 109)}, {"rows"}),
    (
        "UPDATE sales SET sold_at = TIMESTAMP'2031-01-01 00:00:00Z', region = 'north' WHERE sale_id IN (4, 8)",
        {"sales:range:sold_at": ("warn", 2), "sales:accepted-values:region": ("warn", 2), "sales:check:placed": ("fail", 2)}, EVERY,
    ),
    ("UPDATE sales SET price = 0.49 WHERE sale_id = 7", {"sales:check:priced": ("fail", 1), "sales:range:price": ("warn", 1)}, {"price"}),
    ("UPDATE sales SET weight = CAST('NaN' AS DOUBLE), amount = amount + 0.000001 WHERE sale_id = 600",
     {"sales:range:weight": ("warn", 1), "sales:range:amount": ("warn", 1)}, {"weight", "amount"}),
    ("UPDATE kinds SET fine = 1.5, flag = false WHERE id = 1", {"kinds:check:kinds_fine_check": ("fail", 1), "kinds:check:kinds_check": ("fail", 1),
     "kinds:range:fine": ("warn", 1)}, {"fine"}),
    ("UPDATE kinds SET wide = wide + 0.0000000001, day = DATE'2023-12-31' WHERE id = 1",
     {"kinds:check:kinds_day_check": ("fail", 1), "kinds:range:day": ("warn", 1)}, {"wide"}),
)  # fmt: skip
"""What is done to the Delta tables, the rules that this breaks with their counts, and the measures that differ."""


@contextmanager
def _through_spark(migration: Any) -> Iterator[Sides]:
    with in_delta(migration) as sides, ExitStack() as stack:
        plans = list(sides.target._plans.values())  # type: ignore[attr-defined]
        side = SparkSide(
            stack.enter_context(_session(migration)), migration.settings.databricks, [p.there for p in plans]
        )
        sides.target = AnswersOf(side, plans)
        yield sides


WAYS = {"duckdb": in_delta, "spark": _through_spark}


def _judged(results: tuple[RuleResult, ...]) -> dict[str, tuple[str, int | None, int | None]]:
    return {r.rule.id: (r.verdict, r.violations, r.violations_source) for r in results}


@pytest.mark.parametrize("way", WAYS)
def test_a_migration_to_delta_keeps_the_rules_and_has_the_figures_of_one_to_snowflake(migration: Any, way: str) -> None:
    migration.source(*STAR, *KINDS)
    _load(migration)
    migration.migrate()
    with in_snowflake(migration) as sides:
        expected, figures = _judged(sides.results()), sides.figures()
    with WAYS[way](migration) as sides:
        assert broken(sides.results()) == {}
        assert _judged(sides.results()) == expected
        found = sides.figures()
    assert (found.equal, figures.equal) == (True, True)
    for mine, theirs in zip(found.tables, figures.tables, strict=True):
        assert mine.measures == theirs.measures
        assert mine.dimensions == theirs.dimensions
        assert [f.as_dict()["target"]["sum"] for f in mine.figures if f.target] == [
            f.as_dict()["target"]["sum"] for f in theirs.figures if f.target
        ]  # fmt: skip
    assert bool(found.traits) == (way == "spark")


@pytest.mark.parametrize("way", WAYS)
def test_each_fault_planted_in_a_delta_table_breaks_its_rule_and_its_figures(migration: Any, way: str) -> None:
    migration.source(*STAR, *KINDS)
    _load(migration)
    lake = _lake(migration)
    for statement, expected, measures in SPOILS if way == "duckdb" else SPOILS[3:]:
        name = statement.split()[1 if statement.startswith("UPDATE") else 2]
        table = DeltaTable(lake.location(name), storage_options=storage_options(lake.bucket.stage))
        before = table.version()
        _change(migration, statement)
        with WAYS[way](migration) as sides:
            results = sides.results()
            assert broken(results) == expected, statement
            assert {
                f.measure for t in sides.figures().tables for f in t.differences if t.table == f"public.{name}"
            } == measures, statement
            broke = [r for r in results if r.verdict == "fail"]
            assert all(r.examples for r in broke), statement
        table.update_incremental()
        table.restore(before)


def test_the_command_checks_delta_tables(migration: Any, migration_toml: Any, runbook: Any) -> None:
    import json

    migration.source(*STAR)
    _load(migration)
    folder = migration_toml(migration.profile).parent
    arguments = ("verify", "--target", "databricks", "--check", "data-quality", "--json")
    done = runbook(*arguments, folder=folder)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "equal")
    _change(migration, "UPDATE sales SET via = 'fax' WHERE sale_id = 7")
    done = runbook(*arguments, folder=folder)
    found = json.loads(done.stdout)
    assert (done.returncode, found["verdict"]) == (1, "different")
    assert {t["name"]: t["verdict"] for t in found["tables"]}["sales"] == "different"


def test_a_delta_table_or_column_that_is_gone_keeps_no_rule(migration: Any) -> None:
    migration.source(*STAR)
    _load(migration)
    _lake(migration).remove("months")
    table = DeltaTable(
        _lake(migration).location("calendar"), storage_options=storage_options(_lake(migration).bucket.stage)
    )
    _change(
        migration,
        f"CREATE OR REPLACE TABLE calendar (date_key INT) USING DELTA LOCATION '{_lake(migration).location('calendar')}'",
    )
    del table
    with in_delta(migration) as sides:
        why = {r.rule.id.removeprefix("public."): r.why for r in sides.results() if r.verdict == "fail"}
        assert why["months:unique:months_pkey"] == "the target has no such table"
        assert why["calendar:unique:calendar_day_key"] == "the target has no column day"
        lacking = {t.table: t.lacking for t in sides.figures().tables}
    assert lacking["public.months"] == ("the target has no such table",)
