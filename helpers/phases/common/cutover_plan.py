"""What a cutover and its steps would do: shown and recorded in a rehearsal, and what people approve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from helpers.model.catalog import Table
from helpers.phases.common.plan import StepPlan
from helpers.platforms.terraform import Change
from helpers.settings import Dns, Settings
from helpers.source.freeze import SETTING, FreezePlan, Stored

NOTHING = "nothing: the steps ask and switch"


def of_cutover(settings: Settings, tables: Sequence[Table], former: Sequence[Stored]) -> StepPlan:
    """All of it, and the rollback that is approved with it."""
    limits = settings.cutover
    rows = list(_frozen(settings.source.dbname, former))
    for table in tables:
        key = ", ".join(table.key)
        back = f"by key ({key})" if key else "not at all: it has no key, and a rollback refuses if it was written to"
        rows.append((f"{table.schema}.{table.name}", "carry over if changed, compare every cell", f"rollback: {back}"))
    rows += [(dag, "switch off", "rollback: on") for dag in limits.legacy_dags]
    rows += [(dag, "switch on", "rollback: off") for dag in limits.modern_dags]
    rows += list(_led(settings.dns))
    rows.append(("threshold: failed queries", f"at most {limits.max_error_rate:.1%} of {limits.probes}", "more: back to the old side"))  # fmt: skip
    rows.append(("threshold: 95th percentile of the latency", f"at most {limits.max_latency_seconds:g} s", "more: back to the old side"))  # fmt: skip
    totals = {"tables": len(tables), "steps_of_the_switch": len(settings.dns.steps) if settings.dns else 0}
    what = (
        f"freeze {settings.source.dbname}, carry the last difference over to {settings.snowflake.database}."
        f"{settings.snowflake.schema_}, switch the scheduler and the readers"
    )
    return _plan("s50-cutover", what, rows, totals)


def of_freeze(plan: FreezePlan) -> StepPlan:
    """The settings that are stored, and who would be ended."""
    rows = list(_frozen(plan.source.dbname, plan.former))
    rows += [(role, f"{SETTING} of its own, for this database: on", "taken away") for role in plan.overriding]
    rows += [(str(session), "ended, unless it goes", "connects anew") for session in plan.sessions]
    what = f"make new transactions in {plan.source.dbname} read-only, and end the sessions from before"
    return _plan("s50-freeze", what, rows, {"sessions": len(plan.sessions)})


def of_tables(step: str, what: str, tables: Iterable[Table], action: str) -> StepPlan:
    """Tables that each get the same, or do not need it."""
    rows = [(f"{table.schema}.{table.name}", action, "") for table in tables]
    return _plan(step, what, rows, {"tables": len(rows)})


def of_dags(step: str, on: Sequence[str], off: Sequence[str]) -> StepPlan:
    """Switches of the scheduler."""
    rows = [*((dag, "switch off", "") for dag in off), *((dag, "switch on", "") for dag in on)]
    return _plan(step, "switch DAGs in the scheduler, if one is configured", rows, {"dags": len(rows)})


def of_record(step: str, dns: Dns | None, shares: Sequence[int]) -> StepPlan:
    """Weights of the readers' record."""
    rows = list(_led(dns, shares))
    return _plan(
        step, f"lead readers by {dns.record if dns else 'no record: none is configured'}", rows, {"changes": len(rows)}
    )


def of_one(step: str, what: str, thing: str, action: str) -> StepPlan:
    """A single thing."""
    return _plan(step, what, [(thing, action, "")], {"objects": 1})


def of_destroy(step: str, what: str, changes: Sequence[Change]) -> StepPlan:
    """What Terraform would destroy, by address and name: a service reports some values of what it has anew at every look, such as
    until when a database can be restored, and a signature must outlast that."""
    rows = [(change.address, change.action, change.what) for change in changes]
    return _plan(step, what, rows, {"resources": len(rows)})


def _frozen(database: str, former: Sequence[Stored]) -> Iterable[tuple[str, str, str]]:
    for each in former:
        name = f"database {database}" if each.role is None else f"role {each.role} in database {database}"
        yield name, f"{SETTING}: on", f"rollback: {each.value or 'unset'}"


def _led(dns: Dns | None, shares: Sequence[int] | None = None) -> Iterable[tuple[str, str, str]]:
    if dns is None:
        yield "DNS", "nothing: no record is configured", ""
        return
    for share in dns.steps if shares is None else shares:
        yield f"{dns.record}, {share} %", f"legacy {100 - share} : modern {share}", "rollback: legacy 100 : modern 0"


def _plan(step: str, what: str, rows: Sequence[tuple[str, str, str]], totals: dict[str, int]) -> StepPlan:
    objects = pd.DataFrame(rows, columns=["object", "action", "afterwards"]).set_index("object")
    return StepPlan(step, what, objects, totals, NOTHING)
