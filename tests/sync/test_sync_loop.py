"""A sync takes changes to both targets, exactly once, and a verification in the source's present finds them equal.

Would catch: a change that is lost between the copy and the stream, a batch that is applied twice after a crash, a table that stops and
takes the others with it, a slot that is confirmed beyond what a target has, a position that never moves while nothing of ours changes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from helpers import PROJECT
from helpers import load as loading
from helpers.errors import SourceFailed, UsageError
from helpers.model import sync as records
from helpers.model.manifest import Manifest
from helpers.sync import loop
from helpers.sync.loop import Syncing, syncing
from tests.sync.following import follow, stop
from tests.waiting import wait_for

Run = Callable[..., CompletedProcess[str]]
TARGETS = ("snowflake", "databricks")

TABLES = (
    "CREATE TABLE account (id int PRIMARY KEY, total numeric(12,2), note text)",
    "ALTER TABLE account ALTER note SET STORAGE EXTERNAL",
    "INSERT INTO account SELECT i, 100, repeat(md5(i::text), 100) FROM generate_series(1, 50) i",
    "CREATE TABLE part (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
    "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    "INSERT INTO part SELECT i, '2024-06-01', 'v' || i FROM generate_series(1, 20) i",
)  # fmt: skip

CHANGES = (
    "UPDATE account SET total = total - 1 WHERE id = 1; UPDATE account SET total = total + 1 WHERE id = 2",
    "UPDATE account SET id = 1000 WHERE id = 3",
    "DELETE FROM account WHERE id BETWEEN 10 AND 20",
    "INSERT INTO account SELECT i, 0, NULL FROM generate_series(60, 70) i",
    "UPDATE part SET day = '2025-06-01' WHERE id < 5",
    "DELETE FROM part WHERE id = 10",
)


@pytest.fixture(autouse=True)
def nothing_stays(migration: Any) -> Iterator[None]:
    yield
    stop(migration)


def copied(migration: Any, *targets: str, **options: Any) -> Manifest:
    """A copy that is followed, loaded into the targets."""
    manifest, _ = follow(migration, **options)
    for target in targets or TARGETS:
        loading.load(loading.plan_load(manifest, migration.bucket, migration.settings.target(target)))
    return manifest


def once(migration: Any, *targets: str) -> Syncing:
    with syncing(migration.settings, migration.bucket, targets) as running:
        running.run(running.end)
    return running


def equal(migration: Any, *targets: str) -> None:
    for target in targets or TARGETS:
        report = migration.verify(target)
        assert report.verdict == "equal", (target, report)


def test_what_changes_after_the_copy_arrives_once(migration: Any) -> None:
    migration.source(*TABLES)
    copied(migration)
    migration.source(*CHANGES)
    running = once(migration)
    assert running.done.batches == 1
    equal(migration)
    migration.source(
        "TRUNCATE part", "INSERT INTO part VALUES (1, '2024-02-02', 'again')", "DELETE FROM account WHERE id = 1000"
    )
    once(migration)
    equal(migration)
    assert once(migration).done.batches == 0
    equal(migration)


class Crash(BaseException):
    pass


@pytest.mark.parametrize("point", ["before the apply", "one target alone", "before the confirmation"])
def test_a_sync_that_ends_anywhere_goes_on(migration: Any, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    migration.source(*TABLES)
    copied(migration)
    migration.source(*CHANGES)

    def crash(*arguments: Any, **options: Any) -> None:
        raise Crash

    with pytest.raises(Crash), syncing(migration.settings, migration.bucket) as running:
        match point:
            case "before the apply":
                for each in running._appliers.values():
                    monkeypatch.setattr(each, "apply", crash)
            case "one target alone":
                monkeypatch.setattr(running._appliers["databricks"], "apply", crash)
            case _:
                monkeypatch.setattr(running._stream, "confirm", crash)
        running.run(running.end)
    migration.source(
        "UPDATE account SET id = 2000 WHERE id = 1000", "INSERT INTO part VALUES (99, '2025-01-01', 'late')"
    )
    once(migration)
    equal(migration)
    names = [name for name in migration.bucket.sizes(records.FOLDER) if name.endswith(".parquet")]
    assert names == []


def test_changes_from_before_a_column_was_added_come_again_behind_it(
    migration: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded of the column outlives the process, and the slot describes the table again as it was."""
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    copied(migration, "snowflake")
    migration.source(
        "UPDATE t SET v = 'c' WHERE id = 1", "INSERT INTO t VALUES (3, 'd')", "ALTER TABLE t ADD x numeric(5,2)",
        "INSERT INTO t VALUES (4, 'e', 1.5)", "UPDATE t SET x = 2 WHERE id = 2",
    )  # fmt: skip

    def crash(*arguments: Any, **options: Any) -> None:
        raise Crash

    with pytest.raises(Crash), syncing(migration.settings, migration.bucket, ["snowflake"]) as running:
        monkeypatch.setattr(running._appliers["snowflake"], "apply", crash)
        running.run(running.end)
    monkeypatch.setattr(loop.Syncing, "_is_due", lambda self: bool(self._collector.pending.tables))
    running = once(migration, "snowflake")
    assert [table.stopped for table in running.sync.tables] == [""]
    table = migration.target("SELECT id, v, x FROM t ORDER BY id")
    assert [tuple(row) for row in table] == [(1, "c", None), (2, "b", 2), (3, "d", None), (4, "e", Decimal("1.5"))]


