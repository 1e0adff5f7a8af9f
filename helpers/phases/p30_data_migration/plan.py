"""What the data migration would do: shown and recorded in a rehearsal, where the steps that change something do not act."""

from __future__ import annotations

from typing import Any

from helpers import load
from helpers.engines import engine
from helpers.errors import MigrationError, TargetRefused, UsageError
from helpers.export import ExportPlan
from helpers.model import manifest
from helpers.model.catalog import Table
from helpers.model.globs import left_by_choice
from helpers.phases.common.plan import StepPlan, compute_cost, plan_step
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings, Target


def plan_export(plan: ExportPlan, settings: Settings) -> StepPlan:
    """What the export would read and write; asks the stage what it has, and writes nothing."""
    tables = {(table.schema, table.name): table for table in plan.catalog.tables}
    rows: list[tuple[Any, ...]] = []
    for state in plan.state.tables:
        table = tables[state.schema_, state.name]
        pages, size = _size(table)
        action = "; ".join(filter(None, ("write", table.in_part)))
        rows.append((str(table), action, state.rows, pages, size, len(state.parts)))
    rows += [(name, f"leave: {why}", 0, 0, 0, 0) for name, why in left_by_choice(plan.state.left_out).items()]
    former = manifest.read_if_any(plan.bucket)
    what = f"write Parquet files and a manifest to {plan.bucket.location}"
    what += f"; the manifest of the export {former.export} is replaced" if former else "; nothing is there yet"
    counted = ("rows", "pages to read", "bytes to read", "files")
    totals = {name.replace(" ", "_"): sum(row[n] for row in rows) for n, name in enumerate(counted, 2)}
    columns = ("table", "action", *counted)
    return plan_step("s30-export", what, rows, *columns, cost=compute_cost(settings), totals=totals)


def plan_load(step: str, plan: ExportPlan, bucket: Bucket, target: Target, settings: Settings) -> StepPlan:
    """What a load of this export would make, replace and drop; asks the target what it has, and writes nothing.

    Raises:
        ConnectionFailed, UsageError: as `load.plan_load`, such as for two names that the target would take for one.
    """
    found = load.plan_load(plan.unwritten, bucket, target)
    tables = {(table.schema, table.name): table for table in plan.catalog.tables}
    rows = [
        (
            str(t.staged),
            t.target.shown(target.schema_),
            t.action,
            t.staged.rows,
            _size(tables[t.staged.schema_, t.staged.name])[1],
        )
        for t in found.tables
    ]
    created = sum(t.action == "create" for t in found.tables)
    totals = {
        "rows": found.rows, "bytes_in_the_source": sum(row[4] for row in rows), "to_create": created,
        "to_replace": len(rows) - created, "to_drop": len(found.stale),
    }  # fmt: skip
    rows += [("(not among those that move)", stale.shown(target.schema_), "drop", 0, 0) for stale in found.stale]
    columns = ("table", "target object", "action", "rows", "bytes in the source")
    there = found.there
    what = f"load {there.where}, each table in one {there.at_once}; the size of the files is known after the export"
    return plan_step(
        step, what, rows, *columns, cost=_cost(settings, target, totals["bytes_in_the_source"], found), totals=totals
    )


def _cost(settings: Settings, target: Target, size: int, found: load.LoadPlan) -> str:
    """By the bytes in the source: the files are not there yet. A stand-in costs nothing."""
    if settings.values.stack == "local":
        return compute_cost(settings)
    told = engine(target.adapter).estimated_cost(settings, "load", size, len(found.tables))
    return f"{told}; by the bytes in the source, and the files are smaller" if told else compute_cost(settings)


def ask_targets(plan: ExportPlan, bucket: Bucket, settings: Settings) -> None:
    """Asks every target of the profile whether it would take the export, before there is one.

    Raises:
        ConnectionFailed: one of them does not answer.
        TargetRefused, UsageError: what any of them refuses, all of it.
    """
    refused: list[MigrationError] = []
    for target in settings.targets.values():
        try:
            load.plan_load(plan.unwritten, bucket, target)
        except (TargetRefused, UsageError) as error:
            refused.append(error)
    load.refuse_together(refused, on="every target")


def _size(table: Table) -> tuple[int, int]:
    return sum(heap.pages for heap in table.heaps), sum(heap.bytes for heap in table.heaps)
