"""Whether an export was made as the profile now describes its tables."""

from __future__ import annotations

from collections.abc import Iterator

from helpers.errors import UsageError
from helpers.model.catalog import Catalog
from helpers.model.globs import left_by_profile
from helpers.model.manifest import Exported


def refuse_changed(exported: Exported, names: set[str], catalog: Catalog, *, what: str) -> None:
    """Refuses to go on from an export whose profile has been changed since: one description must not be taken for another.

    Args:
        exported: the export's state or manifest.
        names: of its tables.
        catalog: of the source, read as the profile now describes it.
        what: was to be done, for the error.

    Raises:
        UsageError: names every difference.
    """
    if found := list(_changed(exported, names, catalog)):
        raise UsageError(
            what,
            on=f"the export {exported.export}",
            why=f"the profile's section tables has been changed since: {'; '.join(found)}",
            next_step="export again and load again, or describe the tables as they were exported",
        )


def _changed(exported: Exported, names: set[str], catalog: Catalog) -> Iterator[str]:
    left = left_by_profile(exported.left_out)
    for name, why in left_by_profile(catalog.left_out).items():
        if name in names:
            yield f"{name} was exported, and now it is {why}"
    for table in catalog.tables:
        if str(table) in left:
            yield f"{table} was {left[str(table)]}, and now it moves"
