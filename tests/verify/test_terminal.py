"""What a terminal, a pipe and a file show of a verification, to somebody who reads it for the first time."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from helpers.engines.delta import adapter as delta
from helpers.engines.snowflake import adapter as snowflake
from helpers.progress import _left
from helpers.screen import Screen, open_streams
from helpers.verify.about import About
from helpers.verify.data_quality.figures import Figures
from helpers.verify.data_quality.rules.result import RuleResult
from helpers.verify.data_quality.rules.rule import NotChecked, Rule
from helpers.verify.diagnosis import Diagnosis
from helpers.verify.report import Business, Cell, Copies, Report, SchemaFinding, TableReport
from helpers.verify.terminal import CELLS_OF_A_TABLE, CELLS_SHOWN, folded, show, spread

STAND_IN = About(stand_in=snowflake.STAND_IN)


def table(name: str = "sales", verdict: str = "different", **values: Any) -> TableReport:
    known: dict[str, Any] = {"rows_source": 1000, "rows_target": 1000, "changed_cells": {"id": 0}, "digest": "0" * 16}
    return TableReport("public", name, verdict, **(known | values))  # type: ignore[arg-type]


def shown(*tables: TableReport, about: About = STAND_IN, width: int = 80, **values: Any) -> str:
    """What stands on a pipe."""
    return printed(
        Report("0/1A2B", "the export's own snapshot", "postgresql", "snowflake", tables, **values), about, width
    )


def printed(report: Report, about: About, width: int) -> str:
    screen = Screen()
    screen._given_width = width  # as COLUMNS gives it
    there, sys.stdout = sys.stdout, io.StringIO()
    try:
        with screen.answer():
            show(screen, report, about)
        return sys.stdout.getvalue()
    finally:
        sys.stdout = there


def cell(source: str | None, target: str | None, column: str = "amount", row: int = 1, **values: Any) -> Cell:
    return Cell({"id": str(row)}, column, source, target, row, **values)


def test_no_terminal_no_markup_and_the_stand_ins_name() -> None:
    text = shown(table(verdict="equal", name="[bold]x[/]"))
    assert "EQUAL on the stand-in fakesnow, no Snowflake: 1,000 rows in 1 table hold the same values" in text
    assert "[bold green]" not in text and "\x1b" not in text and "public.[bold]x[/]" in text
    assert "stand-in" not in shown(table(verdict="equal"), about=About())
    assert "on the stand-in pysail, no Databricks" in shown(
        table(verdict="equal"), about=About(stand_in=delta.STAND_IN)
    )


def test_a_long_value_is_cut_around_what_differs() -> None:
    before = "\\x" + "ab" * 300_000
    after = before[:700] + "f" + before[701:]
    text = shown(table(changed=1, changed_cells={"blob": 1}, cells=(cell(before, after, "blob"),)))
    assert len(text.splitlines()) < 40
    assert "characters" in text and "f" + before[701:705] in text.replace("\n", "")


def test_values_are_told_from_what_is_no_value() -> None:
    cells = (
        cell(None, "NULL", "a"), cell("C:\\temp", "C:\\\\temp", "b"), cell("", "(row missing in the target)", "c"),
        cell("x", None, "a", 2, on="source"), cell(None, "y", "a", 3, on="target"), cell(None, "z", "a", 4, on="target", again=True),
        cell("x\u202e\x1b[31m", "x\u00a0", "d", 5),
    )  # fmt: skip
    lines = shown(table(cells=cells), width=200).splitlines()
    of = {line.split()[1]: line for line in lines if line.startswith("public.sales ") and "id=" in line}
    assert "NULL" in next(line for line in lines if "id=1" in line)
    text = "\n".join(lines)
    assert " NULL " in text and "'NULL'" in text
    assert "'C:\\temp' " in text and "'C:\\\\temp'" in text  # as they are, with nothing doubled
    assert "''" in text and "'(row missing in the target)'" in text
    assert "  (row missing in the target)" in of["id=2"] and "a='x'" in of["id=2"]
    assert "(extra row: the source has none)" in of["id=3"] and "(a copy of a row that is there)" in of["id=4"]
    assert "\x1b" not in text and "\u202e" not in text and "U+001B" in text and "NBSP" in text


def test_the_sample_is_spread_over_columns_and_tables() -> None:
    cells = tuple(cell("1", "2", column, row) for column in "abc" for row in range(200))
    mixed = tuple(sorted(cells, key=lambda each: (each.column, each.row)))
    (of_one,) = [spread([table(cells=mixed)])]
    assert len(of_one) == CELLS_OF_A_TABLE
    assert {each[0].column for _, each in of_one[:3]} == {"a", "b", "c"}
    many = spread([table(f"t{n}", cells=mixed) for n in range(30)])
    assert len(many) <= CELLS_SHOWN and len({str(each) for each, _ in many}) == 30


def test_many_columns_leave_a_place_for_the_row_that_one_side_lacks() -> None:
    changed = [cell("1", "2", f"c{n}", row) for row in range(3) for n in range(50)]
    cells = (*changed, cell("1", None, "c0", 7, on="source"), cell(None, "1", "c0", 8, on="target"))
    assert {entry[0].on for _, entry in spread([table(cells=cells)])} == {"both", "source", "target"}


def test_each_columns_count_and_cause() -> None:
    why = Diagnosis("rounded", "In all 142 pairs that differ, the target is rounded", "A cast: widen it.", 142, 142, ())
    found = table(
        changed=150, changed_cells={"id": 0, "amount": 142, "name": 8, "f8": 1}, diagnoses={"amount": (why,), "name": ()},
        unexplained={"f8": "no explanation could be looked for: ZeroDivisionError"},
        schema_findings=(SchemaFinding("type", "error", "name", "varchar", "number"),),
    )  # fmt: skip
    lines = shown(found, width=200).splitlines()
    place = lines.index("public.sales.amount: 142 changed cells, in 14.2% of the rows")
    assert lines[place + 1 : place + 3] == [f"  {why.words}", f"  likely cause: {why.likely}"]
    assert "  no single cause explains them" in lines
    assert "  no explanation could be looked for: ZeroDivisionError" in lines
    assert "public.sales: error in its definition: type name: expected 'varchar', found 'number'" in lines


def test_rows_that_are_there_more_than_once_are_called_so() -> None:
    text = shown(table(extra=2, missing=1, copies=Copies(0, 2)), width=200)
    assert "2 extra (2 there more than once)" in text
    assert "1 row missing in the target, 2 rows only in the target (there more than once)" in text


def test_what_stays_behind_is_said_under_the_verdict() -> None:
    lines = shown(table(verdict="equal"), left_out={"public.v": "a view", "public.w": "a view"}).splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("EQUAL"))
    assert lines[place + 1 : place + 3] == [
        "this covers 1 table and nothing else",
        "  left out: public.v, public.w (a view)",
    ]


def test_rules_that_were_not_checked_are_no_zero_and_alike_ones_are_one() -> None:
    rules = tuple(
        RuleResult(Rule(f"public.p{n}", "exclude", "exclusion", True, ("a",), "no two ranges overlap", NotChecked("no test")),  # type: ignore[arg-type]
                   "not checked", "not checked: no test of the target says it")
        for n in range(7)
    )  # fmt: skip
    assert list(folded(rules)) == [
        ("public.p0 and 6 others", "no two ranges overlap", "not checked", "–", "–", "no test of the target says it")
    ]
    business = Business(rules, Figures("postgresql", "snowflake", ()))
    text = shown(table(verdict="equal"), business=business)
    assert "EQUAL IN WHAT WAS CHECKED on the stand-in" in text and "7 rules not checked" in text


@pytest.mark.parametrize("width", [40, 80, 160])
def test_no_line_of_a_table_is_wider_than_the_terminal(width: int) -> None:
    cells = tuple(cell("x" * 500, "y" * 500, f"column_{n}", n) for n in range(8))
    lines = shown(table("a_rather_long_name_of_a_table", cells=cells, changed=8), width=width).splitlines()
    assert all(len(line) <= width for line in lines if "│" in line or "─" in line)


@pytest.mark.parametrize("width", [20, 40, 50])
def test_a_narrow_terminal_cuts_no_value(width: int) -> None:
    cells = (cell("0.1", "0.30000000000000004", "quantity", 1), cell(None, "12345678901234567890", "amount", 7))
    text = shown(table("customers", cells=cells, changed=2), width=width)
    for value in ("public.customers", "2 changed", "quantity", "'0.30000000000000004'", "'12345678901234567890'"):
        assert value in text, text


def test_ascii_takes_every_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    open_streams()
    screen = Screen()
    with screen.answer():
        show(
            screen,
            Report("0/1", "n", "postgresql", "snowflake", (table(cells=(cell("ü", "…"),), changed=1),)),
            STAND_IN,
        )
    sys.stdout.flush()
    assert b"DIFFERENT" in raw.getvalue() and b"\\xfc" in raw.getvalue() and raw.getvalue().isascii()


def test_a_guess_is_no_estimate() -> None:
    assert _left(1, 10_000_000, 0.1) == "" and _left(1000, 10_000_000, 60) == ""
    assert _left(5_000_000, 10_000_000, 9000) == ", about 2.5 hours left"
    assert _left(5_000_000, 10_000_000, 600) == ", about 10 min left"
