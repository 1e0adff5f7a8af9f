"""A copy that is followed: between it and its slot no change is lost or comes twice, and what breaks off leaves nothing behind.

Would catch: a slot that is not of the copy's snapshot, a publication that was made after the slot, one that makes the application's
UPDATE fail, a column that is left out and is sent, a partition that nobody publishes, a slot that nobody knows of.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from helpers import export as exporting
from helpers.errors import SourceFailed, SourceRefused, UsageError
from helpers.model import sync as records
from helpers.platforms import postgres
from helpers.settings import SyncOptions, Tables
from helpers.source import held_snapshots
from helpers.sync import setup
from tests.sync.following import follow, left, stop, told


@pytest.fixture(autouse=True)
def nothing_stays(migration: Any) -> Iterator[None]:
    """A slot outlives its test, and keeps the database and the log."""
    yield
    stop(migration)
    assert left(migration) == ([], [])


def _write(migration: Any, end: threading.Event) -> None:
    with closing(postgres.connect(migration.settings.source, settings={"search_path": "public"})) as connection:
        number = 0
        while not end.is_set():
            number += 1
            connection.cursor().execute("INSERT INTO entry (v) VALUES (%s)", [number])
            (connection.rollback if number % 7 == 0 else connection.commit)()


def test_between_copy_and_slot_no_change_is_lost_or_comes_twice(migration: Any) -> None:
    migration.source("CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int)")
    end = threading.Event()
    writers = [threading.Thread(target=_write, args=(migration, end)) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        manifest, sync = follow(migration)
    finally:
        end.set()
        for writer in writers:
            writer.join()
    assert (sync.lsn, sync.export, manifest.lsn_exact) == (manifest.lsn, manifest.export, True)
    assert records.read(migration.bucket) == sync
    (after,) = (len({row[0] for _, _, row in told(migration, sync)}),)
    assert migration.source("SELECT count(*) FROM entry") == [(manifest.tables[0].rows + after,)]
    assert after == len(told(migration, sync)) > 0
    for slot in migration.source("SELECT failover FROM pg_replication_slots WHERE database = current_database()"):
        assert slot == (True,)


def test_a_copy_that_is_broken_off_leaves_neither_slot_nor_publication(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    with (
        pytest.raises(ZeroDivisionError),
        setup.prepared(migration.settings, migration.bucket) as prepared,
        exporting.planned(migration.settings, follow=prepared.follow),
    ):
        assert left(migration)[1] == [prepared.name]
        raise ZeroDivisionError
    assert left(migration) == ([], [])
    assert records.read_if_any(migration.bucket) is None


def test_a_keeper_that_is_killed_takes_the_slot_with_it_and_the_copy_is_not_called_followed(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    with (
        setup.prepared(migration.settings, migration.bucket) as prepared,
        exporting.planned(migration.settings, follow=prepared.follow) as plan,
    ):
        manifest = exporting.export(plan)
        os.kill(plan.snapshot.keeper, signal.SIGKILL)
        _until(lambda: left(migration)[0] == [])
        with pytest.raises(SourceRefused, match="does not exist"):
            setup.keep(prepared, manifest, plan.snapshot)
        assert records.read_if_any(migration.bucket) is None
    assert left(migration) == ([], [])


def test_a_copy_goes_on_in_the_snapshot_of_its_slot(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    options: dict[str, Any] = {"keep_for_resume": True, "run": migration.name}
    with (
        pytest.raises(KeyboardInterrupt),
        setup.prepared(migration.settings, migration.bucket) as prepared,
        exporting.planned(migration.settings, follow=prepared.follow, **options) as plan,
    ):
        raise KeyboardInterrupt
    before = migration.source("SELECT oid FROM pg_publication")
    migration.source("INSERT INTO t VALUES (2)")
    manifest, sync = follow(migration, resume=plan.state.export, **options)
    assert migration.source("SELECT oid FROM pg_publication") == before
    assert (manifest.snapshot, manifest.tables[0].rows) == (plan.snapshot.name, 1)
    assert told(migration, sync) == [(b"I", "public.t", ("2",))]
    held_snapshots.release(plan.snapshot)


def test_a_snapshot_without_a_slot_is_not_gone_on_with(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    options: dict[str, Any] = {"keep_for_resume": True, "run": migration.name}
    with pytest.raises(KeyboardInterrupt), exporting.planned(migration.settings, **options) as plan:
        raise KeyboardInterrupt
    manifest, sync = follow(migration, resume=plan.state.export, **options)
    assert manifest.snapshot != plan.snapshot.name and sync.lsn == manifest.lsn
    held_snapshots.release(plan.snapshot)


def test_a_transaction_that_stays_open_is_named_and_nothing_is_left(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    impatient = migration.settings._with(sync=SyncOptions(slot_patience_seconds=1))
    with closing(postgres.connect(migration.settings.source, settings={"search_path": "public"})) as other:
        other.cursor().execute("INSERT INTO t VALUES (1)")
        with (
            pytest.raises(SourceFailed, match=f"session {other.info.backend_pid} of") as refused,
            setup.prepared(impatient, migration.bucket) as prepared,
            exporting.planned(impatient, follow=prepared.follow),
        ):
            pass
    assert refused.value.transient and "slot_patience_seconds" in refused.value.next_step
    assert left(migration) == ([], [])


def test_where_a_sync_is_set_up_no_other_is(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    _, sync = follow(migration)
    with pytest.raises(UsageError, match=sync.export):
        follow(migration)
    migration.bucket.remove([records.NAME])
    with pytest.raises(UsageError, match=sync.slot):
        follow(migration)
    stop(migration)
    follow(migration)


def test_a_table_that_is_made_after_the_publication_is_refused(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    with setup.prepared(migration.settings, migration.bucket) as prepared:
        migration.source("CREATE TABLE later (id int PRIMARY KEY)")
        with exporting.planned(migration.settings, follow=prepared.follow) as plan:
            with pytest.raises(SourceRefused, match=r"public\.later") as refused:
                setup.refuse_unpublished(prepared, plan.catalog.tables, plan.snapshot)
            assert refused.value.transient


UNFIT = (
    "CREATE TABLE nothing (a int NOT NULL)",
    "CREATE TABLE indexed (a int NOT NULL UNIQUE)",
    "CREATE TABLE denied (a int PRIMARY KEY)",
    "ALTER TABLE denied REPLICA IDENTITY NOTHING",
    "CREATE TABLE other_index (a int PRIMARY KEY, b int NOT NULL)",
    "CREATE UNIQUE INDEX other_b ON other_index (b)",
    "ALTER TABLE other_index REPLICA IDENTITY USING INDEX other_b",
    "CREATE TABLE deferred (a int PRIMARY KEY DEFERRABLE)",
    "CREATE UNLOGGED TABLE unlogged (a int PRIMARY KEY)",
    "CREATE TABLE parted (a int, b int) PARTITION BY LIST (b)",
    "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1)",
    "CREATE TABLE mixed (a int, b int, PRIMARY KEY (a, b)) PARTITION BY LIST (b)",
    "CREATE TABLE mixed_1 PARTITION OF mixed FOR VALUES IN (1)",
    "ALTER TABLE mixed_1 REPLICA IDENTITY NOTHING",
    "CREATE TABLE filtered (a int PRIMARY KEY, body text)",
    "CREATE TABLE good (a int PRIMARY KEY)",
)
CURED = (
    "ALTER TABLE public.nothing ADD PRIMARY KEY (a)",
    "ALTER TABLE public.deferred DROP CONSTRAINT deferred_pkey, ADD PRIMARY KEY (a)",
    "ALTER TABLE public.parted ADD PRIMARY KEY (a, b)",
)
"""What a person has to write, since only they know the key."""


def test_every_table_that_cannot_be_followed_is_named_with_what_cures_it(migration: Any) -> None:
    migration.source(*UNFIT)
    described = Tables.model_validate({"match": {"filtered": {"where": "a > 0", "reason": "the others stay"}}})
    settings = migration.settings.with_tables(described)
    with pytest.raises(SourceRefused) as refused:
        setup.check(settings, migration.bucket)
    for name in ("nothing", "indexed", "denied", "other_index", "deferred", "unlogged", "parted", "mixed", "filtered"):
        assert f"public.{name}" in refused.value.why
    assert "public.good" not in refused.value.why
    assert left(migration) == ([], [])
    cures = [each for each in refused.value.next_step.split("; ") if each.startswith("ALTER TABLE") and "…" not in each]
    migration.source(*cures, *CURED)
    assert len(setup.check(settings, migration.bucket)) == 10


def test_everybody_may_go_on_changing_what_is_published(migration: Any) -> None:
    """A publication whose columns lack one of an identity would have every UPDATE of the application refused."""
    migration.source(
        "CREATE TABLE person (id int PRIMARY KEY, code text NOT NULL UNIQUE, secret text, note text)",
        "ALTER TABLE person REPLICA IDENTITY USING INDEX person_code_key",
        "CREATE TABLE whole (id int PRIMARY KEY, secret text)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
        "CREATE TABLE made (id int PRIMARY KEY, a int, secret text, b int GENERATED ALWAYS AS (a + 1) STORED)",
        "CREATE TABLE sold (id int, day date, secret text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE sold_old PARTITION OF sold FOR VALUES FROM ('2020-01-01') TO ('2026-01-01')",
        "CREATE TABLE grown (id int PRIMARY KEY, v int)",
    )
    left_out = {"omit": ["secret"], "reason": "nobody's business"}
    described = {
        "person": {"omit": ["secret", "id"], "reason": "nobody's business"},
        **dict.fromkeys(("whole", "made", "sold"), left_out),
    }
    settings = migration.settings.with_tables(Tables.model_validate({"match": described}))
    migration.settings = settings
    _, sync = follow(migration)
    migration.source(
        "INSERT INTO person VALUES (1, 'a', 'hidden', 'n'), (2, 'b', 'hidden', 'n')",
        "UPDATE person SET note = 'm', code = 'c' WHERE id = 1",
        "DELETE FROM person WHERE id = 2",
        "INSERT INTO whole VALUES (1, 'sent')",
        "UPDATE whole SET secret = 'sent, too'",
        "INSERT INTO made VALUES (1, 5, 'hidden')",
        "UPDATE made SET a = 6",
        "INSERT INTO sold VALUES (1, '2025-05-05', 'hidden')",
        "CREATE TABLE sold_new PARTITION OF sold FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        "UPDATE sold SET day = '2026-05-05'",
        "TRUNCATE sold_new",
        "ALTER TABLE grown ADD COLUMN w int",
        "INSERT INTO grown VALUES (1, 2, 3)",
    )
    changes = told(migration, sync)
    # A partition that was made later is better sent whole than not at all.
    assert (b"I", "public.sold_new", ("1", "2026-05-05", "hidden")) in changes
    assert (b"T", "public.sold_new", ()) in changes
    assert (b"I", "public.made", ("1", "5", "6")) in changes
    assert (b"I", "public.person", ("a", "n")) in changes
    assert (b"I", "public.grown", ("1", "2", "3")) in changes
    assert {name for _, name, row in changes if "hidden" in row} == {"public.sold_new"}


def test_a_column_that_the_condition_reads_is_sent_though_it_does_not_move(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, region int, salary int)")
    match = {"t": {"omit": ["region", "salary"], "where": "public.t.region > 0", "reason": "the desk's"}}
    migration.settings = migration.settings.with_tables(
        Tables.model_validate({"match": {"t": match["t"] | {"where": "region > 0"}}})
    )
    _, sync = follow(migration)
    migration.source("INSERT INTO t VALUES (1, 2, 3)")
    assert told(migration, sync) == [(b"I", "public.t", ("1", "2"))]


def test_the_publication_of_an_owner_is_taken_as_it_is_and_stays(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v int)", "CREATE TABLE u (id int PRIMARY KEY)")
    settings = migration.settings = migration.settings._with(sync=SyncOptions(publication="of the owner"))

    def refused() -> SourceRefused:
        with pytest.raises(SourceRefused) as found:
            setup.check(settings, migration.bucket)
        return found.value

    def cure(error: SourceRefused) -> None:
        migration.source(*error.next_step.removesuffix("; then run the same command again").split("; "))

    try:
        migration.source('CREATE PUBLICATION "of the owner" FOR TABLE t (id)')
        error = refused()
        assert "leaves v of public.t out" in error.why and "does not have public.u" in error.why
        cure(error)
        migration.source(
            """ALTER PUBLICATION "of the owner" SET (publish = 'insert', publish_via_partition_root = true)"""
        )
        error = refused()
        assert "does not publish update, delete, truncate" in error.why and "through their table" in error.why
        cure(error)
        migration.source('DROP PUBLICATION "of the owner"')
        cure(refused())
        migration.source("GRANT USAGE ON SCHEMA public TO PUBLIC")
        _, sync = follow(migration)
        migration.source("INSERT INTO t VALUES (1, 2)")
        assert told(migration, sync) == [(b"I", "public.t", ("1", "2"))]
        stop(migration)
        assert left(migration) == ([], ["of the owner"])
    finally:
        migration.source('DROP PUBLICATION IF EXISTS "of the owner"')


def _until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
