"""A report as one HTML page for whoever has to decide: no network, no script, readable in print, in light and in dark.

Everything that comes from a database is escaped, and its characters that cannot be seen are named. A
Content-Security-Policy forbids the page to load or run anything, so that a browser enforces what is claimed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup, escape

from helpers import templates
from helpers.progress import duration
from helpers.source import left_out
from helpers.verify import verdict, visible
from helpers.verify.about import About, versions
from helpers.verify.diagnosis import Diagnosis
from helpers.verify.first_rows import DifferingRow, On, differing_rows
from helpers.verify.report import Report, SchemaFinding, TableReport
from helpers.verify.verdict import State, counted
from helpers.verify.visible import Piece, Visible

BARS = 25
"""Columns in one chart; the table beside it has all of them."""

COLUMNS, LINES = 5, 3
"""Columns of rows beside each other, and how often so many below; the Parquet file has the others."""

TABLES_IN_A_NOTEBOOK = 20


@dataclass(frozen=True)
class Bar:
    """Changed cells of one column.

    Attributes:
        width: from 0 to 1, of the longest bar.
        share: of the source's rows, from 0 to 1.
    """

    column: str
    changed: int
    width: float
    share: float


@dataclass(frozen=True)
class Block:
    """Differing rows of one kind, with some of their columns.

    Attributes:
        rows: each with its differing values, by column: the source's and the target's.
        left_out: columns that are not shown.
    """

    on: On
    columns: tuple[str, ...]
    rows: tuple[tuple[DifferingRow, dict[str, tuple[Visible, Visible]]], ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One table on the page."""

    number: int
    table: TableReport
    state: State
    words: tuple[str, ...]
    bars: tuple[Bar, ...]
    rows: tuple[DifferingRow, ...]

    @property
    def keyless(self) -> bool:
        """Whether rows differ that have no key."""
        return any(row.key is None for row in self.rows)

    @property
    def explained(self) -> dict[str, tuple[Diagnosis, ...]]:
        """The diagnoses of the columns that have one, those with most changed cells first."""
        found = self.table.diagnoses
        return {bar.column: found[bar.column] for bar in self.bars if found.get(bar.column)}

    @property
    def unexplained(self) -> tuple[str, ...]:
        """Columns that differ without a diagnosis."""
        told = {name for name, found in self.table.diagnoses.items() if found} | self.table.unexplained.keys()
        return tuple(bar.column for bar in self.bars if bar.column not in told)


def write(report: Report, path: Path, *, about: About | None = None, made_at: datetime | None = None) -> Path:
    """Writes the page of `report`; it appears whole or not at all.

    Args:
        path: the file; the Parquet files of differing cells lie beside it.
        about: which servers and settings.
        made_at: now, unless another moment is given.

    Returns:
        The file.

    Raises:
        OSError: it cannot be written.
    """
    title = f"{verdict.named(report.source)} against {verdict.named(report.target)}"
    text = render(report, title=title, made_at=made_at or datetime.now(UTC), about=about)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path


def render(report: Report, *, title: str, made_at: datetime, about: About | None = None) -> str:
    """The page as text.

    Args:
        title: what was compared, in a few words.
        made_at: when, with its time zone.
        about: which servers and settings.
    """
    word, _, rest = verdict.sentence(report).partition(": ")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            about=about or About(),
            figures=_figures(report),
            left_out=list(left_out.grouped(report.left_out)),
            limits=verdict.does_not_say(report),
            made_at=made_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            parts=list(_parts(report)),
            report=report,
            rest=rest,
            says=verdict.says(report),
            state=verdict.worst(report),
            title=title,
            versions=versions(),
            word=word,
        )
    )


def first_rows(report: Report) -> str:
    """The first differing rows of each table, source above target, as HTML for a notebook, which brings its own style."""
    parts = [part for part in _parts(report) if part.rows]
    if not parts:
        return "<p>No row differs.</p>"
    html = _environment().get_template("rows.html.j2").render(parts=parts[:TABLES_IN_A_NOTEBOOK])
    # Jupyter sets cells to the right.
    html = re.sub(r"<(td|th)\b", r'<\1 style="text-align: left; vertical-align: top"', html)
    more = len(parts) - TABLES_IN_A_NOTEBOOK
    return html + (f"<p>and rows of {counted(more, 'further table')}, in the report</p>" if more > 0 else "")


@cache
def _environment() -> Environment:
    filters = {
        "beside": _beside, "blocks": _blocks, "counted": counted, "duration": duration, "method": _short_method,
        "percent": verdict.percent, "severe": _severe, "shown": shown,
    }  # fmt: skip
    return templates.environment(
        Path(__file__).parent, filters, alone=visible.alone, bars=BARS, null=visible.alone(None), pair=visible.pair
    )


