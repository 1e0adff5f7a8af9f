"""How a run ends, and what its notebook says afterwards."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from run_support import Write, alive, statuses
from waiting import wait_for

from helpers.errors import UsageError
from helpers.runs import engine
from helpers.runs.cell_progress import Silence
from helpers.runs.run import AttemptResult, execute


def run(notebook: Path, tmp_path: Path, **options: object) -> AttemptResult:
    return execute(notebook, run="r", outputs=tmp_path / "outputs", report=Silence(), **{"parameters": {}, **options})  # type: ignore[arg-type]


def text_of(notebook: Path) -> str:
    nb = nbformat.read(notebook, as_version=4)
    return "\n".join(output.get("text", "") for cell in nb.cells for output in cell.get("outputs", []))


def test_a_run_knows_its_folder_its_interpreter_and_hides_secrets(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for variable in ("JUPYTER_PATH", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    notebook = write(
        "30_x",
        {
            "parameters": "tables: list[str] = ['*']",
            "setup": "import os, sys\nfrom helpers.redaction import remember\nfrom helpers.ledger.folders import report_path",
            "s30-a": "report_path('x.json').write_text('1'); print(report_path('x.json').name, sys.executable, tables)",
            "s30-b": "os.system('echo shouted >&1'); os.write(1, b'shouted')\nsecret = remember('hunter2' * 2)",
            "s30-c": "print('it is ' + secret)",
            "s30-d": "secret",
        },
    )
    result = run(notebook, tmp_path, parameters={"tables": ["12e4567"]})

    assert (result.status, result.exit_code, result.failure) == ("done", 0, None)
    assert result.notebook == tmp_path / "outputs/r/30_x/attempt-01.ipynb"
    assert set(statuses(result.notebook).values()) == {"completed"}
    text = text_of(result.notebook)
    assert f"attempt-01-x-2.json {sys.executable} ['12e4567']" in text
    assert "it is •••" in text
    assert "hunter2hunter2" not in result.notebook.read_text()
    assert str(tmp_path) not in result.notebook.read_text()
    assert "hunter2hunter2" not in result.html.read_text() if result.html else False
    assert (tmp_path / "outputs/r/30_x/attempt-01-x.json").read_text() == "1"
    assert capfd.readouterr().out == ""
    assert not list((tmp_path / "outputs/r/30_x").glob(".*"))


def test_a_notebook_reads_the_settings_of_the_command_that_runs_it(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "migration.toml").write_text("[profiles.mine]\n")
    monkeypatch.chdir(tmp_path / "own")
    notebook = write("30_x", {"setup": "from helpers import settings", "s30-a": "print(settings.load('mine').profile)"})
    result = run(notebook, tmp_path)
    assert (result.failure, "mine" in text_of(result.notebook)) == (None, True)


def test_a_secret_of_the_environment_reaches_no_file_of_a_run(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {
        "SERVICE_TOKEN": "plant-A1b2C3d4",
        "PGPASSWORD": "plC7q2",
        "STAGE_SECRET": "staging",
        "HARMLESS": "plain-4711",
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "migration.toml").write_text(
        '[profiles.mine.source]\npassword = { env = "SERVICE_TOKEN" }\nuser = { env = "STAGE_SECRET" }\n'
    )
    notebook = write(
        "30_x",
        {
            "setup": "import os, subprocess, sys",
            "s30-a": "print(dict(os.environ))",
            "s30-b": "for letter in os.environ['SERVICE_TOKEN']:\n    print(letter, end='', flush=True)",
            "s30-c": "print(subprocess.run(['sh', '-c', 'echo $PGPASSWORD'], capture_output=True, text=True).stdout)",
            "s30-d": "e = os.environ\nraise ValueError(e['SERVICE_TOKEN'] + ' and ' + e['PGPASSWORD'] + ' were refused')",
        },
    )
    result = run(notebook, tmp_path)
    assert result.failure
    assert result.failure.message == "••• and ••• were refused"
    text = "\n".join(path.read_text() for path in (tmp_path / "outputs").rglob("*") if path.is_file())
    assert planted["SERVICE_TOKEN"] not in text
    assert planted["PGPASSWORD"] not in text
    assert "staging" in text
    assert "plain-4711" in text
    assert str(tmp_path) in text


def test_a_kernel_gets_no_secret_that_its_profile_does_not_name(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch: a token of the shell that starts a run, in reach of every cell; a secret that the profile needs, withheld."""
    toml = (
        '[profiles.mine.source]\npassword = { env = "MINE_PASSWORD" }\n'
        '[profiles.mine.alerts.chat]\nwebhook = { env = "HOOK_SECRET" }\n'
        '[profiles.other.source]\npassword = { vault = "secret/data/x", key = "y" }\n'
    )
    (tmp_path / "migration.toml").write_text(toml)
    kept = {
        "MINE_PASSWORD",
        "HOOK_SECRET",
        "RUNBOOK_SOURCE__PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
        "HTTPS_PROXY",
    }
    dropped = {"VAULT_TOKEN", "OF_OTHER_PASSWORD", "JUPYTER_TOKEN", "DATABASE_URL", "GH_API_KEY"}
    for name in kept | dropped:
        monkeypatch.setenv(
            name, "https://me:plant-4711@there" if name in ("DATABASE_URL", "HTTPS_PROXY") else "plant-4711"
        )
    code = f"import os; print(sorted(os.environ.keys() & {kept | dropped | {'PATH', 'HOME', 'PWD'}!r}))"
    notebook = write("30_x", {"parameters": "profile = 'none'", "s30-a": code})

    def given(outputs: str, profile: str) -> str:
        return text_of(execute(notebook, run="r", parameters={"profile": profile}, outputs=tmp_path / outputs).notebook)

    usual = {"PATH", "HOME", "PWD"} & os.environ.keys()
    assert str(sorted(kept | usual)) in given("first", "mine")
    assert str(sorted(kept - {"MINE_PASSWORD", "HOOK_SECRET"} | {"VAULT_TOKEN"} | usual)) in given("second", "other")


