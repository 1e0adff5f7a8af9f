"""What the tests would do: shown and recorded in a rehearsal, where nothing is run, built or sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from helpers.phases.common.plan import StepPlan
from helpers.pipelines import alerts
from helpers.pipelines.benchmark import VOLUMES, BenchmarkPlan
from helpers.pipelines.full_run import STAGES
from helpers.pipelines.parity import AGGREGATES
from helpers.platforms import snowflake
from helpers.settings import Downstream, Settings

_LEFT = "removed again"


def of_functional(settings: Settings, tests: Sequence[str]) -> StepPlan:
    """The functional tests of a pipeline."""
    objects = pd.DataFrame({"test": list(tests), "where": "scratch data, " + _LEFT}).set_index("test")
    what = f"run the functional tests on the stack of profile {settings.profile}, over generated orders"
    return StepPlan("s40-functional", what, objects, {"tests": len(tests)}, _cost(settings))


def of_performance(plan: BenchmarkPlan) -> StepPlan:
    """The benchmark."""
    rows = [(f"{volume}, {pipeline}", VOLUMES[volume]) for volume in plan.volumes for pipeline in plan.pipelines]
    objects = pd.DataFrame(rows, columns=["measured", "order lines"]).set_index("measured")
    which = " and ".join(plan.pipelines)
    what = f"measure {which} over scratch data, which is {_LEFT}; large is what a laptop moves in a few minutes"
    return StepPlan("s40-performance", what, objects, {"order_lines": plan.lines}, _cost(plan.settings))


def of_quality(settings: Settings) -> StepPlan:
    """The marts and their tests."""
    names = ["sales_lines", "dim_product", *(each.name for each in AGGREGATES), "pipeline_build"]
    objects = pd.DataFrame({"mart": names, "action": "build or replace, then test"}).set_index("mart")
    where = "a DuckDB file"
    if settings.dbt.engine == "snowflake":
        where = f"{settings.snowflake.database}.{settings.marts_schema} of {snowflake.address(settings.snowflake)}"
    return StepPlan(
        "s40-quality", f"dbt build --select +marts into {where}", objects, {"marts": len(names)}, _cost(settings)
    )


def of_parity(settings: Settings) -> StepPlan:
    """The comparison with the legacy aggregates."""
    rows = [(each.name, ", ".join(each.key), ", ".join(each.exact), ", ".join(each.cents)) for each in AGGREGATES]
    objects = pd.DataFrame(rows, columns=["aggregate", "row by", "exact", "to the cent"]).set_index("aggregate")
    what = "compare each legacy aggregate with its mart, row by row; both are only read"
    return StepPlan("s40-parity", what, objects, {"aggregates": len(rows)}, "none: it reads what the marts hold")


def of_full_run(settings: Settings) -> StepPlan:
    """A full run of the pipeline."""
    writes = {
        "export": "the stage: new files, a new manifest", "load": f"replaces the rows of {snowflake.address(settings.snowflake)}",
        "verify": "nothing: it reads both sides", "marts": "builds or replaces the marts", "parity": "nothing: it reads both sides",
    }  # fmt: skip
    objects = pd.DataFrame({"stage": list(STAGES), "changes": [writes[name] for name in STAGES]}).set_index("stage")
    return StepPlan(
        "s40-full-run",
        "run the whole pipeline once: by Airflow where it is up, otherwise in this process",
        objects,
        {"stages": len(STAGES)},
        _cost(settings),
    )


def of_output(settings: Settings) -> StepPlan:
    """Rules and figures of the target's rows."""
    objects = pd.DataFrame({"side": ["source", "target"], "asked for": "rules and business figures"}).set_index("side")
    what = (
        f"runbook verify --check data-quality against {snowflake.address(settings.snowflake)}; both sides are only read"
    )
    return StepPlan("s40-output", what, objects, {"sides": 2}, _cost(settings))


def of_alerts(step: str, settings: Settings) -> StepPlan:
    """A test alarm."""
    objects = pd.DataFrame(alerts.ways(settings), columns=["through", "sends"]).set_index("through")
    seconds = settings.alerts.timeout_seconds
    what = f"send a test alarm, which reaches whoever listens there, and wait up to {seconds:g} s for it"
    return StepPlan(step, what, objects, {"ways": len(objects)}, "none worth naming")


def of_downstream(described: Mapping[str, Downstream | None]) -> StepPlan:
    """Reads as each downstream system."""
    rows = [(name, ", ".join(how.reads) if how else "nothing says what it reads") for name, how in described.items()]
    objects = pd.DataFrame(rows, columns=["system", "reads"]).set_index("system")
    what = "read what each system that is listed reads; nothing is changed"
    return StepPlan("s40-downstream", what, objects, {"systems": len(rows)}, "none worth naming")


def _cost(settings: Settings) -> str:
    if settings.values.stack == "local":
        return "not estimated on a stand-in"
    return "not estimated: it depends on the warehouse's size and on how long it runs, which nobody has measured here"
