"""What the tests of the control room share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def started(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """The command, over runs in a folder of the test's own, and the address that it prints."""
    code = f"from pathlib import Path; from helpers.commands import main, places; places.OUTPUTS = Path({str(folder)!r}); main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "control-room", *arguments], cwd=PROJECT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    return process, process.stdout.readline().strip()
