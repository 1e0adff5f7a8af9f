"""Many changes of one table come to the same as one after another.

Would catch: an order that matters and is lost, a key change taken as one row, a value that nobody touched and becomes NULL, a row that
is deleted and comes again, two rows that swap their keys, a TRUNCATE in the middle.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.sync.changes import UNCHANGED, Change, Relation, RelationColumn, Row
from helpers.sync.collapse import Collapsed, Inconsistent, collapse

Table = dict[str, tuple[Any, ...]]
"""Rows (k, a, b) by their keys."""


def relation(identity: str = "d") -> Relation:
    names = ("k", "a", "b")
    return Relation(1, "s", "t", identity, tuple(RelationColumn(n, n == "k" or identity == "f", 25, -1) for n in names))


class Writer:
    """A table that is changed row by row, and what a slot would tell of it."""

    def __init__(self, rows: Table, identity: str) -> None:
        self.rows, self.relation, self.told = dict(rows), relation(identity), list[Change]()

    def insert(self, row: tuple[Any, ...]) -> None:
        self.rows[row[0]] = row
        self._tell("insert", None, row)

    def delete(self, key: str) -> None:
        self._tell("delete", self._old(self.rows.pop(key)), None)

    def update(self, key: str, new: tuple[Any, ...], hidden: tuple[bool, bool]) -> None:
        """`hidden` are values that the UPDATE leaves as they are and that are told as unchanged."""
        old = self.rows.pop(key)
        new = (new[0], *(old[n + 1] if hide else new[n + 1] for n, hide in enumerate(hidden)))
        self.rows[new[0]] = new
        # A NULL is never told as unchanged.
        shown = (
            new[0],
            *(UNCHANGED if hide and new[n + 1] is not None else new[n + 1] for n, hide in enumerate(hidden)),
        )
        told = self._old(old) if new[0] != key or self.relation.identity == "f" else None
        self._tell("update", told, shown)

    def truncate(self) -> None:
        self.rows.clear()
        self._tell("truncate", None, None)

    def _old(self, row: tuple[Any, ...]) -> Row:
        return row if self.relation.identity == "f" else (row[0], None, None)

    def _tell(self, kind: Any, old: Row | None, new: Any) -> None:
        self.told.append(Change(self.relation, kind, old, new))


def applied(rows: Table, found: Collapsed) -> Table:
    """What a target that holds `rows` holds afterwards, all at once, as a MERGE does it."""
    after = {} if found.truncated else {key: row for key, row in rows.items() if (key,) not in found.deleted}
    for key, live in found.live.items():
        before = rows[live.origin[0]] if live.origin else None
        after[key[0]] = tuple(
            before[n] if before and live.values[name] is UNCHANGED else live.values[name]
            for n, name in enumerate(("k", "a", "b"))
        )
    return after


KEYS = st.sampled_from("pqrst")
VALUES = st.one_of(st.none(), st.text("xyz", max_size=2))
ROWS = st.dictionaries(KEYS, st.tuples(VALUES, VALUES)).map(lambda rows: {k: (k, *v) for k, v in rows.items()})


@st.composite
def histories(draw: st.DrawFn) -> tuple[Table, Writer]:
    rows = draw(ROWS)
    writer = Writer(rows, draw(st.sampled_from("df")))
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(["insert", "update", "update", "move", "delete", "truncate"]))
        free = sorted(set("pqrst") - writer.rows.keys())
        if kind == "insert" and free:
            writer.insert((draw(st.sampled_from(free)), draw(VALUES), draw(VALUES)))
        elif kind == "truncate" and draw(st.booleans()):
            writer.truncate()
        elif writer.rows:
            key = draw(st.sampled_from(sorted(writer.rows)))
            if kind == "delete":
                writer.delete(key)
            else:
                new = draw(st.sampled_from(free)) if kind == "move" and free else key
                hidden = draw(st.tuples(st.booleans(), st.booleans()))
                writer.update(key, (new, draw(VALUES), draw(VALUES)), hidden)
    return rows, writer


@pytest.mark.property
@given(histories())
def test_at_once_is_as_one_after_another(history: tuple[Table, Writer]) -> None:
    rows, writer = history
    found = collapse(["k"], writer.told)
    assert applied(rows, found) == writer.rows
    assert not found.deleted & found.live.keys()
    assert found.empty == (not writer.told)


@pytest.mark.property
@given(histories(), st.data())
def test_two_batches_are_as_one(history: tuple[Table, Writer], data: st.DataObject) -> None:
    rows, writer = history
    cut = data.draw(st.integers(0, len(writer.told)))
    for part in (writer.told[:cut], writer.told[cut:]):
        rows = applied(rows, collapse(["k"], part))
    assert rows == writer.rows


@pytest.mark.property
@given(histories())
def test_a_batch_that_is_applied_again_changes_nothing(history: tuple[Table, Writer]) -> None:
    """But for values that the target itself gives, which is why positions are kept with the rows."""
    rows, writer = history
    found = collapse(["k"], writer.told)
    if any(live.origin and live.origin != key for key, live in found.live.items()):
        return
    once = applied(rows, found)
    assert applied(once, found) == once


def test_two_rows_swap_their_keys() -> None:
    rows: Table = {"p": ("p", "1", "long"), "q": ("q", "2", "longer")}
    writer = Writer(rows, "d")
    writer.update("p", ("x", "1", ""), (False, True))
    writer.update("q", ("p", "2", ""), (False, True))
    writer.update("x", ("q", "1", ""), (False, True))
    found = collapse(["k"], writer.told)
    assert found.deleted == set()
    assert {key: live.origin for key, live in found.live.items()} == {("p",): ("q",), ("q",): ("p",)}
    assert applied(rows, found) == {"p": ("p", "2", "longer"), "q": ("q", "1", "long")}


@pytest.mark.parametrize(
    "told",
    [
        [("insert", None, ("p", "1", "1")), ("insert", None, ("p", "2", "2"))],
        [("delete", ("p", None, None), None), ("delete", ("p", None, None), None)],
        [("truncate", None, None), ("update", None, ("p", "1", "1"))],
        [("delete", (None, "1", "1"), None)],
        [("insert", None, (UNCHANGED, "1", "1"))],
    ],
    ids=["twice there", "twice gone", "after a truncation", "no key", "a key that is not told"],
)
def test_what_cannot_have_happened_is_refused(told: list[Any]) -> None:
    with pytest.raises(Inconsistent):
        collapse(["k"], [Change(relation(), *each) for each in told])


@pytest.mark.parametrize("kind", ["insert", "delete", "update"])
def test_the_words_of_a_refusal_have_no_values(kind: str) -> None:
    """A key may be masked, and they are kept where everybody reads how the sync stands."""
    row, gone = ("s3cret", "1", UNCHANGED), ("s3cret", None, None)
    told = {
        "insert": [("insert", None, ("s3cret", "1", "1"))] * 2,
        "delete": [("delete", gone, None)] * 2,
        "update": [("truncate", None, None), ("insert", None, row), ("update", None, row)],
    }
    with pytest.raises(Inconsistent) as refused:
        collapse(["k"], [Change(relation(), *each) for each in told[kind]])  # type: ignore[arg-type]
    assert "s3cret" not in str(refused.value)
