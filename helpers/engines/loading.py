"""What an engine must be able to do as the target of a load: say what is there, and then change it table by table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from helpers.engines.applying import Followed
from helpers.engines.shapes import TableShape
from helpers.errors import LoadError, MigrationError
from helpers.model.keys import Told
from helpers.model.manifest import StagedColumn, StagedTable
from helpers.model.names import Refusal
from helpers.model.places import TargetTable
from helpers.platforms.naming import NameRules
from helpers.platforms.s3 import Bucket
from helpers.settings import Target


@dataclass(frozen=True)
class TableLoad:
    """What will happen to one table.

    Attributes:
        staged: with the comments that it will have.
        target: the table's schema and name in the target.
        way: whether it is created, only its rows are replaced, it is altered first, or another takes its place.
        action: the same for people, with the reason.
        source_comments: by column, the table's own under ""; they are recorded with the load.
        written: whether others wrote to the present table since its load.
        details: what the engine keeps of the plan for itself.
    """

    staged: StagedTable
    target: TargetTable
    way: Literal["create", "rows", "alter", "replace"]
    action: str
    source_comments: Mapping[str, str] = field(default_factory=dict)
    written: bool = False
    details: Any = None

    @property
    def serves(self) -> bool:
        """Whether the present table is as the source's: only its rows are replaced."""
        return self.way == "rows"


@dataclass(frozen=True)
class Standing:
    """A table of ours that is there under the name of one to load.

    Attributes:
        comments: of the source at the last load; None where nobody recorded them.
        kept: where the rows stay that others wrote since; empty where nobody wrote any.
    """

    shape: TableShape
    comments: Mapping[str, str] | None = None
    kept: str = ""


@dataclass(frozen=True)
class There:
    """What a target has at the names that a load needs.

    Attributes:
        tables: those that a load of ours made.
        names: why names cannot be used, beside what the engine's rules say of any name.
        foreign: what lies there that no load of ours made.
    """

    tables: Mapping[TargetTable, Standing] = field(default_factory=dict)
    names: Sequence[Refusal] = ()
    foreign: Mapping[TargetTable, str] = field(default_factory=dict)


class Loader(ABC):
    """One connection to a target, for one load or its plan.

    Attributes:
        refused: what has to be refused of the load, found while it is planned.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.refused: list[MigrationError] = []

    @abstractmethod
    def look(self, chosen: Sequence[StagedTable]) -> There:
        """What the target has at the names of some tables; nothing else that lies there is looked at."""

    @abstractmethod
    def change(self, table: TableLoad, found: TableShape, wanted: TableShape) -> TableLoad:
        """The plan for a present table, whose rows alone would be replaced, where it may have to be changed for that.

        Raises:
            TargetRefused: what its owner put on it would be lost.
        """

    @abstractmethod
    def gone(self, kept: Sequence[StagedTable]) -> dict[TargetTable, bool]:
        """Tables of any schema that loads from this stage made and that are not in `kept`; whether others wrote to them since."""

    @abstractmethod
    def begin(self, export: str, load_id: str, tables: Sequence[TableLoad]) -> None:
        """Makes what a load needs before its first table, and goes on with the record of a load that was broken off."""

    @abstractmethod
    def holds(self, table: TargetTable, rows: int) -> bool:
        """Whether a table has the rows of the load that was begun or recalled: all of them, and nobody else's since."""

    def held(self, tables: Mapping[TargetTable, int]) -> set[TargetTable]:
        """Those that `holds` is true of, by what it is given."""
        return {table for table, rows in tables.items() if self.holds(table, rows)}

    def another(self) -> AbstractContextManager[Loader]:
        """Another connection for the load that was begun, which another thread fills tables over.

        An engine whose `Destination` takes several tables at once has one.
        """
        raise NotImplementedError

    def interrupt(self, others: Sequence[Loader]) -> None:  # noqa: B027 - where there are no others
        """Ends what runs over the connections that `another` has made; each table is then as it was before, or whole."""

    @abstractmethod
    def load_table(self, table: TableLoad) -> None:
        """Replaces a table's rows and records that.

        Raises:
            ConnectionFailed: the target does not answer any more.
            LoadError: it refused rows, or counted others than were staged.
        """

    def keep_table(self, table: TableLoad) -> None:  # noqa: B027 - most engines have nothing to do
        """Completes a table that has the rows of this very load."""

    def settle(self, tables: Collection[TargetTable]) -> None:  # noqa: B027 - most engines have nothing to do
        """Records that some loaded tables are now as this load leaves them: who changes them from now on is somebody else."""

    def tell_keys(self, told: Sequence[Told], tables: Collection[TargetTable]) -> dict[str, str]:
        """Makes the target's catalog say which keys the source has, of the tables that loads of ours made there.

        Args:
            told: every key of the manifest, by the target's names; of tables that are not loaded now, too.
            tables: of the manifest, where they are in the target.

        Returns:
            Each key that the target was not told of, and why.
        """
        return {str(each): "its tables have no place for keys" for each in told}

    @abstractmethod
    def drop(self, table: TargetTable, *, written: bool) -> None:
        """Drops a table of ours that the source no longer has; what others wrote to it is kept, where the engine can."""

    @abstractmethod
    def finish(self, tables: Collection[TargetTable], dropped: Collection[TargetTable], rows: int) -> None:
        """Records that the load is whole."""

    def followed(self, export: str) -> Followed | None:
        """The sync that has begun to change what a load of this export filled; asked once `look` has looked."""
        return None

    @abstractmethod
    def last_load(self, export: str) -> str | None:
        """The id of the load of an export that most tables are recorded with; None for none."""

    @abstractmethod
    def recall(self, load_id: str) -> bool:
        """Reads what is recorded of a load; whether it is recorded as whole."""


