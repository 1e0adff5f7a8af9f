"""A table that fails is set aside with its reason, and the others go on; it follows in the same snapshot, or not at all.

Would catch: one locked table that stops a migration of seventy, a failed table that no list names, a manifest of two LSNs, a
table that is dropped from the target because it could not be exported, a verdict that says equal without it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import PROJECT
from helpers import export as exporting
from helpers import load as loading
from helpers.errors import LoadError, SourceRefused
from helpers.model import manifest as manifests
from helpers.platforms import postgres
from helpers.settings import Export, Tables
from helpers.source import held_snapshots

SOURCE = (
    "CREATE TABLE good (id int PRIMARY KEY, v text)",
    "INSERT INTO good SELECT n, 'v' || n FROM generate_series(1, 20) n",
    "CREATE TABLE endless (id int PRIMARY KEY, day date)",
    "INSERT INTO endless VALUES (1, '2024-01-01'), (2, 'infinity')",
    "CREATE TABLE busy (id int PRIMARY KEY REFERENCES good)",
    "INSERT INTO busy VALUES (1), (2)",
    "CREATE TABLE other (id int PRIMARY KEY)",
    "INSERT INTO other VALUES (7)",
)
POLICY = {"policies": {"public.endless.day": "null+flag"}}


def _with(migration: Any, **export: Any) -> None:
    options = Export.model_validate({"lock_timeout_seconds": 0.3, "workers": 2} | export)
    migration.settings = replace(
        migration.settings, values=migration.settings.values.model_copy(update={"export": options})
    )


@contextmanager
def _locked(migration: Any, table: str, *, at_once: bool = False) -> Iterator[None]:
    """Somebody else holds a lock that nobody reads through, from the next snapshot on, where not `at_once`."""
    with closing(postgres.connect(migration.settings.source, settings={"search_path": "public"})) as connection:

        def lock() -> None:
            connection.cursor().execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

        if at_once:
            lock()
            yield
        else:
            with migration.once_a_snapshot_is_taken(lock):
                yield


def _files(migration: Any, table: str) -> list[str]:
    return [path for path in migration.bucket.sizes() if f"/public.{table}/0" in path]


@pytest.fixture
def run(migration: Any, tmp_path: Path, runbook: Callable[..., Any]) -> Iterator[Callable[..., tuple[int, Any]]]:
    """The commands of one run, with the profile as it is at the moment of each."""
    name = migration.name

    def called(*arguments: str) -> tuple[int, Any]:
        policies = "".join(f'\n"{k}" = "{v}"' for k, v in migration.settings.export.policies.items())
        options = f"[profiles.local.export]\nlock_timeout_seconds = 0.3\n[profiles.local.export.policies]{policies}\n"
        (tmp_path / "migration.toml").write_text(migration.profile + options)
        done = runbook(*arguments, "--run", name, "--json", folder=tmp_path)
        return done.returncode, json.loads(done.stdout)

    yield called
    for held in held_snapshots.held(name):
        held_snapshots.release(held)
    shutil.rmtree(PROJECT / "outputs" / name, ignore_errors=True)


def test_a_run_goes_on_without_what_fails_and_takes_it_up_in_the_same_snapshot(migration: Any, run: Any) -> None:
    migration.source(*SOURCE)
    _with(migration)
    with _locked(migration, "busy"):
        code, exported = run("export")
        assert (code, set(exported["set_aside"]), [t["name"] for t in exported["tables"]]) == (
            1, {"public.busy", "public.endless"}, ["good", "other"],
        )  # fmt: skip
        assert "infinity" in exported["set_aside"]["public.endless"]
        assert "lock" in exported["set_aside"]["public.busy"]
        code, loaded = run("load")
        assert (code, [t["table"] for t in loaded["tables"]]) == (0, ["public.good", "public.other"])
        code, found = run("verify")
    verdicts = {t["name"]: t["verdict"] for t in found["tables"]}
    assert (code, found["verdict"]) == (1, "refused")
    assert verdicts == {"good": "equal", "other": "equal", "busy": "refused", "endless": "refused"}
    assert all("set aside by the export" in t["method"] for t in found["tables"] if t["verdict"] == "refused")

    # The source goes on, and a policy says what becomes of the value: nothing that is there is read or loaded again.
    migration.source("INSERT INTO good VALUES (99, 'later')", "INSERT INTO busy VALUES (3)", "DELETE FROM endless")
    _with(migration, **POLICY)
    former = manifests.read(migration.bucket)
    code, exported = run("export", "--only-failed")
    after = manifests.read(migration.bucket)
    assert (code, exported["set_aside"], exported["lsn"]) == (0, {}, former.lsn)
    assert (after.snapshot, after.export, after.whole) == (former.snapshot, former.export, True)
    assert {str(t): t.rows for t in after.tables} == {
        "public.busy": 2, "public.endless": 2, "public.good": 20, "public.other": 1,
    }  # fmt: skip
    assert {t.files for t in former.tables} <= {t.files for t in after.tables}
    code, loaded = run("load", "--only-failed")
    assert (code, {t["table"]: t["action"] for t in loaded["tables"]}) == (
        0,
        {
            "public.good": "kept the rows of this load", "public.other": "kept the rows of this load",
            "public.busy": "create", "public.endless": "create",
        },
    )  # fmt: skip
    code, found = run("verify", "--only-failed")
    assert (code, {t["name"]: t["verdict"] for t in found["tables"]}) == (0, {"busy": "equal", "endless": "equal"})
    assert held_snapshots.held(migration.name), "of the whole nothing is said yet"
    code, found = run("verify")
    assert (code, found["lsn"], len(found["tables"])) == (0, former.lsn, 4)
    assert not held_snapshots.held(migration.name)
    assert run("export", "--only-failed")[1]["set_aside"] == {}
    assert run("verify", "--only-failed")[0] == 2


def test_without_the_snapshot_the_run_asks_for_all(migration: Any, run: Any) -> None:
    migration.source(*SOURCE)
    _with(migration)
    before = run("export")[1]
    for held in held_snapshots.held(migration.name):
        held_snapshots.release(held)
    _with(migration, **POLICY)
    code, refused = run("export", "--only-failed")
    assert (code, before["lsn"] in refused["error"]["why"]) == (1, True)
    assert "export all tables again" in refused["error"]["next"]
    code, after = run("export")
    assert (code, after["set_aside"], len(after["tables"])) == (0, {}, 4)
    assert after["lsn"] != before["lsn"]


def test_a_table_is_set_aside_whenever_it_fails(migration: Any) -> None:
    """Dropped behind the plan, and a read that breaks off in the middle; nothing of it is left in the stage."""
    migration.source(
        *SOURCE[:2], "CREATE TABLE gone AS SELECT 1 AS id", "CREATE TABLE counted AS SELECT 0 AS id", "CREATE TABLE broken AS SELECT 1 AS id",
        "CREATE FUNCTION serves(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END'",
    )  # fmt: skip
    match = {"broken": "public.serves(id)", "counted": "1 / id > 0"}
    tables = Tables.model_validate({"match": {name: {"where": where, "reason": "x"} for name, where in match.items()}})
    migration.settings = replace(
        migration.settings, values=migration.settings.values.model_copy(update={"tables": tables})
    )
    _with(migration)
    with exporting.planned(migration.settings, set_aside=True) as plan:
        assert set(plan.state.failed) == {"public.counted"}
        migration.source(
            "DROP TABLE gone",
            "CREATE OR REPLACE FUNCTION serves(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'",
        )
        manifest = exporting.export(plan)
    assert [t.name for t in manifest.tables] == ["good"]
    assert "division by zero" in manifest.failed["public.counted"]
    assert "does not exist" in manifest.failed["public.gone"]
    assert "no" in manifest.failed["public.broken"]
    assert not _files(migration, "broken")
    assert migration.verify("stage").verdict == "equal"
    with pytest.raises(SourceRefused), exporting.planned(migration.settings):
        pass  # without it, the first one stops all


def test_nothing_of_the_target_goes_because_a_table_could_not_be_exported(migration: Any) -> None:
    migration.source(*SOURCE)
    _with(migration, **POLICY)
    migration.migrate()
    with _locked(migration, "busy"), exporting.planned(migration.settings, set_aside=True) as plan:
        manifest = exporting.export(plan)
    found = loading.plan_load(manifest, migration.bucket, migration.settings.snowflake)
    assert (manifest.failed.keys(), found.stale) == ({"public.busy"}, ())


def test_a_table_that_the_target_does_not_take_is_set_aside_and_follows(migration: Any, run: Any) -> None:
    migration.source(*SOURCE)
    _with(migration, **POLICY)
    assert run("export", "--hold-snapshot")[0] == 0
    (path,) = _files(migration, "busy")
    whole = migration.bucket.read(path)
    migration.bucket.write(path, b"no file of Parquet's")
    for target in ("snowflake", "databricks"):
        code, loaded = run("load", "--target", target)
        assert (code, list(loaded["set_aside"]), len(loaded["tables"])) == (1, ["public.busy"], 3), target
        manifest = manifests.read(migration.bucket)
        with pytest.raises(LoadError):
            loading.load(loading.plan_load(manifest, migration.bucket, migration.settings.target(target)))
        run("load", "--target", target)
    code, found = run("verify")
    assert {t["name"] for t in found["tables"] if t["verdict"] != "equal"} == {"busy"}
    migration.bucket.write(path, whole)
    for target in ("snowflake", "databricks"):
        code, loaded = run("load", "--only-failed", "--target", target)
        kept = [t["table"] for t in loaded["tables"] if t["action"] == "kept the rows of this load"]
        assert (code, kept) == (0, ["public.endless", "public.good", "public.other"]), target
        assert migration.verify(target).verdict == "equal"


def test_a_table_that_cannot_be_read_for_the_verification_is_refused_by_itself(migration: Any, run: Any) -> None:
    migration.source(*SOURCE)
    _with(migration, **POLICY)
    assert run("export", "--hold-snapshot")[0] == 0
    assert run("load")[0] == 0
    with _locked(migration, "busy", at_once=True):
        code, found = run("verify")
    assert (code, {t["name"]: t["verdict"] for t in found["tables"]}) == (
        1, {"busy": "refused", "endless": "equal", "good": "equal", "other": "equal"},
    )  # fmt: skip
    code, found = run("verify", "--only-failed")
    assert (code, [t["name"] for t in found["tables"]]) == (0, ["busy"])
