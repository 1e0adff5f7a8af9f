"""What is followed is one copy: phase 30 makes it as the command does, and no other takes its place.

Would catch: a copy that is replaced under a sync, a table that was set aside and follows from a position that the sync has passed, a phase
whose killed process leaves a copy without a slot.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import PROJECT
from helpers import export as exporting
from helpers.errors import SourceRefused, UsageError
from helpers.model import manifest as manifests
from helpers.model import sync as records
from helpers.phases.p30_data_migration.migration import DataMigration
from helpers.source import held_snapshots
from helpers.sync import setup
from tests.sync.following import follow, left, stop


@pytest.fixture(autouse=True)
def nothing_stays(migration: Any) -> Iterator[None]:
    yield
    stop(migration)
    assert left(migration) == ([], [])


def test_a_copy_that_is_followed_is_not_replaced(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    with exporting.planned(migration.settings) as planned_before:
        _, sync = follow(migration)
        former = manifests.read(migration.bucket)
        with pytest.raises(UsageError, match=sync.export):
            exporting.export(planned_before)
    with pytest.raises(UsageError, match="runbook sync stop"), exporting.planned(migration.settings):
        pass
    assert manifests.read(migration.bucket) == former
    stop(migration)
    assert migration.export().export != former.export


@pytest.fixture
def phase(
    migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., DataMigration]]:
    migration_toml(f"{migration.profile}[profiles.local.sync]\n")
    monkeypatch.chdir(tmp_path)
    walked: list[DataMigration] = []

    def walk(**options: Any) -> DataMigration:
        walked.append(DataMigration("local", [], **{"apply": True, **options}))
        return walked[-1]

    yield walk
    for each in walked:
        each.close()


def test_phase_30_follows_where_the_profile_says_so(migration: Any, phase: Callable[..., DataMigration]) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "CREATE TABLE keyless (a int)")
    for apply in (False, True):
        with pytest.raises(SourceRefused, match=r"public\.keyless"):
            phase(apply=apply)
    migration.source("DROP TABLE keyless")
    rehearsed = phase(apply=False)
    rehearsed.survey()
    rehearsed.export()
    assert left(migration) == ([], [])
    walk = phase()
    walk.survey()
    with pytest.MonkeyPatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(setup, "keep", _interrupted)
        walk.export()
    copy = manifests.read(migration.bucket)
    # Another attempt finds the manifest, and keeps the slot.
    assert records.read_if_any(migration.bucket) is None
    kept = walk._kept(copy)
    sync = records.read(migration.bucket)
    assert (sync.export, sync.lsn) == (copy.export, copy.lsn)
    assert kept == walk._kept(copy) == {"slot": sync.slot, "publication": sync.publication}
    with pytest.raises(UsageError, match=sync.export):
        phase()


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_phase_that_ends_before_the_copy_leaves_nothing(migration: Any, phase: Callable[..., DataMigration]) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, day date)", "INSERT INTO t VALUES (1, 'infinity')")
    walk = phase()
    walk.survey()
    assert len(left(migration)[1]) == 1
    with pytest.raises(SourceRefused, match="infinity"):
        walk.export()
    walk.close()
    assert left(migration) == ([], [])


@pytest.fixture
def run(migration: Any, tmp_path: Path, runbook: Callable[..., Any]) -> Iterator[Callable[..., tuple[int, Any]]]:
    """The command in one run, with policies as they are given."""

    def called(*arguments: str, policies: str = "") -> tuple[int, Any]:
        options = f"[profiles.local.export]\nworkers = 2\n[profiles.local.export.policies]\n{policies}\n"
        (tmp_path / "migration.toml").write_text(migration.profile + options)
        done = runbook("export", *arguments, "--run", migration.name, "--json", folder=tmp_path)
        return done.returncode, json.loads(done.stdout)

    yield called
    for held in held_snapshots.held(migration.name):
        held_snapshots.release(held)
    shutil.rmtree(PROJECT / "outputs" / migration.name, ignore_errors=True)


@pytest.mark.parametrize("begun", [False, True])
def test_what_was_set_aside_follows_with_the_others_or_is_added_later(migration: Any, run: Any, begun: bool) -> None:
    migration.source(
        "CREATE TABLE good (id int PRIMARY KEY)", "CREATE TABLE endless (id int PRIMARY KEY, day date)",
        "INSERT INTO endless VALUES (1, 'infinity')",
    )  # fmt: skip
    code, told = run("--follow")
    assert (code, set(told["set_aside"])) == (1, {"public.endless"})
    sync = records.read(migration.bucket)
    assert ([str(table) for table in sync.tables], told["slot"]) == (["public.good"], sync.slot)
    if begun:
        migration.source("INSERT INTO good VALUES (1)")
        migration.source(f"SELECT pg_replication_slot_advance('{sync.slot}', pg_current_wal_lsn())")
    code, told = run("--only-failed", policies='"public.endless.day" = "null+flag"')
    after = records.read(migration.bucket)
    if begun:
        assert code == 2 and "runbook export --follow" in told["error"]["next"]
        assert after == sync
    else:
        assert code == 0 and (after.id, after.lsn) == (sync.id, sync.lsn)
        assert {(str(table), table.start) for table in after.tables} == {
            ("public.endless", sync.lsn), ("public.good", sync.lsn),
        }  # fmt: skip
