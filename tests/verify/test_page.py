"""A report page that lies, hides a table, runs what a value says, or cannot be told by eye would fail here."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples

from helpers import verify as verifying
from helpers.engines.delta import adapter as delta
from helpers.engines.snowflake import adapter as snowflake
from helpers.verify import page, tables_for_notebooks, verdict
from helpers.verify.about import About
from helpers.verify.diagnosis import Diagnosis, Example
from helpers.verify.report import Cell, Report, SchemaFinding, TableReport

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\x00\x1b[31m\u202e\ud800'
APART = frozenset("td th li p dt dd caption h2 h3 h4 tr".split())
VOID = frozenset("meta link br img hr input".split())


class Page(HTMLParser):
    """The page's elements, each closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        if tag in APART:
            self.words.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def rendered(*tables: TableReport, about: About | None = None, lsn: str = "0/1A2B", note: str = "the export's own snapshot") -> str:  # fmt: skip
    return page.render(report(*tables, lsn=lsn, note=note), title="A against B", made_at=NOON, about=about)


def report(*tables: TableReport, lsn: str = "0/1A2B", note: str = "the export's own snapshot") -> Report:
    return Report(lsn, note, "postgresql", "snowflake", tables)


def table(name: str = "sales", state: str = "equal", **values: Any) -> TableReport:
    rows = values.pop("rows", 1000)
    known: dict[str, Any] = {
        "rows_source": rows, "rows_target": rows, "changed_cells": {"id": 0, "amount": 0}, "seconds": 0.5,
        "method": "MD5 of every row's canonical form, summed in 23 segments; in the export's own snapshot", "digest": "0" * 16,
    }  # fmt: skip
    return TableReport("public", name, state, **(known | values))  # type: ignore[arg-type]


def changed(name: str = "sales", source: str | None = "1.50", target: str | None = "1.5", **values: Any) -> TableReport:
    cells = (Cell({"id": "7"}, "amount", source, target, 1),)
    return table(name, "different", changed=1, changed_cells={"id": 0, "amount": 1}, cells=cells, **values)


def refused(name: str = "blobs") -> TableReport:
    return TableReport(
        "public", name, "refused", method="not compared: public.blobs.x holds 3 values that no target holds"
    )


FINDING = SchemaFinding("type-narrowed", "error", "amount", "NUMBER(12,2)", "NUMBER(8,2)")
WARNING = SchemaFinding("comment-changed", "warning", "amount", "in euro", None)


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ([table(), table("orders", rows=41)], "EQUAL: 1,041 rows in 2 tables hold the same values on both sides at LSN 0/1A2B"),
        ([table(rows=1)], "EQUAL: 1 row in 1 table holds the same values on both sides at LSN 0/1A2B"),
        (
            [changed(), table("orders")],
            "DIFFERENT: 1 of 2 tables does not hold the same rows on both sides at LSN 0/1A2B: 1 row changed",
        ),
        (
            [changed(missing=12, extra=3), changed("orders", schema_findings=(FINDING,))],
            "DIFFERENT: 2 of 2 tables do not hold the same rows on both sides at LSN 0/1A2B: 2 rows changed, "
            "12 rows missing in the target, 3 rows only in the target, 1 error in their definitions",
        ),
        (
            [table(state="different", schema_findings=(FINDING, WARNING))],
            "DIFFERENT: 1 of 1 table is not defined as it should be (1 error), while the columns that both sides have hold "
            "the same values at LSN 0/1A2B",
        ),
        (
            [refused(), changed(), table("orders")],
            "REFUSED: 1 of 3 tables could not be compared, so nothing is proved of it; of the others 1 different and 1 equal "
            "at LSN 0/1A2B",
        ),
        ([], "REFUSED: no table was compared, so nothing is proved"),
        (
            [table(state="different", changed_since=37), table("orders")],
            "THE SOURCE MOVED ON: 37 rows changed there after the export, in 1 of 2 tables; nothing is wrong with the target, "
            "and every other row is the same on both sides at LSN 0/1A2B",
        ),
        (
            [TableReport("public", "a", "equal", 5, 5, method="row counts")],
            "EQUAL COUNTS, VALUES NOT COMPARED: 1 table has 5 rows on both sides at LSN 0/1A2B",
        ),
        (
            [TableReport("public", "a", "equal", method="schema")],
            "EQUAL DEFINITIONS, ROWS NOT COMPARED: 1 table is defined alike on both sides at LSN 0/1A2B",
        ),
        (
            [table(selection="a sample of 10 of 997 segments", rows=12)],
            "EQUAL IN WHAT WAS COMPARED: 12 rows chosen from 1 table hold the same values on both sides at LSN 0/1A2B",
        ),
    ],
)  # fmt: skip
def test_the_verdict_is_one_sentence_that_claims_no_more_than_was_compared(
    tables: list[TableReport], sentence: str
) -> None:
    assert verdict.sentence(report(*tables)) == sentence
    text = Page(rendered(*tables)).text
    assert sentence in text
    assert all(str(each) in text for each in tables)


