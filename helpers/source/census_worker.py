"""The threads of a census: each has one connection in the caller's snapshot and counts range after range of the tables."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg2

from helpers.errors import SourceRefused
from helpers.model.catalog import Table
from helpers.platforms.postgres import savepoint
from helpers.progress import Progress
from helpers.settings import Export, Source
from helpers.source import census_scan as scanning
from helpers.source import snapshot as snapshots
from helpers.source.census import TableCensus, judge, refused_whole
from helpers.source.census_scan import Answers, Questions
from helpers.source.readers import Range

BYTES_PER_RANGE = 32 * 1024 * 1024
"""Of table, and what a further connection must have to count: 25 to 160 ms of work, by the types of the columns."""

RANGES_PER_WORKER = 64
"""Of one heap: enough to see it advance and to end together, few enough that a query's own cost does not count."""

TID_RANGES_SINCE = 140000
"""Before, PostgreSQL read a whole table for any range of its pages
(https://www.postgresql.org/docs/14/release-14.html)."""

POLL_SECONDS = 0.5
CANCEL_SECONDS = 0.1


@dataclass(frozen=True)
class Piece:
    """Rows that one query counts.

    Attributes:
        number: of the table they belong to.
        bytes: how much work it is.
    """

    number: int
    range: Range
    bytes: int = 0


def take_censuses(
    cursor: Any,
    source: Source,
    options: Export,
    snapshot: str,
    tables: Sequence[Table],
    *,
    failed: dict[str, SourceRefused] | None = None,
    progress: Progress | None = None,
) -> tuple[TableCensus, ...]:
    """The census of every table, by as many connections as there is work for, at most `options.workers`.

    Args:
        cursor: in the snapshot, with the tables locked; the only connection where there is little to count.
        source: for further connections.
        options: workers, time-outs and policies.
        snapshot: the name of the cursor's snapshot.
        tables: with the sizes of their heaps (`catalog.measured`).
        failed: is given the error of each table that could not be counted, by `schema.name`; without it, the first one is
            raised.
        progress: told about rows counted and the table that is being counted.

    Returns:
        In the order of `tables`, without those that failed.

    Raises:
        SettingsError: a policy that cannot be meant for the column it names; nothing was counted.
        ConnectionFailed, SourceRefused: see `snapshot.reading`, `snapshot.lock` and `census_scan.scan`; no query of the
            census is left running.
    """
    asked = [scanning.ask(cursor, table, options.policies) for table in tables]
    refused = {number: census for number, table in enumerate(tables) if (census := refused_whole(table))}
    every = _ranges(tables, options.workers, cursor.connection.server_version)
    ranges = [piece for piece in every if piece.number not in refused]
    work = _Work(asked, ranges, source, options, snapshot, failed)
    work.found |= refused
    worth = -(-sum(r.bytes for r in ranges) // BYTES_PER_RANGE)
    count = max(1, min(options.workers, worth, len(ranges)))
    expected = sum(table.estimated_rows for table in tables)
    with ThreadPoolExecutor(count) as pool:
        # The main thread waits in Python and not in libpq, where Ctrl-C would not reach it.
        running: set[Future[None]] = {pool.submit(work.count, cursor)}
        running |= {pool.submit(work.count_on_own_connection) for _ in range(count - 1)}
        try:
            while running:
                finished, running = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                if progress:
                    progress(work.rows, expected, f"census of {work.under_way}")
        except BaseException:
            while wait(running, timeout=CANCEL_SECONDS).not_done:
                work.cancel()
            raise
    return tuple(work.found[number] for number in range(len(tables)) if number in work.found)


def _ranges(tables: Sequence[Table], workers: int, version: int) -> list[Piece]:
    """The largest tables first, so that the end is reached by all connections at about the same time."""
    # Nobody knows how much there is behind a view.
    sizes = [sum(heap.bytes for heap in table.heaps) or (table.kind == "v") * BYTES_PER_RANGE for table in tables]
    found: list[Piece] = []
    for number in sorted(range(len(tables)), key=lambda number: -sizes[number]):
        table = tables[number]
        if not table.scanned or sizes[number] < BYTES_PER_RANGE:
            found.append(Piece(number, Range(table.sql, where=table.condition), sizes[number]))
            continue
        for heap in table.scanned:
            count = 1
            if version >= TID_RANGES_SINCE and heap.bytes >= BYTES_PER_RANGE:
                rounds = min(RANGES_PER_WORKER, -(-heap.bytes // (BYTES_PER_RANGE * workers)))
                count = max(1, min(heap.pages, rounds * workers))
            found += [
                Piece(number, Range(heap.sql, *pages, where=table.condition), heap.bytes // count)
                for pages in heap.cut(count)
            ]
    return found


class _Work:
    """What the threads of one census share."""

    def __init__(
        self, asked: Sequence[Questions], pieces: Sequence[Piece], source: Source, options: Export, snapshot: str,
        failed: dict[str, SourceRefused] | None = None,
    ) -> None:  # fmt: skip
        self.found: dict[int, TableCensus] = {}
        self.rows = 0
        self.under_way = ""
        self._asked = asked
        self._failed = failed
        self._source = source
        self._options = options
        self._snapshot = snapshot
        self._waiting = deque(pieces)
        self._left = Counter(part.number for part in pieces)
        self._answers: dict[int, Answers] = {}
        self._answering = threading.Lock()
        self._connections: list[Any] = []
        self._stopped = False

    def count(self, cursor: Any) -> None:
        """Counts until there is nothing left; the last of a table's ranges also gives its census."""
        self._connections.append(cursor.connection)
        # The operator allows so many processes of the server, not so many with further ones for each.
        cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        if self._options.statement_timeout_seconds:
            cursor.execute(f"SET LOCAL statement_timeout = {int(self._options.statement_timeout_seconds * 1000)}")
        while part := self._next():
            asked = self._asked[part.number]
            self.under_way = name = str(asked.table)
            if self._failed is None:
                self._count(cursor, part, asked)
            elif name not in self._failed:
                try:
                    with savepoint(cursor):
                        self._count(cursor, part, asked)
                except SourceRefused as error:
                    self._failed[name] = error

    def _count(self, cursor: Any, part: Piece, asked: Questions) -> None:
        complete = self._add(part.number, scanning.scan(cursor, asked, part.range.rows()))
        if complete:
            self.found[part.number] = judge(cursor, asked, complete)

    def count_on_own_connection(self) -> None:
        """The same, on a connection that is opened where there still is something to count."""
        if self._waiting:
            with snapshots.reading(self._source, self._snapshot) as cursor:
                self._connections.append(cursor.connection)
                tables = [asked.table for asked in self._asked]
                snapshots.lock(cursor, tables, timeout_seconds=self._options.lock_timeout_seconds)
                self.count(cursor)

    def cancel(self) -> None:
        """Ends the queries that run, once; another may have begun meanwhile."""
        self._stopped = True
        for connection in self._connections:
            with suppress(psycopg2.Error):
                connection.cancel()

    def _next(self) -> Piece | None:
        with suppress(IndexError):
            return None if self._stopped else self._waiting.popleft()
        return None

    def _add(self, number: int, answers: Answers) -> Answers | None:
        """The answers for the whole table, once they are complete."""
        with self._answering:
            former = self._answers.pop(number, None)
            together = former + answers if former else answers
            self._left[number] -= 1
            self.rows += answers.rows
            if not self._left[number]:
                return together
            self._answers[number] = together
            return None
