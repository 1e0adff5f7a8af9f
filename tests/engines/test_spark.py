"""Apache Spark with Delta Lake itself: loads, comparisons and refusals, over a server as the page docs/targets/apache-spark.md has it.

Would catch: SQL that Spark computes otherwise than pysail and DuckDB, a statement that it refuses, a zone or a mode of the server that
gets into an answer, rows that a deletion vector hides, a table that a killed server leaves half-written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from helpers import PROJECT
from helpers import load as loading
from helpers.engines.delta import records
from helpers.engines.delta.dialect import CANONICAL
from helpers.errors import LocalStackError, MigrationError, TargetRefused, UsageError
from helpers.local.servers import apache_spark
from helpers.platforms import spark
from helpers.platforms.delta import Lake
from tests.engines.spark_server import SparkServer
from tests.movers.test_migration import EVENTS, ODD, PARTS, TYPES
from tests.sync import batches
from tests.verify import canonical_corpus as corpus
from tests.verify.test_verify_delta import CHANGES, KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server(local_settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkServer]:
    """One for all tests; skipped, with what to install, where Java or Maven are not there."""
    try:
        apache_spark.fetch(report=lambda line: None)
    except LocalStackError as error:
        pytest.skip(str(error))
    found = SparkServer.started(tmp_path_factory.mktemp("apache-spark"), local_settings.stage)
    yield found
    found.stop()


@pytest.fixture
def spark_migration(migration: Any, server: SparkServer) -> Iterator[Any]:
    """A fresh source, with tables on Apache Spark to go to."""
    values = migration.settings.values
    own = values.model_copy(update={"databricks": server.section(migration.name)})
    found = type(migration)(replace(migration.settings, values=own))
    yield found
    bucket = Lake.open(own.databricks, own.stage).bucket
    bucket.remove(list(bucket.sizes()))


def _load(migration: Any) -> loading.LoadPlan:
    plan = loading.plan_load(migration.export(), migration.bucket, migration.settings.databricks)
    loading.load(plan)
    return plan


def _ask(migration: Any, *statements: str) -> list[dict[str, Any]]:
    """Runs statements in the schema of the tables; the last one's rows."""
    target, rows = migration.settings.databricks, []
    with spark.connect(target) as session:
        session.execute(f"USE {spark.identifier(target.schema_)}", doing="use the schema")
        for statement in statements:
            rows = session.execute(statement, doing="ask Spark")
    return rows


def _equal(migration: Any) -> None:
    report = migration.verify("databricks")
    found = {str(t): (t.differences, t.method, t.schema_findings) for t in report.tables if t.verdict != "equal"}
    assert (report.verdict, found) == ("equal", {})
    assert [f for table in report.tables for f in table.schema_findings] == []


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_spark_gives_the_golden_forms(server: SparkServer, ansi: str) -> None:
    """By its compiled code over files, in a server of another zone: a constant would be computed while the query is planned."""
    names = [f"`{kind.name}`" for kind in corpus.KINDS]
    rows = (
        f"SELECT {n} AS n, " + ", ".join(f"{corpus.in_spark(v, k)} AS {name}" for v, k, name in zip(row, corpus.KINDS, names, strict=True))
        for n, row in enumerate(corpus.ROWS.values())
    )  # fmt: skip
    with spark.connect(server.section("corpus")) as session:
        session.execute("CREATE SCHEMA IF NOT EXISTS corpus", doing="make a schema")
        table = "corpus.golden"
        session.execute(
            f"CREATE OR REPLACE TABLE {table} USING DELTA AS {' UNION ALL '.join(rows)}", doing="write the corpus"
        )
        session.execute(f"SET spark.sql.ansi.enabled = {ansi}", doing="set the mode")
        query = corpus.forms_query(CANONICAL, corpus.columns_in_spark(), table)
        found = [(row["form"], int(row["h"])) for row in session.execute(query, doing="form the corpus")]
    kept = json.loads((PROJECT / "tests" / "verify" / "golden.json").read_text()).values()
    assert found == [(each["form"], int(each["low64"])) for each in kept]


