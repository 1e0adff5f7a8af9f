"""Reading an order file exported from a spreadsheet: its encoding, separator, columns and lines."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import polars as pl

from helpers.errors import SourceRefused, UsageError
from helpers.pipelines.sample import order_columns
from helpers.pipelines.sample.order_columns import COLUMNS, HEADER, WHAT

_SEPARATORS = (",", ";", "\t", "|")
_BATCH = 100_000


@dataclass(frozen=True)
class BadRow:
    """One value that cannot be loaded. `line` is where its row begins in the file, counted from 1."""

    line: int
    column: str
    value: str
    reason: str

    def __str__(self) -> str:
        shown = self.value if len(self.value) <= 40 else self.value[:39] + "…"
        return f"line {self.line}: {self.column} {shown!r}: {self.reason}"


@dataclass(frozen=True)
class Batch:
    """Some rows as text, with the line each begins on, and the lines that are no rows."""

    rows: pl.DataFrame
    bad: list[BadRow]
    fraction: float


@dataclass(frozen=True)
class OrderFile:
    """Where the orders are and how to read them as text.

    Attributes:
        skip: lines before the header: 1 where Excel wrote `sep=;`.
        width: fields in the header.
        positions: for each of COLUMNS, its place in a row; behind the last field where the file has none.
        guessed: columns that only their likeness speaks for: the pipeline's name → the file's.
        missing: columns that the file does not have.
        ignored: columns of the file that the pipeline does not know.
    """

    path: Path
    encoding: str
    separator: str
    skip: int
    width: int
    positions: tuple[int, ...]
    guessed: dict[str, str]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    stamp: tuple[int, int] = field(repr=False)

    def batches(self) -> Iterator[Batch]:
        """Reads the file once, in constant memory.

        Raises:
            SourceRefused: a quote is never closed, or the file changed since it was opened.
        """
        pick = itemgetter(*self.positions)
        size = max(1, self.stamp[0])
        with self.path.open("rb") as data:
            text = io.TextIOWrapper(data, encoding=self.encoding, newline="")
            for _ in range(self.skip):
                text.readline()
            reader = csv.reader(text, delimiter=self.separator, strict=True)
            next(reader)
            rows: list[tuple[str, ...]] = []
            lines: list[int] = []
            bad: list[BadRow] = []
            while True:
                line = reader.line_num + self.skip + 1
                try:
                    row = next(reader)
                except StopIteration:
                    break
                except csv.Error as error:
                    bad.append(_broken(self.path, line, error))
                    continue
                if len(row) == self.width:
                    if any(row):
                        row.append("")
                        rows.append(pick(row))
                        lines.append(line)
                elif any(row):
                    last = reader.line_num + self.skip
                    until = f", up to line {last}" if last > line else ""
                    reason = f"{len(row)} fields, and the header has {self.width}{until}"
                    bad.append(BadRow(line, "row", self.separator.join(row), reason))
                if len(rows) >= _BATCH:
                    yield Batch(_frame(lines, rows), bad, min(1.0, data.tell() / size))
                    rows, lines, bad = [], [], []
            yield Batch(_frame(lines, rows), bad, 1.0)
        if _stamp(self.path) != self.stamp:
            raise SourceRefused(
                WHAT,
                on=str(self.path),
                why="the file changed while it was read",
                next_step="load it when it is complete",
            )


def open_orders(path: str | Path, columns: Mapping[str, str] | None = None) -> OrderFile:
    """Finds out how the file is written, from its first bytes, its header, and one pass over its encoding.

    Args:
        path: the file.
        columns: the pipeline's names → the file's, where they are others.

    Raises:
        UsageError: no such file, empty, no text, or without the columns that make an order.
    """
    path, named = Path(path), columns or {}
    try:
        stamp = _stamp(path)
        with path.open("rb") as data:
            head = data.read(4096)
    except OSError as error:
        raise UsageError(
            WHAT, on=str(path), why=error.strerror or str(error), next_step="give the path of a CSV file"
        ) from error
    if not head.strip():
        raise _unreadable(path, "the file is empty", f"give a file that begins with the header {HEADER}")
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b")):
        raise _unreadable(path, "it is a spreadsheet or an archive, not text", "save it as CSV, or unpack it, first")
    encoding = _encoding(path, head)
    with path.open(encoding=encoding, newline="") as text:
        first = text.readline()
        skip = int(first.strip().lower().removeprefix("sep=") in _SEPARATORS or first.lower().startswith("sep=\t"))
        declared = first[4:5] if skip else None
    separator, header = _header(path, encoding, skip, (declared,) if declared else _SEPARATORS, named)
    found = order_columns.assign(header, named, str(path))
    places = tuple(len(header) if place is None else place for place in found.places.values())
    return OrderFile(
        path, encoding, separator, skip, len(header), places, found.guessed, found.missing, found.ignored, stamp
    )


def _encoding(path: Path, head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        candidates = ["utf-16"]
    elif head.startswith(codecs.BOM_UTF8):
        candidates = ["utf-8-sig"]
    elif head[1::2].count(0) > len(head) // 4:
        candidates = ["utf-16-le"]
    elif head[0::2].count(0) > len(head) // 4:
        candidates = ["utf-16-be"]
    else:
        candidates = ["utf-8", "cp1252"]
    for encoding in candidates:
        try:
            with path.open(encoding=encoding, newline="") as text:
                while text.read(1 << 20):
                    pass
        except UnicodeError as error:
            failure = error
        else:
            return encoding
    raise _unreadable(
        path,
        f"the text is neither UTF-8 nor UTF-16 nor Windows-1252 ({failure})",
        "save it as UTF-8",
    )


def _header(
    path: Path, encoding: str, skip: int, separators: tuple[str, ...], named: Mapping[str, str]
) -> tuple[str, list[str]]:
    """The separator under which most of the columns are found, or are like one, and the header it gives."""
    best: tuple[tuple[int, int], str, list[str]] = ((-1, 0), "", [])
    for separator in separators:
        with path.open(encoding=encoding, newline="") as text:
            for _ in range(skip):
                text.readline()
            try:
                header = next(csv.reader(text, delimiter=separator), [])
            except csv.Error:
                continue
        known = order_columns.known(header, named)
        if known > best[0]:
            best = (known, separator, header)
    return best[1], best[2]


def _broken(path: Path, line: int, error: csv.Error) -> BadRow:
    """A stray quote spoils its row only. One that never closes hides all rows after it: that is nothing to skip."""
    if "unexpected end" in str(error) or "field larger" in str(error):
        raise SourceRefused(
            WHAT,
            on=str(path),
            why=f"line {line}: a quoted field begins in this row and does not end",
            next_step="close the quote, or double it inside the text",
        ) from error
    return BadRow(line, "row", "", "text after a closing quote; a quote inside a quoted field is doubled")


def _frame(lines: list[int], rows: list[tuple[str, ...]]) -> pl.DataFrame:
    columns = zip(*rows, strict=True) if rows else ((),) * len(COLUMNS)
    texts = {name: pl.Series(values, dtype=pl.String) for name, values in zip(COLUMNS, columns, strict=True)}
    return pl.DataFrame({"line_no": pl.Series(lines, dtype=pl.Int64), **texts})


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _unreadable(path: Path, why: str, next_step: str) -> UsageError:
    return UsageError(WHAT, on=str(path), why=why, next_step=next_step)
