"""A frozen source takes no write of the application, and is afterwards exactly what it was.

Would catch: a freeze that new sessions or sessions from before go round, a role whose own default stands above the database's, a
writer that is not named, a freeze that is given up and leaves the setting behind, an unfreeze that puts back something similar.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest

from helpers.errors import SourceRefused
from helpers.platforms import postgres
from helpers.settings import Source
from helpers.source import freeze

PASSWORD = "of the application"


@dataclass
class App:
    """A source with a table, and a role that writes to it over connections of its own."""

    migration: Any
    role: str

    @property
    def source(self) -> Source:
        return self.migration.settings.source

    def connect(self) -> Any:
        own = freeze._as(self.source, self.role, PASSWORD)
        return postgres.connect(own, application="the shop", settings={"search_path": "public"})

    def writes(self) -> bool:
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            try:
                cursor.execute("INSERT INTO t VALUES (99)")
            except psycopg2.errors.ReadOnlySqlTransaction:
                return False
            return True

    def stored(self) -> list[tuple[Any, ...]]:
        """Every stored setting of this database and this role, as the catalog has it."""
        return self.migration.source(
            "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database "
            f"WHERE datname = current_database()) OR setrole = '{self.role}'::regrole ORDER BY 1, 2"
        )

    def tried(self, *, own: bool = True) -> freeze.Tried:
        return freeze.try_a_write(self.source, role=self.role, password=PASSWORD if own else None)


@pytest.fixture
def app(migration: Any) -> Iterator[App]:
    role = f"{migration.settings.source.dbname}_app"
    migration.source(
        f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'", f"GRANT {role} TO CURRENT_USER", "CREATE TABLE t (id int)",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {role}",
    )  # fmt: skip
    yield App(migration, role)
    with closing(
        postgres.connect(migration.settings.source, settings={**freeze.WRITES, "search_path": "public"})
    ) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"DROP OWNED BY {role}")
        connection.cursor().execute(f"DROP ROLE {role}")


FORMER = {
    "unset": "SELECT 1",
    "off": "ALTER DATABASE {db} SET default_transaction_read_only = off",
    "as it was written": "ALTER DATABASE {db} SET default_transaction_read_only = 'false'",
    "beside others": "ALTER DATABASE {db} SET work_mem = '7MB'",
    "of the role": "ALTER ROLE {role} SET default_transaction_read_only = off",
    "of the role here": "ALTER ROLE {role} IN DATABASE {db} SET default_transaction_read_only = 'no'",
}


@pytest.mark.parametrize("former", FORMER)
def test_it_holds_and_goes_without_a_trace(app: App, former: str) -> None:
    app.migration.source(FORMER[former].format(db=app.source.dbname, role=app.role))
    before = app.stored()
    assert app.writes()
    assert not app.tried().refused
    plan = freeze.plan_freeze(app.source)
    freeze.freeze(plan, patience=0)

    assert freeze.is_frozen(app.source)
    assert not app.writes()
    assert app.tried().refused
    assert app.tried(own=False).refused
    assert freeze.try_a_write(app.source).refused

    freeze.unfreeze(app.source, plan.former)
    assert app.stored() == before
    assert app.writes()
    assert not freeze.is_frozen(app.source)


def test_a_session_from_before_is_ended_and_reads_afterwards(app: App) -> None:
    with closing(app.connect()) as connection:
        connection.cursor().execute("SELECT 1")
        plan = freeze.plan_freeze(app.source)
        assert [(s.role, s.application, s.writing) for s in plan.sessions] == [(app.role, "the shop", False)]
        frozen = freeze.freeze(plan, patience=0)
        assert [(s.role, s.application) for s in frozen.ended] == [(app.role, "the shop")]
        with pytest.raises(psycopg2.OperationalError):
            connection.cursor().execute("INSERT INTO t VALUES (1)")
    assert not app.writes()
    freeze.unfreeze(app.source, plan.former)


def test_a_session_that_writes_is_named_and_nothing_is_left(app: App) -> None:
    before = app.stored()
    with closing(app.connect()) as connection:
        connection.cursor().execute("INSERT INTO t VALUES (1)")
        with pytest.raises(SourceRefused) as caught:
            freeze.freeze(freeze.plan_freeze(app.source), patience=0.3)
        assert f"the shop as {app.role}" in caught.value.why
        assert app.stored() == before
        connection.commit()
    assert app.migration.source("SELECT count(*) FROM t") == [(1,)]
    assert app.writes()


def test_a_session_that_writes_is_ended_where_that_is_wanted(app: App) -> None:
    with closing(app.connect()) as connection:
        connection.cursor().execute("INSERT INTO t VALUES (1)")
        plan = freeze.plan_freeze(app.source)
        frozen = freeze.freeze(plan, patience=0.2, end_writers=True)
        assert [s.writing for s in frozen.ended] == [True]
        assert frozen.waited >= 0.2
    assert app.migration.source("SELECT count(*) FROM t") == [(0,)]
    freeze.unfreeze(app.source, plan.former)


def test_who_asks_to_write_by_name_is_seen(app: App) -> None:
    plan = freeze.plan_freeze(app.source)
    freeze.freeze(plan, patience=0)
    assert freeze.writers(app.source) == ()
    with closing(app.connect()) as connection:
        connection.set_session(readonly=False)
        connection.cursor().execute("INSERT INTO t VALUES (1)")
        assert [s.role for s in freeze.writers(app.source)] == [app.role]
    freeze.unfreeze(app.source, plan.former)


def test_a_role_that_was_given_its_own_default_since_is_seen(app: App) -> None:
    plan = freeze.plan_freeze(app.source)
    freeze.freeze(plan, patience=0)
    with closing(postgres.connect(app.source, settings={**freeze.WRITES, "search_path": "public"})) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"ALTER ROLE {app.role} SET default_transaction_read_only = off")
    assert not app.tried().refused
    assert not app.tried(own=False).refused
    assert not freeze.is_frozen(app.source)
    freeze.unfreeze(app.source, plan.former)


def test_a_freeze_that_is_broken_off_leaves_the_settings(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    before = app.stored()

    def broken(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(freeze, "_end", broken)
    with pytest.raises(KeyboardInterrupt):
        freeze.freeze(freeze.plan_freeze(app.source), patience=0)
    assert app.stored() == before


def test_sessions_from_the_freeze_write_again_after_it(app: App) -> None:
    plan = freeze.plan_freeze(app.source)
    freeze.freeze(plan, patience=0)
    with closing(app.connect()) as connection:
        connection.cursor().execute("SELECT 1")
        assert freeze.unfreeze(app.source, plan.former) == ()
        with pytest.raises(psycopg2.OperationalError):
            connection.cursor().execute("SELECT 1")
    assert app.writes()


def test_a_role_without_rights_cannot_be_tried(migration: Any) -> None:
    with pytest.raises(SourceRefused, match="no table that this role may change"):
        freeze.try_a_write(migration.settings.source)
