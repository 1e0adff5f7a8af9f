"""Order files: every dialect gives the same rows, and a bad row is named before anything changes."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples
from sample_database import fingerprint, query

from helpers.errors import SourceRefused, UsageError
from helpers.local import stack
from helpers.pipelines.sample import order_columns, sample
from helpers.pipelines.sample.order_columns import COLUMNS
from helpers.pipelines.sample.order_file import open_orders
from helpers.pipelines.sample.orders import load_orders

FOLDER = Path(__file__).parent / "orders"
HEADER = list(COLUMNS.values())
LINES = "SELECT * FROM sales_data ORDER BY order_line"
Row = dict[str, Any]


def row(**values: Any) -> Row:
    plain: Row = {
        "order_id": "A-1",
        "order_date": dt.date(2024, 3, 14),
        "ship_date": dt.date(2024, 3, 16),
        "customer_id": "C-1",
        "product_id": "P-1",
        "category": "Büro",
        "region": "NA",
        "country": "Curaçao",
        "sales": Decimal("1234.50"),
        "quantity": 3,
        "profit": Decimal("-41.9136"),
    }
    return plain | values


ROWS = [row(), row(order_id="A-2", ship_date=None, profit=None, customer_id=""), row(order_id="A-2", product_id="P-2")]

DATES: dict[str, str] = {
    "iso": "{0:%Y-%m-%d}",
    "iso slashes": "{0:%Y/%m/%d}",
    "day-first": "{0:%d/%m/%Y}",
    "day-first dots": "{0.day}.{0.month}.{0.year}",
    "month-first": "{0.month}/{0.day}/{0.year}",
    "midnight": "{0:%Y-%m-%d} 00:00:00",
}
NUMBERS: dict[str, Callable[[Decimal], str]] = {
    "point": str,
    "comma": lambda n: str(n).replace(".", ","),
    "grouped point": lambda n: f"{n:,}",
    "grouped comma": lambda n: f"{n:,}".translate(str.maketrans(",.", ".,")),
    "spaces": lambda n: f"{n:,}".replace(",", "\u202f").replace(".", ","),
    "swiss": lambda n: f"{n:,}".replace(",", "’"),
    "dollars": lambda n: f"${n:,}" if n >= 0 else f"-${-n:,}",
    "accountant": lambda n: f"{n:,}" if n >= 0 else f"({-n:,})",
    "euros": lambda n: f"{n:,}".translate(str.maketrans(",.", ".,")) + " €",
}


def written(
    rows: list[Row],
    *,
    separator: str = ",",
    encoding: str = "utf-8",
    dates: str = "iso",
    numbers: str = "point",
    header: list[str] | None = None,
    newline: str = "\r\n",
) -> bytes:
    def text(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, dt.date):
            return DATES[dates].format(value)
        return NUMBERS[numbers](value) if isinstance(value, Decimal) else str(value)

    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, lineterminator=newline)
    writer.writerow(header or HEADER)
    writer.writerows([text(one[name]) for name in COLUMNS] for one in rows)
    return file.getvalue().encode(encoding)


def expected(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [tuple(one[name] if one[name] != "" else None for name in COLUMNS) for one in rows]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orders.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_separator_and_encoding(module_dsn: str, file: Path, separator: str, encoding: str) -> None:
    file.write_bytes(written(ROWS, separator=separator, encoding=encoding, numbers="comma"))
    loaded = load_orders(module_dsn, file)
    assert (loaded.rows, loaded.lines, loaded.dialect.separator, loaded.dialect.encoding) == (3, 3, separator, encoding)
    assert [line[1:12] for line in query(module_dsn, LINES)] == expected(ROWS)


@pytest.mark.parametrize("dates", DATES)
@pytest.mark.parametrize("numbers", NUMBERS)
def test_dates_and_numbers(module_dsn: str, file: Path, dates: str, numbers: str) -> None:
    file.write_bytes(written(ROWS, separator=";", dates=dates, numbers=numbers))
    loaded = load_orders(module_dsn, file)
    assert loaded.dialect.guessed == ()
    assert [line[1:12] for line in query(module_dsn, LINES)] == expected(ROWS)


texts = st.text(st.characters(codec="cp1252", exclude_categories=("Cc",)), max_size=8).map(str.strip)
ids = texts.filter(lambda text: text != "" and text.lower() != "n/a")
days = st.dates(dt.date(1900, 1, 1), dt.date(2199, 12, 31))
amounts = st.decimals(-10_000_000, 10_000_000, places=4)
some_rows = st.lists(
    st.fixed_dictionaries(
        {
            "order_id": ids,
            "order_date": days,
            "ship_date": st.none() | days,
            "customer_id": texts.filter(lambda text: text.lower() != "n/a"),
            "product_id": ids,
            "category": texts | st.just('5" shelf,\nor; two'),
            "region": texts,
            "country": texts,
            "sales": amounts,
            "quantity": st.integers(-999_999_999, 999_999_999),
            "profit": st.none() | amounts,
        }
    ),
    min_size=1,
    max_size=8,
)


@examples(15)
@given(
    rows=some_rows,
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    dates=st.sampled_from(["iso", "day-first", "month-first", "midnight"]),
    numbers=st.sampled_from(["point", "comma", "grouped point", "grouped comma", "accountant"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_any_orders_in_any_dialect_come_out_as_they_were(
    module_dsn: str, file: Path, rows: list[Row], separator: str, encoding: str, dates: str, numbers: str, newline: str
) -> None:
    proof = row(sales=Decimal("-1234567.8901"))  # a day above 12, a group and a fraction: nothing is left to guess
    rows = [*rows, proof]
    file.write_bytes(
        written(rows, separator=separator, encoding=encoding, dates=dates, numbers=numbers, newline=newline)
    )
    loaded = load_orders(module_dsn, file)
    assert loaded.rows == len(rows)
    once = list(dict.fromkeys(expected(rows)))
    got = [line[1:12] for line in query(module_dsn, LINES)]
    assert got == once
    assert query(module_dsn, "SELECT sum(sales) FROM sales_monthly") == [(sum(line[8] for line in once),)]


def test_a_superstore_file(dsn: str) -> None:
    loaded = load_orders(dsn, FOLDER / "superstore.csv")
    assert (loaded.rows, loaded.lines, loaded.skipped) == (9, 8, 0)
    assert (loaded.dialect.encoding, loaded.dialect.date_order, loaded.dialect.guessed) == ("cp1252", "month-first", ())
    assert loaded.ignored == (
        *("Row ID", "Ship Mode", "Customer Name", "Segment", "City", "State", "Postal Code"),
        *("Sub-Category", "Product Name", "Discount"),
    )
    first = query(dsn, "SELECT order_id, order_date, sales, profit FROM sales_data ORDER BY order_line LIMIT 1")
    assert first == [("CA-2023-104233", dt.date(2023, 11, 8), Decimal("261.9600"), Decimal("41.9136"))]
    assert query(dsn, "SELECT count(*) FROM customers WHERE created_at IS NULL") == [(4,)]


@pytest.mark.parametrize(
    ("name", "fragments"),
    [
        ("empty", ["empty"]),
        ("header_only", ["header", "no row"]),
        (
            "columns_missing",
            ["no column Product ID, Sales", "Order ID, Order Date, Customer", "--map 'Product ID=…,Sales=…'"],
        ),
        ("column_twice", ["more than one column Sales"]),
        ("no_such_file", ["No such file"]),
        ("spreadsheet", ["spreadsheet"]),
        ("other_bytes", ["neither UTF-8"]),
    ],
)
def test_a_file_that_is_none_is_refused_with_a_reason(
    dsn: str, tmp_path: Path, name: str, fragments: list[str]
) -> None:
    contents = {
        "empty": b" \n",
        "header_only": written([]),
        "columns_missing": b"Order ID;Order Date;Customer;Shelf;Quantity\n1;2\n",
        "column_twice": written(ROWS, header=[*HEADER[:-1], "SALES"]).replace(
            b"Quantity,SALES", b"Quantity,Profit,SALES"
        ),
        "spreadsheet": b"PK\x03\x04 and so on",
        "other_bytes": written(ROWS).replace("ü".encode(), b"\x81"),
    }
    path = tmp_path / f"{name}.csv"
    if name in contents:
        path.write_bytes(contents[name])
    with pytest.raises(UsageError) as caught:
        load_orders(dsn, path)
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert fingerprint(dsn) == {}


DEALER = (
    b"ORDERNUMBER,QUANTITYORDERED,PRICEEACH,SALES,ORDERDATE,STATUS,PRODUCTLINE,PRODUCTCODE,CUSTOMERNAME,COUNTRY,TERRITORY\n"
    b"10107,30,95.7,2871,2/24/2003,Shipped,Motorcycles,S10_1678,Land of Toys,USA,NA\n"
    b"10121,34,81.35,2765.9,5/7/2003,Shipped,Motorcycles,S10_1678,Reims,France,EMEA\n"
    b"10121,34,81.35,2765.90,5/7/2003,On Hold,Motorcycles,S10_1678,Reims,France,EMEA\n"
)
"""The header of a dealer's orders, as many such files have it."""


