"""Small tables side by side: each worker has sessions of its own on both sides, all in the one snapshot of the source.

An answer from a warehouse takes a round trip, whatever the table's size, and 68 small tables would be as many of them in a row. A large
table is compared by itself: all readers share it, and it is what takes memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from helpers.engines.base import DuckDB, Ends
from helpers.engines.columns import TablePlan
from helpers.source.readers import BYTES_WORTH_SHARING

Found = TypeVar("Found")

MANY_ROWS = 500_000
"""Of a table whose size is not known."""


@dataclass
class Workplace:
    """What one table after another is compared with: both sides, and where rows are compared on this machine."""

    ends: Ends
    connection: DuckDB


def is_small(table: TablePlan) -> bool:
    """Whether a table is one of many rather than one for many."""
    return sum(heap.bytes for heap in table.table.heaps) < BYTES_WORTH_SHARING and table.rows < MANY_ROWS


def found_of_each(
    tables: Sequence[TablePlan],
    workers: int,
    place: Workplace,
    another: Callable[[ExitStack], Workplace],
    compare: Callable[[Workplace, TablePlan], Found],
) -> Iterator[tuple[TablePlan, Found]]:
    """What `compare` finds of each table, as they are done.

    Args:
        workers: how many tables at once, at most.
        place: of the caller, for what is compared one after the other.
        another: makes one more.
        compare: is called with a place that nobody else uses meanwhile; its first error ends all.
    """
    small = [table for table in tables if is_small(table)]
    if min(workers, len(small)) < 2:
        small = []
    yield from _side_by_side(small, min(workers, len(small)), another, compare)
    done = {id(table) for table in small}
    for table in tables:
        if id(table) not in done:
            yield table, compare(place, table)


def _side_by_side(
    tables: Sequence[TablePlan],
    workers: int,
    another: Callable[[ExitStack], Workplace],
    compare: Callable[[Workplace, TablePlan], Found],
) -> Iterator[tuple[TablePlan, Found]]:
    if not tables:
        return
    own, opening = threading.local(), threading.Lock()
    with ExitStack() as stack:

        def work(table: TablePlan) -> Found:
            if not hasattr(own, "place"):
                with opening:  # a stack takes one at a time
                    own.place = another(stack)
            return compare(own.place, table)

        pool = ThreadPoolExecutor(workers, "verify")
        try:
            futures: dict[Future[Found], TablePlan] = {pool.submit(work, table): table for table in tables}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)
