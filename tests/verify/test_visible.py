"""A value whose difference could not be told by eye, or that lost or gained a character on its way to the page, fails here."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.verify.visible import Piece, Visible, alone, pair, whole

texts = st.text(st.sampled_from("ab  \n\r\t\0·é\u0301\u00a0\u200b\u200d\u202e\u3164ü😀") | st.characters(), max_size=60)


def original(value: Visible) -> str:
    """What the pieces stand for."""
    return "".join(
        piece.text if piece.kind == "text" else chr(int(piece.note[2:].split()[0], 16)) for piece in value.pieces
    )


def shown(value: Visible) -> str:
    return "".join(f"[{piece.text}]" if piece.differs else piece.text for piece in value.pieces)


@given(texts, texts)
def test_no_character_is_lost_and_what_is_not_marked_is_equal(source: str, target: str) -> None:
    ours, theirs = pair(source, target)
    assert (original(ours), original(theirs)) == (source, target)
    same = [original(Visible(tuple(p for p in side.pieces if not p.differs))) for side in (ours, theirs)]
    assert same[0] == same[1]
    if source != target:
        assert any(piece.differs for piece in (*ours.pieces, *theirs.pieces))


@given(texts)
def test_what_cannot_be_seen_is_named(text: str) -> None:
    for value in (alone(text), whole(text), *pair(text, text + "x")):
        plain = "".join(piece.text for piece in value.pieces)
        hidden = [c for c in plain if unicodedata.category(c)[0] == "C" and c not in "\u200c\u200d"]
        assert hidden == []
        assert "\u00a0" not in plain and "\u3164" not in plain


@pytest.mark.parametrize(
    ("source", "target", "ours", "theirs"),
    [
        ("Ada ", "Ada", "Ada[·]", "Ada"),
        (" Ada", "Ada", "[·]Ada", "Ada"),
        ("a b", "a\u00a0b", "a[·]b", "a[NBSP]b"),
        ("a\nb", "a\r\nb", "a↵b", "a[CR]↵b"),
        ("12.50", "12.5", "12.5[0]", "12.5"),
        ("10:00:00", "12:00:00", "1[0]:00:00", "1[2]:00:00"),
        ("paypal", "p\u0430ypal", "p[a]ypal", "p[\u0430]ypal"),
        ("caf\u00e9", "cafe\u0301", "caf[\u00e9]", "caf[e][U+0301]"),
        ("2024-01-01", "1999-12-31", "[2024-01-0]1", "[1999-12-3]1"),
        ("", "x", "", "[x]"),
        (None, "x ", "", "[x][·]"),
    ],
)
def test_differences_are_marked(source: str | None, target: str | None, ours: str, theirs: str) -> None:
    found = pair(source, target)
    assert (shown(found[0]), shown(found[1])) == (ours, theirs)


def test_look_alikes_are_named_by_their_code() -> None:
    assert Piece("\u0430", "text", True, "U+0430") in pair("paypal", "p\u0430ypal")[1].pieces


def test_null_is_not_the_text_null_and_not_the_empty_text() -> None:
    assert alone(None) == Visible(null=True)
    assert alone("NULL") == Visible((Piece("NULL"),))
    assert alone("") == Visible()
    assert pair(None, "")[0] == Visible(null=True, differs=True)
    assert pair("", None)[0] == Visible(differs=True)


@pytest.mark.parametrize("place", [0, 1, 500_000, 999_999])
def test_a_long_text_is_cut_and_its_difference_is_not(place: int) -> None:
    source = "x" * 1_000_000
    ours, theirs = pair(source, source[:place] + "Y" + source[place + 1 :])
    assert sum(len(piece.text) for piece in theirs.pieces) < 500
    assert "[Y]" in shown(theirs) and "[x]" in shown(ours)
    assert ours.length == theirs.length == 1_000_000
    assert "characters …" in shown(ours)
    assert alone(source).length == 1_000_000
