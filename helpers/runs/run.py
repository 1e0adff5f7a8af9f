"""Executes one runbook for one run, and returns how it ended, as an exit code of the command."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nbformat
import papermill
from papermill.engines import papermill_engines
from papermill.parameterize import parameterize_notebook

from helpers import settings
from helpers.errors import LocalStackError, MigrationError, UsageError
from helpers.evidence.html import render
from helpers.ledger.folders import RUN, Attempt, checked_name, open_attempt, write_atomically
from helpers.platforms.child_environment import environment_of_profile
from helpers.redaction import redact_values
from helpers.runs import attempts
from helpers.runs.cell_progress import Console, Report
from helpers.runs.engine import ENGINE, METADATA, Failure
from helpers.runs.parameters import resolve
from helpers.runs.supervisor import GRACE, Supervisor

__all__ = ["Attempt", "AttemptResult", "Status", "execute", "open_attempt"]

Status = Literal["done", "failed", "gate closed", "awaiting", "aborted"]


@dataclass(frozen=True)
class AttemptResult:
    """How an attempt ended.

    Attributes:
        attempt: which one.
        status: in a word.
        exit_code: what the command exits with.
        seconds: how long the notebook ran.
        notebook: the executed notebook.
        html: the same for reading, or None when it could not be rendered (`html_error` says why).
        failure: the cell that ended it and the error, or None when it is done.
    """

    attempt: Attempt
    status: Status
    exit_code: int
    seconds: float
    notebook: Path
    html: Path | None
    failure: Failure | None
    html_error: str | None = None

    def stages(self) -> dict[str, float]:
        """Seconds of wall clock by section of the notebook, for those with cells that ran."""
        seconds: dict[str, float] = {}
        for title, cell in _sections(self.notebook):
            duration = cell.metadata.get("papermill", {}).get("duration")
            if duration is not None:
                seconds[title] = seconds.get(title, 0.0) + duration
        return seconds

    def summary(self) -> str:
        """What the section "Summary" prints first: the answer in a sentence; empty where it did not come so far."""
        for title, cell in _sections(self.notebook):
            for output in cell.outputs if title == "Summary" else ():
                if output.output_type == "stream":
                    return str(output.text).strip()
        return ""


def _sections(notebook: Path) -> Iterator[tuple[str, Any]]:
    title = "Set-up"
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            yield title, cell
        elif cell.source.startswith("## "):
            title = cell.source.splitlines()[0].removeprefix("## ")


def execute(
    notebook: Path,
    *,
    run: str,
    parameters: Mapping[str, object],
    outputs: Path,
    option: str = "A",
    cell_timeout: float | None = None,
    start_timeout: float = 60,
    grace: float = GRACE,
    report: Report | None = None,
) -> AttemptResult:
    """Executes a runbook as the next attempt of its phase. Call it from a process's main thread.

    Args:
        notebook: the runbook; its name without the suffix is the phase.
        parameters: values, or what `parameters.from_arguments` and `from_file` read.
        option: the migration path, which is the whole run's.
        cell_timeout: seconds that one cell may take; None for no limit.
        start_timeout: seconds that the kernel may take to start.
        grace: seconds that a cell has to clean up once it is asked to stop.

    Returns:
        The result. A failing cell, a time-out, a dead kernel and a signal are results, not exceptions.

    Raises:
        UsageError: the notebook, a parameter or a name cannot be used, the run was opened for another option or profile,
            or the phase is running already; no attempt was opened. Also when a notebook of a run calls this.
        EvidenceError: the run's ledger is broken; no attempt was opened.
    """
    if within := os.environ.get(RUN):
        why = f"it is started by a notebook of the run {within}: runs would start runs without end"
        raise UsageError("start a run", on=f"run {run}", why=why, next_step="start it from a terminal or a scheduler")
    report = report or Console()
    checked_name(notebook.stem, kind="phase")
    checked_name(run, kind="run")
    given = resolve(notebook, parameters)
    attempt, ledger = attempts.start(
        outputs, run, notebook, given, option=option, stand_ins=_stand_ins(notebook, given)
    )
    try:
        result = _executed(
            notebook,
            given,
            attempt,
            report,
            start_timeout=start_timeout,
            supervisor=Supervisor(cell_timeout=cell_timeout, grace=grace),
        )
    except BaseException:
        attempts.end(ledger, attempt, "aborted", 4)
        raise
    # Whoever ends a run waits for no bucket.
    anchored = None if result.status == "aborted" else _settings(notebook, given)
    attempts.end(ledger, attempt, result.status, result.exit_code, anchored)
    report.end(_result_line(attempt, result.status, result.failure, result.html_error))
    return result


def _executed(
    notebook: Path,
    given: Mapping[str, object],
    attempt: Attempt,
    report: Report,
    *,
    start_timeout: float,
    supervisor: Supervisor,
) -> AttemptResult:
    nb, file = _prepared(notebook, given, attempt), settings.location(notebook.resolve().parent).resolve()
    write_atomically(attempt.notebook, nbformat.writes(nb))
    began = time.monotonic()
    nb = papermill_engines.execute_notebook_with_engine(
        ENGINE,
        nb,
        "python3",
        output_path=str(attempt.notebook),
        report=report,
        env={
            **environment_of_profile(file, str(given["profile"]) if given.get("profile") else None),
            settings.LOCATION: str(file),
            **attempt.environment(),
        },
        cwd=str(notebook.resolve().parent),
        start_timeout=start_timeout,
        supervisor=supervisor,
    )
    seconds = time.monotonic() - began

    failure = _failure(nb)
    status, exit_code = _status(failure)
    nb.metadata[METADATA].update(status=status, exit_code=exit_code)
    write_atomically(attempt.notebook, nbformat.writes(redact_values(nb)))
    html, html_error = _rendered(attempt)
    return AttemptResult(attempt, status, exit_code, seconds, attempt.notebook, html, failure, html_error)


def _stand_ins(notebook: Path, given: Mapping[str, object]) -> dict[str, str] | None:
    """What stands in for a service in the notebook's profile; None where it has none, or where it cannot be read."""
    profile, file = given.get("profile"), settings.location(notebook.resolve().parent).resolve()
    if not profile:
        return None
    try:
        return settings.load(str(profile), file).stand_ins
    except LocalStackError:  # the notebook meets the same error, and says it
        return {"Snowflake": "fakesnow"}
    except MigrationError:
        return None


