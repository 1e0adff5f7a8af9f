"""Where a run stands: the checklist, box by box, as its ledger says it."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from helpers import checklist
from helpers.checklist import ROLLBACK, Step
from helpers.errors import EvidenceError
from helpers.runs import attempts
from helpers.runs.ledger import NAME, Entry, Ledger
from helpers.runs.objections import Objection, find_objections

State = Literal["done", "planned", "failed", "running", "interrupted", "awaiting", "open", "not built"]

MARKS: dict[State, str] = {
    "done": "✔", "planned": "◌", "failed": "✘", "running": "…", "interrupted": "✘", "awaiting": "☐", "open": "☐",
    "not built": "–",
}  # fmt: skip

_ENDS = {
    "step-done": "done", "attested": "done", "step-planned": "planned", "step-failed": "failed",
    "awaiting": "awaiting",
}  # fmt: skip


@dataclass(frozen=True)
class StepStatus:
    """One box.

    Attributes:
        id, title, phase, kind, under: as the checklist has them.
        state: "done" only when everything that belongs to the box is; "interrupted" began in an attempt that is gone.
        who: the operating system's user of that attempt, or the person who signed.
        at: when it reached its state, as the ledger has it.
        planned_minutes: of the checklist.
        actual_minutes: of its steps together; None where none of them ran.
        missing: ids of what belongs to the box and is not built.
        why: what stands in the way, where it failed, was interrupted or waits.
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
    missing: tuple[str, ...] = ()
    why: str = ""

    @property
    def mark(self) -> str:
        """One character."""
        return MARKS[self.state]


@dataclass(frozen=True)
class RunStatus:
    """A whole run.

    Attributes:
        option, profile: as the run was opened; an unopened one is shown as option A.
        steps: in the order of a run.
        next: the first built step that is not done, where there is none the first that is not built, or None; those of a
            rollback only once it was begun.
        blocked_by: what is in its way; empty when nothing is.
        not_built: how many boxes of the option nobody has built.
        attempts: by "phase/attempt", how each ended: a status of `run.execute`, "killed" or "running".
        entries: lines of the ledger.
        head: SHA-256 of the last.
        findings: what is wrong with the ledger.
        objections: verifications that stand against sealing it.
    """

    option: str
    profile: str
    steps: tuple[StepStatus, ...]
    next: str | None
    blocked_by: str
    not_built: int
    attempts: dict[str, str]
    entries: int
    head: str
    findings: tuple[str, ...] = field(default=())
    objections: tuple[Objection, ...] = field(default=())

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
    entries = ledger.entries() if not findings else []
    opened = next((entry for entry in entries if entry.event == "run-opened"), None)
    option = str(opened.get("option")) if opened else "A"
    ended = _attempts(entries)
    steps = tuple(_status(step, entries, ended) for step in checklist.of_option(option))
    left = sorted((step for step in steps if _is_left(step)), key=lambda step: step.state == "not built")
    following = left[0] if left else None
    objections = find_objections(entries)
    return RunStatus(
        option=option,
        profile=str(opened.get("profile")) if opened else "",
        steps=steps,
        next=following.id if following else None,
        blocked_by="; ".join(findings) or _blocked_by(following, objections),
        not_built=sum(step.state == "not built" or bool(step.missing) for step in steps),
        attempts=ended,
        entries=len(entries),
        head=entries[-1].sha256 if entries else "",
        findings=findings,
        objections=objections,
    )


def _is_left(step: StepStatus) -> bool:
    """A rollback that nobody began is not what comes next."""
    return step.state != "done" and not (step.phase == ROLLBACK and step.state in ("open", "planned"))


def _attempts(entries: list[Entry]) -> dict[str, str]:
    found = {}
    for entry in entries:
        if entry.event in ("attempt-started", "attempt-ended"):
            began = entry.event == "attempt-started"
            found[_name(entry)] = ("killed" if attempts.is_gone(entry) else "running") if began else entry.get("status")
    return found


def _name(entry: Entry) -> str:
    return f"{entry.get('phase')}/{entry.get('attempt')}"


def _status(step: Step, entries: list[Entry], ended: dict[str, str]) -> StepStatus:
    known = {"id": step.id, "title": step.title, "phase": step.phase, "kind": step.kind, "under": step.under}
    if step.state == "not built":
        return StepStatus(**known, state="not built", planned_minutes=step.minutes, missing=step.missing)  # type: ignore[arg-type]
    parts = {name: _last(name, entries) for name in step.ids}
    states = {name: _state(entry, ended) for name, entry in parts.items()}
    # The part that stands worst tells of the box; of those that stand alike, the last in the ledger.
    order: list[State] = ["running", "failed", "interrupted", "awaiting", "open", "planned", "done"]
    worst = min(states.values(), key=order.index)
    if worst == "open" and any(state != "open" for state in states.values()) and _is_running(step.phase, ended):
        worst = "running"
    telling = [entry for name, entry in parts.items() if entry and (states[name] == worst or worst == "running")]
    latest = max(telling, key=lambda entry: entry.n, default=None)
    return StepStatus(
        **known,  # type: ignore[arg-type]
        state=worst,
        who=_who(latest, entries),
        at=latest.at if latest else None,
        planned_minutes=step.minutes,
        actual_minutes=_minutes(parts.keys(), entries),
        missing=step.missing,
        why=_why(worst, latest),
    )


def _last(step: str, entries: list[Entry]) -> Entry | None:
    """The line that tells how the step stands: a rehearsal after it was done takes nothing away."""
    own = [e for e in entries if e.get("step") == step and (e.event in _ENDS or e.event == "step-started")]
    acted = [e for e in own if e.event != "step-planned"]
    last = acted[-1] if acted else own[-1] if own else None
    if last and last.waits:
        return next((e for e in reversed(acted) if e.event == "awaiting"), last)
    return last


def _state(entry: Entry | None, ended: dict[str, str]) -> State:
    if entry is None:
        return "open"
    if entry.event == "step-started":
        return "running" if ended.get(_name(entry)) == "running" else "interrupted"
    return _ENDS[entry.event]  # type: ignore[return-value]


def _is_running(phase: str, ended: dict[str, str]) -> bool:
    return any(name.startswith(f"{phase}/") and status == "running" for name, status in ended.items())


def _who(entry: Entry | None, entries: list[Entry]) -> str | None:
    if entry is None:
        return None
    if by := entry.get("by"):
        return str(by)
    started = (e for e in entries if e.event == "attempt-started" and _name(e) == _name(entry))
    return next((str(e.get("by")) for e in started), None)


def _minutes(names: Any, entries: list[Entry]) -> float | None:
    """Of the last time that each step ended."""
    last = {e.get("step"): e.get("seconds") for e in entries if e.event in ("step-done", "step-failed")}
    seconds = [last[name] for name in names if name in last]
    return round(sum(seconds) / 60, 3) if seconds else None


def _why(state: State, entry: Entry | None) -> str:
    if entry is None:
        return ""
    if state == "failed":
        error = entry.get("error")
        return f"{entry.get('step')}: {error['type']}: {error['why']}" + (
            f" → {error['next']}" if error["next"] else ""
        )
    if state == "interrupted":
        return f"{entry.get('step')} began in {entry.get('attempt')}, which was ended before it was"
    if state == "awaiting":
        return f"{entry.get('step')} awaits an {entry.get('what')}"
    return f"{entry.get('attempt')} is running" if state == "running" else ""


def _blocked_by(step: StepStatus | None, objections: tuple[Objection, ...]) -> str:
    if step is None:
        return "; ".join(map(str, objections))
    return "it is not built yet" if step.state == "not built" else step.why
