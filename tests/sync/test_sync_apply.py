"""What applies batches, on real loads: each row ends as a load of the same rows has it, and each change takes effect once.

Would catch: swapped keys that overwrite one another, an unchanged value taken from the wrong row or set to NULL, a value that a batch
casts otherwise than a load, a truncation that leaves rows, a batch that counts twice after a crash, a stranger's write that is
followed by ours, maintenance that is taken for one.
"""

from __future__ import annotations

import re
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import load as loading
from helpers.engines import engine
from helpers.engines.applying import Followed, Positions
from helpers.errors import TargetRefused
from helpers.model import lsn
from helpers.platforms import snowflake, spark, statements
from helpers.platforms.s3 import Bucket
from tests.movers.test_migration import PARTS, TYPES
from tests.sync.batches import STEP, Change, following

TARGETS = ("databricks", "snowflake")

DOCS = (
    "CREATE TABLE doc (id int PRIMARY KEY, small text, big text)",
    "INSERT INTO doc SELECT n, 'small ' || n, repeat(n::text, 3) FROM generate_series(1, 9) n",
    "INSERT INTO doc VALUES (10, NULL, NULL), (11, 'x', NULL)",
)


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_inserts_updates_and_deletes_of_every_type_are_as_a_load_has_them(migration: Any, target: str) -> None:
    found = following(migration, target, *TYPES, *PARTS)
    found.export_again(
        "DELETE FROM types WHERE id = '00000000-0000-0000-0000-000000000001'",
        """UPDATE types SET flag = NULL, price = 1.10, free = -3.000000001, twice = '-Infinity', name = '"', padded = 'a', raw = '\\x27',
            instant = '1969-12-31 23:59:59.999999+00', tags = '{NULL}', span = '-1 mon 1 day', pair = NULL
            WHERE id = '00000000-0000-0000-0000-000000000002'""",
        """INSERT INTO types SELECT '00000000-0000-0000-0000-00000000000a', flag, small, whole, big, price, free, wide, single, twice,
            name, padded, body, raw, day, at, instant, clock, details, plain, tags, grid, feeling, cost, span, address, bits, ranges,
            pair FROM types WHERE id = '00000000-0000-0000-0000-000000000004'""",
        "DELETE FROM months WHERE id < 50", "UPDATE months SET amount = NULL WHERE id > 90",
        "INSERT INTO nothing VALUES (1, NULL), (2, 'two')",
    )  # fmt: skip
    old = "'00000000-0000-0000-0000-000000000001'"
    batch = found.batch(0, {
        "types": Change(written=f"id <> {old}", new="id::VARCHAR LIKE '%a'", deleted=f"id = {old}"),
        "months": Change(written="id > 90", deleted="id < 50"),
        "nothing": Change(written="TRUE", new="TRUE"),
    })  # fmt: skip
    found.apply(batch)
    for name in ("types", "months", "nothing"):
        assert repr(found.rows(name)) == repr(found.loaded_anew(name)), name
    with found.opened() as applier:
        assert applier.positions([found.there(table) for table in found.before.tables]) == Positions(batch.until)


def test_keys_that_change_keep_what_was_not_sent(migration: Any, target: str) -> None:
    """1 and 2 swap, 3 moves to 30 and 4 takes its place, 5 leaves a value that stays; 10 and 11 have NULL there."""
    found = following(migration, target, *DOCS)
    found.export_again(
        "UPDATE doc SET id = -id WHERE id IN (1, 2)", "UPDATE doc SET id = 3 + id, small = 'swapped' WHERE id < 0",
        "UPDATE doc SET id = 30 WHERE id = 3", "UPDATE doc SET id = 3 WHERE id = 4", "UPDATE doc SET small = 'five' WHERE id = 5",
        "UPDATE doc SET id = id + 90, small = NULL WHERE id IN (10, 11)", "UPDATE doc SET big = 'sent' WHERE id = 6",
        "INSERT INTO doc VALUES (12, 'new', NULL)",
    )  # fmt: skip
    origin = (
        "CASE id WHEN 1 THEN 2 WHEN 2 THEN 1 WHEN 30 THEN 3 WHEN 3 THEN 4 WHEN 100 THEN 10 WHEN 101 THEN 11 ELSE id END"
    )
    touched = "id IN (1, 2, 3, 5, 6, 12, 30, 100, 101)"
    change = Change(touched, "FALSE", {"id": origin}, "id = 12", {"big": "id NOT IN (6, 12)"})
    found.apply(found.batch(0, {"doc": change}))
    assert found.rows("doc") == found.loaded_anew("doc")


