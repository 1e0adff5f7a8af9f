"""A streaming standby as the source.

Would catch: a snapshot that waits for a slot which a standby cannot give, an LSN that is called exact, a change of the primary
that the standby replays under an export and that goes unnoticed.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from waiting import wait_for

from helpers import doctor
from helpers import export as exporting
from helpers import verify as verifying
from helpers.errors import ConnectionFailed, MigrationError, SourceRefused
from helpers.local import stack
from helpers.local.servers import processes
from helpers.local.servers.postgres import binaries_for
from helpers.local.servers.processes import Account
from helpers.platforms import postgres
from helpers.settings import Resolved, Settings, Source
from helpers.source import census_worker, held_snapshots, keeper, readers
from helpers.source import snapshot as snapshots
from helpers.source import survey as assess

TABLES = (
    "CREATE TABLE odd (id int PRIMARY KEY, price numeric(12,2), free numeric, at timestamptz, doc jsonb, tags text[], raw bytea)",
    """INSERT INTO odd SELECT n, n / 7.0, 1 / (n + 1)::numeric, timestamptz '2024-01-01' + n * interval '1 s',
        jsonb_build_object('n', n), ARRAY[md5(n::text), NULL], decode(md5(n::text), 'hex') FROM generate_series(1, 6000) n""",
    "CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL, note text)",
    "INSERT INTO accounts SELECT n, 100, repeat('x', 200) FROM generate_series(1, 6000) n",
)


GONE = (ConnectionFailed, psycopg2.Error)


@dataclass
class Standby:
    """A server that replays the local stack's PostgreSQL."""

    source: Source
    folder: Path
    process: int

    def configure(self, **settings: str) -> None:
        """Changes settings that a reload takes."""
        with (self.folder / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        os.kill(self.process, signal.SIGHUP)
        for name, value in settings.items():
            wait_for(lambda name=name, value=value: self.ask(f"SHOW {name}") == value, despite=GONE)  # type: ignore[misc]

    def ask(self, query: str) -> Any:
        """The first value of the first row."""
        with (
            closing(postgres.connect(self.source, settings={"search_path": "public"})) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query)
            return cursor.fetchone()[0]

    def catch_up(self, migration: Any) -> str:
        """Waits until everything on the primary is here too; returns the position of that."""
        ((lsn,),) = migration.source("SELECT pg_current_wal_insert_lsn()::text")
        wait_for(lambda: self.ask(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'"), despite=GONE)
        return str(lsn)

    def settings(self, migration: Any, workers: int = 3) -> Settings:
        """The migration's own, with this server as the source."""
        values = migration.settings.values
        source = values.source.model_copy(update={"port": self.source.port})
        found = Settings("local", migration.settings.file, values.model_copy(update={"source": source}))
        return found.with_workers(workers)


@pytest.fixture(scope="module")
def standby(local_settings: Settings) -> Iterator[Standby]:
    """Made with pg_basebackup, under the account that PostgreSQL runs under here."""
    primary = local_settings.source
    home = Path(next(row.detail for row in stack.status() if row.name == "postgres")).parent.parent
    account, folder = Account.for_postgres(), home / "standby"
    binaries = binaries_for(account, home)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    account.own(folder)
    assert primary.password
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGPASSWORD": primary.password.get_secret_value()}
    made = subprocess.run(  # type: ignore[call-overload]
        [
            str(binaries / "pg_basebackup"),
            *("-h", primary.host, "-p", str(primary.port), "-U", primary.user, "-D", str(folder)),
            *("--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync"),
        ],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **account.options(),
    )
    assert made.returncode == 0, made.stderr
    port = processes.free_port(set())
    command = [str(binaries / "postgres"), "-D", str(folder), "-c", f"port={port}"]
    running = processes.start(
        command, folder=folder, log=folder / "standby.log", account=account, environment={"PATH": "/usr/bin:/bin"}
    )
    found = Standby(primary.model_copy(update={"port": port}), folder, running.pid)
    try:
        wait_for(lambda: found.ask("SELECT pg_is_in_recovery()"), despite=GONE)
        found.configure(hot_standby_feedback="on")
        yield found
    finally:
        processes.stop(running, str(folder), by=signal.SIGINT)
        shutil.rmtree(folder)


def _transfer(migration: Any, stop: threading.Event) -> None:
    with closing(postgres.connect(migration.settings.source, settings={"search_path": "public"})) as connection:
        cursor = connection.cursor()
        n = 0
        while not stop.is_set():
            n += 1
            cursor.execute("UPDATE accounts SET balance = balance - 1 WHERE id = %s", (n * 7919 % 6000 + 1,))
            cursor.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", (n * 104729 % 6000 + 1,))
            connection.commit()


def test_it_is_exported_as_one_snapshot_while_it_replays(
    migration: Any, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BYTES_PER_RANGE", 256 * 1024)
    monkeypatch.setattr(census_worker, "BYTES_PER_RANGE", 256 * 1024)
    migration.source(*TABLES)
    before = standby.catch_up(migration)
    settings = standby.settings(migration)
    stop = threading.Event()
    writer = threading.Thread(target=_transfer, args=(migration, stop))
    writer.start()
    try:
        snapshot = snapshots.take(settings.source)
        with exporting.planned(settings, snapshot=snapshot) as plan:
            manifest = exporting.export(plan)
        with verifying.planned(settings, target="stage") as what:
            assert what.lsn_note == "the export's own snapshot; the LSN is approximate"
            assert verifying.verify(what).verdict == "equal"
    finally:
        stop.set()
        writer.join()
    ((after,),) = migration.source(
        f"SELECT '{manifest.lsn}' BETWEEN '{before}'::pg_lsn AND pg_current_wal_insert_lsn()"
    )
    assert after
    assert (manifest.lsn_exact, manifest.why_approximate) == (False, keeper.ON_A_STANDBY)
    assert snapshot.why_approximate == keeper.ON_A_STANDBY
    assert {table.name: table.rows for table in manifest.tables} == {"accounts": 6000, "odd": 6000}
    migration.load(manifest)
    assert migration.target('SELECT SUM("balance") FROM "accounts"') == [(600_000,)]
    held_snapshots.release(snapshot)


def test_what_it_exports_is_what_the_primary_holds(migration: Any, standby: Standby) -> None:
    migration.source(*TABLES)
    standby.catch_up(migration)
    settings = standby.settings(migration)
    with exporting.planned(settings) as plan:
        exporting.export(plan)
    primary = migration.settings.source
    with verifying.planned(settings, target="stage", source=primary) as what:
        assert what.source.port == primary.port
        report = verifying.verify(what)
    assert (report.verdict, report.rows) == ("equal", 12_000)
    assert sum(census.rows for census in assess.census(settings).tables) == 12_000


def test_rows_that_only_the_primary_has_are_named(migration: Any, standby: Standby) -> None:
    migration.source(
        "CREATE UNLOGGED TABLE quick (id int)", "CREATE TABLE logged (id int)", "INSERT INTO logged VALUES (1)",
        "CREATE TABLE parts (id int) PARTITION BY LIST (id)", "CREATE UNLOGGED TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)",
        "CREATE UNLOGGED TABLE heir () INHERITS (logged)",
    )  # fmt: skip
    standby.catch_up(migration)
    with exporting.planned(standby.settings(migration)) as plan:
        manifest = exporting.export(plan)
    assert {str(table): table.rows for table in manifest.tables} == {"public.logged": 1}
    why = "an unlogged table, whose rows a standby does not have: read the primary"
    assert manifest.left_out == {
        "rows that public.logged inherits": "those of public.heir, which does not move",
        "public.heir": why, "public.parts": why, "public.quick": why,
    }  # fmt: skip


def test_a_writer_on_the_primary_does_not_keep_it_waiting(migration: Any, standby: Standby) -> None:
    migration.source(*TABLES)
    standby.catch_up(migration)
    with closing(postgres.connect(migration.settings.source, settings={"search_path": "public"})) as writer:
        writer.cursor().execute("UPDATE accounts SET balance = 0")
        snapshot = snapshots.take(standby.settings(migration).source)
        held_snapshots.release(snapshot)
    assert snapshot.why_approximate == keeper.ON_A_STANDBY, "a slot was tried, and waited for until patience ended"


@pytest.mark.parametrize("change", ["TRUNCATE accounts", "DROP TABLE accounts", "VACUUM FULL accounts"])
def test_a_table_rewritten_on_the_primary_is_refused_by_name(migration: Any, standby: Standby, change: str) -> None:
    migration.source(*TABLES)
    standby.catch_up(migration)
    settings = standby.settings(migration)
    snapshot = snapshots.take(settings.source)
    try:
        migration.source(change)
        standby.catch_up(migration)
        with pytest.raises(SourceRefused, match=r"public\.accounts"), exporting.planned(settings, snapshot=snapshot):
            pass
    finally:
        held_snapshots.release(snapshot)


def test_an_unlogged_table_stays_behind_by_name(migration: Any, standby: Standby) -> None:
    migration.source("CREATE UNLOGGED TABLE passing AS SELECT 1 AS id", "CREATE TABLE kept AS SELECT 1 AS id")
    standby.catch_up(migration)
    with exporting.planned(standby.settings(migration)) as plan:
        assert [str(table) for table in plan.catalog.tables] == ["public.kept"]
        assert "unlogged" in plan.catalog.left_out["public.passing"]


def test_a_standby_that_removes_what_the_snapshot_sees_says_so(migration: Any, standby: Standby) -> None:
    migration.source(
        *TABLES,
        "CREATE FUNCTION wait(n int) RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.05); RETURN n; END$$",
        "CREATE VIEW slowly AS SELECT wait(id) AS id FROM odd",
    )
    standby.catch_up(migration)
    settings = standby.settings(migration, workers=1)
    standby.configure(hot_standby_feedback="off", max_standby_streaming_delay="0")
    try:
        (told,) = doctor.examine(settings, ("source.standby feedback",))
        assert told.verdict == "wrong" and "hot_standby_feedback = on" in told.finding.fix
        snapshot = snapshots.take(settings.source)
        removed: list[Any] = []

        def remove(*_: Any) -> None:
            if not removed:
                removed.append(migration.source("DELETE FROM accounts WHERE id % 2 = 0", "VACUUM accounts"))

        with (
            pytest.raises(MigrationError, match="conflict with recovery"),
            exporting.planned(settings, snapshot=snapshot, include_views=True, progress=remove),
        ):
            pass
        wait_for(lambda: not snapshots.is_held(settings.source, snapshot.name), despite=GONE)
    finally:
        held_snapshots.release(snapshot)
        standby.configure(hot_standby_feedback="on", max_standby_streaming_delay="30s")


@pytest.mark.parametrize(("attributes", "is_standby"), [("read-write", False), ("prefer-standby", True)])
def test_of_two_hosts_the_one_that_is_meant_serves_every_reader(
    migration: Any, standby: Standby, attributes: str, is_standby: bool
) -> None:
    migration.source(*TABLES)
    standby.catch_up(migration)
    primary = migration.settings.source
    assert primary.password
    two = Source.model_validate(
        {
            "host": f"{primary.host},{primary.host}", "port": f"{primary.port},{standby.source.port}", "dbname": primary.dbname,
            "user": primary.user, "password": Resolved(primary.password.get_secret_value()), "target_session_attrs": attributes,
        }
    )  # fmt: skip
    snapshot = snapshots.take(two)
    try:
        on = snapshots.on(two, snapshot)
        assert on.instance
        assert on.instance.port == (standby.source.port if is_standby else primary.port)
        for _ in range(3):
            with snapshots.reading(on, snapshot.name) as cursor:
                assert postgres.value(cursor, "SELECT pg_is_in_recovery()") is is_standby
        # As after a failover: the other server has no such snapshot, or another one of that name.
        other = primary.port if is_standby else standby.source.port
        moved = two.on(dataclasses.replace(on.instance, port=int(other)))
        with pytest.raises(SourceRefused, match="another of several"), snapshots.reading(moved, snapshot.name):
            pass
    finally:
        held_snapshots.release(snapshot)
