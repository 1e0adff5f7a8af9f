"""What a slot tells is staged as the copy was: the copy with the changes taken in is a new copy.

Would catch: a value of any type that the stream's way gives another form than the copy's, a key that is equal in the target and other
in the text, a value that is refused in the copy and rounded in the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import duckdb
import pytest

from helpers import export as exporting
from helpers.model.batch import ChangedTable, batch_columns, key_columns
from helpers.model.manifest import Manifest, StagedTable
from helpers.model.sync import Sync
from helpers.platforms import duck, postgres
from helpers.platforms.postgres import identifier
from helpers.platforms.s3 import Bucket
from helpers.source.catalog import read_catalog
from helpers.sync import replication
from helpers.sync.changes import Change, Relation, Transaction
from helpers.sync.collapse import collapse
from helpers.sync.convert import CannotBeStaged, Converter, refusals
from helpers.sync.replication import Sent
from tests.sync.following import follow, stop


@pytest.fixture(autouse=True)
def nothing_stays(migration: Any) -> Iterator[None]:
    yield
    stop(migration)


def told(migration: Any, sync: Sync) -> list[Change]:
    """Every change since the copy."""
    ((end,),) = migration.source("SELECT (pg_current_wal_lsn() - '0/0')::bigint")
    found: list[Change] = []
    patience = monotonic() + 60
    with replication.reading(migration.settings.source, sync.slot, sync.publication, sync.position) as stream:
        while monotonic() < patience:
            for each in stream.read(1.0):
                if isinstance(each, Transaction):
                    found += [change for change in each.changes if isinstance(change, Change)]
                elif isinstance(each, Sent) and each.position >= end:
                    return found
    raise AssertionError("the stream did not get to its end in a minute")


def staged(migration: Any, manifest: Manifest, sync: Sync, name: str = "t") -> tuple[ChangedTable, Relation]:
    table = manifest.table("public", name)
    assert table
    changes = told(migration, sync)
    settings = migration.settings
    with postgres.reading(settings.source) as cursor:
        catalog = read_catalog(cursor, schemas=settings.source.schemas, described=settings.tables)
        (found,) = (each for each in catalog.tables if each.name == name)
        refused = refusals(cursor, found, table, settings.export.policies)
    converter = Converter(settings.source, migration.bucket)
    relation = changes[-1].relation
    with converter.batch():
        return converter.stage(table, relation, collapse(table.key, changes), refused, "sync/x/"), relation


def rows(
    migration: Any, table: StagedTable, changed: ChangedTable | None = None, of: Bucket | None = None
) -> list[tuple[Any, ...]]:
    """A copy's rows, with a batch taken in by its own words."""
    connection = duckdb.connect()
    duck.enable_s3(connection, migration.settings.stage)
    place = (of or migration.bucket).location
    copied = [f"s3://{place.bucket}/{place.key(file.path)}" for file in table.files]
    connection.execute(f"CREATE TABLE t AS FROM read_parquet({copied})")
    if changed and changed.truncated:
        connection.execute("CREATE TABLE before AS FROM t; DELETE FROM t")
    elif changed:
        connection.execute("CREATE TABLE before AS FROM t")
    if changed and changed.file:
        added, keys = batch_columns(table, changed.unchanged), [c.field for c in key_columns(table)]
        file = f"read_parquet('s3://{place.bucket}/{place.key(changed.file.path)}')"
        same = " AND ".join(f"t.{identifier(k)} = s.{identifier(k)}" for k in keys)
        connection.execute(f"DELETE FROM t WHERE EXISTS (SELECT 1 FROM {file} s WHERE {same})")
        origin = " AND ".join(f"b.{identifier(k)} = s.{identifier(added.origin[k])}" for k in keys)
        values = ", ".join(
            f"CASE WHEN s.{identifier(added.unchanged[c.field])} THEN b.{identifier(c.field)} ELSE s.{identifier(c.field)} END"
            if c.field in added.unchanged
            else f"s.{identifier(c.field)}"
            for c in table.columns
        )
        connection.execute(
            f"INSERT INTO t SELECT {values} FROM {file} s LEFT JOIN before b ON {origin} WHERE NOT s.{identifier(added.deleted)}"
        )
    listed = ", ".join(f"{identifier(c.field)}::VARCHAR" for c in table.columns)
    return connection.execute(f"SELECT {listed} FROM t ORDER BY ALL").fetchall()


def taken_in(migration: Any, *changes: str, key: str = "id") -> ChangedTable:
    """Follows t through some changes, and sees that the copy with them is a new copy."""
    manifest, sync = follow(migration)
    migration.source(*changes)
    changed, _ = staged(migration, manifest, sync)
    table = manifest.table("public", "t")
    # Where the copy is that is followed, no other takes its place.
    beside = f"{migration.bucket.location}again/"
    with exporting.planned(migration.settings, location=beside) as plan:
        again = exporting.export(plan).table("public", "t")
    assert table and again
    assert rows(migration, table, changed) == rows(migration, again, of=plan.bucket)
    return changed


