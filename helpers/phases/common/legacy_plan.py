"""What the checks of the legacy pipeline would do: shown and recorded in a rehearsal, where nothing is run."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from helpers.phases.common.plan import StepPlan
from helpers.pipelines import source_quality
from helpers.pipelines.full_run import LEGACY_DAG
from helpers.pipelines.parity import AGGREGATES
from helpers.platforms import postgres
from helpers.settings import Settings

_READS = "none worth naming: the source is only read"


def _of_rules(settings: Settings, step: str, tables: str) -> StepPlan:
    rows = [(tables, "every declared rule: NOT NULL, keys, foreign keys, CHECK, labels")]
    rows += [(f"checks/{name}.sql", "the rows that it finds are wrong") for name in source_quality.names()]
    return _plan(
        step, f"count the rows of {postgres.address(settings.source)} that break a rule", "asked", rows, _READS
    )


def _of_figures(settings: Settings, step: str) -> StepPlan:
    rows = [
        (each.name, f"row by {', '.join(each.key)}: {', '.join(each.exact + each.cents)}, to the cent")
        for each in AGGREGATES
    ]
    what = f"add up the order lines of {postgres.address(settings.source)} again and compare every stored aggregate"
    return _plan(step, what, "aggregate", rows, "reads every order line once, sorted by order")


def _of_full_run(settings: Settings) -> StepPlan:
    rows = [
        ("aggregate", "replaces the star, sales_data, sales_daily and sales_monthly in one transaction"),
        ("recomputation", "nothing: it reads the order lines and the aggregates"),
    ]
    what = f"run the legacy aggregation once: {LEGACY_DAG} in Airflow where it is up, otherwise in this process"
    return _plan("s40-full-run", what, "stage", rows, "what the nightly run costs; readers wait while it commits")


def _of_output(settings: Settings) -> StepPlan:
    rules = _of_rules(settings, "s40-output", "the tables that a run writes")
    objects = pd.concat(
        [rules.objects, _of_figures(settings, "s40-output").objects.rename_axis(rules.objects.index.name)]
    )
    return StepPlan("s40-output", f"{rules.what}, and compare its figures", objects, {"checks": len(objects)}, _READS)


def _of_pipeline(settings: Settings) -> StepPlan:
    figures = _of_figures(settings, "s60-pipeline")
    return StepPlan(
        "s60-pipeline", f"read how the pipeline ran last, and {figures.what}", figures.objects, figures.totals, figures.cost
    )  # fmt: skip


def _of_security(settings: Settings) -> StepPlan:
    rows = [
        (
            postgres.address(settings.source),
            "encryption, passwords, superusers, what everybody may do, personal data",
        )
    ]
    return _plan("s60-security", "ask the source how it is protected; nothing is changed", "asked", rows, _READS)


PLANS: dict[str, Callable[[Settings], StepPlan]] = {
    "s40-quality": lambda settings: _of_rules(settings, "s40-quality", "every table"),
    "s40-parity": lambda settings: _of_figures(settings, "s40-parity"),
    "s40-full-run": _of_full_run,
    "s40-output": _of_output,
    "s60-pipeline": _of_pipeline,
    "s60-quality": lambda settings: _of_rules(settings, "s60-quality", "every table"),
    "s60-security": _of_security,
}


def _plan(step: str, what: str, index: str, rows: list[tuple[str, str]], cost: str) -> StepPlan:
    objects = pd.DataFrame(rows, columns=[index, "what"]).set_index(index)
    return StepPlan(step, what, objects, {"checks": len(rows)}, cost)
