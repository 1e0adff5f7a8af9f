"""The functional tests of the modern pipeline, on a profile's stack: pytest in its own process, its result as data."""

from __future__ import annotations

import ast
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from helpers import PROJECT
from helpers.errors import UsageError
from helpers.ledger.folders import ATTEMPT, PHASE, RUN, RUN_DIR
from helpers.platforms.child_environment import environment_of_profile
from helpers.platforms.scratch_folder import scratch_folder
from helpers.redaction import redact
from helpers.settings import Settings
from helpers.settings.local_stack import local_stack

FILE = PROJECT / "tests" / "integration" / "test_modern_pipeline.py"


@dataclass(frozen=True)
class CaseResult:
    """One test, and how it ended; `message` is the first line of what was wrong."""

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    seconds: float
    message: str


def run(settings: Settings, file: Path = FILE) -> tuple[CaseResult, ...]:
    """Runs every test of a file, the slow ones too, on the profile's stack.

    Args:
        file: the test file.

    Raises:
        UsageError: pytest ran nothing: the file cannot be read, or has no test.
    """
    own = environment_of_profile(settings.file, settings.profile)
    environment = {name: value for name, value in own.items() if name not in (RUN, RUN_DIR, PHASE, ATTEMPT)}
    environment |= {"RUNBOOK_PROFILE": settings.profile, "RUNBOOK_LOCAL_ROOT": str(local_stack().root())}
    with scratch_folder("tests") as folder:
        results = Path(folder, "results.xml")
        command = [
            sys.executable, "-m", "pytest", str(file), "-c", str(PROJECT / "pyproject.toml"), "--rootdir", str(PROJECT),
            "-o", "addopts=--strict-markers", "-p", "no:cacheprovider", "-p", "no:nbval", "-q", f"--junitxml={results}",
        ]  # fmt: skip
        # In the folder of migration.toml, which is where the tests look for their profile.
        done = subprocess.run(
            command, cwd=settings.file.parent, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        found = _read(results) if results.exists() else ()
    if not found:
        lines = [line for line in redact(done.stdout + done.stderr).splitlines() if line.strip()]
        raise UsageError(
            "run the functional tests", on=file.name, why=" / ".join(lines[-3:]) or "pytest said nothing",
            next_step=f"run it yourself: .venv/bin/python -m pytest {file.relative_to(PROJECT)} -m 'slow or not slow'"
            if file.is_relative_to(PROJECT) else "correct the file",
        )  # fmt: skip
    return found


def _read(results: Path) -> tuple[CaseResult, ...]:
    found = []
    for case in ET.parse(results).getroot().iter("testcase"):  # noqa: S314 - written by our own pytest
        wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
        skipped = case.find("skipped")
        outcome: Literal["passed", "failed", "skipped"] = "passed"
        message = ""
        if wrong is not None:
            outcome, message = "failed", wrong.get("message") or "no message"
        elif skipped is not None:
            outcome, message = "skipped", skipped.get("message") or ""
        first = redact(message).strip().splitlines()[:1]
        found.append(CaseResult(case.get("name", ""), outcome, float(case.get("time", 0)), "".join(first)))
    return tuple(found)


def names(file: Path = FILE) -> tuple[str, ...]:
    """The tests of a file, without running anything of it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return tuple(node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))
