"""What a walsender sends, and what it is told, through the libpq that psycopg2 has brought.

psycopg2's own cursor is not used for it: on a keepalive it confirms the server's position by itself as soon as the last message lies
before what was confirmed (`flush_lsn`, in psycopg/pqpath.c). A transaction that began early and commits late has such messages, so
transactions before it, sent and not yet applied, would never be sent again; and an idle slot would be ahead of its targets. What is
confirmed here is what `tell` was given, and nothing else.

https://www.postgresql.org/docs/current/protocol-replication.html (START_REPLICATION), https://www.postgresql.org/docs/current/libpq-copy.html
"""

from __future__ import annotations

import ctypes
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg2 import _psycopg

from helpers.sync.pgoutput import EPOCH

_KEEPALIVE = struct.Struct("!xQqB")
_DATA = struct.Struct("!xQQq")
_STATUS = struct.Struct("!cQQQqB")
_SQLSTATE = ord("C")


def _libpq() -> ctypes.CDLL:
    """Found behind psycopg2's own module, so that it is the one which made the connection."""
    found = ctypes.CDLL(_psycopg.__file__)
    text, pointer = ctypes.c_char_p, ctypes.c_void_p
    for name, result, *arguments in (
        ("PQgetCopyData", ctypes.c_int, pointer, ctypes.POINTER(pointer), ctypes.c_int),
        ("PQputCopyData", ctypes.c_int, pointer, ctypes.c_char_p, ctypes.c_int),
        ("PQflush", ctypes.c_int, pointer),
        ("PQconsumeInput", ctypes.c_int, pointer),
        ("PQfreemem", None, pointer),
        ("PQgetResult", pointer, pointer),
        ("PQclear", None, pointer),
        ("PQerrorMessage", text, pointer),
        ("PQresultErrorMessage", text, pointer),
        ("PQresultErrorField", text, pointer, ctypes.c_int),
    ):
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


class Ended(Exception):  # noqa: N818 - says what happened
    """The server ended the stream, or the connection is lost.

    Attributes:
        text: of the server's error; empty where it gave none.
        code: its SQLSTATE, or None.
    """

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text or "the server ended the stream")
        self.text, self.code = text, code


class Walsender:
    """One connection whose replication has started; for one thread.

    Args:
        connection: of psycopg2.

    Attributes:
        reached: every transaction whose commit lies before this position was sent.
        waited_for: whether the server wants to hear that somebody is here.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._libpq = _libpq()
        self._handle = ctypes.c_void_p(connection.pgconn_ptr)
        self.reached, self.waited_for = 0, False

    def fileno(self) -> int:
        """For select."""
        return int(self._connection.fileno())

    def receive(self) -> bytes | None:
        """The next payload of the output plugin; None where nothing is there yet.

        Raises:
            Ended: there will be none.
        """
        consumed = False
        while True:
            buffer = ctypes.c_void_p()
            size = self._libpq.PQgetCopyData(self._handle, ctypes.byref(buffer), 1)
            if size > 0:
                message = ctypes.string_at(buffer, size)
                self._libpq.PQfreemem(buffer)
                if payload := self._understood(message):
                    return payload
            elif size == 0:
                if consumed:
                    return None
                if not self._libpq.PQconsumeInput(self._handle):
                    raise self._ended()
                consumed = True
            else:
                raise self._ended()

    def tell(self, confirmed: int) -> None:
        """Says that the server need not send again what lies before a position, 0 for nothing; and asks how far it is.

        Raises:
            Ended: the connection is lost.
        """
        now = (datetime.now(UTC) - EPOCH) // timedelta(microseconds=1)
        status = _STATUS.pack(b"r", confirmed, confirmed, confirmed, now, 1)
        # 0: the buffer is full, and the next word comes in a moment.
        if self._libpq.PQputCopyData(self._handle, status, len(status)) < 0 or self._libpq.PQflush(self._handle) < 0:
            raise self._ended()
        self.waited_for = False

    def _understood(self, message: bytes) -> bytes | None:
        if message[:1] == b"w":
            _, reached, _ = _DATA.unpack_from(message)
            payload: bytes | None = message[_DATA.size :]
        else:
            reached, _, asks = _KEEPALIVE.unpack_from(message)
            self.waited_for = self.waited_for or bool(asks)
            payload = None
        self.reached = max(self.reached, reached)
        return payload

    def _ended(self) -> Ended:
        result = self._libpq.PQgetResult(self._handle)
        if not result:
            return Ended((self._libpq.PQerrorMessage(self._handle) or b"").decode(errors="replace"))
        text = (self._libpq.PQresultErrorMessage(result) or b"").decode(errors="replace")
        code = self._libpq.PQresultErrorField(result, _SQLSTATE)
        self._libpq.PQclear(result)
        return Ended(text, code.decode() if code else None)