@pytest.mark.parametrize(
    ("code", "status", "exit_code", "error"),
    [
        ("1 / 0", "failed", 2, "ZeroDivisionError"),
        ("import sys; sys.exit(0)", "failed", 2, "SystemExit"),
        ("gate('g', False, evidence={'n': 1}, next_step='look')", "gate closed", 1, "GateClosed"),
        ("raise AwaitingSomebody('sign', on='s', why='w', next_step='n')", "awaiting", 3, "AwaitingSomebody"),
        ("class GateClosed(Exception): pass\nraise GateClosed", "failed", 2, "GateClosed"),
        ("raise SettingsError('read', on='s', why='w', next_step='n')", "failed", 2, "SettingsError"),
    ],
)
def test_a_failing_cell_ends_the_run(
    write: Write, tmp_path: Path, code: str, status: str, exit_code: int, error: str
) -> None:
    notebook = write(
        "30_x",
        {
            "setup": (
                "from helpers.errors import MigrationError, SettingsError\nfrom helpers.ledger.gate import gate\n"
                "class AwaitingSomebody(MigrationError):\n    exit_code = 3"
            ),
            "s30-text": "# Text",
            "s30-bad": code,
            "s30-after": "print('it went on')",
            "links": "# Links",
        },
        tags={"s30-bad": ["raises-exception"], "s30-after": ["skip-execution"]},
    )
    result = run(notebook, tmp_path)

    assert (result.status, result.exit_code) == (status, exit_code)
    assert result.failure is not None
    assert (result.failure.cell, result.failure.error) == ("s30-bad", error)
    assert statuses(result.notebook) == {
        "setup": "completed",
        "s30-text": "completed",
        "s30-bad": "failed",
        "s30-after": "pending",
        "links": "pending",
    }
    nb = nbformat.read(result.notebook, as_version=4)
    assert [cell.metadata.papermill.exception for cell in nb.cells] == [False, False, True, None, None]
    assert nb.metadata.papermill.exception is True
    assert (nb.metadata.runbook.status, nb.metadata.runbook.exit_code) == (status, exit_code)
    assert result.html is not None
    assert "not run" in result.html.read_text()


