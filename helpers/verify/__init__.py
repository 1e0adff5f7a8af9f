"""Do source and target hold the same values, cell by cell, at one known point in the source's log?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from helpers import manifest as manifests
from helpers import snapshot as snapshots
from helpers import types
from helpers.catalog import Column, Table, read_catalog
from helpers.census import ColumnCensus, Field, take_census
from helpers.errors import NotBuilt
from helpers.manifest import Manifest, StagedColumn, StagedTable
from helpers.platforms import duck, postgres, snowflake
from helpers.platforms.postgres import identifier
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import PROJECT, Settings, Source
from helpers.snapshot import Snapshot
from helpers.types import Comparison
from helpers.verify.cells import Compared, compare
from helpers.verify.report import Report, SchemaFinding, TableReport
from helpers.verify.schema import compare_schema
from helpers.verify.sides import (
    ComparedColumn,
    DuckDB,
    PostgresSide,
    Side,
    SideColumn,
    SnowflakeSide,
    StageSide,
    postgres_float,
)

TargetName = Literal["snowflake", "stage", "postgresql", "databricks"]
Check = Literal["row-counts", "schema", "full", "sample-data", "data-quality"]


COLUMNS_PER_THREAD = 200
MEMORY = "2GB"
"""Of DuckDB, before it spills; only tables of hundreds of columns need more than a part of it."""


@dataclass(frozen=True)
class TablePlan:
    """One table to compare."""

    table: Table
    columns: tuple[ComparedColumn, ...]
    """As the target should have them."""
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class VerifyPlan:
    """What will be compared, where, and as of when."""

    source: Source
    target: TargetName
    check: Check
    snapshot: str
    lsn: str
    lsn_note: str
    tables: tuple[TablePlan, ...]
    cells_folder: Path
    manifest: Manifest | None
    settings: Settings
    target_source: Source | None = None
    complete: bool = True
    """Whether every table of the source is among `tables`."""

    @property
    def rows(self) -> int:
        """About how many rows the source has, by its statistics."""
        return sum(plan.table.estimated_rows for plan in self.tables)


@contextmanager
def planned(
    settings: Settings,
    *,
    target: TargetName,
    check: Check = "full",
    tables: tuple[str, ...] = (),
    source: Source | None = None,
    target_source: Source | None = None,
    location: str | None = None,
    cells_folder: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[VerifyPlan]:
    """Chooses the snapshot to verify in and what each table should look like.

    The export's own snapshot is used while its keeper holds it; otherwise a new one is taken for the length of the
    block, and the plan says so.

    Args:
        settings: the profile.
        target: what is compared with the source.
        check: how deep.
        tables: globs over table names; empty means all of the source.
        source: another source than the profile's.
        target_source: the server of `target="postgresql"`.
        location: of the stage, without it the profile's.
        cells_folder: where the files of differing cells go.

    Raises:
        NotBuilt: a check or target of the design that does not exist yet.
    """
    if check in ("sample-data", "data-quality") or target == "databricks":
        what = f"--target {target}" if target == "databricks" else f"--check {check}"
        raise NotBuilt(
            "verify",
            on=what,
            why="this part of the design is not built yet",
            next_step="use --target snowflake, stage or postgresql with --check full, which compares every cell",
        )
    chosen = source or settings.source
    manifest = _manifest(settings, location, needed=target == "stage")
    folder = cells_folder or PROJECT / "outputs" / "verify" / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    own: Snapshot | None = None
    if manifest and manifest.source == postgres.address(chosen) and snapshots.is_held(chosen, manifest.snapshot):
        name, lsn, note = manifest.snapshot, manifest.lsn, "the export's own snapshot"
        exact = manifest.lsn_exact
    else:
        own = snapshots.take(chosen)
        name, lsn, note, exact = own.name, own.lsn, "a snapshot taken for this verification", own.exact
    try:
        plans = _plan_tables(settings, chosen, name, tables, manifest, target)
        yield VerifyPlan(
            chosen, target, check, name, lsn, note if exact else f"{note}; the LSN is approximate", plans, folder,
            manifest, settings, target_source, complete=not tables,
        )  # fmt: skip
    finally:
        if own:
            snapshots.release(own)


def verify(plan: VerifyPlan, *, progress: Progress | None = None) -> Report:
    """Compares every table of `plan`.

    Raises:
        ConnectionFailed: a side cannot be reached; a difference is never an error but part of the report.
    """
    with ExitStack() as stack:
        spill = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runbook-verify-")))
        source = stack.enter_context(closing(PostgresSide(plan.source, plan.snapshot, [p.table for p in plan.tables])))
        target = _target(plan, stack)
        cursor = stack.enter_context(snapshots.reading(plan.source, plan.snapshot))
        timeout = plan.settings.export.lock_timeout_seconds
        snapshots.lock(cursor, (p.table for p in plan.tables), timeout_seconds=timeout)
        reports, done = [], 0
        with duck.connect(memory=MEMORY, spill=spill) as connection:
            connection.create_function("postgres_float", postgres_float, ["DOUBLE", "BOOLEAN"], "VARCHAR")
            for table in plan.tables:
                if progress:
                    progress(done, plan.rows, f"comparing {table.table}")
                started = time.monotonic()
                reports.append(_verify_table(plan, table, source, target, connection, started))
                done += table.table.estimated_rows
            reports += _added_tables(plan, target)
            if progress:
                progress(plan.rows, plan.rows, "compared")
        return Report(plan.lsn, plan.lsn_note, source.name, target.name, tuple(reports))


def _added_tables(plan: VerifyPlan, target: Side) -> list[TableReport]:
    """Tables of the target that the source does not have; not looked for where only some tables were asked for."""
    if not plan.complete or plan.check == "row-counts":
        return []
    known = {p.table.name for p in plan.tables}
    finding = SchemaFinding("table-added", "error", None, None, "a table that the source does not have")
    return [
        TableReport(schema, name, "different", 0, count, extra=count, schema_findings=(finding,), method="schema")
        for name, schema in sorted(target.tables().items())
        if name not in known
        for count in (target.count(schema, name),)
    ]


def _manifest(settings: Settings, location: str | None, *, needed: bool) -> Manifest | None:
    if not needed and not location and settings.values.stage is None:
        return None
    bucket = Bucket.open(settings.stage, location)
    return manifests.read(bucket) if needed else manifests.read_if_any(bucket)


def _plan_tables(
    settings: Settings,
    source: Source,
    snapshot: str,
    tables: tuple[str, ...],
    manifest: Manifest | None,
    target: TargetName,
) -> tuple[TablePlan, ...]:
    with snapshots.reading(source, snapshot) as cursor:
        catalog = read_catalog(cursor, schemas=source.schemas, tables=tables, include_views=True)
        plans = []
        for table in catalog.tables:
            staged = manifest.table(table.schema, table.name) if manifest else None
            if table.kind in "vm" and staged is None:
                continue
            if target == "postgresql":
                plans.append(TablePlan(table, tuple(_as_in_postgres(column) for column in table.columns)))
            elif staged and _same_definition(table, staged):
                plans.append(TablePlan(table, tuple(_as_staged(column) for column in staged.columns)))
            else:
                census = take_census(cursor, table, settings.export.policies)
                columns = tuple(_as_counted(c, f) for c in census.columns for f in c.fields)
                plans.append(TablePlan(table, columns, census.refused))
        return tuple(plans)


def _as_in_postgres(column: Column) -> ComparedColumn:
    comparison: Comparison = types.mapping(column).comparison if types.known(column.type) else "text"
    return ComparedColumn(
        column.name, column.type.sql, column.not_null, comparison, f"{identifier(column.name)}::text", column.type.sql
    )


def _as_staged(column: StagedColumn) -> ComparedColumn:
    text = column.text.format(c=identifier(column.source))
    return ComparedColumn(column.name, column.snowflake, column.not_null, column.comparison, text, column.postgres)


def _as_counted(census: ColumnCensus, field: Field) -> ComparedColumn:
    text = field.mapping.text.format(c=identifier(census.column.name))
    return ComparedColumn(
        field.name, field.mapping.snowflake, field.not_null, field.mapping.comparison, text, census.column.type.sql
    )


def _same_definition(table: Table, staged: StagedTable) -> bool:
    original = [column for column in staged.columns if column.flag_of is None]
    return [(c.name, c.type.sql) for c in table.columns] == [(c.source, c.postgres) for c in original]


def _target(plan: VerifyPlan, stack: ExitStack) -> Side:
    match plan.target:
        case "snowflake":
            options = plan.settings.snowflake
            session = stack.enter_context(snowflake.connect(options))
            return SnowflakeSide(session, options.database, options.schema_)
        case "stage":
            assert plan.manifest
            return StageSide(Bucket.open(plan.settings.stage), plan.manifest)
        case _:
            other = plan.target_source or plan.source
            snapshot = snapshots.take(other)
            stack.callback(snapshots.release, snapshot)
            with snapshots.reading(other, snapshot.name) as cursor:
                catalog = read_catalog(cursor, schemas=other.schemas)
            return stack.enter_context(closing(PostgresSide(other, snapshot.name, catalog.tables)))


def _verify_table(
    plan: VerifyPlan, table: TablePlan, source: Side, target: Side, connection: DuckDB, started: float
) -> TableReport:
    schema, name = table.table.schema, table.table.name
    found = target.columns(schema, name)
    findings = compare_schema(table.columns, found)
    if table.refused:
        method = f"not compared: {'; '.join(table.refused)}"
        return TableReport(
            schema, name, "refused", schema_findings=findings, method=method, seconds=time.monotonic() - started
        )
    wrong = any(finding.severity == "error" for finding in findings)
    if plan.check == "schema" or found is None:
        rows = None if plan.check == "schema" else source.count(schema, name)
        return TableReport(
            schema, name, "different" if wrong else "equal", rows_source=rows, rows_target=None if plan.check == "schema" else 0,
            missing=rows or 0, schema_findings=findings, method="schema", seconds=time.monotonic() - started,
        )  # fmt: skip
    if plan.check == "row-counts":
        rows_source, rows_target = source.count(schema, name), target.count(schema, name)
        return TableReport(
            schema, name, "equal" if rows_source == rows_target else "different", rows_source, rows_target,
            missing=max(0, rows_source - rows_target), extra=max(0, rows_target - rows_source),
            method="row counts", seconds=time.monotonic() - started,
        )  # fmt: skip
    compared = _compare_cells(plan, table, found, source, target, connection)
    differs = wrong or bool(compared.missing or compared.extra or compared.changed)
    return TableReport(
        schema, name, "different" if differs else "equal", compared.rows_source, compared.rows_target,
        compared.missing, compared.extra, compared.changed, 0, findings, compared.changed_cells, compared.cells,
        str(compared.cells_file) if compared.cells_file else None, time.monotonic() - started,
        f"every cell, as PostgreSQL prints it, in {plan.lsn_note}",
        compared.digest,
    )  # fmt: skip


def _compare_cells(
    plan: VerifyPlan,
    table: TablePlan,
    found: tuple[SideColumn, ...],
    source: Side,
    target: Side,
    connection: DuckDB,
) -> Compared:
    there = {column.name for column in found}
    columns = [column for column in table.columns if column.name in there]
    key = table.table.key if set(table.table.key) <= there else ()
    schema, name = table.table.schema, table.table.name
    # Every thread holds a vector of 2,048 texts for each column of each operator.
    connection.execute(f"SET threads = {1 if len(columns) > COLUMNS_PER_THREAD else 2}")
    source.fetch(connection, "source", schema, name, columns)
    target.fetch(connection, "target", schema, name, columns)
    file = plan.cells_folder / f"{manifests.folder(schema, name)}.cells.parquet"
    return compare(connection, source, target, columns, key, file)


__all__ = ["Check", "Report", "SchemaFinding", "TargetName", "VerifyPlan", "planned", "verify"]
