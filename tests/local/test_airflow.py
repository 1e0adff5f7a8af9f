"""The real Airflow of the local stack, over REST: its DAGs, its switches, its runs, its refusals.

Slow: Airflow is installed once (a minute or two), starts in about a minute, and a small task takes ten seconds on two cores.

Would catch: a DAG file that Airflow cannot import, an import error that nobody is shown, a failing task whose log is lost, a
switch that is not idempotent, a wrong password that passes or is told as something else, a secret in a process list or in a
variable, a run of a phase that calls a pipeline good which was not run, an Airflow that listens beyond loopback or outlives `down`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from profile_support import described
from pydantic import SecretStr
from waiting import wait_for

from helpers import PROJECT, doctor, settings
from helpers.errors import ConnectionFailed, PipelineFailed, SettingsError, UsageError
from helpers.ledger import folders
from helpers.ledger.ledger import Ledger
from helpers.local import stack
from helpers.local.profile import sample as described_sample
from helpers.local.servers.airflow import Airflow as Server
from helpers.phases.p20_pipeline_configuration.configuration import PipelineConfiguration
from helpers.pipelines import data_sources
from helpers.pipelines.sample import sample
from helpers.platforms import airflow as platform
from helpers.platforms import postgres
from helpers.platforms.airflow import Airflow

(LEGACY,), (CLOUD,), (DEPRECATED,) = (described_sample()["dags"][key] for key in ("legacy", "modern", "retired"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OWN = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(dag_id="fails", schedule=None) as dag:
    BashOperator(task_id="good", bash_command="true") >> BashOperator(
        task_id="bad", bash_command="echo the disk is full of herring; exit 1"
    ) >> BashOperator(task_id="never", bash_command="true")
"""


@pytest.fixture(scope="module")
def server(local_settings: Any) -> Iterator[Server]:
    found = stack.on_demand(Server)
    (found.own_dags / "fails.py").write_text(OWN)
    yield found
    for file in found.own_dags.glob("*.py"):
        file.unlink()


@pytest.fixture
def client(server: Server) -> Airflow:
    return platform.connect(settings.load("local", PROJECT / "migration.toml"))


def test_the_doctor_knows_what_the_user_may_do_and_which_dags_are_there(client: Airflow) -> None:
    wait_for(lambda: LEGACY in {dag.name for dag in client.dags()})
    found = {
        each.finding.on: each
        for each in doctor.examine(settings.load("local", PROJECT / "migration.toml"), ("airflow",))
    }
    assert found["rights"].finding.what.endswith("has the role admin")
    dags = [each.finding for on, each in found.items() if on.startswith("DAG ")]
    assert found["login"].verdict == "ok" and dags and all(each.severity == "note" for each in dags)


def test_every_dag_file_is_imported(client: Airflow) -> None:
    wait_for(lambda: {CLOUD, LEGACY, DEPRECATED, "runbooks_nightly", "fails"} <= {dag.name for dag in client.dags()})
    assert [problem for problem in client.import_errors() if "broken" not in problem.file] == []
    tags = {dag.name: dag.tags for dag in client.dags()}
    assert "deprecated" in tags[DEPRECATED]


def test_switching_is_idempotent_and_starts_nothing(client: Airflow) -> None:
    for _ in range(2):
        client.enable("runbooks_nightly")
        assert client.enabled("runbooks_nightly")
        client.disable("runbooks_nightly")
        assert not client.enabled("runbooks_nightly")
    with pytest.raises(UsageError, match="it is disabled"):
        client.trigger("runbooks_nightly")


