"""How a sync stands, and how it is ended.

Would catch: a lag that is another's, a table that stopped and is not named, log that grows unseen, a slot that somebody reads or that is
not ours and is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from time import monotonic, sleep
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import LogicalReplicationConnection

from helpers import doctor
from helpers.errors import SourceFailed
from helpers.model import lsn
from helpers.model import sync as records
from helpers.model.sync import Progress, TargetProgress
from helpers.platforms import postgres
from helpers.settings import SyncOptions
from helpers.sync import setup, status
from tests.sync.following import follow, left, stop

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(autouse=True)
def nothing_stays(migration: Any) -> Iterator[None]:
    yield
    stop(migration)


def test_how_far_each_target_is_and_what_stopped(
    migration: Any, runbook: Run, migration_toml: Callable[..., Path]
) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    _, sync = follow(migration)
    folder = migration_toml(migration.profile).parent

    def asked(*arguments: str) -> tuple[int, dict[str, Any]]:
        done = runbook("sync", *arguments, "--json", folder=folder)
        return done.returncode, json.loads(done.stdout)

    code, told = asked("status")
    assert (code, told["slot"], told["targets"], told["stopped"], told["reader"]) == (0, sync.slot, {}, None, None)
    migration.source("INSERT INTO t SELECT generate_series(1, 1000)")
    as_of = (datetime.now(UTC) - timedelta(seconds=100)).isoformat()
    here = TargetProgress(position=sync.lsn, as_of=as_of, rows=7)
    Progress(sync=sync.id, written_at=as_of, targets={"snowflake": here}, waiting=3).write(migration.bucket)
    code, told = asked("status")
    (target,) = told["targets"].values()
    assert (code, target["applied_lsn"], target["rows"], told["waiting"]) == (0, sync.lsn, 7, 3)
    assert target["lag_bytes"] == lsn.parse(told["source_lsn"]) - sync.position > 1000
    assert told["retained_bytes"] >= target["lag_bytes"] and 100 <= target["lag_seconds"] < 160
    sync.with_stopped("public", "t", "a value of key 3 at 0/1").write(migration.bucket)
    code, told = asked("status")
    assert (code, told["stopped"]["tables"]) == (1, {"public.t": "a value of key 3 at 0/1"})
    assert "public.t: a value of key 3" in told["stopped"]["why"]
    migration.source(f"SELECT pg_drop_replication_slot('{sync.slot}')")
    code, told = asked("status")
    assert code == 1 and "is gone" in told["stopped"]["why"] and told["retained_bytes"] is None
    code, told = asked("stop")
    assert (code, told) == (0, {"slot": "", "publication": sync.publication, "record": sync.id})
    assert asked("status")[0] == 2
    assert "nothing to drop" in runbook("sync", "stop", folder=folder).stdout


def test_log_that_is_kept_is_told_before_it_is_too_much(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v text)")
    follow(migration)

    def found(gigabytes: float) -> list[str]:
        settings = migration.settings._with(sync=SyncOptions(retained_gigabytes=gigabytes))
        seen = status.read(settings, migration.bucket)
        return [each.severity for each in seen.findings if each.on == "log that is kept"]

    migration.source("INSERT INTO t SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 3000) n")
    slot = status.read(migration.settings, migration.bucket).slot
    kept = (slot.retained_bytes if slot else 0) / status.GIGABYTE
    assert (found(kept * 3), found(kept * 1.1), found(kept / 2)) == (["note"], ["warning"], ["stop"])


def test_a_slot_that_is_read_and_what_is_not_ours_stays(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION theirs")
    _, sync = follow(migration)
    options = {"proto_version": "1", "publication_names": f'"{sync.publication}"'}
    with closing(
        psycopg2.connect(postgres.dsn(migration.settings.source), connection_factory=LogicalReplicationConnection)
    ) as reader:
        reader.cursor().start_replication(slot_name=sync.slot, options=options)
        with pytest.raises(SourceFailed, match=str(reader.info.backend_pid)):
            setup.stop(migration.settings, migration.bucket)
        assert left(migration) == ([sync.slot], [sync.publication, "theirs"])
    _until_unread(migration, sync.slot)
    stop(migration)
    assert left(migration) == ([], ["theirs"])
    migration.source("DROP PUBLICATION theirs")


def test_the_doctor_finds_slots_that_nobody_reads(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    _, sync = follow(migration)
    theirs = f"theirs_{migration.name}"
    migration.source(f"SELECT pg_create_logical_replication_slot('{theirs}', 'test_decoding')")

    def found() -> dict[str, list[str]]:
        asked = doctor.examine(migration.settings, ("source.slots", "source.publications", "source.log that is kept"))
        return {name: [each.finding.on for each in asked if name in each.finding.what] for name in (sync.slot, theirs)}

    try:
        assert found() == {sync.slot: ["log that is kept"], theirs: ["slots"]}
        migration.bucket.remove([records.NAME])
        assert found() == {sync.slot: ["slots", "publications"], theirs: ["slots"]}
    finally:
        migration.source(f"SELECT pg_drop_replication_slot('{theirs}')")


def _until_unread(migration: Any, slot: str) -> None:
    deadline = monotonic() + 60
    while migration.source(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'") == [(True,)]:
        assert monotonic() < deadline
        sleep(0.05)
