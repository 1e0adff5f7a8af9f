"""By what a process is known again: its number alone may be another process's by now."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import psutil

_PROC = Path("/proc")

_START = 19
"""Place of `starttime` behind the command's name in /proc/PID/stat, whose 22nd field it is (proc_pid_stat(5))."""


def start_of(pid: int) -> str:
    """When a process started, by a clock that nobody sets: on Linux the boot and its ticks since, elsewhere what the kernel wrote down.

    The time of day will not do: Linux derives it from the present time, so that it moves when a clock is corrected or a virtual
    machine resumed, and a process that runs would count as gone.

    Args:
        pid: the process's number.

    Returns:
        A text that no other process of this machine has beside the same number.

    Raises:
        psutil.NoSuchProcess: there is none.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        if _boot():
            raise psutil.NoSuchProcess(pid) from None
        return f"{psutil.Process(pid).create_time():.3f}"
    return f"{_boot()}:{fields[_START]}"


def lives(pid: int, start: str) -> bool:
    """Whether the process that `start_of` told this of is there."""
    try:
        return start_of(pid) == start
    except psutil.NoSuchProcess:
        return False


@cache
def _boot() -> str:
    """Id of this boot of Linux, empty where there is none."""
    path = _PROC / "sys/kernel/random/boot_id"
    return path.read_text(encoding="ascii").strip() if path.exists() else ""
