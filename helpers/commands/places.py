"""Where the commands find runbooks and runs."""

from __future__ import annotations

import sys
from pathlib import Path

from helpers import PROJECT
from helpers.errors import UsageError

RUNBOOKS = PROJECT / "runbooks"
OUTPUTS = PROJECT / "outputs"
COMMAND = (sys.executable, "-m", "helpers")
"""How `runbook run all` starts the process of each phase."""


def notebook(phase: str) -> Path:
    known = sorted(RUNBOOKS.glob("[0-9][0-9]_*.ipynb"))
    for path in known:
        if phase in (path.stem, path.stem[:2]):
            return path
    why = f"runbooks/ has {', '.join(path.stem for path in known)}"
    raise UsageError("find the phase", on=phase, why=why, next_step="name one of these")


def run_folder(run: str) -> Path:
    from helpers.ledger.folders import checked_name

    return OUTPUTS / checked_name(run, kind="run")


def runs() -> list[str]:
    """The names of the runs that there are."""
    return sorted(path.parent.name for path in OUTPUTS.glob("*/ledger.jsonl"))


def existing_run_folder(run: str) -> Path:
    """Raises UsageError where there is no such run, and names those that there are."""
    folder = run_folder(run)
    if not folder.is_dir():
        why = "there is no such run"
        cure = f"name one of: {', '.join(runs())}" if runs() else "start one: runbook run 00 --run NAME"
        raise UsageError("show the run", on=run, why=why, next_step=cure)
    return folder


def open_run_folder(run: str) -> Path:
    """Of a run that more may be added to.

    Raises:
        UsageError: it is sealed.
    """
    from helpers.ledger.folders import refuse_sealed

    folder = run_folder(run)
    refuse_sealed(folder)
    return folder


def unused(wanted: Path) -> Path:
    """`wanted`, or where that is taken a name with a number: an earlier verification of the run stays as it was."""
    path, number = wanted, 1
    while path.exists() or path.with_name(f"{path.name}.json").exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path
