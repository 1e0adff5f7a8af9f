"""What cutover and rollback switch besides the data (the scheduler's DAGs, the readers' DNS record), and the checks of the data that both make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import pandas as pd

from helpers.finding import Finding, judged, note, stop, warning
from helpers.frames import frame
from helpers.ledger.steps import Found
from helpers.model.catalog import Catalog, Table
from helpers.phases.common.phase import Phase
from helpers.phases.common.plan import StepPlan, plan_step
from helpers.phases.common.verification import compare
from helpers.platforms import postgres
from helpers.platforms.dns import Record, Weights
from helpers.settings import Dags, Dns, Settings, Tables
from helpers.source.catalog import read_catalog

NO_COST = "nothing: the steps ask and switch"


class Scheduler(Protocol):
    """The part of Airflow that is switched."""

    def enable(self, dag: str) -> object: ...

    def disable(self, dag: str) -> object: ...

    def enabled(self, dag: str) -> bool: ...


@dataclass(frozen=True)
class Switches:
    """Which DAGs are to be on and which off."""

    on: tuple[str, ...]
    off: tuple[str, ...]

    def switch(self, scheduler: Scheduler) -> None:
        """Off first: two pipelines that run at once would both write."""
        for dag in self.off:
            scheduler.disable(dag)
        for dag in self.on:
            scheduler.enable(dag)

    def probe(self, scheduler: Scheduler, where: str = "the scheduler") -> Found:
        """Asks the scheduler whether it is so."""
        states = self.states(scheduler)
        wrong = [dag for dag, on in states.items() if on != (dag in self.on)]
        how = ", ".join(f"{dag} is {'on' if on else 'off'}" for dag, on in states.items())
        return Found("not done" if wrong else "done", f"in {where} {how}", {"dags": states})

    def states(self, scheduler: Scheduler) -> dict[str, bool]:
        """Each DAG, and whether it is on."""
        return {dag: scheduler.enabled(dag) for dag in (*self.off, *self.on)}


def configured(dags: Dags, option: str) -> Switches:
    """How a path has the pipeline's DAGs before the cutover: the modern ones on, the legacy ones as they are; a hybrid runs both."""
    return Switches({"A": dags.modern, "B": (*dags.modern, *dags.legacy), "C": dags.legacy}[option], dags.retired)


def cut_over(dags: Dags, option: str) -> Switches:
    """How a path has them behind the cutover: the modern ones on, and the legacy ones off but for a hybrid, which runs both."""
    before = configured(dags, option)
    return before if option == "B" else Switches(before.on, (*dags.legacy, *before.off))


def rolled_back(dags: Dags) -> Switches:
    """How a rollback has them."""
    return Switches(dags.legacy, dags.modern)


