"""The same of Delta tables: only what a load of ours marked is replaced, and files of others in a table's folder stay.

Would catch: a table that another program wrote where ours would lie, one that was dropped and made again, a copy of ours with
our mark in it, an owner's comment that a load overwrites, rows of others that are dropped or replaced without a word.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from helpers import load as loading
from helpers.errors import TargetRefused
from helpers.platforms.delta import Lake, storage_options

SOURCE = (
    "CREATE TABLE customer (id int PRIMARY KEY, name text)",
    "COMMENT ON TABLE customer IS 'ours'",
    "INSERT INTO customer VALUES (1, 'Ann'), (2, 'Bob')",
)
THEIRS = pa.table({"id": pa.array([9], pa.int32()), "name": ["our only copy"]})


def _lake(migration: Any) -> Lake:
    return Lake.open(migration.settings.databricks, migration.settings.stage)


def _options(migration: Any) -> dict[str, str]:
    return storage_options(migration.settings.stage)


def _write(migration: Any, name: str = "customer", **options: Any) -> None:
    write_deltalake(_lake(migration).location(name), THEIRS, storage_options=_options(migration), **options)


def _rows(migration: Any, name: str = "customer", version: int | None = None) -> list[Any]:
    table = DeltaTable(_lake(migration).location(name), version=version, storage_options=_options(migration))
    return sorted(table.to_pyarrow_table()["name"].to_pylist())


def _plan(migration: Any, manifest: Any) -> loading.LoadPlan:
    return loading.plan_load(manifest, migration.bucket, migration.settings.databricks)


def _refused(migration: Any, manifest: Any) -> str:
    with pytest.raises(TargetRefused) as caught:
        _plan(migration, manifest)
    return str(caught.value)


def test_a_table_of_another_program_is_refused_and_stays(migration: Any) -> None:
    migration.source(*SOURCE)
    _write(migration)
    assert "no load of ours made customer" in _refused(migration, migration.export())
    assert _rows(migration) == ["our only copy"]


def test_a_table_that_was_made_again_or_copied_is_another(migration: Any) -> None:
    migration.source(*SOURCE)
    manifest = migration.export()
    loading.load(_plan(migration, manifest))
    mark = _lake(migration).read("customer").properties["migration.loaded"]
    bucket = _lake(migration).bucket
    bucket.remove([path for path in bucket.sizes() if path.startswith("customer/")])
    _write(migration)
    assert "no load of ours made customer" in _refused(migration, manifest)
    table = DeltaTable(_lake(migration).location("customer"), storage_options=_options(migration))
    table.alter.set_table_properties({"migration.loaded": mark}, raise_if_not_exists=False)
    assert "no load of ours made customer" in _refused(migration, manifest)
    assert _rows(migration) == ["our only copy"]


def test_rows_that_others_wrote_are_told_and_stay_in_the_history(migration: Any) -> None:
    migration.source(*SOURCE)
    manifest = migration.export()
    loading.load(_plan(migration, manifest))
    assert [table.action for table in _plan(migration, manifest).tables] == ["replace the rows"]
    _write(migration, mode="append")
    there = _lake(migration).read("customer").version
    plan = _plan(migration, manifest)
    assert (
        f"others wrote to it since its load: as it was, it is version {there} of its history" in plan.tables[0].action
    )
    loading.load(plan)
    assert (_rows(migration), _rows(migration, version=there)) == (["Ann", "Bob"], ["Ann", "Bob", "our only copy"])
    _write(migration, mode="append")
    migration.source("DROP TABLE customer", "CREATE TABLE other (id int)")
    assert "drop customer, which the source no longer has" in _refused(migration, migration.export())


def test_an_owners_comment_and_a_file_of_others_stay(migration: Any) -> None:
    migration.source(*SOURCE)
    loading.load(_plan(migration, migration.export()))
    table = DeltaTable(_lake(migration).location("customer"), storage_options=_options(migration))
    table.alter.set_table_description("ask Anna")
    _lake(migration).bucket.write("customer/notes.txt", b"theirs")
    migration.source("ALTER TABLE customer ADD COLUMN since date")
    plan = _plan(migration, migration.export())
    assert plan.tables[0].action == "replace the table: it lacks since"
    loading.load(plan)
    assert [table.action for table in _plan(migration, migration.export()).tables] == ["replace the rows"]
    assert _lake(migration).read("customer").comment == "ask Anna"
    migration.source("DROP TABLE customer", "CREATE TABLE other (id int)")
    loading.load(_plan(migration, migration.export()))
    assert sorted(_lake(migration).tables()) == ["other"]
    assert _lake(migration).bucket.read("customer/notes.txt") == b"theirs"


def _table(migration: Any) -> DeltaTable:
    return DeltaTable(_lake(migration).location("customer"), storage_options=_options(migration))


def test_maintenance_leaves_a_load_as_it_was_and_a_write_does_not(migration: Any) -> None:
    """OPTIMIZE, VACUUM, properties and RESTORE are run by delta-rs on the very tables.

    Would catch: a nightly OPTIMIZE or VACUUM after which a load counts as changed and everything is loaded again; a write that hides
    between two of them; a restoration that is taken for maintenance though it brings back other rows.
    """
    migration.source(*SOURCE, "CREATE TABLE other (id int)")
    manifest, target = migration.export(), migration.settings.databricks
    load_id = "f" * 32
    loading.load(_plan(migration, manifest), load_id=load_id)

    def as_left() -> bool:
        held, why = loading.is_loaded(manifest, migration.bucket, target, load_id)
        assert held or "customer" in why, why
        others = [table.action for table in _plan(migration, manifest).tables if "others wrote" in table.action]
        assert bool(others) is not held
        return held

    loaded = _table(migration).version()
    assert as_left()
    _table(migration).optimize.z_order(["id"])
    _table(migration).alter.set_table_properties({"delta.appendOnly": "false"}, raise_if_not_exists=False)
    _table(migration).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert {commit["operation"] for commit in _table(migration).history()} >= {
        "OPTIMIZE",
        "VACUUM END",
        "SET TBLPROPERTIES",
    }
    assert _table(migration).version() > loaded + 3
    assert as_left()
    again = loading.load(_plan(migration, manifest), load_id=load_id)
    assert {each.action for each in again} == {"kept the rows of this load"}
    good = _table(migration).version()
    _write(migration, mode="append")
    assert not as_left()
    _table(migration).optimize.compact()
    assert not as_left()
    bad = _table(migration).version()
    _table(migration).restore(good)
    assert as_left()
    _table(migration).restore(bad)
    assert not as_left()
    assert not _plan(migration, manifest).stale
