"""A verification as a terminal shows it: what differs, where, why, and then the verdict with what it does not cover."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from rich.text import Text

from helpers.progress import duration
from helpers.screen import Screen, printable
from helpers.source import left_out
from helpers.verify import verdict, visible
from helpers.verify.about import About
from helpers.verify.data_quality.rules.result import RuleResult
from helpers.verify.data_quality.sums.amounts import Figure
from helpers.verify.report import Business, Cell, Report, TableReport
from helpers.verify.verdict import counted
from helpers.verify.visible import Visible

CELLS_OF_A_TABLE, CELLS_SHOWN = 10, 40
"""Cells that are shown of a table, and of all; the file of each table has the others."""

COLUMNS_SHOWN = 10
"""Differing columns of a table; the page has the others."""

FIGURES_SHOWN = 40
VALUES_OF_A_ROW, LENGTH_OF_THEM = 4, 24
CONTEXT, DIFFERENCE = 12, 40
"""Characters of a value: around a difference, and of it."""

STYLES = {"equal": "bold green", "moved on": "bold yellow", "different": "bold red", "refused": "bold red"}


def show(screen: Screen, report: Report, about: About) -> None:
    """Prints the whole of it, the verdict near its end, where people look first.

    Args:
        screen: where to.
        report: what was found.
        about: which servers; it says whether the target is a stand-in.
    """
    if report.business:
        _show_business(screen, report, report.business)
    else:
        _show_tables(screen, report)
    word, rest = verdict_in_two(report, about)
    screen.print(Text.assemble((word, STYLES[verdict.worst(report)]), printable(rest)), soft_wrap=True)
    if report.left_out:
        screen.print(f"this covers {counted(len(report.tables), 'table')} and nothing else", markup=False)
    for line in left_out.lines(report.left_out):
        screen.print(f"  {printable(line)}", markup=False, soft_wrap=True)


def verdict_in_two(report: Report, about: About) -> tuple[str, str]:
    """The verdict's word, and the rest of its sentence, which begins with the stand-in where the target is one."""
    word, _, rest = verdict.sentence(report).partition(": ")
    return word, f"{about.on_stand_in}: {rest}"


def _show_tables(screen: Screen, report: Report) -> None:
    rows = [
        (
            str(table), table.verdict, table.rows_source, table.rows_target,
            table.differences or (table.method if table.verdict == "refused" else ""), duration(table.seconds),
        )
        for table in report.tables
    ]  # fmt: skip
    rows = [tuple("" if cell is None else cell for cell in row) for row in rows]  # type: ignore[misc]
    screen.table(_title(report), "table", "verdict", "source rows", "target rows", "differences", "took", rows=rows)
    told = [line for table in report.tables for line in (*_columns(table), *_definition(table))]
    for line in (*told, *([""] if told else [])):
        screen.print(printable(line), markup=False, soft_wrap=True)
    sample = spread(report.tables)
    if sample:
        _show_cells(screen, sample, sum(_cells(table) for table in report.tables))
    for table in report.tables:
        if table.cells_file:
            screen.print(
                f"every differing cell of {printable(str(table))}: {table.cells_file}", markup=False, soft_wrap=True
            )


def _title(report: Report) -> str:
    at = f" at LSN {report.lsn}" if report.lsn else ""
    return f"{verdict.named(report.source)} against {verdict.named(report.target)}{at} ({report.lsn_note})"


def _columns(table: TableReport) -> Iterator[str]:
    """How often each column differs, and why."""
    changed = table.columns_changed
    for name, count, share in changed[:COLUMNS_SHOWN]:
        yield f"{table}.{name}: {counted(count, 'changed cell')}, in {verdict.percent(share)} of the rows"
        for diagnosis in table.diagnoses.get(name, ()):
            yield f"  {diagnosis.words}"
            yield f"  likely cause: {diagnosis.likely}"
        if not table.diagnoses.get(name):
            yield f"  {table.unexplained.get(name, 'no single cause explains them')}"
    if (more := len(changed) - COLUMNS_SHOWN) > 0:
        yield f"{table}: and {counted(more, 'further column')}, in the report for people"


def _definition(table: TableReport) -> Iterator[str]:
    for finding in table.schema_findings:
        column = f" {finding.column}" if finding.column else ""
        expected, found = (
            "nothing" if text is None else _short(_alone(text)) for text in (finding.expected, finding.found)
        )
        yield f"{table}: {finding.severity} in its definition: {finding.name}{column}: expected {expected}, found {found}"


