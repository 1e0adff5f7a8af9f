"""At a fence source and target are compared while the source goes on, and nothing is said of a target that has moved.

Would catch: a sync that passes the fence before it stands, a comparison of two moments that gets a verdict, a sync that is held for
ever by a verification that died.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from time import monotonic, sleep
from typing import Any

import psycopg2
import pytest
from deltalake import DeltaTable

from helpers.errors import SourceFailed, TargetRefused
from helpers.model import sync as records
from helpers.platforms import postgres
from helpers.platforms.delta import Lake, storage_options
from helpers.sync import fence
from helpers.sync.fence import Attendant, Fence
from helpers.sync.loop import syncing
from tests.sync.following import stop
from tests.sync.test_sync_loop import TABLES, copied, once

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(autouse=True)
def nothing_stays(migration: Any) -> Iterator[None]:
    yield
    stop(migration)


@contextmanager
def writers(migration: Any, count: int = 3) -> Iterator[list[BaseException]]:
    """Transfers of a constant total, rows that come and go, keys that change, partitions, and transactions that are rolled back."""
    ended, failed = threading.Event(), list[BaseException]()

    def write(seed: int) -> None:
        chance, following = random.Random(seed), 10_000 * (seed + 1)
        with closing(postgres.connect(migration.settings.source, settings={"search_path": "public"})) as connection:
            while not ended.is_set():
                cursor = connection.cursor()
                try:
                    one, other = chance.sample(range(1, 51), 2)
                    amount = chance.randint(1, 5)
                    cursor.execute("UPDATE account SET total = total - %s WHERE id = %s", (amount, one))
                    cursor.execute("UPDATE account SET total = total + %s WHERE id = %s", (amount, other))
                    if chance.random() < 0.3:
                        cursor.execute("INSERT INTO account VALUES (%s, 0, repeat('n', 3000))", (following,))
                        following += 1
                    if chance.random() < 0.1:
                        cursor.execute("UPDATE account SET id = id + 1000000 WHERE id = %s", (following - 1,))
                    if chance.random() < 0.1:
                        cursor.execute("DELETE FROM account WHERE id = %s", (following - 1,))
                    if chance.random() < 0.2:
                        day = chance.choice(["2024-05-05", "2025-05-05"])
                        cursor.execute("UPDATE part SET day = %s WHERE id = %s", (day, chance.randint(1, 20)))
                    connection.rollback() if chance.random() < 0.1 else connection.commit()
                except (
                    psycopg2.errors.DeadlockDetected,
                    psycopg2.errors.UniqueViolation,
                    psycopg2.errors.SerializationFailure,  # a row that another writer moves to another partition
                ):
                    connection.rollback()
                except BaseException as error:
                    failed.append(error)
                    return
                sleep(0.005)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not failed


@contextmanager
def followed(migration: Any, *targets: str) -> Iterator[Any]:
    """A sync that goes on in a thread."""
    with syncing(migration.settings, migration.bucket, targets) as running:
        running.between = Attendant(running, migration.bucket)
        failed = list[BaseException]()

        def go() -> None:
            try:
                running.run()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield running
        finally:
            running.ended.set()
            thread.join()
        assert not failed


def at_fence(migration: Any, *targets: str) -> list[str]:
    with fence.taken(migration.settings, migration.bucket, targets) as snapshot:
        verdicts = []
        for target in targets:
            report = migration.verify(target, snapshot=snapshot)
            assert report.lsn == snapshot.lsn
            verdicts.append(report.verdict)
        fence.require_at(migration.settings, migration.bucket, targets, snapshot)
        return verdicts


def test_source_and_targets_are_equal_at_fences_while_the_source_goes_on(
    migration: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "ASKED_EVERY_SECONDS", 0.1)
    migration.source(*TABLES)
    copied(migration)
    with writers(migration):
        assert at_fence(migration, "snowflake", "databricks") == ["equal", "equal"]
        with followed(migration) as running:
            for _ in range(2):
                assert at_fence(migration, "snowflake", "databricks") == ["equal", "equal"]
                former = running.position
                until = monotonic() + 30
                while running.position == former and monotonic() < until:
                    sleep(0.05)
                assert running.position > former
    assert at_fence(migration, "snowflake") == ["equal"]


@pytest.mark.parametrize("target", ["snowflake", "databricks"])
def test_what_others_wrote_is_found_with_its_rows_and_stops_that_table_alone(migration: Any, target: str) -> None:
    migration.source(*TABLES)
    copied(migration)
    once(migration)
    migration.source("UPDATE account SET total = 5 WHERE id = 1", "UPDATE part SET v = 'new' WHERE id = 1")
    if target == "snowflake":
        migration.target('UPDATE "account" SET "total" = 6 WHERE "id" = 2')
    else:
        own = migration.settings
        place = Lake.open(own.databricks, own.stage).location("account")
        DeltaTable(place, storage_options=storage_options(own.stage)).update({"total": "6"}, predicate="id = 2")
    with fence.taken(migration.settings, migration.bucket, [target]) as snapshot:
        migration.source("UPDATE account SET total = 7 WHERE id = 3")
        report = migration.verify(target, snapshot=snapshot)
    found = {table.name: (table.verdict, table.changed, table.changed_since) for table in report.tables}
    # What the source changed behind the point at which the table stopped is told apart from what others did.
    assert found == {"account": ("different", 1, 1), "part": ("equal", 0, 0)}
    (stopped,) = (each for each in records.read(migration.bucket).tables if each.stopped)
    assert str(stopped) == "public.account" and f"in {target}, others wrote to it" in stopped.stopped


def test_nothing_is_said_of_a_target_that_has_moved(migration: Any) -> None:
    migration.source(*TABLES)
    copied(migration, "snowflake")
    with fence.taken(migration.settings, migration.bucket, ["snowflake"]) as snapshot:
        pass
    migration.source("UPDATE account SET total = 5 WHERE id = 1")
    once(migration, "snowflake")
    with pytest.raises(TargetRefused, match="of two moments"):
        fence.require_at(migration.settings, migration.bucket, ["snowflake"], snapshot)


def test_a_verification_that_dies_holds_the_sync_for_its_lease_alone(
    migration: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "ASKED_EVERY_SECONDS", 0.1)
    migration.source(*TABLES)
    copied(migration, "snowflake")
    with followed(migration, "snowflake") as running:
        Fence(id="a" * 32, state="wanted", expires=fence._lease(3)).write(migration.bucket)
        with pytest.raises(SourceFailed, match="another verification"):
            at_fence(migration, "snowflake")
        until = monotonic() + 30
        while (found := fence.read(migration.bucket)) and found.state != "holding" and monotonic() < until:
            sleep(0.05)
        migration.source("UPDATE account SET total = 5 WHERE id = 1")
        former = running.position
        while running.position == former and monotonic() < until:
            sleep(0.05)
        assert running.position > former
        assert at_fence(migration, "snowflake") == ["equal"]


def test_the_command(migration: Any, runbook: Run, migration_toml: Callable[..., Path]) -> None:
    migration.source(*TABLES)
    copied(migration, "snowflake")
    folder = migration_toml(migration.profile).parent
    migration.source("UPDATE account SET total = 5 WHERE id = 1")
    done = runbook("verify", "--fence", "--json", folder=folder)
    told = json.loads(done.stdout)
    assert (done.returncode, told["verdict"]) == (0, "equal")
    assert runbook("verify", "--fence", "--source", "manifest", folder=folder).returncode == 2
