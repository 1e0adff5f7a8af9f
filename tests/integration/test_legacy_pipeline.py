"""The legacy pipeline as a whole, on a profile's stack: order lines go through cleaning, star and aggregates, which are computed again.

It would catch SQL that sums otherwise than the order lines say, drops or doubles a line in cleaning, counts an order twice, keeps
what a former order file wrote, or leaves half of a run behind when an order cannot be read. Runbook 40 runs this file for option C,
on its own profile (RUNBOOK_PROFILE); what it makes is scratch, and goes again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from helpers import settings as profiles
from helpers.errors import SourceRefused, UsageError
from helpers.local import stack
from helpers.pipelines import figures, source_quality
from helpers.pipelines.sample import aggregation as legacy_aggregation
from helpers.pipelines.sample.scratch import scratch
from helpers.platforms import postgres
from helpers.settings import Settings

LINES = 1_000

# line, order, day, shipped, customer, product, category, region, country, sales, quantity, profit
BY_HAND = """
INSERT INTO raw_orders VALUES
    (1, ' O-1 ', '2025-03-31', 'N/A', 'C-1', 'P-1', 'Tea', 'West', 'Chile', ' 10.005 ', '2', '1.50'),
    (2, 'O-1', '2025-03-31', '', 'C-1', 'P-2', '', '', '', '0.1', '1', ''),
    (3, 'O-1', '2025-03-31', 'n/a', 'C-1', 'P-1', 'Tea', 'West', 'Chile', '10.0050', '2', '1.5'),
    (4, 'O-2', '2025-04-01', '2025-04-03', 'n/a', 'P-1', 'Coffee', 'West', 'Chile', '-10.005', '-2', '-1.50'),
    (5, 'O-3', '2025-04-01', '2025-04-02', 'C-2', 'P-1', 'Tea', 'West', 'Chile', '3', '1', '1'),
    (6, 'O-3', '2025-04-01', '2025-04-02', 'C-2', 'P-2', 'Tea', 'West', 'Chile', '4', '1', '1')
"""


@dataclass(frozen=True)
class Pipeline:
    """The legacy pipeline over scratch data."""

    settings: Settings

    def write(self, *statements: str) -> None:
        connection = postgres.connect(self.settings.source, settings={"search_path": "public"})
        with closing(connection), connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def read(self, query: str) -> list[tuple[Any, ...]]:
        with postgres.reading(self.settings.source) as cursor:
            cursor.execute("SET LOCAL search_path TO public")
            cursor.execute(query)
            return list(cursor.fetchall())

    def aggregate(self) -> dict[str, int]:
        return legacy_aggregation.aggregate(self.settings.source)

    def differences(self) -> list[str]:
        return [str(difference) for difference in figures.recompute(self.settings).differences]

    def everything(self) -> list[list[tuple[Any, ...]]]:
        names = ("dim_date", "dim_product", "fact_sales", "sales_data", "sales_daily", "sales_monthly", "product_ranking", "open_orders")  # fmt: skip
        return [self.read(f"SELECT * FROM {name} ORDER BY 1, 2, 3") for name in names]


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    stack.up()
    settings = profiles.load(os.environ.get("RUNBOOK_PROFILE"))
    with scratch(settings, orders=LINES) as own:
        yield Pipeline(own)


def test_the_aggregates_are_what_the_order_lines_give(pipeline: Pipeline) -> None:
    rows = pipeline.aggregate()
    assert all(rows.values()), rows
    found = figures.recompute(pipeline.settings)
    assert found.equal, pipeline.differences()[:5]
    assert all(each.rows_source == each.rows_other > 0 for each in found.figures)


def test_a_second_run_over_equal_orders_makes_equal_tables(pipeline: Pipeline) -> None:
    pipeline.aggregate()
    first = pipeline.everything()
    pipeline.aggregate()
    assert pipeline.everything() == first


def test_orders_that_changed_are_carried_over_by_the_next_run(pipeline: Pipeline) -> None:
    pipeline.write(
        "UPDATE raw_orders SET sales = '12345.67' WHERE line_no = 1",
        "UPDATE raw_orders SET region = 'Nowhere' WHERE line_no = 2",
        "DELETE FROM raw_orders WHERE line_no = 3",
    )
    assert pipeline.differences(), "the order lines have moved on, and the aggregates have not"
    pipeline.aggregate()
    assert pipeline.differences() == []


def test_cleaning_and_figures_worked_out_by_hand(pipeline: Pipeline) -> None:
    """Neither the SQL nor the recomputation decides what is right here: repeats, blanks, n/a, a return, an order of two lines, a ratio's last cent."""
    pipeline.write("TRUNCATE raw_orders", BY_HAND)
    pipeline.aggregate()
    assert pipeline.read("SELECT order_line FROM sales_data ORDER BY 1") == [(1,), (2,), (4,), (5,), (6,)]
    west, nowhere = date(2025, 3, 31), ("(none)", "(none)")
    daily = pipeline.read("SELECT * FROM sales_daily ORDER BY day, region, category")
    assert sorted(daily) == sorted([
        (west, *nowhere, 1, 1, 1, Decimal("0.1"), None),
        (west, "West", "Tea", 1, 1, 2, Decimal("10.005"), Decimal("1.5")),
        (date(2025, 4, 1), "West", "Coffee", 1, 1, -2, Decimal("-10.005"), Decimal("-1.5")),
        (date(2025, 4, 1), "West", "Tea", 1, 2, 2, Decimal(7), Decimal(2)),
    ])  # fmt: skip
    average = "SELECT round(average_order, 2) FROM sales_monthly WHERE category = {} AND month = '2025-0{}-01'"
    assert pipeline.read(average.format("'Tea'", 3)) == [(Decimal("10.01"),)]
    assert pipeline.read(average.format("'Coffee'", 4)) == [(Decimal("-10.01"),)]
    ranking = pipeline.read("SELECT rank, product_id, category, quantity, sales FROM product_ranking ORDER BY 1")
    assert ranking == [(1, "P-2", "Tea", 2, Decimal("4.1")), (2, "P-1", "Tea", 1, Decimal("3.000"))]
    assert pipeline.read("SELECT order_id, customer_id, lines, sales FROM open_orders") == [
        ("O-1", "C-1", 2, Decimal("10.105"))
    ]
    assert pipeline.differences() == []


def test_an_order_that_cannot_be_read_leaves_everything_as_it_was(pipeline: Pipeline) -> None:
    before = pipeline.everything()
    pipeline.write("UPDATE raw_orders SET sales = 'twelve' WHERE line_no = 7")
    with pytest.raises(UsageError, match="twelve"):
        pipeline.aggregate()
    assert pipeline.everything() == before
    with pytest.raises(SourceRefused, match="twelve"):
        pipeline.differences()


def test_customers_of_a_former_order_file_leave_with_it(pipeline: Pipeline) -> None:
    pipeline.write("TRUNCATE raw_orders", BY_HAND)
    pipeline.aggregate()
    from_orders = pipeline.read("SELECT customer_id FROM customers WHERE created_at IS NULL ORDER BY 1")
    assert from_orders == [("C-1",), ("C-2",)]


def test_what_a_run_writes_keeps_the_rules_of_the_source(pipeline: Pipeline) -> None:
    pipeline.aggregate()
    found = source_quality.check(pipeline.settings)
    assert found.kept, [each for each in (*found.rules, *found.checks) if getattr(each, "verdict", "") == "fail"]