def test_a_source_arrives_and_every_planted_change_is_found(spark_migration: Any) -> None:
    """With deletion vectors, which hide rows from whoever reads the files alone."""
    spark_migration.source(*TYPES, *EVENTS, *PARTS, "COMMENT ON COLUMN types.day IS 'it''s a ${day} \\'")
    plan = _load(spark_migration)
    assert {table.action for table in plan.tables} == {"create"}
    _equal(spark_migration)
    vectors = "SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"
    _ask(
        spark_migration, f"ALTER TABLE types {vectors}", f"ALTER TABLE months {vectors}",
        "UPDATE types SET " + ", ".join(f"`{column}` = {value}" for column, value, _, _ in CHANGES) + f" WHERE id = '{KEY}'",
        "DELETE FROM months WHERE id = 7",
        "INSERT INTO months SELECT * FROM months WHERE id = 8",
        "UPDATE events SET kind = 'VIEW' WHERE kind = 'view'",
    )  # fmt: skip
    found = {t.name: t for t in spark_migration.verify("databricks").tables}
    cells = {cell.column: (cell.key, cell.source, cell.target) for cell in found["types"].cells}
    assert cells == {column: ({"id": KEY}, source, there) for column, _, source, there in CHANGES}
    assert (found["months"].missing, found["months"].extra) == (1, 1)
    assert (found["events"].missing, found["events"].extra) == (1, 1)
    lake = Lake.open(spark_migration.settings.databricks, spark_migration.settings.stage)
    logs = [lake.bucket.read(path) for path in lake.bucket.sizes("months/_delta_log/") if path.endswith(".json")]
    assert any(b'"deletionVector":{' in log for log in logs)
    _load(spark_migration)
    _equal(spark_migration)


def test_rows_and_definitions_are_replaced_and_what_is_gone_is_dropped(spark_migration: Any) -> None:
    spark_migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, note text)", "INSERT INTO t VALUES (1, 'x')",
        "CREATE TABLE loose (a int, b text)", "INSERT INTO loose VALUES (1, NULL)",
        "CREATE TABLE gone (id int)",
    )  # fmt: skip
    _load(spark_migration)
    spark_migration.source(
        "INSERT INTO t VALUES (2, 'y')", "ALTER TABLE t ADD COLUMN more numeric(5,2) NOT NULL DEFAULT 1",
        "COMMENT ON COLUMN t.note IS 'costs ''more'' \\'", "COMMENT ON TABLE t IS 'it''s ours'",
        "ALTER TABLE loose ALTER a TYPE bigint", "COMMENT ON COLUMN loose.b IS 'be'", "DROP TABLE gone",
    )  # fmt: skip
    plan = _load(spark_migration)
    actions = {table.staged.name: table.action for table in plan.tables}
    assert actions["t"].startswith("replace the table: ")
    assert actions["t"].endswith("; until its rows are there, readers see it empty")
    assert "empty" not in actions["loose"]
    assert [table.name for table in plan.stale] == ["gone"]
    _equal(spark_migration)
    assert [row["tableName"] for row in _ask(spark_migration, "SHOW TABLES")] == ["loose", "t"]
    spark_migration.source("DELETE FROM t WHERE id = 1")
    assert {table.action for table in _load(spark_migration).tables} == {"replace the rows"}
    _equal(spark_migration)


def test_a_replacement_that_fails_brings_back_the_former_rows(spark_migration: Any) -> None:
    spark_migration.source("CREATE TABLE t (id int PRIMARY KEY, note text)", "INSERT INTO t VALUES (1, 'x'), (2, NULL)")
    _load(spark_migration)
    manifest = spark_migration.export()
    strict = tuple(column.model_copy(update={"not_null": True}) for column in manifest.tables[0].columns)
    wrong = manifest.model_copy(
        update={"tables": (manifest.tables[0].model_copy(update={"columns": strict, "comment": "new"}),)}
    )
    with pytest.raises(MigrationError, match="NOT NULL"):
        loading.load(loading.plan_load(wrong, spark_migration.bucket, spark_migration.settings.databricks))
    _equal(spark_migration)
    _load(spark_migration)
    _equal(spark_migration)


