"""What the checks after the migration would do: shown and recorded in a rehearsal, where nothing is asked, sent or restored."""

from __future__ import annotations

import pandas as pd

from helpers.phases.common.plan import StepPlan
from helpers.pipelines.benchmark import VOLUMES, BenchmarkPlan
from helpers.platforms import snowflake
from helpers.settings import Settings

_READS = "none worth naming: both sides are only read"


def of_pipeline(settings: Settings) -> StepPlan:
    """The last run of the pipeline, and the target as it is now."""
    rows = [
        ("the run's ledger", "how the pipeline's last full run ended"),
        ("source and target", "every table, cell by cell"),
    ]
    what = f"read how the pipeline ran last, and compare {snowflake.address(settings.snowflake)} with the source again"
    return _plan("s60-pipeline", what, "asked", rows, _READS)


def of_quality(settings: Settings) -> StepPlan:
    """Rules and figures on both sides."""
    rows = [("legacy", "rules and business figures"), ("modern", "rules and business figures")]
    what = f"compare the data's quality in {snowflake.address(settings.snowflake)} with that in the legacy system"
    return _plan("s60-quality", what, "system", rows, _READS)


def of_performance(plan: BenchmarkPlan) -> StepPlan:
    """The benchmark of phase 40, again."""
    rows = [
        (f"{volume}, {pipeline}", f"{VOLUMES[volume]:,} order lines")
        for volume in plan.volumes
        for pipeline in plan.pipelines
    ]
    what = f"measure {' and '.join(plan.pipelines)} over scratch data, which is removed again, and hold them against the profile's sla"
    return _plan("s60-performance", what, "measured", rows, "not estimated")


def of_security(settings: Settings) -> StepPlan:
    """Questions to target and stage."""
    rows = [
        (snowflake.address(settings.snowflake), "encryption, authentication, roles, what everybody may do"),
        ("the stage", "versions, encryption at rest, region"),
    ]
    return _plan(
        "s60-security", "ask the target how it is protected; nothing is changed", "asked", rows, "none worth naming"
    )


def of_recovery(settings: Settings) -> StepPlan:
    """A dump and its restore."""
    rows = [
        ("dump", "pg_dump of the whole source into a temporary file, removed again"),
        ("restore", "pg_restore into a scratch database on the same server, dropped again"),
        ("compare", "every table, cell by cell, in the snapshot of the dump"),
    ]
    what = f"restore a backup of {settings.source.dbname} and compare it; it needs the size of the database twice for its time"
    return _plan("s60-recovery", what, "step", rows, "none worth naming")


def _plan(step: str, what: str, index: str, rows: list[tuple[str, str]], cost: str) -> StepPlan:
    objects = pd.DataFrame(rows, columns=[index, "what"]).set_index(index)
    return StepPlan(step, what, objects, {"checks": len(rows)}, cost)
