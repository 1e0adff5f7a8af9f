"""What was planned beside what it took: every box of a run, as a table and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape

import pandas as pd

from helpers import checklist
from helpers.frames import frame
from helpers.redaction import redact
from helpers.runs.status import RunStatus

COLUMNS = ["step", "phase", "box", "state", "planned min", "actual min", "who"]

_STYLE = """:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--paper:#fff;--good:#1a7f45;--bad:#b3261e;--wait:#8a5c00}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#9aa5b4;--line:#343d49;--paper:#14181e;--good:#4cc27d;--bad:#ff8a80;--wait:#e5b454}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,"Segoe UI",Roboto,Arial,sans-serif}main{max-width:70rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}
h1{font-size:1.45rem}h2{font-size:1.15rem;margin-top:2rem}.soft{color:var(--soft)}.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;width:100%;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid var(--line);padding:.35em 1em .35em 0;text-align:left;vertical-align:top}td.n,th.n{text-align:right;white-space:nowrap}
.done{color:var(--good)}.failed,.interrupted,.stop{color:var(--bad)}.planned,.awaiting,.running,.warning{color:var(--wait)}.open,.not-built,.note{color:var(--soft)}"""


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
    done = sum(step.state == "done" for step in status.steps)
    planned, actual = by_phase(status)
    phases = [(name, f"{planned[name]:,.0f}", _minutes(actual[name])) for name in planned]
    boxes = [
        (
            s.phase, s.title, f'<span class="{s.state.replace(" ", "-")}">{s.mark} {s.state}</span>', f"{s.planned_minutes:,}",
            _minutes(s.actual_minutes), s.who or "–",
        ) for s in status.steps
    ]  # fmt: skip
    said = [
        (box, f'<span class="{escape(severity)}">{escape(severity)}</span>', on, what)
        for box, each in findings.items()
        for severity, on, what in each
    ]
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    checks = "were done" if applied else "were only planned: this is a rehearsal"
    body = [
        f"<h1>Final report of the run {escape(run)}</h1>",
        f'<p class="soft">{done} of {len(status.steps)} boxes of option {escape(status.option)} are done; the checks of this '
        f"phase {checks}. Written {made}; a step's time is that of its last taking.</p>",
        "<h2>Planned and actual, by phase</h2>",
        _table(("phase", "planned min", "actual min"), phases, numbers=(1, 2)),
        "<h2>What the checks after the migration found</h2>",
        _table(("box", "severity", "on", "what"), said, html=(1,)) if said else '<p class="soft">Nothing.</p>',
        "<h2>Every box</h2>",
        _table(("phase", "box", "state", "planned min", "actual min", "who"), boxes, numbers=(3, 4), html=(2,)),
    ]
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    head = f'<meta charset="utf-8">{policy}<title>Final report {escape(run)}</title><style>{_STYLE}</style>'
    text = f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><main>{"".join(body)}</main></body></html>\n'
    return redact(text)


def _minutes(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"


def _table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = (), html: Sequence[int] = ()
) -> str:
    def kind(n: int) -> str:
        return ' class="n"' if n in numbers else ""

    head = "".join(f"<th{kind(n)}>{escape(each)}</th>" for n, each in enumerate(headings))
    lines = [
        "".join(f"<td{kind(n)}>{cell if n in html else escape(cell)}</td>" for n, cell in enumerate(row))
        for row in rows
    ]
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'
