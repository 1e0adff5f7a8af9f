"""A run whose command is told to stop, or is killed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from run_support import Write, alive, statuses
from waiting import wait_for

Command = Callable[..., subprocess.Popen[bytes]]

SLEEPS = "import os, pathlib, time\ntry:\n    pathlib.Path('pid').write_text(str(os.getpid()))\n    time.sleep(60)\nfinally:\n    pathlib.Path('rolled_back').touch()"
# Holds the interpreter's lock for longer than anybody lives, so that no thread of the kernel can look for its parent.
HOLDS_THE_LOCK = (
    "import os, pathlib, re\npathlib.Path('pid').write_text(str(os.getpid()))\nre.match('(a+)+b', 'a' * 60)"
)


def started(notebook: Path, tmp_path: Path, command: Command) -> tuple[subprocess.Popen[bytes], int, Path]:
    process = command(notebook, grace=1)
    pid = int(wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    return process, pid, tmp_path / "outputs/r/30_x/attempt-01.ipynb"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop(write: Write, tmp_path: Path, command: Command, number: signal.Signals) -> None:
    notebook = write("30_x", {"s30-first": "1", "s30-slow": SLEEPS, "s30-after": "1"})
    process, kernel, attempt = started(notebook, tmp_path, command)
    process.send_signal(number)

    assert process.wait(120) == 4
    assert statuses(attempt) == {"s30-first": "completed", "s30-slow": "failed", "s30-after": "pending"}
    assert nbformat.read(attempt, as_version=4).metadata.runbook.failure.message == number.name
    assert (tmp_path / "rolled_back").exists()
    assert attempt.with_suffix(".html").exists()
    wait_for(lambda: not alive(kernel))


@pytest.mark.parametrize("code", [SLEEPS, HOLDS_THE_LOCK], ids=["sleeps", "holds-the-lock"])
def test_killed(write: Write, tmp_path: Path, command: Command, code: str) -> None:
    notebook = write("30_x", {"s30-first": "1", "s30-slow": code, "s30-after": "1"})
    process, kernel, attempt = started(notebook, tmp_path, command)
    process.kill()
    process.wait()

    wait_for(lambda: not alive(kernel), seconds=40)
    assert statuses(attempt) == {"s30-first": "completed", "s30-slow": "running", "s30-after": "pending"}
    nb = nbformat.read(attempt, as_version=4)
    nbformat.validate(nb)
    assert nb.metadata.runbook.status == "running"
    assert nb.metadata.papermill.end_time is None
