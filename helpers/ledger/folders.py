"""Where a run keeps its files, and how one is written without ever replacing another."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from helpers.errors import UsageError
from helpers.ledger.names import why_unstorable

RUN_DIR = "RUNBOOK_RUN_DIR"
RUN = "RUNBOOK_RUN"
PHASE = "RUNBOOK_PHASE"
ATTEMPT = "RUNBOOK_ATTEMPT"
"""What `run.execute` tells a kernel about the run it works for. Unset in Jupyter, nbval and plain papermill."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ATTEMPT = re.compile(r"attempt-(\d{2,})\.ipynb")
_EMPTY_NOTEBOOK = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}\n'


@dataclass(frozen=True)
class Attempt:
    """One execution of one phase. `notebook` exists from the start; `html` may come later."""

    run: str
    phase: str
    number: int
    folder: Path

    @property
    def name(self) -> str:
        return f"attempt-{self.number:02d}"

    @property
    def notebook(self) -> Path:
        return self.folder / f"{self.name}.ipynb"

    @property
    def html(self) -> Path:
        return self.folder / f"{self.name}.html"

    def environment(self) -> dict[str, str]:
        """The variables through which code in the kernel finds this attempt."""
        return {
            RUN_DIR: str(self.folder.parent.resolve()),
            RUN: self.run,
            PHASE: self.phase,
            ATTEMPT: self.name,
        }


def open_attempt(outputs: Path, run: str, phase: str) -> Attempt:
    """Takes the next free attempt number of a phase; of two that ask at once, each gets its own.

    Args:
        outputs: the folder of all runs.
        run: the run's name, which becomes a folder.
        phase: the phase's name, which is its notebook's without the suffix.

    Returns:
        The attempt. Its notebook exists and is a valid, empty one.

    Raises:
        UsageError: a name cannot be a folder's, or the run's folder lies elsewhere.
    """
    folder = checked_folder(outputs, run, phase)
    make_private(folder)
    taken = [int(match[1]) for path in folder.iterdir() if (match := _ATTEMPT.fullmatch(path.name))]
    number = max(taken, default=0) + 1
    while True:
        attempt = Attempt(run, phase, number, folder)
        if create_exclusively(attempt.notebook, _EMPTY_NOTEBOOK):
            return attempt
        number += 1


def checked_folder(outputs: Path, run: str, phase: str) -> Path:
    """The folder of a run's phase, which need not exist; raises `UsageError` as `open_attempt` does."""
    checked_name(run, kind="run")
    checked_name(phase, kind="phase")
    folder = outputs / run / phase
    if not folder.resolve().is_relative_to(outputs.resolve()):
        raise UsageError(
            "open an attempt",
            on=f"run {run}",
            why="its folder is a link to a place outside the outputs folder",
            next_step="remove the link, or choose another run name",
        )
    return folder


def make_private(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, for their owner alone: a run shows rows, names and addresses."""
    for each in (*reversed(folder.parents), folder):
        each.mkdir(mode=0o700, exist_ok=True)


def refuse_sealed(run_folder: Path) -> None:
    """Raises UsageError when the run is sealed: whatever is added to it makes its evidence worthless."""
    if (run_folder / "seal.dsse.json").exists():
        raise UsageError(
            "continue the run", on=run_folder.name, why="the run is sealed", next_step="choose another run name"
        )


def checked_name(name: str, *, kind: str) -> str:
    """Returns `name` when it is safe as one folder's name.

    Raises:
        UsageError: it is empty, too long, or holds anything but letters, digits, dot, dash and underscore.
    """
    if not _NAME.fullmatch(name) or ".." in name or why_unstorable(name):
        raise UsageError(
            f"use this {kind} name",
            on=repr(name),
            why="it becomes a folder: 1 to 64 letters, digits, '.', '-', '_', starting with a letter or digit, and no device of Windows",
            next_step=f"choose a {kind} name such as 2026-11-cutover",
        )
    return name


def create_exclusively(path: Path, content: str | bytes) -> bool:
    """Makes `path` appear with its whole content, or not at all; only its owner may read it.

    Returns:
        Whether it was made; False when the name was taken, by whatever.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, fails when the name is taken.
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        Path(temporary).unlink()
    return True


def write_atomically(path: Path, text: str) -> None:
    """Replaces the content of a file that this attempt owns; a reader sees the old or the new, never a part."""
    temporary = path.with_name(f".{path.name}.part")
    with open(temporary, "w", encoding="utf-8", opener=partial(os.open, mode=0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def run_folder() -> Path:
    """Where code in a notebook puts what it makes.

    Returns:
        The run's folder when `runbook run` executes the notebook. Otherwise a new scratch folder, the same for
        the whole process: `outputs/interactive-<time>` of the project, or a temporary one outside a project.
    """
    given = os.environ.get(RUN_DIR)
    return Path(given) if given else _scratch_folder(os.getpid())


def report_path(name: str) -> Path:
    """A path for a report of this attempt, beside its notebook, that no other report has.

    Args:
        name: such as `verify.json`; a report of that name is never replaced, the new one gets a number.

    Raises:
        UsageError: the name cannot be a file's.
    """
    checked_name(name, kind="report")
    folder = run_folder() / os.environ.get(PHASE, "")
    make_private(folder)
    attempt = os.environ.get(ATTEMPT)
    wanted = Path(f"{attempt}-{name}" if attempt else name)
    path, number = folder / wanted, 1
    while path.exists():
        number += 1
        path = folder / f"{wanted.stem}-{number}{wanted.suffix}"
    return path


@cache
def _scratch_folder(pid: int) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for parent in (Path.cwd(), *Path.cwd().parents):
        outputs = parent / "outputs"
        if (parent / "runbooks").is_dir() and os.access(outputs, os.W_OK):
            folder = outputs / f"interactive-{stamp}-{pid}"
            make_private(folder)
            return folder
    return Path(tempfile.mkdtemp(prefix=f"runbook-interactive-{stamp}-"))
