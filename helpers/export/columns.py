"""How a table's columns are staged, by its census."""

from __future__ import annotations

from helpers.model import manifest as manifests
from helpers.model.manifest import StagedColumn
from helpers.source.census import TableCensus


def staged_columns(census: TableCensus) -> tuple[StagedColumn, ...]:
    """The columns of the staged files and of a target, in their order, flag columns included."""
    names = manifests.fields([f.name for f in census.fields])
    columns: list[StagedColumn] = []
    for c in census.columns:
        for f in c.fields:
            columns.append(
                StagedColumn(
                    name=f.name,
                    field=names[len(columns)],
                    source=c.column.name,
                    postgres=c.column.type.sql,
                    parquet=f.mapping.parquet,
                    snowflake=f.mapping.snowflake,
                    delta=f.mapping.delta,
                    comparison=f.mapping.comparison,
                    read=f.mapping.read,
                    text=f.mapping.text,
                    not_null=f.not_null,
                    comment=f.comment,
                    encoding="re-encoded" if f.mapping.note else "exact",
                    note=f.mapping.note,
                    policy=c.policy,
                    touched=c.touched,
                    flag_of=f.flag_of,
                    default=c.column.default if f.flag_of is None else "",
                )
            )
    return tuple(columns)
