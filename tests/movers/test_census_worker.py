"""The census by many connections is the census by one.

Would catch: a row between two ranges that is counted twice or never, a connection outside the snapshot, a query that runs on
after Ctrl-C or an error, a connection more for tables that are not worth it.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from waiting import wait_for

from helpers.errors import ConnectionFailed, SourceRefused
from helpers.model.catalog import Catalog
from helpers.platforms import postgres
from helpers.settings import Settings
from helpers.source import census_worker, held_snapshots
from helpers.source import snapshot as snapshots
from helpers.source import survey as assess
from helpers.source.catalog import measured, read_catalog
from helpers.source.census import TableCensus, take_census
from helpers.source.census_worker import take_censuses

NUMBERS = "CASE n % 1000 WHEN 0 THEN 'NaN' WHEN 1 THEN 1e38 WHEN 2 THEN 1e29 WHEN 3 THEN 1e-12 ELSE n / 4.0 END"
DAYS = "CASE n % 700 WHEN 0 THEN 'infinity' WHEN 1 THEN '0044-03-15 BC' ELSE date '2024-01-01' + n % 300 END"
TABLES = (
    f"CREATE TABLE big AS SELECT n AS id, {NUMBERS} AS v, {DAYS} AS day, repeat('x', n % 90) AS t, "
    "CASE WHEN n % 500 = 0 THEN '[0:1]={1,2}'::int[] ELSE ARRAY[n, n] END AS a, "
    "jsonb_build_object('n', CASE n % 300 WHEN 0 THEN 1234567890123456 ELSE n END) AS j "
    "FROM generate_series(1, 20000) n",
    "ALTER TABLE big ADD PRIMARY KEY (id)",
    "CREATE TABLE parts (id int, v numeric) PARTITION BY HASH (id)",
    *(f"CREATE TABLE parts_{n} PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER {n})" for n in range(3)),
    f"INSERT INTO parts SELECT n, {NUMBERS} FROM generate_series(1, 30000) n",
    "CREATE TABLE small (id int, v numeric)",
    "INSERT INTO small VALUES (1, 'NaN')",
    "CREATE TABLE nothing (id int)",
    "CREATE VIEW some_rows AS SELECT * FROM big WHERE id < 5000",
    "CREATE MATERIALIZED VIEW kept AS SELECT * FROM big WHERE id < 9000",
)
SLOW = (
    # A day's work: nothing ends by itself.
    "CREATE FUNCTION wait(n int) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.1); RETURN n::text; END$$",
    "CREATE TABLE two (n int)",
    "INSERT INTO two VALUES (1), (2)",
    *(f"CREATE VIEW slow_{v} AS SELECT wait(n) AS v FROM generate_series(1, 1000000) n" for v in "ab"),
)


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census_worker, "BYTES_PER_RANGE", 64 * 1024)


def _settings(migration: Any, **options: Any) -> Settings:
    values = migration.settings.values
    export = values.export.model_copy(update=options)
    return Settings("local", migration.settings.file, values.model_copy(update={"export": export}))


def _catalog(cursor: Any, settings: Settings) -> Catalog:
    return measured(cursor, read_catalog(cursor, include_views=True))


def _by_one_and_by_many(migration: Any, settings: Settings, *, pages: float = 1.0) -> list[tuple[TableCensus, ...]]:
    """Both in one snapshot, after which the tables have changed."""
    snapshot = snapshots.take(settings.source)
    try:
        migration.source(
            "UPDATE big SET v = 'NaN', t = t || 'y' WHERE id % 3 = 0", "DELETE FROM parts WHERE id % 5 = 0"
        )
        with snapshots.reading(settings.source, snapshot.name) as cursor:
            tables = [
                replace(t, heaps=tuple(replace(h, pages=int(h.pages * pages)) for h in t.heaps))
                for t in _catalog(cursor, settings).tables
            ]
            one = tuple(take_census(cursor, table, settings.export.policies) for table in tables)
            many = take_censuses(cursor, settings.source, settings.export, snapshot.name, tables)
    finally:
        held_snapshots.release(snapshot)
    return [one, many]


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_many_connections_count_what_one_counts(migration: Any, workers: int) -> None:
    migration.source(*TABLES)
    one, many = _by_one_and_by_many(migration, _settings(migration, workers=workers))
    assert one == many
    rows = {census.table.name: census.rows for census in many}
    assert rows == {"big": 20_000, "parts": 30_000, "small": 1, "nothing": 0, "some_rows": 4_999, "kept": 8_999}
    assert sum(len(census.refused) for census in many) > 5


def test_pages_that_came_after_the_count_of_pages_are_read(migration: Any) -> None:
    migration.source(*TABLES)
    one, many = _by_one_and_by_many(migration, _settings(migration, workers=3), pages=0.4)
    assert one == many


def test_a_policy_is_applied_by_many_connections_too(migration: Any) -> None:
    migration.source(*TABLES)
    policies = {"numeric": "null+flag", "date": "text"}
    one, many = _by_one_and_by_many(migration, _settings(migration, workers=3, policies=policies))
    assert one == many
    touched = {(census.table.name, c.column.name): c.touched for census in many for c in census.columns if c.policy}
    assert (touched["big", "v"], touched["parts", "v"], touched["small", "v"]) == (60, 90, 1)


def test_small_tables_are_not_worth_a_connection(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    migration.source(*TABLES)
    monkeypatch.setattr(snapshots, "reading", None)
    found = assess.census(_settings(migration, workers=8)).tables
    assert {census.table.name: census.rows for census in found}["big"] == 20_000


def test_the_time_limit_of_a_statement_names_the_table(migration: Any) -> None:
    migration.source(*SLOW)
    settings = _settings(migration, workers=2, statement_timeout_seconds=1)
    with pytest.raises(SourceRefused, match=r"public\.slow_.*statement timeout"):
        _census_with_views(settings)
    wait_for(lambda: _active(settings) == 0)


def test_a_lock_is_not_waited_for_by_a_further_connection(migration: Any) -> None:
    migration.source(*TABLES)
    settings = _settings(migration, workers=2, lock_timeout_seconds=0.3)
    snapshot = snapshots.take(settings.source)
    try:
        with snapshots.reading(settings.source, snapshot.name) as cursor:
            tables = _catalog(cursor, settings).tables
            with closing(postgres.connect(settings.source, settings={"search_path": "public"})) as blocker:
                blocker.cursor().execute("LOCK TABLE small IN ACCESS EXCLUSIVE MODE")
                with pytest.raises(SourceRefused, match=r"public\.small.*stronger lock"):
                    take_censuses(cursor, settings.source, settings.export, snapshot.name, tables)
    finally:
        held_snapshots.release(snapshot)


def test_a_lost_connection_ends_the_census(migration: Any) -> None:
    migration.source(*SLOW)
    settings = _settings(migration, workers=2)
    seen: list[int] = []

    def end_them(*_: Any) -> None:
        if not seen:
            wait_for(lambda: _active(settings) == 2)  # both views are counted at the same time
        seen.append(1)
        migration.source(f"SELECT pg_terminate_backend(pid) FROM ({_ACTIVE}) s LIMIT 1")

    with pytest.raises(ConnectionFailed):
        _census_with_views(settings, end_them)
    assert seen
    wait_for(lambda: _active(settings) == 0)


def test_ctrl_c_leaves_no_query_behind(migration: Any, ctrl_c: Any) -> None:
    migration.source(*SLOW)
    settings = _settings(migration, workers=2)
    ctrl_c(1)
    with pytest.raises(KeyboardInterrupt):
        _census_with_views(settings)
    wait_for(lambda: _active(settings) == 0)


_ACTIVE = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
    "AND query LIKE 'SELECT ARRAY%' AND pid <> pg_backend_pid()"
)


def _active(settings: Settings) -> int:
    with (
        closing(postgres.connect(settings.source, settings={"search_path": "public"})) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(_ACTIVE)
        return len(cursor.fetchall())


def _census_with_views(settings: Settings, progress: Any = None) -> None:
    snapshot = snapshots.take(settings.source)
    try:
        with snapshots.reading(settings.source, snapshot.name) as cursor:
            tables = _catalog(cursor, settings).tables
            take_censuses(cursor, settings.source, settings.export, snapshot.name, tables, progress=progress)
    finally:
        held_snapshots.release(snapshot)
