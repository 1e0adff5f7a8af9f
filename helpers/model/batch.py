"""Changes that are staged to be applied: what the writer of a batch and the engines that apply it agree on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from helpers.model.manifest import StagedColumn, StagedFile, StagedTable
from helpers.model.stored import Stored


class ChangedTable(Stored):
    """What a batch does to one table: first the truncation, where there is one, then the rows of the file, all at once.

    Attributes:
        truncated: whether every row that was there before goes.
        file: the rows, of the columns that `BatchColumns` names; None where there are none. Its path is relative to the stage.
        written, deleted: rows of the file that are to be there afterwards, and that are not.
        unchanged: fields that have rows whose value is the one that the target holds.
        known: how many of the file's keys rows had before the batch, so that a target counts as many; None where nobody can tell, as
            of a table whose filter some of these rows may not have met.
    """

    schema_: str
    name: str
    truncated: bool = False
    file: StagedFile | None = None
    written: int = 0
    deleted: int = 0
    unchanged: tuple[str, ...] = ()
    known: int | None = None

    def __str__(self) -> str:
        return f"{self.schema_}.{self.name}"


class Batch(Stored):
    """The net changes between two positions.

    Attributes:
        sync: which stream it belongs to; another slot is another stream.
        after, until: positions: it has the transactions whose commit lies at `after` or behind it, and before `until`.
        committed_at: when the last of them committed, in ISO 8601; empty where there is none.
    """

    sync: str
    after: int
    until: int
    committed_at: str
    tables: tuple[ChangedTable, ...]


@dataclass(frozen=True)
class BatchColumns:
    """The columns of a batch's file for one table: those of the staged table under their field names, and these.

    A row of the file says how one key ends: `deleted` is true where no row has it afterwards, and then only the key has values. A
    key is in the file once.

    Attributes:
        deleted: BOOLEAN.
        origin: one for each column of the key, of its type: the key under which the row was in the target before the batch, all NULL
            where it was not there. It differs from the key where an UPDATE changed that.
        unchanged: by field, BOOLEAN: whether the value is the one that the target holds under the origin.
    """

    deleted: str
    origin: dict[str, str]
    unchanged: dict[str, str]


def key_columns(table: StagedTable) -> tuple[StagedColumn, ...]:
    """The staged columns of a table's key, in the key's order."""
    return tuple(
        column for name in table.key for column in table.columns if column.source == name and not column.flag_of
    )


def batch_columns(table: StagedTable, unchanged: Sequence[str] = ()) -> BatchColumns:
    """The names of the columns that a batch's file has beside the staged ones; no field has one of them.

    Args:
        unchanged: fields that have rows with the target's own value.
    """
    fresh = _fresh({column.field.lower() for column in table.columns})
    deleted = next(fresh)
    origin = {column.field: next(fresh) for column in key_columns(table)}
    return BatchColumns(deleted, origin, {field: next(fresh) for field in unchanged})


def _fresh(taken: set[str]) -> Iterator[str]:
    number = 0
    while True:
        name = f"sync_{number}"
        if name not in taken:
            yield name
        number += 1
