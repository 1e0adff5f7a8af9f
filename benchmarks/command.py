"""What an answer of the command costs: CPU seconds and peak memory of `--help` and `status`, beside its own libraries'.

.venv/bin/python -m benchmarks.command
"""

from __future__ import annotations

import os
import subprocess
import sys

REPEAT = 9
"""The least of so many: what else the machine does only adds."""

CALLS = {
    "import typer, rich": ("-c", "import typer, rich"),
    "runbook --help": ("-m", "helpers", "--help"),
    "runbook status": ("-m", "helpers", "status"),
}


def cost(*arguments: str) -> tuple[float, float]:
    """CPU seconds (user and system) and MB at most of a child process."""
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args)
    # Linux counts in kilobytes.
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Prints a line a call."""
    for name, arguments in CALLS.items():
        seconds, memory = (min(column) for column in zip(*(cost(*arguments) for _ in range(REPEAT)), strict=True))
        print(f"{name:<20} {seconds:6.3f} s {memory:7.1f} MB")


if __name__ == "__main__":
    main()
