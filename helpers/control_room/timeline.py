"""The phases of a run on two time axes: as the checklist plans them, and as they ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from helpers import checklist
from helpers.checklist import ROLLBACK
from helpers.ledger.ledger import Entry
from helpers.runs.status import RunStatus, StepStatus


@dataclass(frozen=True)
class Bar:
    """A piece of an axis; `left` and `width` are percent of it. `state` is a step's, or how the attempt ended."""

    left: float
    width: float
    state: str = ""
    label: str = ""


@dataclass(frozen=True)
class PhaseTime:
    """One phase. `actual` is seconds at work, all attempts together; None before the first."""

    name: str
    steps: tuple[StepStatus, ...]
    planned_minutes: int
    planned: Bar
    actual: float | None
    attempts: tuple[Bar, ...]

    @property
    def over(self) -> int:
        """Steps that need nothing more."""
        return sum(step.over for step in self.steps)


@dataclass(frozen=True)
class Timeline:
    """All phases. `planned_minutes` and `actual` (seconds from the first attempt to the last) are what 100 percent stand for."""

    phases: tuple[PhaseTime, ...]
    planned_minutes: int
    actual: float


def timeline(status: RunStatus, entries: Sequence[Entry], now: datetime | None = None) -> Timeline:
    """Lays out a run's phases.

    Args:
        status: of the run.
        entries: of its ledger; attempts of phases that the checklist does not have are passed over.
        now: until when a running attempt reaches.
    """
    spans = _spans(status, entries, now or datetime.now(UTC))
    start = min((began for _, _, began, _, _ in spans), default=0.0)
    whole = max((end for _, _, _, end, _ in spans), default=0.0) - start
    steps = {phase: tuple(step for step in status.steps if step.phase == phase) for phase in checklist.PHASES}
    minutes = {phase: sum(step.planned_minutes for step in own) for phase, own in steps.items()}
    # Nobody plans to go back: the way back has a length, and no place among the others.
    in_all = sum(each for phase, each in minutes.items() if phase != ROLLBACK)
    found, before = [], 0
    for phase, own in steps.items():
        if not own:
            continue
        mine = [(attempt, began, end, state) for name, attempt, began, end, state in spans if name == phase]
        bars = tuple(
            Bar(_percent(began - start, whole), _percent(end - began, whole), state, f"{attempt}: {state}")
            for attempt, began, end, state in mine
        )
        place = Bar(_percent(before, in_all), _percent(minutes[phase], in_all)) if phase != ROLLBACK else Bar(0, 0)
        actual = sum(end - began for _, began, end, _ in mine) if mine else None
        found.append(PhaseTime(phase, own, minutes[phase], place, actual, bars))
        before += minutes[phase]
    return Timeline(tuple(found), in_all, whole)


def _spans(status: RunStatus, entries: Sequence[Entry], now: datetime) -> list[tuple[str, str, float, float, str]]:
    ended = {(e.get("phase"), e.get("attempt")): e for e in entries if e.event == "attempt-ended"}
    last = {(e.get("phase"), e.get("attempt")): e for e in entries if e.get("attempt")}
    found = []
    for began in entries:
        place = began.get("phase"), began.get("attempt")
        if began.event != "attempt-started":
            continue
        state = status.attempts.get(f"{place[0]}/{place[1]}", "")
        until = now.isoformat() if state == "running" else ended.get(place, last[place]).at
        try:
            span = datetime.fromisoformat(began.at).timestamp(), datetime.fromisoformat(until).timestamp()
        except ValueError:
            continue
        found.append((str(place[0]), str(place[1]), span[0], max(span), state))
    return found


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 3) if whole else 0.0
