"""A rollback brings back every write to the target, or none of them, and says why.

Would catch: a write that is lost, applied twice or to another row, a value that the source's column rounds or cuts, a source that
moved and is written over, a refusal that comes after the first change, a sequence that hands out a key that came back, a final
delta that leaves a changed table behind or reads every table again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers import export
from helpers import load as load
from helpers.cutover import last_difference, later_writes, rollback, rollback_statements
from helpers.cutover.rollback import RollbackPlan
from helpers.errors import SourceRefused
from helpers.model.manifest import Manifest
from helpers.platforms import postgres
from helpers.source import freeze, held_snapshots, snapshot

TABLES = [
    "CREATE TABLE shops (id int PRIMARY KEY, name text NOT NULL UNIQUE, open boolean)",
    "INSERT INTO shops SELECT n, 'shop ' || n, n % 2 = 0 FROM generate_series(1, 20) n",
    "CREATE TABLE sales (shop int REFERENCES shops, no bigint GENERATED ALWAYS AS IDENTITY, at timestamptz, amount numeric(10, 2), "
    "raw numeric, code varchar(3), note text, \"50%\" int, tags text[], doc jsonb, f float8, r real, "
    "gross numeric GENERATED ALWAYS AS (amount * 2) STORED, PRIMARY KEY (shop, no))",
    "INSERT INTO sales (shop, at, amount, raw, code, note, \"50%\", tags, doc, f, r) SELECT n % 20 + 1, "
    "timestamptz '2024-01-01 00:00+00' + n * interval '1 minute', n / 7.0, n / 8.0, 'a' || n % 10, "
    "CASE WHEN n % 5 > 0 THEN 'é ' || n END, n, ARRAY['x', n::text], jsonb_build_object('n', n), n / 3.0, n / 3.0 "
    "FROM generate_series(1, 300) n",
    "CREATE TABLE log (line text)",
    "INSERT INTO log SELECT 'line ' || n FROM generate_series(1, 50) n",
]  # fmt: skip


@dataclass
class CutOver:
    """A frozen source, and a target that is equal to it."""

    migration: Any
    final: Manifest
    folder: Path

    def plan(self) -> RollbackPlan:
        self.folder = self.folder / "again"
        return rollback.plan_rollback(self.migration.settings, self.final.export, cells_folder=self.folder)

    def source(self, *statements: str) -> list[tuple[Any, ...]]:
        """As somebody who goes round the freeze."""
        with closing(
            postgres.connect(self.migration.settings.source, settings={**freeze.WRITES, "search_path": "public"})
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []

    def content(self) -> list[tuple[Any, ...]]:
        return [
            row
            for table in ("shops", "sales", "log")
            for row in self.source(f"SELECT t::text FROM {table} t ORDER BY 1")
        ]


@pytest.fixture
def cut_over(migration: Any, tmp_path: Path) -> Iterator[Callable[..., CutOver]]:
    former: list[Any] = []

    def made(*statements: str) -> CutOver:
        migration.source(*TABLES, *statements)
        migration.migrate()
        plan = freeze.plan_freeze(migration.settings.source)
        former.append(plan.former)
        freeze.freeze(plan, patience=0, end_writers=True)
        taken = snapshot.take(migration.settings.source)
        delta = last_difference.plan_delta(migration.settings, migration.bucket, taken)
        final = export.export(delta.export)
        held_snapshots.release(taken)
        assert delta.changed == ()
        return CutOver(migration, final, tmp_path)

    yield made
    for each in former:
        freeze.unfreeze(migration.settings.source, each)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_no_write_is_lost(cut_over: Callable[..., CutOver], seed: int) -> None:
    done = cut_over()
    journal = later_writes.write(done.migration.settings, done.final, seed=seed, count=40)
    assert min(journal.counts.values()) > 0
    assert done.migration.verify().verdict == "different"

    plan = done.plan()
    assert plan.refused == ()
    before = done.content()
    rollback.try_out(plan)
    assert done.content() == before
    brought = rollback.bring_back(plan)

    assert sum(sum(kinds.values()) for kinds in brought.values()) == plan.changes > 0
    assert journal.lost(done.migration.settings.source, done.final) == ()
    assert done.migration.verify().verdict == "equal"
    assert done.plan().changes == 0


@pytest.mark.slow
def test_a_lost_write_is_seen(cut_over: Callable[..., CutOver]) -> None:
    done = cut_over()
    journal = later_writes.write(done.migration.settings, done.final, seed=5, count=20)
    plan = done.plan()
    rollback.bring_back(plan)
    assert journal.lost(done.migration.settings.source, done.final) == ()
    (name, key), row = next(
        (place, row) for place, row in journal.rows.items() if row is not None and place[0] == "public.sales"
    )
    done.source(f"UPDATE sales SET note = 'overwritten' WHERE shop = {key[0]} AND no = {key[1]}")
    (sentence,) = journal.lost(done.migration.settings.source, done.final)
    assert name in sentence and "note" in sentence and "overwritten" in sentence, row


def test_a_key_of_an_extension_s_type_is_found_by_its_own_operator(cut_over: Callable[..., CutOver]) -> None:
    """With nothing but pg_catalog in the path, `=` alone would not be found, or be another's."""
    done = cut_over(
        "CREATE EXTENSION citext", "CREATE EXTENSION ltree", "CREATE EXTENSION isn", "CREATE DOMAIN code AS citext",
        "CREATE TABLE keyed (a citext, b ltree, c ean13, d code, note text, PRIMARY KEY (a, b, c, d))",
        "INSERT INTO keyed SELECT 'A' || n, ('a.b' || n)::ltree, '4006381333931', 'D' || n, 'x' FROM generate_series(1, 3) n",
    )  # fmt: skip
    done.migration.target(
        'UPDATE "keyed" SET "note" = \'y\' WHERE "a" = \'A1\'', 'DELETE FROM "keyed" WHERE "a" = \'A2\''
    )
    rollback.bring_back(done.plan())
    assert done.source("SELECT a::text, note FROM keyed ORDER BY 1") == [("A1", "y"), ("A3", "x")]