def test_columns_that_are_called_otherwise_are_told_by_their_likeness_and_taken_once_somebody_says_so(
    dsn: str, file: Path
) -> None:
    file.write_bytes(DEALER)
    guessed = open_orders(file).guessed
    assert guessed == {
        "Order ID": "ORDERNUMBER", "Product ID": "PRODUCTCODE", "Category": "PRODUCTLINE", "Region": "TERRITORY",
        "Quantity": "QUANTITYORDERED", "Customer ID": "CUSTOMERNAME",
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"Order ID is ORDERNUMBER.*--map 'Order ID=ORDERNUMBER") as caught:
        load_orders(dsn, file)
    assert fingerprint(dsn) == {}
    option = caught.value.next_step.partition("--map '")[2].rpartition("'")[0]
    loaded = load_orders(dsn, file, columns=order_columns.parse([option]))
    assert loaded.missing == ("Ship Date", "Profit") and loaded.ignored == ("PRICEEACH", "STATUS")
    assert query(
        dsn, "SELECT order_id, product_id, category, region, sales, quantity, profit FROM sales_data ORDER BY 1"
    ) == [
        ("10107", "S10_1678", "Motorcycles", "NA", Decimal(2871), 30, None),
        ("10121", "S10_1678", "Motorcycles", "EMEA", Decimal("2765.9"), 34, None),
    ]
    assert [str(each) for each in loaded.repeats] == ["line 4: order 10121, product S10_1678"]


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("Order ID", "no NAME=COLUMN"),
        ("Colour=SALES", "no column 'Colour'"),
        ("Sales=A,sales=B", "sales is given twice"),
        ("Sales=TOTAL", "no column TOTAL; the first line has: ORDERNUMBER"),
        ("Sales=PRICEEACH,Profit=PRICEEACH", "PRICEEACH would be two columns"),
    ],
)
def test_a_mapping_that_means_nothing_is_refused(dsn: str, file: Path, option: str, why: str) -> None:
    file.write_bytes(DEALER)
    with pytest.raises(UsageError, match=why):
        load_orders(dsn, file, columns=order_columns.parse([option]))
    assert fingerprint(dsn) == {}