def shown(value: Visible | str) -> Markup:
    """A value, or a name or sentence that may hold one, as HTML."""
    if isinstance(value, str):
        return _pieces(visible.whole(value).pieces)
    if not value.pieces:
        word = Markup('<em class="none">{}</em>').format("NULL" if value.null else "empty text")
        return Markup("<mark>{}</mark>").format(word) if value.differs else word
    length = (
        Markup(' <small class="length">{}</small>').format(counted(value.length, "character")) if value.length else ""
    )
    return Markup('<code dir="auto">{}</code>{}').format(_pieces(value.pieces), length)


def _pieces(pieces: Sequence[Piece]) -> Markup:
    html = Markup()
    for differs, run in groupby(pieces, key=lambda piece: piece.differs):
        inner = Markup().join(map(_piece, run))
        html += Markup("<mark>{}</mark>").format(inner) if differs else inner
    return html


def _piece(piece: Piece) -> Markup:
    match piece.kind:
        case "sign":
            kind = "sign" if len(piece.text) == 1 else "sign named"
            return Markup('<i class="{}" title="{}">{}</i>').format(kind, piece.note, piece.text)
        case "cut":
            return Markup('<i class="cut">{}</i>').format(piece.text)
        case _ if piece.note:
            return Markup("{}<small>{}</small>").format(piece.text, piece.note)
        case _:
            return escape(piece.text)


def _parts(report: Report) -> Iterator[Part]:
    """Every table, the worst first."""
    ordered = sorted(report.tables, key=lambda table: verdict.WORST_FIRST.index(verdict.state(table)))
    for number, table in enumerate(ordered, 1):
        yield Part(number, table, verdict.state(table), _words(table), _bars(table), differing_rows(table))


def _words(table: TableReport) -> tuple[str, ...]:
    """What differs, a point each."""
    words = list(verdict.wrong_rows((table,)))
    if table.changed_since:
        words.append(f"{counted(table.changed_since, 'row')} changed in the source since the export")
    for severity in ("error", "warning"):
        if count := sum(finding.severity == severity for finding in table.schema_findings):
            words.append(f"{counted(count, severity)} in its definition")
    return tuple(words)


def _bars(table: TableReport) -> tuple[Bar, ...]:
    changed = table.columns_changed
    return tuple(Bar(name, n, n / changed[0][1], share) for name, n, share in changed)


def _figures(report: Report) -> dict[str, str]:
    tables = report.tables
    wrong = sum(t.missing + t.extra + t.changed for t in tables)
    figures = {
        "tables": f"{len(tables):,}",
        "rows in the source": f"{report.rows:,}",
        "cells compared": f"{report.cells:,}",
        "rows that differ": f"{wrong:,}",
    }
    if since := sum(t.changed_since for t in tables):
        figures["changed in the source since"] = f"{since:,}"
    if fetched := sum(t.fetched for t in tables):
        figures["rows read to compare cells"] = f"{fetched:,}"
    return figures | {"took": duration(sum(t.seconds for t in tables))}


def _blocks(rows: Sequence[DifferingRow]) -> Iterator[Block]:
    """The rows of each kind, as many columns beside each other as can be read."""
    for on, group in groupby(rows, key=lambda row: row.on):
        of_kind = tuple(group)
        names = list(
            dict.fromkeys(cell.column for row in of_kind for cell in row.cells if cell.column not in (row.key or {}))
        )
        for start in range(0, max(1, min(len(names), COLUMNS * LINES)), COLUMNS):
            columns = tuple(names[start : start + COLUMNS])
            left_out = tuple(names[COLUMNS * LINES :]) if start == COLUMNS * (LINES - 1) else ()
            found = [row for row in of_kind if start == 0 or any(cell.column in columns for cell in row.cells)]
            yield Block(on, columns, tuple((row, _values(row)) for row in found), left_out)


def _values(row: DifferingRow) -> dict[str, tuple[Visible, Visible]]:
    if row.on == "both":
        return {cell.column: visible.pair(cell.source, cell.target) for cell in row.cells}
    return {cell.column: (visible.alone(cell.source), visible.alone(cell.target)) for cell in row.cells}


def _severe(findings: Sequence[SchemaFinding]) -> list[SchemaFinding]:
    return sorted(findings, key=lambda finding: finding.severity != "error")


def _beside(file: str) -> str:
    """A link to a file in the page's own folder."""
    return quote(Path(file).name)


def _short_method(table: TableReport) -> str:
    words = table.method
    for end in (",", ";", " ("):
        words = words.partition(end)[0]
    return words
