"""A part of the golden migration, for tests that need no whole certification."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.certify import golden
from helpers.model import manifest as manifests

ALWAYS = {"altered", "replaced", "written", "unfit", "empty", "floats"}
"""Tables that questions are about by their names."""


@pytest.fixture
def some_golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Leaves of the golden migration what the test at hand is about: a whole one is certified with the stack."""

    def only(tables: list[str]) -> None:
        folder = tmp_path / "golden"
        shutil.copytree(golden.FOLDER, folder)
        file = folder / golden.AFTER / manifests.NAME
        manifest = golden.manifest(golden.AFTER)
        kept = tuple(table for table in manifest.tables if table.name in {*ALWAYS, *tables})
        file.write_text(manifest.model_copy(update={"tables": kept}).model_dump_json())
        monkeypatch.setattr(golden, "FOLDER", folder)

    return only
