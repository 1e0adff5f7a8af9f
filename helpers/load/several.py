"""Several tables at the same time, each over a connection of its own; one after another where an engine takes one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread

from helpers.engines.loading import Loader, TableLoad
from helpers.errors import LoadError

_POLL_SECONDS = 0.5
"""How often it is said what is being loaded."""

_PATIENCE_SECONDS = 5.0
"""For connections that were told to end; a command has ten from Ctrl-C on (`helpers.stopping`)."""

Ended = tuple[TableLoad, LoadError | None]
"""A table, and why its target did not take it."""


def loaded(
    loader: Loader, tables: Sequence[TableLoad], parallel: int, under_way: Callable[[Sequence[TableLoad]], object]
) -> Generator[list[Ended]]:
    """Loads tables, the largest first, and yields those that have ended since the last time.

    Closing the iterator, or an interrupt, ends what runs: each table is then whole or as it was before.

    Args:
        loader: of the load that was begun.
        tables: to load.
        parallel: at the most so many at the same time.
        under_way: is told again and again which are being loaded.

    Raises:
        ConnectionFailed: from a connection, and whatever else is no refusal of one table.
    """
    if min(parallel, len(tables)) < 2:
        for table in tables:
            under_way([table])
            yield [(table, _error(loader, table))]
        return
    workers = _Workers(loader, tables)
    left = len(tables)
    try:
        workers.start(min(parallel, len(tables)))
        while left:
            ended = workers.ended()
            left -= len(ended)
            if ended:
                yield ended
            under_way(workers.running)
    finally:
        workers.stop(interrupting=left > 0)


class _Workers:
    """Threads that take tables from one list."""

    def __init__(self, loader: Loader, tables: Sequence[TableLoad]) -> None:
        self._loader = loader
        self._waiting = deque(sorted(tables, key=lambda table: -table.staged.bytes))
        self._ended: SimpleQueue[Ended | BaseException] = SimpleQueue()
        self._failure: BaseException | None = None
        self._stopping = Event()
        self._threads: list[Thread] = []
        self._open: list[Loader] = []
        self.running: list[TableLoad] = []

    def start(self, count: int) -> None:
        # A thread whose server hangs is not waited for when the process ends.
        self._threads = [Thread(target=self._work, name=f"load-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def ended(self) -> list[Ended]:
        """The tables that have ended by now, or within a moment; a failure that is no table's own is raised once there are none."""
        found: list[Ended] = []
        with suppress(Empty):
            one = self._ended.get(timeout=_POLL_SECONDS)
            while True:
                if isinstance(one, BaseException):
                    self._failure = self._failure or one
                else:
                    found.append(one)
                one = self._ended.get_nowait()
        if self._failure and not found:
            raise self._failure
        return found

    def stop(self, *, interrupting: bool) -> None:
        self._stopping.set()
        until = time.monotonic() + _PATIENCE_SECONDS
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < until:
            if interrupting:
                # Again and again: a thread may have been between two statements of its table.
                self._loader.interrupt(self._open)
            for thread in self._threads:
                thread.join(_POLL_SECONDS / len(self._threads))

    def _work(self) -> None:
        try:
            with self._loader.another() as own:
                self._open.append(own)
                while not self._stopping.is_set() and (table := self._next()):
                    self.running.append(table)
                    error = _error(own, table)
                    self.running.remove(table)
                    self._ended.put((table, error))
        except BaseException as error:
            self._ended.put(error)

    def _next(self) -> TableLoad | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None


def _error(loader: Loader, table: TableLoad) -> LoadError | None:
    try:
        loader.load_table(table)
    except LoadError as error:
        return error
    return None
