"""What an operator sees on standard error while a notebook runs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from tqdm import tqdm

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)


class Report(Protocol):
    """What the engine tells about its way through a notebook."""

    def begin(self, cells: int) -> None:
        """The notebook starts."""

    def cell_begins(self, index: int, cell: str, title: str) -> None:
        """A cell starts; `title` is the heading it stands under."""

    def cell_ends(self, index: int, cell: str, status: str, seconds: float, *, code: bool) -> None:
        """A cell is over; `code` is False for text."""

    def end(self, line: str) -> None:
        """The run is over; `line` is its result."""


class Silence:
    """Reports nothing."""

    def begin(self, cells: int) -> None: ...
    def cell_begins(self, index: int, cell: str, title: str) -> None: ...
    def cell_ends(self, index: int, cell: str, status: str, seconds: float, *, code: bool) -> None: ...
    def end(self, line: str) -> None: ...


class Console:
    """One line a code cell; in a terminal with a bar below them that names the cell now running."""

    def __init__(self) -> None:
        self._stream = sys.stderr
        self._bar: Any = None
        self._cells = 0
        self._title = ""
        self._began = time.monotonic()

    def begin(self, cells: int) -> None:
        self._cells = cells
        self._began = time.monotonic()
        if self._stream.isatty():
            self._bar = tqdm(total=cells, file=self._stream, unit="cell", leave=False, dynamic_ncols=True)

    def cell_begins(self, index: int, cell: str, title: str) -> None:
        if title != self._title:
            self._title = title
            self._line(title)
        if self._bar is not None:
            self._bar.set_description(cell)

    def cell_ends(self, index: int, cell: str, status: str, seconds: float, *, code: bool) -> None:
        if self._bar is not None:
            self._bar.update()
        if code or status == "failed":
            mark = "✔" if status == "completed" else "✘"
            self._line(f"  {mark} [{index + 1:>{len(str(self._cells))}}/{self._cells}] {cell:<28} {seconds:7.1f} s")

    def end(self, line: str) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._line(f"{line} ({time.monotonic() - self._began:.1f} s)")

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)


def title_of(cells: Sequence[Any], index: int) -> str:
    """The heading that a cell stands under."""
    for cell in reversed(cells[: index + 1]):
        if cell.cell_type == "markdown" and (headings := _HEADING.findall(cell.source)):
            return str(headings[-1])
    return ""