def test_every_kind_of_value_comes_back(cut_over: Callable[..., CutOver]) -> None:
    done = cut_over()
    done.migration.target(
        'UPDATE "sales" SET "at" = \'2030-02-28 23:59:59.000001\', "amount" = 0.10, "raw" = 1.5, "code" = NULL, "note" = \'%s\\\\n\', '
        '"50%" = -1, "tags" = \'{a,"b,c",NULL}\', "doc" = \'{"n": null}\', "f" = 1e300, "r" = 0.5, "gross" = 0.20 WHERE "no" = 3',
        'DELETE FROM "sales" WHERE "no" IN (4, 5)',
        'INSERT INTO "shops" VALUES (77, \'ünïcode\', NULL)',
        'INSERT INTO "sales" SELECT 77, 900, "at", "amount", "raw", "code", NULL, "50%", "tags", "doc", "f", "r", "gross" '
        'FROM "sales" WHERE "no" = 7',
        'DELETE FROM "shops" WHERE "id" = 20 AND 1 = 0',
    )  # fmt: skip
    plan = done.plan()
    assert [plan.rows(kind) for kind in rollback.KINDS] == [2, 1, 2]
    rollback.bring_back(plan)
    assert done.migration.verify().verdict == "equal"
    assert done.source('SELECT note, code, "50%", tags, gross FROM sales WHERE no = 3') == [
        ("%s\\n", None, -1, ["a", "b,c", None], done.source("SELECT 0.20::numeric")[0][0])
    ]
    done.source("INSERT INTO sales (shop) VALUES (1)")
    assert done.source("SELECT max(no) FROM sales") == [(901,)]


