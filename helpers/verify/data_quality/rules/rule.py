"""One rule about a table's rows, and the ways in which rows can break it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from helpers.engines.conditions import Condition

Kind = Literal["not-null", "unique", "foreign-key", "check", "accepted-values", "range", "null-share"]


@dataclass(frozen=True)
class Breaks:
    """A row breaks the rule where `condition` is true.

    Attributes:
        original: PostgreSQL's own expression, false for a row that breaks the rule, where `condition` translates one.
    """

    condition: Condition
    original: str | None = None


@dataclass(frozen=True)
class Unique:
    """No two rows have the same values in the rule's columns.

    Attributes:
        nulls_equal: whether NULL is the same as NULL; otherwise rows with one are not looked at.
        only: the rows that the rule is about, None for all.
    """

    nulls_equal: bool = False
    only: Condition | None = None


@dataclass(frozen=True)
class Reference:
    """Each row's values are those of a row of another table, or NULL.

    Attributes:
        table: the other table, with its schema.
        columns: of the other table, in the order of the rule's columns.
        full: whether either all values are NULL or none is (MATCH FULL).
    """

    table: str
    columns: tuple[str, ...]
    full: bool = False


@dataclass(frozen=True)
class NullShare:
    """As many of the rows have no value as in the source."""

    nulls: int
    rows: int


@dataclass(frozen=True)
class NotChecked:
    """No test of the target says whether it keeps the rule."""

    why: str


Test: TypeAlias = Breaks | Unique | Reference | NullShare | NotChecked


@dataclass(frozen=True)
class Rule:
    """What the source declares of a table's rows, or what all its rows have in common.

    Attributes:
        table: with its schema.
        name: of the constraint or index, or the column and what was seen of it.
        declared: by the source's definition; otherwise observed in its rows.
        words: the rule as a person says it.
    """

    table: str
    name: str
    kind: Kind
    declared: bool
    columns: tuple[str, ...]
    words: str
    test: Test

    @property
    def id(self) -> str:
        """A name that no other rule of the source has, and that the next verification gives it too."""
        return f"{self.table}:{self.kind}:{self.name}"
