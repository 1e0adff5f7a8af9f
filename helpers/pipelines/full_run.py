"""One full run of a pipeline: of the modern one export → load → verify → marts → parity, of the legacy one aggregate →
recomputation, each behind the one before it.

Airflow runs its own DAG where there is an Airflow; the same chain in this process is for a machine without one, and for testing
the chain itself. Parity is not a task of the DAG: once the legacy pipeline is gone there is nothing to compare with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import Literal

import pandas as pd

from helpers import export as exporting
from helpers import load as loading
from helpers import verify
from helpers.errors import UsageError
from helpers.frames import frame
from helpers.model.manifest import Manifest
from helpers.pipelines import aggregation as legacy_aggregation
from helpers.pipelines import marts, parity, recomputation
from helpers.pipelines.dag_files import CLOUD, LEGACY
from helpers.pipelines.data_sources import VARIABLE
from helpers.pipelines.parity import ParityReport
from helpers.platforms import airflow, postgres
from helpers.platforms.dbt import DbtResult
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings
from helpers.verify.report import Report

STAGES = ("export", "load", "verify", "marts", "parity")
IN_PROCESS = "in this process, without Airflow"


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        state: "skipped" where a stage before it failed.
        said: what it did, or why it failed.
    """

    name: str
    state: Literal["done", "failed", "skipped"]
    said: str
    seconds: float


@dataclass(frozen=True)
class PipelineRun:
    """What a full run did.

    Attributes:
        how: by what it was run, in words.
        run_id: Airflow's; empty where it was not run by Airflow.
    """

    how: str
    stages: tuple[Stage, ...]
    run_id: str = ""

    @property
    def done(self) -> bool:
        """Whether every stage is."""
        return bool(self.stages) and all(stage.state == "done" for stage in self.stages)

    def frame(self) -> pd.DataFrame:
        """A row a stage."""
        rows = [(stage.name, stage.state, stage.said, round(stage.seconds, 2)) for stage in self.stages]
        return frame(rows, "stage", "state", "said", "seconds")


