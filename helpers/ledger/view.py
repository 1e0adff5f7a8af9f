"""The state of each step of a run: `checker.rule` reads it from the ledger, and this adds who and how long.

Only this module looks whether an attempt's process still exists: a step that began is running if so, else interrupted.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

import psutil

from helpers import checklist
from helpers.checker.rule import ELSEWHERE as ELSEWHERE
from helpers.checker.rule import NOT_APPLICABLE as NOT_APPLICABLE
from helpers.checker.rule import OVER, elsewhere_in_words, standings
from helpers.ledger.ledger import Entry
from helpers.process_identity import lives

State = Literal[
    "open", "planned", "running", "interrupted", "awaiting", "failed", "done", "exists elsewhere", "not applicable",
    "rolled back",
]  # fmt: skip


@dataclass(frozen=True)
class Standing:
    """How one step stands.

    Attributes:
        step: its id.
        state: "interrupted" began in an attempt that is gone; "done" is also said of a step that a person has attested.
        line: the line that tells; None where the step is open.
        started: the last time that it began to act.
        done: the last time that it was done, whatever came after.
        who: the operating system's user of that line's attempt, or the person who signed.
        seconds: of the last time that it ended.
    """

    step: str
    state: State = "open"
    line: Entry | None = None
    started: Entry | None = None
    done: Entry | None = None
    who: str | None = None
    seconds: float | None = None

    @property
    def over(self) -> bool:
        """Whether it needs nothing more."""
        return self.state in OVER

    @property
    def result(self) -> dict[str, Any] | None:
        """What it recorded when it was done last; None where it never was."""
        return dict(self.done.get("result") or {}) if self.done else None

    @property
    def why(self) -> str:
        """What stands in its way, as a sentence; empty where nothing does."""
        if self.line is None:
            return ""
        match self.state:
            case "failed":
                return f"{self.step}: {_sentence(self.line.get('error') or {}, self.step)}"
            case "interrupted":
                return f"{self.step} began in {self.line.get('attempt')}, which was ended before it was"
            case "running":
                return f"{self.line.get('attempt')} is running"
            case "awaiting":
                if theirs := self.line.get("elsewhere"):
                    return f"{self.step} awaits a person's word that it exists elsewhere: {theirs.get('what')} ({theirs.get('link')})"
                return f"{self.step} awaits an {self.line.get('what')}"
            case "exists elsewhere":
                return f"{self.step}: {elsewhere_in_words((self.result or {})[ELSEWHERE])}"
            case "not applicable":
                return f"{self.step}: {(self.result or {})[NOT_APPLICABLE]}"
            case "rolled back":
                return f"{self.step} was rolled back"
        return ""


@dataclass(frozen=True)
class View:
    """A run's steps as its ledger has them.

    Attributes:
        standings: by step; those that the ledger does not name are open.
        attempts: by "phase/attempt", how each ended: a status of `run.execute`, "killed" or "running".
    """

    standings: Mapping[str, Standing] = field(default_factory=dict)
    attempts: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, step: str) -> Standing:
        return self.standings.get(step, Standing(step))

    def __iter__(self) -> Iterator[Standing]:
        return iter(self.standings.values())


def is_gone(started: Entry) -> bool:
    """Whether the process of an attempt is no more; of another machine's nobody can tell from here."""
    process = started.get("process")
    if not process or process["host"] != platform.node():
        return False
    if not lives(process["pid"], process["started"]):
        return True
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(process["pid"]).status() == psutil.STATUS_ZOMBIE)
    return True


def view(
    entries: Sequence[Entry], *, words: Set[str] | None = None, is_gone: Callable[[Entry], bool] = is_gone
) -> View:
    """Reads the lines of a ledger.

    Args:
        entries: all of them, in their order.
        words: steps that a person's word is enough for; those of the checklist when None.
        is_gone: whether the process of an attempt that has not ended is no more.
    """
    started = {_place(entry): entry for entry in entries if entry.event == "attempt-started"}
    ended = {_place(entry): entry.get("status") for entry in entries if entry.event == "attempt-ended"}
    how = {place: ended.get(place) or ("killed" if is_gone(entry) else "running") for place, entry in started.items()}
    words = checklist.words() if words is None else words
    found = {}
    for step, told in standings(entries, words, checklist.undone_by()).items():
        line = told.line
        began = started.get(_place(line)) if line else None
        state: State = (
            ("running" if line and how.get(_place(line)) == "running" else "interrupted")
            if told.state == "begun"
            else told.state
        )
        who = (line.get("by") if line else None) or (str(began.get("by")) if began else None)
        seconds = told.ended.get("seconds") if told.ended else None
        found[step] = Standing(step, state, line, told.started, told.done, who, seconds)
    return View(found, {f"{phase}/{attempt}": status for (phase, attempt), status in how.items()})


def _sentence(error: Mapping[str, Any], step: str) -> str:
    """What a failed line says of its error, for people; only of an error that nobody foresaw the class is named."""
    on = error.get("on") or ("" if error.get("next") else error.get("type", ""))
    where = f" ({on})" if on and on != step else ""
    what = f"could not {error['what']}{where}: " if error.get("what") else ""
    then = f" → {error['next']}" if error.get("next") else ""
    return f"{what}{error.get('why', 'it failed, and the ledger does not say why')}{then}"


def _place(entry: Entry) -> tuple[str, str]:
    return str(entry.get("phase")), str(entry.get("attempt"))