class Switching(Phase):
    """A phase that switches the scheduler and leads the readers."""

    ASKS_AT_ONCE = False

    def switch_dags(self, name: str, dags: Switches) -> pd.DataFrame:
        """The step that switches DAGs; a row a DAG."""
        if name in self.absent:
            return self.passed_over(name)
        scheduler = connect_scheduler(self.settings) if self.apply else None

        def probe(load_id: str, result: Mapping[str, Any]) -> Found:
            return dags.probe(scheduler) if scheduler else Found("not done", "no scheduler is configured")

        with self.step(name, {"on": list(dags.on), "off": list(dags.off)}, probe=probe) as step:
            if not self.apply:
                rows = [*((dag, "switch off", "") for dag in dags.off), *((dag, "switch on", "") for dag in dags.on)]
                return self.shown(
                    step, plan_change(name, "switch DAGs in the scheduler, if one is configured", rows, "dags")
                )
            if scheduler is None:
                return self.not_done(step, _no_scheduler(dags))
            if not step.skipped:
                dags.switch(scheduler)
                step.result = {"dags": dags.states(scheduler)}
        return frame(step.result["dags"].items(), "dag", "on")

    def plan_record(self, name: str, shares: Sequence[int]) -> StepPlan:
        """What leading the readers would change: the record's weights, step by step."""
        dns = self.settings.dns
        what = f"lead readers by {dns.record if dns else 'no record: none is configured'}"
        return plan_change(name, what, record_weights(dns, shares), "changes")

    def dns_inputs(self) -> dict[str, Any]:
        """What decides where readers are led."""
        return {"dns": self.settings.dns.model_dump() if self.settings.dns else None}

    def check_switches(
        self, share: int, dags: Switches, fix: str, *, readers: str, scheduler: str
    ) -> Iterator[Finding]:
        """Whether readers and DAGs are where they should be; of those that somebody else has switched, by whose word.

        Args:
            share: per cent of the readers on the new side.
            dags: which are to be on and off.
            fix: what to do where they are not.
            readers: the step that has led the readers.
            scheduler: the step that has switched the DAGs.
        """
        if readers in self.absent:
            yield note("readers", f"{readers} was not this run's: {self.absent[readers]}")
        elif (record := connect_record(self.settings)) is None:
            yield no_record(share)
        else:
            weights = record.weights()
            yield judged(leads_to(weights, share), str(record), f"its weights are {weights}", fix)
        if scheduler in self.absent:
            yield note("DAGs", f"{scheduler} was not this run's: {self.absent[scheduler]}")
        elif not (dags.on or dags.off):
            yield note("DAGs", "the profile names none, so none is switched")
        elif (airflow := connect_scheduler(self.settings)) is None:
            yield _no_scheduler(dags)
        else:
            found = dags.probe(airflow)
            yield judged(found.answer == "done", "Airflow", found.how, fix)

    def check_target(self, report_name: str, fix: str) -> Iterator[Finding]:
        """Whether source and target are equal, cell by cell."""
        found, _ = compare(self.settings, self.settings.main_target.adapter, report_name)
        for each in found.tables:
            if each.verdict == "equal":
                yield note(str(each), f"equal, {each.rows_source or 0:,} rows, {each.method}")
            else:
                yield stop(str(each), f"{each.verdict}: {each.differences or each.method}", fix)
        if not found.tables:
            yield stop("the target", "nothing was compared", fix)

    def source_catalog(self, described: Tables | None = None) -> Catalog:
        """The tables of the source that move, by `described` or else by the profile, and what is left there."""
        with postgres.reading(self.settings.source) as cursor:
            return read_catalog(
                cursor, schemas=self.settings.source.schemas, described=described or self.settings.tables
            )


def plan_change(step: str, what: str, rows: Iterable[tuple[str, str, str]], counted: str) -> StepPlan:
    """The plan of a step that asks and switches: each object, what is done to it, and what a rollback does then.

    Args:
        step: its id.
        what: it does, in a sentence.
        rows: one an object.
        counted: what the objects are called where they are counted.
    """
    objects = list(rows)
    columns = ("object", "action", "afterwards")
    return plan_step(step, what, objects, *columns, cost=NO_COST, totals={counted: len(objects)})


def plan_tables(step: str, what: str, tables: Iterable[Table], action: str) -> StepPlan:
    """The plan of a step that does the same to each table, where the table needs it."""
    return plan_change(step, what, [(f"{table.schema}.{table.name}", action, "") for table in tables], "tables")


def record_weights(dns: Dns | None, shares: Sequence[int]) -> Iterator[tuple[str, str, str]]:
    """A row of a plan for each share that the readers' record would lead to the new side."""
    if dns is None:
        yield "DNS", "nothing: no record is configured", ""
        return
    for share in shares:
        yield f"{dns.record}, {share} %", f"legacy {100 - share} : modern {share}", "rollback: legacy 100 : modern 0"


def leads_to(weights: Weights, share: int) -> bool:
    """Whether so many per cent of the readers are on the new side; a record without weights leads nobody there."""
    return weights.share == share or (share == 0 and weights.simple)


def connect_scheduler(settings: Settings) -> Scheduler | None:
    """The profile's Airflow; None where no section names one.

    Raises:
        ConnectionFailed: it is named, and does not answer.
    """
    if getattr(settings.values, "airflow", None) is None:
        return None
    return cast(Scheduler, import_module("helpers.platforms.airflow").connect(settings))


def connect_record(settings: Settings) -> Record | None:
    """The readers' record; None where no section names one."""
    return Record(settings.dns, settings.aws) if settings.dns else None


def no_record(share: int) -> Finding:
    """Said where a step cannot lead readers."""
    return warning(
        "DNS",
        f"no record is configured, so this step has moved no traffic: {share} % of the readers must be on the new side",
        "change the record by hand, or add [profiles.NAME.dns] to migration.toml",
    )


def _no_scheduler(dags: Switches) -> Finding:
    return warning(
        "Airflow",
        "no scheduler is configured, so this step has switched nothing: "
        f"{', '.join(dags.on) or 'nothing'} has to be on and {', '.join(dags.off) or 'nothing'} off",
        "switch them by hand, or add [profiles.NAME.airflow] to migration.toml",
    )
