"""What an engine must be able to do: the adapter that the registry names, and the side of a comparison that it opens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import duckdb
import pyarrow as pa

from helpers.digests import Method, Sums
from helpers.engines.answers import Answers, AnswersOf
from helpers.engines.applying import Applier, Followed
from helpers.engines.certifying import Trial
from helpers.engines.columns import ComparedColumn, Segments, TablePlan
from helpers.engines.loading import Destination
from helpers.engines.shapes import TableShape
from helpers.model.declared import Ddl
from helpers.model.manifest import Manifest
from helpers.model.places import TargetTable
from helpers.model.sync import Sync
from helpers.model.types import Comparison
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings, Source, Stage

DuckDB = duckdb.DuckDBPyConnection

MOST_SEGMENTS_CHOSEN = 100_000
"""In one IN list of PostgreSQL or DuckDB; with more, all rows are fetched."""


@dataclass(frozen=True)
class Place:
    """Where a target is, and which of its tables are looked at.

    Attributes:
        server: of a target that is another PostgreSQL.
        bucket, manifest: of the export, where there is one.
    """

    settings: Settings
    server: Source
    tables: Sequence[TablePlan] = ()
    bucket: Bucket | None = None
    manifest: Manifest | None = None


@dataclass(frozen=True)
class StandIn:
    """What answers in the place of a service on the local stack.

    Attributes:
        program: that answers.
        how: it does so, after a colon.
        place: what of the service it is not.
        kind: what goes before the program's name.
    """

    program: str
    service: str
    how: str
    place: str
    kind: str = "the stand-in "

    def __str__(self) -> str:
        return f"{self.kind}{self.program}, no {self.service}"


class Engine(ABC):
    """An engine as a target.

    Attributes:
        title: as people say it.
        ddl: how its tables are defined.
        renames: whether its tables and columns may have other names than the source's.
        as_staged: whether it holds the values as an export stages them, and not as the source itself does.
        needs_export: whether there is nothing to compare before an export.
    """

    title: str
    ddl: Ddl
    renames = True
    as_staged = True
    needs_export = False

    @abstractmethod
    def address(self, place: Place) -> str:
        """The server as people name it, without credentials; it is not asked."""

    def own_schema(self, profile: Settings) -> str | None:
        """The schema of tables that no pattern of the profile puts elsewhere; None where that is the source's own."""
        return None

    def stand_in(self, place: Place) -> StandIn | None:
        """What stands in for the service on the local stack; None where it is the service itself."""
        return None

    @abstractmethod
    def open(self, place: Place, stack: ExitStack) -> Any:
        """The target as a `Side` of a comparison; but for a PostgreSQL, it is one that can be `Asked`, too.

        Raises:
            ConnectionFailed: it cannot be reached.
        """

    def sessions(self, place: Place) -> int:
        """How many tables may be compared at the same time, each over a session of its own."""
        return 1

    def open_another(self, place: Place, side: Any, stack: ExitStack) -> Any:
        """One more session for a target that `open` has opened; nothing that it knows is asked again.

        An engine that has several `sessions` has one.
        """
        raise NotImplementedError

    def estimated_cost(self, settings: Settings, what: Literal["load", "verify"], size: int, tables: int) -> str:
        """What a load or a verification will cost, in words; empty where nobody is billed by the second.

        Args:
            size: bytes of the staged files.
        """
        return ""

    def actual_cost(self, settings: Settings, since: datetime) -> str:
        """What our statements have cost since a moment, likewise."""
        return ""

    def ask(self, place: Place, stack: ExitStack) -> Answers:
        """The target as one that answers queries about the source's tables.

        Raises:
            ConnectionFailed: it cannot be reached.
        """
        return AnswersOf(self.open(place, stack), place.tables)

    def destination(self, target: Any) -> Destination:
        """What a load asks of it; for an engine that loads fill.

        Args:
            target: the engine's section of a profile.
        """
        raise NotImplementedError(f"{self.title} is not filled by loads")

    def applier(self, target: Any, bucket: Bucket, sync: Sync) -> AbstractContextManager[Applier]:
        """A connection that a sync applies its changes over, for an engine that loads fill; it ends with the block.

        Args:
            target: the engine's section of a profile.
            bucket: where the export and the batches are.

        Raises:
            ConnectionFailed: there is no answer.
        """
        raise NotImplementedError(f"{self.title} is not filled by loads")

    def followed(self, target: Any, bucket: Bucket) -> Followed | None:
        """The sync that has begun to change the tables which loads from this stage filled; None where they are as these left them.

        Raises:
            ConnectionFailed: there is no answer.
        """
        return None

    def trial(self, target: Any, stage: Stage) -> AbstractContextManager[Trial]:
        """What a certification asks of it, for an engine that loads fill; `ConnectionFailed` where there is no answer.

        Args:
            target: the engine's section of a profile.
            stage: that loads read.
        """
        raise NotImplementedError(f"{self.title} is not filled by loads")


class Side(Protocol):
    """A source or a target whose rows are compared.

    Attributes:
        name: of the engine.
        methods: the digests it can give, the cheapest first.
        digested: where the canonical one is computed, in words.
    """

    name: str
    digested: str
    methods: tuple[Method, ...]

    def tables(self) -> list[TargetTable]:
        """Every table that it has in the schemas of the tables that are compared."""

    def shape(self, plan: TablePlan) -> TableShape | None:
        """The table's definition, or None where there is no such table."""

    def rows(self, table: TargetTable) -> int:
        """How many rows a table has that `tables` names."""

    def count(self, plan: TablePlan) -> int:
        """How many rows the table has, of those that are compared."""

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        """The table's digest.

        Raises:
            NoDigest: a value has no form in this method.
        """

    def choosable(self, plan: TablePlan) -> int:
        """Of how many segments, at most, `fetch` can choose the rows; 0 where it can only fetch them all."""

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        """Creates the table `name` with a VARCHAR column `c0`, `c1` … for each of the plan's columns.

        Args:
            chosen: only the rows of these segments, no more of them than `choosable` says; None for all.
        """

    def value(self, text: str, comparison: Comparison) -> str:
        """The SQL expression of the value that `text`, one of the fetched columns, stands for."""

    def printed(self, text: str, column: ComparedColumn) -> str:
        """The SQL expression of how PostgreSQL would print that value in a column of the source's type."""


@dataclass(frozen=True)
class Ends:
    """The two sides of a verification, and the stage where it can tell what the source held at the export."""

    source: Side
    target: Side
    stage: Side | None = None


class NoDigest(Exception):  # noqa: N818 - never reaches a person: the table is then compared in full
    """A value of the table has no form in the method asked for."""


def insert(into: DuckDB, name: str, rows: pa.Table | pa.RecordBatchReader, selected: str = "*") -> None:
    """Appends Arrow rows to a table; `selected` are expressions over their columns."""
    into.register("arriving", rows)
    try:
        into.execute(f"INSERT INTO {name} SELECT {selected} FROM arriving")
    finally:
        into.unregister("arriving")
