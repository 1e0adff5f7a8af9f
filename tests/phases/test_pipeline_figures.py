"""Figures are exact: a comparison finds one cent in one cell of one day, whatever side it is on, and no difference where there is none.

It would catch a comparison that goes through floats, joins instead of pairing (and so loses rows of one side), takes the
source's later changes for faults of the mart, or calls an empty source equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import export as exporting
from helpers.errors import LoadError, MigrationError
from helpers.phases.common.box_findings import figure_findings
from helpers.pipelines import figures
from helpers.pipelines.figures import FigureReport, FiguresReport
from helpers.pipelines.sample.scratch import scratch
from helpers.platforms import postgres
from helpers.settings import Figure, Settings, Tables

TYPES = {
    "day": "DATE", "month": "DATE", "order_date": "DATE", "region": "VARCHAR", "category": "VARCHAR", "product_id": "VARCHAR",
    "order_id": "VARCHAR", "customer_id": "VARCHAR", "sales": "DECIMAL(38,9)", "profit": "DECIMAL(38,9)",
    "average_order": "DECIMAL(38,2)",
}  # fmt: skip


@dataclass(frozen=True)
class Sides:
    """A legacy source, and marts that say the same, in a DuckDB file."""

    settings: Settings
    file: Path

    def legacy(self, *statements: str) -> None:
        with (
            closing(postgres.connect(self.settings.source, settings={"search_path": "public"})) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)

    def mart(self, statement: str) -> None:
        with closing(duckdb.connect(str(self.file))) as connection:
            connection.execute(f"SET schema = '\"{self.settings.marts_schema}\"'")
            connection.execute(statement)

    def copy(self) -> None:
        """The marts as they should be: what PostgreSQL holds, in types that are exact."""
        with closing(duckdb.connect(str(self.file))) as duck, postgres.reading(self.settings.source) as cursor:
            duck.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.settings.marts_schema}"')
            for name, figure in self.settings.figures.items():
                cursor.execute((figure.query or "").replace("{", "public.").replace("}", ""))
                names = [column.name for column in cursor.description]
                columns = ", ".join(f"{column} {TYPES.get(column, 'BIGINT')}" for column in names)
                table = f'"{self.settings.marts_schema}".{name}'
                duck.execute(f"CREATE OR REPLACE TABLE {table} ({columns})")
                duck.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", cursor.fetchall())

    def compare(self, *names: str, **more: Any) -> FiguresReport:
        """Of the sample's figures those named, and further ones."""
        own = self.settings.figures | {name: Figure.model_validate(figure) for name, figure in more.items()}
        settings = replace(self.settings, values=self.settings.values.model_copy(update={"figures": own}))
        return figures.compare(settings, file=self.file, names=names or tuple(more))


@pytest.fixture(scope="module")
def source(local_settings: Settings) -> Iterator[Settings]:
    with scratch(local_settings, orders=240) as own:
        yield replace(
            own, values=own.values.model_copy(update={"dbt": own.dbt.model_copy(update={"engine": "duckdb"})})
        )


@pytest.fixture
def sides(source: Settings, tmp_path: Path) -> Sides:
    found = Sides(source, tmp_path / "marts.duckdb")
    found.copy()
    return found


def test_the_same_is_equal(sides: Sides) -> None:
    report = sides.compare()
    assert report.equal
    assert not report.differences
    assert all(each.rows_source == each.rows_other > 0 and each.numbers for each in report.figures)
    assert list(report.frame()["verdict"]) == ["equal"] * len(sides.settings.figures)


def test_one_cent_is_found_at_its_day_and_column(sides: Sides) -> None:
    row = "(SELECT (day, region, category) FROM sales_daily ORDER BY day DESC, region, category LIMIT 1)"
    sides.mart(f"UPDATE sales_daily SET sales = sales + 0.01 WHERE (day, region, category) = {row}")
    report = sides.compare()
    (found,) = report.differences
    assert not report.equal
    assert (found.figure, found.kind, found.column) == ("sales_daily", "changed", "sales")
    assert found.source and found.other
    assert Decimal(found.other) - Decimal(found.source) == Decimal("0.01")
    assert f"day={found.key['day']}" in str(found)
    assert found.source in str(found)
    assert list(report.differing()["column"]) == ["sales"]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("DELETE FROM product_ranking WHERE rank = 3", "missing"),
        ("INSERT INTO product_ranking SELECT 9999, 'no such product', NULL, 1, 2", "extra"),
        ("INSERT INTO product_ranking SELECT * FROM product_ranking WHERE rank = 1", "repeated"),
    ],
)
def test_a_row_too_few_too_many_or_twice_is_found(sides: Sides, statement: str, kind: str) -> None:
    sides.mart("CREATE TABLE ordered AS SELECT product_id, rank, category, quantity, sales FROM product_ranking")
    sides.mart("DROP TABLE product_ranking")
    sides.mart("CREATE TABLE product_ranking AS SELECT rank, product_id, category, quantity, sales FROM ordered")
    sides.mart(statement)
    (found,) = sides.compare().differences
    assert (found.figure, found.kind) == ("product_ranking", kind)


