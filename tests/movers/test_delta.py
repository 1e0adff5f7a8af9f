"""A source arrives in Delta through a real Spark Connect server, in one commit a table, and only what was staged.

Would catch: a value that Spark or its writer changes, a second load that adds, a load that dies half-way and leaves neither the
former table nor the new one, a definition that is lost when a table is replaced, a comment that Spark takes for SQL.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from helpers import load as loading
from helpers import settings as profiles
from helpers.engines.delta.catalog import Version
from helpers.engines.delta.load import DeltaLoader
from helpers.engines.delta.records import Record
from helpers.engines.loading import TableLoad
from helpers.errors import ConnectionFailed, LoadError, MigrationError, SettingsError, UsageError
from helpers.load import is_loaded
from helpers.local import stack
from helpers.local.servers.spark import Spark
from helpers.model.manifest import Manifest, StagedTable
from helpers.model.places import TargetTable
from helpers.platforms import spark
from helpers.platforms.delta import Lake, folder, storage_options, table_name
from helpers.settings import Databricks, Settings
from tests.movers.test_migration import EVENTS, ODD, PARTS, TYPES
from tests.movers.test_types import CORPUS

ODD_TABLE = """"Odd ""x"" Schema"."sélect 'é\""""


def _load(migration: Any, manifest: Manifest, **options: Any) -> loading.LoadPlan:
    plan = loading.plan_load(manifest, migration.bucket, migration.settings.databricks, **options)
    loading.load(plan)
    return plan


def _lake(migration: Any) -> Lake:
    return Lake.open(migration.settings.databricks, migration.settings.stage)


def _log(migration: Any, table: str) -> DeltaTable:
    lake = _lake(migration)
    return DeltaTable(lake.location(table), storage_options=storage_options(lake.bucket.stage))


def test_everything_odd_arrives(migration: Any) -> None:
    migration.source(*ODD, f"ALTER TABLE {ODD_TABLE} RENAME TO select_e", *TYPES, *EVENTS, *PARTS)
    plan = _load(migration, migration.export())
    assert {table.action for table in plan.tables} == {"create"}
    assert set(_lake(migration).tables()) == {"select_e", "types", "events", "months", "nothing"}
    report = migration.verify("databricks")
    assert {str(t): (t.differences, t.schema_findings) for t in report.tables if t.differences} == {}
    assert report.verdict == "equal"
    assert migration.verify("databricks", source_name="manifest").verdict == "equal"
    odd = _lake(migration).read("select_e")
    assert odd.comment == "it's a \\ comment"
    assert odd.columns[0].comment == "line one\nline 'two'"
    assert [c.not_null for c in odd.columns] == [True, True, False, False, False]


PLAIN = [
    name for name in CORPUS
    if name not in ("mood", "mood[]", "euro", "pair", "pair[]", "floatrange", "floatmultirange", "hstore", "citext", "ltree",
                    "lquery", "ltxtquery", "cube", "seg", "query_int", "ean13", "isbn", "isbn13", "ismn", "ismn13", "issn",
                    "issn13", "upc", "vector(3)", "halfvec", "sparsevec")
]  # fmt: skip


def test_every_value_of_every_type_arrives(migration: Any) -> None:
    migration.source(
        f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(f'c{n} {name}' for n, name in enumerate(PLAIN))})"
    )
    for row in range(max(len(CORPUS[name]) for name in PLAIN) + 1):
        values = (_quoted(CORPUS[name][row]) if row < len(CORPUS[name]) else "NULL" for name in PLAIN)
        migration.source(f"INSERT INTO t VALUES ({row}, {', '.join(values)})")
    _load(migration, migration.export())
    (table,) = migration.verify("databricks").tables
    assert (table.verdict, table.cells) == ("equal", ())
    assert len(table.changed_cells) == len(PLAIN) + 1


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def test_a_second_load_replaces_and_what_is_gone_from_the_source_is_dropped(migration: Any) -> None:
    migration.source(*EVENTS, *PARTS)
    _load(migration, migration.export())
    migration.source("DROP TABLE events", "DELETE FROM months WHERE id > 50", "INSERT INTO nothing VALUES (1, 'x')")
    plan = _load(migration, migration.export())
    assert {table.action for table in plan.tables} == {"replace the rows"}
    assert [table.name for table in plan.stale] == ["events"]
    assert set(_lake(migration).tables()) == {"months", "nothing"}
    report = migration.verify("databricks")
    assert (report.verdict, {t.name: t.rows_target for t in report.tables}) == ("equal", {"months": 50, "nothing": 1})
    # Created, then for each load one commit of rows and one of its mark.
    assert [commit["operation"] for commit in reversed(_log(migration, "months").history())] == [
        "CREATE TABLE", "WRITE", "SET TBLPROPERTIES", "WRITE", "SET TBLPROPERTIES",
    ]  # fmt: skip


