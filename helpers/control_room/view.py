"""The control room's parts as HTML. Everything that comes from a run is escaped, and known secrets are masked."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from helpers import checklist
from helpers.control_room.differences import LONGEST, CellPage, CellRow, Verification, VerifiedTable
from helpers.control_room.evidence import Checked, Evidence
from helpers.control_room.flow import Flow
from helpers.control_room.overview import Overview, since
from helpers.progress import duration
from helpers.redaction import redact
from helpers.verify import page as report_page
from helpers.verify import visible

FILES = "files"
"""The path below which the server serves a run's files."""

_HERE = Path(__file__).with_name("page")


def style() -> str:
    """The style sheet, for light and dark."""
    return f"<style>{(_HERE / 'room.css').read_text(encoding='utf-8')}</style>"


def title() -> str:
    """The page's heading."""
    return '<div class="room"><h1>Control room</h1></div>'


def overview(found: Overview) -> str:
    """The next thing to do, what runs, and the boxes by state."""
    states = (
        "done",
        "not applicable",
        "planned",
        "running",
        "awaiting",
        "failed",
        "interrupted",
        "rolled back",
        "open",
    )
    counts = [(state, found.count(state)) for state in states if found.count(state)]
    return _rendered("overview.html.j2", found=found, counts=counts, phases=_phases(found))


def steps(found: Overview) -> str:
    """Every box, phase by phase."""
    return _rendered("steps.html.j2", found=found, phases=_phases(found), depth=_depth(found))


def data(found: Flow, run: str) -> str:
    """Source → stage → target, a row a table."""
    return _rendered("flow.html.j2", found=found, run=run)


def verified(found: Verification, run: str) -> str:
    """A verification: a row a table, and why columns differ."""
    return _rendered("verified.html.j2", found=found, run=run)


def cells(found: CellPage, table: VerifiedTable) -> str:
    """A page of differing cells, source above target, with what differs marked."""
    return _rendered("cells.html.j2", found=found, table=table)


def evidence(found: Evidence, run: str) -> str:
    """Attempts, signatures, seal."""
    return _rendered("evidence.html.j2", found=found, run=run)


def checked(found: Checked) -> str:
    """What `verify-evidence` says."""
    return _rendered("checked.html.j2", found=found)


def message(text: str, kind: str = "none") -> str:
    """A sentence where there is nothing else to show."""
    return str(Markup('<div class="room"><p class="empty {}">{}</p></div>').format(kind, redact(text)))


def _rendered(template: str, **values: Any) -> str:
    return redact(_environment().get_template(template).render(**values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(longest=LONGEST, pair=_pair, link=_link)
    environment.filters.update(
        at=_at, number=_number, size=_size, duration=duration, since=since, minutes=_minutes, slug=_slug,
        shown=report_page.shown,
    )  # fmt: skip
    return environment


def _phases(found: Overview) -> list[tuple[str, list[Any]]]:
    return [(name, own) for name in checklist.PHASES if (own := [s for s in found.status.steps if s.phase == name])]


def _depth(found: Overview) -> dict[str, int]:
    depth: dict[str, int] = {}
    for step in found.status.steps:
        depth[step.id] = depth.get(step.under, 0) + 1 if step.under else 0
    return depth


def _pair(row: CellRow) -> tuple[Any, Any]:
    return visible.pair(row.source, row.target)


def _link(run: str, name: str) -> str:
    return f"{FILES}/{quote(run)}/{quote(name)}"


def _at(text: str | None) -> str:
    try:
        return datetime.fromisoformat(text or "").strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return text or ""


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _minutes(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _size(value: object) -> str:
    if not isinstance(value, int | float):
        return "–"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def _slug(text: str) -> str:
    return text.replace(" ", "-").lower()