def test_an_approximate_lsn_is_called_one() -> None:
    note = "a snapshot taken for this verification; the LSN is approximate"
    assert "on both sides at about LSN 0/1A2B" in Page(rendered(table(), note=note)).text
    assert "LSN" not in verdict.sentence(report(table(), lsn="", note=""))


def test_a_source_that_moved_on_is_no_error() -> None:
    text = Page(rendered(table(state="different", changed_since=3))).text
    assert "3 rows were inserted, updated or deleted in the source after the export" in text
    assert "nothing is wrong with the target" in text
    assert "must not stand in" not in text
    both = rendered(changed(changed_since=3))
    assert "1 row changed" in Page(both).text
    assert "Besides, 3 rows changed in the source after the export; that is no fault of the target" in Page(both).text


def test_a_change_of_the_source_hides_no_error() -> None:
    for wrong in (
        {"extra": 1}, {"missing": 1}, {"changed": 1}, {"schema_findings": (FINDING,)}, {"changed_cells": {"amount": 1}},
    ):  # fmt: skip
        assert verdict.state(table(state="different", changed_since=5, **wrong)) == "different"
    assert verdict.state(table(state="different", changed_since=5, schema_findings=(WARNING,))) == "moved on"


def test_an_equal_page_is_short_and_has_its_limits() -> None:
    equal = Page(rendered(*(table(f"t{n}") for n in range(13))))
    assert "section" not in [tag for tag, _ in equal.elements]
    assert "differences" not in equal.text
    assert "What the source changed after LSN 0/1A2B is not in it" in equal.text
    assert len(equal.text) < 6000
    counts = Page(rendered(TableReport("public", "a", "equal", 5, 5, method="row counts"))).text
    assert "equal counts say nothing of the values" in counts
    assert "byte by byte" not in counts
    sample = Page(rendered(table(selection="a sample of 10 of 997 segments"))).text
    assert "Only the rows named under" in sample
    assert "Every row and every column" not in sample


def test_nothing_from_a_database_acts() -> None:
    cells = (
        Cell({EVIL: EVIL}, EVIL, EVIL, f"{EVIL}x", 1),
        Cell({EVIL: EVIL}, "other", EVIL, None, 2, "source"),
        Cell(None, "other", None, EVIL, 3, "target"),
    )
    found = Diagnosis("trimmed", EVIL, EVIL, 1, 2, (Example({EVIL: EVIL}, 1, EVIL, None), Example(None, 9, "", EVIL)))
    evil = TableReport(
        EVIL, EVIL, "different", 9, 9, 1, 1, 1, 1, (SchemaFinding(EVIL, "error", EVIL, EVIL, EVIL),), {EVIL: 1, "other": 2}, cells,
        EVIL.replace("\ud800", "") + ".parquet", 1.0, EVIL, EVIL, 3, {EVIL: (found,)}, {EVIL: EVIL}, EVIL,
    )  # fmt: skip
    about = About(EVIL, EVIL, EVIL, snowflake.STAND_IN, (EVIL,))
    text = page.render(Report(EVIL, EVIL, EVIL, EVIL, (evil, refused(EVIL))), title=EVIL, made_at=NOON, about=about)
    text.encode("utf-8", "surrogatepass")
    found_page = Page(text)
    tags = {tag for tag, _ in found_page.elements}
    assert not tags & {"script", "img", "iframe", "object", "form", "link", "base", "b"}
    assert not any(name.startswith("on") for _, attributes in found_page.elements for name in attributes)
    body = text.partition("</style>")[2]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", body)
    assert "<script>alert(1)</script>" in found_page.text
    fragment = page.first_rows(Report("", "", "", "", (evil,)))
    assert not {tag for tag, _ in Page(fragment).elements} & {"script", "img"}


