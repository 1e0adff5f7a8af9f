"""A progress bar for work whose size is known in rows, in a terminal, a log or a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Progress = Callable[[int, int, str], None]
"""Called with rows (or what else is counted) done, in all (an estimate may be exceeded), and what is being done."""

SOONEST_SECONDS, SOONEST_SHARE = 10.0, 0.05
"""Before so much time, or such a share of the work, the remaining time would be a guess."""

LOG_EVERY_SECONDS = 10.0
"""In a log every line stays, so they are rare."""


@contextmanager
def progress(title: str, *, unit: str = "rows") -> Iterator[Progress]:
    """Shows a bar with the remaining time while the block runs, on standard error or as a cell's output."""
    if _notebook():
        shown = _in_notebook(title)
    else:
        shown = _in_terminal(title, unit) if sys.stderr.isatty() else _in_log(title, unit)
    with shown as report:
        yield _unless_deaf(report)


def _unless_deaf(report: Progress) -> Progress:
    """Whoever reads of the progress may stop reading: the work goes on."""

    def told(done: int, total: int, what: str) -> None:
        with suppress(OSError, ValueError):  # a closed pipe, or a closed stream
            report(done, total, what)

    return told


def _left(done: int, total: int, seconds: float) -> str:
    """How long it will take as it goes; empty until enough is done that it says something."""
    if not 0 < done < total or seconds < SOONEST_SECONDS or done < SOONEST_SHARE * total:
        return ""
    left = seconds * (total - done) / done
    return f", about {roughly(left)} left" if left >= 1 else ""


def _notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@contextmanager
def _in_terminal(title: str, unit: str) -> Iterator[Progress]:
    from tqdm import tqdm

    started = time.monotonic()
    shape = "{desc} {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} {unit}{postfix}"
    with tqdm(
        desc=title, unit=unit, unit_scale=True, file=sys.stderr, leave=False, dynamic_ncols=True, bar_format=shape
    ) as bar:

        def report(done: int, total: int, what: str) -> None:
            bar.total = max(done, total)
            bar.set_postfix_str(f"{what}{_left(done, total, time.monotonic() - started)}", refresh=False)
            bar.n = done
            bar.refresh()

        yield report


@contextmanager
def _in_log(title: str, unit: str) -> Iterator[Progress]:
    started = told = time.monotonic()

    def report(done: int, total: int, what: str) -> None:
        nonlocal told
        if time.monotonic() - told >= LOG_EVERY_SECONDS:
            told = time.monotonic()
            left = _left(done, total, told - started)
            print(f"{title}: {done:,} of {max(done, total):,} {unit}, {what}{left}", file=sys.stderr, flush=True)  # noqa: T201

    yield report


@contextmanager
def _in_notebook(title: str) -> Iterator[Progress]:
    from IPython.display import HTML, display

    handle: Any = None
    told = 0.0

    def show(share: float, what: str) -> None:
        nonlocal handle
        html = HTML(  # type: ignore[no-untyped-call]
            f'<div style="max-width:40em">{title} <progress style="width:14em" max="1" value="{share:.4f}"></progress> '
            f'{share:.0%} <span style="opacity:.7">{what}</span></div>'
        )
        if handle is None:
            handle = display(html, display_id=True)  # type: ignore[no-untyped-call]
        else:
            handle.update(html)

    def report(done: int, total: int, what: str) -> None:
        nonlocal told
        if time.monotonic() - told >= 0.2:
            told = time.monotonic()
            show(done / max(done, total, 1), what)

    show(0.0, "")
    yield report
    show(1.0, "done")


def duration(seconds: float) -> str:
    """A time as people say it: 0.3 s, 12 min 5 s, 2 h 7 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def working_time(minutes: float) -> str:
    """A plan's minutes, in days of eight hours as the checklist has them: 45 min, 3.5 h, 2.5 days."""
    if minutes < 60:
        return f"{minutes:.0f} min" if minutes else "–"
    days = f"{minutes / 480:.3g}"
    return f"{minutes / 60:.3g} h" if minutes < 480 else f"{days} working day{'' if days == '1' else 's'}"


def roughly(seconds: float) -> str:
    """As exact as an estimate is: 42 s, 7 min, 3.5 hours, 5 days."""
    for size, unit, digits in ((86400, "days", 0), (3600, "hours", 1), (60, "min", 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
