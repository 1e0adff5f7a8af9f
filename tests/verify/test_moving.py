"""What the source changed after the export is told from what went wrong on the way, row by row.

Would catch: a change of the source that is called an error of the migration, an error that hides behind such a change, an
error that is shown against the live value instead of the exported one, a comparison of two moments.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest

from helpers import export as exporting
from helpers.errors import SourceRefused
from helpers.platforms import postgres
from helpers.source import held_snapshots
from helpers.verify import Options

TABLES = (
    "CREATE TABLE keyed (id int PRIMARY KEY, n numeric(12,2), v text)",
    "INSERT INTO keyed SELECT i, i / 3.0, 'v' || i FROM generate_series(1, 400) i",
    "CREATE TABLE heap (n int, v text, w text)",
    "INSERT INTO heap SELECT i, 'v' || i, 'w' FROM generate_series(1, 400) i",
    "INSERT INTO heap SELECT 0, 'twice', 'w' FROM generate_series(1, 5)",
)
CHANGES = (
    "UPDATE keyed SET v = 'since' WHERE id IN (10, 20, 30)",
    "DELETE FROM keyed WHERE id IN (40, 50)",
    "INSERT INTO keyed VALUES (901, 1, 'since'), (902, NULL, NULL)",
    "UPDATE keyed SET id = 960 WHERE id = 60",
    "UPDATE heap SET v = 'since' WHERE n = 10",
    "DELETE FROM heap WHERE n = 20 OR ctid = (SELECT max(ctid) FROM heap WHERE n = 0)",
    "INSERT INTO heap VALUES (901, 'since', 'w')",
)
ERRORS = (
    'UPDATE "keyed" SET "v" = \'bad\' WHERE "id" IN (10, 40, 60, 100)',
    'DELETE FROM "keyed" WHERE "id" IN (20, 50, 110)',
    "INSERT INTO \"keyed\" VALUES (999, 9, 'bad')",
    'UPDATE "heap" SET "v" = \'bad\' WHERE "n" IN (20, 30)',
    'DELETE FROM "heap" WHERE "n" = 40 OR "n" = 0',
    "INSERT INTO \"heap\" VALUES (0, 'twice', 'w'), (0, 'twice', 'w'), (0, 'twice', 'w')",
)
WAYS: dict[str, dict[str, Any]] = {
    "snowflake": {},
    "snowflake, inside PostgreSQL": {"options": Options(witness=True)},
    "stage": {"target": "stage"},
}


@contextmanager
def held(migration: Any) -> Iterator[Any]:
    """Migrates, and holds the export's snapshot for the length of the block."""
    with exporting.planned(migration.settings, release=False) as plan:
        manifest = exporting.export(plan)
    try:
        migration.load(manifest)
        yield manifest
    finally:
        held_snapshots.release_named(manifest.snapshot, manifest.source)


def by_name(report: Any) -> dict[str, Any]:
    return {table.name: table for table in report.tables}


def counts(table: Any) -> tuple[int, int, int, int]:
    return table.missing, table.extra, table.changed, table.changed_since


def test_in_the_exports_own_snapshot_nothing_has_changed_and_in_another_no_change_is_an_error(migration: Any) -> None:
    migration.source(*TABLES)
    with held(migration) as manifest:
        migration.source(*CHANGES)
        for way in WAYS.values():
            report = migration.verify(**way)
            assert (report.verdict, report.lsn, report.lsn_note) == ("equal", manifest.lsn, "the export's own snapshot")
            assert [table.fetched for table in report.tables] == [0, 0]
    for way in WAYS.values():
        report = migration.verify(**way)
        assert (report.verdict, report.lsn_note) == ("different", "a snapshot taken for this verification")
        found = by_name(report)
        # Three updated, two deleted, two new; a new key is a row that is gone and one that came.
        assert counts(found["keyed"]) == (0, 0, 0, 3 + 2 + 2 + 2)
        # Without a key, an update is two rows as well: gone, deleted twice, and come.
        assert counts(found["heap"]) == (0, 0, 0, 2 + 2 + 1)
        for table in found.values():
            assert table.verdict == "different"
            assert table.cells == ()
            assert "because the source changed them after the export" in table.method
            assert "a snapshot taken for this verification" in table.method


