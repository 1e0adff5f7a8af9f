"""Reads a logical slot over a replication connection, in a thread that also answers the server while others work.

A server ends a walsender that hears nothing for `wal_sender_timeout` (60 seconds by default), and a batch may take longer than
that to be applied; so whoever reads here never has to hurry.
"""

from __future__ import annotations

import os
import re
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extras import LogicalReplicationConnection

from helpers.errors import ConnectionFailed, MigrationError, SourceFailed
from helpers.model.sync import ANEW
from helpers.platforms import pg_session, postgres
from helpers.platforms.faults import postgres as faults
from helpers.platforms.faults.postgres import written
from helpers.platforms.postgres import identifier
from helpers.settings import Source
from helpers.sync.changes import Mark, Transaction
from helpers.sync.pgoutput import MESSAGES_SINCE, Undecodable
from helpers.sync.transactions import IN_MEMORY, Assembler
from helpers.sync.walsender import Ended, Walsender

ANSWER_SECONDS = 1.0
"""Between two words to the server; each asks it how far it is."""

AHEAD = 32 * 1024 * 1024
"""Bytes that are read before somebody takes them; the server waits with the rest."""

PATIENCE_SECONDS = 5.0
"""For a session that read the slot before: the server takes a moment to notice that it is gone."""

_LISTS = ("search_path", "datestyle")
"""Settings whose value is a list, which is no literal."""

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
    address, asked = postgres.address(source), dict(pg_session.SETTINGS)
    for name in pg_session.NOT_AT_START:
        asked.pop(name, None)
    try:
        where = postgres.dsn(source, application="migration-runbooks sync")
        connection = psycopg2.connect(where, connection_factory=LogicalReplicationConnection)
    except psycopg2.OperationalError as error:
        raise _not_let_in(error, source) from None
    with closing(connection):
        try:
            cursor = connection.cursor()
            cursor.execute("IDENTIFY_SYSTEM")
            # A pooler that lets the connection through may have dropped what was asked for at its start.
            cursor.execute(
                "; ".join(
                    f"SET {name} = {postgres.literal(value)}" for name, value in asked.items() if name not in _LISTS
                )
            )
            for name in _LISTS:
                cursor.execute(f"SET {name} = {asked[name]}")
            cursor.execute("SET lock_timeout = 0")
            cursor.execute(pg_session.READING_BACK)
            found = dict(cursor.fetchall())
        except psycopg2.errors.SyntaxError:
            raise _no_replication(address, "what answers there knows no IDENTIFY_SYSTEM") from None
        except psycopg2.Error as error:
            raise faults.told(error, "open a replication connection", on=address) from None
        pg_session.check(found, {**asked, "lock_timeout": "0"}, on=address)
        pg_session.check_instance(found, source.instance.started if source.instance else None, on=address)
        yield connection


def _not_let_in(error: psycopg2.OperationalError, source: Source) -> MigrationError:
    address, text = postgres.address(source), str(error).lower()
    if "unsupported startup parameter: replication" in text:
        return _no_replication(address, faults.said(error))
    refused = faults.entry_refused(error, on=address)
    if re.search("(permission denied|must be superuser).*wal ?sender", text):
        role = written(source.user or "…")
        refused.next_step = f"let a superuser run: ALTER ROLE {role} REPLICATION (on RDS: GRANT rds_replication TO {role}); then run the same command again"
    return refused


def _no_replication(address: str, why: str) -> ConnectionFailed:
    error = ConnectionFailed(
        "open a replication connection", on=address, why=f"{why}: it is a pooler that passes none on",
        next_step="name the server itself in the profile's section source (host, port), or a pooler that does: PgBouncer since 1.23, in session mode",
    )  # fmt: skip
    error.transient = False
    return error


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
            except (psycopg2.errors.ObjectNotInPrerequisiteState, psycopg2.errors.UndefinedObject) as error:
                raise SourceFailed("read the slot", on=where, why=faults.said(error), next_step=ANEW) from None
            except psycopg2.Error as error:
                raise faults.told(error, "read the slot", on=where) from None
        stream = Stream(Walsender(connection), f"slot {where}")
        try:
            yield stream
        finally:
            stream.close()


class Stream:
    """What a slot sends, in the order of the commits.

    Args:
        sender: whose replication has started.
        on: the slot as people name it.
    """

    def __init__(self, sender: Walsender, on: str) -> None:
        self._sender, self._on = sender, on
        self._assembler = Assembler(IN_MEMORY)
        self._confirmed = self._told = 0
        self._arrived: deque[list[bytes] | Sent] = deque()
        self._waiting_bytes = self._sent = 0
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
            return [found for payload in taken if (found := self._assembler.take(payload))]
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
            told_at = 0.0
            while not self._ended:
                late = time.monotonic() - told_at >= ANSWER_SECONDS
                if late or self._sender.waited_for or self._confirmed != self._told:
                    self._tell()
                    told_at = time.monotonic()
                if (self._waiting_bytes < AHEAD and self._take_some()) or self._sender.waited_for:
                    continue
                wanted: list[Any] = [self._wake, self._sender] if self._waiting_bytes < AHEAD else [self._wake]
                ready, _, _ = select.select(wanted, [], [], max(0.0, ANSWER_SECONDS - (time.monotonic() - told_at)))
                if self._wake in ready:
                    os.read(self._wake, 65536)
            with suppress(Ended):
                self._tell()
        except BaseException as error:  # told by whoever reads
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _tell(self) -> None:
        position = self._confirmed
        self._sender.tell(position)
        self._told = position

    def _take_some(self) -> bool:
        """Hands over what is there; whether there was something."""
        messages: list[bytes] = []
        size = 0
        while len(messages) < _AT_ONCE and size < AHEAD:
            payload = self._sender.receive()
            if payload is None:
                break
            messages.append(payload)
            size += len(payload)
        reached = self._sender.reached
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
        if isinstance(error, MigrationError | MemoryError):
            return error
        text, code = (error.text, error.code) if isinstance(error, Ended) else (str(error), None)
        found = faults.fault(text, code) if text else None
        why = faults.said_through(text) if text else "the server ended the stream"
        if found is not None:
            return found.told("read the stream of changes", on=self._on, why=why)
        lost = ConnectionFailed(
            "read the stream of changes", on=self._on, why=why, next_step="run the same command again"
        )
        lost.transient = isinstance(error, OSError) or (isinstance(error, Ended) and code is None)
        return lost
