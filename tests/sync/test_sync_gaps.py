"""A gap is never resumed: whatever happened to the slot or the server, changes that nobody will send again are missed in no silence.

Would catch: a slot that was dropped, made anew, lost, read by others or left behind by a failover, and that is taken for the one that
the targets were filled from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from helpers.errors import SourceRefused
from helpers.model import lsn
from helpers.model.sync import Sync
from helpers.platforms import postgres
from helpers.sync import slot
from tests.sync.following import follow, stop


@pytest.fixture
def sync(migration: Any) -> Iterator[Sync]:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    yield follow(migration)[1]
    stop(migration)


def go_on(migration: Any, sync: Sync, position: int | None = None) -> Sync:
    with closing(postgres.connect(migration.settings.source)) as connection, connection.cursor() as cursor:
        return slot.refuse_gap(cursor, migration.settings.source, sync, position or sync.position)


def test_the_slot_of_the_copy_is_gone_on_with(migration: Any, sync: Sync) -> None:
    migration.source("INSERT INTO t VALUES (1)")
    assert go_on(migration, sync) == sync
    # What every target has may be confirmed.
    migration.source(f"SELECT pg_replication_slot_advance('{sync.slot}', pg_current_wal_lsn())")
    found = slot_of(migration, sync)
    assert found.confirmed and found.confirmed > sync.position
    assert go_on(migration, sync, found.confirmed) == sync


def slot_of(migration: Any, sync: Sync) -> slot.SlotState:
    with closing(postgres.connect(migration.settings.source)) as connection, connection.cursor() as cursor:
        found = slot.look(cursor, sync.slot)
        assert found
        return found


def test_a_slot_that_is_gone_is_a_gap(migration: Any, sync: Sync) -> None:
    migration.source(f"SELECT pg_drop_replication_slot('{sync.slot}')")
    with pytest.raises(SourceRefused, match="the slot is gone") as refused:
        go_on(migration, sync)
    assert "runbook export --follow" in refused.value.next_step


@pytest.mark.parametrize("anew", ["made", "read"])
def test_a_slot_that_begins_behind_the_targets_is_a_gap(migration: Any, sync: Sync, anew: str) -> None:
    migration.source("INSERT INTO t VALUES (1)")
    if anew == "made":
        migration.source(f"SELECT pg_drop_replication_slot('{sync.slot}')")
        migration.source(f"SELECT pg_create_logical_replication_slot('{sync.slot}', 'pgoutput')")
    else:
        migration.source(f"SELECT pg_replication_slot_advance('{sync.slot}', pg_current_wal_lsn())")
    with pytest.raises(SourceRefused, match=f"the targets are at {sync.lsn}: it was made anew, or read by others"):
        go_on(migration, sync)


def test_a_slot_for_something_else_is_a_gap(migration: Any, sync: Sync) -> None:
    migration.source(f"SELECT pg_drop_replication_slot('{sync.slot}')")
    migration.source(f"SELECT pg_create_logical_replication_slot('{sync.slot}', 'test_decoding')")
    with pytest.raises(SourceRefused, match="test_decoding"):
        go_on(migration, sync)


def test_another_server_is_a_gap(migration: Any, sync: Sync) -> None:
    with pytest.raises(SourceRefused, match="system identifier"):
        go_on(migration, sync.model_copy(update={"system_identifier": "7"}))


def test_a_source_from_before_is_a_gap(migration: Any, sync: Sync) -> None:
    later = sync.position + (1 << 40)
    with pytest.raises(SourceRefused, match=f"the targets are at {lsn.printed(later)}, and the source's log ends at"):
        go_on(migration, sync, later)
