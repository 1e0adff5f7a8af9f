"""Where a run stands: the checklist, box by box, by the view of its ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from helpers import checklist
from helpers.checker.objections import Objection, find_objections
from helpers.checker.rule import OVER, Over, box_over, judge
from helpers.checklist import ROLLBACK, Step
from helpers.errors import EvidenceError
from helpers.evidence.declared import declared_steps
from helpers.ledger.ledger import NAME, Entry, Ledger
from helpers.ledger.view import Standing, State, View, view
from helpers.runs import attempts

MARKS: dict[State, str] = {
    "done": "✔", "planned": "◌", "failed": "✘", "running": "…", "interrupted": "✘", "awaiting": "☐", "open": "☐",
    "exists elsewhere": "↗", "not applicable": "–", "rolled back": "↺",
}  # fmt: skip

_WORST_FIRST: tuple[State, ...] = (
    "running", "failed", "interrupted", "awaiting", "open", "rolled back", "planned", *OVER,
)  # fmt: skip


@dataclass(frozen=True)
class StepStatus:
    """One box.

    Attributes:
        id, title, phase, kind, under: as the checklist has them.
        state: that of the part that stands worst, so "done" only when everything that belongs to the box is; where nothing is
            left to do, as `box_over` says.
        who: the operating system's user of that attempt, or the person who signed.
        at: when it reached its state, as the ledger has it.
        planned_minutes: of the checklist.
        actual_minutes: of the last time that each of its steps ended, together; None where none did.
        why: what stands in the way, where it failed, was interrupted or waits; what of it exists elsewhere or is not applicable.
    """

    id: str
    title: str
    phase: str
    kind: str
    state: State
    under: str | None = None
    who: str | None = None
    at: str | None = None
    planned_minutes: int = 0
    actual_minutes: float | None = None
    why: str = ""

    @property
    def mark(self) -> str:
        """One character."""
        return MARKS[self.state]

    @property
    def over(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.state in OVER


@dataclass(frozen=True)
class RunStatus:
    """A whole run.

    Attributes:
        option, profile: as the run was opened; an unopened one is shown as option A.
        steps: in the order of a run.
        next: the first step that something is left to do for, or None; those of a rollback only once it was begun.
        blocked_by: what is in its way; empty when nothing is.
        attempts: by "phase/attempt", how each ended: a status of `run.execute`, "killed" or "running".
        entries: lines of the ledger.
        head: SHA-256 of the last.
        findings: what is wrong with the ledger.
        objections: verifications that stand against sealing it.
        verdict: what its seal would say, or says, by the ledger alone; `against` is what stands against a seal, a sentence each.
        counts: how many boxes were done, exist elsewhere and are not applicable.
    """

    option: str
    profile: str
    steps: tuple[StepStatus, ...]
    next: str | None
    blocked_by: str
    attempts: dict[str, str]
    entries: int
    head: str
    findings: tuple[str, ...] = field(default=())
    objections: tuple[Objection, ...] = field(default=())
    verdict: str = ""
    against: tuple[str, ...] = field(default=())
    counts: Mapping[Over, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        value = asdict(self)
        del value["attempts"]
        return value


def read_status(folder: Path, *, record_killed: bool = True) -> RunStatus:
    """Reads a run's folder; attempts that were killed are recorded as such first, where the ledger may be written.

    Args:
        folder: `outputs/<run>`; it need not exist.
        record_killed: without it nothing is written; a line that is not whole yet is then left out, as the next writer would.

    Returns:
        The status. A broken ledger is not trusted: its findings are named, and no box is done.
    """
    ledger = Ledger(folder / NAME)
    if record_killed and ledger.path.exists():
        # An archived run may be read-only; what is broken is told below.
        with contextlib.suppress(OSError, EvidenceError):
            attempts.note_killed(Ledger.open(folder))
    findings = tuple(f"line {finding.n}: {finding.why}" for finding in ledger.verify())
    if not record_killed and findings:
        with contextlib.suppress(EvidenceError):
            ledger.entries()
            findings = ()
    return make_status(ledger.entries() if not findings else [], findings)


def make_status(entries: Sequence[Entry], findings: tuple[str, ...] = ()) -> RunStatus:
    """The status that lines of a ledger tell.

    Args:
        entries: the lines, in their order.
        findings: what is wrong with the ledger; while there is something, it is in the way of everything.
    """
    opened = next((entry for entry in entries if entry.event == "run-opened"), None)
    option = str(opened.get("option")) if opened else "A"
    found = view(entries)
    steps = tuple(box_status(step, found) for step in checklist.steps_for_option(option))
    following = next((step for step in steps if _is_left(step)), None)
    objections = find_objections(entries)
    verdict = judge(entries, list(declared_steps(option)))
    return RunStatus(
        option=option,
        profile=str(opened.get("profile")) if opened else "",
        steps=steps,
        next=following.id if following else None,
        blocked_by="; ".join(findings) or _blocked_by(following, objections),
        attempts=dict(found.attempts),
        entries=len(entries),
        head=entries[-1].sha256 if entries else "",
        findings=findings,
        objections=objections,
        verdict=str(verdict) if entries else "",
        against=tuple(each.message for each in verdict.against),
        counts=verdict.counts,
    )


def box_status(step: Step, found: View) -> StepStatus:
    """How a box stands by the view of a ledger; of its parts the one that stands worst tells, and of those the last."""
    parts = [found[name] for name in step.ids]
    worst = min((part.state for part in parts), key=_WORST_FIRST.index)
    if worst == "open" and any(part.state != "open" for part in parts) and _is_running(step.phase, found):
        worst = "running"
    own, *others = (part.state for part in parts)
    over = box_over(own, others)
    worst = over or worst
    telling = [part for part in parts if part.line and (part.state == worst or worst == "running")]
    latest = max(telling, key=lambda part: part.line.n if part.line else 0, default=None)
    why = _why(worst, latest)
    if over:
        why = "; ".join(part.why for part in parts if part.state in ("exists elsewhere", "not applicable"))
    seconds = [part.seconds for part in parts if part.seconds is not None]
    return StepStatus(
        id=step.id, title=step.title, phase=step.phase, kind=step.kind, under=step.under, state=worst,
        who=latest.who if latest else None,
        at=latest.line.at if latest and latest.line else None,
        planned_minutes=step.minutes,
        actual_minutes=round(sum(seconds) / 60, 3) if seconds else None,
        why=why,
    )  # fmt: skip


def _is_left(step: StepStatus) -> bool:
    """A rollback that nobody began is not what comes next."""
    return not step.over and not (step.phase == ROLLBACK and step.state in ("open", "planned"))


def _is_running(phase: str, found: View) -> bool:
    return any(name.startswith(f"{phase}/") and status == "running" for name, status in found.attempts.items())


def _why(state: State, telling: Standing | None) -> str:
    if telling is None:
        return ""
    return replace(telling, state=state).why


def _blocked_by(step: StepStatus | None, objections: tuple[Objection, ...]) -> str:
    return step.why if step else "; ".join(map(str, objections))
