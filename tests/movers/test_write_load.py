"""Eight workers export a source that four connections keep changing.

Would catch: a worker outside the snapshot, a row that is staged twice or never because it moved to another page or partition, a
column that came after the snapshot, a VACUUM that takes what is still to be read.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest

from helpers import export as exporting
from helpers import verify as verifying
from helpers.model.manifest import Manifest
from helpers.platforms import duck, postgres
from helpers.platforms.postgres import identifier
from helpers.source import census_worker, held_snapshots, readers
from helpers.source import snapshot as snapshots

ACCOUNTS, SALES, BALANCE = 20_000, 12_000, 100

TABLES = (
    "CREATE TABLE accounts (id int PRIMARY KEY, balance numeric(12,2) NOT NULL, note text)",
    f"INSERT INTO accounts SELECT n, {BALANCE}, repeat('x', n % 300) FROM generate_series(1, {ACCOUNTS}) n",
    "CREATE TABLE queue (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload text)",
    "INSERT INTO queue (payload) SELECT md5(n::text) FROM generate_series(1, 5000) n",
    "CREATE TABLE sales (id int, region int, amount int) PARTITION BY LIST (region)",
    *(f"CREATE TABLE sales_{n} PARTITION OF sales FOR VALUES IN ({n})" for n in range(4)),
    f"INSERT INTO sales SELECT n, n % 4, 5 FROM generate_series(1, {SALES}) n",
    "CREATE TABLE notes (id int PRIMARY KEY, text text)",
    "INSERT INTO notes SELECT n, repeat('é', 50) FROM generate_series(1, 3000) n",
)

Step = Callable[[Any, random.Random], None]


def _transfer(cursor: Any, chance: random.Random) -> None:
    """Later rows get what earlier ones lose, in the same transaction; each new version of a row may lie on another page."""
    cursor.execute("BEGIN")
    for change, account in ((-1, chance.randint(1, ACCOUNTS)), (1, chance.randint(1, ACCOUNTS))):
        cursor.execute(
            "UPDATE accounts SET balance = balance + %s, note = repeat('y', %s) WHERE id = %s",
            (change, chance.randint(0, 300), account),
        )
    cursor.execute("COMMIT")


def _move(cursor: Any, chance: random.Random) -> None:
    """A row goes to another partition."""
    cursor.execute("UPDATE sales SET region = %s WHERE id = %s", (chance.randint(0, 3), chance.randint(1, SALES)))
    if chance.random() < 0.02:
        cursor.execute("VACUUM accounts, sales, queue")


def _come_and_go(cursor: Any, chance: random.Random) -> None:
    cursor.execute("INSERT INTO queue (payload) SELECT md5(random()::text) FROM generate_series(1, 3)")
    cursor.execute("DELETE FROM queue WHERE id = (SELECT id FROM queue OFFSET %s LIMIT 1)", (chance.randint(0, 2000),))


def _alter(cursor: Any, chance: random.Random) -> None:
    """Adds a column with a default, which rewrites nothing, where the lock is to be had at once."""
    with_column = f"ALTER TABLE notes ADD COLUMN c{chance.randint(1, 200)} int DEFAULT 7"
    try:
        cursor.execute("SET lock_timeout = '20ms'")
        cursor.execute(with_column)
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DuplicateColumn):
        pass
    cursor.execute("UPDATE notes SET text = text || 'z' WHERE id = %s", (chance.randint(1, 3000),))
    cursor.execute("SELECT pg_sleep(0.02)")


@contextmanager
def _load(migration: Any) -> Iterator[list[int]]:
    """Four connections that write for the length of the block; how often each has."""
    stop, done, failed = threading.Event(), [0, 0, 0, 0], []

    def write(number: int, step: Step) -> None:
        chance = random.Random(number)
        try:
            with closing(postgres.connect(migration.settings.source, settings={"search_path": "public"})) as connection:
                connection.autocommit = True
                cursor = connection.cursor()
                while not stop.is_set():
                    step(cursor, chance)
                    done[number] += 1
        except psycopg2.Error as error:
            failed.append(error)

    steps = (_transfer, _move, _come_and_go, _alter)
    writers = [threading.Thread(target=write, args=item) for item in enumerate(steps)]
    for writer in writers:
        writer.start()
    try:
        yield done
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not failed


def _staged(migration: Any, manifest: Manifest, table: str, *aggregates: str) -> tuple[Any, ...]:
    staged = manifest.table("public", table)
    location = migration.bucket.location
    files = ", ".join(f"'s3://{location.bucket}/{location.key(file.path)}'" for file in staged.files)
    with duck.connect() as connection:
        duck.enable_s3(connection, migration.settings.stage)
        found = connection.execute(f"SELECT {', '.join(aggregates)} FROM read_parquet([{files}])").fetchall()
    return tuple(found[0])


@pytest.mark.slow
def test_every_export_is_one_snapshot(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BYTES_PER_RANGE", 256 * 1024)
    monkeypatch.setattr(readers, "BYTES_WORTH_SHARING", 256 * 1024)
    monkeypatch.setattr(census_worker, "BYTES_PER_RANGE", 128 * 1024)
    migration.source(*TABLES)
    settings = migration.settings.with_workers(8)
    columns: set[int] = set()
    with _load(migration) as done:
        for _ in range(4):
            snapshot = snapshots.take(settings.source)
            before = list(done)
            try:
                with exporting.planned(settings, snapshot=snapshot) as plan:
                    assert max(len(table.parts) for table in plan.state.tables) >= 8
                    manifest = exporting.export(plan)
                assert all(now > then for now, then in zip(done, before, strict=True)), (
                    "somebody did not write meanwhile"
                )
                with verifying.planned(settings, target="stage") as what:
                    assert what.lsn_note == "the export's own snapshot"
                    report = verifying.verify(what)
                with snapshots.reading(settings.source, snapshot.name) as cursor:
                    cursor.execute("SELECT count(*), sum(id)::int8 FROM public.queue")
                    queue = cursor.fetchone()
            finally:
                held_snapshots.release(snapshot)
            assert report.verdict == "equal"
            assert _staged(migration, manifest, "accounts", "sum(balance)", "count(DISTINCT id)", "count(*)") == (
                ACCOUNTS * BALANCE, ACCOUNTS, ACCOUNTS,
            )  # fmt: skip
            assert _staged(migration, manifest, "sales", "sum(amount)", "count(DISTINCT id)", "count(*)") == (
                5 * SALES, SALES, SALES,
            )  # fmt: skip
            assert _staged(migration, manifest, "queue", "count(*)", "sum(id)") == queue
            added = [column.name for column in manifest.table("public", "notes").columns[2:]]
            if added:
                sums = _staged(migration, manifest, "notes", *(f"sum({identifier(name)})" for name in added))
                assert set(sums) == {7 * 3000}
            columns.add(len(added))
    assert len(columns) > 1, "no column came between two exports"