@pytest.mark.parametrize("way", ["snowflake", "snowflake, inside PostgreSQL"])
def test_errors_are_counted_beside_the_changes_and_shown_against_what_was_exported(migration: Any, way: str) -> None:
    migration.source(*TABLES)
    with held(migration):
        migration.source(*CHANGES)
        migration.target(*ERRORS)
        # Seven rows of the one table and six of the other were spoiled; in its own snapshot each is an error.
        found = by_name(migration.verify(**WAYS[way]))
        assert counts(found["keyed"]) == (3, 1, 4, 0)
        assert counts(found["heap"]) == (2 + 1 + 2, 2, 0, 0)
    found = by_name(migration.verify(**WAYS[way]))
    keyed, heap = found["keyed"], found["heap"]
    # 20 and 110 are missing; 50 is gone on both sides. 30, 901, 902 and 960 are as the source has them only now.
    assert counts(keyed) == (2, 1, 4, 4)
    shown = {c.key["id"]: (c.source, c.target) for c in keyed.cells if c.key and c.column == "v"}
    assert shown == {
        "10": ("v10", "bad"), "40": ("v40", "bad"), "60": ("v60", "bad"), "100": ("v100", "bad"),
        "20": ("v20", None), "110": ("v110", None), "999": (None, "bad"),
    }  # fmt: skip
    assert {c.key["id"]: c.source for c in keyed.cells if c.key and c.column == "n"} == {
        "20": "6.67", "110": "36.67", "999": None,
    }  # fmt: skip
    # Of five equal rows two are lost, though the source has one less now; of 20 only what the target made of it is left.
    assert counts(heap) == (1 + 1 + 2, 2, 0, 2 + 1)


def test_a_row_that_was_deleted_and_spoiled_is_an_error_whatever_else_is_equal(migration: Any) -> None:
    migration.source(*TABLES[:2])
    migration.migrate()
    migration.source("DELETE FROM keyed WHERE id = 7")
    (table,) = migration.verify().tables
    assert counts(table) == (0, 0, 0, 1)
    migration.target('UPDATE "keyed" SET "n" = NULL WHERE "id" = 7')
    (table,) = migration.verify().tables
    assert counts(table) == (0, 0, 1, 0)
    assert [(c.key, c.column, c.source, c.target) for c in table.cells] == [({"id": "7"}, "n", "2.33", None)]
    migration.target('DELETE FROM "keyed" WHERE "id" = 7')
    assert migration.verify().equal


def test_a_target_that_already_has_the_change_is_equal(migration: Any) -> None:
    migration.source(*TABLES[:2])
    migration.migrate()
    migration.source("UPDATE keyed SET v = 'since' WHERE id IN (1, 2)")
    migration.target('UPDATE "keyed" SET "v" = \'since\' WHERE "id" IN (1, 2)')
    assert migration.verify().equal
    # As an error it would be one against the live source alone, and one that the export explains.
    migration.target('UPDATE "keyed" SET "v" = \'v1\' WHERE "id" = 1')
    (table,) = migration.verify().tables
    assert counts(table) == (0, 0, 0, 1)


NO_LONGER_FITS = {
    "NaN": "UPDATE t SET n = 'NaN' WHERE id = 5",
    "infinite": "UPDATE t SET n = 'Infinity' WHERE id = 5",
    "too fine": "UPDATE t SET n = 1.0000000001 WHERE id = 5",
    "too large": "UPDATE t SET n = 1e35 WHERE id = 5",
    "infinite timestamp": "UPDATE t SET at = 'infinity' WHERE id = 5",
    "far timestamp": "UPDATE t SET at = '294276-12-31 23:59:59.999999' WHERE id = 5",
    "before Christ": "UPDATE t SET day = '4713-01-01 BC' WHERE id = 5",
    "24:00": "UPDATE t SET clock = '24:00' WHERE id = 5",
}