REFUSED = {
    "a table without a key": ("INSERT INTO \"log\" VALUES ('new')", r"public\.log has no key"),
    "a value that is printed otherwise": ('UPDATE "sales" SET "doc" = \'{"n":3}\' WHERE "no" = 3', "doc = "),
    "no value of the type": ('UPDATE "sales" SET "doc" = \'{\' WHERE "no" = 3', "invalid input syntax"),
    "a key twice": ('INSERT INTO "shops" SELECT * FROM "shops" WHERE "id" = 3', "duplicate key|already exists"),
    "a new key twice": ("INSERT INTO \"shops\" VALUES (88, 'a', TRUE), (88, 'b', TRUE)", "twice in the target"),
    "no such shop": ('UPDATE "sales" SET "shop" = 99 WHERE "no" = 3', "foreign key"),
    "a taken name": ('UPDATE "shops" SET "name" = \'shop 4\' WHERE "id" = 3', "unique"),
    "a new table": ('CREATE TABLE "more" ("x" NUMBER(10,0))', "table of the target that the source does not have"),
    "a new column": ('ALTER TABLE "shops" ADD COLUMN "more" VARCHAR', "another definition"),
    "a value that another is computed from": (
        'UPDATE "sales" SET "amount" = 1 WHERE "no" = 3', "gross would change with it",
    ),
    "a computed value": ('UPDATE "sales" SET "gross" = 1 WHERE "no" = 3', "to update"),
}  # fmt: skip


QUICK = ("a table without a key", "a value that is printed otherwise", "a key twice")


@pytest.mark.parametrize("cases", [QUICK, pytest.param(tuple(REFUSED), marks=pytest.mark.slow)], ids=["some", "all"])
def test_it_refuses_before_anything_is_changed(cut_over: Callable[..., CutOver], cases: tuple[str, ...]) -> None:
    done = cut_over()
    before = done.content()
    for case, (statement, says) in ((each, REFUSED[each]) for each in cases):
        done.migration.target('UPDATE "shops" SET "open" = NULL WHERE "id" = 1', statement)
        plan = done.plan()
        for act in (rollback.try_out, rollback.bring_back):
            with pytest.raises(SourceRefused, match=says) as caught:
                act(plan)
            assert "nothing was changed" in caught.value.why, case
        assert done.content() == before, case
        done.migration.target('DROP TABLE IF EXISTS "more"')
        done.migration.load(done.final)
    assert done.plan().changes == 0


@pytest.mark.slow
def test_a_trigger_refuses(cut_over: Callable[..., CutOver]) -> None:
    done = cut_over(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name = NEW.name || 1; RETURN NEW; END'",
        "CREATE TRIGGER late BEFORE UPDATE ON shops FOR EACH ROW EXECUTE FUNCTION late()",
    )
    done.migration.target('UPDATE "shops" SET "open" = NULL WHERE "id" = 1')
    with pytest.raises(SourceRefused, match="has the triggers late"):
        rollback.bring_back(done.plan())


def test_a_source_that_moved_since_the_cutover_refuses(cut_over: Callable[..., CutOver]) -> None:
    done = cut_over()
    done.migration.target('UPDATE "shops" SET "open" = NULL WHERE "id" = 1')
    done.source("UPDATE shops SET name = 'moved' WHERE id = 2")
    with pytest.raises(SourceRefused, match=r"public\.shops of the source is no longer what was cut over"):
        rollback.bring_back(done.plan())
    assert done.source("SELECT open FROM shops WHERE id = 1") == [(False,)]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM log WHERE line = 'line 3'",
        pytest.param("UPDATE shops SET open = true WHERE id = 1", marks=pytest.mark.slow),
        pytest.param("DELETE FROM sales WHERE no = 9", marks=pytest.mark.slow),
    ],
)
def test_a_source_that_moves_under_the_plan_refuses(cut_over: Callable[..., CutOver], statement: str) -> None:
    done = cut_over()
    done.migration.target('UPDATE "shops" SET "open" = NULL WHERE "id" = 1', 'DELETE FROM "sales" WHERE "no" = 9')
    plan = done.plan()
    done.source(statement)
    with pytest.raises(SourceRefused, match=r"as they were compared|the target has"):
        rollback.bring_back(plan)
    assert done.source("SELECT count(*) FROM shops WHERE id = 1 AND open IS NOT NULL") == [(1,)]


