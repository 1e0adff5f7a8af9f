"""Parity is exact: it finds one cent in one cell of one day, whatever side it is on, and no difference where there is none.

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
from helpers.errors import LoadError, UsageError
from helpers.pipelines import parity
from helpers.pipelines.parity import AGGREGATES, Aggregate, ParityReport
from helpers.pipelines.sample.scratch import scratch
from helpers.platforms import postgres
from helpers.settings import Settings

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
            for each in AGGREGATES:
                names = each.key + each.columns
                columns = ", ".join(f"{name} {TYPES.get(name, 'BIGINT')}" for name in names)
                table = f'"{self.settings.marts_schema}".{each.name}'
                duck.execute(f"CREATE OR REPLACE TABLE {table} ({columns})")
                cursor.execute(each.query(f"public.{each.name}"))
                duck.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", cursor.fetchall())

    def compare(self, *aggregates: Aggregate) -> ParityReport:
        return parity.compare(self.settings, file=self.file, aggregates=aggregates or AGGREGATES)


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
    assert all(each.rows_legacy == each.rows_other > 0 and each.figures for each in report.aggregates)
    assert list(report.frame()["verdict"]) == ["equal"] * len(AGGREGATES)


def test_one_cent_is_found_at_its_day_and_column(sides: Sides) -> None:
    row = "(SELECT (day, region, category) FROM sales_daily ORDER BY day DESC, region, category LIMIT 1)"
    sides.mart(f"UPDATE sales_daily SET sales = sales + 0.01 WHERE (day, region, category) = {row}")
    report = sides.compare()
    (found,) = report.differences
    assert not report.equal
    assert (found.aggregate, found.kind, found.column) == ("sales_daily", "changed", "sales")
    assert found.legacy and found.other
    assert Decimal(found.other) - Decimal(found.legacy) == Decimal("0.01")
    assert f"day={found.key['day']}" in str(found)
    assert found.legacy in str(found)
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
    assert (found.aggregate, found.kind) == ("product_ranking", kind)


def test_a_null_is_no_zero(sides: Sides) -> None:
    sides.mart("UPDATE sales_monthly SET profit = 0 WHERE profit IS NULL")
    before = sides.compare(AGGREGATES[1])
    sides.mart("UPDATE sales_monthly SET profit = NULL WHERE month = (SELECT max(month) FROM sales_monthly)")
    after = sides.compare(AGGREGATES[1])
    assert len(after.differences) > len(before.differences)
    assert after.differences[-1].other is None


def test_an_average_is_compared_to_the_cent(sides: Sides) -> None:
    sides.mart("UPDATE sales_monthly SET average_order = average_order - 0.01 WHERE rowid = 0")
    (found,) = sides.compare(AGGREGATES[1]).differences
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
        report = sides.compare(AGGREGATES[0])
        (found,) = report.differences
        assert found.since and report.equal
        assert "after the export" in str(found)
        sides.mart("UPDATE sales_daily SET lines = lines + 1 WHERE day = (SELECT max(day) FROM sales_daily)")
        report = sides.compare(AGGREGATES[0])
        assert not report.equal
        assert {d.column for d in report.differences if not d.since} == {"lines"}
    finally:
        sides.legacy(changed.format("-"))


def test_an_aggregate_that_the_source_lacks_is_an_error(sides: Sides) -> None:
    with pytest.raises(UsageError, match="no_such_aggregate"):
        sides.compare(Aggregate("no_such_aggregate", ("day",), ("sales",)))


def test_nothing_against_nothing_is_not_equal() -> None:
    empty = parity.AggregateReport("sales_daily", 0, 0, 0, ())
    assert not ParityReport("DuckDB", "0/0", "", (empty,)).equal
    assert not ParityReport("DuckDB", "0/0", "", ()).equal


_NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**15), max_value=10**15)


@given(_NUMBERS, _NUMBERS)
def test_two_numbers_have_one_text_only_if_they_are_one(left: Decimal, right: Decimal) -> None:
    assert (_text(left) == _text(right)) == (left == right)
    assert _text(left) == _text(left * Decimal("1.000")) == _text(left + 0)
    assert Decimal(_text(left)) == left


@given(st.integers())
def test_a_whole_number_is_the_same_as_an_integer_and_as_a_decimal(number: int) -> None:
    assert _text(number) == _text(Decimal(number))


_text: Callable[[Any], str] = lambda value: parity._text(AGGREGATES[0], "sales", value) or ""  # noqa: E731