def test_a_flag_column_that_a_policy_adds_arrives_and_is_no_finding(migration: Any) -> None:
    values = migration.settings.values
    export = values.export.model_copy(update={"policies": {"public.t.v": "null+flag"}})
    migration.settings = replace(migration.settings, values=values.model_copy(update={"export": export}))
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, v numeric(5,2) NOT NULL)", "INSERT INTO t VALUES (1, 'NaN'), (2, 1.5)"
    )
    _load(migration, migration.export())
    assert [(c.name, c.not_null) for c in _lake(migration).read("t").columns] == [
        ("id", True), ("v", False), ("v__original", False),
    ]  # fmt: skip
    for source in ("postgresql", "manifest"):
        (table,) = migration.verify("databricks", source_name=source).tables
        assert (table.verdict, table.schema_findings) == ("equal", ())


def test_one_table_alone_leaves_the_others(migration: Any) -> None:
    migration.source(*EVENTS, *PARTS)
    manifest = migration.export()
    _load(migration, manifest, table="events")
    assert _lake(migration).tables() == ["events"]
    with pytest.raises(UsageError, match=r"public\.months"):
        loading.plan_load(manifest, migration.bucket, migration.settings.databricks, table="no_such")


DEFINITIONS = [
    ("ALTER TABLE nothing ALTER COLUMN note SET NOT NULL", "note STRING must be note STRING NOT NULL"),
    ("ALTER TABLE nothing ADD COLUMN more numeric(5,2)", "it lacks more"),
    ("ALTER TABLE nothing ALTER COLUMN id TYPE bigint", "id INT must be id BIGINT NOT NULL"),
    ("ALTER TABLE nothing DROP COLUMN more", "it also has more"),
    ("COMMENT ON COLUMN nothing.note IS 'costs ${env:HOME} ''and'' \\'", "the comment on its column note is another"),
    ("COMMENT ON TABLE nothing IS 'nothing ${x}'", "its comment is another"),
]


def test_a_changed_definition_replaces_the_table_in_one_commit(migration: Any) -> None:
    migration.source("CREATE TABLE nothing (id int PRIMARY KEY, note text)", "INSERT INTO nothing VALUES (1, 'x')")
    _load(migration, migration.export())
    for statement, reason in DEFINITIONS:
        migration.source(statement)
        (action,) = (table.action for table in _load(migration, migration.export()).tables)
        assert action.startswith("replace the table: ")
        assert reason in action
        report = migration.verify("databricks")
        assert (report.verdict, [f for t in report.tables for f in t.schema_findings]) == ("equal", []), statement
    assert _lake(migration).read("nothing").comment == "nothing ${x}"


def test_comments_of_a_new_table_are_not_read_as_sql(migration: Any) -> None:
    comment = "a ${env:HOME} 'quoted' \\' back\\slash % é 🎉"
    migration.source(
        "CREATE TABLE t (id int)",
        f"COMMENT ON TABLE t IS {_quoted(comment)}",
        f"COMMENT ON COLUMN t.id IS {_quoted(comment)}",
    )
    _load(migration, migration.export())
    version = _lake(migration).read("t")
    assert (version.comment, version.columns[0].comment) == (comment, comment)


def test_files_with_other_rows_than_the_manifest_says_change_nothing(migration: Any) -> None:
    migration.source(*EVENTS)
    manifest = migration.export()
    _load(migration, manifest)
    before = _log(migration, "events").version()
    wrong = manifest.model_copy(update={"tables": (manifest.tables[0].model_copy(update={"rows": 6}),)})
    with pytest.raises(LoadError, match="6 rows were staged, but its files hold 5"):
        _load(migration, wrong)
    assert _log(migration, "events").version() == before


