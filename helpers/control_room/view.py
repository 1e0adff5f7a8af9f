"""The control room's parts as HTML. Everything that comes from a run is escaped, and known secrets are masked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup

from helpers import templates
from helpers.control_room.differences import LONGEST, CellPage, CellRow, Verification, VerifiedTable
from helpers.control_room.evidence import Checked, Evidence
from helpers.control_room.flow import Flow
from helpers.control_room.overview import Overview, since
from helpers.control_room.verdicts import TargetVerdict
from helpers.evidence.index_page import TARGETS
from helpers.progress import duration, roughly, working_time
from helpers.redaction import redact
from helpers.verify import page as report_page
from helpers.verify import visible

FILES = "files"
"""The path below which the server serves a run's files."""

_HERE = Path(__file__).with_name("page")


def top(found: Overview, runs: Sequence[Overview]) -> str:
    """The first thing to see: the state in a word, what matches, who must act, what runs; and the runs beside it."""
    stood_in = any(each.stand_in for each in found.verdicts)
    told = [found if each.run == found.run else each for each in runs]
    return _rendered("top.html.j2", found=found, runs=told, stood_in=stood_in)


def overview(found: Overview) -> str:
    """The phases on a line of time, planned and as they went."""
    return _rendered("overview.html.j2", found=found)


def steps(found: Overview) -> str:
    """Every box, phase by phase."""
    return _rendered("steps.html.j2", found=found, depth=_depth(found))


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
    # Half a surrogate pair, which a ledger may hold, has no UTF-8, and no browser would be sent the page.
    text = redact(_environment().get_template(template).render(**values))
    return text.encode(errors="backslashreplace").decode()


@cache
def _environment() -> Environment:
    filters = {
        "at": _at, "ago": _ago, "elapsed": _elapsed, "number": _number, "size": _size, "duration": duration,
        "planned": working_time, "phase": _phase, "sentence": _sentence, "slug": _slug, "shown": report_page.shown,
        "target": lambda name: TARGETS.get(name, name),
    }  # fmt: skip
    return templates.environment(
        _HERE, filters, longest=LONGEST, pair=_pair, link=_link, share=_share, differing=_differing
    )


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


def _ago(at: str) -> str:
    return f"{roughly(since(at))} ago"


def _elapsed(at: str) -> str:
    return roughly(since(at))


def _share(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _phase(name: str) -> str:
    number, _, rest = name.partition("_")
    return f"{number} {rest.replace('_', ' ')}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _differing(found: TargetVerdict) -> str:
    shown = []
    for table in found.differing[:3]:
        why = next((f"; {each.name}: {each.diagnosis}" for each in table.columns if each.diagnosis), "")
        shown.append(f"{table.name} ({table.differences or table.verdict}{why})")
    return ", ".join(shown) + (f" and {len(found.differing) - 3} more" if len(found.differing) > 3 else "")


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
    return text.replace(",", "").replace(" ", "-").lower()
