"""Statements as they are sent to a target, for whoever listens: what a certification names, and what tests look at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[str], object]] = []

_CONSTANTS = re.compile(r"""'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\b\d[\w.]*""", re.DOTALL)
_WORDS = re.compile(r"[A-Za-z_$][\w$]*|->|%|\|\|")
_HEAD = re.compile(r"\s*((?:[A-Za-z_]+\s*)+)")


def tell(sql: str) -> None:
    """Called with each statement before it is sent."""
    for listener in tuple(_listeners):
        listener(sql)


@contextmanager
def heard(listener: Callable[[str], object]) -> Iterator[None]:
    """Calls `listener` with every statement that this process sends to a target meanwhile, from whichever thread."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def shape(sql: str) -> tuple[str, frozenset[str]]:
    """What of a statement does not depend on names and values: how it begins, and every word that is in it.

    A query over three columns and one over three hundred have one shape where their columns are of the same types.
    """
    bare = _CONSTANTS.sub(" ", sql)
    words = frozenset(re.sub(r"\d+$", "", word.upper()) for word in _WORDS.findall(bare))
    head = _HEAD.match(bare)
    return " ".join(head[1].upper().split()) if head else "", words
