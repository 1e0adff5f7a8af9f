"""Comments of a table: the source's, and those that the target's owner gave it since."""

from __future__ import annotations

from collections.abc import Mapping

from helpers.engines.shapes import TableShape
from helpers.model.manifest import StagedTable


def by_column(staged: StagedTable) -> dict[str, str]:
    """The source's comments by column, the table's own under ""; those that there are."""
    said = {"": staged.comment, **{column.name: column.comment for column in staged.columns}}
    return {name: comment for name, comment in said.items() if comment}


def with_kept(staged: StagedTable, found: TableShape, written: Mapping[str, str]) -> StagedTable:
    """The table with the comments that its owner gave it since in the place of the source's.

    Args:
        staged: with the source's comments.
        found: the present table.
        written: the source's comments at the last load.
    """
    present = {"": found.comment, **{column.name: column.comment for column in found.columns}}
    owned = {name: said for name, said in present.items() if said and said != written.get(name, "")}
    columns = tuple(c.model_copy(update={"comment": owned.get(c.name, c.comment)}) for c in staged.columns)
    return staged.model_copy(update={"comment": owned.get("", staged.comment), "columns": columns})
