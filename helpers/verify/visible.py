"""Values as a person can tell them apart: what differs is marked, what cannot be seen is named, what is long is cut.

For example, of `Köln ` against `Koln`:

    source   K [ö U+00F6] ln [·]
    target   K [o] ln
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal

LONGEST_DIFFERENCE = 160
"""Characters of one difference that are shown."""

CONTEXT = 40
"""Characters of what is equal that are shown before and after a difference."""

LONGEST_ALONE = 240
"""Characters of a value that is compared with nothing."""

COMPARED_BY_CHARACTER = 400
"""Longer differences are marked as one: the cost of finding the equal parts in them grows with the square."""

ALIKE = 0.5
"""Share of equal characters from which two texts are shown as one with changes; below it, marks would be confetti."""

NAMED_BY_CODE = 4
"""Characters of a difference up to which letters beyond ASCII are named by their code: look-alikes differ in nothing else."""

_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_JOINERS = frozenset("\u200c\u200d")
_SIGNS = {
    " ": "·", "\n": "↵", "\t": "⇥", "\r": "CR", "\0": "NUL", "\u00a0": "NBSP", "\u00ad": "SHY", "\u200b": "ZWSP", "\ufeff": "BOM",
}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """A run of characters.

    Attributes:
        kind: `text` as it is, `sign` in the place of a character that cannot be seen, `cut` in the place of many.
        differs: whether the other side has something else here.
        note: what a look does not tell.
    """

    text: str
    kind: Literal["text", "sign", "cut"] = "text"
    differs: bool = False
    note: str = ""


@dataclass(frozen=True)
class Visible:
    """One value.

    Attributes:
        pieces: of a text; empty for NULL and for the empty text.
        null: whether it is NULL.
        differs: whether all of it does.
        length: characters of the whole value, where some were cut out.
    """

    pieces: tuple[Piece, ...] = ()
    null: bool = False
    differs: bool = False
    length: int | None = None


def pair(
    source: str | None, target: str | None, *, context: int = CONTEXT, longest: int = LONGEST_DIFFERENCE
) -> tuple[Visible, Visible]:
    """Two values with their differences marked, each cut to a few hundred characters.

    Args:
        context: characters of what is equal that are kept before and after a difference.
        longest: characters of one difference that are kept.
    """
    if source is None or target is None:
        return _alone(source, True, context, longest + 2 * context), _alone(
            target, True, context, longest + 2 * context
        )
    runs = list(_runs(source, target))
    ours = _cut([(a, differs) for a, _, differs in runs], source, context, longest)
    theirs = _cut([(b, differs) for _, b, differs in runs], target, context, longest)
    return ours, theirs


def alone(text: str | None, *, context: int = CONTEXT, longest: int = LONGEST_ALONE) -> Visible:
    """One value with nothing to compare it with, of which so many characters are kept, some of them at its end."""
    return _alone(text, False, context, longest)


def _alone(text: str | None, differs: bool, context: int, longest: int) -> Visible:
    if text is None:
        return Visible(null=True, differs=differs)
    inner = _inner(text)
    if len(text) <= longest:
        return Visible(tuple(_pieces(text, 0, inner, differs)), differs=differs)
    head, tail = longest - context, len(text) - context
    ends = _pieces(text[:head], 0, inner, differs), _pieces(text[tail:], tail, inner, differs)
    return Visible((*ends[0], _left_out(tail - head, differs), *ends[1]), differs=differs, length=len(text))


def whole(text: str) -> Visible:
    """A name or a sentence, of any length."""
    return Visible(tuple(_pieces(text, 0, range(len(text)))))


def _runs(source: str, target: str) -> Iterator[tuple[str, str, bool]]:
    """What both have at one place, and whether it differs."""
    head = _common(source, target)
    tail = min(_common(source[::-1], target[::-1]), min(len(source), len(target)) - head)
    ours, theirs = source[head : len(source) - tail], target[head : len(target) - tail]
    yield source[:head], source[:head], False
    yield from _within(ours, theirs)
    yield source[len(source) - tail :], source[len(source) - tail :], False


def _within(ours: str, theirs: str) -> Iterator[tuple[str, str, bool]]:
    if max(len(ours), len(theirs)) <= COMPARED_BY_CHARACTER:
        matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
        if matcher.ratio() >= ALIKE:
            for tag, a, b, c, d in matcher.get_opcodes():
                yield ours[a:b], theirs[c:d], tag != "equal"
            return
    yield ours, theirs, True


def _common(a: str, b: str) -> int:
    """How many characters both begin with; slices are compared, which takes a megabyte in milliseconds."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _cut(runs: Sequence[tuple[str, bool]], whole: str, context: int, longest: int) -> Visible:
    pieces: list[Piece] = []
    inner, place, complete = _inner(whole), 0, True
    for text, differs in runs:
        head = longest - context if differs else context
        tail = max(head, len(text) - context)
        if tail - head <= context:
            pieces += _pieces(text, place, inner, differs)
        else:
            pieces += _pieces(text[:head], place, inner, differs)
            pieces.append(_left_out(tail - head, differs))
            pieces += _pieces(text[tail:], place + tail, inner, differs)
            complete = False
        place += len(text)
    return Visible(tuple(pieces), differs=not whole, length=None if complete else len(whole))


def _left_out(count: int, differs: bool = False) -> Piece:
    return Piece(f"… {count:,} characters …", "cut", differs)


def _inner(text: str) -> range:
    """Places that are neither among the leading nor among the trailing blanks."""
    return range(len(text) - len(text.lstrip(" ")), len(text.rstrip(" ")))


def _pieces(text: str, place: int, inner: range, differs: bool = False) -> Iterator[Piece]:
    """Runs of what can be seen, and a sign for each character that cannot; `place` is where `text` begins."""
    signs = (_sign(character, differs or place + n not in inner) for n, character in enumerate(text))
    for hidden, run in groupby(zip(text, signs, strict=True), key=lambda each: each[1] is not None):
        if hidden:
            yield from (Piece(sign[0], "sign", differs, sign[1]) for _, sign in run if sign)
        else:
            plain = "".join(character for character, _ in run)
            yield Piece(plain, "text", differs, _codes(plain) if differs and len(text) <= NAMED_BY_CODE else "")


def _sign(character: str, telling: bool) -> tuple[str, str] | None:
    """What stands for a character that cannot be seen, and its name; None for one that can.

    Args:
        telling: whether the character is part of a difference, or at an end of the value.
    """
    if " " < character <= "~":
        return None
    category = unicodedata.category(character)
    # A blank between words is seen; a joiner shapes letters of Persian and emoji, and is seen by that.
    seen = character == " " or character in _JOINERS or (category[0] not in "CZM" and character not in _BLANK_LETTERS)
    if (seen or category[0] == "M") and not (telling and (character == " " or category[0] in "CZM")):
        return None
    code = f"U+{ord(character):04X}"
    return _SIGNS.get(character, code), f"{code} {unicodedata.name(character, '')}".strip()


def _codes(plain: str) -> str:
    return " ".join(f"U+{ord(character):04X}" for character in plain if character > "~")
