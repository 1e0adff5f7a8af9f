"""What the tests of runs share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil

PROJECT = Path(__file__).resolve().parents[2]
KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}

Write = Callable[..., Path]


def statuses(notebook: Path) -> dict[str, str]:
    nb = nbformat.read(notebook, as_version=4)
    return {cell.id: cell.metadata.papermill.status for cell in nb.cells}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def own_project(folder: Path, migration: Any, *runbooks: str) -> None:
    """A migration.toml whose profile `local` is one test's source, stage and target, beside copies of runbooks."""
    (folder / "runbooks").mkdir()
    for path in (folder, folder / "runbooks"):
        (path / "migration.toml").write_text(migration.profile)
    for name in runbooks:
        shutil.copy(PROJECT / "runbooks" / f"{name}.ipynb", folder / "runbooks")