@pytest.mark.slow
def test_an_open_source_refuses(cut_over: Callable[..., CutOver]) -> None:
    done = cut_over()
    done.migration.target('UPDATE "shops" SET "open" = NULL WHERE "id" = 1')
    plan = done.plan()
    former = freeze.plan_freeze(done.migration.settings.source).former
    freeze.unfreeze(done.migration.settings.source, (freeze.Stored(None, None),))
    with pytest.raises(SourceRefused, match="takes writes"):
        rollback.bring_back(plan)
    freeze.freeze(freeze.plan_freeze(done.migration.settings.source), patience=0)
    assert freeze.plan_freeze(done.migration.settings.source).former == former


def test_another_export_than_the_final_one_refuses(cut_over: Callable[..., CutOver]) -> None:
    done = cut_over()
    plan = rollback.plan_rollback(done.migration.settings, "20200101T000000Z-abcdef", cells_folder=done.folder)
    assert "the cutover ended with 20200101T000000Z-abcdef" in plan.refused[0]


def test_many_rows_come_back_in_batches(cut_over: Callable[..., CutOver], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollback_statements, "ROWS_PER_STATEMENT", 7)
    done = cut_over()
    done.migration.target('UPDATE "sales" SET "note" = \'x\'', 'DELETE FROM "sales" WHERE "no" > 250')
    brought = rollback.bring_back(done.plan())
    assert brought["public.sales"] == {"insert": 0, "update": 250, "delete": 50}
    assert done.migration.verify().verdict == "equal"


def test_the_delta_is_what_changed_and_nothing_else(migration: Any) -> None:
    migration.source(*TABLES)
    first = migration.migrate()
    migration.source("UPDATE sales SET note = 'later' WHERE no = 3", "CREATE TABLE fresh (id int PRIMARY KEY)")
    taken = snapshot.take(migration.settings.source)
    delta = last_difference.plan_delta(migration.settings, migration.bucket, taken)
    assert (delta.changed, delta.kept) == (("public.fresh", "public.sales"), ("public.log", "public.shops"))
    final = export.export(delta.export)
    kept = {str(t): t.files for t in first.tables}
    assert all(table.files == kept[str(table)] for table in final.tables if str(table) in delta.kept)
    load_plan = last_difference.plan_load(final, migration.bucket, migration.settings.snowflake, delta.changed)
    assert {t.target.name for t in load_plan.tables} == {"sales", "fresh"}
    load.load(load_plan, load_id="f" * 32)
    assert last_difference.is_loaded(final, migration.bucket, migration.settings.snowflake, delta.changed, "f" * 32)[0]
    held_snapshots.release(taken)
    assert migration.verify().verdict == "equal"
    assert migration.verify("stage").verdict == "equal"


@pytest.mark.slow
def test_the_rehearsal_loses_nothing_and_leaves_nothing(local_settings: Any) -> None:
    from helpers.cutover import rehearsal as rollback_rehearsal

    def databases() -> set[str]:
        with (
            closing(postgres.connect(local_settings.source, settings={"search_path": "public"})) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'rehearsal%'")
            return {name for (name,) in cursor.fetchall()}

    done = rollback_rehearsal.rehearse(local_settings, orders=300, writes=40, seed=7)
    assert (done.lost, done.equal, done.restored, done.passed) == ((), True, True, True)
    assert min(done.writes.values()) > 0
    assert set(done.changed) == {"public.customers", "public.event_log"}
    assert databases() == set()


@pytest.mark.slow
def test_a_planted_loss_fails_the_rehearsal(local_settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from helpers.cutover import rehearsal as rollback_rehearsal

    real = rollback.plan_rollback

    def forgetful(*args: Any, **options: Any) -> RollbackPlan:
        plan = real(*args, **options)
        return RollbackPlan(plan.source, plan.lsn, plan.tables[1:], {}, ())

    monkeypatch.setattr(rollback, "plan_rollback", forgetful)
    done = rollback_rehearsal.rehearse(local_settings, orders=300, writes=40, seed=7)
    assert not done.passed
    assert done.lost
    assert "were lost" in done.verdict
