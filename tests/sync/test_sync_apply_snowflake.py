"""What is Snowflake's own: tokens of the last change, policies, and records that hold across a commit whose answer is lost.

Would catch: a stranger's write that a sync goes over in silence, masked values that are written back as the source's, rows that a
policy hides and a MERGE inserts a second time, a load after a sync that takes the sync for a stranger.
"""

from __future__ import annotations

from typing import Any

import pytest

from helpers import load as loading
from helpers.engines import engine
from helpers.engines.snowflake import positions
from helpers.errors import TargetRefused
from tests.sync.batches import Change, Following, following

DOC = (
    "CREATE TABLE doc (id int PRIMARY KEY, big text)",
    "INSERT INTO doc SELECT n, 'big ' || n FROM generate_series(1, 5) n",
)


def _move(found: Following, number: int, **more: Any) -> None:
    """Every row to another key, with its value."""
    found.after = found.before
    moved = {
        "origin": {"id": f"id + {10 * number}"},
        "values": {"id": f"id + {10 * (number + 1)}"},
        "unchanged": {"big": "TRUE"},
    }
    found.apply(found.batch(number, {"doc": Change("TRUE", **{**moved, **more})}))


@pytest.mark.parametrize(
    "theirs",
    [
        """UPDATE "doc" SET "big" = 'theirs' WHERE "id" = 11""",
        pytest.param("""CREATE OR REPLACE TABLE "doc" AS SELECT * FROM "doc" """, marks=pytest.mark.slow),
        pytest.param("""ALTER TABLE "doc" RENAME TO "other" """, marks=pytest.mark.slow),
    ],
)
def test_a_strangers_change_is_refused_and_nothing_is_applied(migration: Any, theirs: str) -> None:
    found = following(migration, "snowflake", *DOC)
    _move(found, 0)
    there = found.there("doc")
    found.after = found.before
    batch = found.batch(1, {"doc": Change("TRUE", new="TRUE", values={"id": "id + 50"})})
    with found.opened() as applier:
        migration.target(theirs)
        if theirs.startswith("UPDATE"):
            with pytest.raises(TargetRefused, match="others wrote to it since"):
                applier.apply(batch, found.before.tables)
            assert found.rows("doc")[0] == (11, "theirs")
    with found.opened() as applier, pytest.raises(TargetRefused, match=r"others wrote to it since.*export --follow"):
        applier.positions([there])
    with found.opened() as applier:
        assert applier.positions([]).whole, "the others go on"


@pytest.mark.parametrize(("theirs", "refused"), [('DELETE FROM "doc" WHERE "id" = 12', True), ("", False)])
def test_between_a_commit_and_its_token_rows_are_counted(
    migration: Any, theirs: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = following(migration, "snowflake", *DOC)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(positions, "settle", lambda *_, **__: 1 / 0)
        _move(found, 0)
    if theirs:
        migration.target(theirs)
        with pytest.raises(TargetRefused, match="it has 4 rows, and 5 were left"):
            _move(found, 1)
    else:
        _move(found, 0)
        _move(found, 1)
        assert found.rows("doc") == [(20 + n, f"big {n}") for n in range(1, 6)]


def test_a_value_that_was_not_sent_is_not_read_through_a_mask(migration: Any) -> None:
    found = following(migration, "snowflake", *DOC)
    migration.administrator(
        "CREATE MASKING POLICY hide AS (val VARCHAR) RETURNS VARCHAR -> '***'",
        'ALTER TABLE "doc" MODIFY COLUMN "big" SET MASKING POLICY hide',
    )
    with pytest.raises(TargetRefused, match=r"they would be read masked: doc\.big by HIDE"):
        _move(found, 0)
    sent = {"unchanged": {}, "values": {"id": "id + 10"}}
    _move(found, 0, **sent)
    migration.administrator('ALTER TABLE "doc" MODIFY COLUMN "big" UNSET MASKING POLICY')
    assert found.rows("doc") == [(10 + n, f"big {n}") for n in range(1, 6)]


def test_other_rows_than_the_batch_follows_on_take_it_back(migration: Any) -> None:
    """Seen by what the MERGE counts: here rows that a policy hides, which it would insert a second time."""
    found = following(migration, "snowflake", *DOC)
    found.after = found.before
    migration.administrator(
        "CREATE ROW ACCESS POLICY some AS (val NUMBER) RETURNS BOOLEAN -> val > 1",
        'ALTER TABLE "doc" ADD ROW ACCESS POLICY some ON ("id")',
    )
    batch = found.batch(0, {"doc": Change("id < 3")})
    with pytest.raises(TargetRefused, match="1 rows with keys of the batch are there and 2 should be"):
        found.apply(batch)
    migration.administrator('ALTER TABLE "doc" DROP ALL ROW ACCESS POLICIES')
    assert found.rows("doc") == [(n, f"big {n}") for n in range(1, 6)]
    with found.opened() as applier:
        assert applier.positions([found.there("doc")]).whole == found.start


def test_a_load_after_a_sync_replaces_its_rows_and_ends_it(migration: Any) -> None:
    found = following(migration, "snowflake", *DOC)
    _move(found, 0)
    found.export_again("UPDATE doc SET big = 'again'")
    section = found.section
    plan = loading.plan_load(found.after, found.second, section)
    assert [table.action for table in plan.tables] == ["replace the rows"]
    loading.load(plan)
    assert found.rows("doc") == [(n, "again") for n in range(1, 6)]
    assert engine("snowflake").followed(section, migration.bucket) is None
    place = found.there("doc")
    with found.opened() as applier:
        with pytest.raises(TargetRefused, match="has not begun there"):
            applier.positions([place])
        with pytest.raises(TargetRefused):
            applier.begin({place: found.start})
        applier.begin({place: found.start + 0x180})
        at = applier.positions([place])
        assert (at.whole, at.ahead) == (found.start + 0x100, {place: found.start + 0x180})