def run(
    settings: Settings,
    *,
    load_id: str,
    cells_folder: Path,
    progress: Progress | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> PipelineRun:
    """Runs the whole chain once, in one snapshot, and stops behind the first stage that says no.

    Args:
        load_id: 32 hexadecimal digits, which the export's name ends with and which the target and the marts record.
        cells_folder: where differing cells would go.
        report: is told what dbt says.

    Raises:
        MigrationError: a stage could not be run at all; what the stages before it made stands.
    """
    chain = Chain(settings, load_id, cells_folder, progress, report)
    stages: list[Stage] = []
    with exporting.planned(settings, progress=progress) as plan:
        # The snapshot is held to the end, so that the verification reads what the export read.
        for name in STAGES:
            if stages and stages[-1].state != "done":
                stages.append(Stage(name, "skipped", "", 0.0))
                continue
            started = time.monotonic()
            good, said = chain.export(plan) if name == "export" else getattr(chain, name)()
            stages.append(Stage(name, "done" if good else "failed", said, time.monotonic() - started))
    return PipelineRun(IN_PROCESS, tuple(stages))


def run_legacy(settings: Settings) -> PipelineRun:
    """Runs the legacy aggregation once in this process, then computes again what it should have written.

    Args:
        settings: the profile, whose source is the pipeline's own database.

    Raises:
        MigrationError: it could not be run; all is as it was.
    """
    started = time.monotonic()
    rows = legacy_aggregation.aggregate(settings.source)
    said = ", ".join(f"{count:,} rows of {table}" for table, count in rows.items())
    stages = [Stage("aggregate", "done", said, time.monotonic() - started)]
    return PipelineRun(IN_PROCESS, (*stages, _last("recomputation", recomputed, settings)))


def by_airflow(settings: Settings, *, load_id: str, progress: Progress | None = None) -> PipelineRun:
    """Triggers the DAG once, follows it to its end, then compares the marts.

    Args:
        settings: the profile, whose Airflow it is.
        load_id: 32 hexadecimal digits, with which the run's id begins.

    Raises:
        UsageError: the DAG is not there or not enabled, or works with another profile.
        PipelineFailed: the run has not ended in time.
        ConnectionFailed: Airflow does not answer; the run goes on there.
    """
    return _by_airflow(settings, CLOUD, "parity", compared, load_id, progress)


def legacy_by_airflow(settings: Settings, *, load_id: str, progress: Progress | None = None) -> PipelineRun:
    """The same with the legacy pipeline's DAG, whose aggregates are computed again behind it.

    Raises:
        UsageError, PipelineFailed, ConnectionFailed: as `by_airflow`.
    """
    before = legacy_aggregation.files(settings.source)

    def look(own: Settings) -> tuple[bool, str]:
        if legacy_aggregation.files(own.source) == before:  # a task may end well and have worked elsewhere
            return False, f"the run ended well, and the tables of {postgres.address(own.source)} are those of before"
        return recomputed(own)

    return _by_airflow(settings, LEGACY, "recomputation", look, load_id, progress)


def _by_airflow(
    settings: Settings, dag: str, last: str, look: _Look, load_id: str, progress: Progress | None
) -> PipelineRun:
    scheduler = airflow.connect(settings)
    _refuse_other_profile(scheduler, settings)
    run_id = scheduler.trigger(dag, run_id=f"runbook-{exporting.mark(load_id)}-{token_hex(2)}")
    scheduler.follow(dag, run_id, progress)
    stages = [_stage(task) for task in scheduler.tasks(dag, run_id)]
    if any(stage.state != "done" for stage in stages):
        log = scheduler.log_of_failed(dag, run_id)
        stages = [replace(each, said=log) if each.state == "failed" else each for each in stages]
        stages.append(Stage(last, "skipped", "", 0.0))
    else:
        stages.append(_last(last, look, settings))
    return PipelineRun(f"{dag} in {scheduler.address}, run {run_id}", tuple(stages), run_id)


def compared(settings: Settings) -> tuple[bool, str]:
    """Whether the marts say what the legacy pipeline says, and a sentence about it."""
    return _said(parity.compare(settings))


def recomputed(settings: Settings) -> tuple[bool, str]:
    """Whether the legacy aggregates say what their order lines say, and a sentence about it."""
    return _said(recomputation.compare(settings))


def _last(name: str, look: _Look, settings: Settings) -> Stage:
    started = time.monotonic()
    good, said = look(settings)
    return Stage(name, "done" if good else "failed", said, time.monotonic() - started)


def _said(found: ParityReport) -> tuple[bool, str]:
    wrong = "; ".join(map(str, found.differences[:3]))
    figures = sum(each.figures for each in found.aggregates)
    if not wrong and not found.equal:
        wrong = "no legacy aggregate has a row to compare"
    return found.equal, wrong or f"{figures:,} figures of {len(found.aggregates)} aggregates are equal to the cent"


_Look = Callable[[Settings], tuple[bool, str]]


def _refuse_other_profile(scheduler: airflow.Airflow, settings: Settings) -> None:
    try:
        profile = json.loads(scheduler.variable(VARIABLE) or "{}").get("profile")
    except (ValueError, AttributeError):
        profile = None
    if profile != settings.profile:
        raise UsageError(
            "run the pipeline by Airflow", on=f"the variable {VARIABLE} in {scheduler.address}",
            why=f"it names the profile {profile!r}, and this run is of {settings.profile!r}",
            next_step="run phase 20 for this profile, which writes the variable",
        )  # fmt: skip


def _stage(task: airflow.Task) -> Stage:
    state: Literal["done", "failed", "skipped"] = "skipped"
    if task.state in ("success", "failed"):
        state = "done" if task.state == "success" else "failed"
    return Stage(task.name, state, f"attempt {task.attempt}: {task.state}", task.seconds or 0.0)


class Chain:
    """Each stage's answer, and a sentence about it."""

    def __init__(
        self, settings: Settings, load_id: str, cells: Path, progress: Progress | None, report: Callable[[str], None]
    ) -> None:
        self._settings, self._load_id, self._cells = settings, load_id, cells
        self._progress, self._report = progress, report
        self._manifest: Manifest | None = None

    def export(self, plan: exporting.ExportPlan) -> tuple[bool, str]:
        # What the load would refuse is refused before anything is written.
        loading.plan_load(plan.unwritten, Bucket.open(self._settings.stage), self._settings.main_target)
        own = exporting.marked(plan, self._load_id, progress=self._progress)
        made = self._manifest = exporting.export(own, progress=self._progress)
        return True, f"{sum(table.rows for table in made.tables):,} rows of {len(made.tables)} tables at LSN {made.lsn}"

    def load(self) -> tuple[bool, str]:
        assert self._manifest
        plan = loading.plan_load(self._manifest, Bucket.open(self._settings.stage), self._settings.main_target)
        loaded = loading.load(plan, load_id=self._load_id, progress=self._progress)
        return True, f"{sum(table.rows for table in loaded):,} rows into {plan.there.where}"

    def verify(self) -> tuple[bool, str]:
        target = self._settings.main_target.adapter
        with verify.planned(self._settings, target=target, cells_folder=self._cells) as plan:
            found: Report = verify.verify(plan, progress=self._progress)
        wrong = [f"{t}: {t.differences or t.method}" for t in found.tables if t.verdict != "equal"]
        return found.equal, "; ".join(wrong) or f"{found.verdict}: {found.cells:,} cells at LSN {found.lsn}"

    def marts(self) -> tuple[bool, str]:
        marts.prepare(self._settings)
        built: DbtResult = marts.build(self._settings, load_id=self._load_id, report=self._report)
        wrong = [f"{node.name}: {node.status} {node.message}".strip() for node in built.bad]
        good = f"{len(built.nodes_of('model'))} models and {len(built.nodes_of('test'))} tests are well"
        return built.ok, "; ".join(wrong) or good

    def parity(self) -> tuple[bool, str]:
        return compared(self._settings)