def test_names_that_spark_refuses_are_refused_before_anything_is_made(spark_migration: Any) -> None:
    spark_migration.source(*ODD, 'CREATE TABLE "Odd Name; x" (id int)')
    with pytest.raises(UsageError, match="only unaccented letters, digits and _") as caught:
        _load(spark_migration)
    assert "Odd Name; x" in str(caught.value)
    schema = spark_migration.settings.databricks.schema_
    with spark.connect(spark_migration.settings.databricks) as session:
        assert schema not in {row["namespace"] for row in session.execute("SHOW SCHEMAS", doing="list")}
        with pytest.raises(MigrationError, match="INVALID_SCHEMA_OR_RELATION_NAME"):
            # It writes the table's log before its catalog refuses the name, so the place is one that is removed.
            place = spark.literal(f"{apache_spark.DELTA_ROOT}/{schema}/odd")
            sql = f"CREATE TABLE `Odd Name; x` (id INT) USING DELTA LOCATION {place}"
            session.execute(sql, doing="make it all the same")


def test_maintenance_is_no_change_of_anybodys(spark_migration: Any) -> None:
    spark_migration.source(*PARTS)
    _load(spark_migration)
    target = spark_migration.settings.databricks
    with spark.connect(target) as session:
        # Run, and not fetched: pyarrow does not take OPTIMIZE's nested figures as the server describes them.
        session._session.sql(f"OPTIMIZE {spark.identifier(target.schema_)}.months")
    _ask(spark_migration, "VACUUM months")
    assert _action(spark_migration) == "replace the rows"
    _equal(spark_migration)
    (last, *_) = _ask(spark_migration, "DELETE FROM months WHERE id = 7", "DESCRIBE HISTORY months")
    assert last["operation"] == "DELETE"
    assert "others wrote to it since its load" in _action(spark_migration)
    _ask(spark_migration, f"RESTORE TABLE months TO VERSION AS OF {last['version'] - 1}")
    assert _action(spark_migration) == "replace the rows"
    _equal(spark_migration)


def _action(migration: Any) -> str:
    """What a load would do with the table months."""
    plan = loading.plan_load(migration.export(), migration.bucket, migration.settings.databricks)
    return str({table.staged.name: table.action for table in plan.tables}["months"])


def test_a_server_that_is_killed_in_the_middle_leaves_the_former_table(
    spark_migration: Any, server: SparkServer
) -> None:
    spark_migration.source(
        "CREATE TABLE big (id int PRIMARY KEY, body text)",
        "INSERT INTO big SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 300000) n",
    )
    _load(spark_migration)
    spark_migration.source("UPDATE big SET body = reverse(body)")
    target = spark_migration.settings.databricks
    plan = loading.plan_load(spark_migration.export(), spark_migration.bucket, target)
    lake = Lake.open(target, spark_migration.settings.stage)
    before = set(lake.bucket.sizes("big/"))
    killer = threading.Thread(target=_kill_when_it_writes, args=(server, lake, before))
    killer.start()
    with pytest.raises(MigrationError):
        loading.load(plan)
    killer.join()
    assert set(lake.bucket.sizes("big/_delta_log/")) <= before
    (table,) = spark_migration.verify("databricks", check="row-counts").tables
    assert table.rows_target == 300_000
    (row,) = _ask(spark_migration, "SELECT body FROM big WHERE id = 1")
    assert row["body"] == "c4ca4238a0b923820dcc509a6f75849b" * 8
    loading.load(plan)
    _equal(spark_migration)


def _kill_when_it_writes(server: SparkServer, lake: Lake, before: set[str]) -> None:
    """As soon as the first new file of the table is seen; a server that is there again is what the client's patience ends with."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not set(lake.bucket.sizes("big/")) - before:
        time.sleep(0.02)
    server.kill()
    server.start_again()


def test_the_command_starts_it_and_profile_local_loads_by_it(tmp_path: Path) -> None:
    environment = {**os.environ, "RUNBOOK_LOCAL_ROOT": str(tmp_path / "stack")}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    runbook = [sys.executable, "-m", "helpers", "local"]
    try:
        assert "profile local loads Delta tables by Apache Spark" in run(*runbook, "up", "--spark")
        there = {row["name"]: row for row in json.loads(run(*runbook, "status", "--json"))["servers"]}
        assert there["apache-spark"]["running"]
        asked = run(sys.executable, "-c", ASK)
        assert "Apache Spark on this machine Apache Spark on this machine 1" in asked
        with_token = Path(f"/proc/{there['apache-spark']['pid']}/cmdline").read_bytes()
        state = json.loads((tmp_path / "stack" / "state.json").read_text())
        assert not any(secret.encode() in with_token for secret in state["passwords"].values())
    finally:
        assert "Apache Spark" in run(*runbook, "down")
    assert "delta" not in json.loads((tmp_path / "stack" / "state.json").read_text())


ASK = """
from helpers import settings
from helpers.platforms import spark
found = settings.load("local")
with spark.connect(found.databricks) as session:
    (row,) = session.execute("SELECT 1 AS n", doing="ask")
    print(found.stand_ins["Databricks"], spark.engine(found.databricks), row["n"])
