"""The sample: equal everywhere, whole or not there, and careful with what is not its own."""

from __future__ import annotations

import hashlib
import json

import polars as pl
import pytest
from psycopg2.extensions import parse_dsn
from sample_database import fingerprint, query

from helpers.errors import ConnectionFailed, UsageError
from helpers.pipelines.sample import legacy, sample
from helpers.pipelines.sample.sample_rows import Rows

DEFAULT_SAMPLE = "e44fb4f00d3370d7a8ca640cf20c491ba3bc65a307a315c2c2d08249f4af1130"


@pytest.fixture(scope="module")
def built(module_dsn: str) -> str:
    sample.build(module_dsn)
    return module_dsn


def test_equal_seed_and_orders_give_equal_rows(built: str, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_CHUNK", 660)
    query(dsn, "ALTER DATABASE " + dsn_name(dsn) + " SET datestyle TO 'SQL, DMY'")
    query(dsn, "ALTER DATABASE " + dsn_name(dsn) + " SET timezone TO 'Asia/Kathmandu'")
    assert sample.build(dsn).rows == sample.current(built).rows  # type: ignore[union-attr]
    assert fingerprint(dsn) == fingerprint(built)


def test_the_default_sample_is_the_one_the_notebooks_were_checked_with(built: str) -> None:
    """If this fails on purpose, count sample.GENERATOR up."""
    assert hashlib.sha256(json.dumps(fingerprint(built), sort_keys=True).encode()).hexdigest() == DEFAULT_SAMPLE


def test_another_seed_gives_other_rows() -> None:
    assert not Rows(1, 1000).raw_orders(0, 100).equals(Rows(2, 1000).raw_orders(0, 100))


def test_building_again_returns_at_once_and_changes_nothing(built: str) -> None:
    before = query(built, "SELECT oid FROM pg_class WHERE relname = 'fact_sales'")
    assert sample.build(built) == sample.current(built)
    assert query(built, "SELECT oid FROM pg_class WHERE relname = 'fact_sales'") == before


def test_replace_undoes_what_was_changed(dsn: str) -> None:
    sample.build(dsn, orders=500)
    before = fingerprint(dsn)
    query(dsn, "UPDATE fact_sales SET sales = sales + 1 WHERE sale_id = 7")
    sample.build(dsn, orders=500, replace=True)
    assert fingerprint(dsn) == before


@pytest.mark.parametrize("orders", [1, 11, 12, 13, 100, 101, 999, 2500])
def test_the_star_has_exactly_the_order_lines_asked_for(dsn: str, orders: int) -> None:
    rows = sample.build(dsn, orders=orders).rows
    assert (rows["raw_orders"], rows["fact_sales"], rows["sales_data"]) == (orders + orders // 100, orders, orders)


def test_totals_agree_to_the_last_digit(built: str) -> None:
    raw = """
        SELECT sum(sales::numeric), sum(quantity::int), sum(nullif(profit, '')::numeric)
        FROM raw_orders WHERE line_no IN (SELECT sale_id FROM fact_sales)
    """
    expected = query(built, raw)
    for table in ("fact_sales", "sales_data", "sales_daily", "sales_monthly"):
        assert query(built, f"SELECT sum(sales), sum(quantity), sum(profit) FROM {table}") == expected
    assert query(built, "SELECT sum(lines) FROM sales_daily") == [(10_000,)]
    by_day = "SELECT count(DISTINCT (order_date, coalesce(region, ''), category, order_id)) FROM sales_data"
    assert query(built, by_day) == query(built, "SELECT sum(orders) FROM sales_daily")


def test_cleaning_keeps_the_first_of_equal_lines(built: str) -> None:
    dropped = "SELECT line_no FROM raw_orders WHERE line_no NOT IN (SELECT sale_id FROM fact_sales) ORDER BY 1"
    assert [line for (line,) in query(built, dropped)] == [101 * (i + 1) for i in range(100)]


def test_foreign_keys_are_there_and_hold(built: str) -> None:
    keys = query(built, "SELECT conname FROM pg_constraint WHERE contype = 'f' AND convalidated AND conparentid = 0")
    assert {name for (name,) in keys} == {
        "fact_sales_customer_fk",
        "fact_sales_order_date_fk",
        "fact_sales_product_fk",
        "fact_sales_ship_date_fk",
        "payments_customer_fk",
        "payments_store_fk",
        "shipments_store_fk",
    }


def test_it_has_what_a_real_sales_database_has(built: str) -> None:
    types = query(
        built,
        """
        SELECT DISTINCT format_type(atttypid, atttypmod) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0
        """,
    )
    assert {name for (name,) in types} >= {
        *("uuid", "jsonb", "text[]", "character(3)", "numeric", "numeric(12,2)", "bytea", "boolean", "smallint"),
        *("payment_method", "timestamp with time zone", "timestamp without time zone", "double precision", "real"),
        *("date", "time without time zone", "bigint", "integer", "text"),
    }
    partitions = query(built, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'shipments'::regclass")
    assert partitions == [(7,)]
    assert query(built, "SELECT min(n) > 0 FROM (SELECT count(*) AS n FROM shipments GROUP BY tableoid) p") == [(True,)]
    assert query(built, "SELECT count(*) > count(DISTINCT e) FROM event_log e") == [(True,)]
    assert query(built, "SELECT count(*) > 0 FROM open_orders") == [(True,)]
    missing = "SELECT count(ship_date) < 10000, count(customer_id) < 10000, count(profit) < 10000, min(profit) < 0"
    assert query(built, missing + " FROM sales_data") == [(True, True, True, True)]
    assert query(built, "SELECT count(DISTINCT scale(sales)) FROM fact_sales") == [(3,)]


def test_payments_are_the_totals_of_their_orders(built: str) -> None:
    differing = """
        WITH totals AS (SELECT order_id, sum(sales) AS total FROM fact_sales GROUP BY order_id)
        SELECT count(*) FROM payments JOIN totals USING (order_id) WHERE amount <> total
    """
    assert query(built, differing) == [(0,)]
    assert query(built, "SELECT count(*) > 3000 FROM payments JOIN fact_sales USING (order_id)") == [(True,)]


def test_new_rows_take_free_numbers(built: str) -> None:
    store = """
        INSERT INTO stores (name, country, latitude, longitude, opens_at, closes_at, opened_on, floors)
        VALUES ('new', 'Germany', 0, 0, '08:00', '18:00', '2025-01-01', 1) RETURNING store_id
    """
    assert query(built, store) == [(41,)]
    query(built, "DELETE FROM stores WHERE store_id = 41")
    assert query(built, "SELECT nextval('receipt_number') > max(receipt) FROM payments") == [(True,)]


@pytest.mark.parametrize("stop_at", ["raw_orders", "payments", "30_star.sql", "reports"])
def test_a_build_that_dies_leaves_what_was_there(dsn: str, stop_at: str) -> None:
    def die(what: str, _: float) -> None:
        if what == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample.build(dsn, orders=600, report=die)
    assert sample.current(dsn) is None
    assert fingerprint(dsn) == {}

    finished = sample.build(dsn, orders=500)
    before = fingerprint(dsn)
    with pytest.raises(KeyboardInterrupt):
        sample.build(dsn, orders=600, report=die)
    assert sample.current(dsn) == finished
    assert fingerprint(dsn) == before
    assert sample.build(dsn, orders=600).rows["fact_sales"] == 600


def test_a_killed_connection_is_reported_and_leaves_nothing(dsn: str, server_dsn: str) -> None:
    def kill(what: str, _: float) -> None:
        if what == "20_clean.sql":
            query(
                server_dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", dsn_name(dsn)
            )

    with pytest.raises(ConnectionFailed):
        sample.build(dsn, orders=600, report=kill)
    assert sample.current(dsn) is None


def test_tables_of_others_stay(dsn: str) -> None:
    query(dsn, "CREATE TABLE mine (id int); INSERT INTO mine VALUES (1)")
    sample.build(dsn, orders=200)
    sample.build(dsn, orders=300)
    assert query(dsn, "SELECT * FROM mine") == [(1,)]


@pytest.mark.parametrize("theirs", ["CREATE TABLE customers (id int)", "CREATE TYPE payment_status AS ENUM ('a')"])
def test_a_name_that_is_taken_is_reported(dsn: str, theirs: str) -> None:
    query(dsn, theirs)
    with pytest.raises(UsageError, match=theirs.split()[2]):
        sample.build(dsn, orders=200)
    assert sample.current(dsn) is None


@pytest.mark.parametrize(
    "theirs", ["CREATE VIEW mine AS SELECT * FROM fact_sales", "CREATE TABLE mine (store_id int REFERENCES stores)"]
)
def test_what_depends_on_the_sample_is_named_and_kept(dsn: str, theirs: str) -> None:
    sample.build(dsn, orders=200)
    query(dsn, theirs)
    before = fingerprint(dsn)
    with pytest.raises(UsageError, match="mine"):
        sample.build(dsn, orders=300)
    assert fingerprint(dsn) == before


def test_asking_does_not_wait_for_a_build(dsn: str) -> None:
    asked: list[sample.SampleSummary | None] = []
    first = sample.build(dsn, orders=100)
    sample.build(dsn, orders=200, report=lambda *_: asked.append(sample.current(dsn)) if not asked else None)
    assert asked == [first]


@pytest.mark.parametrize("orders", [0, -1, 100_000_001])
def test_a_size_out_of_range_is_refused(dsn: str, orders: int) -> None:
    with pytest.raises(UsageError, match="100,000,000"):
        sample.build(dsn, orders=orders)


def test_no_server_is_one_clear_error() -> None:
    with pytest.raises(ConnectionFailed):
        sample.current("host=127.0.0.1 port=1 user=nobody dbname=nothing")


def test_progress_only_grows(dsn: str) -> None:
    seen: list[float] = []
    sample.build(dsn, orders=200, report=lambda _, done: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_every_sql_file_is_run() -> None:
    listed = [*legacy.TABLES_SQL, *legacy.KEYS_SQL, *legacy.STAR_SQL, *legacy.REPORTS_SQL, *legacy.REFRESH_SQL]
    assert sorted(listed) == sorted(path.name for path in legacy.SQL_FOLDER.glob("*.sql"))


@pytest.mark.slow
def test_a_million_lines_in_a_minute(dsn: str) -> None:
    rows = sample.build(dsn, orders=1_000_000).rows
    assert rows["fact_sales"] == 1_000_000


@pytest.mark.parametrize("orders", [10_000, 100_000_000])
def test_rows_do_not_depend_on_where_a_chunk_begins(orders: int) -> None:
    rows = Rows(7, orders)
    for size, draw in rows.tables().values():
        whole = draw(0, min(size, 240))
        parts = [draw(start, min(start + 60, size, 240)) for start in range(0, min(size, 240), 60)]
        assert whole.equals(pl.concat(parts))


def dsn_name(dsn: str) -> str:
    return str(parse_dsn(dsn)["dbname"])
