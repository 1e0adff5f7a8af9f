"""Large tables, wide ones and large values take time, not memory.

Would catch: rows that are all held at once, a summary that needs every difference in memory, a whole table that is fetched
for a few differences, an expression that grows beyond an engine's limits with the number of columns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from profile_support import whole_profile

from helpers.platforms import postgres
from helpers.settings import Settings
from helpers.verify import Options

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

GIGABYTE_IN_KB = 1024 * 1024
ROWS = 1_000_000

ORDERS = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, customer int, product text, city varchar(40), price numeric(12,2), quantity smallint, "
    "discount double precision, ordered date, shipped timestamp, paid timestamptz, open boolean)",
    f"""INSERT INTO orders SELECT i, i % 5000, 'product ' || i % 300, 'city ' || i % 97, i % 100000 / 7.0, i % 9, i % 11 / 10.0,
        date '2020-01-01' + i % 2000, timestamp '2020-01-01' + i * interval '1 second', timestamptz '2020-01-01 00:00+00' + i * interval '1 second',
        i % 2 = 0 FROM generate_series(1, {ROWS}) i""",
)  # fmt: skip


@pytest.fixture(scope="module")
def orders(fresh_migration: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    with fresh_migration() as migration:
        migration.source(*ORDERS)
        migration.migrate()
        migration.target('CREATE TABLE "sound" AS SELECT * FROM "orders"')
        yield migration


# Asked of the process itself: what `wait4` says of a child counts the memory of the parent that it was forked from.
MEASURED = """
import atexit, re, runpy, sys
from pathlib import Path

