"""The command as other programs call it: exit codes, one JSON object, the checklist's own paths.

Would catch: a "no" that exits 0, text beside the JSON, a password in the output, a stub that answers yes.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from pydantic import SecretStr

from helpers import PROJECT
from helpers import settings as profiles
from helpers.commands.places import OUTPUTS
from helpers.errors import StageError
from helpers.local import stack
from helpers.pipelines.sample import sample
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings, Stage

Command = Callable[..., subprocess.CompletedProcess[str]]


def _runbook(
    *arguments: str, program: tuple[str, ...] = (sys.executable, "-m", "helpers")
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def _json(done: subprocess.CompletedProcess[str]) -> Any:
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout + done.stderr
    return json.loads(lines[0])


@pytest.fixture(scope="module")
def environment(local_settings: Settings) -> Iterator[Any]:
    """The session's stack with the sample in it, migrated by the command; another worker waits, where it runs these tests too."""
    with (stack.home() / "sample.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sample.build(stack.environment().postgres_dsn, replace=True)
        yield _json(_runbook("local", "env", "--json"))


def test_the_stages_one_by_one_and_a_changed_cell(environment: Any, runbook: Command) -> None:
    exported = _runbook(
        "export",
        "--output-format",
        "parquet",
        "--target-location",
        "s3://migration/migration/",
        "--hold-snapshot",
        "--json",
    )
    assert exported.returncode == 0, exported.stderr
    assert _json(exported)["lsn_exact"]
    loaded = runbook("load", "--target", "snowflake", "--source", "s3://migration/migration/", "--json")
    assert loaded.returncode == 0, loaded.stderr
    with closing(snowflake.connector.connect(**environment["snowflake"])) as connection, connection.cursor() as cursor:
        cursor.execute(
            'UPDATE "customers" SET "name" = \'Somebody Else\' WHERE "customer_id" = (SELECT MAX("customer_id") FROM "customers")'
        )
        assert cursor.rowcount == 1
    verified = runbook("verify", "--source", "postgresql", "--target", "snowflake", "--json")
    assert verified.returncode == 1
    report = _json(verified)
    (wrong,) = [table for table in report["tables"] if table["verdict"] != "equal"]
    assert (report["verdict"], wrong["name"], wrong["changed"], wrong["missing"], wrong["extra"]) == (
        "different",
        "customers",
        1,
        0,
        0,
    )
    (cell,) = wrong["cells"]
    assert (cell["column"], cell["target"]) == ("name", "Somebody Else")
    assert report["tables"][0].keys() >= {
        "schema",
        "name",
        "rows_source",
        "changed_since",
        "schema_findings",
        "columns",
        "cells_file",
        "method",
    }
    assert "DIFFERENT" in Path(report["page"]).read_text(encoding="utf-8")
    assert Path(report["page"]).parent == Path(wrong["cells_file"]).parent
    counts = runbook("verify", "--check", "row-counts", "--json")
    assert (counts.returncode, _json(counts)["verdict"]) == (0, "equal")
    again = _runbook(
        "--source",
        "s3://migration/migration/",
        "--target-table",
        "customers",
        program=(sys.executable, "tools/import_to_snowflake.py"),
    )
    assert again.returncode == 0, again.stderr
    equal = _runbook(
        "--source", "postgresql", "--target", "snowflake", program=(sys.executable, "tools/verify_migration.py")
    )
    assert equal.returncode == 0, equal.stderr
    assert "EQUAL on the stand-in fakesnow, no Snowflake: " in equal.stdout
    lake = _runbook("--source", "s3://migration/migration/", program=(sys.executable, "pipeline/spark/migrate_data.py"))
    assert lake.returncode == 0, lake.stderr
    assert "pysail, the local stand-in for Databricks" in lake.stderr
    in_delta = runbook("verify", "--target", "databricks", "--json")
    assert (in_delta.returncode, _json(in_delta)["verdict"]) == (0, "equal")
    secrets = [
        environment["s3"]["secret_key"],
        environment["snowflake"]["password"],
        environment["postgres_dsn"].split(":")[2].split("@")[0],
    ]
    for done in (exported, loaded, verified, again, equal, lake, in_delta):
        assert not any(secret in done.stdout + done.stderr for secret in secrets)


def test_a_refusal_leaves_the_process_as_an_exit_code_and_one_object() -> None:
    done = _runbook("verify", "--target", "oracle", "--json")
    assert (done.returncode, done.stderr) == (2, "")
    assert "oracle" in json.dumps(_json(done)["error"])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["export", "--output-format", "csv"], "parquet"),
        (["export", "--profile", "nowhere"], "nowhere"),
        (["verify", "--target", "oracle"], "oracle"),
        (["verify", "--tables", "no_such_*"], "no_such_"),
        (["load", "--target", "oracle"], "oracle"),
        (["load", "--source", "s3://migration/empty/"], "no export has finished there"),
        (["load", "--source", "file:///x"], "S3 URL"),
        (["export", "--no-such-option"], "No such option"),
        (["sink"], "No such command"),
        (["seal", "--run", "x", "--key", "none.pem"], "find the run"),
        (["status", "--run", "no-such-run"], "there is no such run"),
        (["run", "70", "--run", "x"], "30_data_migration"),
        (["run", "30", "--run", "../x"], "run"),
        (["run", "30", "--run", "x", "-p", "tabels=a"], "tables"),
    ],
)
def test_what_cannot_run_exits_2_and_says_what_to_do(
    environment: Any, runbook: Command, arguments: list[str], why: str
) -> None:
    done = runbook(*arguments)
    assert done.returncode == 2, done.stderr
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    error = _json(runbook(*arguments, "--json"))["error"]
    assert why in json.dumps(error)
    assert error["next"]


