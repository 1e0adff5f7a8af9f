"""Several tables at the same time, each in a session of its own, and few round trips in a row.

Would catch: tables that wait for one another, a failure or an interrupt that takes other tables with it, a table that is there
and recorded by nobody, statements that come back one a table.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from waiting import wait_for

from helpers import load as loading
from helpers.engines.snowflake import load as snowflake_load
from helpers.engines.snowflake import owner
from helpers.errors import LoadError
from helpers.model.manifest import Manifest
from helpers.platforms import snowflake, spark

TABLES = 12


def _source(migration: Any) -> Manifest:
    migration.source(
        *(
            f"CREATE TABLE t{n} AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, {n * 10}) i"
            for n in range(TABLES)
        )
    )
    return migration.export()


def _plan(migration: Any, manifest: Manifest) -> loading.LoadPlan:
    return loading.plan_load(manifest, migration.bucket, migration.settings.snowflake)


@contextmanager
def _sent() -> Iterator[dict[int, list[str]]]:
    """The statements by the thread that sends them: each of a load's has one session."""
    real, sent = snowflake.Session.execute, defaultdict(list)

    def execute(session: Any, sql: str, *args: Any, **options: Any) -> Any:
        sent[threading.get_ident()].append(sql)
        return real(session, sql, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snowflake.Session, "execute", execute)
        yield sent


def test_tables_are_loaded_at_the_same_time_with_few_round_trips(migration: Any) -> None:
    manifest = _source(migration)
    for most in (12, 9):  # of a new table, and of one whose rows are replaced
        plan = _plan(migration, manifest)
        with _sent() as sent:
            loaded = loading.load(plan)
        assert [(table.table, table.rows) for table in loaded] == [(str(t), t.rows) for t in manifest.tables]
        at_work = [statements for thread, statements in sent.items() if thread != threading.get_ident()]
        assert len(at_work) == plan.there.parallel
        own = [sql for statements in at_work for sql in statements if "SHOW PARAMETERS" not in sql]
        assert len(own) <= TABLES * most + 6 * plan.there.parallel, Counter(sql[:40] for sql in own)
        assert max(map(len, at_work)) < len(own) / 2
        main = [sql for sql in sent[threading.get_ident()] if "LOADED_TABLES" in sql or "LAST_CHANGE" in sql]
        assert len(main) < 2 * TABLES
    assert migration.verify().verdict == "equal"
    assert [table.action for table in _plan(migration, manifest).tables] == ["replace the rows"] * TABLES


def test_delta_tables_are_loaded_at_the_same_time_over_one_session(migration: Any) -> None:
    manifest = _source(migration)
    target = migration.settings.databricks
    threads: set[str] = set()
    real = spark.Session.view_of_files

    def noted(*args: Any, **options: Any) -> None:
        threads.add(threading.current_thread().name)
        real(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spark.Session, "view_of_files", noted)
        for _ in range(2):
            loading.load(loading.plan_load(manifest, migration.bucket, target))
    assert len(threads) == target.parallel
    assert migration.verify("databricks").verdict == "equal"


def test_a_table_that_fails_is_alone(migration: Any) -> None:
    manifest = _source(migration)
    migration.bucket.remove([file.path for table in manifest.tables if table.name == "t5" for file in table.files])
    aside: dict[str, LoadError] = {}
    loaded = loading.load(_plan(migration, manifest), load_id="first", set_aside=aside)
    assert list(aside) == ["public.t5"]
    assert len(loaded) == TABLES - 1
    with pytest.raises(LoadError, match=r"t5"):
        migration.load(manifest)


def test_an_interrupt_leaves_each_table_whole_or_as_it_was(migration: Any) -> None:
    manifest = _source(migration)
    told: list[str] = []

    def stop(done: int, total: int, what: str) -> None:
        told.append(what)
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loading.load(_plan(migration, manifest), load_id="again", progress=stop)
    assert any(what.startswith("loading public.t") for what in told)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("load-")]
    own = migration.settings.snowflake
    named = f"\"{own.database}\".INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = '{own.schema_}'"
    # One whose very CREATE was ended may be there, and says of itself that it has no rows.
    found = migration.target(f"SELECT TABLE_NAME, COMMENT FROM {named}")
    there = [name for name, comment in found if not (comment or "").startswith(owner.UNFINISHED)]
    for name in there:
        assert migration.target(f'SELECT COUNT(*) FROM "{name}"') == [(int(name[1:]) * 10,)]
    actions = Counter(t.action for t in loading.load(_plan(migration, manifest), load_id="again"))
    assert actions == Counter({"kept the rows of this load": len(there), "create": TABLES - len(there)})
    assert migration.verify().verdict == "equal"


def test_what_runs_in_another_session_is_ended(migration: Any) -> None:
    migration.source("CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 3000) i")
    migration.migrate()
    own = migration.settings.snowflake
    table = snowflake.identifier(own.database, own.schema_, "t")
    slow = f'SELECT SUM(a."id" * b."id" + c."id") FROM {table} a, {table} b, {table} c'
    ended: list[BaseException] = []
    with snowflake_load.opened(own, migration.bucket) as loader, snowflake.connect(own) as session:
        other = snowflake_load.SnowflakeLoader(own, migration.bucket, session)

        def work() -> None:
            try:
                session.execute(slow, doing="take long")
            except LoadError as error:
                ended.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.5)
        assert thread.is_alive()

        def over() -> bool:
            loader.interrupt([other])  # again, where it came before the query
            thread.join(0.5)
            return not thread.is_alive()

        wait_for(over)
    assert [type(error) for error in ended] == [LoadError]


def test_a_new_table_of_a_load_that_was_killed_is_made_again(migration: Any) -> None:
    """It is made where it stays, and says of itself that it has no rows until it is recorded."""
    migration.source("CREATE TABLE t AS SELECT 1 AS id", "COMMENT ON TABLE t IS 'of the source'")
    manifest = migration.export()

    class Killed(BaseException):
        pass

    real = snowflake.Session.execute

    def execute(session: Any, sql: str, *args: Any, **options: Any) -> Any:
        if sql.startswith(("INSERT OVERWRITE", 'DROP TABLE "')):
            raise Killed
        return real(session, sql, *args, **options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(snowflake.Session, "execute", execute)
        migration.load(manifest)
    own = migration.settings.snowflake
    asked = f"SELECT COMMENT FROM \"{own.database}\".INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = '{own.schema_}'"
    ((comment,),) = migration.target(asked)
    assert comment.startswith(owner.UNFINISHED)
    assert [table.action for table in _plan(migration, manifest).tables] == ["create"]
    migration.load(manifest)
    assert migration.target(asked) == [("of the source",)]
    assert migration.verify().verdict == "equal"