@dataclass(frozen=True)
class Destination:
    """A target that loads fill.

    Attributes:
        target: the section of the profile that describes it.
        where: the server as people know it, without credentials.
        rules: what it takes for a name.
        open: a connection for one load from a stage, which ends with the block; `ConnectionFailed` where there is no answer.
        ask: asks what a reader asks, over a connection of its own as readers come: a query, in the schema of a table, or without one
            how many rows that table has; `ConnectionFailed` or `LoadError` where there is no answer.
        at_once: what all rows of a table arrive in.
        written_by: which of several programs writes its tables; empty where there is one.
        wakes: whether a question starts a machine that costs money.
        parallel: tables that are loaded at the same time.
    """

    target: Target
    where: str
    rules: NameRules
    open: Callable[[Bucket], AbstractContextManager[Loader]]
    ask: Callable[[str | None, TargetTable], object]
    at_once: Literal["transaction", "commit"] = "transaction"
    written_by: str = ""
    wakes: bool = False
    parallel: int = 1


def miscounted(staged: StagedTable, on: str, where: str, rows: int, next_step: str) -> LoadError:
    """The error of other rows than were staged."""
    why = f"{staged.rows:,} rows were staged, but {where} {rows:,}"
    return LoadError(f"load {staged}", on=on, why=why, next_step=next_step)


def counts(staged: StagedTable, value: Callable[[StagedColumn], str]) -> str:
    """The SELECT list by which an engine counts what it read of the staged files: rows, and values that are not NULL.

    Args:
        staged: the table of the manifest.
        value: the SQL of a column's value, of the staged field.
    """
    columns = staged.columns if staged.values else ()
    return ", ".join(["COUNT(*) AS N", *(f"COUNT({value(column)}) AS V{n}" for n, column in enumerate(columns))])


def require_staged(staged: StagedTable, counted: Mapping[str, Any], *, on: str, where: str, next_step: str) -> None:
    """Raises `LoadError` where an engine read other rows than were staged, or where values of a column are missing or too many.

    A reader may take a text for NULL, or give NULLs for a column that it does not find, and say nothing.

    Args:
        staged: the table of the manifest, with its counts; one of an older version has none of values.
        counted: what the query of `counts` gave.
        on: the engine.
        where: what was counted, as a clause that ends before the number ("its files hold").
        next_step: what to do.
    """
    if int(counted["N"]) != staged.rows:
        raise miscounted(staged, on, where, int(counted["N"]), next_step)
    found = []
    if values := staged.values:
        pairs = [(c.name, values[c.field], int(counted[f"V{n}"])) for n, c in enumerate(staged.columns)]
        found = [
            f"column {name}: {there:,} values are not NULL, {wanted:,} were staged"
            for name, wanted, there in pairs if there != wanted
        ]  # fmt: skip
    if found:
        more = f"; and {len(found) - _MOST_NAMED:,} other columns" if len(found) > _MOST_NAMED else ""
        raise LoadError(f"load {staged}", on=on, why="; ".join(found[:_MOST_NAMED]) + more, next_step=next_step)


def counted_as_staged(staged: StagedTable) -> list[dict[str, Any]]:
    """What the query of `counts` answers where everything that was staged has arrived."""
    values = staged.values or {}
    return [{"N": staged.rows, **{f"V{n}": values[c.field] for n, c in enumerate(staged.columns) if values}}]


_MOST_NAMED = 20
"""Columns in one message."""
