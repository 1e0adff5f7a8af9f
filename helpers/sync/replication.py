"""Reads a logical slot over a replication connection, in a thread that also answers the server while others work.

A server ends a walsender that hears nothing for `wal_sender_timeout` (60 seconds by default), and a batch may take longer than
that to be applied; so whoever reads here never has to hurry.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeGuard

import psycopg2
import psycopg2.errors
from psycopg2.extras import LogicalReplicationConnection

from helpers.errors import ConnectionFailed, MigrationError, SourceFailed
from helpers.platforms import pg_session, postgres
from helpers.platforms.faults import postgres as faults
from helpers.platforms.postgres import identifier
from helpers.settings import Source
from helpers.sync.changes import Mark, Transaction
from helpers.sync.pgoutput import MESSAGES_SINCE, Undecodable
from helpers.sync.transactions import IN_MEMORY, Assembler

ANSWER_SECONDS = 1.0
"""Between two words to the server; each asks it how far it is."""

AHEAD = 32 * 1024 * 1024
"""Bytes that are read before somebody takes them; the server waits with the rest."""

PATIENCE_SECONDS = 5.0
"""For a session that read the slot before: the server takes a moment to notice that it is gone."""

FIRST_SECONDS = 20.0
"""In which the heartbeat that was written before the stream began has to come; the server waits for an answer three times as long."""

HEARTBEAT = "migration-runbooks"
"""Prefix of the messages by which a stream that is idle moves on."""

_AT_ONCE = 512
"""Messages that are handed over together."""


@dataclass(frozen=True)
class Sent:
    """Every transaction whose commit lies before this position was handed over."""

    position: int


@contextmanager
def connected(source: Source) -> Iterator[Any]:
    """A replication connection whose session prints values as every other session of ours.

    Raises:
        ConnectionFailed: no answer, no entry, or a pooler that knows no replication.
        SessionRefused: a setting does not hold: a value would be printed in another way than the copy's.
    """
    address = postgres.address(source)
    try:
        where = postgres.dsn(source, application="migration-runbooks sync")
        connection = psycopg2.connect(where, connection_factory=LogicalReplicationConnection)
    except psycopg2.OperationalError as error:
        raise faults.entry_refused(error, on=address) from None
    with closing(connection):
        try:
            cursor = connection.cursor()
            cursor.execute(pg_session.READING_BACK)
            found = dict(cursor.fetchall())
            cursor.execute("SET statement_timeout = 0; SET lock_timeout = 0")
        except psycopg2.Error as error:
            raise faults.told(error, "open a replication connection", on=address) from None
        asked = {name: value for name, value in pg_session.SETTINGS.items() if name not in pg_session.NOT_AT_START}
        pg_session.check(found, asked, on=address)
        pg_session.check_instance(found, source.instance.started if source.instance else None, on=address)
        yield connection


@contextmanager
def reading(
    source: Source, slot: str, publication: str, start: int, *, patience: float = PATIENCE_SECONDS
) -> Iterator[Stream]:
    """The transactions of a slot whose commits lie at `start` or behind it, for the length of the block.

    Nothing is confirmed to the slot by reading; `Stream.confirm` does that.

    Args:
        source: the server.
        slot, publication: their names.
        start: a position.
        patience: seconds in which another session may leave the slot. One whose connection was cut stays for `wal_sender_timeout`.

    Raises:
        ConnectionFailed, SessionRefused: as `connected`.
        SourceFailed: somebody else reads the slot, or the server does not give it.
    """
    write_heartbeat(source)
    with connected(source) as connection:
        cursor = connection.cursor()
        options = {"proto_version": "1", "publication_names": identifier(publication)}
        if connection.server_version >= MESSAGES_SINCE:
            options["messages"] = "true"
        where = f"{slot} of {postgres.address(source)}"
        until = time.monotonic() + patience
        while True:
            try:
                cursor.start_replication(slot_name=slot, start_lsn=start, options=options, decode=False)
                break
            except psycopg2.errors.ObjectInUse as error:
                if time.monotonic() < until:
                    time.sleep(0.05)
                    continue
                raise SourceFailed(
                    "read the slot", on=where, why=faults.said(error),
                    next_step="a sync is running, or the server has not noticed that one is gone: end it first, or let it go on: runbook sync status",
                ) from None  # fmt: skip
            except psycopg2.Error as error:
                raise faults.told(error, "read the slot", on=where) from None
        stream = Stream(cursor, f"slot {where}", start)
        try:
            yield stream
        finally:
            stream.close()


def write_heartbeat(source: Source) -> None:
    """Writes a message into the source's log, that a stream which has nothing else to send will send.

    psycopg2 confirms for itself, up to where the server says that it is, once all that was received is confirmed. Nothing would be
    lost by it, but the slot would stand where no target says that it is, and that cannot be told from a slot which somebody else has
    read. So one message always stays unconfirmed.

    Raises:
        ConnectionFailed, SessionRefused: as `postgres.connect`.
    """
    own = {"default_transaction_read_only": "off"}
    with (
        suppress(psycopg2.Error),
        postgres.committing(source, application="migration-runbooks sync", settings=own) as cursor,
    ):
        cursor.execute("SELECT pg_logical_emit_message(true, %s, '')", [HEARTBEAT])


class Stream:
    """What a slot sends, in the order of the commits.

    Args:
        cursor: of psycopg2, whose replication has started.
        on: the slot as people name it.
        start: where it goes on.
    """

    def __init__(self, cursor: Any, on: str, start: int) -> None:
        self._cursor, self._on = cursor, on
        self._assembler = Assembler(IN_MEMORY)
        self._confirmed = self._told = start
        self._arrived: deque[list[bytes] | Sent] = deque()
        self._waiting_bytes = self._sent = self._last = 0
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._ended = False
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._run, name="replication", daemon=True)
        self._thread.start()

    def read(self, seconds: float) -> list[Transaction | Mark | Sent]:
        """What has arrived, whole transactions alone; empty where nothing did in so many seconds.

        Raises:
            ConnectionFailed: the connection was lost; a retry can help.
            SourceFailed: the server ended the stream, or sent what cannot be understood.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self._failure, timeout=seconds)
            if not self._arrived and self._failure:
                raise self._told_failure(self._failure)
            taken = self._arrived.popleft() if self._arrived else None
            if isinstance(taken, list):
                was_full = self._waiting_bytes >= AHEAD
                self._waiting_bytes -= sum(map(len, taken))
                if was_full:
                    self._poke()
        if taken is None:
            return []
        if isinstance(taken, Sent):
            return [] if self._assembler.open else [taken]
        try:
            found = (self._assembler.take(payload) for payload in taken)
            return [Sent(each.end_lsn) if _is_heartbeat(each) else each for each in found if each]
        except Undecodable as error:
            raise SourceFailed(
                "read the stream of changes", on=self._on, why=str(error),
                next_step="the positions in the targets stand; report this with the server's version, and run the same command again",
            ) from None  # fmt: skip

    def confirm(self, position: int) -> None:
        """Tells the server that it need not send again what lies before a position."""
        self._confirmed = max(self._confirmed, position)
        self._poke()

    def close(self) -> None:
        """Ends the thread; what was confirmed is told before, where the server still listens."""
        self._ended = True
        self._poke()
        self._thread.join()
        os.close(self._wake)
        os.close(self._waker)

    def _poke(self) -> None:
        with suppress(OSError):
            os.write(self._waker, b".")

    def _run(self) -> None:
        try:
            began = time.monotonic()
            told_at = 0.0
            while not self._ended:
                may_tell = self._last or time.monotonic() - began > FIRST_SECONDS
                if may_tell and (self._confirmed != self._told or time.monotonic() - told_at >= ANSWER_SECONDS):
                    self._tell()
                    told_at = time.monotonic()
                if self._waiting_bytes < AHEAD and self._take_some():
                    continue
                wanted = [self._wake, self._cursor] if self._waiting_bytes < AHEAD else [self._wake]
                ready, _, _ = select.select(wanted, [], [], max(0.0, ANSWER_SECONDS - (time.monotonic() - told_at)))
                if self._wake in ready:
                    os.read(self._wake, 65536)
            if self._last:
                with suppress(psycopg2.Error):
                    self._tell()
        except BaseException as error:  # told by whoever reads
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _tell(self) -> None:
        self._told = self._confirmed
        position = min(self._told, self._last - 1) if self._last else 0
        self._cursor.send_feedback(write_lsn=position, flush_lsn=position, apply_lsn=position, reply=True, force=True)

    def _take_some(self) -> bool:
        """Hands over what is there; whether there was something."""
        messages: list[bytes] = []
        size = 0
        while len(messages) < _AT_ONCE and size < AHEAD:
            message = self._cursor.read_message()
            if message is None:
                break
            messages.append(message.payload)
            self._last = int(message.data_start)
            size += len(message.payload)
        reached = int(self._cursor.wal_end)
        with self._changed:
            if messages:
                self._arrived.append(messages)
                self._waiting_bytes += size
            elif reached > self._sent:
                self._sent = reached
                if self._arrived and isinstance(self._arrived[-1], Sent):
                    self._arrived.pop()
                self._arrived.append(Sent(reached))
            self._changed.notify_all()
        return bool(messages)

    def _told_failure(self, error: BaseException) -> BaseException:
        if isinstance(error, psycopg2.Error):
            return faults.told(error, "read the stream of changes", on=self._on)
        if isinstance(error, MigrationError | MemoryError):
            return error
        lost = ConnectionFailed("read the stream of changes", on=self._on, why=str(error) or type(error).__name__, next_step="run the same command again")  # fmt: skip
        lost.transient = isinstance(error, OSError)
        return lost


def _is_heartbeat(found: Transaction | Mark) -> TypeGuard[Transaction]:
    return isinstance(found, Transaction) and all(
        isinstance(each, Mark) and each.prefix == HEARTBEAT for each in islice(found.changes, 2)
    )
