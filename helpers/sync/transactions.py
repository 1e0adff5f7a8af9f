"""Puts a slot's messages together into transactions; those that are larger than memory wait on disk."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from helpers.sync.changes import Change, Mark, Relation, Transaction
from helpers.sync.pgoutput import Begin, Commit, Decoder, Undecodable

IN_MEMORY = 32 * 1024 * 1024
"""Bytes of one transaction's messages, from which on they wait on disk."""

_LENGTH = struct.Struct("!I")


@dataclass
class Messages:
    """One transaction's messages between BEGIN and COMMIT, decoded as often as they are read.

    Attributes:
        relations: as they were described when the transaction began.
        size: bytes of the messages.
    """

    relations: dict[int, Relation]
    most: int
    size: int = 0
    _kept: list[bytes] = field(default_factory=list)
    _file: IO[bytes] | None = None

    @property
    def spilled(self) -> bool:
        """Whether they wait on disk."""
        return self._file is not None

    def append(self, payload: bytes) -> None:
        """Takes one more.

        Raises:
            OSError: the disk is full.
        """
        self.size += len(payload)
        if self._file is None and self.size > self.most:
            self._file = tempfile.TemporaryFile(prefix="runbook-sync-")  # noqa: SIM115 - closed with the transaction
            for kept in self._kept:
                self._write(kept)
            self._kept.clear()
        if self._file is None:
            self._kept.append(payload)
        else:
            self._write(payload)

    def _write(self, payload: bytes) -> None:
        assert self._file
        self._file.write(_LENGTH.pack(len(payload)))
        self._file.write(payload)

    def __iter__(self) -> Iterator[Change | Mark]:
        decoder = Decoder(self.relations)
        for payload in self._payloads():
            message = decoder.decode(payload)
            if isinstance(message, tuple):
                yield from message
            elif isinstance(message, Change | Mark):
                yield message

    def _payloads(self) -> Iterator[bytes]:
        if self._file is None:
            yield from self._kept
            return
        at = 0
        while True:
            self._file.seek(at)  # another reader may have moved it
            head = self._file.read(_LENGTH.size)
            if not head:
                return
            (length,) = _LENGTH.unpack(head)
            at += _LENGTH.size + length
            yield self._file.read(length)


class Assembler:
    """Takes payloads in the order in which the slot sends them.

    Args:
        most: bytes of one transaction that are kept in memory.

    Attributes:
        open: whether a transaction has begun whose commit has not come.
    """

    def __init__(self, most: int = IN_MEMORY) -> None:
        self._most = most
        self._decoder = Decoder()
        self._begun: Begin | None = None
        self._messages = Messages({}, most)

    @property
    def open(self) -> bool:
        return self._begun is not None

    def take(self, payload: bytes) -> Transaction | Mark | None:
        """The transaction that a payload completes, or a message that stands in no transaction; None where more is to come.

        Raises:
            Undecodable: it is no message of pgoutput, or does not follow on the former one.
            OSError: a large transaction does not fit on the disk.
        """
        kind = payload[:1]
        if self._begun is None:
            return self._outside(payload)
        if kind == b"C":
            begun, messages, commit = self._begun, self._messages, self._decoder.decode(payload)
            assert isinstance(commit, Commit)
            if commit.commit_lsn != begun.commit_lsn:
                raise Undecodable("a COMMIT does not belong to the BEGIN before it")
            self._begun = None
            return Transaction(begun.xid, begun.commit_lsn, commit.end_lsn, begun.committed, messages)
        if kind == b"B":
            raise Undecodable("a transaction begins inside of another")
        if kind == b"R":
            self._decoder.decode(payload)
        self._messages.append(payload)
        return None

    def _outside(self, payload: bytes) -> Mark | None:
        message = self._decoder.decode(payload)
        if isinstance(message, Begin):
            self._begun, self._messages = message, Messages(dict(self._decoder.relations), self._most)
        elif isinstance(message, Mark):
            return message
        elif message is not None and not isinstance(message, Relation):
            raise Undecodable(f"a message of type {payload[:1]!r} stands in no transaction")
        return None
