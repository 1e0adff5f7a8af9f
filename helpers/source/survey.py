"""Taking stock of the source: the census of every table, without an export and without a stage to export to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.model.globs import left_by_choice
from helpers.model.names import Refusal
from helpers.platforms import postgres
from helpers.progress import Progress
from helpers.settings import Settings
from helpers.source import left_out
from helpers.source import snapshot as snapshots
from helpers.source.catalog import measured, read_catalog
from helpers.source.census import ColumnCensus, TableCensus, check_policies
from helpers.source.census_worker import take_censuses
from helpers.source.described import refuse_unfit
from helpers.source.staging import staged_table


@dataclass(frozen=True)
class Stock:
    """What a source holds.

    Attributes:
        tables: those that would move, each counted.
        left_out: what would not, and why.
    """

    tables: tuple[TableCensus, ...]
    left_out: dict[str, str]


def census(
    settings: Settings,
    tables: tuple[str, ...] = (),
    *,
    exclude: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Stock:
    """Counts every table that matches, in one snapshot.

    Args:
        settings: the profile; its source and its policies.
        tables: globs over table names; empty means all.
        exclude: globs of what is left out of them.
        progress: told about each table.

    Raises:
        SettingsError: a policy that means nothing here.
        ConnectionFailed, SourceRefused, UsageError: see `postgres.connect`, `read_catalog`, `snapshot.lock` and
            `take_censuses`.
    """
    policies = settings.export.policies
    with postgres.reading(settings.source, application="migration-runbooks census") as cursor:
        catalog = read_catalog(
            cursor, schemas=settings.source.schemas, tables=tables, exclude=exclude, described=settings.tables
        )
        check_policies(catalog.tables, policies, complete=not (tables or left_by_choice(catalog.left_out)))
        snapshots.lock(cursor, catalog.tables, timeout_seconds=settings.export.lock_timeout_seconds)
        refuse_unfit(cursor, catalog.tables)
        snapshot = postgres.value(cursor, "SELECT pg_export_snapshot()")
        catalog = left_out.complete(cursor, measured(cursor, catalog))
        counted = take_censuses(cursor, settings.source, settings.export, snapshot, catalog.tables, progress=progress)
        catalog = left_out.with_keys(catalog, [(each.table, staged_table(each).columns) for each in counted])
        return Stock(counted, catalog.left_out)


def as_dict(found: Stock, by_target: Mapping[str, Sequence[Refusal]]) -> dict[str, Any]:
    """The census as `runbook assess --census --json` prints it, with what each target refuses of the names."""
    refused = any(table.refused for table in found.tables) or any(by_target.values())
    return {
        "verdict": "refused" if refused else "accepted",
        "targets": {where: [vars(refusal) for refusal in refusals] for where, refusals in by_target.items()},
        "left_out": found.left_out,
        "tables": [
            {
                "schema": table.table.schema, "name": table.table.name, "rows": table.rows,
                "refusals": list(table.refusals), "columns": [_column(column) for column in table.columns],
            }
            for table in found.tables
        ],
    }  # fmt: skip


def _column(census: ColumnCensus) -> dict[str, Any]:
    return {
        "name": census.column.name, "type": census.column.type.sql, "verdict": census.verdict,
        "parquet": census.mapping.parquet, "snowflake": census.mapping.snowflake, "delta": census.mapping.delta,
        "note": census.mapping.note, "policy": census.policy, "touched": census.touched,
        "flag": census.flag.name if census.flag else None, "refusals": census.refusals,
        "examples": {reason: [vars(example) for example in found] for reason, found in census.examples.items()},
        "information": census.information,
    }  # fmt: skip
