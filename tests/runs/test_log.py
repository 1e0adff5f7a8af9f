"""The log of a command and of the notebook that it runs: one JSON object a line on standard error, with run and step.

Would catch: a log line on standard output, a kernel whose events reach nobody, a step without its run, a secret in a line,
a failure that is logged as a success, a log where none was asked for.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_support import PROJECT, Write

from helpers import log
from helpers.redaction import remember

SECRET = "hunter22-of-this-test"
RUN = """
import sys
from pathlib import Path
from helpers import log
from helpers.runs.cell_progress import Silence
from helpers.runs.run import execute
log.configure("json", run="r")
result = execute(Path(sys.argv[1]), run="r", parameters={}, outputs=Path(sys.argv[2]), report=Silence())
print(result.failure)
sys.exit(result.exit_code)
"""


def runbook(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "helpers", *words]
    return subprocess.run(program, cwd=PROJECT, env={**os.environ, **environment}, capture_output=True, text=True)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_a_command_logs_its_start_and_its_end() -> None:
    done = runbook("status", "--run", "no-such-run", "--json", "--log", "json")
    began, ended = lines(done.stderr)
    assert (began["event"], began["command"], began["run"]) == ("command-started", "status", "no-such-run")
    assert (ended["event"], ended["level"], ended["exit_code"]) == ("command-ended", "error", done.returncode)
    assert json.loads(done.stdout)["error"]["why"] == ended["error"]["why"] == "there is no such run"
    assert "command-started" in runbook("status", "--run", "no-such-run", RUNBOOK_LOG="text").stderr
    assert "command-" not in runbook("status", "--run", "no-such-run").stderr
    refused = runbook("status", "--log", "yaml")
    assert refused.returncode == 2 and "quiet, text, json" in refused.stderr


def test_the_steps_of_a_notebook_are_logged_with_run_and_step(write: Write, tmp_path: Path) -> None:
    step = "import os\nwith steps.current().step('{0}', inputs={{}}) as step:\n    {1}"
    notebook = write(
        "30_x",
        {
            "setup": "from helpers.ledger import steps",
            "s30-a": step.format("s30-a", "step.result = {'said': os.environ['PGPASSWORD']}"),
            "s30-b": step.format("s30-b", "raise ValueError('it broke')"),
        },
    )
    program = [sys.executable, "-c", RUN, str(notebook), str(tmp_path / "outputs")]
    environment = {**os.environ, "PGPASSWORD": SECRET}
    done = subprocess.run(program, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert "it broke" in done.stdout, done.stdout + done.stderr
    assert SECRET not in done.stderr and not lines(done.stdout)
    found = [(each["event"], each.get("step"), each["level"]) for each in lines(done.stderr)]
    assert found == [
        ("run-opened", None, "info"),
        ("attempt-started", None, "info"),
        ("step-started", "s30-a", "info"),
        ("step-done", "s30-a", "info"),
        ("step-started", "s30-b", "info"),
        ("step-failed", "s30-b", "error"),
        ("attempt-ended", None, "error"),
        ("head-signed", None, "info"),
    ]
    assert {each["run"] for each in lines(done.stderr)} == {"r"}
    assert {each["attempt"] for each in lines(done.stderr) if "step" in each} == {"attempt-01"}


def test_a_library_user_gets_the_events_by_the_standard_librarys_means(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="runbook"), log.within(step="s30-a"):
        log.event("table-loaded", table="public.sales", rows=3)
    (record,) = caplog.records
    assert record.getMessage() == "table-loaded"
    assert vars(record)["fields"] == {"step": "s30-a", "table": "public.sales", "rows": 3}


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_holds_a_secret(form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("runbook")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setenv(log.FORM, form)
    remember(SECRET)
    log.configure(form)
    log.event("x", error={"why": f"password {SECRET}"}, listed=[SECRET], pair=(SECRET,))
    said = capsys.readouterr().err
    assert " x" in said or '"x"' in said
    assert SECRET not in said