@given(st.text(max_size=30), st.none() | st.text(max_size=30), st.none() | st.text(max_size=30))
@examples(60)
def test_any_value_under_any_name_makes_a_whole_page(name: str, source: str | None, target: str | None) -> None:
    sides = ("both", "source", "target")
    cells = tuple(Cell({name: source}, name, source, target, n, on) for n, on in enumerate(sides))  # type: ignore[arg-type]
    found = Page(rendered(table(name, "different", changed=1, changed_cells={name: 1}, cells=cells)))
    assert "script" not in {tag for tag, _ in found.elements}
    assert not [c for c in found.text if unicodedata.category(c) in ("Cc", "Cs", "Co") and c not in "\n "]


def test_the_page_loads_nothing() -> None:
    text = rendered(
        changed(cells_file="/somewhere/of/mine/public.sales.cells.parquet"), about=About(stand_in=snowflake.STAND_IN)
    )
    found = Page(text)
    assert "http" not in text.replace("http-equiv", "")
    assert not re.search(r"url\(|@import|src=", text)
    links = [attributes["href"] or "" for _, attributes in found.elements if "href" in attributes]
    assert sorted(links) == ["#table-1", "public.sales.cells.parquet"]
    assert "/somewhere/of/mine/public.sales.cells.parquet" in found.text
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"}) in found.elements  # fmt: skip


def test_every_table_and_every_differing_column_is_named() -> None:
    columns = {f"column_{n}": n for n in range(300)}
    wide = table("wide", "different", changed=300, changed_cells=columns, schema_findings=(FINDING, WARNING))
    others = [table(f"equal_{n}") for n in range(200)]
    text = Page(rendered(wide, *others, refused())).text
    for name, count in columns.items():
        assert (f" {name} {count} " in text) is (count > 0), name
    for other in others:
        assert f"public.{other.name} " in text
    assert "type-narrowed error amount NUMBER(12,2) NUMBER(8,2)" in text
    assert "comment-changed warning amount in euro –" in text
    assert "public.blobs.x holds 3 values that no target holds" in text


def test_a_diagnosis_is_shown_with_its_share_its_examples_and_its_cause() -> None:
    diagnosis = Diagnosis(
        "shifted-by-constant", "In 3 of 4 pairs the target is 2 hours later.", "The loading session was not in UTC.", 3, 4,
        (Example({"id": "7"}, 1, "10:00", "12:00"),),
    )  # fmt: skip
    both = changed(diagnoses={"amount": (diagnosis,)})
    text = Page(rendered(both)).text
    for words in (diagnosis.words, diagnosis.likely, "explains 75% (3 of 4)", "id 7 10:00 12:00"):
        assert words in text
    assert "No single cause" not in text
    assert "No single cause explains the differences of amount" in Page(rendered(changed())).text
    frame = tables_for_notebooks.diagnoses(report(both, changed("other")))
    assert frame.loc[("public.sales", "amount"), "likely cause"] == diagnosis.likely
    assert frame.loc[("public.other", "amount"), "what"] == "no single cause was found"


def test_a_huge_value_is_cut_around_its_difference() -> None:
    source, target = "x" * 700_000 + "ä" + "y" * 300_000, "x" * 700_000 + "ö" + "y" * 300_000
    text = rendered(changed(source=source, target=target))
    assert len(text) < 50_000
    words = Page(text).text
    assert words.count("1,000,001 characters") == 2
    assert "äU+00E4" in words
    assert "öU+00F6" in words
    lost = table("gone", "different", missing=1, cells=(Cell({"id": source}, "amount", source, None, 1, "source"),))
    assert len(rendered(lost)) < 50_000


def test_rows_are_put_together_as_the_comparison_paired_them() -> None:
    cells = (
        Cell(None, "a", "1", "2", 1), Cell(None, "b", "3", "4", 2), Cell(None, "a", "5", None, 3, "source"),
        Cell(None, "b", None, "6", 4, "target"), Cell(None, "c", None, "7", 4, "target"),
    )  # fmt: skip
    text = Page(rendered(table("t", "different", missing=3, extra=3, cells=cells, changed_cells={"a": 1, "b": 1}))).text
    assert (
        "on both sides, with other values row a b – source 1 same target 2 same – source same 3 target same 4" in text
    )
    assert "missing in the target row a – source 5" in text
    assert "only in the target row b c – target 6 7" in text
    assert "The table has no key" in text


def test_the_settings_that_made_values_equal_are_named() -> None:
    about = About(
        "local",
        "PostgreSQL x",
        "Snowflake y",
        snowflake.STAND_IN,
        ("public.sales.amount: numbers count as equal when …",),
    )
    text = Page(rendered(table(), about=about)).text
    for words in ("PostgreSQL x", "Snowflake y", "numbers count as equal", "local stand-in for Snowflake"):
        assert words in text
    assert "stand-in" not in Page(rendered(table())).text
    assert "local stand-in for Databricks" in Page(rendered(table(), about=About(stand_in=delta.STAND_IN))).text