@pytest.mark.parametrize(
    "command", [["verify"], ["export"], ["assess"], ["assess", "--census"], ["archive", "--plan"], ["aggregate"]]
)
def test_an_unreachable_server_is_one_sentence(
    environment: Any, runbook: Command, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """Would catch, too: a command that reads another source than the one that it was told."""
    monkeypatch.setenv("THERE", "postgresql://me:hidden-password@127.0.0.1:1/sales")
    done = runbook(*command, "--source-dsn-env", "THERE", "--json")
    assert done.returncode == 2
    assert _json(done)["error"]["transient"]
    assert "hidden-password" not in done.stdout + done.stderr


def test_only_what_may_pass_by_itself_is_transient(
    environment: Any, runbook: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch: a retry of a wrong password, and a night that ends because S3 restarted."""
    right = environment["postgres_dsn"]
    before, _, host = right.rpartition("@")
    user, _, _ = before.rpartition(":")
    for name, dsn in {"PASSWORD": f"{user}:wrong@{host}", "DATABASE": f"{right.rpartition('/')[0]}/nowhere"}.items():
        monkeypatch.setenv(name, dsn)
        error = _json(runbook("verify", "--source-dsn-env", name, "--json"))["error"]
        assert (error["type"], error["transient"]) == ("ConnectionFailed", False), error
    stage = Stage(url="s3://migration/", endpoint="http://127.0.0.1:1").model_copy(
        update={"access_key": "a", "secret_key": SecretStr("wrong")}
    )
    with pytest.raises(StageError) as gone:
        Bucket.open(stage).read("manifest.json")
    assert gone.value.transient
    s3 = environment["s3"]
    wrong = stage.model_copy(update={"endpoint": s3["endpoint"], "access_key": s3["access_key"]})
    with pytest.raises(StageError) as refused:
        Bucket.open(wrong).read("manifest.json")
    assert not refused.value.transient


def test_another_postgresql_is_a_target(environment: Any, runbook: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERE", environment["postgres_dsn"])
    done = runbook("verify", "--target", "postgresql", "--target-dsn-env", "THERE", "--tables", "sales_*", "--json")
    assert (done.returncode, _json(done)["verdict"]) == (0, "equal")


@pytest.mark.parametrize(
    ("redirected", "told"),
    [
        ("| head -1", "PostgreSQL against PostgreSQL"),
        (">&-", ""),
        ("2>&-", "EQUAL"),
        ("> /dev/full", "the result could not be shown: No space left on device"),
        ("--run blocked-by-a-file", "the report page could not be written"),
    ],
)
def test_nobody_who_listens_changes_an_exit_code(environment: Any, redirected: str, told: str) -> None:
    """A closed pipe or stream, a full disk, an encoding without our signs, a folder that cannot be made."""
    blocked = OUTPUTS / "blocked-by-a-file"
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("")
    command = (
        f"{sys.executable} -m helpers verify --target postgresql --target-dsn-env THERE --tables stores {redirected}"
    )
    try:
        done = subprocess.run(
            ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], cwd=PROJECT, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONIOENCODING": "ascii", "THERE": environment["postgres_dsn"]},
        )  # fmt: skip
    finally:
        blocked.unlink()
    assert done.returncode == 0, done.stderr
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "Error" not in done.stderr


def test_every_command_shows_an_example(runbook: Command) -> None:
    for command in ("export", "load", "verify", "run", "status", "local up", "local env", "local load-orders"):
        assert "Example:" in runbook(*command.split(), "--help").stdout


@pytest.mark.parametrize("words", [(), ("kafka",), ("local",)])
def test_a_command_without_a_word_shows_its_help_and_nothing_else(runbook: Command, words: tuple[str, ...]) -> None:
    shown = runbook(*words)
    assert shown.returncode == 2 and "Usage" in shown.stdout + shown.stderr
    assert "Could not" not in shown.stderr, shown.stderr


def test_local_profile_is_one_of_the_file() -> None:
    assert os.environ["RUNBOOK_LOCAL_ROOT"]
    assert profiles.load("local").profile == "local"


def test_taking_stock_says_what_there_is_and_the_census_what_no_target_holds(environment: Any) -> None:
    plain = _runbook("assess", "--json")
    found = _json(plain)
    assert plain.returncode == (1 if any(each["severity"] == "stop" for each in found["findings"]) else 0)
    assert "customers" in {each["name"] for each in found["inventory"]["relations"]}
    shown = _runbook("assess")
    assert shown.returncode == plain.returncode
    assert "customers" in shown.stdout
    narrowed = _runbook("assess", "--tables", "customers", "--json")
    assert (narrowed.returncode, _json(narrowed)["error"]["type"]) == (2, "UsageError")
    assert _json(_runbook("assess", "--census", "--tables", "customers", "--json"))["verdict"] == "accepted"
