"""What is compared: a table of the source, its columns as the target should have them, and which of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helpers.engines.conditions import Condition
from helpers.engines.held import Form, declared_form
from helpers.engines.shapes import TableShape, declared_type
from helpers.model.catalog import Table
from helpers.model.declared import DUCKDB, Ddl, Declared
from helpers.model.manifest import StagedColumn, StagedTable
from helpers.model.places import TargetTable
from helpers.model.types import Comparison
from helpers.platforms.postgres import identifier


@dataclass(frozen=True)
class ComparedColumn:
    """A column as the target should have it, and how it is compared.

    Attributes:
        comparison: what makes two texts the same value.
        text: the expression by which PostgreSQL prints what the target should hold.
        postgres: the column's type in PostgreSQL.
        staged: how the export reads and stages it; the digests are made of the same values.
        there: its name in the target.
        tolerance: how far two numbers may lie apart and still count as equal.
    """

    name: str
    type: Declared
    not_null: bool
    comparison: Comparison
    text: str
    postgres: str
    staged: StagedColumn
    there: str
    tolerance: float | None = None


@dataclass(frozen=True)
class Segments:
    """Some of the segments that a table's rows are in."""

    count: int
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class TablePlan:
    """One table to compare.

    Attributes:
        table: as the source has it.
        columns: as the target should have them.
        key: those of the table's key; empty where there is none, or not all of it is compared.
        expected: the whole definition that the target should have.
        rows: about how many there are.
        there: the table's schema and name in the target.
        refused: why it cannot be compared.
        staged: the manifest's entry, where it has the same columns.
        condition: which rows are compared; None for all.
        sample: the segments whose rows are compared; None for all.
        selection: the same in words.
        selecting: names of the columns that decide which rows are compared.
    """

    table: Table
    columns: tuple[ComparedColumn, ...]
    expected: TableShape
    rows: int
    there: TargetTable
    refused: tuple[str, ...] = ()
    staged: StagedTable | None = None
    condition: Condition | None = None
    sample: Segments | None = None
    selection: str = ""
    selecting: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """Names of the key's columns, if all of them are compared."""
        names = {column.name for column in self.columns}
        return self.table.key if set(self.table.key) <= names else ()

    @property
    def staged_columns(self) -> tuple[StagedColumn, ...]:
        """How the export reads and stages the columns."""
        return tuple(column.staged for column in self.columns)


def as_compared(staged: StagedColumn, there: str, tolerance: float | None, ddl: Ddl) -> ComparedColumn:
    """A column of the manifest, or of the census, as it is compared with a target that was loaded from it."""
    return ComparedColumn(
        staged.name,
        declared_type(staged, ddl),
        staged.not_null,
        staged.comparison,
        staged.text.format(c=identifier(staged.source)),
        staged.postgres,
        staged,
        there,
        tolerance,
    )


def staged_form(column: ComparedColumn) -> tuple[Form, int | None, int]:
    """The form of a column's values as they are staged, with their digits and digits after the point."""
    found = declared_form(DUCKDB.read(column.staged.parquet))
    return ("number", None, 0) if found[0] == "text" and column.comparison == "number" else found


def names(columns: Sequence[ComparedColumn]) -> list[str]:
    """Their names, in order."""
    return [column.name for column in columns]
