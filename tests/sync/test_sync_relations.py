"""What DDL does to a table that is followed is seen, and said in its columns.

Would catch: a column that is added and stays NULL in the target although its default filled the source, a renamed or retyped column
that goes on under its former name or type, a partition that is attached with rows which no message tells, a table that is dropped and
made anew and taken for the former one, a table that is idle and whose change nobody notices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from helpers.model.manifest import Manifest, StagedTable
from helpers.model.sync import Sync
from helpers.platforms import postgres
from helpers.sync import replication
from helpers.sync.additions import Added, adding
from helpers.sync.changes import Change, Relation
from helpers.sync.relations import Difference, Tables, look
from tests.sync.following import follow, read_until, stop


@pytest.fixture(autouse=True)
def nothing_stays(migration: Any) -> Iterator[None]:
    yield
    stop(migration)


def looked(migration: Any, sync: Sync, manifest: Manifest) -> tuple[Sync, dict[str, Difference]]:
    with postgres.reading(migration.settings.source) as cursor:
        return look(cursor, sync, manifest.tables)


def told(
    migration: Any, manifest: Manifest, sync: Sync
) -> list[tuple[Relation, StagedTable | None, Difference | None]]:
    """What the stream's descriptions come to, each once, in their order."""
    ((end,),) = migration.source("SELECT (pg_current_wal_lsn() - '0/0')::bigint")
    with replication.reading(migration.settings.source, sync.slot, sync.publication, sync.position) as stream:
        transactions, _ = read_until(stream, int(end))
    changes = [each for t in transactions for each in t.changes if isinstance(each, Change)]
    tables, found = Tables(sync, manifest.tables), []
    with postgres.reading(migration.settings.source) as cursor:
        for relation in dict.fromkeys(change.relation for change in changes):
            table = tables.table(cursor, relation)
            found.append((relation, table, tables.compare(cursor, relation, table) if table else None))
    return found


ALTERED = {
    "dropped": ("DROP COLUMN b", "the column b is gone"),
    "renamed": ('RENAME b TO "B"', 'the column b is called "B" now'),
    "retyped": ("ALTER b TYPE bigint", "the column b is bigint, and was integer in the copy"),
    "rescaled": ("ALTER n TYPE numeric(12,3)", "the column n is numeric(12,3), and was numeric(10,2) in the copy"),
    "made_anew": ("DROP COLUMN b, ADD COLUMN b text", "the column b is text, and was integer in the copy"),
}


def test_what_cannot_travel_is_named_in_columns(migration: Any) -> None:
    """By the stream's description, and by the catalog where no row comes."""
    migration.source(*(f"CREATE TABLE {t} (id int PRIMARY KEY, b int, n numeric(10,2), d text)" for t in ALTERED))
    manifest, sync = follow(migration)
    assert looked(migration, sync, manifest) == (sync, {})
    migration.source(*(f"ALTER TABLE {t} {statement}" for t, (statement, _) in ALTERED.items()))
    wanted = {f"public.{t}": Difference(anew=(why,)) for t, (_, why) in ALTERED.items()}
    assert looked(migration, sync, manifest)[1] == wanted
    migration.source(*(f"INSERT INTO {t} (id) VALUES (2)" for t in ALTERED))
    assert {str(table): found for _, table, found in told(migration, manifest, sync)} == wanted


def test_what_changes_nothing_for_a_copy_goes_on(migration: Any) -> None:
    migration.source(
        "CREATE TYPE mood AS ENUM ('sad')", "CREATE DOMAIN amount AS numeric(10,2)",
        "CREATE TABLE t (id int PRIMARY KEY, m mood, a amount, s varchar(9)[], g int GENERATED ALWAYS AS (id * 2) STORED, x text)",
    )  # fmt: skip
    manifest, sync = follow(migration)
    migration.source(
        "ALTER TYPE mood ADD VALUE 'glad'", "ALTER TABLE t ALTER x SET NOT NULL", "ALTER TABLE t ALTER x SET DEFAULT 'x'",
        "ALTER TABLE t REPLICA IDENTITY FULL", "CREATE INDEX ON t (m)", "ALTER TABLE t ALTER x SET STORAGE EXTERNAL",
        "INSERT INTO t (id, m, a) VALUES (1, 'glad', 1.5)", "VACUUM FULL t", "UPDATE t SET id = 5",
    )  # fmt: skip
    assert looked(migration, sync, manifest) == (sync, {})
    assert {found for _, _, found in told(migration, manifest, sync)} == {Difference()}


