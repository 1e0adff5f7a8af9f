"""Ends a process with the one that started it, also when that one was killed and could not say so."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT = "RUNBOOK_PARENT"
"""Process id of the `runbook run all` that a command works for."""

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int | None, number: signal.Signals) -> None:
    """Asks the operating system for a signal when the parent is gone; leaves at once where it is gone already.

    Args:
        parent: its process id, or None where that is not known.
        number: the signal. The system sends it also to a process that never lets go of the interpreter's lock.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        sys.exit("the command that started this process is gone")


def heed_parent() -> None:
    """Lets `runbook run all` end the command that it started; a command that a person started is left alone."""
    # Taken out of the environment: what this process starts has another parent.
    if parent := os.environ.pop(PARENT, None):
        end_with_parent(int(parent), signal.SIGTERM)
