"""What an operator sees of a whole run: the phase, the step, and how long it will take."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

from helpers.ledger.ledger import Entry
from helpers.progress import duration
from helpers.runs.estimate import Estimate

_WORDS = {
    "step-started": "begins", "step-done": "done", "step-planned": "planned", "step-skipped": "skipped",
    "step-failed": "failed", "awaiting": "awaits a person", "attempt-started": "begins", "attempt-ended": "ends",
}  # fmt: skip


class Display:
    """A line for every step on standard error; in a terminal below them one that counts."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: Any = tqdm(file=self._stream, bar_format="{desc}", leave=False) if self._stream.isatty() else None
        self._where = ""
        self._step = ""
        self._told = ("", "")
        self._began = time.monotonic()

    def phase(self, number: int, count: int, phase: str, left: Estimate, *, apply: bool) -> None:
        """A phase begins."""
        self._where, self._step, self._began = f"[{number}/{count}] {phase}", "", time.monotonic()
        self.line(f"▶ {self._where}{'' if apply else ', rehearsed'}: {left}")

    def events(self, entries: list[Entry], left: Estimate) -> None:
        """What the ledger has more."""
        for entry in entries:
            name = entry.get("step") or entry.get("attempt")
            if entry.event not in _WORDS or not name:
                continue
            if entry.event == "step-started":
                self._step = name
            seconds = entry.get("seconds")
            took = f" in {duration(seconds)}" if seconds is not None else ""
            status = f": {entry.get('status')}" if entry.event == "attempt-ended" else ""
            event = "awaiting" if entry.waits else entry.event
            took = "" if entry.waits else took
            if (name, event) != self._told:  # it began to wait, and its step ended with that: one line
                self.line(f"  {self._where} {name} {_WORDS[event]}{took}{status}, {left}")
            self._told = (name, event)

    def tick(self, left: Estimate) -> None:
        """Time goes by."""
        if self._bar is not None:
            so_far = duration(time.monotonic() - self._began)
            self._bar.set_description_str(f"{self._where} {self._step} {so_far}, {left}")

    def line(self, text: str) -> None:
        """Says something that stays."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Takes the counting line away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
