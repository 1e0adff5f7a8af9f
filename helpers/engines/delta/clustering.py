"""Liquid clustering as the profile asks for it: by which columns a table's files are laid out, which changes no row.

https://docs.databricks.com/aws/en/delta/clustering: up to four columns, of types that have statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from helpers.errors import UsageError
from helpers.model.manifest import StagedTable
from helpers.platforms.spark import identifier
from helpers.settings import Databricks

MOST = 4

_WITHOUT_STATISTICS = ("BINARY", "BOOLEAN")


def wanted(target: Databricks, staged: StagedTable) -> tuple[str, ...] | None:
    """The columns for a table, by its name in the source or the first glob that means it; none for a table that is not to be
    clustered, None where the profile says nothing and its owner decides."""
    names = (f"{staged.schema_}.{staged.name}", staged.name)
    written = next((target.cluster_by[name] for name in names if name in target.cluster_by), None)
    if written is not None:
        return written
    globs = (glob for glob in target.cluster_by if any(fnmatchcase(name, glob) for name in names))
    return next((target.cluster_by[glob] for glob in globs), None)


def refusal(target: Databricks, chosen: Iterable[StagedTable], *, on: str) -> UsageError | None:
    """The error that names every column by which a table cannot be clustered; None where there is none."""
    found = [each for staged in chosen for each in _objections(target, staged)]
    if not found:
        return None
    next_step = "nothing was changed. Correct cluster_by in [profiles.X.databricks]"
    return UsageError("cluster the tables", on=on, why="; ".join(found), next_step=next_step)


def _objections(target: Databricks, staged: StagedTable) -> Iterator[str]:
    columns = wanted(target, staged) or ()
    types = {column.name: column.delta for column in staged.columns}
    if len(columns) > MOST:
        yield f"{staged} would be clustered by {len(columns)} columns, and Delta takes {MOST}"
    for name in columns:
        if name not in types:
            yield f"{staged} has no column {name}"
        elif types[name] in _WITHOUT_STATISTICS:
            yield f"{staged}.{name} is {types[name]}, which has no statistics to cluster by"


def clause(columns: Iterable[str]) -> str:
    """What follows USING DELTA in CREATE TABLE; empty for no columns."""
    quoted = ", ".join(map(identifier, columns))
    return f" CLUSTER BY ({quoted})" if quoted else ""


def kept(found: Iterable[str], staged: StagedTable) -> tuple[str, ...]:
    """What a table that is replaced goes on being clustered by: those of its columns that it will still have."""
    names = {name.lower().strip("`") for name in found}
    return tuple(column.name for column in staged.columns if column.name.lower() in names)


def same(found: Iterable[str], columns: Iterable[str]) -> bool:
    """Whether a table is clustered by these columns already; their order does not matter."""
    return {name.lower().strip("`") for name in found} == {name.lower() for name in columns}
