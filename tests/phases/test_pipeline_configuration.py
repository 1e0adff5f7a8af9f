"""Phase 20 without Airflow: what a rehearsal plans, what it refuses, and whether data sources are really reached.

Would catch: a rehearsal that asks or needs Airflow, a path that switches the wrong DAG, a broken or missing DAG file that is
planned with, a data source that is called reached while it is not, a secret in what Airflow is told, a legacy aggregation whose
second run gives other totals.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from profile_support import described

from helpers.errors import ConnectionFailed, GateClosed, MigrationError, UsageError
from helpers.local.profile import sample as described_sample
from helpers.phases.common.switches import Switches, configured, cut_over, rolled_back
from helpers.phases.p20_pipeline_configuration.configuration import PipelineConfiguration
from helpers.pipelines import dag_files, data_sources
from helpers.pipelines.sample import aggregation as legacy_aggregation
from helpers.pipelines.sample import sample
from helpers.platforms import airflow, postgres
from helpers.settings import Dags

(LEGACY,), (CLOUD,), (DEPRECATED,) = (described_sample()["dags"][key] for key in ("legacy", "modern", "retired"))
FOLDER = Path(described_sample()["dags"]["folder"])
GOOD = 'from airflow.sdk import DAG\nwith DAG(dag_id="a", schedule="@daily", tags=["deprecated"]) as dag:\n    pass\n'


@pytest.fixture
def project(
    migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The source with one table, and a migration.toml of its own where the phase is called."""
    migration_toml(migration.profile + described("local", {"dags": described_sample()["dags"]}))
    monkeypatch.chdir(tmp_path)
    migration.source("CREATE TABLE a (id int PRIMARY KEY)")
    return migration


def walk(configuration: PipelineConfiguration) -> dict[str, Any]:
    found: dict[str, Any] = {"cloud": configuration.cloud_dag(), "cloud gate": configuration.cloud_gate()}
    found["sources"] = configuration.sources(found["cloud gate"])
    found["sources gate"] = configuration.sources_gate()
    found["test"] = configuration.test(found["sources gate"])
    found["legacy"], found["legacy gate"] = configuration.legacy_dag(), configuration.legacy_gate()
    found["legacy run"] = configuration.legacy_run(found["legacy gate"])
    found["milestone"] = configuration.milestone()
    return found


@pytest.mark.parametrize(
    ("option", "planned"),
    [
        ("A", {CLOUD: "enable", DEPRECATED: "disable"}),
        ("B", {CLOUD: "enable", LEGACY: "enable", DEPRECATED: "disable"}),
        ("C", {LEGACY: "enable", DEPRECATED: "disable"}),
    ],
)
def test_a_rehearsal_plans_each_path_and_asks_no_airflow(
    project: Any, option: str, planned: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.delattr(airflow.Airflow, "_call")
    configuration = PipelineConfiguration("local", option=option, apply=False)
    found = walk(configuration)
    told = capsys.readouterr().out
    acting, idle = ("legacy", "cloud") if option == "C" else ("cloud", "legacy")
    assert dict(found[acting]["action"]) == planned
    assert (
        dict(configuration.files()["on this path"])
        == dict.fromkeys(configuration.files().index, "stays as it is") | planned
    )
    assert list(found[idle]["what"]) == [f"no part of option {option}"]
    assert found[f"{acting} gate"].rehearsed
    assert "stays as it is" in set(configuration.files()["on this path"])
    if option == "C":
        assert "PLAN s20-legacy-dag" in told and "PLAN s20-legacy-run" in told and "PLAN s20-sources" not in told
    else:
        assert "PLAN s20-cloud-dag" in told and "PLAN s20-sources" in told and "PLAN s20-test" in told
        assert not found["sources gate"].rehearsed, "the sources are reached in a rehearsal, too"
        assert found["milestone"].rehearsed
    assert "No run was started" in configuration.log().data
    assert configuration.summary().startswith("REHEARSED")
    assert project.bucket.sizes() == {}


def test_a_rehearsed_gate_lets_no_applied_step_pass(project: Any) -> None:
    configuration = PipelineConfiguration("local", apply=False)
    token = configuration.cloud_gate()
    configuration.apply = True
    with pytest.raises(UsageError, match="rehearsed"):
        configuration.sources(token)


def test_an_unknown_path_and_a_missing_dag_are_refused(project: Any, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(UsageError, match="no such option"):
        PipelineConfiguration("local", option="D", apply=False)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "a.py").write_text(GOOD)
    with pytest.raises(UsageError, match=f"no file in dags has {CLOUD}; it has a"):
        dag_files.read(tmp_path / "dags", (CLOUD,))
    with pytest.raises(UsageError, match="no such folder"):
        dag_files.read(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "def (", "it is not Python: line 4"),
        (GOOD.replace('"a"', "name()"), "no literal"),
        (GOOD + 'DAG("a")\n', "is also in"),
        (GOOD + "\0", "not Python"),
    ],
)
def test_a_dag_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.py").write_text(text)
    with pytest.raises(UsageError, match=says):
        dag_files.read(tmp_path)
    (tmp_path / "x.py").write_text(GOOD)
    (found,) = dag_files.read(tmp_path)
    assert (found.name, found.schedule, found.deprecated) == ("a", "@daily", True)


def test_the_dags_name_commands_that_exist_and_no_secret() -> None:
    found = {dag.name: dag for dag in dag_files.read(FOLDER)}
    assert {CLOUD, LEGACY, DEPRECATED, "runbooks_nightly"} == set(found)
    assert [name for name, dag in found.items() if dag.deprecated] == [DEPRECATED]


