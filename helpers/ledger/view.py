"""How each step of a run stands, by the lines of its ledger: one rule, for everybody who asks.

What acts tells; a rehearsal (a plan, or a failure while planning) tells only of a step that nothing has acted on. Of what
acted the last line tells: done stays done until the step begins again, fails, waits for a person or is undone by the
rollback. docs/evidence.md has the rule in a table. Only the checker of a seal does not ask here: it trusts nobody, and
reads by itself (`seal_manifest.states`).
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import psutil

from helpers import checklist
from helpers.ledger.ledger import Entry
from helpers.source.held_snapshots import lives

State = Literal[
    "open", "planned", "running", "interrupted", "awaiting", "failed", "done", "not applicable", "rolled back"
]

OVER: frozenset[State] = frozenset({"done", "not applicable"})
"""States of a step that needs nothing more."""

NOT_APPLICABLE = "not applicable"
"""In a step's result: why the profile has nothing for it to act on."""

_STATES: Mapping[str, State] = {
    "step-done": "done", "step-skipped": "done", "attested": "done", "step-planned": "planned", "step-failed": "failed",
    "awaiting": "awaiting", "step-started": "interrupted",
}  # fmt: skip


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
                error = {"type": "an error", "why": "the ledger does not say which", **(self.line.get("error") or {})}
                then = f" → {error['next']}" if error.get("next") else ""
                return f"{self.step}: {error['type']}: {error['why']}{then}"
            case "interrupted":
                return f"{self.step} began in {self.line.get('attempt')}, which was ended before it was"
            case "running":
                return f"{self.line.get('attempt')} is running"
            case "awaiting":
                return f"{self.step} awaits an {self.line.get('what')}"
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
    rehearsals = {place for place, entry in started.items() if entry.get("parameters", {}).get("apply") is False}
    words = checklist.words() if words is None else words
    own: dict[str, list[Entry]] = {}
    for entry in entries:
        step = entry.get("step")
        if entry.event in _STATES and step and (entry.event != "attested" or step in words):
            own.setdefault(step, []).append(entry)
    found = {}
    for step, lines in own.items():
        acted = [entry for entry in lines if not _is_rehearsed(entry, rehearsals)]
        found[step] = _standing(step, acted or lines, entries, started, how)
    for step, undoing in checklist.undone_by().items():
        back = found.get(undoing, Standing(undoing))
        mine = found.get(step, Standing(step))
        if mine.state == "done" and back.state == "done" and mine.line and back.done and mine.line.n < back.done.n:
            found[step] = replace(mine, state="rolled back")
    return View(found, {f"{phase}/{attempt}": status for (phase, attempt), status in how.items()})


def _standing(
    step: str,
    lines: Sequence[Entry],
    entries: Sequence[Entry],
    attempt: Mapping[tuple[str, str], Entry],
    how: Mapping[tuple[str, str], str],
) -> Standing:
    last = lines[-1]
    done = next((entry for entry in reversed(lines) if entry.event == "step-done"), None)
    started = next((entry for entry in reversed(lines) if entry.event == "step-started"), None)
    state = _STATES[last.event]
    if last.waits:
        state = "awaiting"
        last = next((entry for entry in reversed(lines) if entry.event == "awaiting"), last)
    elif last.event == "step-started" and how.get(_place(last)) == "running":
        state = "running"
    elif last.event == "step-skipped":
        last = _relied_on(last, entries) or last
    if last.event == "step-done" and NOT_APPLICABLE in (last.get("result") or {}):
        state = "not applicable"
    began = attempt.get(_place(last))
    return Standing(
        step, state, last, started, done,
        who=last.get("by") or (str(began.get("by")) if began else None),
        seconds=next((e.get("seconds") for e in reversed(lines) if e.event in ("step-done", "step-failed")), None),
    )  # fmt: skip


def _is_rehearsed(entry: Entry, rehearsals: set[tuple[str, str]]) -> bool:
    return entry.event == "step-planned" or (entry.event == "step-failed" and _place(entry) in rehearsals)


def _relied_on(skipped: Entry, entries: Sequence[Entry]) -> Entry | None:
    of = skipped.get("of")
    line = entries[of - 1] if isinstance(of, int) and 0 < of < skipped.n else None
    return line if line and (line.event, line.get("step")) == ("step-done", skipped.get("step")) else None


def _place(entry: Entry) -> tuple[str, str]:
    return str(entry.get("phase")), str(entry.get("attempt"))
