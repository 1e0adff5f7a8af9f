"""Whose a Delta table is: a load of ours leaves a mark in the table's own properties, and nothing without it is replaced.

The mark names the table's id, which a copy of the table does not share, and the version that the load left, behind which what
others wrote is seen. A table that was dropped and made again has no mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from helpers.engines.delta.catalog import DeltaCatalog, Version, qualified
from helpers.engines.delta.history import Commit
from helpers.errors import LoadError, TargetRefused
from helpers.model.places import TargetTable
from helpers.platforms import spark
from helpers.platforms.delta import folder
from helpers.platforms.spark import Session, literal
from helpers.settings import Databricks

MARK = "migration.loaded"
NEW = "new"
"""The mark of a table that a load has made and not yet filled."""


class Mark(BaseModel):
    """What a load left in a table's properties.

    Attributes:
        table_id: of the table that it was left in.
        version: of the commit that left it, the last of the load.
        comments: of the source at that load, by column, and of the table itself under "".
        constraints: names of those that loads made on it, in Unity Catalog.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table_id: str = ""
    version: int | None = None
    comments: dict[str, str] = {}
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """How a table stands that has the name of one of ours.

    Attributes:
        mark: of the load that left it; None where it is another's.
        written: what others did to its rows since; a sync is none of them.
        version: that it has now.
    """

    mark: Mark | None
    written: tuple[str, ...]
    version: int


def standing(catalog: DeltaCatalog, table: TargetTable) -> Standing:
    """Looks at one table that is there.

    Raises:
        ConnectionFailed, LoadError: the target cannot be asked.
    """
    if catalog.to_be_made(table):
        return Standing(Mark(), (), 0)
    now, properties = catalog.look(table)
    mark = _read(properties.get(MARK), now)
    if mark is None or mark.version is None:
        return Standing(mark, (), now.number)
    left = Version(table_id=mark.table_id, number=mark.version)
    return Standing(mark, catalog.changes(table, left, now, ours=_of_a_sync), now.number)


def _of_a_sync(commit: Commit) -> bool:
    return commit.applied is not None


def at_its_place(session: Session, target: Databricks, table: TargetTable) -> bool:
    """Whether a Delta table lies in the folder of a table that the catalog does not know."""
    if not target.delta_root:
        return False
    root = target.delta_root.rstrip("/")
    path = f"{root}/{folder(table.schema)}/{folder(table.name)}"
    try:
        session.execute(f"DESCRIBE DETAIL delta.{spark.identifier(path)}", doing=f"look at the folder of {table}")
    except LoadError:
        return False
    return True


def unreadable(target: Databricks, table: TargetTable, why: str) -> TargetRefused:
    """The refusal of a table whose rows cannot be replaced, since nobody can tell what it is."""
    name = table.shown(target.schema_)
    return TargetRefused(
        f"replace the rows of {name}",
        on=spark.address(target),
        why=f"{name} is there and cannot be read: {why}",
        next_step=f"nothing was changed. Restore it, or drop it: DROP TABLE {qualified(target, table)}; or leave it out with --exclude",
    )


def undroppable(target: Databricks, table: TargetTable, why: str) -> TargetRefused:
    """The refusal of a table that would be dropped with what others wrote to it, or that nobody can read."""
    return TargetRefused(
        f"drop {table.shown(target.schema_)}, which the source no longer has",
        on=spark.address(target),
        why=why,
        next_step=f"keep what is needed of it and drop it yourself: DROP TABLE {qualified(target, table)}",
    )


def refuse_governed(session: Session, target: Databricks, table: TargetTable, differs: str) -> None:
    """Raises `TargetRefused` for a table that has to be replaced and has row filters, column masks or tags in Unity Catalog.

    Raises:
        TargetRefused: it names them.
    """
    found = []
    for view, shown in (
        ("row_filters", "filter_name"),
        ("column_masks", "mask_name"),
        ("table_tags", "tag_name"),
        ("column_tags", "tag_name"),
    ):
        where = f"schema_name = {literal(table.schema.lower())} AND table_name = {literal(table.name.lower())}"
        try:
            rows = session.execute(
                f"SELECT {shown} AS n FROM {spark.identifier(target.catalog or '')}.information_schema.{view} WHERE {where}",
                doing=f"ask what is on {table}",
            )
        except LoadError:
            continue  # a catalog that has none
        found += [f"{view.removesuffix('s').replace('_', ' ')} {row['n']}" for row in rows]
    if found:
        raise TargetRefused(
            f"replace {table.shown(target.schema_)} and keep what its owner put on it",
            on=spark.address(target),
            why=f"{differs}, for which the table is replaced; this cannot be carried: {', '.join(found)}",
            next_step="nothing was changed. Have its owner remove it, run the load, and add it again",
        )


def leave_mark(
    session: Session,
    catalog: DeltaCatalog,
    table: TargetTable,
    comments: dict[str, str],
    constraints: Sequence[str] = (),
) -> None:
    """Says in the table's properties that a load has left it; call it when nothing of it is to be changed any more."""
    now, _ = catalog.look(table)
    mark = Mark(table_id=now.table_id, version=now.number + 1, comments=comments, constraints=tuple(constraints))
    session.execute(
        f"ALTER TABLE {qualified(catalog.target, table)} SET TBLPROPERTIES ({literal(MARK)} = {literal(mark.model_dump_json())})",
        doing=f"record the load of {table}",
    )


def _read(text: str | None, now: Version) -> Mark | None:
    if text == NEW:
        return Mark()
    try:
        mark = Mark.model_validate_json(text) if text else None
    except ValidationError:
        return None
    return mark if mark and mark.table_id == now.table_id else None
