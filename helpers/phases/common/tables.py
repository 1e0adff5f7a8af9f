"""How a table looks in a notebook and in its archived page: numbers right-aligned with thousands separators, text left-aligned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from numbers import Number
from typing import Any, NamedTuple

import pandas as pd
from IPython import get_ipython

_NUMBER = re.compile(r"[-−+]?[\d,]+(?:\.\d+)?(?: ?(?:%|s|min|h|B|kB|MB|GB))?")
"""Text that reads as a number, such as "12.5 %"."""


class _Column(NamedTuple):
    name: str
    texts: list[str]
    side: str


def show_tables() -> None:
    """Makes the notebook show every data frame like this; does nothing outside of a notebook."""
    if shell := get_ipython():
        formatters = shell.display_formatter.formatters
        formatters["text/html"].for_type(pd.DataFrame, as_html)
        formatters["text/plain"].for_type(pd.DataFrame, lambda frame, printer, cycle: printer.text(as_text(frame)))


def as_html(frame: pd.DataFrame) -> str:
    """The table as HTML; a table without rows says "none"."""
    columns = _columns(frame)
    head = "".join(_cell("th", column.name, column.side) for column in columns)
    rows = ["".join(_cell("td", c.texts[n], c.side) for c in columns) for n in range(len(frame))] or [
        f'<td colspan="{len(columns)}" style="text-align: left">none</td>'
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table class="dataframe">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'


def as_text(frame: pd.DataFrame) -> str:
    """The table as aligned text."""
    columns = _columns(frame)
    padded = []
    for name, texts, side in columns:
        width = max(map(len, [name, *texts]))
        padded.append([f"{text:{'>' if side == 'right' else '<'}{width}}" for text in (name, *texts)])
    lines = ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
    return "\n".join(lines if len(frame) else [*lines, "none"])


def _columns(frame: pd.DataFrame) -> list[_Column]:
    """A named index counts as the first columns; one without a name is only a count of the rows."""
    named = any(name is not None for name in frame.index.names)
    found = []
    for name, series in (frame.reset_index() if named else frame).items():
        values = [None if pd.api.types.is_scalar(value) and pd.isna(value) else value for value in series]
        there = [value for value in values if value is not None]
        right = bool(there) and all(map(_reads_as_number, there))
        found.append(_Column(str(name), _texts(values), "right" if right else "left"))
    return found


def _texts(values: Sequence[Any]) -> list[str]:
    """Whole numbers without decimals; if any is not whole, every fraction of the column has as many decimals."""
    fractions = [value for value in values if isinstance(value, float)]
    whole = all(value.is_integer() for value in fractions)
    decimals = 0 if whole else max(len(str(round(float(value), 6)).partition(".")[2]) for value in fractions)
    return ["" if value is None else _text(value, decimals) for value in values]


def _text(value: Any, decimals: int) -> str:
    if isinstance(value, float):
        return f"{value:,.{decimals}f}"
    return f"{value:,}" if _is_number(value) else str(value)


def _reads_as_number(value: Any) -> bool:
    return bool(_NUMBER.fullmatch(value)) if isinstance(value, str) else _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool)


def _cell(tag: str, text: str, side: str) -> str:
    return f'<{tag} style="text-align: {side}">{escape(text)}</{tag}>'