def test_a_target_that_was_left_out_finds_its_changes_later(migration: Any) -> None:
    migration.source(*TABLES)
    copied(migration)
    once(migration)
    migration.source(*CHANGES)
    once(migration, "snowflake")
    equal(migration, "snowflake")
    migration.source("DELETE FROM account WHERE id = 30")
    once(migration)
    equal(migration)


def test_a_table_that_cannot_be_followed_stops_alone(migration: Any) -> None:
    migration.source(
        *TABLES, "CREATE TABLE odd (id int PRIMARY KEY, at date)", "INSERT INTO odd VALUES (1, '2024-01-01')"
    )
    copied(migration, "snowflake")
    migration.source("INSERT INTO odd VALUES (2, 'infinity')", *CHANGES)
    running = once(migration, "snowflake")
    (stopped,) = (each for each in running.sync.tables if each.stopped)
    assert str(stopped) == "public.odd" and "id=2: at: infinite" in stopped.stopped
    report = migration.verify("snowflake", tables=("account", "part"))
    assert report.verdict == "equal"
    migration.source(
        "ALTER TABLE account DROP note", "UPDATE account SET total = 5 WHERE id = 1", "DELETE FROM part WHERE id = 11"
    )
    running = once(migration, "snowflake")
    assert {str(each) for each in running.sync.tables if each.stopped} == {"public.odd", "public.account"}
    assert migration.verify("snowflake", tables=("part",)).verdict == "equal"


def test_a_column_that_is_added_travels(migration: Any) -> None:
    migration.source(*TABLES)
    copied(migration)
    migration.source(
        "UPDATE account SET total = 1 WHERE id = 5", "ALTER TABLE account ADD more int", "ALTER TABLE part ADD w text",
        "UPDATE account SET more = 7 WHERE id = 5", "INSERT INTO account (id, more) VALUES (500, 8)",
        "INSERT INTO part VALUES (77, '2025-03-03', 'v', 'w')", "UPDATE part SET v = 'x' WHERE id = 1",
    )  # fmt: skip
    running = once(migration)
    assert not [str(each) for each in running.sync.tables if each.stopped]
    equal(migration)
    migration.source("UPDATE account SET more = 9 WHERE id = 6")
    once(migration)
    equal(migration)


def test_one_partition_that_is_truncated_alone_stops_its_table(migration: Any) -> None:
    migration.source(*TABLES)
    copied(migration, "snowflake")
    migration.source("TRUNCATE part_1")
    running = once(migration, "snowflake")
    (stopped,) = (each for each in running.sync.tables if each.stopped)
    assert "truncated alone" in stopped.stopped


def test_only_one_sync_runs(migration: Any) -> None:
    migration.source(*TABLES)
    copied(migration, "snowflake")
    with (
        syncing(migration.settings, migration.bucket, ["snowflake"]),
        pytest.raises(SourceFailed, match="active"),
        syncing(migration.settings, migration.bucket, ["snowflake"]),
    ):
        pass


def test_the_slot_moves_on_while_nothing_of_ours_changes(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "IDLE_BYTES", 100_000)
    migration.source(*TABLES, "CREATE TABLE other (v text)")
    copied(migration, "snowflake", exclude=("other",))
    query = "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE database = current_database()"
    ((before,),) = migration.source(query)
    migration.source("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
    with syncing(migration.settings, migration.bucket, ["snowflake"]) as running:
        end = running.end

        def ended() -> None:
            if running.position > before + 500_000 or running.position >= end:
                running.ended.set()

        running.between = ended
        running.run()
    ((after,),) = migration.source(query)
    assert after > before + 500_000
    migration.source(*CHANGES)
    once(migration, "snowflake")
    equal(migration, "snowflake")


def test_the_command(migration: Any, runbook: Run, migration_toml: Callable[..., Path]) -> None:
    migration.source(*TABLES)
    copied(migration, "snowflake")
    migration.source(*CHANGES)
    folder = migration_toml(migration.profile).parent
    done = runbook("sync", "--target", "snowflake", "--json", folder=folder)
    told = json.loads(done.stdout)
    assert (done.returncode, told["batches"], told["stopped"]) == (0, 1, {})
    assert told["rows"]["snowflake"] > 20
    status = json.loads(runbook("sync", "status", "--json", folder=folder).stdout)
    assert status["targets"]["snowflake"]["applied_lsn"] == told["position"]
    for wrong in (["--once", "--follow"], ["--until", "x"], ["--via", "kafka"], ["--target", "nowhere"]):
        assert runbook("sync", *wrong, folder=folder).returncode == UsageError.exit_code
    equal(migration, "snowflake")


def test_a_signal_ends_it_behind_what_it_has_read(migration: Any, migration_toml: Callable[..., Path]) -> None:
    migration.source(*TABLES)
    copied(migration, "snowflake")
    folder = migration_toml(f"{migration.profile}[profiles.local.sync]\nbatch_seconds = 600\n").parent
    command = [sys.executable, "-m", "helpers", "sync", "--follow", "--target", "snowflake", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    sync = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        slot = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND active"
        wait_for(lambda: migration.source(slot) == [(1,)], seconds=90)
        migration.source(*CHANGES)

        def waiting() -> int:
            found = records.progress(migration.bucket, records.read(migration.bucket))
            return found.waiting if found else 0

        wait_for(lambda: waiting() > 0, seconds=60)
        sync.send_signal(signal.SIGTERM)
        said, _ = sync.communicate(timeout=60)
    finally:
        sync.kill()
    assert sync.returncode == 0
    assert json.loads(said)["batches"] == 1
    equal(migration, "snowflake")
