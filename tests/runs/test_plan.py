"""A rehearsal says what would change, and changes nothing.

Would catch: a plan that names another action than the load then takes, a table that is dropped and not announced, counts that
are not the source's, a refusal that a rehearsal passes over, a rehearsal that writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from run_support import own_project

from helpers import load
from helpers.errors import SourceRefused, TargetRefused, UsageError
from helpers.ledger import folders
from helpers.ledger.ledger import Entry, Ledger
from helpers.phases.p30_data_migration.migration import DataMigration
from helpers.platforms import snowflake
from helpers.platforms.delta import Lake, storage_options

PHASE = "30_data_migration"


@pytest.fixture
def planned(migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rehearses export and loads as an attempt; gives the tables of the three plans, and the ledger's lines."""
    own_project(tmp_path, migration)
    monkeypatch.chdir(tmp_path)

    def rehearsed(*, apply: bool = False) -> tuple[Any, Any, Any, list[Entry]]:
        attempt = folders.open_attempt(tmp_path / "outputs", "r", PHASE)
        for name, value in attempt.environment().items():
            monkeypatch.setenv(name, value)
        phase = DataMigration("local", [], apply=apply)
        try:
            phase.survey()
            export = phase.export()
            token = phase.check_stage()
            loads = phase.load(token), phase.load_databricks(token)
            return export, *loads, Ledger.open(tmp_path / "outputs" / "r").entries()
        finally:
            phase.close()

    return rehearsed


def test_what_would_change_is_said_and_nothing_changes(migration: Any, planned: Any, capsys: Any) -> None:
    lake = Lake.open(migration.settings.databricks, migration.settings.stage)
    migration.source(
        "CREATE TABLE a (id int PRIMARY KEY, v text)",
        "INSERT INTO a SELECT n, repeat('x', 500) FROM generate_series(1, 1000) n",
        "CREATE TABLE gone AS SELECT 1 AS n",
        "CREATE TABLE other AS SELECT n FROM generate_series(1, 7) n",
    )
    export, loaded, delta, entries = planned()
    told = capsys.readouterr().out

    assert dict(export["rows"]) == {"public.a": 1000, "public.gone": 1, "public.other": 7}
    assert export.loc["public.a", "bytes to read"] > 500_000
    (pages,) = migration.source("SELECT pg_relation_size('a') / current_setting('block_size')::int")[0]
    assert export.loc["public.a", "pages to read"] == pages
    assert dict(loaded["action"]) == {"public.a": "create", "public.gone": "create", "public.other": "create"}
    assert (
        f"PLAN s30-export: write Parquet files and a manifest to {migration.bucket.location}; nothing is there yet"
        in told
    )
    assert "1,008 rows" in told
    assert dict(delta["action"]) == dict(loaded["action"])
    assert told.count("cost: not estimated on a stand-in") == 3
    assert (
        f"{migration.settings.databricks.schema_} (pysail, the local stand-in for Databricks), each table in one commit"
        in told
    )
    assert migration.settings.snowflake.schema_ in told
    assert {e.event for e in entries} == {"step-planned"}
    results = {e.get("step"): e.get("result") for e in entries}
    assert (results["s30-load-databricks"]["rows"], results["s30-load-databricks"]["to_create"]) == (1008, 3)
    assert (results["s30-load"]["rows"], results["s30-load"]["to_create"], results["s30-load"]["to_drop"]) == (
        1008,
        3,
        0,
    )
    assert not migration.bucket.sizes()
    assert not lake.tables()

    manifest = migration.migrate()
    load.load(load.plan_load(manifest, migration.bucket, migration.settings.databricks))
    before, rows = migration.bucket.sizes(), migration.target('SELECT COUNT(*) FROM "other"')
    files = lake.bucket.sizes()
    migration.source("DROP TABLE gone", "ALTER TABLE a ADD COLUMN w int", "DELETE FROM other WHERE n > 5")
    _, loaded, delta, entries = planned()
    told = capsys.readouterr().out
    expected = {
        "public.a": "replace the table: it lacks w",
        "public.other": "replace the rows",
        "(not among those that move)": "drop",
    }
    altered = expected | {"public.a": "alter the table: it lacks w"}
    assert (dict(loaded["action"]), dict(delta["action"])) == (altered, expected)
    assert dict(loaded["target object"])["(not among those that move)"] == "gone"
    assert "is replaced" in told
    again = {e.get("step"): e.get("result") for e in entries[-len(results) :]}
    assert (again["s30-load"]["to_create"], again["s30-load"]["to_replace"], again["s30-load"]["to_drop"]) == (0, 2, 1)
    assert again["s30-load"]["plan_sha256"] != results["s30-load"]["plan_sha256"]
    assert (migration.bucket.sizes(), migration.target('SELECT COUNT(*) FROM "other"')) == (before, rows)
    assert lake.bucket.sizes() == files

    found = load.plan_load(migration.export(), migration.bucket, migration.settings.snowflake)
    assert {str(t.staged): t.action for t in found.tables} | {"(not among those that move)": "drop"} == altered
    assert [table.name for table in found.stale] == ["gone"]


def test_a_table_of_others_stops_a_run_before_the_export(migration: Any, planned: Any) -> None:
    migration.source("CREATE TABLE customer (id int)")
    own = migration.settings.snowflake
    with snowflake.connect(own) as session:
        session.execute(f"CREATE SCHEMA {snowflake.identifier(own.database, own.schema_)}", doing="be its owner")
    migration.target('CREATE TABLE "customer" ("only" VARCHAR)', "INSERT INTO \"customer\" VALUES ('our only copy')")
    for apply in (False, True):
        with pytest.raises(TargetRefused, match="no load of ours made customer"):
            planned(apply=apply)
    migration.target('DROP TABLE "customer"')
    rows = pa.table({"id": pa.array([9], pa.int32())})
    lake = Lake.open(migration.settings.databricks, migration.settings.stage)
    write_deltalake(lake.location("customer"), rows, storage_options=storage_options(migration.settings.stage))
    for apply in (False, True):
        with pytest.raises(TargetRefused, match="no load of ours made customer"):
            planned(apply=apply)
    assert not migration.bucket.sizes()


def test_what_would_be_refused_is_refused(migration: Any, planned: Any) -> None:
    migration.source("CREATE TABLE a (d date)", "INSERT INTO a VALUES ('infinity')")
    with pytest.raises(SourceRefused, match="infinity"):
        planned()


def test_what_any_target_would_refuse_is_said_before_the_export(migration: Any, planned: Any) -> None:
    """All of it at once: of names, of the values, and of what lies in the target."""
    migration.source("CREATE TABLE t (id int)", "CREATE TABLE b (id int)")
    migration.migrate()
    migration.source(
        'CREATE TABLE "Odd Name; x" (id int)', "CREATE SCHEMA other", "CREATE TABLE other.t (d date)",
        "INSERT INTO other.t VALUES ('infinity')",
    )  # fmt: skip
    with pytest.raises(SourceRefused) as caught:
        planned()
    said = str(caught.value)
    assert all(
        word in said
        for word in ("infinity", "Odd Name; x: Spark's own catalog", "other.t and public.t: both", "--exclude")
    )
    migration.source('DROP TABLE "Odd Name; x", other.t')
    migration.target('DROP TABLE "b"', 'CREATE VIEW "b" AS SELECT * FROM "t"')
    with pytest.raises(UsageError, match="a view of that name"):
        planned()
