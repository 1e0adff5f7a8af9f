"""One snapshot under a moving source, and nothing left behind.

Would catch: a reader outside the snapshot, a table that was truncated and is exported empty, a keeper that outlives
its order or dies with its parent.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import wait_for

from helpers import export as exporting
from helpers import verify as verifying
from helpers.errors import SourceRefused, StageError
from helpers.platforms import postgres
from helpers.source import held_snapshots
from helpers.source import snapshot as snapshots

ACCOUNTS = (
    "CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL, note text)",
    "INSERT INTO accounts SELECT n, 100, repeat('x', 200) FROM generate_series(1, 20000) n",
    "CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, from_id int, to_id int)",
)


def _transfer(migration: Any, stop: threading.Event) -> None:
    connection = postgres.connect(migration.settings.source, settings={"search_path": "public"})
    cursor = connection.cursor()
    n = 0
    while not stop.is_set():
        n += 1
        a, b = n * 7919 % 20000 + 1, n * 104729 % 20000 + 1
        cursor.execute("UPDATE accounts SET balance = balance - 1 WHERE id = %s", (a,))
        cursor.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", (b,))
        cursor.execute("INSERT INTO log (from_id, to_id) VALUES (%s, %s)", (a, b))
        connection.commit()
    connection.close()


def test_the_export_of_a_moving_source_is_one_snapshot(migration: Any) -> None:
    migration.source(*ACCOUNTS)
    stop = threading.Event()
    writer = threading.Thread(target=_transfer, args=(migration, stop))
    writer.start()
    try:
        moved = "SELECT count(*) FROM log"
        wait_for(lambda: migration.source(moved) > [(0,)])
        snapshot = snapshots.take(migration.settings.source)
        then = migration.source(moved)
        wait_for(lambda: migration.source(moved) > then)
        with exporting.planned(migration.settings, snapshot=snapshot) as plan:
            manifest = exporting.export(plan)
        with verifying.planned(migration.settings, target="stage") as what:
            assert what.lsn_note == "the export's own snapshot"
            report = verifying.verify(what)
    finally:
        stop.set()
        writer.join()
    assert report.verdict == "equal"
    migration.load(manifest)
    assert migration.target('SELECT SUM("balance"), COUNT(*) FROM "accounts"') == [(2_000_000, 20_000)]
    assert migration.source(moved)[0][0] > manifest.tables[1].rows > 0
    held_snapshots.release(snapshot)
    assert not snapshots.is_held(migration.settings.source, snapshot.name)


REWRITES = (
    "TRUNCATE accounts",
    "ALTER TABLE accounts ALTER balance TYPE bigint",
    "DROP TABLE accounts",
    "VACUUM FULL accounts",
)


@pytest.mark.parametrize("workers", [2, 8])
@pytest.mark.parametrize("change", REWRITES)
def test_a_table_rewritten_after_the_snapshot_is_refused_by_name(migration: Any, change: str, workers: int) -> None:
    migration.source(*ACCOUNTS)
    snapshot = snapshots.take(migration.settings.source)
    try:
        migration.source(change)
        with (
            pytest.raises(SourceRefused, match=r"public\.accounts"),
            exporting.planned(migration.settings.with_workers(workers), snapshot=snapshot),
        ):
            pass
    finally:
        held_snapshots.release(snapshot)
    assert not migration.bucket.sizes()


@pytest.mark.parametrize("change", REWRITES)
def test_a_table_rewritten_after_the_plan_is_refused_by_name(migration: Any, change: str) -> None:
    migration.source(*ACCOUNTS)
    with (
        pytest.raises(SourceRefused, match=r"public\.accounts"),
        exporting.planned(migration.settings.with_workers(8)) as plan,
    ):
        migration.source(change)
        exporting.export(plan)
    assert "manifest.json" not in migration.bucket.sizes()


VIEWS = (
    *ACCOUNTS,
    "CREATE VIEW rich AS SELECT * FROM accounts WHERE balance > 50",
    "CREATE VIEW richest AS SELECT * FROM rich WHERE id < 100",
    "CREATE MATERIALIZED VIEW kept AS SELECT * FROM accounts WHERE id < 1000",
)


def _planned_after(migration: Any, change: str, *tables: str) -> dict[str, int]:
    """Rows of the tables in a plan with a snapshot from before the change."""
    snapshot = snapshots.take(migration.settings.source)
    try:
        migration.source(change)
        with exporting.planned(migration.settings, snapshot=snapshot, tables=tables, include_views=True) as plan:
            return {staged.name: staged.rows for staged in exporting.export(plan).tables}
    finally:
        held_snapshots.release(snapshot)


@pytest.mark.parametrize("change", ["TRUNCATE accounts", "ALTER TABLE accounts ALTER note TYPE char(300)"])
def test_a_view_of_a_table_rewritten_after_the_snapshot_is_refused(migration: Any, change: str) -> None:
    migration.source(*(statement for statement in VIEWS if "ALTER" not in change or "VIEW" not in statement))
    if "ALTER" in change:
        migration.source("CREATE VIEW richest AS SELECT id FROM accounts")
    with pytest.raises(SourceRefused, match=r"public\.richest.*public\.accounts was truncated"):
        _planned_after(migration, change, "richest")


def test_a_materialized_view_is_read_as_the_snapshot_shows_it(migration: Any) -> None:
    migration.source(*VIEWS)
    assert _planned_after(migration, "TRUNCATE log", "kept", "richest") == {"kept": 999, "richest": 99}
    assert _planned_after(migration, "TRUNCATE accounts", "kept") == {"kept": 999}
    with pytest.raises(SourceRefused, match=r"public\.kept.* was truncated, rewritten or dropped"):
        _planned_after(migration, "REFRESH MATERIALIZED VIEW kept", "kept")


MONTHS = (
    "CREATE TABLE months (day date, v int) PARTITION BY LIST (day)",
    *(f"CREATE TABLE months_{n} PARTITION OF months FOR VALUES IN ('2024-0{n}-01')" for n in (1, 2)),
    "INSERT INTO months VALUES ('2024-01-01', 1), ('2024-02-01', 2)",
    "CREATE TABLE months_3 (LIKE months)",
    "INSERT INTO months_3 VALUES ('2024-03-01', 3)",
    "CREATE TABLE parent (id int)",
    "CREATE TABLE child () INHERITS (parent)",
)


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ("ALTER TABLE months DETACH PARTITION months_2", "months_2 was detached"),
        ("ALTER TABLE months ATTACH PARTITION months_3 FOR VALUES IN ('2024-03-01')", "months_3 was attached"),
        ("DROP TABLE months_2", "months_2 was truncated, rewritten or dropped"),
        ("TRUNCATE months_1", "months_1 was truncated"),
        ("CREATE TABLE months_4 PARTITION OF months FOR VALUES IN ('2024-04-01')", None),
        ("TRUNCATE child", None),
    ],
)
def test_partitions_that_changed_after_the_snapshot(migration: Any, change: str, moved: str | None) -> None:
    migration.source(*MONTHS)
    if moved is None:
        assert _planned_after(migration, change, "months", "parent") == {"months": 2, "parent": 0}
    else:
        with pytest.raises(SourceRefused, match=rf"public\.months.*public\.{moved}"):
            _planned_after(migration, change, "months")


def test_a_lock_is_not_waited_for(migration: Any) -> None:
    migration.source(*ACCOUNTS)
    # Taken before, since a snapshot with its LSN waits for every transaction that has written.
    snapshot = snapshots.take(migration.settings.source)
    blocker = postgres.connect(migration.settings.source, settings={"search_path": "public"})
    blocker.cursor().execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
    options = migration.settings.export.model_copy(update={"lock_timeout_seconds": 0.2})
    values = migration.settings.values.model_copy(update={"export": options})
    settings = type(migration.settings)("local", migration.settings.file, values)
    try:
        with pytest.raises(SourceRefused, match="stronger lock"), exporting.planned(settings, snapshot=snapshot):
            pass
    finally:
        blocker.close()
        held_snapshots.release(snapshot)


def test_every_file_is_what_the_manifest_says_and_only_the_former_export_stays(migration: Any) -> None:
    migration.source(*ACCOUNTS)
    _, former, manifest = migration.export(), migration.export(), migration.export()
    files = {file.path: file for table in manifest.tables for file in table.files}
    before = {file.path for table in former.tables for file in table.files}
    digests = {table.digest.path for kept in (former, manifest) for table in kept.tables}
    assert set(migration.bucket.sizes()) == {"manifest.json", *files, *before, *digests}
    for path, file in files.items():
        content = migration.bucket.read(path)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)


def test_a_refusing_bucket_leaves_the_former_export(migration: Any) -> None:
    migration.source(*ACCOUNTS)
    former = migration.export()
    stage = migration.settings.stage.model_copy(update={"url": "s3://no-such-bucket/x/"})
    values = migration.settings.values.model_copy(update={"stage": stage})
    broken = type(migration.settings)("local", migration.settings.file, values)
    with pytest.raises(StageError, match="no-such-bucket"), exporting.planned(broken) as plan:
        exporting.export(plan)
    from helpers.model import manifest

    assert manifest.read(migration.bucket) == former


def test_the_keeper_outlives_its_parent_and_ends_at_its_deadline(migration: Any) -> None:
    source = migration.settings.source
    program = (
        "import os, signal, sys\nfrom pydantic import SecretStr\nfrom helpers.settings import Source\nfrom helpers.source import snapshot\n"
        "source = Source.model_validate_json(sys.argv[1]).model_copy(update={'password': SecretStr(os.environ['PGPASSWORD'])})\n"
        "print(snapshot.take(source, hold_hours=10 / 3600, purpose='a test').name, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.run(
        [sys.executable, "-c", program, source.model_copy(update={"password": None}).model_dump_json()],
        env={**os.environ, "PGPASSWORD": source.password.get_secret_value()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    (held,) = [s for s in migration.held() if s.name == child.stdout.strip()]
    assert snapshots.is_held(source, held.name)
    psutil.Process(held.keeper).wait(60)
    assert not snapshots.is_held(source, held.name)
    assert not held.record.exists()
    assert migration.source("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == [(0,)]


def test_no_password_is_seen_in_the_process_list(migration: Any) -> None:
    secret = migration.settings.source.password.get_secret_value()
    snapshot = snapshots.take(migration.settings.source)
    try:
        assert secret not in " ".join(psutil.Process(snapshot.keeper).cmdline())
        assert secret not in snapshot.record.read_text()
    finally:
        held_snapshots.release(snapshot)


def test_a_snapshot_for_this_process_alone_needs_no_room_on_the_disk(
    migration: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is held for later has to be found later; a verification must not end for want of a record."""
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    (tmp_path / "no_folder").write_text("")
    monkeypatch.setattr(held_snapshots, "RECORDS", tmp_path / "no_folder" / "records")
    taken = snapshots.take(migration.settings.source)
    assert snapshots.is_held(migration.settings.source, taken.name)
    held_snapshots.release(taken)
    assert not snapshots.is_held(migration.settings.source, taken.name)
    for nowhere in (held_snapshots.RECORDS, Path("/proc")):  # the second is a folder that takes no file
        monkeypatch.setattr(held_snapshots, "RECORDS", nowhere)
        with pytest.raises(OSError, match=str(nowhere)):
            snapshots.take(migration.settings.source, purpose="export", run="r")