def test_each_source_is_reached_or_closes_the_gate(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = project.settings
    sources = data_sources.data_sources(settings)
    said = {name: data_sources.reach(source, settings, write=True).said for name, source in sources.items()}
    assert said["source"] == "1 tables may be read"
    assert said["stage"] == "0 objects; one was written, read and removed"
    assert "stand-in" in said["target"]
    assert project.bucket.sizes() == {}

    values = settings.values
    nowhere = replace(settings, values=values.model_copy(update={"stage": values.stage.model_copy(update={"url": "s3://no-such-bucket/x/"})}))  # fmt: skip
    with pytest.raises(MigrationError, match="no-such-bucket"):
        data_sources.reach(sources["stage"], nowhere)
    closed = replace(
        settings, values=values.model_copy(update={"source": values.source.model_copy(update={"port": 1})})
    )
    with pytest.raises(ConnectionFailed):
        data_sources.reach(sources["source"], closed)

    project.source("DROP TABLE a")
    configuration = PipelineConfiguration("local", apply=False)
    with pytest.raises(GateClosed, match="0 of its 0 tables"):
        configuration.sources_gate()


def test_a_table_that_may_not_be_read_is_seen(project: Any) -> None:
    source = project.settings.source
    project.source("CREATE TABLE hidden (id int)", "DROP ROLE IF EXISTS phase20", "CREATE ROLE phase20 LOGIN PASSWORD 'x1y2z3'",
                   "GRANT SELECT ON a TO phase20")  # fmt: skip
    try:
        own = source.model_copy(update={"user": "phase20", "password": type(source.password)("x1y2z3")})
        settings = replace(project.settings, values=project.settings.values.model_copy(update={"source": own}))
        with pytest.raises(MigrationError, match="1 of its 2 tables may be read"):
            data_sources.reach(data_sources.data_sources(settings)["source"], settings)
    finally:
        project.source("REVOKE ALL ON a FROM phase20", "DROP ROLE phase20")


def test_what_airflow_is_told_holds_no_secret(project: Any) -> None:
    text = data_sources.told(project.settings, data_sources.data_sources(project.settings))
    values = project.settings.values
    for secret in (values.source.password, values.stage.secret_key, values.snowflake.password):
        assert secret.get_secret_value() not in text
    assert json.loads(text)["profile"] == "local"
    assert Path(json.loads(text)["folder"]) == project.settings.file.parent


def test_the_legacy_aggregation_gives_the_same_totals_again(migration: Any) -> None:
    with pytest.raises(UsageError, match=r"raw_orders.*does not exist"):
        legacy_aggregation.aggregate(migration.settings.source)
    sample.build(postgres.dsn(migration.settings.source), orders=1000)
    totals = "SELECT sum(sales), sum(profit), sum(orders), count(*) FROM sales_daily"
    before = migration.source(totals)
    rows = legacy_aggregation.aggregate(migration.settings.source)
    assert migration.source(totals) == before
    migration.source("UPDATE raw_orders SET sales = '1e6' WHERE line_no = 1")
    assert legacy_aggregation.aggregate(migration.settings.source) == rows
    assert migration.source(totals) != before

    migration.source("UPDATE raw_orders SET sales = 'much' WHERE line_no = 1")
    now = migration.source(totals)
    with pytest.raises(UsageError, match="much"):
        legacy_aggregation.aggregate(migration.settings.source)
    assert migration.source(totals) == now


def test_a_path_has_on_what_it_ends_with_and_retired_dags_are_off_on_each() -> None:
    dags = Dags(legacy=("today",), modern=("cloud",), retired=("old",))
    assert {option: configured(dags, option) for option in "ABC"} == {
        "A": Switches(("cloud",), ("old",)), "B": Switches(("cloud", "today"), ("old",)), "C": Switches(("today",), ("old",)),
    }  # fmt: skip
    assert cut_over(dags, "A") == Switches(("cloud",), ("today", "old"))
    assert cut_over(dags, "B") == configured(dags, "B"), "a hybrid runs both"
    assert rolled_back(dags) == Switches(("today",), ("cloud",))
    with pytest.raises(ValueError, match="more than once"):
        Dags(legacy=("today",), modern=("today",))


@pytest.mark.parametrize(("option", "apply"), [("A", False), ("A", True), ("B", True), ("C", True)])
def test_without_airflow_or_dags_nothing_is_switched_and_nothing_is_ticked(
    migration: Any, migration_toml: Callable[..., Path], option: str, apply: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    migration_toml(migration.profile)
    monkeypatch.chdir(tmp_path)
    migration.source("CREATE TABLE a (id int PRIMARY KEY)")
    monkeypatch.delattr(airflow.Airflow, "_call")
    configuration = PipelineConfiguration("local", option=option, apply=apply)
    steps = ("legacy_dag", "legacy_gate") if option == "C" else ("cloud_dag", "cloud_gate")
    shown, token = (getattr(configuration, step)() for step in steps)
    assert "not applicable: the profile has no Airflow" in shown.to_string()
    if option != "C":
        configuration.sources(token)
        assert configuration.test(configuration.sources_gate()) is not None, (
            "the sources are reached without Airflow, too"
        )
        configuration.milestone()
        assert "not applicable" in configuration.findings("s20-milestone").to_string()
    assert configuration.summary().startswith("NOT CONFIGURED HERE")