TYPES = {
    "int2": ("-32768", "7"), "int8": ("9223372036854775807",), "numeric(12,2)": ("1.20", "-0.01"), "float4": ("1e-5", "NaN"),
    "float8": ("0.1", "-Infinity"), "text": ("", "it's \"so\\ \t", "NULL", "{a,b}"), "varchar(5)": ("ab",), "char(4)": ("a",),
    '"char"': ("x",), "name": ("n",), "bool": ("t",), "bytea": ("\\x00ff27",), "date": ("2024-02-29",), "time": ("23:59:59.999999",),
    "timestamp": ("2024-01-01 00:00:00.000001",), "timestamptz": ("2024-01-01 00:00:00+05:45",), "interval": ("1 mon -2 days",),
    "uuid": ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",), "json": ('{"a": 1.0}',), "jsonb": ('{"b": [1, null]}',),
    "int[]": ("{1,NULL,3}", "{{1,2},{3,4}}"), "text[]": ('{"a,b",NULL,"NULL","q\\"\\\\"}',), "int4range": ("[1,5)",), "box": ("(1,2),(3,4)",),
    "box[]": ("{(1,1),(0,0);(2,2),(1,1)}",), "inet": ("10.0.0.1/8",), "bit(3)": ("101",), "money": ("$1.00",), "xid": ("3",), "mood": ("so",),
    "positive": ("5",), "pair": ('(1,"a ""b""")',), "tsvector": ("'a':1",), "pg_lsn": ("0/16B3748",),
}  # fmt: skip


def test_values_of_every_type_travel_as_in_a_copy(migration: Any) -> None:
    columns = ", ".join(f"c{n} {kind}" for n, kind in enumerate(TYPES))
    migration.source(
        "CREATE TYPE mood AS ENUM ('so', 'la')", "CREATE DOMAIN positive AS numeric(9,3) CHECK (VALUE > 0)",
        "CREATE TYPE pair AS (a int, b text)", f"CREATE TABLE t (id int PRIMARY KEY, {columns})",
        "INSERT INTO t (id) VALUES (-1)",
    )  # fmt: skip
    most = max(map(len, TYPES.values()))
    inserts = []
    for number in range(most):
        values = ", ".join(postgres.literal(each[number % len(each)]) for each in TYPES.values())
        inserts.append(f"INSERT INTO t VALUES ({number}, {values})")
    changed = taken_in(migration, *inserts, "UPDATE t SET id = 100 WHERE id = 0", "INSERT INTO t (id) VALUES (50)")
    assert (changed.written, changed.deleted, changed.truncated) == (most + 1, 0, False)


def test_keys_of_types_whose_texts_differ_where_they_are_equal(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id numeric, c char(4), at timestamptz, v text, PRIMARY KEY (id, c, at))",
        "INSERT INTO t VALUES (1.0, 'a', '2024-01-01', 'before'), (2.00, 'b', '2024-01-01', 'stays'), (3, 'c', '2024-01-01', 'goes')",
    )
    changed = taken_in(
        migration,
        "UPDATE t SET id = 1.00, v = 'after' WHERE v = 'before'",
        "DELETE FROM t WHERE id = 3.0", "INSERT INTO t VALUES (3.000, 'c', '2024-01-01 00:00:00+00', 'again')",
        "DELETE FROM t WHERE id = 2",
    )  # fmt: skip
    assert (changed.written, changed.deleted) == (2, 1)


LONG = "repeat(md5('x'), 300)"


def test_values_that_nobody_touched_stay(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, v text, w text, n int)",
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL, ALTER w SET STORAGE EXTERNAL",
        f"INSERT INTO t SELECT i, {LONG} || i, {LONG}, i FROM generate_series(1, 6) i",
    )
    changed = taken_in(
        migration,
        "UPDATE t SET n = 0 WHERE id <= 2", "UPDATE t SET id = id + 100 WHERE id = 2", "UPDATE t SET v = 'short' WHERE id = 3",
        "UPDATE t SET id = 200 WHERE id = 4; UPDATE t SET id = 4 WHERE id = 5; UPDATE t SET id = 5 WHERE id = 200",
        "DELETE FROM t WHERE id = 6", f"INSERT INTO t VALUES (6, {LONG} || 'new', NULL, 1)", "UPDATE t SET n = 2 WHERE id = 6",
    )  # fmt: skip
    assert set(changed.unchanged) == {"v", "w"}


def test_a_truncation_in_the_middle(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, 'x' FROM generate_series(1, 9) i"
    )
    changed = taken_in(
        migration, "DELETE FROM t WHERE id = 1", "TRUNCATE t", "INSERT INTO t VALUES (3, 'after'), (10, 'new')"
    )
    assert (changed.truncated, changed.written, changed.deleted) == (True, 2, 0)


def test_generated_columns_are_computed(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED, v text GENERATED ALWAYS AS ('v' || a) VIRTUAL)",
        "INSERT INTO t (id, a) VALUES (1, 1)",
    )
    taken_in(migration, "UPDATE t SET a = 5 WHERE id = 1", "INSERT INTO t (id, a) VALUES (2, NULL)")


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("numeric", "'NaN'", "v: NaN or infinity"),
        ("numeric", "1.1234567890123456789", "v: more digits after the point"),
        ("date", "'infinity'", "v: infinite"),
        ("timestamptz", "'12000-01-01'", "v: after year 9999"),
        ("time", "'24:00'", "v: 24:00"),
    ],
)
def test_what_a_copy_refuses_is_refused_with_its_key(migration: Any, column: str, value: str, why: str) -> None:
    migration.source(f"CREATE TABLE t (id int PRIMARY KEY, v {column})", "INSERT INTO t VALUES (1, NULL)")
    manifest, sync = follow(migration)
    migration.source(f"INSERT INTO t VALUES (2, NULL), (77, {value})")
    with pytest.raises(CannotBeStaged, match=f"id=77: {why}"):
        staged(migration, manifest, sync)


def test_a_value_that_its_staged_type_does_not_hold_is_found_among_many(migration: Any) -> None:
    """The copy measured a numeric, and its type has room for what was there."""
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v numeric)", "INSERT INTO t VALUES (1, 0.5)")
    manifest, sync = follow(migration)
    migration.source(
        "INSERT INTO t SELECT i, i FROM generate_series(2, 300) i", f"INSERT INTO t VALUES (777, {'9' * 37})",
    )  # fmt: skip
    with pytest.raises(CannotBeStaged, match="id=777"):
        staged(migration, manifest, sync)
