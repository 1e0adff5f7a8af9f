"""Statements as they are sent to a target: for whoever listens, such as a certification and the tests, and for a reviewer before a
command (`--plan --sql`).

Every statement passes `sent`. While a listing withholds, what changes anything is noted and not sent, and what only reads is sent;
a statement that reads what was withheld is answered as the caller expects it, or with nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from helpers.errors import LoadError
from helpers.redaction import redact

System = Literal["snowflake", "spark"]
Answer = TypeVar("Answer")

_READS = re.compile(r"\s*(?:SELECT|SHOW|DESCRIBE|DESC|LIST|EXPLAIN|WITH)\b", re.IGNORECASE)

_KEYS = re.compile(r"(?P<name>AWS_(?:KEY_ID|SECRET_KEY|TOKEN)\s*=\s*)'(?:[^'\\]|\\.|'')*'", re.IGNORECASE)
"""Those of the stage, which come from a role too and are then known to nobody but the statement."""

_CONSTANTS = re.compile(r"""'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\b\d[\w.]*""", re.DOTALL)
_WORDS = re.compile(r"[A-Za-z_$][\w$]*|->|%|\|\|")
_HEAD = re.compile(r"\s*((?:[A-Za-z_]+\s*)+)")

_listeners: list[Callable[[System, str], object]] = []
_listings: list[Listing] = []


@dataclass(frozen=True)
class Statement:
    """One statement, its secrets masked.

    Attributes:
        sql: with `%s` for each of `values`.
        reads: whether it only reads, so that it may have been sent.
    """

    system: System
    sql: str
    values: tuple[str, ...] = ()
    reads: bool = False

    def __str__(self) -> str:
        return f"{self.sql};" + (f"  -- with {', '.join(self.values)}" if self.values else "")


@dataclass
class Listing:
    """Statements in the order in which they were sent or would have been.

    Attributes:
        withhold: whether what changes anything is kept back.
        unread: whether what only reads is, too.
    """

    withhold: bool = False
    unread: bool = False
    found: list[Statement] = field(default_factory=list)

    def note(self, system: System, sql: str, values: Sequence[object]) -> Statement:
        """Adds a statement as people may see it."""
        shown = _KEYS.sub(r"\g<name>'•••'", redact(sql))
        made = Statement(system, shown, tuple(redact(str(value)) for value in values), bool(_READS.match(sql)))
        self.found.append(made)
        return made


@contextmanager
def heard(listener: Callable[[System, str], object]) -> Iterator[None]:
    """Calls `listener` with every statement of this process meanwhile, from whichever thread, before it is sent."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def listed(*, withhold: bool = False) -> Iterator[Listing]:
    """Lists what this process sends within the block; the innermost listing decides what is withheld."""
    listing = Listing(withhold)
    _listings.append(listing)
    try:
        yield listing
    finally:
        _listings.remove(listing)


@contextmanager
def unread() -> Iterator[None]:
    """Keeps back what reads rows, too, where changes are withheld: a query over a whole table costs what it costs."""
    listing = _listings[-1] if rehearsed() else Listing()
    listing.unread = True
    try:
        yield
    finally:
        listing.unread = False


def rehearsed() -> bool:
    """Whether changes are withheld, so that nothing else may be changed either: no file, no record."""
    return bool(_listings and _listings[-1].withhold)


def sent(
    system: System, sql: str, values: Sequence[object], run: Callable[[], Answer], nothing: Answer,
    expected: Answer | None = None,
) -> Answer:  # fmt: skip
    """Runs a statement, unless a listing withholds it.

    Args:
        system: that it goes to.
        sql, values: of it.
        run: sends it.
        nothing: the answer of a statement that was not sent.
        expected: the answer where it reads back what statements before it did, which were withheld.

    Raises:
        MigrationError: what `run` raises.
    """
    for listener in tuple(_listeners):
        listener(system, sql)
    if not _listings:
        return run()
    listing = _listings[-1]
    noted = listing.note(system, sql, values)
    if not listing.withhold:
        return run()
    if expected is not None or not noted.reads or listing.unread:
        return nothing if expected is None else expected
    try:
        return run()
    except LoadError:
        if all(each.reads for each in listing.found):
            raise
        return nothing  # of something that a withheld statement would have made


_ONCE = re.compile(r"_[0-9a-f]{32}\b")
"""What a name that is made for one use ends with."""


def shape(sql: str) -> tuple[str, frozenset[str]]:
    """What of a statement does not depend on names and values: how it begins, and every word that is in it.

    A query over three columns and one over three hundred have one shape where their columns are of the same types.
    """
    bare = _ONCE.sub("", _CONSTANTS.sub(" ", sql))
    words = frozenset(re.sub(r"\d+$", "", word.upper()) for word in _WORDS.findall(bare))
    head = _HEAD.match(bare)
    return " ".join(head[1].upper().split()) if head else "", words
