"""A slot is read as PostgreSQL sends it, whatever happens to the connection.

Would catch: a value that a walsender prints in another way than the copy's session, a transaction that is handed over before its
commit, a position that is said to be complete while a transaction is open, a server that ends a reader who works for long, a lost
connection that looks like the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import monotonic, sleep
from typing import Any

import pytest

from helpers.errors import ConnectionFailed, SourceFailed
from helpers.model.sync import Sync
from helpers.platforms import postgres
from helpers.platforms.postgres import identifier
from helpers.sync import replication
from helpers.sync.changes import UNCHANGED, Change, Mark, Transaction
from helpers.sync.replication import Sent
from tests.sync.following import follow, read_until, stop


@pytest.fixture(autouse=True)
def nothing_stays(migration: Any) -> Iterator[None]:
    yield
    stop(migration)


def position(migration: Any) -> int:
    """Where the source's log ends."""
    ((now,),) = migration.source("SELECT (pg_current_wal_lsn() - '0/0')::bigint")
    return int(now)


def opened(migration: Any, sync: Sync, start: int | None = None, **options: Any) -> Any:
    return replication.reading(
        migration.settings.source, sync.slot, sync.publication, start or sync.position, **options
    )


def rows(transaction: Transaction) -> list[tuple[Any, ...]]:
    return [(each.kind, each.old, each.new) for each in transaction.changes if isinstance(each, Change)]


def test_whole_transactions_come_in_the_order_of_their_commits(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v text)", "ALTER TABLE t ALTER v SET STORAGE EXTERNAL")
    _, sync = follow(migration)
    long = "x" * 9000
    with closing(postgres.connect(migration.settings.source)) as first, first.cursor() as slow:
        slow.execute("SET search_path = public; INSERT INTO t VALUES (1, 'slow')")
        migration.source(f"INSERT INTO t VALUES (2, '{long}')")
        migration.source("UPDATE t SET id = 3 WHERE id = 2")
        slow.execute("INSERT INTO t VALUES (9, 'slow')")
        first.commit()
        slow.execute("SET search_path = public; INSERT INTO t VALUES (4, 'never')")
        first.rollback()
    # It is flushed with the next commit, and sent then.
    migration.source(
        "SELECT pg_logical_emit_message(false, 'runbook', 'here')", "DELETE FROM t WHERE id = 3", "TRUNCATE t"
    )
    with opened(migration, sync) as stream:
        transactions, marks = read_until(stream, position(migration))
    told = [rows(transaction) for transaction in transactions]
    assert told == [
        [("insert", None, ("2", long))],
        [("update", ("2", None), ("3", UNCHANGED))],
        [("insert", None, ("1", "slow")), ("insert", None, ("9", "slow"))],
        [("delete", ("3", None), None)],
        [("truncate", None, None)],
    ]
    places = [(t.commit_lsn, t.end_lsn) for t in transactions]
    assert places == sorted(places) and all(start < end for start, end in places)
    assert [(mark.prefix, mark.content) for mark in marks] == [("runbook", b"here")]


def test_it_goes_on_from_any_position(migration: Any) -> None:
    """A transaction belongs to what lies before a position that is greater than its commit's, and to no other."""
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    _, sync = follow(migration)
    for number in range(5):
        migration.source(f"INSERT INTO t VALUES ({number})")
    end = position(migration)
    with opened(migration, sync) as stream:
        every, _ = read_until(stream, end)
    for taken, transaction in enumerate(every):
        for start, wanted in ((transaction.commit_lsn, every[taken:]), (transaction.end_lsn, every[taken + 1 :])):
            with opened(migration, sync, start) as stream:
                found, _ = read_until(stream, end)
            assert [t.commit_lsn for t in found] == [t.commit_lsn for t in wanted]


@contextmanager
def database_says(migration: Any, **settings: str) -> Iterator[None]:
    """Settings of the test's own database, of which nobody else's sessions know."""
    database = identifier(migration.settings.source.dbname)
    migration.source(*(f"ALTER DATABASE {database} SET {name} = '{value}'" for name, value in settings.items()))
    try:
        yield
    finally:
        migration.source(f"ALTER DATABASE {database} RESET ALL")


def test_values_are_printed_as_the_copys_session_prints_them(migration: Any) -> None:
    """The database's own settings say otherwise."""
    migration.source("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, span interval, x float8, b bytea)")
    with database_says(
        migration, timezone="Asia/Kathmandu", datestyle="German", extra_float_digits="-3", bytea_output="escape"
    ):
        _, sync = follow(migration)
        migration.source(
            "INSERT INTO t VALUES (1, '2026-12-01 00:00+00', '1 day 2 hours', 0.1::float8 + 0.2, '\\x00ff')"
        )
        with opened(migration, sync) as stream:
            (row,), _ = read_until(stream, position(migration))
    assert rows(row) == [
        ("insert", None, ("1", "2026-12-01 00:00:00+00", "1 day 02:00:00", "0.30000000000000004", "\\x00ff"))
    ]


