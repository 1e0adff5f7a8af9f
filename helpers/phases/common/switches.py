"""What cutover and rollback switch around the data: the scheduler's DAGs and the readers' record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from helpers.ledger.steps import Found
from helpers.phases.common.phase import Finding
from helpers.platforms.dns import Record
from helpers.settings import Settings


class Scheduler(Protocol):
    """The part of Airflow that is switched."""

    def enable(self, dag: str) -> object: ...

    def disable(self, dag: str) -> object: ...

    def enabled(self, dag: str) -> bool: ...


@dataclass(frozen=True)
class Dags:
    """Which DAGs are to be on and which off."""

    on: tuple[str, ...]
    off: tuple[str, ...]

    def switch(self, scheduler: Scheduler) -> None:
        """Off first: two pipelines that run at once would both write."""
        for dag in self.off:
            scheduler.disable(dag)
        for dag in self.on:
            scheduler.enable(dag)

    def found(self, scheduler: Scheduler) -> Found:
        """Asks the scheduler whether it is so."""
        states = self.states(scheduler)
        wrong = [dag for dag, on in states.items() if on != (dag in self.on)]
        how = ", ".join(f"{dag} is {'on' if on else 'off'}" for dag, on in states.items())
        return Found("not done" if wrong else "done", f"in the scheduler {how}", {"dags": states})

    def states(self, scheduler: Scheduler) -> dict[str, bool]:
        """Each DAG, and whether it is on."""
        return {dag: scheduler.enabled(dag) for dag in (*self.off, *self.on)}


def scheduler(settings: Settings) -> Scheduler | None:
    """The profile's Airflow; None where no section names one.

    Raises:
        ConnectionFailed: it is named, and does not answer.
    """
    if getattr(settings.values, "airflow", None) is None:
        return None
    return cast(Scheduler, import_module("helpers.platforms.airflow").connect(settings))


def no_scheduler(dags: Dags) -> Finding:
    """Said where a step cannot switch DAGs."""
    return Finding(
        "warning",
        "Airflow",
        "no scheduler is configured, so this step has switched nothing: "
        f"{', '.join(dags.on) or 'nothing'} has to be on and {', '.join(dags.off) or 'nothing'} off",
        "switch them by hand, or add [profiles.NAME.airflow] to migration.toml",
    )


def record(settings: Settings) -> Record | None:
    """The readers' record; None where no section names one."""
    if settings.dns is None:
        return None
    return Record(settings.dns, settings.aws)


def no_record(share: int) -> Finding:
    """Said where a step cannot lead readers."""
    return Finding(
        "warning",
        "DNS",
        f"no record is configured, so this step has led nobody: {share} % of the readers have to be on the new side",
        "lead them by hand, or add [profiles.NAME.dns] to migration.toml",
    )


def not_told(sentences: Sequence[str]) -> Finding:
    """Said where nobody was told."""
    return Finding(
        "warning",
        "stakeholders",
        f"nobody was told ({'; '.join(sentences)})",
        "tell them yourself, or add [profiles.NAME.notify] webhook to migration.toml",
    )
