"""Gathers transactions into batches, none of which spans a cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from helpers.sync.changes import Change, Relation, Transaction
from helpers.sync.collapse import Collapsed, Inconsistent


@dataclass(frozen=True)
class Target:
    """A table whose changes are gathered, as the collector knows it.

    Attributes:
        name: schema.table.
        key: the columns by which its rows are told apart.
        start: changes of transactions before this position are in its copy.
        leaves: OIDs of the partitions that have its rows; empty of a table without partitions.
    """

    name: str
    key: tuple[str, ...]
    start: int
    leaves: frozenset[int] = frozenset()


@dataclass
class Gathered:
    """The changes of one table.

    Attributes:
        relation: that its last row was described by.
    """

    relation: Relation
    collapsed: Collapsed


@dataclass
class Pending:
    """Transactions between two positions, by table.

    Attributes:
        changes: rows that were read, however many keys they touched.
        committed: when the last of them was.
    """

    after: int
    until: int
    committed: datetime | None = None
    changes: int = 0
    tables: dict[str, Gathered] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Characters of the values that are held, about what they cost in memory."""
        return sum(each.collapsed.size for each in self.tables.values())


class Collector:
    """Takes transactions in the order of their commits.

    Args:
        after: the position that everything before is applied of.
        cuts: positions that no batch may span.
        find: the table that a relation's changes belong to; None where they are not gathered.
        stop: told of a table whose changes cannot be gathered, and why.
    """

    def __init__(
        self,
        after: int,
        cuts: Iterable[int],
        find: Callable[[Relation], Target | None],
        stop: Callable[[str, str], None],
    ) -> None:
        self._cuts = sorted({cut for cut in cuts if cut > after})
        self._find, self._stop = find, stop
        self.pending = Pending(after, after)

    def cut(self, position: int) -> None:
        """Adds a cut.

        Raises:
            ValueError: what was gathered is beyond it.
        """
        if position < self.pending.until:
            raise ValueError(f"what was gathered reaches {self.pending.until}, beyond the cut {position}")
        if position > self.pending.after:
            self._cuts = sorted({*self._cuts, position})

    def due(self, position: int) -> bool:
        """Whether what is gathered must be applied before what lies at `position` is taken: a cut lies in between."""
        return bool(self._cuts) and self._cuts[0] <= position

    def take(self, transaction: Transaction) -> None:
        """Gathers a transaction's changes; no cut is due before it."""
        assert not self.due(transaction.commit_lsn), "a cut is due"
        pending = self.pending
        emptied: dict[str, set[int]] = {}
        for change in transaction.changes:
            if not isinstance(change, Change) or not (target := self._find(change.relation)):
                continue
            if transaction.commit_lsn < target.start:
                continue
            pending.changes += 1
            if change.kind == "truncate" and target.leaves:
                emptied.setdefault(target.name, set()).add(change.relation.oid)
                if not emptied[target.name] >= target.leaves:
                    continue  # until the other partitions are, too
                del emptied[target.name]
            elif target.name in emptied:
                self._stop_emptied(target.name)
                del emptied[target.name]
                continue
            self._gather(target, change)
        for name in emptied:
            self._stop_emptied(name)
        # A cut may lie within the commit record itself, and the transaction before it.
        pending.until = min([transaction.end_lsn, *self._cuts[:1]])
        pending.committed = transaction.committed

    def _gather(self, target: Target, change: Change) -> None:
        gathered = self.pending.tables.get(target.name)
        if gathered is None:
            gathered = self.pending.tables[target.name] = Gathered(change.relation, Collapsed(target.key))
        gathered.relation = change.relation
        try:
            gathered.collapsed.take(change)
        except Inconsistent as error:
            self.forget(target.name)
            self._stop(target.name, str(error))

    def _stop_emptied(self, table: str) -> None:
        self.forget(table)
        self._stop(table, "some of its partitions were truncated alone, and which rows were theirs is not told")

    def forget(self, table: str) -> None:
        """Drops what was gathered of a table that has stopped."""
        self.pending.tables.pop(table, None)

    def reach(self, position: int) -> None:
        """Everything before a position was taken, as far as the next cut."""
        if self._cuts:
            position = min(position, self._cuts[0])
        self.pending.until = max(self.pending.until, position)

    def hand_over(self) -> Pending:
        """What is gathered; what comes next begins where it ends."""
        done = self.pending
        self._cuts = [cut for cut in self._cuts if cut > done.until]
        self.pending = Pending(done.until, done.until)
        return done
