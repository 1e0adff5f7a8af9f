"""Decodes what the output plugin pgoutput sends, in version 1 of its protocol: whole transactions, in the order of their commits.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from helpers.sync.changes import UNCHANGED, Change, Mark, Relation, RelationColumn, Row, Value

MESSAGES_SINCE = 140000
"""The server version from which on pgoutput sends what pg_logical_emit_message wrote."""

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""What PostgreSQL counts microseconds from."""

_BEGIN = struct.Struct("!QqI")
_COMMIT = struct.Struct("!BQQq")
_LENGTH = struct.Struct("!I")
_COUNT = struct.Struct("!H")
_COLUMN = struct.Struct("!Ii")


@dataclass(frozen=True)
class Begin:
    """A transaction's first message; `commit_lsn` is where its commit record lies."""

    commit_lsn: int
    committed: datetime
    xid: int


@dataclass(frozen=True)
class Commit:
    """Its last one."""

    commit_lsn: int
    end_lsn: int
    committed: datetime


Message = Begin | Commit | Relation | Mark | Change | tuple[Change, ...]
"""What one payload says; a TRUNCATE is a change of each of its tables."""


class Undecodable(ValueError):  # noqa: N818 - says what the payload is
    """A payload that is not of this protocol: the stream cannot be gone on with."""


class Decoder:
    """Keeps the relations that the stream has described: PostgreSQL describes one before its first change, and when it differs.

    Attributes:
        relations: by OID.
    """

    def __init__(self, relations: dict[int, Relation] | None = None) -> None:
        self.relations = dict(relations or {})

    def decode(self, payload: bytes) -> Message | None:
        """What a payload says; None for what says nothing of rows (a type's name, an origin).

        Raises:
            Undecodable: it is no message of pgoutput, is cut off, or changes a relation that was not described.
        """
        try:
            return self._decode(payload)
        except (struct.error, IndexError, UnicodeDecodeError, OverflowError) as error:
            raise Undecodable(
                f"a message of type {payload[:1]!r} and {len(payload):,} bytes is cut off: {error}"
            ) from None
        except KeyError as error:
            raise Undecodable(f"a row of the relation {error}, which was not described before") from None

    def _decode(self, payload: bytes) -> Message | None:
        kind = payload[:1]
        match kind:
            case b"I":
                relation = self.relations[_oid(payload)]
                _expect(payload, 5, b"N")
                new, end = _row(payload, 6, relation)
                return _whole(payload, end, Change(relation, "insert", None, new))
            case b"U":
                relation = self.relations[_oid(payload)]
                old, at = None, 5
                if payload[5:6] in (b"K", b"O"):
                    old, at = _row(payload, 6, relation)
                _expect(payload, at, b"N")
                new, end = _row(payload, at + 1, relation)
                return _whole(payload, end, Change(relation, "update", old, new))
            case b"D":
                relation = self.relations[_oid(payload)]
                _expect(payload, 5, b"KO")
                old, end = _row(payload, 6, relation)
                return _whole(payload, end, Change(relation, "delete", old, None))
            case b"B":
                lsn, when, xid = _BEGIN.unpack_from(payload, 1)
                return Begin(lsn, _moment(when), xid)
            case b"C":
                _, lsn, end_lsn, when = _COMMIT.unpack_from(payload, 1)
                return Commit(lsn, end_lsn, _moment(when))
            case b"R":
                relation = _relation(payload)
                self.relations[relation.oid] = relation
                return relation
            case b"T":
                (count,) = _LENGTH.unpack_from(payload, 1)
                oids = struct.unpack_from(f"!{count}I", payload, 6)
                return tuple(Change(self.relations[oid], "truncate") for oid in oids)
            case b"M":
                return _mark(payload)
            case b"Y" | b"O":
                return None
        raise Undecodable(f"a message of the unknown type {kind!r}")


def _oid(payload: bytes) -> int:
    return int(_LENGTH.unpack_from(payload, 1)[0])


def _expect(payload: bytes, at: int, tags: bytes) -> None:
    if payload[at] not in tags:
        raise Undecodable(
            f"byte {at} of a message of type {payload[:1]!r} is {payload[at : at + 1]!r}, none of {tags!r}"
        )


def _whole(payload: bytes, end: int, change: Change) -> Change:
    if end != len(payload):
        raise Undecodable(f"a message of type {payload[:1]!r} has {len(payload) - end:,} bytes too many")
    return change


def _row(payload: bytes, at: int, relation: Relation) -> tuple[Row, int]:
    (count,) = _COUNT.unpack_from(payload, at)
    if count != len(relation.columns):
        raise Undecodable(f"a row of {relation} has {count} columns, and {len(relation.columns)} were described")
    at += 2
    values: list[Value] = []
    for _ in range(count):
        tag = payload[at]
        at += 1
        if tag == 0x74:  # t: text
            (length,) = _LENGTH.unpack_from(payload, at)
            at += 4
            end = at + length
            if end > len(payload):
                raise Undecodable(f"a value of {relation} is cut off")
            values.append(payload[at:end].decode())
            at = end
        elif tag == 0x6E:  # n: NULL
            values.append(None)
        elif tag == 0x75:  # u: a TOASTed value that did not change
            values.append(UNCHANGED)
        else:
            raise Undecodable(f"a value of {relation} has the unknown tag {bytes([tag])!r}")
    return tuple(values), at


def _relation(payload: bytes) -> Relation:
    oid, at = _oid(payload), 5
    schema, at = _text(payload, at)
    name, at = _text(payload, at)
    identity = chr(payload[at])
    (count,) = _COUNT.unpack_from(payload, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        key = bool(payload[at] & 1)
        column, at = _text(payload, at + 1)
        type_oid, typmod = _COLUMN.unpack_from(payload, at)
        at += _COLUMN.size
        columns.append(RelationColumn(column, key, type_oid, typmod))
    return Relation(oid, schema or "pg_catalog", name, identity, tuple(columns))


def _mark(payload: bytes) -> Mark:
    flags, lsn = struct.unpack_from("!BQ", payload, 1)
    prefix, at = _text(payload, 10)
    (length,) = _LENGTH.unpack_from(payload, at)
    content = payload[at + 4 : at + 4 + length]
    if len(content) != length:
        raise Undecodable("a logical message is cut off")
    return Mark(prefix, content, lsn, bool(flags & 1))


def _text(payload: bytes, at: int) -> tuple[str, int]:
    end = payload.find(0, at)
    if end < 0:
        raise Undecodable("a name is cut off")
    return payload[at:end].decode(), end + 1


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)