def test_a_broken_dag_shows_its_import_error(client: Airflow, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    file = server.own_dags / "broken_dag.py"
    # Airflow passes over files in which neither its name nor "dag" stands.
    file.write_text("from airflow.sdk import DAG\nimport no_such_module\n")
    problem = wait_for(lambda: next((p for p in client.import_errors() if "broken_dag" in p.file), None))
    assert "No module named 'no_such_module'" in problem.why
    with pytest.raises(UsageError, match="no_such_module"):
        client.enable("broken_dag")
    file.unlink()
    wait_for(lambda: not client.import_errors())
    monkeypatch.setattr(platform, "SECONDS_TO_BE_READ", 0.0)
    with pytest.raises(UsageError, match="not read one of that name"):
        client.enable("nobody_wrote_it")
    with pytest.raises(UsageError, match="not read one of that name"):
        client.enabled("nobody_wrote_it")


def test_a_failing_task_shows_its_log(client: Airflow) -> None:
    client.enable("fails")
    seen = []
    run = client.trigger("fails")
    assert client.follow("fails", run, lambda done, total, what: seen.append((done, total))) == "failed"
    assert {task.name: task.state for task in client.tasks("fails", run)} == {
        "good": "success", "bad": "failed", "never": "upstream_failed",
    }  # fmt: skip
    assert seen[-1] == (3, 3)
    log = client.log_of_failed("fails", run)
    assert log.startswith("bad:") and "the disk is full of herring" in log and "exit code 1" in log


def test_a_wrong_password_is_one_clear_error(server: Server) -> None:
    own = settings.load("local", PROJECT / "migration.toml").airflow
    with pytest.raises(SettingsError, match="refuses the password of the user runbook") as caught:
        Airflow(own.model_copy(update={"password": SecretStr("wrong-horse-7")})).dags()
    assert not caught.value.transient
    assert Airflow(own).dags()


def test_passwords_are_in_no_process_list_and_ports_on_loopback_alone(server: Server, client: Airflow) -> None:
    values = settings.load("local", PROJECT / "migration.toml").values
    held = [values.airflow.password, values.source.password, values.stage.secret_key, values.snowflake.password]
    secrets = [secret.get_secret_value() for secret in held if secret]
    running = next(row for row in stack.status() if row.name == "airflow")
    family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    assert len(family) > 3
    for process in family:
        text = " ".join([*process.cmdline(), *process.environ().values()])
        assert not any(secret in text for secret in secrets), process.cmdline()
        for connection in process.net_connections():
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1"
    for file in (server.data / "users.json", server.data, server.folder):
        assert file.stat().st_mode & 0o077 == 0, file


def own_project(folder: Path, migration: Any) -> None:
    (folder / "migration.toml").write_text(migration.profile + described("local", {"dags": described_sample()["dags"]}))


def attempt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    opened = folders.open_attempt(folder / "outputs", "r", "20_pipeline_configuration")
    for name, value in opened.environment().items():
        monkeypatch.setenv(name, value)
    return Ledger.open(folder / "outputs" / "r")


def test_option_c_runs_the_legacy_pipeline_and_probes_airflow(
    client: Airflow, migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_project(tmp_path, migration)
    monkeypatch.chdir(tmp_path)
    sample.build(postgres.dsn(migration.settings.source), orders=1000)
    client.enable(DEPRECATED)
    migration.source("TRUNCATE sales_daily")

    ledger = attempt(tmp_path, monkeypatch)
    configuration = PipelineConfiguration("local", option="C", apply=True)
    assert dict(configuration.legacy_dag()["state"]) == {DEPRECATED: "disabled", LEGACY: "enabled"}
    assert (client.enabled(LEGACY), client.enabled(DEPRECATED)) == (True, False)
    assert client.variable(described_sample()["dags"]["variable"]) == data_sources.told(
        configuration.settings, data_sources.data_sources(configuration.settings)
    )
    gate = configuration.legacy_gate()
    assert dict(configuration.legacy_run(gate)["state"]) == {"aggregate": "success"}
    assert migration.source("SELECT count(*) > 0 FROM sales_daily") == [(True,)]
    assert "sales_daily" in configuration.log().data

    attempt(tmp_path, monkeypatch)
    PipelineConfiguration("local", option="C", apply=True).legacy_dag()
    assert [e.event for e in ledger.entries() if e.get("step") == "s20-legacy-dag"][-1] == "step-skipped"

    client.enable(DEPRECATED)  # by somebody's hand: the ledger still says done, Airflow does not
    attempt(tmp_path, monkeypatch)
    again = PipelineConfiguration("local", option="C", apply=True)
    again.legacy_dag()
    assert not client.enabled(DEPRECATED)

    migration.source("DROP TABLE sales_daily CASCADE")
    with pytest.raises(PipelineFailed, match=r"aggregate:[\s\S]*sales_daily") as caught:
        again.legacy_run(again.legacy_gate())
    assert caught.value.exit_code == 1
    last = ledger.entries()[-1]
    assert (last.event, last.get("step")) == ("step-failed", "s20-legacy-run")


def test_option_a_runs_the_cloud_pipeline(
    client: Airflow, migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_project(tmp_path, migration)
    monkeypatch.chdir(tmp_path)
    sample.build(postgres.dsn(migration.settings.source), orders=1000)
    configuration = PipelineConfiguration("local", option="A", apply=True)
    configuration.cloud_dag()
    switched = configuration.cloud_gate()
    configuration.sources(switched)
    tasks = configuration.test(configuration.sources_gate())
    assert dict(tasks["state"]) == {"export": "success", "load": "success", "verify": "success", "marts": "success"}
    assert configuration.milestone().rehearsed is False
    assert migration.target('SELECT COUNT(*) FROM "sales_data"') == migration.source("SELECT count(*) FROM sales_data")


def test_a_first_switch_starts_no_run_and_down_leaves_nothing(
    client: Airflow, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_LOCAL_ROOT", str(tmp_path / "own"))
    try:
        stack.up()
        own = stack.on_demand(Server)
        pid = next(row.pid for row in stack.status() if row.name == "airflow")
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        found = settings.load("local", PROJECT / "migration.toml")
        other = platform.connect(found)
        assert own.port != server.port
        other.enable(CLOUD)
        planned = wait_for(lambda: other._ask("GET", f"dags/{CLOUD}")["next_dagrun_run_after"])
        assert datetime.fromisoformat(planned) > datetime.now(UTC), "a first switch starts no run of the past"
        assert other._ask("GET", f"dags/{CLOUD}/dagRuns")["dag_runs"] == []
        stack.down()
        assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
        with pytest.raises(ConnectionFailed, match="runbook local up --airflow"):
            other.dags()
        stack.up()
        with pytest.raises(ConnectionFailed, match="runbook local up --airflow"):
            platform.connect(settings.load("local", PROJECT / "migration.toml"))
    finally:
        stack.remove(tmp_path / "own")
    assert os.environ["RUNBOOK_LOCAL_ROOT"] == str(tmp_path / "own")