def spread(tables: Sequence[TableReport]) -> list[tuple[TableReport, list[Cell]]]:
    """Cells to show, of every table, and within it of rows that one side lacks and of every column in turn; such a row is one entry.

    Returns:
        A table and the cells of one entry; more than one cell only for a row that one side lacks.
    """
    of_tables = [(table, list(_in_turn(table.cells))[:CELLS_OF_A_TABLE]) for table in tables]
    of_tables = [(table, entries) for table, entries in of_tables if entries]
    each = max(1, CELLS_SHOWN // max(1, len(of_tables)))
    return [(table, cells) for table, entries in of_tables for cells in entries[:each]][:CELLS_SHOWN]


def _in_turn(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    queues: dict[str, list[list[Cell]]] = {}
    for _, group in groupby(cells, key=lambda cell: cell.row):
        of_row = list(group)
        if of_row[0].on != "both":
            queues.setdefault(f"\0{of_row[0].on} {of_row[0].again}", []).append(of_row)
            continue
        for cell in of_row:
            queues.setdefault(cell.column, []).append([cell])
    # Rows that one side lacks first: of many columns the first cells would leave them no place.
    in_order = [queues[name] for name in sorted(queues, key=lambda name: not name.startswith("\0"))]
    turn = 0
    while any(turn < len(queue) for queue in in_order):
        yield from (queue[turn] for queue in in_order if turn < len(queue))
        turn += 1


def _show_cells(screen: Screen, sample: Sequence[tuple[TableReport, list[Cell]]], of: int) -> None:
    rows = []
    for table, cells in sample:
        first = cells[0]
        row = ", ".join(f"{name}={_short(_alone(part), quoted=False)}" for name, part in (first.key or {}).items())
        if first.on == "both":
            ours, theirs = visible.pair(first.source, first.target, context=CONTEXT, longest=DIFFERENCE)
            rows.append((str(table), row or "no key", first.column, _value(ours), _value(theirs)))
            continue
        values = _values(cells, first.key or {})
        if first.on == "source":
            again = "of copies one is" if first.again else "row"
            pair = values, Text(f"({again} missing in the target)")
        else:
            pair = (
                Text("(a copy of a row that is there)" if first.again else "(extra row: the source has none)"),
                values,
            )
        rows.append((str(table), row or "no key", "(whole row)", *pair))
    shown = f"{len(rows):,} of them" if of > len(rows) else "all of them"
    screen.table(f"cells that differ ({shown})", "table", "row", "column", "source", "target", rows=rows)


def _values(cells: Sequence[Cell], key: Mapping[str, str | None]) -> Text:
    """A row's first values beside its key."""
    others = [cell for cell in cells if cell.column not in key] or list(cells)
    words = [f"{cell.column}={_short(_alone(_held(cell), LENGTH_OF_THEM))}" for cell in others[:VALUES_OF_A_ROW]]
    more = [f"and {len(others) - VALUES_OF_A_ROW} more"] if len(others) > VALUES_OF_A_ROW else []
    return Text(", ".join([*words, *more]))


def _held(cell: Cell) -> str | None:
    return cell.source if cell.on == "source" else cell.target


def _cells(table: TableReport) -> int:
    return sum(table.changed_cells.values()) + table.missing + table.extra


def _alone(text: str | None, longest: int = DIFFERENCE) -> Visible:
    return visible.alone(text, context=CONTEXT, longest=longest)


def _value(value: Visible) -> Text:
    """In quotes, so that the text NULL is told from NULL; what differs is set off where colours are."""
    if value.null:
        return Text("NULL", style="bold")
    text = Text("'")
    for piece in value.pieces:
        text.append(_seen(piece), style="bold red" if piece.differs else "dim" if piece.kind == "cut" else "")
    return text.append("'")


def _short(value: Visible, *, quoted: bool = True) -> str:
    if value.null:
        return "NULL"
    text = "".join(map(_seen, value.pieces))
    return f"'{text}'" if quoted else text


def _seen(piece: visible.Piece) -> str:
    if piece.kind == "sign":
        return " " if piece.text == "·" else f"⟨{piece.text}⟩"
    if piece.kind == "cut":
        return f"⟨{piece.text}⟩"
    return f"{piece.text}⟨{piece.note}⟩" if piece.note else piece.text


def _show_business(screen: Screen, report: Report, business: Business) -> None:
    tables = [(str(table), table.verdict, table.method) for table in report.tables]
    screen.table(_title(report), "table", "verdict", "found", rows=tables)
    rules = list(folded(business.rules))
    if rules:
        screen.table(
            "rules that are not simply kept", "table", "rule", "verdict", "rows", "in the source", "why", rows=rules
        )
    differing = [(table.table, figure) for table in business.figures.tables for figure in table.differences]
    if differing:
        shown = differing[:FIGURES_SHOWN]
        title = f"figures that differ ({len(shown)} of {len(differing):,})"
        headings = ("source rows", "source sum", "target rows", "target sum", "difference")
        screen.table(title, "table", "measure", "by", "bucket", *headings, rows=[_figure(*each) for each in shown])
    for table in business.figures.tables:
        for line in (*table.lacking, *table.notes):
            screen.print(printable(f"{table.table}: {line}"), markup=False, soft_wrap=True)


def _figure(table: str, figure: Figure) -> tuple[object, ...]:
    sides = [
        part for side in (figure.source, figure.target) for part in ((side.count, side.total) if side else (None, None))
    ]
    bucket = ", ".join("NULL" if value is None else value for value in figure.bucket)
    return table, figure.measure, ", ".join(figure.by) or "total", bucket, *sides, figure.difference


def folded(rules: Sequence[RuleResult]) -> Iterator[tuple[str, ...]]:
    """A line for each rule that is not simply kept; what is said alike of several tables, such as partitions, is one."""
    found: dict[tuple[str, ...], list[str]] = {}
    for result in rules:
        if result.verdict != "pass" or result.violations:
            there, here = (_count(n) for n in (result.violations, result.violations_source))
            words = result.rule.words.replace(result.rule.table, "the table")
            why = result.why.removeprefix("not checked: ")
            found.setdefault((words, result.verdict, there, here, why), []).append(result.rule.table)
    for (words, word, there, here, why), tables in found.items():
        names = list(dict.fromkeys(tables))
        more = f" and {counted(len(names) - 1, 'other')}" if len(names) > 1 else ""
        yield f"{names[0]}{more}", words, word, there, here, why


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"
