"""Stops a kernel on a time-out, Ctrl-C, SIGTERM or a closed terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from helpers.stopping import SIGNALS, kill_tree

GRACE = 4.0
"""Seconds between asking a cell to stop and killing its kernel: enough to roll a transaction back."""

_TICK = 0.1


@contextlib.contextmanager
def handle_signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Gives the name of each signal that would end the command to `stop`; does nothing outside of the main thread.

    A handler, and not KeyboardInterrupt, which could leave any line. What was ignored stays ignored: under nohup a closed
    terminal is no reason to stop.
    """
    in_main = threading.current_thread() is threading.main_thread()
    handled = [each for each in SIGNALS if in_main and signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, lambda number, frame: stop(signal.Signals(number).name)) for each in handled}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class Stopped(Exception):  # noqa: N818 - says what happened
    """The run was stopped from outside its notebook."""


class Supervisor:
    """Watches one kernel for one run.

    It never raises into the code that talks to the kernel: it interrupts the kernel's process group, so that the
    cell meets KeyboardInterrupt and its `with` blocks are left properly, and kills the group when that
    has no effect. `reason` then says why; the first reason stays.
    """

    def __init__(self, *, cell_timeout: float | None = None, grace: float = GRACE) -> None:
        self.cell_timeout = cell_timeout
        self.grace = grace
        self.reason: str | None = None
        self._group: int | None = None
        self._stop_at: float | None = None
        self._kill_at: float | None = None

    @contextlib.contextmanager
    def on_duty(self) -> Iterator[None]:
        """Watches the clock, and in the main thread the signals that would end the command."""
        done = threading.Event()
        clock = threading.Thread(target=self._watch_clock, args=(done,), name="runbook-supervisor", daemon=True)
        clock.start()
        try:
            with handle_signals(self.stop):
                yield
        finally:
            done.set()
            clock.join()

    @contextlib.contextmanager
    def in_charge_of(self, pid: int) -> Iterator[None]:
        """Takes over a kernel, which leads a process group of its own, and leaves nothing of the group behind."""
        self._group = pid
        if self.reason:
            self._signal_kernel(signal.SIGKILL)
        try:
            yield
        finally:
            # What a cell started without detaching it ends here too; what it detached has a group of its own.
            self._signal_kernel(signal.SIGKILL)
            self._group = None

    @contextlib.contextmanager
    def watching_cell(self) -> Iterator[None]:
        """Allows one cell its time."""
        self._stop_at = time.monotonic() + self.cell_timeout if self.cell_timeout else None
        try:
            yield
        finally:
            self._stop_at = self._kill_at = None

    def raise_if_stopped(self) -> None:
        """Raises Stopped once there is a reason, also when the cell swallowed the interrupt and went on."""
        if self.reason:
            raise Stopped(self.reason)

    def stop(self, reason: str) -> None:
        """Asks the kernel to stop; insists after the grace, or at once when asked a second time."""
        # Called by a signal handler: it must not take a lock, and so starts no thread.
        again = self.reason is not None
        self.reason = self.reason or reason
        self._signal_kernel(signal.SIGKILL if again else signal.SIGINT)
        self._kill_at = time.monotonic() + self.grace

    def _watch_clock(self, done: threading.Event) -> None:
        while not done.wait(_TICK):
            now = time.monotonic()
            # Read once: the main thread clears both when the cell ends.
            stop_at, kill_at = self._stop_at, self._kill_at
            if kill_at is not None and now >= kill_at:
                self._signal_kernel(signal.SIGKILL)
            elif stop_at is not None and now >= stop_at and self.reason is None:
                self.stop(f"time-out after {self.cell_timeout:g} s")

    def _signal_kernel(self, number: signal.Signals) -> None:
        if self._group is not None:
            if number == signal.SIGKILL and self.reason:
                kill_tree(self._group)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, number)