def test_a_time_out_lets_the_cell_clean_up_and_leaves_the_rest_not_run(write: Write, tmp_path: Path) -> None:
    notebook = write(
        "30_x",
        {
            "s30-slow": (
                "import time, pathlib\ntry:\n    time.sleep(60)\nfinally:\n    pathlib.Path('rolled_back').touch()"
            ),
            "s30-after": "print('it went on')",
        },
    )
    result = run(notebook, tmp_path, cell_timeout=3)

    assert (result.status, result.exit_code) == ("aborted", 4)
    assert result.failure is not None
    assert result.failure.message == "time-out after 3 s"
    assert statuses(result.notebook) == {"s30-slow": "failed", "s30-after": "pending"}
    assert (tmp_path / "rolled_back").exists()


@pytest.mark.parametrize(
    "swallows", ["while True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass"]
)
def test_a_cell_that_does_not_heed_is_killed(write: Write, tmp_path: Path, swallows: str) -> None:
    notebook = write("30_x", {"s30-deaf": f"import time\n{swallows}", "s30-after": "1"})
    result = run(notebook, tmp_path, cell_timeout=3, grace=1)
    assert (result.status, result.exit_code) == ("aborted", 4)
    assert statuses(result.notebook) == {"s30-deaf": "failed", "s30-after": "pending"}


def test_a_cell_that_swallows_the_interrupt_and_succeeds_does_not_save_the_run(write: Write, tmp_path: Path) -> None:
    notebook = write(
        "30_x", {"s30-deaf": "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    pass", "s30-after": "1"}
    )
    result = run(notebook, tmp_path, cell_timeout=3)
    assert result.exit_code == 4
    assert statuses(result.notebook) == {"s30-deaf": "failed", "s30-after": "pending"}


def test_a_dead_kernel_leaves_the_rest_not_run_and_nothing_behind(write: Write, tmp_path: Path) -> None:
    notebook = write(
        "30_x",
        {
            "s30-child": "import os, subprocess\nopen('child', 'w').write(str(subprocess.Popen(['sleep', '300']).pid))",
            "s30-die": "os._exit(3)",
            "s30-after": "1",
        },
    )
    result = run(notebook, tmp_path)
    assert (result.status, result.exit_code) == ("aborted", 4)
    assert result.failure is not None
    assert result.failure.error == "DeadKernel"
    assert statuses(result.notebook) == {"s30-child": "completed", "s30-die": "failed", "s30-after": "pending"}
    wait_for(lambda: not alive(int((tmp_path / "child").read_text())))


def test_a_kernel_that_does_not_start_could_not_run(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.sys, "executable", "/bin/false")
    result = run(write("30_x", {"s30-a": "1"}), tmp_path)
    assert (result.status, result.exit_code) == ("failed", 2)
    assert result.failure is not None
    assert result.failure.error == "KernelNotStarted"
    assert statuses(result.notebook) == {"s30-a": "pending"}


def test_misuse_opens_no_attempt(write: Write, tmp_path: Path) -> None:
    notebook = write("30_x", {"parameters": "apply: bool = True"})
    for options in ({"parameters": {"aply": False}}, {"parameters": {"apply": "yes"}}, {"run": "../r"}):
        with pytest.raises(UsageError):
            execute(notebook, **{"run": "r", "parameters": {}, "outputs": tmp_path / "outputs", **options})  # type: ignore[arg-type]
    assert not (tmp_path / "outputs").exists()


def test_a_run_does_not_start_runs(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_RUN", "outer")
    with pytest.raises(UsageError, match="without end"):
        run(write("30_x", {"s30-a": "1"}), tmp_path)


def test_an_html_that_fails_loses_nothing(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Path:
        raise ValueError("no page")

    monkeypatch.setattr("helpers.runs.run.render", fails)
    result = run(write("30_x", {"s30-a": "1"}), tmp_path)
    assert (result.status, result.html, result.html_error) == ("done", None, "ValueError: no page")
    assert result.notebook.stat().st_size > 0
