"""How long a phase will take: as long as its last time, or as long as the checklist plans."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from helpers import checklist
from helpers.errors import EvidenceError
from helpers.ledger.ledger import NAME, Entry, Ledger
from helpers.progress import roughly

FORMER_RUNS = 20
"""So many of the latest runs are asked; reading the ledgers of years would take longer than it is worth."""


@dataclass(frozen=True)
class Estimate:
    """Seconds, and whether they are only planned: nobody has run the phase with this profile before."""

    seconds: float
    planned: bool

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.seconds + other.seconds, self.planned or other.planned)

    def after(self, seconds: float) -> Estimate:
        """What is left of it after so many seconds."""
        return Estimate(max(0.0, self.seconds - seconds), self.planned)

    def __str__(self) -> str:
        return f"about {roughly(self.seconds)} left{' as planned' if self.planned else ''}"


NONE = Estimate(0.0, False)


def estimate_phases(
    outputs: Path, run: str, wanted: dict[str, bool], *, profile: str, option: str
) -> dict[str, Estimate]:
    """Estimates phases by this run's former attempts, then by those of other runs with the same profile, then as planned.

    Args:
        wanted: phases, and whether each is applied; a rehearsal tells nothing about an applied phase.
    """
    found: dict[str, Estimate] = {}
    for entries in _ledgers(outputs, run, profile):
        for phase, apply in wanted.items():
            if phase not in found and (seconds := _last_time(entries, phase, apply=apply)) is not None:
                found[phase] = Estimate(seconds, planned=False)
    return {phase: found.get(phase) or planned(phase, option) for phase in wanted}


def planned(phase: str, option: str, over: Set[str] = frozenset()) -> Estimate:
    """What the checklist plans for a phase's boxes, without those of the steps that are over."""
    minutes = sum(
        step.minutes for step in checklist.steps_for_option(option) if step.phase == phase and step.id not in over
    )
    return Estimate(minutes * 60.0, planned=True)


def _ledgers(outputs: Path, run: str, profile: str) -> Iterable[list[Entry]]:
    others = [path for path in outputs.glob(f"*/{NAME}") if path.parent.name != run]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in [outputs / run / NAME, *others[:FORMER_RUNS]]:
        try:
            entries = Ledger(path).entries()
        except (OSError, EvidenceError):
            continue  # another run's trouble is not this one's
        if any(entry.event == "run-opened" and entry.get("profile") == profile for entry in entries):
            yield entries


def _last_time(entries: list[Entry], phase: str, *, apply: bool) -> float | None:
    """Seconds of the last attempt that reached its end."""
    began = {
        entry.get("attempt"): entry
        for entry in entries
        if entry.event == "attempt-started"
        and entry.get("phase") == phase
        and bool(entry.get("parameters", {}).get("apply", True)) == apply
    }
    for entry in reversed(entries):
        start = began.get(entry.get("attempt")) if entry.get("phase") == phase else None
        if start and entry.event == "attempt-ended" and entry.get("status") == "done":
            return (datetime.fromisoformat(entry.at) - datetime.fromisoformat(start.at)).total_seconds()
    return None
