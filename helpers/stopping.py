"""Ends a command within ten seconds of Ctrl-C, SIGTERM or a closed terminal, whatever server it waits for.

The signal first raises KeyboardInterrupt, so that `with` blocks roll back, close and clean up. A call into a driver that
waits for a server that hangs lets nothing be raised; a thread therefore ends the process once `SECONDS` are over.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SECONDS = 8.5
"""From the signal to the hard end: ten less what that end itself may take."""

OUTLIVES = "RUNBOOK_OUTLIVES"
"""Environment variable of a process that is not ended with its command; its value says to people what it is."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_HARD_END_SECONDS = 1.0

_taken = threading.Event()
"""Set while the next signal belongs to a block that ends by itself."""

_temporary: set[Path] = set()


def end_when_told(exit_code: int) -> None:
    """Lets the signals end this process, softly and then hard; called once, in the main thread, by a command's main.

    Args:
        exit_code: of the hard end.
    """
    os.environ.pop(OUTLIVES, None)  # said of this process, not of what it starts
    for each in SIGNALS:
        # What was ignored stays ignored: under nohup a closed terminal is no reason to stop.
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, signal.default_int_handler)
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    # Python's own handlers wait for the main thread to come back from C; this descriptor is written to at once.
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(told, exit_code), name="runbook-stopping", daemon=True).start()


@contextlib.contextmanager
def ends_when_told(tell: Callable[[], None]) -> Iterator[None]:
    """A block that ends by itself once `tell` was called, in its own time: the first signal calls it, and a second one ends the command.

    For work that goes on without an end, and has points at which it is whole; only within the main thread.
    """
    former = {each: signal.getsignal(each) for each in SIGNALS}

    def first(number: int, frame: object) -> None:
        restore()
        tell()

    def restore() -> None:
        for each, handler in former.items():
            signal.signal(each, handler)

    for each, handler in former.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, first)
    _taken.set()
    try:
        yield
    finally:
        _taken.clear()
        restore()


@contextlib.contextmanager
def removed_at_the_end(folder: Path) -> Iterator[Path]:
    """A folder that a hard end removes, too; the block itself removes it otherwise."""
    _temporary.add(folder)
    try:
        yield folder
    finally:
        _temporary.discard(folder)


def kill_tree(pid: int) -> set[str]:
    """Kills what a process has started, and their groups, but for what outlives it; the process itself stays.

    Returns:
        What outlives it, in words.
    """
    import psutil  # only where something is ended

    outlives: set[str] = set()
    try:
        family = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return outlives
    for process in family:
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if what := process.environ().get(OUTLIVES):
                outlives.add(what)
            elif os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    return outlives


def _wait(told: int, exit_code: int) -> None:
    while True:
        if os.read(told, 1)[0] in SIGNALS:
            if not _taken.is_set():
                break
            _taken.clear()
    time.sleep(SECONDS)
    # Whatever hinders the rest, such as a terminal that takes no more text, this process ends.
    last = threading.Timer(_HARD_END_SECONDS, os._exit, [exit_code])
    last.daemon = True
    last.start()
    try:
        outlives = kill_tree(os.getpid())
        for folder in tuple(_temporary):
            shutil.rmtree(folder, ignore_errors=True)
        goes_on = f" {', '.join(sorted(outlives))}: goes on by itself." if outlives else ""
        text = (
            f"aborted: a server or a program did not answer within {SECONDS:g} s of the signal, so the command ended without it. "
            "A server rolls back a transaction that was open, nobody reads a file that was not finished, and whatever was "
            f"finished stays.{goes_on} See that the server answers (runbook status shows what is left), then run the same "
            "command again; with --run it goes on where it was.\n"
        )
        os.write(2, text.encode())
    finally:
        os._exit(exit_code)
