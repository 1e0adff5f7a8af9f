"""What a run's ledger says of boxes that were to be done before: what is missing is named, box by box."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from helpers import checklist
from helpers.checklist import Step
from helpers.phases.phase import Finding
from helpers.runs.ledger import Entry
from helpers.runs.steps import Run

DONE = ("step-done", "step-skipped", "attested")
_ENDS = (*DONE, "step-failed", "step-planned", "step-started")


def entries(run: Run) -> list[Entry]:
    """The lines of the run's ledger; none outside a run."""
    return run.ledger.entries() if run.ledger else []


def last(lines: Sequence[Entry], name: str) -> Entry | None:
    """The line that tells how a step stands: a rehearsal after it was done takes nothing away."""
    own = [line for line in lines if line.get("step") == name and line.event in _ENDS]
    acted = [line for line in own if line.event != "step-planned"]
    return acted[-1] if acted else own[-1] if own else None


def result(lines: Sequence[Entry], name: str) -> dict[str, Any] | None:
    """What a step recorded when it was last done; None where it never was."""
    done = [line for line in lines if line.get("step") == name and line.event == "step-done"]
    return dict(done[-1].get("result") or {}) if done else None


def open_boxes(lines: Sequence[Entry], steps: Iterable[Step]) -> Iterator[Finding]:
    """A finding for each box, or part of one, that is not done: those that are built stop, the others are named together."""
    lacking: list[str] = []
    for step in steps:
        lacking += step.missing
        for name in step.ids:
            if name in step.missing:
                continue
            line = last(lines, name)
            if line is None or line.event not in DONE:
                yield Finding(
                    "stop", name, f"{step.title}: {_how(line)}", f"runbook run {step.phase[:2]} in this run first"
                )
    if lacking:
        yield Finding(
            "warning", f"{len(lacking)} boxes", f"nobody has built them, so nothing is known of them: {', '.join(lacking)}",
            "see to them by hand",
        )  # fmt: skip


def minutes(lines: Sequence[Entry], phase: str, option: str) -> pd.DataFrame:
    """Planned and actual minutes of a phase's boxes, in the document's order."""
    seconds: dict[str, float] = {}
    for line in lines:
        if line.event in ("step-done", "step-failed") and line.get("phase") == phase:
            seconds[line.get("step")] = seconds.get(line.get("step"), 0.0) + float(line.get("seconds") or 0)
    rows = []
    for step in checklist.of_option(option):
        if step.phase == phase and step.state == "built":
            spent = [seconds[name] for name in step.ids if name in seconds]
            rows.append((step.id, step.title, step.minutes, round(sum(spent) / 60, 2) if spent else None))
    return pd.DataFrame(rows, columns=["step", "what", "planned minutes", "actual minutes"]).set_index("step")


def _how(line: Entry | None) -> str:
    if line is None:
        return "has not been done in this run"
    match line.event:
        case "step-planned":
            return "was only rehearsed in this run"
        case "step-started":
            return "began and did not end"
        case _:
            return f"did not pass: {line.get('error')['why']}"