def test_a_key_that_is_told_no_more_is_seen(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, other int NOT NULL UNIQUE)")
    manifest, sync = follow(migration)
    migration.source("ALTER TABLE t REPLICA IDENTITY USING INDEX t_other_key", "INSERT INTO t VALUES (1, 2)")
    ((_, _, found),) = told(migration, manifest, sync)
    assert found and "does not tell id" in found.why
    migration.source("ALTER TABLE t DROP CONSTRAINT t_pkey")
    assert "nothing keeps two rows from having the same id" in looked(migration, sync, manifest)[1]["public.t"].why


def test_what_becomes_of_a_whole_table_is_seen_without_a_row(migration: Any) -> None:
    names = ("dropped", "made_anew", "renamed", "moved", "unpublished", "stays")
    migration.source(*(f"CREATE TABLE {name} (id int PRIMARY KEY)" for name in names))
    manifest, sync = follow(migration)
    migration.source(
        "DROP TABLE dropped", "DROP TABLE made_anew", "CREATE TABLE made_anew (id int PRIMARY KEY)", "ALTER TABLE renamed RENAME TO u",
        "CREATE SCHEMA s", "ALTER TABLE moved SET SCHEMA s", f"ALTER PUBLICATION {sync.publication} DROP TABLE unpublished",
    )  # fmt: skip
    assert {name: found.why for name, found in looked(migration, sync, manifest)[1].items()} == {
        "public.dropped": "the table was dropped",
        "public.made_anew": "the table was dropped",
        "public.renamed": "the table is called public.u now",
        "public.moved": "the table is called s.moved now",
        "public.unpublished": f"public.unpublished is not in the publication {sync.publication} any more",
    }


def added(migration: Any, manifest: Manifest, sync: Sync, table: str, *names: str) -> Added:
    synced, staged = sync.table("public", table), manifest.table("public", table)
    assert synced and staged
    with postgres.reading(migration.settings.source) as cursor:
        return adding(cursor, migration.settings, synced.oid, staged, names)


TRAVELS = {
    "plain": ["ADD x int"],
    "default_afterwards": ["ADD x int", "ALTER x SET DEFAULT 7"],
    "default_null": ["ADD x int DEFAULT NULL"],
    "rewritten": ["ADD x int", "ALTER c TYPE bigint", "ALTER c TYPE int"],
}
FILLED = {
    "constant": (["ADD x int DEFAULT 7"], "its default (7)"),
    "dropped_since": (["ADD x int DEFAULT 7", "ALTER x DROP DEFAULT"], "dropped since"),
    "row_by_row": (["ADD x float8 DEFAULT random()"], "the table was rewritten"),
    "row_by_row_dropped": (["ADD x float8 DEFAULT random()", "ALTER x DROP DEFAULT"], "the table was rewritten"),
    "numbered": (["ADD x int GENERATED ALWAYS AS IDENTITY"], "every row has a value"),
    "computed": (["ADD x int GENERATED ALWAYS AS (id + 1) STORED"], "every row has a value"),
    "domain": (["ADD x three"], "default"),
    # No target takes it, or none can be told before its values are there.
    "unknown": (["ADD x gtsvector"], "without a mapping, gtsvector"),
    "measured": (["ADD x numeric"], "digits a numeric needs is measured"),
    "gone": (["ADD x int", "DROP x"], "the column x came and is gone"),
}


def test_an_added_column_travels_where_former_rows_have_null_and_no_other(migration: Any) -> None:
    migration.source("CREATE DOMAIN three AS int DEFAULT 3")
    for table in (*TRAVELS, *FILLED):
        migration.source(
            f'CREATE TABLE {table} (id int PRIMARY KEY, "X" text, c int)', f"INSERT INTO {table} VALUES (1)"
        )
    manifest, sync = follow(migration)
    statements = {**TRAVELS, **{table: each for table, (each, _) in FILLED.items()}}
    migration.source(*(f"ALTER TABLE {table} {one}" for table, each in statements.items() for one in each))
    for table, (_, why) in FILLED.items():
        found = added(migration, manifest, sync, table, "x")
        assert not found.columns and why in found.anew[0], table
    migration.source(*(f"INSERT INTO {table} (id) VALUES (2)" for table in TRAVELS))
    descriptions = told(migration, manifest, sync)
    seen = looked(migration, sync, manifest)[1]
    for table in TRAVELS:
        found = added(migration, manifest, sync, table, "x")
        assert [(c.name, c.field, c.postgres, c.not_null) for c in found.columns] == [("x", "x_2", "integer", False)]
        ((relation, difference),) = [(each, found) for each, _, found in descriptions if each.name == table]
        assert difference == seen[f"public.{table}"] == Difference(("x",))
        synced = sync.table("public", table)
        assert synced
        known = sync.with_table(synced.model_copy(update={"added": found.columns}))
        assert f"public.{table}" not in looked(migration, known, manifest)[1]
        with postgres.reading(migration.settings.source) as cursor:
            wider = Tables(known, manifest.tables).table(cursor, relation)
            assert wider and [c.name for c in wider.columns] == ["id", "X", "c", "x"]
            assert Tables(known, manifest.tables).compare(cursor, relation, wider) == Difference()


