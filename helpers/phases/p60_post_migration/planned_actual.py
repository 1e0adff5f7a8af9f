"""Planned and actual time of every box of a run, as a table and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from helpers import checklist, templates
from helpers.checker.rule import counts_in_words
from helpers.frames import frame
from helpers.redaction import redact
from helpers.runs.status import RunStatus

COLUMNS = ["step", "phase", "box", "state", "planned min", "actual min", "who"]


def by_box(status: RunStatus) -> pd.DataFrame:
    """A row a box, in the order of a run; minutes that nobody measured are a dash, not zero."""
    rows = [
        (s.id, s.phase, s.title, s.state, s.planned_minutes, _minutes(s.actual_minutes), s.who or "")
        for s in status.steps
    ]
    return frame(rows, *COLUMNS)


def by_phase(status: RunStatus) -> tuple[dict[str, float], dict[str, float | None]]:
    """Planned and actual minutes of each phase that has boxes, in the order of a run; None where nothing was measured."""
    planned: dict[str, float] = {}
    actual: dict[str, float | None] = {}
    for phase in checklist.PHASES:
        if own := [step for step in status.steps if step.phase == phase]:
            planned[phase] = float(sum(step.planned_minutes for step in own))
            took = [step.actual_minutes for step in own if step.actual_minutes is not None]
            actual[phase] = round(sum(took), 2) if took else None
    return planned, actual


def page(run: str, status: RunStatus, findings: Mapping[str, Sequence[tuple[str, str, str]]], *, applied: bool) -> str:
    """The final report as one HTML page without scripts.

    Args:
        status: of the run, as it is while the report is written: what comes after is not in it.
        findings: of the checks of this phase: severity, object and sentence by box.
        applied: whether the checks were done, or only planned.
    """
    planned, actual = by_phase(status)
    template = templates.environment(Path(__file__).parent, {"minutes": _minutes}).get_template("final_report.html.j2")
    return redact(
        template.render(
            run=run, status=status, findings=findings, applied=applied, planned=planned, actual=actual,
            counts=counts_in_words(status.counts), made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )  # fmt: skip


def _minutes(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"