@pytest.mark.parametrize("fault", ["file", "null"])
def test_a_load_that_fails_leaves_the_former_table(migration: Any, fault: str) -> None:
    migration.source(*EVENTS)
    _load(migration, migration.export())
    migration.source("INSERT INTO events VALUES ('2025-01-01', 'late', NULL)")
    manifest = migration.export()
    table = manifest.tables[0]
    if fault == "file":
        content = migration.bucket.read(table.files[0].path)
        migration.bucket.write(
            table.files[0].path, content[: len(content) // 2] + b"\0" * 64 + content[len(content) // 2 + 64 :]
        )
    else:
        strict = tuple(column.model_copy(update={"not_null": True}) for column in table.columns)
        manifest = manifest.model_copy(update={"tables": (table.model_copy(update={"columns": strict}),)})
    with pytest.raises(MigrationError):
        _load(migration, manifest)
    migration.source("DELETE FROM events WHERE kind = 'late'")
    assert migration.verify("databricks").verdict == "equal"


@pytest.mark.slow  # kills a server that other test processes use
def test_a_load_that_loses_its_server_leaves_the_former_table(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    migration.source(
        "CREATE TABLE big (id int PRIMARY KEY, body text)",
        "INSERT INTO big SELECT n, md5(n::text) FROM generate_series(1, 20000) n",
    )
    _load(migration, migration.export())
    before = _log(migration, "big").version()
    migration.source("UPDATE big SET body = 'new'")
    plan = loading.plan_load(migration.export(), migration.bucket, migration.settings.databricks)
    with spark.connect(migration.settings.databricks) as session:
        session.execute(f"CREATE SCHEMA {spark.identifier(plan.target.schema_)}", doing="create the schema")
        monkeypatch.setattr(spark, "connect", lambda _: nullcontext(_Doomed(session)))
        with ExitStack() as ending, pytest.raises(ConnectionFailed) as caught:
            DeltaLoader(migration.settings.databricks, migration.bucket, ending).load_table(plan.tables[0])
    monkeypatch.undo()
    assert caught.value.transient
    assert _log(migration, "big").version() == before
    loading.load(plan)
    assert migration.verify("databricks").verdict == "equal"


class _Doomed:
    """A session whose server is killed just before the rows would be committed."""

    def __init__(self, session: spark.Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def execute(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        if sql.startswith("INSERT OVERWRITE"):
            import psutil

            (pid,) = (row.pid for row in stack.status() if row.name == "spark")
            process = psutil.Process(pid)
            process.kill()
            process.wait(10)
        return self._session.execute(sql, doing=doing)


def test_names_that_differ_only_in_case_are_refused(migration: Any) -> None:
    migration.source('CREATE TABLE t (a int, "A" int)')
    with pytest.raises(UsageError, match="does not tell case apart"):
        _load(migration, migration.export())
    assert _lake(migration).tables() == []


def test_the_server_starts_when_it_is_needed_and_is_found_again(local_settings: Any) -> None:
    url = stack.on_demand(Spark).url
    assert stack.on_demand(Spark).url == url
    (row,) = (row for row in stack.status() if row.name == "spark")
    assert (row.running, row.on_demand) == (True, True)
    assert url == f"sc://127.0.0.1:{row.port}"


def test_a_session_that_has_ended_closes_nothing_when_it_is_collected(
    migration: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch: a process that waits for ever, since a former session was collected while the next one's call was under way."""
    from pyspark.sql.connect.client.reattach import ExecutePlanResponseReattachableIterator as Calls

    with spark.connect(migration.settings.databricks) as session:
        ended = session._session
        session.execute("SELECT 1 AS n", doing="ask")
    assert ended.is_stopped
    closed: list[str] = []
    monkeypatch.setattr(Calls, "shutdown", lambda: closed.append("the calls of every session"))
    ended.__del__()
    assert closed == []


def test_every_name_has_a_folder_of_its_own() -> None:
    names = ["plain", "Plain", "a.b", "a b", "日本 語", "a/../b", "%2e", ".2e", "", "a'b\"c", "sélect 'é", "-_9"]
    folders = [folder(name) for name in names]
    assert [table_name(name) for name in folders] == names
    assert len(set(folders)) == len(names)
    assert all(
        set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") for name in folders
    )


def test_settings_say_how_to_reach_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "dapi-very-secret")
    file = tmp_path / "migration.toml"
    file.write_text(
        '[profiles.p.databricks]\nhost = "adb-1.azuredatabricks.net"\ncluster_id = "1125-x"\ntoken = { env = "TOKEN" }\n'
        'catalog = "sales"\nschema = "migrated"\n'
    )
    target = profiles.load("p", file).databricks
    assert spark._url(target) == "sc://adb-1.azuredatabricks.net:443"
    assert "very-secret" not in spark.address(target) + repr(target)
    for wrong in (
        'schema = "m"',
        'schema = "m"\nurl = "sc://x"\nhost = "y"',
        'schema = "m"\nhost = "y"',
        'schema = "m"\nurl = "sc://x:1/;token=y"',
    ):
        file.write_text(f"[profiles.p.databricks]\n{wrong}\n")
        with pytest.raises(SettingsError, match=r"profiles\.p\.databricks"):
            profiles.load("p", file)


def test_what_databricks_is_asked_for(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statements that pysail cannot run, as their documentation has them."""
    migration.source(*ODD)
    manifest = migration.export()
    target = Databricks.model_validate(
        {
            "host": "x",
            "cluster_id": "c",
            "token": profiles.Resolved("t"),
            "schema": "m",
            "catalog": "main",
            "delta_root": "s3://lake/x/",
        }
    )
    asked = _Asked(manifest.tables[0])
    monkeypatch.setattr(spark, "connect", lambda _: nullcontext(asked))
    plan = loading.LoadPlan(manifest, migration.bucket, target, ())
    with ExitStack() as ending:
        DeltaLoader(target, migration.bucket, ending)._fill(
            TableLoad(manifest.tables[0], manifest.tables[0].there("m"), "replace", "why")
        )
    replacing, *constraints = [sql for sql in asked.statements if not sql.startswith(("SELECT", "DESCRIBE"))]
    assert replacing.startswith(
        "CREATE OR REPLACE TABLE `main`.`m`.`sélect 'é` USING DELTA CLUSTER BY (`order`) LOCATION 's3://lake/x/m/s.c3.a9lect.20.27.c3.a9' "
        "COMMENT 'it\\'s a \\\\ comment' TBLPROPERTIES ('migration.loaded' = 'new', 'delta.columnMapping.mode' = 'name', "
    )
    assert "AS SELECT CAST(`order` AS BIGINT) AS `order`, CAST(`Group By` AS STRING) AS `Group By`," in replacing
    assert constraints == [
        "ALTER TABLE `main`.`m`.`sélect 'é` ALTER COLUMN `order` SET NOT NULL",
        "ALTER TABLE `main`.`m`.`sélect 'é` ALTER COLUMN `order` COMMENT 'line one\nline \\'two\\''",
        "ALTER TABLE `main`.`m`.`sélect 'é` ALTER COLUMN `Group By` SET NOT NULL",
    ]
    assert replace(plan, stale=(TargetTable("m", "x"),)).rows == 0


def test_what_databricks_is_asked_for_to_know_whose_rows_it_has(
    migration: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likewise: the answers are as Delta Lake's documentation has them (https://docs.delta.io/latest/delta-utility.html)."""
    migration.source(*EVENTS)
    manifest = migration.export()
    target = Databricks.model_validate({"url": "sc://x", "schema": "M", "catalog": "main"})
    asked = _Told(version=7)
    monkeypatch.setattr(spark, "connect", lambda _: nullcontext(asked))
    record = Record.begun(migration.bucket, target, manifest.export, "f" * 32)
    record.keep(
        migration.bucket, TargetTable("M", "events"), Version(table_id="one", number=7), manifest.tables[0].rows
    )
    assert not is_loaded(manifest, migration.bucket, target, "f" * 32)[0]
    record.finish(migration.bucket)
    assert is_loaded(manifest, migration.bucket, target, "f" * 32)[0]
    assert asked.statements == [
        "SHOW SCHEMAS IN `main`", "SHOW TABLES IN `main`.`M`",
        "DESCRIBE DETAIL `main`.`M`.`events`", "DESCRIBE HISTORY `main`.`M`.`events` LIMIT 1",
    ]  # fmt: skip
    for other in (_Told(version=8), _Told(version=7, table_id="two"), _Told(version=7, table="another")):
        monkeypatch.setattr(spark, "connect", lambda _, other=other: nullcontext(other))
        assert not is_loaded(manifest, migration.bucket, target, "f" * 32)[0]
    assert not is_loaded(manifest, migration.bucket, target, "e" * 32)[0]


def test_a_table_that_is_dropped_on_the_stacks_apache_spark_does_not_come_back_with_its_next_start(
    migration: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark leaves the files of a table that names its place, and the stack's catalog is made of what lies there."""
    keys = {"engine": "apache-spark", "token": profiles.Resolved("t"), "files": "s3a", "schema": "m"}
    root = migration.bucket.location
    target = Databricks.model_validate({**keys, "delta_root": f"s3a://{root.bucket}/{root.key('delta')}"})
    lake = Lake.open(target, migration.settings.stage)
    for table in ("gone", "kept"):
        lake.bucket.write(f"{table}/_delta_log/00000000000000000000.json", b"{}")
    monkeypatch.setattr(spark, "connect", lambda _: nullcontext(_Told(version=1)))
    with ExitStack() as ending:
        DeltaLoader(target, migration.bucket, ending).drop(TargetTable("m", "gone"), written=False)
    assert lake.tables() == ["kept"]


class _Told:
    """Answers like a server with one table."""

    def __init__(self, *, version: int, table_id: str = "one", table: str = "Events") -> None:
        self.statements: list[str] = []
        self._answers = {
            "SHOW SCHEMAS": {"databaseName": "m"}, "SHOW TABLES": {"namespace": "m", "tableName": table.lower(), "isTemporary": False},
            "DROP TABLE": {}, "DESCRIBE DETAIL": {"format": "delta", "id": table_id}, "DESCRIBE HISTORY": {"version": version, "operation": "WRITE"},
        }  # fmt: skip

    def execute(self, sql: str, *, doing: str, **options: Any) -> list[dict[str, Any]]:
        self.statements.append(sql)
        return [next(answer for start, answer in self._answers.items() if sql.startswith(start))]


class _Asked:
    """Keeps the statements and runs none."""

    def __init__(self, staged: StagedTable) -> None:
        self.statements: list[str] = []
        values = (staged.values[column.field] for column in staged.columns) if staged.values else ()
        self._counted = {"n": staged.rows, "N": staged.rows, **{f"V{n}": count for n, count in enumerate(values)},
                         "clusteringColumns": ["order", "gone"]}  # fmt: skip

    def execute(self, sql: str, *, doing: str, **options: Any) -> list[dict[str, Any]]:
        self.statements.append(sql)
        return [self._counted]

    def view_of_files(self, *arguments: Any, **options: Any) -> None:
        pass


def test_several_tables_at_once_over_one_session(migration: Any) -> None:
    """Would catch: rows of a table that another thread's files gave, where both have one name; a record that loses a table."""
    migration.source(
        "CREATE SCHEMA other",
        *(f"CREATE TABLE {schema}.t{n} (id int PRIMARY KEY, note text)" for schema in ("public", "other") for n in range(3)),
        *(f"INSERT INTO {schema}.t{n} SELECT g, '{schema}' FROM generate_series(1, {n + k}) g"
          for schema, k in (("public", 10), ("other", 20)) for n in range(3)),
    )  # fmt: skip
    values = migration.settings.values
    tables = values.tables.model_copy(update={"schema_": f"{migration.name}_{{schema}}"})
    own = values.model_copy(
        update={"tables": tables, "source": values.source.model_copy(update={"schemas": ("public", "other")})}
    )
    migration.settings = Settings("local", migration.settings.file, own)
    manifest, load_id = migration.export(), "e" * 32
    plan = loading.plan_load(manifest, migration.bucket, migration.settings.databricks)
    assert plan.there.parallel > 1
    loading.load(plan, load_id=load_id)
    assert is_loaded(manifest, migration.bucket, migration.settings.databricks, load_id)[0]
    report = migration.verify("databricks")
    assert (report.verdict, sum(table.rows_target for table in report.tables)) == ("equal", 3 * 10 + 3 * 20 + 2 * 3)