PARTITIONED = (
    "CREATE TABLE {0} (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
    "CREATE TABLE {0}1 PARTITION OF {0} FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE {0}2 PARTITION OF {0} FOR VALUES FROM (10) TO (20)",
    "INSERT INTO {0} VALUES (1), (11)",
)


def test_changes_of_a_partition_are_its_tables(migration: Any) -> None:
    migration.source(*(each.format("p") for each in PARTITIONED))
    manifest, sync = follow(migration)
    migration.source(
        "UPDATE p SET id = 12 WHERE id = 1", "CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30) PARTITION BY RANGE (id)",
        "CREATE TABLE p31 PARTITION OF p3 DEFAULT", "INSERT INTO p VALUES (21)",
    )  # fmt: skip
    found = told(migration, manifest, sync)
    assert [(relation.name, str(table), difference) for relation, table, difference in found] == [
        (name, "public.p", Difference()) for name in ("p1", "p2", "p31")
    ]
    known, changed = looked(migration, sync, manifest)
    assert changed == {} and len(known.tables[0].partitions) == len(sync.tables[0].partitions) + 2
    migration.source("ALTER TABLE p3 RENAME TO renamed")
    assert looked(migration, known, manifest) == (known, {})


def test_rows_that_come_or_go_with_a_partition_are_seen(migration: Any) -> None:
    tables = ("detached", "dropped", "attached", "at_once")
    for name in tables:
        migration.source(*(each.format(name) for each in PARTITIONED))
    manifest, sync = follow(migration)
    attach = "ALTER TABLE {0} ATTACH PARTITION {0}3 FOR VALUES FROM (20) TO (30)"
    migration.source(
        "ALTER TABLE detached DETACH PARTITION detached2", "DROP TABLE dropped2",
        "CREATE TABLE attached3 (LIKE attached INCLUDING ALL)", "INSERT INTO attached3 VALUES (25)", attach.format("attached"),
        f"BEGIN; CREATE TABLE at_once3 (LIKE at_once INCLUDING ALL); INSERT INTO at_once3 VALUES (25); {attach.format('at_once')}; COMMIT",
    )  # fmt: skip
    assert {name: found.why for name, found in looked(migration, sync, manifest)[1].items()} == {
        "public.detached": "1 partitions were detached or dropped, with their rows",
        "public.dropped": "1 partitions were detached or dropped, with their rows",
        "public.attached": "public.attached3 was attached as a partition, perhaps with rows",
        "public.at_once": "public.at_once3 was attached as a partition, perhaps with rows",
    }


def test_a_table_of_no_sync_is_none(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE other (id int PRIMARY KEY)")
    manifest, sync = follow(migration, exclude=["other"])
    migration.source(f"ALTER PUBLICATION {sync.publication} ADD TABLE other", "INSERT INTO other VALUES (1)")
    assert [table for _, table, _ in told(migration, manifest, sync)] == [None]


def test_the_same_on_an_older_server(fresh_migration_15: Callable[..., AbstractContextManager[Any]]) -> None:
    with fresh_migration_15() as migration:
        migration.source(*(each.format("p") for each in PARTITIONED), "CREATE TABLE t (id int PRIMARY KEY, b int)")
        try:
            manifest, sync = follow(migration)
            migration.source(
                "INSERT INTO t VALUES (1, 2)", "ALTER TABLE t ALTER b TYPE bigint", "INSERT INTO t VALUES (2)",
                "SELECT pg_logical_emit_message(true, 'a', 'b')", "UPDATE p SET id = 12 WHERE id = 1", "DROP TABLE p1",
            )  # fmt: skip
            retyped = Difference(anew=("the column b is bigint, and was integer in the copy",))
            found = told(migration, manifest, sync)
            assert [(str(table), difference) for _, table, difference in found] == [
                ("public.t", Difference()), ("public.t", retyped), ("public.p", Difference()), ("public.p", Difference()),
            ]  # fmt: skip
            assert looked(migration, sync, manifest)[1] == {
                "public.t": retyped,
                "public.p": Difference(anew=("1 partitions were detached or dropped, with their rows",)),
            }
        finally:
            stop(migration)
