"""What an engine must be able to do as the target of a sync: say which position its tables are at, and take a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from helpers.errors import TargetRefused
from helpers.model.batch import Batch
from helpers.model.lsn import printed
from helpers.model.manifest import StagedTable
from helpers.model.places import TargetTable
from helpers.model.sync import ANEW


@dataclass(frozen=True)
class Positions:
    """How far a target is.

    Attributes:
        whole: that every table has reached; None where no sync has begun here.
        ahead: tables that are further, each with its position: the batch that they have was broken off, or they were copied anew.
    """

    whole: int | None
    ahead: Mapping[TargetTable, int] = field(default_factory=dict)

    def at(self, table: TargetTable) -> int | None:
        """The position of one table."""
        if self.whole is None:
            return None
        return max(self.whole, self.ahead.get(table, 0))


@dataclass(frozen=True)
class Followed:
    """A sync that changes what a load left in a target, since that load.

    Attributes:
        sync: its id.
        position: that every table has reached.
    """

    sync: str
    position: int


class Applier(ABC):
    """One connection to a target, for the changes of one sync; no two processes have one for the same sync at a time."""

    @abstractmethod
    def positions(self, tables: Collection[TargetTable]) -> Positions:
        """How far the target is with this sync.

        Args:
            tables: that are looked at; those that have stopped are not among them.

        Raises:
            ConnectionFailed: the target does not answer.
            TargetRefused: it was loaded from another snapshot or followed by another sync since.
            TablesRefused: rows that others wrote, or a table that others replaced, would make a mixture of what changes follow on.
        """

    @abstractmethod
    def begin(self, tables: Mapping[TargetTable, int]) -> None:
        """Records that the sync goes on from loads of ours: each table at the position that its snapshot had.

        The tables of the set-up come first and all at once; one that was copied anew or added comes by itself, after its load, and
        its position is one that the others have not passed. Called again with the same it changes nothing.

        Raises:
            TargetRefused: a table does not hold the rows of its load.
        """

    @abstractmethod
    def apply(self, batch: Batch, tables: Sequence[StagedTable]) -> None:
        """Applies a batch to each table that is at its beginning, skips those that are at its end, and records both.

        Killed at any moment and called again with the same batch, or with others between the same cuts, it changes each row once.

        Args:
            tables: those of the sync, as they are staged, with their places in the target; of a table without changes only the
                position moves.

        Raises:
            ConnectionFailed: the target does not answer; a retry can help.
            TablesRefused: others have written to tables; called again without them, it goes on.
            TargetRefused: a table's position lies within the batch.
        """


class TablesRefused(TargetRefused):
    """Some tables cannot be followed further in this target; without them the same call goes on.

    Attributes:
        tables: why each cannot, by its name as people know it there.
    """

    tables: Mapping[str, str] = {}


def written(where: str, table: str, others: Iterable[str]) -> TablesRefused:
    """The refusal of a table to which others wrote: what changes follow on is no longer what it holds."""
    why = f"others wrote to it since: {', '.join(dict.fromkeys(others))}"
    error = TablesRefused(
        f"apply changes to {table}", on=where, why=why,
        next_step=f"nothing of theirs was changed. Keep what is needed of it, see that only sync writes there, {ANEW}",
    )  # fmt: skip
    error.tables = {table: why}
    return error


def between(where: str, table: str, at: int, after: int, until: int) -> TargetRefused:
    """The refusal of a batch that a table cannot take whole."""
    return TargetRefused(
        f"apply changes to {table}", on=where,
        why=f"it is at {printed(at)}, and the batch goes from {printed(after)} to {printed(until)}",
        next_step=f"nothing was changed. Changes between the two may be missing: {ANEW}",
    )  # fmt: skip


def not_begun(where: str, why: str) -> TargetRefused:
    """The refusal of a target that does not hold what changes follow on."""
    return TargetRefused(
        "go on from the copy", on=where, why=why,
        next_step="nothing was changed. Load the export that the sync was set up with: runbook load; or set it up anew: runbook export --follow",
    )  # fmt: skip


def stood_still(where: str, refused: Sequence[TargetRefused]) -> TargetRefused:
    """One refusal of all tables that were refused."""
    if len(refused) == 1:
        return refused[0]
    why = "; ".join(f"{each.what.removeprefix('apply changes to ')}: {each.why}" for each in refused)
    of_tables = [each for each in refused if isinstance(each, TablesRefused)]
    kind = TablesRefused if len(of_tables) == len(refused) else TargetRefused
    error = kind("apply changes", on=where, why=why, next_step=refused[0].next_step)
    if isinstance(error, TablesRefused):
        error.tables = {name: why for each in of_tables for name, why in each.tables.items()}
    return error
