"""Option B: what is signed is what happens. What stays is neither frozen nor carried over, and the source goes on all along.

Would catch: a table that stays in the target, a freeze of the database that keeps the stays' writers out, a legacy pipeline that
is switched off, a difference that the live source made between export and gate, option A beside tables that stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from cutover_support import Project, opened

from helpers.errors import AwaitingPerson, GateClosed, UsageError
from helpers.phases.p30_data_migration.migration import DataMigration
from helpers.phases.p50_cutover.cutover import Cutover

STAY = '[profiles.local.tables]\nstay = { "public.log" = "the desk goes on writing" }\n'


@pytest.fixture
def hybrid(migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    with opened(migration, tmp_path, monkeypatch, option="B", extra=STAY) as found:
        yield found


def _signed(project: Project) -> Any:
    walk = project.cutover()
    checked = walk.preflight()
    with pytest.raises(AwaitingPerson, match="s50-window"):
        walk.window()
    project.sign("s50-window")
    walk.window()
    with pytest.raises(AwaitingPerson, match="s50-cutover"):
        walk.approve_plan(checked)
    project.sign("s50-cutover")
    return walk.plan()


def test_both_pipelines_stay_on_and_what_moved_is_refreshed_while_the_source_goes_on(hybrid: Project) -> None:
    migration, record, scheduler = hybrid.migration, hybrid.record, hybrid.scheduler
    assert record and scheduler
    plan = _signed(hybrid)
    assert plan["action"]["public.log"] == (
        "leave: stays in PostgreSQL by tables.stay public.log: the desk goes on writing"
    )
    assert plan["action"]["public.shops"].startswith("carry over")
    assert plan["action"]["nightly_of_today"] == "stay on"
    assert not [row for row in plan["action"] if "read_only" in row]

    migration.source("UPDATE shops SET name = 'since the export' WHERE id = 1")
    walk = hybrid.cutover()
    compared = hybrid.compared(walk)
    migration.source("INSERT INTO log VALUES ('goes on')", "UPDATE shops SET name = 'later' WHERE id = 2")
    for step in (walk.dags, walk.record, walk.traffic):
        step(compared)
    walk.monitor()
    assert not hybrid.is_frozen()
    assert "option B freezes nothing" in walk.findings("s50-freeze")["what"].iloc[0]
    assert scheduler.on == {"nightly_of_today": True, "cloud_pipeline": True}
    assert record.shares == [0, 10, 50, 100]
    here = "WHERE table_schema = CURRENT_SCHEMA() AND table_name IN ('log', 'shops')"
    assert migration.target(f"SELECT table_name FROM information_schema.tables {here}") == [("shops",)]
    assert migration.target('SELECT "name" FROM "shops" WHERE "id" < 3 ORDER BY "id"') == [
        ("since the export",), ("shop 2",),
    ]  # fmt: skip
    assert walk.summary().startswith("REFRESHED at LSN ")

    # Another attempt refreshes again: its snapshot is another one, and the source has moved on.
    hybrid.switched(hybrid.cutover())
    assert migration.target('SELECT "name" FROM "shops" WHERE "id" = 2') == [("later",)]

    back = hybrid.rollback()
    assert back.summary().startswith("ROLLED BACK: readers are on the old side")
    assert scheduler.on == {"nightly_of_today": True, "cloud_pipeline": False}
    assert record.shares[-1] == 0
    assert migration.source("SELECT name FROM shops WHERE id = 2") == [("later",)]
    assert hybrid.ledger.verify() == []


def test_a_planted_difference_stops_a_refresh(hybrid: Project) -> None:
    _signed(hybrid)
    hybrid.migration.target('UPDATE "shops" SET "name" = \'planted\' WHERE "id" = 7')
    with pytest.raises(GateClosed, match=r"public\.shops: different: 1 changed"):
        hybrid.compared(hybrid.cutover())
    assert hybrid.record and hybrid.record.shares == []


def test_the_data_migration_of_a_hybrid_moves_what_moves_alone(hybrid: Project) -> None:
    hybrid.attempt("30_data_migration")
    walk = DataMigration("local", [], option="B", apply=False)
    try:
        assert list(walk.survey().index) == ["public.shops"]
        actions = walk.export()["action"]
        assert (actions["public.shops"], actions["public.log"][:29]) == ("write", "leave: stays in PostgreSQL by")
    finally:
        walk.close()


def test_the_notebook_s_look_at_the_source_shows_nothing_that_does_not_move(
    migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    match = '[profiles.local.tables.match."public.shops"]\nomit = ["open"]\nmask = { name = { constant = "50% {of} it" } }\n'
    rows = 'where = "name LIKE \'%5\'"\nreason = "x"\n'
    with opened(migration, tmp_path, monkeypatch, extra=match + rows) as project:
        project.attempt("30_data_migration")
        walk = DataMigration("local", [], exclude=["log"], apply=False)
        try:
            walk.survey()
            with walk.source_engine().connect() as connection:
                query = sqlalchemy.text(f"SELECT * FROM {walk.largest_table()} ORDER BY id LIMIT 2")
                assert [dict(row) for row in connection.execute(query).mappings()] == [
                    {"id": 5, "name": "50% {of} it"}, {"id": 15, "name": "50% {of} it"},
                ]  # fmt: skip
        finally:
            walk.close()


def test_option_a_moves_every_table_and_refuses_those_that_stay(hybrid: Project) -> None:
    with pytest.raises(UsageError, match=r"option A moves every table, and public\.log would stay"):
        Cutover("local", "A", apply=False)
    assert hybrid.option == "B"
