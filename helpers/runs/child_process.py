"""One `runbook run PHASE` as a process of its own, stopped properly when its parent is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.runs.parent_process import PARENT
from helpers.runs.supervisor import handle_signals
from helpers.stopping import SECONDS

_END = SECONDS + 1.0
"""Seconds for a cell to clean up, the kernel to end and the attempt to be rendered, before the command is killed."""


@dataclass(frozen=True)
class Ended:
    """How the command ended; `why` in a sentence, empty when all is well."""

    exit_code: int
    why: str = ""
    notebook: str | None = None


def run_child(
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    keep: int,
    tick: Callable[[], None],
    every: float,
    ends_at: float | None = None,
) -> Ended:
    """Runs a command to its end. Ctrl-C, SIGTERM and the time limit ask it to stop; a second Ctrl-C insists.

    Args:
        words: the command, which prints one JSON object on standard output.
        environment: its variables.
        keep: a file descriptor that it inherits.
        tick: called while it runs.
        every: seconds between two calls.
        ends_at: by the monotonic clock, when it has taken too long.
    """
    child = _Child()
    with handle_signals(child.stop):
        # A session of its own: a terminal's Ctrl-C reaches it once, through this process, and not twice.
        with subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            pass_fds=(keep,),
            env={**environment, PARENT: str(os.getpid())},
        ) as process:
            try:
                output = child.watch(process, tick, every, ends_at)
            except BaseException:
                process.kill()
                raise
        return _ended(process.returncode, output, child.stopped_by)


class _Child:
    def __init__(self) -> None:
        self.stopped_by = ""
        self._process: subprocess.Popen[str] | None = None
        self._kill_at: float | None = None

    def watch(
        self, process: subprocess.Popen[str], tick: Callable[[], None], every: float, ends_at: float | None
    ) -> str:
        self._process = process
        if self.stopped_by:
            self.stop(self.stopped_by)
        while True:
            try:
                return process.communicate(timeout=every)[0]
            except subprocess.TimeoutExpired:
                now = time.monotonic()
                if ends_at is not None and now >= ends_at and not self.stopped_by:
                    self.stop("the run's time is over")
                if self._kill_at is not None and now >= self._kill_at:
                    process.kill()
                tick()

    def stop(self, why: str) -> None:
        self.stopped_by = self.stopped_by or why
        self._kill_at = self._kill_at or time.monotonic() + _END
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)


def _ended(code: int, output: str, stopped_by: str) -> Ended:
    told = _parsed(output)
    notebook = told.get("notebook")
    failure, error = told.get("failure"), told.get("error")
    why = ""
    if error:
        why = f"could not {error['what']} ({error['on']}): {error['why']} → {error['next']}"
    elif failure:
        why = f"{failure['error']} in cell {failure['cell']}: {failure['message']}"
    if stopped_by:
        return Ended(4, "; ".join(filter(None, [stopped_by, why])), notebook)
    if code < 0:
        return Ended(4, f"its command was ended by {signal.Signals(-code).name}", notebook)
    if code not in (0, 1, 2, 3, 4):
        return Ended(2, f"its command exited with {code}", notebook)
    # Only what says that it is done is believed.
    if code == 0 and told.get("status") != "done":
        return Ended(2, "its command exited with 0 and did not say that it is done", notebook)
    return Ended(code, why or ("" if code == 0 else f"its command exited with {code}"), notebook)


def _parsed(output: str) -> dict[str, Any]:
    try:
        value = json.loads(output)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
