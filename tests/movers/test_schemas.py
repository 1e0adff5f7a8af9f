"""Several schemas in one migration: each into one of its own, or folded into one by a pattern, for every target alike.

Would catch: two tables of one name that overwrite one another, a table that is verified where it was not loaded, one that
nobody drops when its schema goes, somebody else's table in another schema that is replaced, a clash that shows after the export.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from helpers import export as exporting
from helpers import load as loading
from helpers import verify as verifying
from helpers.engines.snowflake import records
from helpers.errors import SourceRefused, TargetRefused
from helpers.load import beforehand
from helpers.local import stack
from helpers.model.places import TargetTable, place
from helpers.platforms import snowflake
from helpers.platforms.delta import Lake, storage_options
from helpers.settings import Tables
from helpers.verify.about import About

SCHEMAS = ("catalogue", "loans", "members")
SOURCE = (
    *(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.item (id int PRIMARY KEY, name varchar(20)); "
        f"INSERT INTO {schema}.item SELECT n, '{schema} ' || n FROM generate_series(1, {number}) n; "
        f"COMMENT ON TABLE {schema}.item IS 'of {schema}'"
        for number, schema in enumerate(SCHEMAS, 1)
    ),
    "CREATE TABLE loans.loan (id int PRIMARY KEY, item int REFERENCES catalogue.item, member int REFERENCES members.item)",
    "INSERT INTO loans.loan VALUES (1, 1, 3), (2, NULL, 2)",
)
PATTERNS = {
    "own": {"schema": "{schema}"},
    "folded": {"name": "{schema}_{table}"},
    "both": {"schema": "lib_{schema}", "name": "t_{table}", "match": {"members.item": {"schema": "PEOPLE", "name": "person"}}},
}  # fmt: skip


def _with(migration: Any, **tables: Any) -> None:
    values = migration.settings.values.model_copy(update={"tables": Tables.model_validate(tables)})
    migration.settings = replace(migration.settings, values=values)


@pytest.fixture
def alone() -> Iterator[None]:
    """The targets' schemas have the names of the source's: another worker waits, where it runs these tests too."""
    with (stack.home() / "schemas.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def library(migration: Any, alone: None) -> Iterator[Any]:
    """Three schemas with a table of the same name in each; the targets' schemas are this test's own."""
    migration.source(*SOURCE, "DROP SCHEMA IF EXISTS public")
    yield migration
    own = migration.settings
    names = {*SCHEMAS, *(f"lib_{schema}" for schema in SCHEMAS), "PEOPLE", "other"}
    with snowflake.connect(own.snowflake) as session:
        for name in names:
            schema = snowflake.identifier(own.snowflake.database, name)
            session.execute(f"DROP SCHEMA IF EXISTS {schema}", doing="clean up")
    for name in names:
        lake = Lake.open(own.databricks, own.stage, name)
        lake.bucket.remove(list(lake.bucket.sizes()))


def _places(migration: Any, own: str) -> list[TargetTable]:
    tables = migration.settings.tables
    moved = [*((schema, "item") for schema in SCHEMAS), ("loans", "loan")]
    return sorted(place(tables, schema, name, own) for schema, name in moved)


def _in_snowflake(migration: Any) -> list[TargetTable]:
    """What the target really has, but for the records beside it."""
    target = migration.settings.snowflake
    with snowflake.connect(target) as session:
        rows = session.execute(
            f"SELECT TABLE_SCHEMA AS S, TABLE_NAME AS N FROM {snowflake.identifier(target.database)}.INFORMATION_SCHEMA.TABLES",
            doing="look",
        )
    known = {*SCHEMAS, *(f"lib_{schema}" for schema in SCHEMAS), "PEOPLE", "other", target.schema_}
    return sorted(TargetTable(row["S"], row["N"]) for row in rows if row["S"] in known)


def _load(migration: Any, manifest: Any, target: str) -> loading.LoadPlan:
    plan = loading.plan_load(manifest, migration.bucket, migration.settings.target(target))
    loading.load(plan)
    return plan


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("target", ["snowflake", "databricks"])
def test_tables_of_one_name_in_three_schemas_are_loaded_and_found_equal(
    library: Any, target: str, pattern: str
) -> None:
    migration = library
    _with(migration, **PATTERNS[pattern])
    manifest = migration.export()
    assert len({manifest.lsn}) == 1
    plan = _load(migration, manifest, target)
    wanted = _places(migration, migration.settings.target(target).schema_)
    assert sorted(table.target for table in plan.tables) == wanted
    if target == "snowflake":
        assert _in_snowflake(migration) == wanted
    report = migration.verify(target)
    assert (report.verdict, {str(t): t.rows_target for t in report.tables}) == (
        "equal", {"catalogue.item": 1, "loans.item": 2, "members.item": 3, "loans.loan": 2},
    )  # fmt: skip
    # Comments and keys too, of which two refer to tables of one name in other schemas.
    assert not [finding for t in report.tables for finding in t.schema_findings]
    again = loading.plan_load(manifest, migration.bucket, migration.settings.target(target))
    assert {table.way for table in again.tables} == {"rows"}
    assert not again.stale


@pytest.mark.parametrize("target", ["snowflake", "databricks"])
def test_what_is_no_more_is_dropped_wherever_it_lay_and_nothing_of_others_is_touched(library: Any, target: str) -> None:
    """A pattern that changes moves the tables; a schema that the source has no more leaves no table behind."""
    migration = library
    own = migration.settings.target(target).schema_
    _with(migration, schema="{schema}")
    _load(migration, migration.export(), target)
    migration.source("DROP SCHEMA catalogue CASCADE")
    plan = _load(migration, migration.export(), target)
    assert plan.stale == (TargetTable("catalogue", "item"),)
    _with(migration, name="{schema}_{table}")
    plan = _load(migration, migration.export(), target)
    assert sorted(plan.stale) == [("loans", "item"), ("loans", "loan"), ("members", "item")]
    assert migration.verify(target).verdict == "equal"
    assert {table.target.schema for table in plan.tables} == {own}
    if target == "snowflake":
        assert _in_snowflake(migration) == sorted(table.target for table in plan.tables)
        with snowflake.connect(migration.settings.snowflake) as session:
            theirs = snowflake.identifier(migration.settings.snowflake.database, "other")
            session.execute(f"CREATE SCHEMA {theirs}", doing="be its owner")
            session.execute(f'CREATE TABLE {theirs}."item" ("only" VARCHAR)', doing="be its owner")
    else:
        lake = Lake.open(migration.settings.databricks, migration.settings.stage, "other")
        write_deltalake(
            lake.location("item"), pa.table({"only": ["x"]}), storage_options=storage_options(migration.settings.stage)
        )
    _with(migration, name="{schema}_{table}", match={"members.item": {"schema": "other", "name": "item"}})
    with pytest.raises(TargetRefused, match=r"no load of ours made other\.item \(a table\)"):
        _load(migration, migration.export(), target)


def test_a_copy_in_postgresql_is_looked_for_where_the_patterns_put_it(library: Any) -> None:
    migration = library
    _with(migration, schema="copy", name="{schema}_{table}")
    migration.source("CREATE SCHEMA copy")
    for schema, name in (("catalogue", "item"), ("loans", "item"), ("members", "item"), ("loans", "loan")):
        migration.source(
            f"CREATE TABLE copy.{schema}_{name} (LIKE {schema}.{name} INCLUDING ALL)",
            f"INSERT INTO copy.{schema}_{name} SELECT * FROM {schema}.{name}",
        )
    for column, schema in (("item", "catalogue"), ("member", "members")):
        migration.source(f"ALTER TABLE copy.loans_loan ADD FOREIGN KEY ({column}) REFERENCES copy.{schema}_item")
    source = migration.settings.source.model_copy(update={"schemas": SCHEMAS})
    target = migration.settings.source.model_copy(update={"schemas": ("copy",)})
    migration.settings = migration.settings.with_source(source)
    for check in ("full", "schema", "data-quality"):
        report = migration.verify("postgresql", target_source=target, check=check)
        assert (report.verdict, len(report.tables)) == ("equal", 4), check
        assert check == "data-quality" or not [
            f for t in report.tables for f in t.schema_findings if f.name != "comment-changed"
        ]
    migration.source("UPDATE copy.loans_item SET name = 'other' WHERE id = 2")
    report = migration.verify("postgresql", target_source=target)
    assert {str(t) for t in report.tables if t.verdict != "equal"} == {"loans.item"}


def test_a_clash_is_refused_by_the_survey_and_the_pattern_that_ends_it_is_named(library: Any) -> None:
    """Before anything is exported: by the survey of an export, by `assess --census` and by `load --plan`."""
    migration = library

    def refusals() -> list[Any]:
        def objections(planned: Any) -> Any:
            return beforehand.refused_by_all(migration.settings, planned, warn=lambda line: None)

        with exporting.planned(migration.settings, objections=objections) as plan:
            if plan.refused:
                with pytest.raises(SourceRefused):
                    exporting.export(plan)
            return list(plan.names)

    found = refusals()
    assert {each.on for each in found} == {"catalogue.item and loans.item and members.item"}
    assert all('schema = "{schema}"' in each.cure and 'name = "{schema}_{table}"' in each.cure for each in found)
    # Folding makes a clash of its own, and on a catalog that folds case another.
    migration.source(
        "CREATE SCHEMA a", "CREATE SCHEMA a_b", "CREATE TABLE a.b_c (id int)", "CREATE TABLE a_b.c (id int)"
    )
    _with(migration, name="{schema}_{table}")
    found = refusals()
    assert {(each.on, 'tables.match."a_b.c"]' in each.cure) for each in found} == {("a.b_c and a_b.c", True)}
    _with(migration, name="{schema}_{table}", match={"a_b.c": {"name": "LOANS_Item"}})
    by_target = beforehand.refusals_by_target(migration.settings, exporting_state(migration))
    assert [[each.on for each in found] for found in by_target.values()] == [[], ["a_b.c and loans.item"]]
    _with(migration, name="{schema}_{table}", match={"a_b.c": {"schema": "Odd Schema"}})
    by_target = beforehand.refusals_by_target(migration.settings, exporting_state(migration))
    assert [[each.on for each in found] for found in by_target.values()] == [[], ["schema 'Odd Schema' of the target"]]


def exporting_state(migration: Any) -> Any:
    with exporting.planned(migration.settings) as plan:
        return plan.state.tables


def test_a_later_pattern_counts_and_data_quality_and_one_table_know_the_place(library: Any) -> None:
    """The stage was exported under other names: the profile decides at the load, and the verification looks there."""
    migration = library
    manifest = migration.export()
    _with(migration, schema="{schema}", match={"members.item": {"schema": "PEOPLE", "name": "person"}})
    manifest = manifest.placed(migration.settings.tables)
    plan = loading.plan_load(manifest, migration.bucket, migration.settings.snowflake, table="person")
    assert [table.target for table in plan.tables] == [("PEOPLE", "person")]
    _load(migration, manifest, "snowflake")
    report = migration.verify(check="data-quality")
    assert (report.verdict, len(report.tables)) == ("equal", 4)
    with snowflake.connect(migration.settings.snowflake) as session:
        table = snowflake.identifier(migration.settings.snowflake.database, "PEOPLE", "person")
        session.execute(f'DELETE FROM {table} WHERE "id" = 2', doing="spoil it")
    report = migration.verify()
    assert {str(t): t.missing for t in report.tables if t.verdict != "equal"} == {"members.item": 1}
    with verifying.planned(migration.settings, target="snowflake") as plan:
        about = About.from_plan(plan)
    assert "members.item is named person in the target." in about.settings
    assert "Tables of the schema members are in the target's schema PEOPLE." in about.settings


def test_records_of_an_older_version_are_still_ours(migration: Any) -> None:
    """Would catch: an upgrade after which the customer's own migrated tables are taken for somebody else's."""
    migration.source("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)", "CREATE TABLE u (id int)")
    migration.migrate()
    place = records.place(migration.settings.snowflake)
    migration.target(f"ALTER TABLE {place} DROP COLUMN TABLE_SCHEMA")
    migration.source("DROP TABLE u", "INSERT INTO t VALUES (2)")
    plan = _load(migration, migration.export(), "snowflake")
    assert ([table.way for table in plan.tables], [table.name for table in plan.stale]) == (["rows"], ["u"])
    assert migration.verify().verdict == "equal"
    rows = migration.target(f"SELECT COUNT(*) FROM {place} WHERE TABLE_NAME = 't'")
    assert rows == [(1,)]
