"""Ends a process together with the one that started it, even when that one was killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PARENT = "RUNBOOK_PARENT"
"""Process id of the `runbook run all` that a command works for."""

_PR_SET_PDEATHSIG = 1
_POLL = 0.5


def die_with_parent(parent: int | None) -> None:
    """Lets the operating system kill this process when its parent is gone; leaves at once where it is gone already.

    The system does not wait for the interpreter's lock, which a cell may never let go.

    Args:
        parent: its process id, or None where that is not known.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        sys.exit("the command that started this process is gone")


def heed_parent() -> None:
    """Tells this process once to stop when the `runbook run all` that started it is gone.

    The operating system would tell it once for each thread of the parent, and a second signal means: at once.
    """
    # Taken out of the environment: what this process starts has another parent.
    parent = os.environ.pop(PARENT, None)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(_POLL)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="runbook-parent", daemon=True).start()