def test_a_null_is_no_zero(sides: Sides) -> None:
    sides.mart("UPDATE sales_monthly SET profit = 0 WHERE profit IS NULL")
    before = sides.compare("sales_monthly")
    sides.mart("UPDATE sales_monthly SET profit = NULL WHERE month = (SELECT max(month) FROM sales_monthly)")
    after = sides.compare("sales_monthly")
    assert len(after.differences) > len(before.differences)
    assert after.differences[-1].other is None


def test_an_average_is_compared_to_the_cent(sides: Sides) -> None:
    sides.mart("UPDATE sales_monthly SET average_order = average_order - 0.01 WHERE rowid = 0")
    (found,) = sides.compare("sales_monthly").differences
    assert found.column == "average_order"


def test_a_float_is_refused(sides: Sides) -> None:
    sides.mart("ALTER TABLE sales_daily ALTER sales TYPE DOUBLE")
    with pytest.raises(LoadError, match="not an exact number"):
        sides.compare()


def test_what_the_source_changed_after_the_export_is_named_apart(sides: Sides) -> None:
    with exporting.planned(sides.settings) as plan:
        exporting.export(plan)
    changed = (
        "UPDATE sales_daily SET sales = sales {} 1 WHERE (day, region, category) = "
        "(SELECT day, region, category FROM sales_daily ORDER BY 1, 2, 3 LIMIT 1)"
    )
    sides.legacy(changed.format("+"))
    try:
        report = sides.compare("sales_daily")
        (found,) = report.differences
        assert found.since and report.equal
        assert "after the export" in str(found)
        sides.mart("UPDATE sales_daily SET lines = lines + 1 WHERE day = (SELECT max(day) FROM sales_daily)")
        report = sides.compare("sales_daily")
        assert not report.equal
        assert {d.column for d in report.differences if not d.since} == {"lines"}
    finally:
        sides.legacy(changed.format("-"))


@pytest.mark.parametrize(
    ("only", "moved"),
    [
        ({"where": "lines > 1"}, "DELETE FROM sales_daily WHERE lines <= 1"),
        ({"mask": {"sales": "null"}}, "UPDATE sales_daily SET sales = NULL"),
    ],
)
def test_what_moves_in_part_is_not_excused_as_changed_after_the_export(
    sides: Sides, only: dict[str, Any], moved: str
) -> None:
    """Would catch: the stage, which has the same part, taken for what the source held."""
    described = Tables.model_validate({"match": {"public.sales_daily": only | {"reason": "a test"}}})
    values = sides.settings.values.model_copy(update={"tables": described})
    with exporting.planned(replace(sides.settings, values=values)) as plan:
        exporting.export(plan)
    sides.mart(moved)
    report = sides.compare("sales_daily")
    assert report.differences and not report.equal
    assert not any(found.since for found in report.differences)


@pytest.mark.parametrize(
    ("figure", "says"),
    [
        ({"query": "SELECT 1 AS n FROM {no_such_table}"}, "no such table or view"),
        ({"query": "SELECT 1 AS n FROM {stores}"}, "neither a mart nor a migrated table"),
        ({"query": "SELECT lines FROM {sales_daily}", "key": ["day"]}, "no day"),
        ({"query": "DELETE FROM {sales_daily}"}, "no single query"),
        ({"query": "SELECT 1 AS n FROM {sales_daily}; SELECT 2 AS n"}, "no single query"),
        ({"query": "WITH gone AS (DELETE FROM {sales_daily} RETURNING day) SELECT count(*) AS n FROM gone"}, "no single query"),
        ({"source": "SELECT 1 AS n", "target": "DROP TABLE {sales_daily}"}, "no single query"),
        ({"source": "SELECT 1 AS n", "target": "SELECT 1 AS m"}, "the source gives n, the other side m"),
        ({"query": "no/such/file.sql"}, "No such file"),
        ({"source": "INSERT INTO public.stores SELECT * FROM public.stores", "target": "SELECT 1 AS n"}, "syntax|read-only"),
    ],
)  # fmt: skip
def test_a_figure_that_cannot_be_asked_is_refused(sides: Sides, figure: dict[str, Any], says: str) -> None:
    with pytest.raises(MigrationError, match=says):
        sides.compare(wrong=figure)
    assert sides.compare("sales_daily").equal


