"""What is a Delta table's own: others' commits between a sync's, its keeper's maintenance, and a table that was made anew.

Would catch: an OPTIMIZE or VACUUM that stops a sync, a write or a restoration that a sync goes over in silence.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from helpers.errors import TargetRefused
from helpers.platforms.delta import Lake, storage_options
from tests.sync.batches import Change, Following, following

DOC = (
    "CREATE TABLE doc (id int PRIMARY KEY, big text)",
    "INSERT INTO doc SELECT n, 'big ' || n FROM generate_series(1, 5) n",
)


def _table(found: Following) -> DeltaTable:
    settings = found.migration.settings
    lake = Lake.open(settings.databricks, settings.stage)
    return DeltaTable(lake.location("doc"), storage_options=storage_options(settings.stage))


def _move(found: Following, number: int) -> None:
    """Every row to another key, with its value."""
    found.after = found.before
    change = Change(
        "TRUE",
        origin={"id": f"id + {10 * number}"},
        values={"id": f"id + {10 * (number + 1)}"},
        unchanged={"big": "TRUE"},
    )
    found.apply(found.batch(number, {"doc": change}))


def test_maintenance_is_no_stranger(migration: Any) -> None:
    found = following(migration, "databricks", *DOC)
    for number in range(3):
        _move(found, number)
        table = _table(found)
        table.optimize.compact()
        table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
        table.alter.set_table_properties({"theirs": str(number)}, raise_if_not_exists=False)
    assert found.rows("doc") == [(30 + n, f"big {n}") for n in range(1, 6)]


@pytest.mark.parametrize(
    "theirs",
    [
        "appended",
        "restored",
        pytest.param("deleted", marks=pytest.mark.slow),
        pytest.param("made anew", marks=pytest.mark.slow),
    ],
)
def test_a_strangers_write_is_refused(migration: Any, theirs: str) -> None:
    """Before the next session of a sync, and within one: then with the batch that finds it."""
    found = following(migration, "databricks", *DOC)
    _move(found, 0)
    rows = pa.table({"id": pa.array([99], pa.int32()), "big": ["theirs"]})
    there = found.there("doc")

    def write() -> None:
        table = _table(found)
        if theirs == "restored":
            table.restore(table.version() - 1)
        elif theirs == "deleted":
            table.delete("id = 11")
        else:
            mode = "append" if theirs == "appended" else "overwrite"
            if theirs == "made anew":
                lake = Lake.open(migration.settings.databricks, migration.settings.stage)
                lake.remove("doc")
            write_deltalake(table.table_uri, rows, mode=mode, storage_options=storage_options(migration.settings.stage))

    with found.opened() as applier:
        assert applier.positions([there]).whole
        write()
        found.after = found.before
        batch = found.batch(1, {"doc": Change("TRUE", new="TRUE", values={"id": "id + 50"})})
        with pytest.raises(TargetRefused, match="others wrote to it since"):
            applier.apply(batch, found.before.tables)
    with found.opened() as applier, pytest.raises(TargetRefused, match="others wrote to it since"):
        applier.positions([there])
    with found.opened() as applier:
        assert applier.positions([]).whole, "the others go on"


def test_what_the_sync_left_can_be_restored(migration: Any) -> None:
    """Also where the sync has merged into a stranger's rows before it saw them."""
    found = following(migration, "databricks", *DOC)
    _move(found, 0)
    left = _table(found).version()
    theirs = pa.table({"id": pa.array([99], pa.int32()), "big": ["theirs"]})
    found.after = found.before
    batch = found.batch(1, {"doc": Change("TRUE", new="TRUE", values={"id": "id + 50"})})
    with found.opened() as applier:
        applier.positions([found.there("doc")])
        write_deltalake(
            _table(found).table_uri, theirs, mode="append", storage_options=storage_options(migration.settings.stage)
        )
        with pytest.raises(TargetRefused, match="others wrote to it since"):
            applier.apply(batch, found.before.tables)
    _table(found).restore(left)
    with found.opened() as applier:
        assert applier.positions([found.there("doc")]).ahead == {}
    _move(found, 1)
    assert found.rows("doc") == [(20 + n, f"big {n}") for n in range(1, 6)]


def test_a_table_that_was_loaded_anew_begins_again(migration: Any) -> None:
    """As `sync resync` does: with a copy that others' writes are not in, at its own position."""
    found = following(migration, "databricks", *DOC)
    _move(found, 0)
    write_deltalake(
        _table(found).table_uri,
        pa.table({"id": pa.array([99], pa.int32()), "big": ["theirs"]}),
        mode="append",
        storage_options=storage_options(migration.settings.stage),
    )
    found.export_again("UPDATE doc SET big = 'again'")
    found.load_again()
    place = found.there("doc")
    with found.opened() as applier:
        with pytest.raises(TargetRefused, match="is at"):
            applier.begin({place: found.start})
        applier.begin({place: found.start + 0x180})
        positions = applier.positions([place])
        assert (positions.whole, positions.ahead) == (found.start + 0x100, {place: found.start + 0x180})
    assert found.rows("doc") == [(n, "again") for n in range(1, 6)]
