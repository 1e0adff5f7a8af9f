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
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from run_support import KERNELSPEC, PROJECT, Write


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
