"""What people read of a command: its answer on standard output, whatever else is said on standard error.

Nothing here takes an answer away: a reader who is gone (`| head`), a closed stream, or an encoding that lacks a character.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

WIDTH_OF_A_FILE = 160
"""Characters of a line where there is no terminal."""

LINES_OF_A_FILE = 25
"""Rich heeds a width only beside a height; nothing of ours depends on this one."""

_PLAIN = {
    "…": "...",
    "→": "->",
    "✔": "+",
    "✘": "x",
    "▶": ">",
    "–": "-",
    "−": "-",
    "·": "-",
    "×": "x",
    "“": '"',
    "”": '"',
    "’": "'",
}
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What would move a terminal's cursor, change its colours or the order of its letters."""


class Screen(Console):
    """Standard error, and within `answer` standard output."""

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False)
        self._given_width = self._width
        self._fit()

    @property
    def encoding(self) -> str:
        """Of the stream that is written to, which decides whether boxes are drawn in ASCII."""
        return (getattr(self.file, "encoding", None) or "utf-8").lower()

    def on_broken_pipe(self) -> None:
        """Nobody reads any more: what is still said goes nowhere."""
        silence(sys.stderr if self.stderr else sys.stdout)

    @contextmanager
    def answer(self) -> Iterator[None]:
        """What is printed in this block is what was asked for."""
        self.stderr = False
        self._fit()
        try:
            yield
        finally:
            self.stderr = True
            self._fit()

    def table(self, title: str, *columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Prints rows under headings; numbers to the right, with separators. A column without a value is left out.

        Where the terminal is too narrow for a table, each value has a line of its own.
        """
        self.print(Text(printable(title), style="bold"), soft_wrap=True)
        table = Table(header_style="dim", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        used = [n for n in range(len(columns)) if not rows or any(row[n] not in ("", None) for row in rows)]
        for n in used:
            cells = [row[n] for row in rows if row[n] not in ("", None)]
            number = bool(cells) and all(isinstance(cell, int | float | Decimal) for cell in cells)
            table.add_column(
                Text(columns[n]), justify="right" if number else "left", overflow="fold", no_wrap=number,
                min_width=_least(n, columns[n], cells),
            )  # fmt: skip
        for row in rows:
            table.add_row(*(_cell(row[n]) for n in used))
        lines = Segment.split_lines(self.render(table, self.options))
        if max(map(Segment.get_line_length, lines), default=0) <= self.width:
            self.print(table)
            self.print()
            return
        widest = max(len(columns[n]) for n in used)
        for row in rows:
            for n in used:
                self.print(Text.assemble((f"{columns[n]:<{widest}}  ", "dim"), _cell(row[n])), soft_wrap=True)
            self.print()

    def _fit(self) -> None:
        # Not `is_terminal`: FORCE_COLOR, which many CI systems set, makes that true of a file.
        # With a height, too, which keeps TERM=dumb from making both up.
        a_file = not (self._given_width or self.file.isatty())
        self._width, self._height = (WIDTH_OF_A_FILE, LINES_OF_A_FILE) if a_file else (self._given_width, None)


def open_streams() -> None:
    """Makes standard output and error take any text; one that was closed is no fault."""
    codecs.register_error("runbook", _replaced)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="runbook")


def silence(stream: TextIO) -> None:
    """Lets what is written to the stream from here on go nowhere, at the end of the process too."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def printable(text: str) -> str:
    """The text without what a terminal would obey; its code stands in the place of each such character."""
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def _least(n: int, heading: str, cells: Sequence[Any]) -> int:
    """Names in the first column stay whole where that is possible."""
    return min(max([len(heading), *(len(str(cell)) for cell in cells)]), 32) if n == 0 else min(len(heading), 8)


def _cell(value: Any) -> Text:
    if isinstance(value, Text):
        return value
    if value is None:
        return Text("")
    separated = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return Text(f"{value:,}" if separated else printable(str(value)))


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end
