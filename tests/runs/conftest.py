"""Small runbooks to run, and processes to look after."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from evidence_support import CELLS, PHASE, People, Run, copied, whole_run
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from run_support import KERNELSPEC, PROJECT, Write

from helpers.runs.cell_progress import Silence
from helpers.runs.run import execute


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a notebook: `write("name", {"id": "code", …}, tags={"id": ["gate"]})`."""

    def written(name: str, cells: dict[str, str], tags: dict[str, list[str]] | None = None) -> Path:
        made = []
        for cell_id, source in cells.items():
            cell = new_markdown_cell(source) if source.startswith("#") else new_code_cell(source)
            cell["id"] = cell_id
            cell.metadata["tags"] = (tags or {}).get(cell_id, ["parameters"] if cell_id == "parameters" else [])
            made.append(cell)
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(new_notebook(cells=made, metadata={"kernelspec": KERNELSPEC}), path)
        return path

    return written


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `execute` in a process of its own, as the command does."""
    started: list[subprocess.Popen[bytes]] = []
    # A killed run leaves its private folder; a short path, because sockets lie in it.
    private = tempfile.mkdtemp(prefix="t-")

    def start(notebook: Path, **options: Any) -> subprocess.Popen[bytes]:
        code = (
            "import sys; from pathlib import Path; from helpers.runs.run import execute\n"
            f"result = execute(Path({str(notebook)!r}), run='r', parameters={{}}, outputs=Path({str(tmp_path)!r}) / 'outputs',"
            f" **{options!r})\n"
            "sys.exit(result.exit_code)"
        )
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TMPDIR": private}
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    shutil.rmtree(private)


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one phase, as the engine leaves it: notebook, HTML and a report."""
    folder = tmp_path_factory.mktemp("executed")
    made = []
    for cell_id, source in CELLS.items():
        cell = new_markdown_cell(source) if source.startswith("#") else new_code_cell(source)
        cell["id"] = cell_id
        made.append(cell)
    nbformat.write(new_notebook(cells=made, metadata={"kernelspec": KERNELSPEC}), folder / f"{PHASE}.ipynb")
    result = execute(folder / f"{PHASE}.ipynb", run="first", parameters={}, outputs=folder / "runs", report=Silence())
    assert result.status == "done", result.failure
    return result.notebook.parent


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    """Alice, Bob and Carol, the one who seals, the machine, and Mallory, whom nobody knows."""
    return People(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def ready(tmp_path: Path, people: People, executed: Path) -> Run:
    """A run that can be sealed."""
    (tmp_path / "runs/first").mkdir(parents=True)
    return whole_run(tmp_path / "runs/first", people, executed)


@pytest.fixture(scope="session")
def sealed_once(tmp_path_factory: pytest.TempPathFactory, people: People, executed: Path) -> Run:
    """A sealed run, chained to a sealed one before it; tests work on copies of it."""
    folder = tmp_path_factory.mktemp("sealed")
    for name in ("zeroth", "first"):
        (folder / name).mkdir()
        run = whole_run(folder / name, people, executed)
        run.seal()
    return run


@pytest.fixture
def sealed(sealed_once: Run, tmp_path: Path) -> Run:
    """A copy of the sealed run, beside a copy of the one before it."""
    copied(Run(sealed_once.folder.with_name("zeroth"), sealed_once.people), tmp_path / "runs/zeroth")
    return copied(sealed_once, tmp_path / "runs/first")