def test_a_reader_who_works_for_long_is_not_cut_off(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    with database_says(migration, wal_sender_timeout="1s"):
        _, sync = follow(migration)
        with opened(migration, sync) as stream:
            migration.source("INSERT INTO t VALUES (1)")
            sleep(2.5)
            migration.source("INSERT INTO t VALUES (2)")
            found, _ = read_until(stream, position(migration))
    assert [rows(each) for each in found] == [[("insert", None, ("1",))], [("insert", None, ("2",))]]


def test_only_what_was_confirmed_is_not_sent_again(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    _, sync = follow(migration)
    migration.source("INSERT INTO t VALUES (1)")
    middle = position(migration)
    migration.source("INSERT INTO t VALUES (2)")
    with opened(migration, sync) as stream:
        assert len(read_until(stream, position(migration))[0]) == 2
        stream.confirm(middle)
    with opened(migration, sync) as stream:
        found, _ = read_until(stream, position(migration))
    assert [rows(each) for each in found] == [[("insert", None, ("2",))]]


def confirmed(migration: Any, sync: Sync) -> int:
    """What the server will not send again."""
    query = f"SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = '{sync.slot}'"
    ((found,),) = migration.source(query)
    return int(found)


def test_what_was_read_and_not_confirmed_is_sent_again(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last message lies before what was confirmed, since its transaction began early, and the server asks meanwhile."""
    monkeypatch.setattr(replication, "ANSWER_SECONDS", 0.02)
    monkeypatch.setattr(replication, "AHEAD", 50_000)
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v text)")
    _, sync = follow(migration)
    with closing(postgres.connect(migration.settings.source)) as first, first.cursor() as early:
        early.execute("INSERT INTO public.t SELECT i, repeat('x', 100) FROM generate_series(1000, 60000) i")
        migration.source("INSERT INTO t VALUES (1)")
        middle = position(migration)
        migration.source("INSERT INTO t VALUES (2)")
        first.commit()
    with opened(migration, sync) as stream:
        stream.confirm(middle)
        sleep(1.0)  # in which nobody takes what comes
        read, _ = read_until(stream, position(migration))
    assert len(read) == 3 and confirmed(migration, sync) == middle


def test_reading_alone_confirms_nothing(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on an idle slot, nor by beginning behind it: a target that is not taken along needs what lies between."""
    monkeypatch.setattr(replication, "ANSWER_SECONDS", 0.02)
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE other (id int)")
    _, sync = follow(migration, exclude=["other"])
    before = confirmed(migration, sync)
    migration.source("INSERT INTO t VALUES (1)", "INSERT INTO other SELECT generate_series(1, 1000)")
    for start in (sync.position, position(migration)):
        with opened(migration, sync, start) as stream:
            migration.source("INSERT INTO other VALUES (1)")
            read_until(stream, position(migration))
    assert confirmed(migration, sync) == before


def test_it_waits_with_what_nobody_takes(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v text)")
    _, sync = follow(migration)
    monkeypatch.setattr(replication, "AHEAD", 100_000)
    migration.source("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 30000) i")
    with opened(migration, sync) as stream:
        until = monotonic() + 30
        while stream._waiting_bytes < 100_000 and monotonic() < until:
            sleep(0.01)
        sleep(0.3)
        assert 100_000 <= stream._waiting_bytes < 400_000
        (found,), _ = read_until(stream, position(migration))
    assert sum(1 for _ in found.changes) == 30_000


@pytest.mark.parametrize("how", ["terminated", "taken"])
def test_a_lost_stream_is_an_error_that_says_what_to_do(migration: Any, how: str) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    _, sync = follow(migration)
    with opened(migration, sync) as stream:
        read_until(stream, position(migration))
        if how == "taken":
            with pytest.raises(SourceFailed, match="is active") as found, opened(migration, sync, patience=0.1):
                pass
            assert "runbook sync status" in found.value.next_step
            return
        migration.source(
            f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{sync.slot}'"
        )
        with pytest.raises(ConnectionFailed) as lost:
            read_until(stream, position(migration) + 1)
    assert lost.value.transient


def test_a_slot_that_is_gone_is_told(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    _, sync = follow(migration)
    migration.source(f"SELECT pg_drop_replication_slot('{sync.slot}')")
    with pytest.raises(SourceFailed, match="does not exist"), opened(migration, sync):
        pass


def test_nothing_is_said_to_be_complete_while_a_transaction_is_open(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v text)")
    _, sync = follow(migration)
    migration.source("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i")
    end = position(migration)
    seen: list[Transaction | Mark | Sent] = []
    with opened(migration, sync) as stream:
        until = monotonic() + 60
        while not any(isinstance(each, Sent) and each.position >= end for each in seen) and monotonic() < until:
            seen += stream.read(1.0)
    (transaction,) = (each for each in seen if isinstance(each, Transaction))
    before = seen[: seen.index(transaction)]
    assert all(isinstance(each, Sent) and each.position <= transaction.commit_lsn for each in before)
