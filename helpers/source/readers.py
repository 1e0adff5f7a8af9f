"""Several DuckDB connections to one PostgreSQL server, all in one snapshot, and the ranges of a table they share out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

import duckdb
import psycopg2

from helpers.errors import MigrationError
from helpers.model import catalog
from helpers.model.catalog import Heap, Table, page_condition
from helpers.platforms import duck, pg_session, postgres
from helpers.settings import Export, Source
from helpers.source import snapshot as snapshots

BYTES_PER_RANGE = 512 * 1024 * 1024
"""Of table: about 100 to 250 MB of Parquet, the size that Snowflake's documentation asks for
(https://docs.snowflake.com/en/user-guide/data-load-considerations-prepare)."""

BYTES_WORTH_SHARING = 64 * 1024 * 1024
"""A heap of this size is read by all workers at once; below it, starting a second reader costs more than it saves."""

MEMORY_OF_ALL, LEAST_MEMORY, MOST_MEMORY = 900, 96, 384
"""MB of DuckDB for all readers, and bounds for each; libpq and an upload's parts come on top, and together they stay under
the 1.5 GB of the design."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Range:
    """The rows of a relation between two pages, or all of them.

    Attributes:
        relation: as SQL, what follows FROM.
        end_page: None for an open end.
        pages: how much work it is.
        where: a condition that its rows meet, beside the pages.
    """

    relation: str
    first_page: int = 0
    end_page: int | None = None
    pages: int = 0
    where: str = ""

    @property
    def condition(self) -> str:
        """The condition on `ctid`, empty for a whole relation."""
        return page_condition(self.first_page, self.end_page)

    def rows(self, where: str = "") -> str:
        """What follows FROM, with a further condition."""
        conditions = " AND ".join(filter(None, (self.condition, self.where, where)))
        return f"{self.relation}{f' WHERE {conditions}' if conditions else ''}"


def ranges(table: Table, workers: int) -> tuple[Range, ...]:
    """Cuts a table: a range for each heap, and several for one that is larger than a file should be or worth sharing.

    Args:
        table: with the size of its heaps, see `catalog.measured`; only the rows that move are in the ranges.
        workers: how many readers there are.
    """
    if table.kind == "v":
        return (Range(table.sql, where=table.condition),)
    return tuple(
        Range(heap.sql, low, high, (high or heap.pages) - low, table.condition)
        for heap in table.scanned
        for low, high in heap.cut(_range_count(heap, workers))
    )


def _range_count(heap: Heap, workers: int) -> int:
    shared = workers if heap.bytes >= BYTES_WORTH_SHARING else 1
    return max(1, min(heap.pages, max(shared, -(-heap.bytes // BYTES_PER_RANGE))))


class Readers:
    """A pool of threads, each with a connection of its own to `source`, in `snapshot`, the tables locked.

    Args:
        tables: locked by every reader at its start, so that none queues for a lock behind an ALTER that waits for
            another to end.
        application: the sessions' name in `pg_stat_activity`.
        prepare: called with each new connection.
        memory: MB of DuckDB for all of them.
    """

    def __init__(
        self,
        source: Source,
        options: Export,
        snapshot: str,
        tables: Sequence[Table],
        *,
        application: str | None = None,
        prepare: Callable[[duckdb.DuckDBPyConnection], Any] | None = None,
        memory: int = MEMORY_OF_ALL,
    ) -> None:
        self._source = source
        self._options = options
        self._snapshot = snapshot
        self._tables = tables
        self.application = application or f"migration-runbooks reader {uuid4().hex[:8]}"
        self.workers = options.workers
        self._prepare = prepare
        self._memory = max(LEAST_MEMORY, min(MOST_MEMORY, memory // options.workers))
        self._local = threading.local()
        self._all: list[duckdb.DuckDBPyConnection] = []
        self._stopped = False
        self.pool = ThreadPoolExecutor(options.workers)

    def __enter__(self) -> Readers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.interrupt()
        self.close()

    def map(self, work: Callable[[duckdb.DuckDBPyConnection, Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`work` on each of `items`, by any reader; the results in the order of the items."""
        return self.pool.map(lambda item: work(self.connection(), item), items)

    def connection(self) -> duckdb.DuckDBPyConnection:
        """This thread's own.

        Raises:
            duckdb.Error: the server, the snapshot or a lock is not to be had.
            SessionRefused: a setting does not hold.
        """
        if self._stopped:
            raise duckdb.InterruptException("the reading was stopped")
        if not hasattr(self._local, "connection"):
            connection = duck.connect(memory=f"{self._memory}MB", threads=1)
            self._all.append(connection)
            own = {
                "lock_timeout": str(int(self._options.lock_timeout_seconds * 1000)),
                "statement_timeout": str(int(self._options.statement_timeout_seconds * 1000)),
                "restrict_nonsystem_relation_kind": pg_session.restriction(catalog.kinds_read(self._tables)),
            }
            duck.attach_postgres(connection, self._source, self._snapshot, application=self.application, settings=own)
            if self._tables:
                duck.execute_remotely(connection, "; ".join(snapshots.lock_statement(table) for table in self._tables))
            if self._prepare:
                self._prepare(connection)
            self._local.connection = connection
        mine: duckdb.DuckDBPyConnection = self._local.connection
        return mine

    def renew(self) -> None:
        """Ends this thread's connection, so that its next reading has another."""
        if hasattr(self._local, "connection") and not self._stopped:
            mine = self._local.connection
            del self._local.connection
            self._all.remove(mine)
            duck.close(mine)

    def interrupt(self) -> None:
        """Ends what runs: a cancelled reading leaves no query behind on the source.

        DuckDB notices an interrupt only when the server has sent something, so the server is told as well.
        """
        self._stopped = True
        for connection in self._all:
            connection.interrupt()
        with suppress(MigrationError, psycopg2.Error), closing(postgres.connect(self._source)) as connection:
            connection.cursor().execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND state = 'active'",
                (self.application,),
            )

    def close(self) -> None:
        """Waits for what runs, then ends the readers' transactions."""
        self.pool.shutdown(cancel_futures=True)
        for connection in self._all:
            duck.close(connection)