"""


@pytest.mark.parametrize("more", ["", "'delta.enableDeletionVectors' = 'true'"])
def test_a_sync_is_applied_once_beside_maintenance_and_no_stranger(spark_migration: Any, more: str) -> None:
    """Rows that move to other keys with a value that was not sent, in batches that come twice, a commit that no record followed,
    OPTIMIZE between them, a truncation, and at last a row of somebody else."""
    found = batches.following(
        spark_migration, "databricks", "CREATE TABLE doc (id int PRIMARY KEY, small text, big text)",
        "INSERT INTO doc SELECT n, 'small ' || n, 'big ' || n FROM generate_series(1, 5) n",
    )  # fmt: skip
    found.after = found.before
    if more:
        _ask(spark_migration, f"ALTER TABLE doc SET TBLPROPERTIES ({more})", "ALTER TABLE doc CLUSTER BY (small)")
    for number in range(3):
        moved = batches.Change(
            "TRUE", origin={"id": f"id + {10 * number}"}, values={"id": f"id + {10 * (number + 1)}"}, unchanged={"big": "TRUE"}
        )  # fmt: skip
        batch = found.batch(number, {"doc": moved})
        record = spark_migration.bucket.read(records.NAME)
        found.apply(batch)
        spark_migration.bucket.write(records.NAME, record)
        found.apply(batch)
        found.apply(batch)
        with suppress(pa.ArrowInvalid):  # its answer is no table for this client; it has run
            _ask(spark_migration, "OPTIMIZE doc")
        rows = _ask(spark_migration, "SELECT * FROM doc ORDER BY id")
        assert [tuple(row.values()) for row in rows] == [
            (10 * (number + 1) + n, f"small {n}", f"big {n}") for n in range(1, 6)
        ]
    found.apply(found.batch(3, {"doc": batches.Change("id = 1", new="TRUE", truncated=True)}))
    assert [row["id"] for row in _ask(spark_migration, "SELECT * FROM doc")] == [1]
    found.apply(found.batch(4, {"doc": batches.Change(truncated=True)}))
    assert _ask(spark_migration, "SELECT * FROM doc") == []
    found.export_again("ALTER TABLE doc ADD COLUMN price numeric(10,2)", "UPDATE doc SET price = 1.5")
    found.wider = True
    found.apply(found.batch(5, {"doc": batches.Change("id = 1", new="TRUE")}))
    assert [(row["id"], str(row["price"])) for row in _ask(spark_migration, "SELECT * FROM doc")] == [(1, "1.50")]
    _ask(spark_migration, "INSERT INTO doc VALUES (7, 'theirs', NULL, NULL)")
    with pytest.raises(TargetRefused, match="others wrote to it since: WRITE"):
        found.apply(found.batch(6, {"doc": batches.Change("id = 1", new="TRUE")}))


def test_what_a_batch_writes_of_every_type_is_as_a_load_has_it(spark_migration: Any) -> None:
    found = batches.following(spark_migration, "databricks", *TYPES)
    found.after = found.before
    before = _ask(spark_migration, "SELECT * FROM types ORDER BY id")
    found.apply(found.batch(0, {"types": batches.Change(deleted="TRUE")}))
    assert _ask(spark_migration, "SELECT * FROM types") == []
    found.apply(found.batch(1, {"types": batches.Change("TRUE", new="TRUE")}))
    assert repr(_ask(spark_migration, "SELECT * FROM types ORDER BY id")) == repr(before)
