"""The one MERGE that takes a batch's rows into a table, in the dialects of the engines that loads fill.

It sets each key of the batch to how it ends, matched by the key alone: two rows that swapped their keys, and a key that moved on
while another took its place, need no order, and a second execution finds everything as it is to be. An unchanged value comes from
the row that had it before the batch, which the source joins by the origin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from helpers.model.batch import BatchColumns, ChangedTable, batch_columns, key_columns
from helpers.model.manifest import StagedColumn, StagedTable


@dataclass(frozen=True)
class Dialect:
    """What engines write differently.

    Attributes:
        identifier: a quoted name.
        cast: the value of an expression that holds a column's staged value, as the column of the table has it.
    """

    identifier: Callable[[str], str]
    cast: Callable[[StagedColumn, str], str]


def columns_of(staged: StagedTable, changed: ChangedTable) -> tuple[tuple[str, StagedColumn | None], ...]:
    """The columns of a batch's file for a table: each name with the staged column whose type it has, None for BOOLEAN.

    Args:
        staged: the table.
        changed: what the batch does to it.
    """
    added = batch_columns(staged, changed.unchanged)
    keys = {column.field: column for column in key_columns(staged)}
    return (
        *((column.field, column) for column in staged.columns),
        (added.deleted, None),
        *((name, keys[field]) for field, name in added.origin.items()),
        *((name, None) for name in added.unchanged.values()),
    )


def merge_statement(
    dialect: Dialect, staged: StagedTable, changed: ChangedTable, *, into: str, rows: str, former: str, first: str = "",
    alone: bool = False,
) -> str:  # fmt: skip
    """The statement that takes the rows of a batch into a table.

    Args:
        dialect: of the engine.
        staged: the table, with its key.
        changed: what the batch does to it; with a file.
        into: the table.
        rows: the relation that has the columns of `columns_of`.
        former: the table as it was before the batch.
        first: what the source calls the first column of the key, which the condition names.
        alone: whether rows that the batch does not have go, too.
    """
    quoted, keys = dialect.identifier, key_columns(staged)
    added = batch_columns(staged, changed.unchanged)
    # Short ones: each column of 1,600 is in the statement three times, and its name may be long.
    named = {column.field: f"c{n}" for n, column in enumerate(staged.columns)}
    if first:
        named[keys[0].field] = quoted(first)
    selected = [f"{_value(dialect, added, column)} AS {named[column.field]}" for column in staged.columns]
    source = f"SELECT {', '.join(selected)}, s.{quoted(added.deleted)} AS gone FROM {rows} AS s"
    if added.unchanged:
        origin = (f"o.{quoted(key.name)} = {dialect.cast(key, f's.{quoted(added.origin[key.field])}')}" for key in keys)
        source += f" LEFT JOIN {former} AS o ON {' AND '.join(origin)}"
    own = {key.field for key in keys}
    condition = " AND ".join(f"t.{quoted(key.name)} = s.{named[key.field]}" for key in keys)
    updated = [f"{quoted(c.name)} = s.{named[c.field]}" for c in staged.columns if c.field not in own]
    names = ", ".join(quoted(column.name) for column in staged.columns)
    values = ", ".join(f"s.{named[column.field]}" for column in staged.columns)
    return " ".join((
        f"MERGE INTO {into} AS t USING ({source}) AS s ON {condition}",
        "WHEN MATCHED AND s.gone THEN DELETE",
        *([f"WHEN MATCHED THEN UPDATE SET {', '.join(updated)}"] if updated else []),
        f"WHEN NOT MATCHED AND NOT s.gone THEN INSERT ({names}) VALUES ({values})",
        *(["WHEN NOT MATCHED BY SOURCE THEN DELETE"] if alone else []),
    ))  # fmt: skip


def _value(dialect: Dialect, added: BatchColumns, column: StagedColumn) -> str:
    value = dialect.cast(column, f"s.{dialect.identifier(column.field)}")
    if (unchanged := added.unchanged.get(column.field)) is None:
        return value
    return f"CASE WHEN s.{dialect.identifier(unchanged)} THEN o.{dialect.identifier(column.name)} ELSE {value} END"