def _settings(notebook: Path, given: Mapping[str, object]) -> settings.Settings | None:
    """The notebook's profile; None where it has none, or where it cannot be read."""
    try:
        return (
            settings.load(str(given["profile"]), settings.location(notebook.resolve().parent).resolve())
            if given.get("profile")
            else None
        )
    except MigrationError:
        return None


def _prepared(notebook: Path, given: Mapping[str, object], attempt: Attempt) -> Any:
    nb = nbformat.v4.upgrade(nbformat.read(notebook, as_version=4))
    # papermill wants these to be there; its own loader, which adds them, formats braces in paths.
    nb.metadata["papermill"] = nbformat.NotebookNode(
        version=papermill.__version__, parameters={}, environment_variables={}
    )
    for cell in nb.cells:
        cell.metadata.setdefault("tags", [])
    if given:
        nb = parameterize_notebook(nb, dict(given), kernel_name="python3", language="python", engine_name=ENGINE)
        for cell in nb.cells:
            if "injected-parameters" in cell.metadata.tags:
                cell["id"] = "injected-parameters"
    # Names, not paths: an archived run is read on other machines.
    nb.metadata.papermill["input_path"] = notebook.name
    nb.metadata.papermill["output_path"] = attempt.notebook.name
    nb.metadata[METADATA] = nbformat.NotebookNode(run=attempt.run, phase=attempt.phase, attempt=attempt.name)
    return nb


def _failure(nb: Any) -> Failure | None:
    found = nb.metadata[METADATA].get("failure")
    return Failure(**found) if found else None


def _status(failure: Failure | None) -> tuple[Status, int]:
    if failure is None:
        return "done", 0
    if failure.exit_code == 4:
        return "aborted", 4
    if failure.exit_code == 3:
        return "awaiting", 3
    if failure.exit_code == 1 and failure.error == "GateClosed":
        return "gate closed", 1
    return "failed", failure.exit_code


def _rendered(attempt: Attempt) -> tuple[Path | None, str | None]:
    # Whatever goes wrong here, the run has happened and its notebook is the record of it.
    try:
        return render(attempt.notebook, attempt.html), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _result_line(attempt: Attempt, status: Status, failure: Failure | None, html_error: str | None) -> str:
    line = f"{attempt.phase} {attempt.name}: {status}"
    if failure:
        line += f" at {failure.cell or 'the start'}: {failure.error}: {failure.message}"
    return f"{line}; no HTML: {html_error}" if html_error else line
