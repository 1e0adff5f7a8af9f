"""Delta tables of Apache Spark itself: deletion vectors, maintenance, restoration, clustering.

Would catch: rows that a deletion vector hides and that are counted or compared all the same; an OPTIMIZE or a VACUUM that makes a load
count as changed; a clustering that replaces the table, or that the next load takes away.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from helpers import load as loading
from helpers.errors import LocalStackError, UsageError
from helpers.local import stack
from helpers.local.servers import apache_spark
from helpers.local.servers.apache_spark import ApacheSpark
from helpers.platforms import spark
from helpers.settings import Databricks, Resolved, Settings

SOURCE = (
    "CREATE TABLE loan (id int PRIMARY KEY, branch text NOT NULL, back boolean, note text)",
    "INSERT INTO loan SELECT n, 'b' || n % 7, n % 2 = 0, nullif(repeat('x', n % 5), '') FROM generate_series(1, 2000) n",
)


def _on_spark(migration: Any, **changed: Any) -> Any:
    try:
        server = stack.on_demand(ApacheSpark)
    except LocalStackError as error:
        pytest.skip(str(error))
    target = Databricks.model_validate({
        "engine": apache_spark.NAME, "schema": migration.name, "delta_root": apache_spark.DELTA_ROOT, "files": "s3a",
        "token": Resolved(server.token),
    } | changed)  # fmt: skip
    values = migration.settings.values.model_copy(update={"databricks": target})
    return replace(migration, settings=Settings("local", migration.settings.file, values))


def _ask(on_spark: Any, *statements: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with spark.connect(on_spark.settings.databricks) as session:
        for statement in statements:
            sql = statement.replace("LOAN", f"`{on_spark.name}`.`loan`")
            if sql.startswith("DESCRIBE"):
                found = session.execute(sql, doing="try")
            else:  # the metrics that OPTIMIZE answers with are more than this version of Arrow reads
                session._session.sql(sql)
    return found


def test_rows_hidden_by_a_deletion_vector_are_missing_and_maintenance_is_no_change(migration: Any) -> None:
    on_spark = _on_spark(migration)
    on_spark.source(*SOURCE)
    manifest, load_id = on_spark.export(), "f" * 32
    plan = loading.plan_load(manifest, on_spark.bucket, on_spark.settings.databricks)
    loading.load(plan, load_id=load_id)

    def as_left() -> bool:
        return loading.is_loaded(manifest, on_spark.bucket, on_spark.settings.databricks, load_id)[0]

    assert as_left()
    _ask(
        on_spark, "ALTER TABLE LOAN SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')", "OPTIMIZE LOAN ZORDER BY (branch)",
        "VACUUM LOAN", "ALTER TABLE LOAN ADD CONSTRAINT positive CHECK (id > 0)",
    )  # fmt: skip
    assert as_left()
    (left,) = _ask(on_spark, "DESCRIBE HISTORY LOAN LIMIT 1")
    _ask(on_spark, "DELETE FROM LOAN WHERE id <= 3")
    (deleted,) = _ask(on_spark, "DESCRIBE HISTORY LOAN LIMIT 1")
    assert int(dict(deleted["operationMetrics"])["numDeletionVectorsAdded"]) >= 1
    assert not as_left()
    (found,) = on_spark.verify("databricks").tables
    assert (found.verdict, found.rows_target, found.missing, found.extra, found.changed) == ("different", 1997, 3, 0, 0)
    _ask(on_spark, "REORG TABLE LOAN APPLY (PURGE)")
    assert not as_left()
    _ask(on_spark, f"RESTORE TABLE LOAN TO VERSION AS OF {left['version']}")
    assert as_left()
    assert on_spark.verify("databricks").verdict == "equal"
    _ask(on_spark, "DELETE FROM LOAN WHERE id <= 3")
    plan = loading.plan_load(manifest, on_spark.bucket, on_spark.settings.databricks)
    assert "others wrote to it since its load" in plan.tables[0].action
    loading.load(plan)
    assert on_spark.verify("databricks").verdict == "equal"


def test_a_table_is_clustered_as_the_profile_says_without_being_replaced(migration: Any) -> None:
    plain = _on_spark(migration)
    plain.source("CREATE TABLE loan (id int, branch text, back boolean, note text)", SOURCE[1])
    manifest = plain.export()

    def load(**changed: Any) -> dict[str, Any]:
        there = _on_spark(migration, **changed)
        loading.load(loading.plan_load(manifest, there.bucket, there.settings.databricks))
        return _ask(there, "DESCRIBE DETAIL LOAN")[0]

    made = load(cluster_by={"*.loan": ["branch", "id"]})
    assert set(made["clusteringColumns"]) == {"branch", "id"}
    again, other, kept = load(cluster_by={"loan": ["id", "branch"]}), load(cluster_by={"loan": ["note"]}), load()
    assert set(again["clusteringColumns"]) == {"branch", "id"}
    assert (other["clusteringColumns"], kept["clusteringColumns"]) == (["note"], ["note"])
    assert {each["id"] for each in (made, again, other, kept)} == {made["id"]}
    plain.source("ALTER TABLE loan ADD COLUMN late boolean")
    manifest = plain.export()
    assert load()["clusteringColumns"] == ["note"]
    assert load(cluster_by={"loan": []})["clusteringColumns"] == []
    wrong = _on_spark(migration, cluster_by={"loan": ["nobody", "back"]}).settings.databricks
    with pytest.raises(UsageError, match=r"has no column nobody; .*back is BOOLEAN"):
        loading.plan_load(manifest, plain.bucket, wrong)


def test_several_tables_are_loaded_and_compared_at_once_over_one_session(migration: Any) -> None:
    on_spark = _on_spark(migration)
    on_spark.source(
        *(f"CREATE TABLE t{n} (id int, note text)" for n in range(6)),
        *(f"INSERT INTO t{n} SELECT g, 'of t{n}' FROM generate_series(1, {10 + n}) g" for n in range(6)),
    )
    manifest = on_spark.export()
    loading.load(loading.plan_load(manifest, on_spark.bucket, on_spark.settings.databricks))
    report = on_spark.verify("databricks")
    assert (report.verdict, [table.rows_target for table in report.tables]) == ("equal", [10 + n for n in range(6)])
    _ask(on_spark, f"DELETE FROM `{on_spark.name}`.t3 WHERE id = 1")
    assert [str(table) for table in on_spark.verify("databricks").tables if table.differences] == ["public.t3"]
