"""The profile's functional tests: its own command, run on its own systems, with its JUnit report as the result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from helpers.errors import UsageError
from helpers.ledger.folders import ATTEMPT, PHASE, RUN, RUN_DIR
from helpers.platforms.child_environment import environment_of_profile
from helpers.platforms.connection_environment import connections
from helpers.platforms.scratch_folder import scratch_folder
from helpers.redaction import redact
from helpers.settings import Settings

REPORT = "{report}"
"""In the command: the path of a report that lies nowhere else."""

LARGEST_REPORT = 64_000_000
"""Bytes; a report of a hundred thousand tests has about twenty million."""

_LAST_LINES = 200
"""Of the command's output, which are kept."""

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class CaseResult:
    """One test, and how it ended; `message` is the first line of what was wrong."""

    name: str
    outcome: Outcome
    seconds: float
    message: str


@dataclass(frozen=True)
class TestRun:
    """What the command did.

    Attributes:
        cases: of its report, in order.
        exit_code: of the command; None where it was ended for the time that it took.
        output: its last lines, without secrets.
    """

    cases: tuple[CaseResult, ...]
    exit_code: int | None
    output: tuple[str, ...]
    seconds: float

    __test__ = False

    @property
    def wrong(self) -> str:
        """What is wrong beside the tests that failed, as a sentence; empty where report and exit code say the same."""
        failed = sum(case.outcome == "failed" for case in self.cases)
        if self.exit_code is None:
            return f"the command was ended after {self.seconds:,.0f} s"
        if not any(case.outcome != "skipped" for case in self.cases):
            return "every test was skipped, so nothing was tested" if self.cases else "the report has no test"
        if self.exit_code and not failed:
            return f"the command ended with exit code {self.exit_code}, and its report has no test that failed"
        if failed and not self.exit_code:
            return f"the command ended well, and its report has {failed} tests that failed"
        return ""


def run(settings: Settings, option: str = "A") -> TestRun:
    """Runs the command once, in the folder of migration.toml.

    Args:
        option: the migration path, which the command finds in RUNBOOK_OPTION.

    Raises:
        UsageError: the command cannot be started, or wrote no report that can be read.

    """
    tests, folder = settings.tests, settings.file.resolve().parent
    name = shown(tests.command)
    with scratch_folder("tests") as scratch:
        own = Path(scratch, "report.xml")
        command = [part.replace(REPORT, str(own)) for part in tests.command]
        report = settings.path(tests.report) if tests.report else own
        before = _stamp(report)
        started = time.monotonic()
        exit_code, output = _ended(command, folder, _environment(settings, option), tests.timeout_seconds, name)
        seconds = time.monotonic() - started
        lines = tuple(line for line in redact(output).splitlines() if line.strip())[-_LAST_LINES:]
        if exit_code is None:
            return TestRun((), None, lines, seconds)
        if (now := _stamp(report)) is None or now == before:
            why = "the command wrote no report" if now is None else "the report there is an older one"
            said = " / ".join(lines[-3:]) or "it said nothing"
            cure = (
                f"let the command write {tests.report or 'the file that stands for ' + REPORT}; run it yourself: {name}"
            )
            raise UsageError(
                "run the functional tests", on=name, why=f"{why} (exit code {exit_code}): {said}", next_step=cure
            )
        return TestRun(read_report(report), exit_code, lines, seconds)


def shown(command: Sequence[str]) -> str:
    """A command for people: its program by its name, wherever it lies."""
    return " ".join([Path(command[0]).name, *command[1:]]) if command else ""


def read_report(file: Path) -> tuple[CaseResult, ...]:
    """The tests of a JUnit report, whoever wrote it.

    Raises:
        UsageError: it is too large, no XML, or has a document type, by which a few lines can become any amount of memory.
    """
    what, cure = "read the report of the functional tests", "let the command write a JUnit report"
    size = file.stat().st_size
    if size > LARGEST_REPORT:
        raise UsageError(
            what, on=file.name, why=f"it has {size:,} bytes, of at most {LARGEST_REPORT:,}", next_step=cure
        )
    content = file.read_bytes()
    try:
        root = fromstring(content, forbid_dtd=True)
    except (ET.ParseError, ValueError) as error:
        raise UsageError(what, on=file.name, why=f"it is no such XML: {error}", next_step=cure) from None
    return tuple(_case(case) for case in root.iter() if _tag(case) == "testcase")


def _case(case: ET.Element) -> CaseResult:
    said = {_tag(child): child for child in case}
    wrong = next((said[tag] for tag in ("failure", "error") if tag in said), None)
    skipped = said.get("skipped")
    found = wrong if wrong is not None else skipped
    outcome: Outcome = "failed" if wrong is not None else "skipped" if skipped is not None else "passed"
    message = "" if found is None else (found.get("message") or found.text or "no message")
    place = case.get("classname", "")
    try:
        seconds = float(case.get("time") or 0)
    except ValueError:
        seconds = 0.0
    name = case.get("name", "")
    return CaseResult(
        redact(name or place),
        outcome,
        seconds,
        redact("".join(message.strip().splitlines()[:1])) if found is not None else "",
    )


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _environment(settings: Settings, option: str) -> dict[str, str]:
    own = environment_of_profile(settings.file, settings.profile)
    kept = {name: value for name, value in own.items() if name not in (RUN, RUN_DIR, PHASE, ATTEMPT)}
    # Its own programs come first; ours only stand in where a name such as `python` or `pytest` is nobody's.
    path = os.pathsep.join([*filter(None, [kept.get("PATH")]), str(Path(sys.executable).parent)])
    return kept | connections(settings) | {"PATH": path, "RUNBOOK_PROFILE": settings.profile, "RUNBOOK_OPTION": option}


def _ended(
    command: list[str], folder: Path, environment: dict[str, str], timeout: float, name: str
) -> tuple[int | None, str]:
    """The exit code and the output of a command; what it started is ended with it."""
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        cure = "correct command under [profiles.X.tests]; it is started without a shell"
        raise UsageError("start the functional tests", on=name, why=str(error), next_step=cure) from None
    try:
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