def test_a_total_needs_no_key_and_words_of_postgresql_are_translated(sides: Sides) -> None:
    report = sides.compare(
        total={"query": "SELECT count(*) FILTER (WHERE day >= '2000-01-01'::date)::int AS \"Days\", sum(sales) AS sales FROM {sales_daily} d"},
        sides={"source": "SELECT sum(s.sales) AS sales FROM {public.sales_daily} s", "target": "SELECT sum(sales) AS sales FROM {sales_daily}"},
    )  # fmt: skip
    assert [each.verdict for each in report.figures] == ["equal", "equal"]
    assert report.figures[0].numbers == 2


def test_a_tolerance_takes_what_it_says_and_no_more(sides: Sides) -> None:
    sides.mart("UPDATE sales_daily SET sales = sales + 0.01 WHERE day = (SELECT max(day) FROM sales_daily)")
    asked = {"query": "SELECT sum(sales) AS sales FROM {sales_daily}", "reason": "cents of a test"}
    for tolerance, verdict in ((0.001, "different"), (100, "equal")):
        (found,) = sides.compare(near={**asked, "tolerance": {"sales": tolerance}}).figures
        assert (found.verdict, found.within) == (verdict, int(verdict == "equal"))
        assert found.reason == "cents of a test"
    sides.mart("UPDATE sales_daily SET sales = NULL")
    (found,) = sides.compare(near={**asked, "tolerance": {"sales": 100}}).figures
    assert found.verdict == "different", "NULL is near nothing"


def test_a_float_is_compared_where_a_tolerance_says_how_far(sides: Sides) -> None:
    query = "SELECT avg(sales::float8) AS average FROM {sales_daily}"
    with pytest.raises(LoadError, match=r"give figures\.wide\.tolerance"):
        sides.compare(wide={"query": query})
    near = {"query": query, "tolerance": {"average": 0.000001}, "reason": "two engines add up in another order"}
    assert sides.compare(wide=near).equal


@pytest.mark.parametrize(
    ("figure", "says"),
    [
        ({"query": "SELECT 1 AS n", "source": "SELECT 1 AS n", "target": "SELECT 1 AS n"}, "either query"),
        ({"source": "SELECT 1 AS n"}, "source and target"),
        ({"query": "SELECT 1 AS n", "tolerance": {"n": 1}}, "needs a reason"),
        ({"query": "SELECT 1 AS n", "reason": "none"}, "without a tolerance"),
        ({"query": "SELECT 1 AS n", "key": ["n"], "tolerance": {"n": 1}, "reason": "r"}, "column of the key"),
    ],
)
def test_a_figure_that_contradicts_itself_is_refused(figure: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Figure.model_validate(figure)


def test_nothing_against_nothing_is_not_equal() -> None:
    empty = FigureReport("sales_daily", 0, 0, 0, ())
    assert empty.verdict == "no rows"
    assert not FiguresReport("DuckDB", "0/0", "", (empty,)).equal
    assert not FiguresReport("DuckDB", "0/0", "", ()).equal
    assert [each.severity for each in figure_findings(FiguresReport("DuckDB", "0/0", "", (empty,)))] == [
        "warning",
        "stop",
    ]


_NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**15), max_value=10**15)


@given(_NUMBERS, _NUMBERS)
def test_two_numbers_have_one_text_only_if_they_are_one(left: Decimal, right: Decimal) -> None:
    assert (_text(left) == _text(right)) == (left == right)
    assert _text(left) == _text(left * Decimal("1.000")) == _text(left + 0)
    assert Decimal(_text(left)) == left


@given(st.integers())
def test_a_whole_number_is_the_same_as_an_integer_and_as_a_decimal(number: int) -> None:
    assert _text(number) == _text(Decimal(number))


_text: Callable[[Any], str] = lambda value: figures._number(value)  # noqa: E731