def test_a_value_that_came_since_and_that_no_target_holds_is_a_change_and_no_failure(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, n numeric, at timestamp, day date, clock time)",
        "INSERT INTO t SELECT i, i * 1.5, '2024-01-01', '2024-01-01', '10:00' FROM generate_series(1, 200) i",
    )
    migration.migrate()
    for (what, change), (name, way) in zip(NO_LONGER_FITS.items(), itertools.cycle(WAYS.items())):
        migration.source(
            "UPDATE t SET n = 7.5, at = '2024-01-01', day = '2024-01-01', clock = '10:00' WHERE id = 5", change
        )
        (table,) = migration.verify(**way).tables
        assert (table.verdict, counts(table)) == ("different", (0, 0, 0, 1)), (what, name)
    migration.target('UPDATE "t" SET "n" = 1 WHERE "id" IN (5, 6)')
    (table,) = migration.verify().tables
    assert counts(table) == (0, 0, 2, 0)
    assert {(c.key["id"], c.source, c.target) for c in table.cells if c.key} == {("5", "7.5", "1"), ("6", "9.0", "1")}


def test_a_moving_source_is_read_at_one_moment(migration: Any) -> None:
    """Rows change all the time while both digests are computed and the rows of differing segments are fetched."""
    migration.source(*TABLES)
    migration.migrate()
    done = threading.Event()
    mover = threading.Thread(target=_move, args=(migration.settings.source, done))
    mover.start()
    try:
        for way in (*WAYS.values(), {}):
            for table in migration.verify(**way).tables:
                assert counts(table)[:3] == (0, 0, 0)
    finally:
        done.set()
        mover.join()
    assert {t.name for t in migration.verify().tables if t.changed_since} == {"keyed", "heap"}


def _move(source: Any, done: threading.Event) -> None:
    draw = random.Random(1)
    with closing(postgres.connect(source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        while not done.wait(0.002):
            n = draw.randint(1, 400)
            for statement in (
                f"UPDATE public.keyed SET v = v || '.' WHERE id = {n}",
                f"DELETE FROM public.keyed WHERE id = {draw.randint(1, 400)}",
                f"INSERT INTO public.keyed VALUES ({draw.randint(1000, 10**9)}, {n}, 'since') ON CONFLICT DO NOTHING",
                f"UPDATE public.heap SET v = v || '.' WHERE n = {n}",
            ):
                cursor.execute(statement)


def test_what_a_definition_lost_or_got_since_is_a_finding(migration: Any) -> None:
    migration.source(*TABLES)
    migration.migrate()
    migration.source("ALTER TABLE keyed ADD COLUMN extra int", "DROP TABLE heap", "CREATE TABLE later (id int)")
    found = by_name(migration.verify())
    assert {(name, f.name, f.column) for name, t in found.items() for f in t.schema_findings} == {
        ("keyed", "column-missing", "extra"), ("heap", "table-added", None), ("later", "table-missing", None),
    }  # fmt: skip
    assert {name: t.verdict for name, t in found.items()} == dict.fromkeys(["keyed", "heap", "later"], "different")


def test_a_table_that_was_rewritten_under_a_held_snapshot_is_refused(migration: Any) -> None:
    """TRUNCATE is invisible to the older snapshot: it would see no rows, where the target has them all."""
    migration.source(*TABLES)
    with held(migration):
        migration.source("TRUNCATE heap")
        with pytest.raises(SourceRefused) as refused:
            migration.verify()
        assert (refused.value.exit_code, refused.value.on) == (1, "public.heap")
        assert migration.verify(tables=("keyed",)).equal


def test_after_the_keeper_is_gone_a_new_snapshot_is_taken(migration: Any) -> None:
    migration.source(*TABLES[:2])
    with held(migration) as manifest:
        held_snapshots.release_named(manifest.snapshot, manifest.source)
        report = migration.verify()
        assert report.equal
        assert report.lsn_note == "a snapshot taken for this verification"
    with pytest.raises(psycopg2.Error):
        migration.source(f"BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{manifest.snapshot}'")