def test_a_truncation_goes_before_the_rows_of_its_batch(migration: Any, target: str) -> None:
    found = following(
        migration, target, *DOCS, "CREATE TABLE gone AS SELECT * FROM doc", "ALTER TABLE gone ADD PRIMARY KEY (id)"
    )
    found.export_again("TRUNCATE doc, gone", "INSERT INTO doc VALUES (1, 'again', NULL), (70, 'new', 'b')")
    batch = found.batch(0, {"doc": Change("TRUE", new="TRUE", truncated=True), "gone": Change(truncated=True)})
    found.apply(batch)
    assert (found.rows("doc"), found.rows("gone")) == (found.loaded_anew("doc"), [])
    again = found.export_again("INSERT INTO doc VALUES (2, 'more', NULL)", "INSERT INTO gone VALUES (5, NULL, 'x')")
    assert again.tables
    found.apply(found.batch(1, {"doc": Change("id = 2", new="TRUE"), "gone": Change("TRUE", new="TRUE")}))
    assert [found.rows(name) for name in ("doc", "gone")] == [found.loaded_anew(name) for name in ("doc", "gone")]


def test_names_of_every_kind_and_a_table_in_another_schema(migration: Any, target: str) -> None:
    odd = 'CREATE TABLE "Odd_1" ("Key" int, "key 2" text, "a""b" text, "sync_0" text, "select" int, PRIMARY KEY ("key 2", "Key"))'
    values = migration.settings.values
    tables = values.tables.model_copy(update={"schema_": f"{migration.name}_{{schema}}", "name": "t_{table}"})
    placed = values.model_copy(update={"tables": tables})
    other = type(migration)(type(migration.settings)(**{**vars(migration.settings), "values": placed}))
    found = following(other, target, odd, """INSERT INTO "Odd_1" VALUES (1, 'a', 'x', 'y', 1), (2, 'b', 'x', 'y', 2)""")
    assert found.there("Odd_1") == (f"{migration.name}_public", "t_Odd_1")
    found.export_again(
        """UPDATE "Odd_1" SET "key 2" = 'c', "select" = NULL WHERE "Key" = 1""",
        """DELETE FROM "Odd_1" WHERE "Key" = 2""",
    )
    change = Change("TRUE", "TRUE", {"key 2": "'a'"}, unchanged={'a"b': "TRUE", "sync_0": "TRUE"})
    before = found.rows("Odd_1")
    found.apply(found.batch(0, {"Odd_1": change}))
    assert len(before) == 2
    assert found.rows("Odd_1") == [(1, "c", "x", "y", None)]


def test_a_batch_counts_once_and_only_in_its_place(migration: Any, target: str) -> None:
    found = following(migration, target, *DOCS)
    found.export_again("UPDATE doc SET id = 20 WHERE id = 1")
    batch = found.batch(0, {"doc": Change("id = 20", origin={"id": "1"}, unchanged={"big": "TRUE"})})
    for _ in range(2):
        found.apply(batch)
        assert found.rows("doc") == found.loaded_anew("doc")
    later = found.batch(3, {})
    with pytest.raises(TargetRefused, match="the batch goes from"):
        found.apply(later)
    found.apply(found.batch(1, {}))
    with found.opened() as applier:
        assert applier.positions([found.there("doc")]) == Positions(found.start + 2 * STEP)


def test_the_statements_of_a_batch_can_be_listed_beforehand(migration: Any, target: str) -> None:
    """Would catch: a listing that changes a table, a record, or what the next batch begins at."""
    found = following(migration, target, *DOCS)
    found.after = found.before
    batch = found.batch(0, {"doc": Change("id < 3", unchanged={"big": "TRUE"}, values={"small": "'new'"})})
    before = found.rows("doc")
    with statements.listed(withhold=True) as listing:
        found.apply(batch)
    assert [each.sql.split(" USING ")[0] for each in listing.found if "MERGE" in each.sql] == [
        f"MERGE INTO {_full(found, 'doc')} AS t"
    ]
    with found.opened() as applier:
        assert (found.rows("doc"), applier.positions([found.there("doc")])) == (before, Positions(found.start))
    with statements.listed() as sent:
        found.apply(batch)
    told = [[each.sql for each in listed.found if not each.reads] for listed in (listing, sent)]
    assert told[0] == told[1]


def _full(found: Any, name: str) -> str:
    if found.target == "snowflake":
        return snowflake.identifier(found.section.database, *found.there(name))
    return spark.identifier(*found.there(name))


def test_a_column_that_the_source_has_got_is_added(migration: Any, target: str) -> None:
    """Also where the batch that needs it breaks off behind that, and where another one has added it."""
    found = following(migration, target, *DOCS)
    found.export_again(
        "ALTER TABLE doc ADD COLUMN price numeric(10,2), ADD COLUMN note text", "COMMENT ON COLUMN doc.note IS 'it''s new'",
        "UPDATE doc SET price = 1.5, note = 'n' WHERE id > 8", "DELETE FROM doc WHERE id = 1",
    )  # fmt: skip
    found.wider = True
    batch = found.batch(0, {"doc": Change("id > 8", "id = 1", unchanged={"big": "id = 9"})})
    with pytest.raises(TargetRefused):
        found.apply(found.batch(2, {"doc": Change("id > 8")}))
    for _ in range(2):
        found.apply(batch)
    assert found.rows("doc") == found.loaded_anew("doc")
    found.apply(found.batch(1, {"doc": Change("id = 2")}))
    assert found.rows("doc") == found.loaded_anew("doc")


