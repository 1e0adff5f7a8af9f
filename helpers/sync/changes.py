"""What a slot tells: rows as PostgreSQL's text, changes of one row, and transactions of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Literal


class Unchanged(Enum):
    """The place of a TOASTed value that an UPDATE did not touch: PostgreSQL does not send it again."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED

Value = str | None | Unchanged
"""PostgreSQL's text of a value, None for NULL."""

Row = tuple[Value, ...]
"""A value for each column of a relation."""


@dataclass(frozen=True)
class RelationColumn:
    """A column as the stream describes it.

    Attributes:
        key: whether it is part of the replica identity.
        type_oid, typmod: as in pg_attribute.
    """

    name: str
    key: bool
    type_oid: int
    typmod: int


@dataclass(frozen=True)
class Relation:
    """A table as it was when the changes after it were made.

    Attributes:
        identity: pg_class.relreplident: d default, n nothing, f full, i index.
    """

    oid: int
    schema: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Change:
    """One row's change, or one table's TRUNCATE.

    Attributes:
        old: the row before it. Of identity default or index only the key's columns have values (the others are None), and an
            UPDATE that leaves the key as it is has none; of identity full it is the whole row.
        new: the row after it.
    """

    relation: Relation
    kind: Literal["insert", "update", "delete", "truncate"]
    old: Row | None = None
    new: Row | None = None


@dataclass(frozen=True)
class Mark:
    """A message that a program wrote into the log with pg_logical_emit_message.

    Attributes:
        lsn: of the message.
        transactional: whether it stands in a transaction, which then names it among its changes.
    """

    prefix: str
    content: bytes
    lsn: int
    transactional: bool


@dataclass(frozen=True)
class Transaction:
    """One committed transaction, which may be larger than memory.

    Attributes:
        commit_lsn: of its commit record: it lies before a position that is greater than this.
        end_lsn: the position right after it.
        changes: in their order; can be read again.
    """

    xid: int
    commit_lsn: int
    end_lsn: int
    committed: datetime
    changes: Iterable[Change | Mark]