peak = Path(sys.argv.pop(1))
atexit.register(lambda: peak.write_text(re.search("VmHWM:\\\\s*([0-9]+)", Path("/proc/self/status").read_text())[1]))
runpy.run_module("helpers", run_name="__main__")
"""


def command(settings: Settings, folder: Path, *arguments: str) -> tuple[int, Any, int]:
    """`runbook verify --json` in a process of its own: its exit code, what it printed, and the most memory it had, in KB."""
    text, secrets = whole_profile(settings, "t")
    (folder / "migration.toml").write_text(text)
    process = subprocess.run(
        [sys.executable, "-c", MEASURED, str(folder / "peak"), "verify", "--profile", "t", "--json", *arguments],
        cwd=folder,
        env={**os.environ, **secrets},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    report = json.loads(process.stdout)
    assert "error" not in report, report["error"]
    return process.returncode, report, int((folder / "peak").read_text())


def test_a_million_rows_that_all_differ_end_with_a_summary_and_a_file(orders: Any, tmp_path: Path) -> None:
    orders.target(
        'UPDATE "orders" SET "customer" = -1 - "customer", "product" = "product" || \'!\', "city" = UPPER("city"), "price" = "price" + 1, '
        '"quantity" = "quantity" + 10, "discount" = "discount" + 1, "ordered" = DATEADD(day, 1, "ordered"), '
        '"shipped" = DATEADD(hour, 1, "shipped"), "paid" = DATEADD(hour, 1, "paid"), "open" = NOT "open"'
    )
    code, report, memory = command(orders.settings, tmp_path)
    orders.target('DELETE FROM "orders"', 'INSERT INTO "orders" SELECT * FROM "sound"')
    (table,) = (t for t in report["tables"] if t["name"] == "orders")
    assert (code, table["verdict"]) == (1, "different")
    assert (table["missing"], table["extra"], table["changed"], table["changed_since"]) == (0, 0, ROWS, 0)
    assert {name: column["changed"] for name, column in table["columns"].items()} == {
        name: 0 if name == "id" else ROWS for name in table["columns"]
    }
    assert len(table["cells"]) == 1000
    cells = pq.ParquetFile(table["cells_file"])
    assert cells.metadata.num_rows == 10 * ROWS
    Path(table["cells_file"]).unlink()
    assert memory < GIGABYTE_IN_KB, f"{memory / 1024:.0f} MB"


def test_a_target_without_any_row_in_common(orders: Any, tmp_path: Path) -> None:
    """Every key is another one: as many missing rows as extra ones, in every column."""
    orders.target(f'UPDATE "orders" SET "id" = "id" + {10 * ROWS}')
    code, report, memory = command(orders.settings, tmp_path)
    orders.target('DELETE FROM "orders"', 'INSERT INTO "orders" SELECT * FROM "sound"')
    (table,) = (t for t in report["tables"] if t["name"] == "orders")
    assert (code, table["missing"], table["extra"], table["changed"]) == (1, ROWS, ROWS, 0)
    assert pq.ParquetFile(table["cells_file"]).metadata.num_rows == 2 * 11 * ROWS
    Path(table["cells_file"]).unlink()
    assert memory < GIGABYTE_IN_KB, f"{memory / 1024:.0f} MB"


def test_a_thousand_scattered_changes_fetch_a_hundred_rows_each_at_most(orders: Any, tmp_path: Path) -> None:
    orders.target('UPDATE "orders" SET "price" = "price" + 1 WHERE "id" % 1000 = 7')
    code, report, memory = command(orders.settings, tmp_path)
    (table,) = (t for t in report["tables"] if t["name"] == "orders")
    assert (code, table["missing"], table["extra"], table["changed"]) == (1, 0, 0, 1000)
    assert table["fetched"] <= 100 * 1000
    assert {int(cell["key"]["id"]) % 1000 for cell in table["cells"]} == {7}
    assert memory < GIGABYTE_IN_KB, f"{memory / 1024:.0f} MB"
    # Just below the share of segments from which on all rows are fetched.
    orders.target('UPDATE "orders" SET "price" = "price" + 1 WHERE "id" % 90 = 1')
    code, report, memory = command(orders.settings, tmp_path)
    (table,) = (t for t in report["tables"] if t["name"] == "orders")
    assert (code, table["missing"], table["extra"]) == (1, 0, 0)
    assert table["changed"] == sum(1 for n in range(1, ROWS + 1) if (n % 1000 == 7) or (n % 90 == 1))
    assert memory < GIGABYTE_IN_KB, f"{memory / 1024:.0f} MB"
    orders.target('DELETE FROM "orders"', 'INSERT INTO "orders" SELECT * FROM "sound"')


def test_a_million_rows_without_a_key_that_all_differ(
    fresh_migration: Callable[..., AbstractContextManager[Any]], tmp_path: Path
) -> None:
    with fresh_migration() as migration:
        migration.source("CREATE TABLE heap (a int, b text, c numeric(12,2))", f"INSERT INTO heap SELECT i, 'text ' || i, i / 7.0 FROM generate_series(1, {ROWS}) i")  # fmt: skip
        migration.migrate()
        migration.target('UPDATE "heap" SET "b" = "b" || \'!\'')
        code, report, memory = command(migration.settings, tmp_path)
        (table,) = report["tables"]
        assert (code, table["missing"], table["extra"], table["changed"]) == (1, ROWS, ROWS, 0)
        Path(table["cells_file"]).unlink()
        assert memory < GIGABYTE_IN_KB, f"{memory / 1024:.0f} MB"


def test_a_million_changes_of_the_source_since(orders: Any, tmp_path: Path) -> None:
    orders.source("UPDATE orders SET quantity = quantity + 1")
    try:
        code, report, memory = command(orders.settings, tmp_path)
    finally:
        orders.source("UPDATE orders SET quantity = quantity - 1")
    (table,) = (t for t in report["tables"] if t["name"] == "orders")
    assert (code, table["missing"], table["extra"], table["changed"], table["changed_since"]) == (1, 0, 0, 0, ROWS)
    assert memory < GIGABYTE_IN_KB, f"{memory / 1024:.0f} MB"


@pytest.mark.parametrize(
    "way", [{}, {"options": Options(witness=True)}, {"target": "stage"}], ids=["snowflake", "inside", "stage"]
)
def test_as_many_columns_as_a_table_has(migration: Any, way: dict[str, Any]) -> None:
    kinds = ["int", "text", "numeric(30,4)", "timestamptz", "real", "date", "boolean", "bytea"]
    columns = ", ".join(f"c{n} {kinds[n % len(kinds)]}" for n in range(1599))
    migration.source(
        f"CREATE TABLE wide (id int PRIMARY KEY, {columns})",
        "INSERT INTO wide (id, c0, c1, c2, c3, c4, c5, c6, c7, c1592, c1593) SELECT i, i, 'é', i, '2024-01-01', i * 0.1, '2024-01-01', true, '\\x00', i, 'end' "
        "FROM generate_series(1, 300) i",
    )  # fmt: skip
    migration.migrate()
    (table,) = migration.verify(**way).tables
    assert (table.verdict, table.fetched) == ("equal", 0)
    if way.get("target") == "stage":
        return
    migration.target(
        'UPDATE "wide" SET "c1593" = \'END\' WHERE "id" = 7', 'UPDATE "wide" SET "c1598" = TRUE WHERE "id" = 8'
    )
    (table,) = migration.verify(**way).tables
    assert {(c.key["id"], c.column, c.source, c.target) for c in table.cells if c.key} == {
        ("7", "c1593", "end", "END"), ("8", "c1598", None, "true"),
    }  # fmt: skip


def test_a_text_of_fifty_megabytes(migration: Any) -> None:
    """Larger than Snowflake takes, so against another PostgreSQL."""
    name = f"{migration.settings.source.dbname}_copy"
    migration.source(f"CREATE DATABASE {name}")
    copy = migration.settings.source.model_copy(update={"dbname": name})
    made = (
        "CREATE TABLE public.large (id int PRIMARY KEY, body text, raw bytea)",
        "INSERT INTO public.large SELECT i, 'short', '\\x00' FROM generate_series(1, 50) i",
        "INSERT INTO public.large SELECT 1000, string_agg(md5(i::text), ''), NULL FROM generate_series(1, 1600000) i",
    )
    migration.source(*made)
    with closing(postgres.connect(copy, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for statement in made:
            cursor.execute(statement)
        try:
            for witness in (False, True):
                options = {"target_source": copy, "options": Options(witness=witness)}
                (table,) = migration.verify("postgresql", **options).tables
                assert (table.verdict, table.fetched) == ("equal", 0)
            cursor.execute(
                "UPDATE public.large SET body = overlay(body placing 'X' from 51000000 for 1) WHERE id = 1000"
            )
            (table,) = migration.verify("postgresql", target_source=copy).tables
            assert [(c.key, c.column) for c in table.cells] == [({"id": "1000"}, "body")]
            (cell,) = table.cells
            assert cell.source and cell.target and len(cell.source) == len(cell.target) == 51_200_000
        finally:
            connection.close()
            migration.drop(name)
