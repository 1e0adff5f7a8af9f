"""The sample source: the legacy sales pipeline of pipeline/legacy, filled with generated sales."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import polars as pl

from helpers.errors import UsageError
from helpers.pipelines.sample import legacy
from helpers.pipelines.sample.sample_rows import STORES, Rows

GENERATOR = 1  # counts up whenever equal orders and seed no longer give equal rows
MOST_ORDERS = 100_000_000
_CHUNK = 120_000  # a multiple of 60, so that no order of twelve lines and five is cut

Report = Callable[[str, float], None]


@dataclass(frozen=True)
class SampleSummary:
    """What a finished sample is.

    Attributes:
        orders: order lines, after cleaning.
        seed: what the generator was given.
        generator: its version; equal orders, seed and version mean equal rows.
        rows: rows per table.
    """

    orders: int
    seed: int
    generator: int
    rows: dict[str, int]


def build(
    dsn: str,
    *,
    orders: int = 10_000,
    seed: int = 20240101,
    replace: bool = False,
    report: Report | None = None,
) -> SampleSummary:
    """Makes the sample in schema public, in one transaction; returns at once where it is there already.

    Args:
        dsn: the database; nothing in it is touched but what an earlier build made.
        orders: order lines after cleaning, from 1 to a hundred million.
        seed: equal seeds give equal rows on every machine.
        replace: build even where the same sample, or somebody's own orders, are loaded.
        report: called with what is being done and the fraction done.

    Raises:
        UsageError: orders out of range; own orders are loaded and `replace` was not said; somebody's own objects
            bear our names or depend on our tables.
        ConnectionFailed: the server did not answer, or went away.
    """
    what = "build the sample"
    if not 1 <= orders <= MOST_ORDERS:
        why = f"1 to {MOST_ORDERS:,} are possible"
        raise UsageError(what, on=f"orders={orders}", why=why, next_step="choose a number between")
    tell = report or (lambda _, __: None)
    rows = Rows(seed, orders)
    with legacy.transaction(dsn, what) as cursor:
        marker = legacy.read_marker(cursor)
        if marker and "file" in marker and not replace:
            why = "they would be replaced by generated ones"
            cure = "if they are not needed here any more: runbook local sample --replace"
            raise UsageError(what, on=f"the orders loaded from {marker['file']}", why=why, next_step=cure)
        found = _summary(marker)
        if found and (found.orders, found.seed, found.generator) == (orders, seed, GENERATOR) and not replace:
            return found
        legacy.drop_owned(cursor)
        legacy.run_sql(cursor, legacy.TABLES_SQL)
        _fill(cursor, rows, tell)
        cursor.execute(
            "SELECT setval('public.receipt_number', (SELECT max(receipt) FROM public.payments)),"
            "       setval(pg_get_serial_sequence('public.stores', 'store_id'), %s)",
            (STORES,),
        )
        tell("operations keys", 0.5)
        legacy.run_sql(cursor, legacy.KEYS_SQL)
        for name, done in zip(legacy.STAR_SQL, (0.55, 0.7, 0.9), strict=True):
            tell(name, done)
            legacy.run_sql(cursor, (name,))
        tell("reports", 0.95)
        legacy.run_sql(cursor, legacy.REPORTS_SQL)
        legacy.run_sql(cursor, legacy.REFRESH_SQL)
        cursor.execute("ANALYZE public.stores, public.payments, public.shipments, public.event_log")
        built = SampleSummary(orders, seed, GENERATOR, legacy.count_rows(cursor))
        legacy.write_marker(cursor, {"orders": orders, "seed": seed, "generator": GENERATOR, "rows": built.rows})
    tell("done", 1.0)
    return built


def loaded_file(dsn: str) -> str | None:
    """The file whose orders are loaded in place of generated ones, or None."""
    with legacy.transaction(dsn, "look for the sample", alone=False) as cursor:
        marker = legacy.read_marker(cursor)
    return str(marker["file"]) if marker and "file" in marker else None


def current(dsn: str) -> SampleSummary | None:
    """The finished sample in this database, or None: none, an unfinished one, or somebody's own orders.

    Raises:
        ConnectionFailed: the server did not answer.
    """
    with legacy.transaction(dsn, "look for the sample", alone=False) as cursor:
        return _summary(legacy.read_marker(cursor))


def _summary(marker: dict[str, Any] | None) -> SampleSummary | None:
    return SampleSummary(**marker) if marker and "file" not in marker else None


def _fill(cursor: Any, rows: Rows, tell: Report) -> None:
    tables = rows.tables()
    total = sum(size for size, _ in tables.values())
    done = 0
    # One thread draws the next rows while the server takes these.
    with ThreadPoolExecutor(max_workers=1) as pool:
        for table, (size, draw) in tables.items():
            ranges = list(_ranges(size))
            ahead = pool.submit(_draw_csv, draw, *ranges[0])
            for i, (start, stop) in enumerate(ranges):
                columns, data = ahead.result()
                if i + 1 < len(ranges):
                    ahead = pool.submit(_draw_csv, draw, *ranges[i + 1])
                copy_csv(cursor, table, columns, data)
                done += stop - start
                tell(table, 0.5 * done / total)


def _ranges(size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, size, _CHUNK):
        yield start, min(start + _CHUNK, size)


def _draw_csv(draw: Callable[[int, int], pl.DataFrame], start: int, stop: int) -> tuple[list[str], BytesIO]:
    frame = draw(start, stop)
    return frame.columns, to_csv(frame)


def to_csv(frame: pl.DataFrame) -> BytesIO:
    """Rows as COPY reads them: NULL is bare, and an empty text is quoted."""
    data = BytesIO()
    frame.write_csv(data, include_header=False, null_value="", quote_style="non_numeric")
    data.seek(0)
    return data


def copy_csv(cursor: Any, table: str, columns: list[str], data: BytesIO) -> None:
    """COPY of what `to_csv` made."""
    names = ", ".join(f'"{column}"' for column in columns)
    cursor.copy_expert(f'COPY public."{table}" ({names}) FROM STDIN (FORMAT csv)', data, size=1 << 20)
