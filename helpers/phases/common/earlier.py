"""Which earlier boxes of a run are still open, by its ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from helpers import checklist
from helpers.checklist import Step
from helpers.finding import Finding, stop
from helpers.frames import frame
from helpers.ledger.view import Standing, View


def open_boxes(found: View, steps: Iterable[Step]) -> Iterator[Finding]:
    """A finding for each box, or part of one, that something is left to do for."""
    for step in steps:
        for name in step.ids:
            if not found[name].over:
                fix = f"runbook run {step.phase[:2]} in this run first"
                yield stop(name, f"{step.title}: {_how(found[name])}", fix)


def minutes(found: View, phase: str, option: str) -> pd.DataFrame:
    """Planned and actual minutes of a phase's boxes, in the document's order; a step's time is that of its last taking."""
    rows = []
    for step in checklist.steps_for_option(option):
        if step.phase == phase:
            spent = [seconds for name in step.ids if (seconds := found[name].seconds) is not None]
            rows.append((step.id, step.title, step.minutes, round(sum(spent) / 60, 2) if spent else None))
    return frame(rows, "step", "what", "planned minutes", "actual minutes")


def _how(standing: Standing) -> str:
    match standing.state:
        case "open":
            return "has not been done in this run"
        case "planned":
            return "was only rehearsed in this run"
        case "running" | "interrupted":
            return "began and did not end"
        case "awaiting":
            return f"awaits an {standing.line.get('what') if standing.line else 'answer'}"
        case "rolled back":
            return "was rolled back"
        case _:
            return f"did not pass: {((standing.line and standing.line.get('error')) or {}).get('why', '')}"