def test_who_loads_verifies_or_follows_learns_of_the_sync(
    migration: Any, target: str, runbook: Any, migration_toml: Any
) -> None:
    found = following(migration, target, *DOCS)
    adapter = engine(target)
    assert adapter.followed(found.section, migration.bucket) == Followed(found.sync.id, found.start)
    with pytest.raises(TargetRefused, match="they would be set back"):
        loading.plan_load(found.before, migration.bucket, found.section)
    folder = migration_toml(migration.profile).parent
    told = runbook("verify", "--source", "manifest", "--target", target, "--json", folder=folder)
    assert (told.returncode, "a sync follows on the export" in told.stdout) == (2, True)
    other = found.sync.model_copy(update={"id": "f" * 32})
    with (
        adapter.applier(found.section, migration.bucket, other) as applier,
        pytest.raises(TargetRefused, match="another sync"),
    ):
        applier.positions([found.there("doc")])
    found.export_again("UPDATE doc SET small = 'again'")
    found.load_again()
    assert adapter.followed(found.section, found.second) is None
    anew = found.sync.model_copy(update={"id": "d" * 32, "export": found.after.export, "lsn": found.after.lsn})
    there = found.there("doc")
    with adapter.applier(found.section, found.second, anew) as applier:
        assert applier.positions([there]) == Positions(None)
        applier.begin({there: lsn.parse(anew.lsn)})
        assert applier.positions([there]) == Positions(lsn.parse(anew.lsn))
    anew = found.sync.model_copy(update={"id": "e" * 32, "export": "other"})
    with adapter.applier(found.section, migration.bucket, anew) as applier, pytest.raises(TargetRefused):
        applier.begin({found.there("doc"): found.start})


class _Killed(BaseException):
    """The end of a process."""


class _Fault:
    """Ends the process after the n-th thing that changes the target or its record, which is before the next one."""

    def __init__(self, patch: pytest.MonkeyPatch, target: str, number: int) -> None:
        self.left = number
        self.happened = ""
        session = {"databricks": spark.Session, "snowflake": snowflake.Session}[target]
        self._hook(patch, session, "execute")
        self._hook(patch, Bucket, "write")

    def _hook(self, patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        genuine = getattr(owner, name)

        def hooked(this: Any, what: str, *more: Any, **options: Any) -> Any:
            if re.match(r"\s*(SELECT|SHOW|DESCRIBE|ALTER SESSION)", what):
                return genuine(this, what, *more, **options)
            found = genuine(this, what, *more, **options)
            ends, self.left = self.left == 0, self.left - 1
            if ends:
                _let_go(this)
                self.happened = f"after {what}"
                raise _Killed
            return found

        patch.setattr(owner, name, hooked)


_left_open: list[Any] = []


def _let_go(session: Any) -> None:
    """Says no more to the server, as a process that was killed: a transaction stays open there."""
    if isinstance(session, snowflake.Session):
        _left_open.append(session._connection)
        session._ended, session._connection = True, SimpleNamespace(close=lambda: None)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_batch_that_breaks_off_anywhere_counts_once(
    migration: Any, target: str, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tables whose rows move to other keys in every batch and keep a value that was not sent: applied twice or half, it is lost.

    After a statement or a write of a record the process goes, and another one applies the same batch.
    """
    moves = {"doc": 100, "other": 1000}
    found = following(
        migration, target, *DOCS, "CREATE TABLE other AS TABLE doc", "ALTER TABLE other ADD PRIMARY KEY (id)"
    )
    found.after = found.before
    first = {name: found.rows(name) for name in moves}
    number = 0
    while True:
        batch = found.batch(number, {
            name: Change("TRUE", origin={"id": f"id + {number * step}"}, unchanged={"big": "TRUE"}, values={"id": f"id + {(number + 1) * step}"})
            for name, step in moves.items()
        })  # fmt: skip
        fault = None
        with monkeypatch.context() as patch, suppress(_Killed):
            fault = _Fault(patch, target, number * every)
            found.apply(batch)
        found.apply(batch)
        number += 1
        for name, step in moves.items():
            wanted = sorted(((row[0] + number * step, *row[1:]) for row in first[name]), key=repr)
            assert found.rows(name) == wanted, (name, fault and fault.happened)
        if not fault.happened:
            break
    assert number > 1


@pytest.mark.slow
def test_the_widest_table_takes_a_batch(migration: Any, target: str) -> None:
    columns = ", ".join(f"column_{n} text" for n in range(1, 1600))
    found = following(
        migration, target, f"CREATE TABLE wide (id int PRIMARY KEY, {columns})", "INSERT INTO wide (id) VALUES (1), (2)"
    )
    found.export_again("UPDATE wide SET id = 3, column_1 = 'x', column_1599 = 'y' WHERE id = 2")
    same = {f"column_{n}": "TRUE" for n in range(2, 1500)}
    found.apply(found.batch(0, {"wide": Change("id = 3", origin={"id": "2"}, unchanged=same)}))
    assert found.rows("wide") == found.loaded_anew("wide")
