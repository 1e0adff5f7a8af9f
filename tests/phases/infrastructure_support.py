"""What the tests of phase 10 share: a project of a test's own, and attempts in it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from helpers import PROJECT
from helpers.runs.cell_progress import Silence
from helpers.runs.run import execute

NAME = "10_infrastructure"
KEYS = "keys"


def own_project(folder: Path, name: str) -> None:
    """A migration.toml with one person who may sign, a schema and a state of its own, beside a copy of the runbook."""
    (folder / "runbooks").mkdir()
    (folder / KEYS).mkdir()
    text = (
        '[profiles.local]\nstack = "local"\n'
        f'[profiles.local.snowflake]\nschema = "{name.upper()}"\n'
        f'[profiles.local.terraform]\nfolder = "{folder}/terraform"\n'
        f'[profiles.local.approvals.people]\nalice = "{folder}/{KEYS}/alice.pem.pub"\n'
    )
    for path in (folder, folder / "runbooks"):
        (path / "migration.toml").write_text(text)
        shutil.copy(PROJECT / ".env.example", path)
    shutil.copy(PROJECT / "runbooks" / f"{NAME}.ipynb", folder / "runbooks")


def attempt(folder: Path, run: str, parameters: Mapping[str, object]) -> tuple[int, str]:
    """One attempt of the phase: its exit code, and what stopped it."""
    result = execute(
        folder / "runbooks" / f"{NAME}.ipynb", run=run, parameters={"profile": "local", **parameters},
        outputs=folder / "outputs", report=Silence(),
    )  # fmt: skip
    return (result.exit_code, result.failure.message if result.failure else "")
