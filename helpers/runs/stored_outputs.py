"""Keeps in a runbook the outputs that CI compares with, and no others.

`python -m helpers.runs.stored_outputs EXECUTED RUNBOOK` takes them from an executed attempt; look at the difference before
you commit it, for it is what every later run is measured by.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

COMPARED = "nbval-check-output"


def store(executed: Path, runbook: Path) -> int:
    """Copies the outputs of compared cells by their id, and clears every other cell.

    Returns:
        How many cells were given outputs.
    """
    outputs = {cell.id: cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"}
    notebook = nbformat.read(runbook, as_version=4)
    count = 0
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        compared = COMPARED in cell.metadata.get("tags", ())
        count += compared
        cell.outputs = outputs[cell.id].outputs if compared else []
        # nbval compares only cells that have a count.
        cell.execution_count = count if compared else None
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    nbformat.write(notebook, runbook)
    return count


if __name__ == "__main__":
    print(store(Path(sys.argv[1]), Path(sys.argv[2])), "cells")  # noqa: T201
