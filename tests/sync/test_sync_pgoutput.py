"""The decoder of pgoutput reads back what PostgreSQL's documentation says that each message is, and refuses everything else.

Would catch: a value cut at a multi-byte character, a NULL taken for an empty text, an unchanged value taken for NULL, a row that is
read by another relation's columns, a payload that is cut off and still gives a row.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.sync.changes import UNCHANGED, Change, Mark, Relation, RelationColumn, Row, Transaction
from helpers.sync.pgoutput import EPOCH, Begin, Commit, Decoder, Undecodable
from helpers.sync.transactions import Assembler

# What PostgreSQL can hold in a name or a text: anything but NUL.
TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=12)
NAME = TEXT.filter(bool)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
MOMENT = st.integers(-(2**52), 2**52)


def said(text: str) -> bytes:
    return text.encode() + b"\0"


def encoded_row(row: Row) -> bytes:
    parts = [struct.pack("!H", len(row))]
    for value in row:
        if value is None:
            parts.append(b"n")
        elif value is UNCHANGED:
            parts.append(b"u")
        else:
            text = str(value).encode()
            parts.append(b"t" + struct.pack("!I", len(text)) + text)
    return b"".join(parts)


def encoded_relation(relation: Relation) -> bytes:
    columns = b"".join(
        bytes([column.key]) + said(column.name) + struct.pack("!Ii", column.type_oid, column.typmod)
        for column in relation.columns
    )
    schema = "" if relation.schema == "pg_catalog" else relation.schema
    head = b"R" + struct.pack("!I", relation.oid) + said(schema) + said(relation.name)
    return head + relation.identity.encode() + struct.pack("!H", len(relation.columns)) + columns


def encoded_change(change: Change) -> bytes:
    oid = struct.pack("!I", change.relation.oid)
    old_tag = b"O" if change.relation.identity == "f" else b"K"
    old = b"" if change.old is None else old_tag + encoded_row(change.old)
    new = b"" if change.new is None else b"N" + encoded_row(change.new)
    if change.kind == "truncate":
        return b"T" + struct.pack("!IB", 1, 0) + oid
    return {"insert": b"I", "update": b"U", "delete": b"D"}[change.kind] + oid + old + new


def encoded_begin(lsn: int, when: int, xid: int) -> bytes:
    return b"B" + struct.pack("!QqI", lsn, when, xid)


def encoded_commit(lsn: int, end: int, when: int) -> bytes:
    return b"C" + struct.pack("!BQQq", 0, lsn, end, when)


def encoded_mark(mark: Mark) -> bytes:
    head = b"M" + struct.pack("!BQ", mark.transactional, mark.lsn) + said(mark.prefix)
    return head + struct.pack("!I", len(mark.content)) + mark.content


@st.composite
def relations(draw: st.DrawFn) -> Relation:
    columns = st.builds(RelationColumn, NAME, st.booleans(), U32, st.integers(-1, 2**31 - 1))
    schema = draw(NAME.filter(lambda name: name != ""))
    made = draw(st.lists(columns, max_size=5))
    return Relation(draw(U32), schema, draw(NAME), draw(st.sampled_from("dnfi")), tuple(made))


@st.composite
def changes(draw: st.DrawFn, relation: Relation) -> Change:
    row = st.tuples(*(st.one_of(st.none(), st.just(UNCHANGED), TEXT) for _ in relation.columns))
    kind = draw(st.sampled_from(["insert", "update", "delete", "truncate"]))
    old = draw(row) if kind == "delete" or (kind == "update" and draw(st.booleans())) else None
    return Change(relation, kind, old, draw(row) if kind in ("insert", "update") else None)  # type: ignore[arg-type]


MARKS = st.builds(Mark, TEXT, st.binary(max_size=20), U64, st.booleans())


@pytest.mark.property
@given(st.data())
def test_what_is_encoded_is_decoded(data: st.DataObject) -> None:
    relation = data.draw(relations())
    decoder = Decoder()
    assert decoder.decode(encoded_relation(relation)) == relation
    for change in data.draw(st.lists(changes(relation), max_size=5)):
        found = decoder.decode(encoded_change(change))
        assert found == ((change,) if change.kind == "truncate" else change)
    mark = data.draw(MARKS)
    assert decoder.decode(encoded_mark(mark)) == mark
    lsn, end, when, xid = data.draw(U64), data.draw(U64), data.draw(MOMENT), data.draw(U32)
    moment = EPOCH + timedelta(microseconds=when)
    assert decoder.decode(encoded_begin(lsn, when, xid)) == Begin(lsn, moment, xid)
    assert decoder.decode(encoded_commit(lsn, end, when)) == Commit(lsn, end, moment)


@pytest.mark.property
@given(st.data())
def test_a_message_that_is_cut_off_or_too_long_is_refused(data: st.DataObject) -> None:
    relation = data.draw(relations())
    change = data.draw(changes(relation).filter(lambda change: change.kind != "truncate"))
    payload = encoded_change(change)
    cut = data.draw(st.integers(0, len(payload) - 1))
    decoder = Decoder({relation.oid: relation})
    for wrong in (payload[:cut], payload + b"\0"):
        with pytest.raises(Undecodable):
            decoder.decode(wrong)


@pytest.mark.property
@given(st.binary(max_size=60))
def test_any_bytes_give_a_message_or_a_refusal(payload: bytes) -> None:
    relation = Relation(1, "s", "t", "d", (RelationColumn("a", True, 23, -1),))
    with suppress(Undecodable):
        Decoder({1: relation}).decode(payload)


def test_a_row_of_an_undescribed_relation_is_refused() -> None:
    relation = Relation(7, "s", "t", "d", (RelationColumn("a", True, 23, -1),))
    with pytest.raises(Undecodable, match="not described"):
        Decoder().decode(encoded_change(Change(relation, "insert", None, ("1",))))


@pytest.mark.property
@given(st.data())
def test_transactions_come_out_whole_whether_in_memory_or_on_disk(data: st.DataObject) -> None:
    """A relation that is described anew in the middle of a transaction counts for what comes after it alone."""
    oid = data.draw(U32)
    forms = [
        Relation(oid, "s", "t", "d", each.columns) for each in data.draw(st.lists(relations(), min_size=1, max_size=3))
    ]
    most = data.draw(st.sampled_from([0, 40, 10_000]))
    assembler, lsn = Assembler(most), 100
    for _ in range(data.draw(st.integers(1, 4))):
        wanted: list[Change | Mark] = []
        payloads = []
        for relation in forms:
            payloads.append(encoded_relation(relation))
            for change in data.draw(st.lists(changes(relation), max_size=4)):
                wanted.append(change)
                payloads.append(encoded_change(change))
        assert assembler.take(encoded_begin(lsn, 0, 5)) is None
        assert [assembler.take(payload) for payload in payloads] == [None] * len(payloads)
        assert assembler.open
        found = assembler.take(encoded_commit(lsn, lsn + 8, 0))
        assert isinstance(found, Transaction) and not assembler.open
        assert (found.commit_lsn, found.end_lsn) == (lsn, lsn + 8)
        assert list(found.changes) == wanted == list(found.changes)
        lsn += 50


def test_two_readers_of_one_transaction_on_disk_do_not_disturb_each_other() -> None:
    relation = Relation(7, "s", "t", "d", (RelationColumn("a", True, 23, -1),))
    wanted = [Change(relation, "insert", None, (str(number),)) for number in range(50)]
    assembler = Assembler(most=10)
    for payload in (encoded_begin(1, 0, 1), encoded_relation(relation), *map(encoded_change, wanted)):
        assembler.take(payload)
    found = assembler.take(encoded_commit(1, 9, 0))
    assert isinstance(found, Transaction)
    assert list(zip(found.changes, found.changes, strict=True)) == list(zip(wanted, wanted, strict=True))


@pytest.mark.parametrize(
    "payloads",
    [
        [encoded_begin(1, 0, 1), encoded_begin(2, 0, 2)],
        [encoded_begin(1, 0, 1), encoded_commit(2, 3, 0)],
        [encoded_commit(1, 2, 0)],
    ],
    ids=["begin in begin", "another's commit", "commit alone"],
)
def test_messages_that_do_not_follow_on_each_other_are_refused(payloads: list[bytes]) -> None:
    assembler = Assembler()
    with pytest.raises(Undecodable):
        for payload in payloads:
            assembler.take(payload)
