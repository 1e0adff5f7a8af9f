"""What a row may be asked, as a tree; three-valued logic is the same in every engine.

`helpers.verify.conditions` reads such trees from PostgreSQL's SQL, an operator's or a constraint's; `helpers.engines.where` writes
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from helpers.engines.held import Form

Operator = Literal["=", "<>", "<", "<=", ">", ">="]


class Untranslatable(Exception):  # noqa: N818
    """Why a condition has no equal in other engines: the part that has none, or a sentence and what to write instead."""

    def __init__(self, why: str, instead: str = "") -> None:
        super().__init__(why)
        self.instead = instead


@dataclass(frozen=True)
class Constant:
    """A value: its text, and its kind; a float's text is one that every engine reads back to the same bits."""

    text: str
    form: Form


@dataclass(frozen=True)
class Truth:
    """True or false of every row."""

    value: bool


@dataclass(frozen=True)
class IsNull:
    """The column has no value."""

    column: str


@dataclass(frozen=True)
class IsTrue:
    """A boolean column by itself."""

    column: str


@dataclass(frozen=True)
class Compare:
    """A column beside a constant."""

    column: str
    operator: Operator
    constant: Constant


@dataclass(frozen=True)
class Pair:
    """A column beside another of the same table."""

    left: str
    operator: Operator
    right: str


@dataclass(frozen=True)
class Length:
    """The characters of a text beside a number."""

    column: str
    operator: Operator
    characters: int


@dataclass(frozen=True)
class OneOf:
    """The column has one of these values."""

    column: str
    constants: tuple[Constant, ...]


@dataclass(frozen=True)
class Not:
    """The opposite."""

    of: Condition


@dataclass(frozen=True)
class Both:
    """All of several."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Either:
    """One of several."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = Truth | IsNull | IsTrue | Compare | Pair | Length | OneOf | Not | Both | Either


def columns_of(condition: Condition) -> tuple[str, ...]:
    """The columns it looks at, each once, in the order in which they come."""
    return tuple(dict.fromkeys(_columns(condition)))


def _columns(condition: Condition) -> Iterator[str]:
    match condition:
        case Pair(left, _, right):
            yield from (left, right)
        case Not(of):
            yield from _columns(of)
        case Both(parts) | Either(parts):
            for part in parts:
                yield from _columns(part)
        case Truth():
            pass
        case _:
            yield condition.column
