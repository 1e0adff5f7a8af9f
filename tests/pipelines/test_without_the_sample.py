"""The second pipeline where the sample is not installed: a copy without `helpers/pipelines/sample` and the folder `pipeline/`.

Would catch: a phase, a command or the local stack that imports something of the sample's, or reads its files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import PROJECT

COPIED = ("helpers", "tests", "runbooks", "docs", "migration.toml", "pyproject.toml", "requirements.txt")


@pytest.mark.slow
def test_the_library_passes_phases_00_30_and_40_where_there_is_no_sample(tmp_path: Path) -> None:
    for name in COPIED:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("sample", "__pycache__"))
        else:
            shutil.copy(PROJECT / name, tmp_path)
    for environment in PROJECT.glob(".venv*"):
        (tmp_path / environment.name).symlink_to(environment)
    assert not (tmp_path / "helpers/pipelines/sample").exists() and not (tmp_path / "pipeline").exists()
    own = {**os.environ, "PYTHONPATH": str(tmp_path), "RUNBOOK_LOCAL_ROOT": str(tmp_path / ".local")}
    own = {name: value for name, value in own.items() if not name.startswith(("PYTEST_", "COV_"))}

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=own, capture_output=True, text=True, check=False
        )

    assert python("-c", "import helpers; print(helpers.PROJECT)").stdout.strip() == str(tmp_path)
    try:
        tests = ("tests/pipelines/test_library_pipeline.py", "tests/pipelines/test_library_tested.py")
        ran = python("-m", "pytest", "-q", "-p", "no:nbval", "-p", "no:cacheprovider", *tests)
        assert ran.returncode == 0, ran.stdout[-5000:]
        assert " passed" in ran.stdout and "skipped" not in ran.stdout
    finally:
        python("-m", "helpers", "local", "down")
