"""Python environments of their own for what cannot share the main one, made when they are first needed.

Airflow, dbt and the like pin other versions than ours. Each has a locked `requirements.txt` beside what it serves; its
environment is `.venv-NAME` in the project's folder, and is made again when that file changes.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from helpers import PROJECT
from helpers.errors import LocalStackError, UsageError
from helpers.platforms.child_environment import child_environment

REQUIREMENTS = {
    "airflow": "helpers/local/airflow_environment/requirements.txt",
    "cloud": "helpers/local/cloud/requirements.txt",
    "dbt": "helpers/platforms/dbt_environment/requirements.txt",
}
"""Per environment, the file that locks it."""


def python(name: str, *, report: Callable[[str], None] = lambda line: None) -> Path:
    """The Python of an environment, which is installed now unless it is there as its file wants it.

    Args:
        name: one of `REQUIREMENTS`.
        report: is told when something is installed, which takes from seconds to minutes.

    Raises:
        LocalStackError: the packages could not be installed.
        UsageError: there is no such environment.
    """
    if name not in REQUIREMENTS:
        raise UsageError(
            "find an environment",
            on=name,
            why="there is no such environment",
            next_step=f"one of {', '.join(REQUIREMENTS)}",
        )
    wanted, folder = PROJECT / REQUIREMENTS[name], PROJECT / f".venv-{name}"
    found = folder / "bin" / "python"
    with (PROJECT / f".venv-{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two notebooks may ask at once
        if is_ready(name):
            return found
        report(f"installing {name} into {folder.name} (once; from seconds to two minutes)")
        shutil.rmtree(folder, ignore_errors=True)
        _install(name, wanted, folder)
        (folder / ".ready").write_text(_digest(name))
    return found


def is_ready(name: str) -> bool:
    """Whether an environment, one of `REQUIREMENTS`, is installed as its file wants it."""
    ready = PROJECT / f".venv-{name}" / ".ready"
    return ready.exists() and ready.read_text() == _digest(name)


def _digest(name: str) -> str:
    return sha256((PROJECT / REQUIREMENTS[name]).read_bytes() + sys.version.encode()).hexdigest()


def _install(name: str, wanted: Path, folder: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    target = str(folder / "bin" / "python")
    commands: list[list[str]] = [[sys.executable, "-m", "venv", str(folder)]]
    if uv.exists():
        commands.append(
            [str(uv), "pip", "install", "--quiet", "--python", target, "--compile-bytecode", "-r", str(wanted)]
        )
    else:
        commands.append([target, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)])
    for command in commands:
        done = subprocess.run(
            command, env=child_environment("PIP_", "UV_"), capture_output=True, text=True, check=False
        )  # fmt: skip
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise LocalStackError(
                f"install {name}",
                on=str(folder),
                why=(done.stderr.strip().splitlines() or ["no message"])[-1],
                next_step="see that the package index can be reached, then run the same command again",
            )