def test_it_is_written_whole_beside_the_cells(tmp_path: Path) -> None:
    path = page.write(report(table()), tmp_path / "new" / "report.html", made_at=NOON)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "PostgreSQL against Snowflake · 2026-11-24 12:00 UTC" in path.read_text(encoding="utf-8")
    page.write(report(changed()), path)
    assert "DIFFERENT" in path.read_text(encoding="utf-8")
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_differences_for_a_notebook_count_every_kind() -> None:
    found = tables_for_notebooks.differences(
        report(changed(missing=2, extra=3, changed_since=4, schema_findings=(FINDING,)), table("equal"))
    )
    assert [tuple(row) for row in found.reset_index().itertuples(index=False)] == [
        ("public.sales", "amount", "changed cells", 1),
        ("public.sales", "(the whole row)", "rows missing in the target", 2),
        ("public.sales", "(the whole row)", "rows only in the target", 3),
        ("public.sales", "(the whole row)", "rows changed in the source since the export", 4),
        ("public.sales", "amount", "error: type-narrowed", 1),
    ]
    assert tables_for_notebooks.differences(report(table())).empty
    assert page.first_rows(report(table())) == "<p>No row differs.</p>"


def test_a_planted_difference_is_on_the_page_of_a_real_verification(migration: Any, tmp_path: Path) -> None:
    migration.source(
        "CREATE TABLE people (id int PRIMARY KEY, name text, seen timestamp, ratio float8)",
        "INSERT INTO people SELECT g, 'Ada ' || g || '  ', timestamp '2024-01-01' + g * interval '1 hour', g / 7.0 "
        "FROM generate_series(1, 300) g",
        "CREATE TABLE events (kind text, body text)",
        "INSERT INTO events VALUES ('a', 'one'), ('b', 'two')",
        "CREATE TABLE moving (id int PRIMARY KEY, v text)",
        "INSERT INTO moving VALUES (1, 'a'), (2, 'b')",
        "CREATE TABLE calm (id int PRIMARY KEY)",
    )
    migration.migrate()
    migration.target(
        'UPDATE "people" SET "name" = RTRIM("name") WHERE "id" = 5',
        'UPDATE "people" SET "seen" = DATEADD(hour, 2, "seen"), "ratio" = ROUND("ratio", 2) WHERE "id" = 9',
        'DELETE FROM "people" WHERE "id" = 17',
        "INSERT INTO \"people\" VALUES (900, 'nobody', NULL, NULL)",
        'UPDATE "events" SET "kind" = \'A\' WHERE "body" = \'one\'',
        'UPDATE "events" SET "body" = \'TWO\' WHERE "kind" = \'b\'',
        'ALTER TABLE "calm" ADD COLUMN "loaded_by" VARCHAR',
    )
    migration.source("UPDATE moving SET v = 'x' WHERE id = 2")
    with verifying.planned(migration.settings, target="snowflake", cells_folder=tmp_path) as plan:
        found = verifying.verify(plan)
        about = About.from_plan(plan)
    text = Page(page.write(found, tmp_path / "report.html", about=about).read_text(encoding="utf-8")).text
    assert "3 of 4 tables do not hold the same rows" in text
    assert "public.moving moved on" in text
    assert "id 5 source Ada 5·· same same target Ada 5 same same" in text
    assert "id 9 source same 2024-01-01 09:00:00" in text
    assert "missing in the target row name seen ratio id 17" in text
    assert "only in the target row name id 900 target nobody" in text
    assert "column-added error loaded_by" in text
    assert "local stand-in for Snowflake" in text
    events = next(each for each in found.tables if each.name == "events")
    assert {cell.on for cell in events.cells} <= {"both", "source", "target"}
    assert len({cell.row for cell in events.cells if cell.on == "both"}) == sum(events.changed_cells.values())
    assert (tmp_path / Path(events.cells_file or "").name).exists()
    equal = replace(found, tables=tuple(t for t in found.tables if t.name == "moving"))
    assert verdict.sentence(equal).startswith("THE SOURCE MOVED ON: 1 row changed there after the export")


def test_an_explanation_that_failed_is_told_as_such() -> None:
    found = replace(
        changed(), diagnoses={}, unexplained={"amount": "no explanation could be looked for: ZeroDivisionError"}
    )
    text = Page(rendered(found)).text
    assert "amount: no explanation could be looked for: ZeroDivisionError" in text
    assert "No single cause explains" not in text
