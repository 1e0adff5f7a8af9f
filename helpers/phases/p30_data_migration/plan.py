"""What the data migration would do: shown and recorded in a rehearsal, where the steps that change something do not act."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from helpers.errors import UsageError
from helpers.export import ExportPlan
from helpers.load import delta, snowflake
from helpers.model import manifest
from helpers.model.catalog import Table
from helpers.phases.common.plan import StepPlan
from helpers.platforms import snowflake as snowflake_platform
from helpers.platforms import spark
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings

_UNKNOWN_UNTIL_EXPORTED = "known after the export"


def of_export(plan: ExportPlan, settings: Settings) -> StepPlan:
    """What the export would read and write; asks the stage what it has, and writes nothing."""
    tables = {(table.schema, table.name): table for table in plan.catalog.tables}
    rows = []
    for state in plan.state.tables:
        pages, size = _size(tables[state.schema_, state.name])
        rows.append((f"{state.schema_}.{state.name}", "write", state.rows, pages, size, len(state.parts)))
    objects = pd.DataFrame(rows, columns=["table", "action", "rows", "pages to read", "bytes to read", "files"])
    former = manifest.read_if_any(plan.bucket)
    what = f"write Parquet files and a manifest to {plan.bucket.location}"
    what += f"; the manifest of the export {former.export} is replaced" if former else "; nothing is there yet"
    totals = {name: int(objects[name].sum()) for name in ("rows", "pages to read", "bytes to read", "files")}
    return StepPlan("s30-export", what, objects.set_index("table"), _named(totals), _cost(settings))


def refuse_what_loads_would(plan: ExportPlan, bucket: Bucket, settings: Settings) -> None:
    """Raises what loading this export into the profile's targets would raise before it changes anything, such as for a table
    there that no load of ours made; the targets are asked, and nothing is written.

    Raises:
        ConnectionFailed, TargetRefused, UsageError: as `load.snowflake.plan_load` and `load.delta.plan_load`.
    """
    if settings.values.snowflake:
        snowflake.plan_load(plan.unwritten, bucket, settings.snowflake)
    if settings.values.databricks:
        delta.plan_load(plan.unwritten, bucket, settings.databricks)


def of_load(plan: ExportPlan, bucket: Bucket, settings: Settings) -> StepPlan:
    """What a load of this export would make, replace and drop; asks the target what it has, and writes nothing.

    Raises:
        ConnectionFailed, UsageError: as `load.snowflake.plan_load`, such as for two names that the target would take for one.
    """
    found = snowflake.plan_load(plan.unwritten, bucket, settings.snowflake)
    what = f"load {snowflake_platform.address(settings.snowflake)}, each table in one transaction"
    return _of_tables("s30-load", what, found, plan, settings)


def of_delta_load(plan: ExportPlan, bucket: Bucket, settings: Settings) -> StepPlan:
    """The same of the Delta tables.

    Raises:
        ConnectionFailed, UsageError: as `load.delta.plan_load`.
    """
    found = delta.plan_load(plan.unwritten, bucket, settings.databricks)
    what = f"load {spark.address(settings.databricks)}, each table in one commit"
    return _of_tables("s30-load-databricks", what, found, plan, settings)


def ask_targets(plan: ExportPlan, bucket: Bucket, settings: Settings) -> None:
    """Asks every target of the profile whether it would take the export, before there is one.

    Raises:
        ConnectionFailed: one of them does not answer.
        UsageError: what any of them refuses, all of it.
    """
    refused: list[UsageError] = []
    for ask in (of_load, of_delta_load) if settings.values.databricks else (of_load,):
        try:
            ask(plan, bucket, settings)
        except UsageError as error:
            refused.append(error)
    if len(refused) > 1:
        raise UsageError(
            refused[0].what, on="every target", why="; ".join(dict.fromkeys(f"{each.on}: {each.why}" for each in refused)),
            next_step="; ".join(dict.fromkeys(each.next_step for each in refused)),
        )  # fmt: skip
    if refused:
        raise refused[0]


def _of_tables(
    step: str, what: str, found: snowflake.LoadPlan | delta.LoadPlan, plan: ExportPlan, settings: Settings
) -> StepPlan:
    tables = {(table.schema, table.name): table for table in plan.catalog.tables}
    rows = [
        (str(t.staged), t.target, t.action, t.staged.rows, _size(tables[t.staged.schema_, t.staged.name])[1])
        for t in found.tables
    ]
    rows += [("(no more in the source)", name, "drop", 0, 0) for name in found.stale]
    columns = ["table", "target object", "action", "rows", "bytes in the source"]
    objects = pd.DataFrame(rows, columns=columns)
    counts = {
        "to create": sum(t.action == "create" for t in found.tables),
        "to replace": sum(t.action != "create" for t in found.tables),
        "to drop": len(found.stale),
    }
    totals = {"rows": found.rows, "bytes in the source": int(objects["bytes in the source"].sum()), **counts}
    what = f"{what}; the size of the files is {_UNKNOWN_UNTIL_EXPORTED}"
    return StepPlan(step, what, objects.set_index("table"), _named(totals), _cost(settings))


def _size(table: Table) -> tuple[int, int]:
    return sum(heap.pages for heap in table.heaps), sum(heap.bytes for heap in table.heaps)


def _named(totals: Mapping[str, int]) -> dict[str, int]:
    return {name.replace(" ", "_"): value for name, value in totals.items()}


def _cost(settings: Settings) -> str:
    if settings.values.stack == "local":
        return "not estimated on a stand-in"
    return "not estimated: it depends on the size of the warehouse or cluster and on how long it runs, which nobody has measured here"