def test_nobody_is_asked_where_there_is_no_terminal(
    dsn: str, file: Path, runbook: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(DEALER)
    monkeypatch.setattr(stack, "environment", lambda: SimpleNamespace(postgres_dsn=dsn))
    refused = runbook("local", "load-orders", str(file))
    assert refused.returncode == 2 and "--map 'Order ID=ORDERNUMBER," in refused.stderr and fingerprint(dsn) == {}
    taken = runbook("local", "load-orders", str(file), "--yes")
    assert taken.returncode == 0 and "3 rows loaded as 2 order lines" in taken.stderr
    assert "ORDERNUMBER" in taken.stderr and "line 4: order 10121, product S10_1678" in taken.stderr


def test_names_of_columns_in_any_case_and_order(dsn: str, file: Path) -> None:
    file.write_text(
        "sep=|\nPROFIT|quantity|Sales|country|REGION|category|product_id|CustomerID|ship-date|order_date|ORDER ID|more\n"
        "1|2|3.5|DE|EU|x|P|C|2024-02-03|2024-02-01|O|\n"
    )
    loaded = load_orders(dsn, file)
    assert loaded.ignored == ("more",)
    assert query(dsn, "SELECT line_no, order_id, sales, profit, quantity FROM raw_orders") == [
        (3, "O", "3.5", "1", "2")
    ]


BAD = (
    FOLDER / "bad_rows.csv",
    {4: "Sales", 7: "Order Date", 9: "Order ID", 10: "row", 12: "Quantity", 13: "row", 14: "Ship Date"},
)


def test_bad_rows_are_named_by_physical_line_and_nothing_changes(dsn: str) -> None:
    sample.build(dsn, orders=200)
    before = fingerprint(dsn)
    path, bad = BAD
    with pytest.raises(SourceRefused) as caught:
        load_orders(dsn, path)
    for line, column in bad.items():
        assert f"line {line}: {column}" in str(caught.value)
    assert str(caught.value).count("line ") == len(bad)
    assert "7 bad rows" in str(caught.value)
    assert fingerprint(dsn) == before
    assert sample.current(dsn) is not None


def test_bad_rows_are_skipped_when_asked(dsn: str) -> None:
    path, bad = BAD
    loaded = load_orders(dsn, path, skip_bad_rows=True)
    assert (loaded.rows, loaded.skipped) == (4, 7)
    assert {found.line: found.column for found in loaded.bad_rows} == bad
    assert [line for (line,) in query(dsn, "SELECT line_no FROM raw_orders ORDER BY 1")] == [2, 5, 8, 11]


def test_only_twenty_bad_rows_are_shown(dsn: str, file: Path) -> None:
    file.write_bytes(written([row(sales="much", profit="little")] * 30))
    with pytest.raises(SourceRefused) as caught:
        load_orders(dsn, file)
    assert "30 bad rows" in str(caught.value)
    assert str(caught.value).count("\n  line ") == 20


def test_an_open_quote_is_never_skipped(dsn: str, file: Path) -> None:
    file.write_bytes(written(ROWS).replace(b"P-1", b'"P-1', 1))
    for skip in (False, True):
        with pytest.raises(SourceRefused, match="line 2: a quoted field"):
            load_orders(dsn, file, skip_bad_rows=skip)


def test_contradicting_dates_are_bad_rows(dsn: str, file: Path) -> None:
    dates = ["14/03/2024", "15/03/2024", "03/16/2024"]
    file.write_bytes(written([row(order_date=date, ship_date=None) for date in dates]))
    with pytest.raises(SourceRefused, match="line 4: Order Date '03/16/2024'"):
        load_orders(dsn, file)


@pytest.mark.parametrize(
    ("separator", "order", "ship", "day_first", "read", "guessed"),
    [
        (",", "3/4/2024", "", None, (3, 4), True),
        (";", "3/4/2024", "", None, (4, 3), True),
        (",", "3.4.2024", "", None, (4, 3), True),
        (",", "3/4/2024", "", True, (4, 3), False),
        (";", "3/4/2024", "", False, (3, 4), False),
        (",", "3/4/2024", "2/5/2024", None, (4, 3), False),
    ],
)
def test_ambiguous_dates(
    dsn: str,
    file: Path,
    separator: str,
    order: str,
    ship: str,
    day_first: bool | None,
    read: tuple[int, int],
    guessed: bool,
) -> None:
    file.write_bytes(written([row(order_date=order, ship_date=ship)], separator=separator))
    loaded = load_orders(dsn, file, day_first=day_first)
    assert query(dsn, "SELECT order_date FROM sales_data") == [(dt.date(2024, *read),)]
    assert ("date order" in loaded.dialect.guessed) == guessed


@pytest.mark.parametrize(
    "value",
    ["1.2.3", "12 34", "1,23,456", "NaN", "inf", "1e5", "--1", "0x10", "1/2", "٣", "1" * 50, "12,5", "$", "(1", "1)"],
)
def test_what_is_no_amount_is_refused(dsn: str, file: Path, value: str) -> None:
    file.write_bytes(written([row(), row(), row(), row(sales=value)]))
    with pytest.raises(SourceRefused, match="line 5: Sales"):
        load_orders(dsn, file)


@pytest.mark.parametrize(
    "value", ["2024-02-30", "31/12/24", "2024-01-01 13:45", "14/03/0024", "9999-01-01", "today", ""]
)
def test_what_is_no_day_is_refused(dsn: str, file: Path, value: str) -> None:
    file.write_bytes(written([row(), row(order_date=value)]))
    with pytest.raises(SourceRefused, match="line 3: Order Date"):
        load_orders(dsn, file)


@pytest.mark.parametrize(("value", "kept"), [("3.0", 3), ("1,000", 1000), ("-2", -2), ("0", 0)])
def test_quantities(dsn: str, file: Path, value: str, kept: int) -> None:
    file.write_bytes(written([row(quantity=value)]))
    load_orders(dsn, file)
    assert query(dsn, "SELECT quantity FROM fact_sales") == [(kept,)]


def test_a_product_with_two_categories_takes_the_more_frequent(dsn: str, file: Path) -> None:
    categories = ["b", "a", "a", "b", "", ""]
    file.write_bytes(written([row(order_id=f"O{i}", category=name) for i, name in enumerate(categories)]))
    load_orders(dsn, file)
    assert query(dsn, "SELECT product_id, category FROM dim_product") == [("P-1", "a")]
    assert query(dsn, "SELECT count(*) FROM fact_sales") == [(6,)]


def test_loading_replaces_and_a_later_build_asks(dsn: str, file: Path) -> None:
    sample.build(dsn, orders=200)
    payments = fingerprint(dsn)["payments"]
    file.write_bytes(written(ROWS))
    load_orders(dsn, file)
    load_orders(dsn, file)
    assert query(dsn, "SELECT count(*) FROM raw_orders") == [(3,)]
    assert query(dsn, "SELECT count(*) FROM customers WHERE created_at IS NULL") == [(1,)]
    assert query(dsn, "SELECT sum(sales) FROM product_ranking") == [(Decimal("3703.50"),)]
    assert fingerprint(dsn)["payments"] == payments
    assert sample.current(dsn) is None
    with pytest.raises(UsageError, match=r"orders\.csv"):
        sample.build(dsn, orders=200)
    sample.build(dsn, orders=200, replace=True)
    assert sample.current(dsn) is not None
    assert query(dsn, "SELECT count(*) FROM customers WHERE created_at IS NULL") == [(0,)]


def test_own_tables_that_reference_the_star_are_named(dsn: str, file: Path) -> None:
    sample.build(dsn, orders=200)
    query(dsn, "CREATE TABLE mine (sale bigint REFERENCES fact_sales)")
    file.write_bytes(written(ROWS))
    with pytest.raises(UsageError, match="mine"):
        load_orders(dsn, file)
    assert sample.current(dsn) is not None


def test_the_sample_survives_its_own_csv(dsn: str, databases: Callable[[], str], file: Path) -> None:
    sample.build(dsn, orders=3_000)
    names = ", ".join(COLUMNS)
    file.write_bytes(
        written(
            [
                dict(zip(COLUMNS, line, strict=True))
                for line in query(dsn, f"SELECT {names} FROM raw_orders ORDER BY line_no")
            ]
        )
    )
    again = databases()
    load_orders(again, file)
    for table in ("dim_date", "dim_product", "sales_daily", "sales_monthly", "product_ranking"):
        assert fingerprint(again)[table] == fingerprint(dsn)[table]


@pytest.mark.slow
def test_a_million_rows(dsn: str, file: Path) -> None:
    many = (row(order_id=f"O-{i}", product_id=f"P-{i % 5000}") for i in range(1_000_000))
    file.write_bytes(written(list(many), dates="month-first", numbers="grouped point"))
    assert load_orders(dsn, file).lines == 1_000_000
