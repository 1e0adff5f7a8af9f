"""One full run of a pipeline: of the modern one export → load → verify → marts → parity, of today's its own run → recomputation,
each behind the one before it.

Airflow runs the profile's own DAG where there is an Airflow; the same chain in this process, or the profile's command, is for a
machine without one. Parity is not a task of the DAG: once the legacy pipeline is gone there is nothing to compare with.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import Literal

import pandas as pd

from helpers import certify, verify
from helpers import export as exporting
from helpers import load as loading
from helpers.errors import UsageError
from helpers.frames import frame
from helpers.model.manifest import Manifest
from helpers.pipelines import figures, functional, marts
from helpers.pipelines.figures import FiguresReport
from helpers.platforms import airflow, postgres
from helpers.platforms.child_environment import environment_of_profile
from helpers.platforms.connection_environment import connections
from helpers.platforms.dbt import DbtResult
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.redaction import redact
from helpers.settings import Settings
from helpers.source.asking import asking
from helpers.verify.report import Report

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


def stages_of(settings: Settings) -> tuple[str, ...]:
    """The stages of the modern pipeline that the profile has."""
    own = {"marts": settings.dbt.project, "parity": settings.figures}
    return tuple(name for name in ("export", "load", "verify", "marts", "parity") if own.get(name, True))


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
        for name in stages_of(settings):
            if stages and stages[-1].state != "done":
                stages.append(Stage(name, "skipped", "", 0.0))
                continue
            started = time.monotonic()
            good, said = chain.export(plan) if name == "export" else getattr(chain, name)()
            stages.append(Stage(name, "done" if good else "failed", said, time.monotonic() - started))
    return PipelineRun(IN_PROCESS, tuple(stages))


def run_legacy(settings: Settings) -> PipelineRun:
    """Runs today's pipeline once by the profile's command, then computes again what it should have written.

    Args:
        settings: the profile; its section dags has the command.

    Raises:
        UsageError: the command cannot be started.
        MigrationError: what it wrote cannot be read.
    """
    command, started = settings.dags.command, time.monotonic()
    before = state(settings)
    own = environment_of_profile(settings.file, settings.profile) | connections(settings)
    try:
        done = subprocess.run(
            command, cwd=settings.file.resolve().parent, env=own | {"RUNBOOK_PROFILE": settings.profile},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        cure = "correct command under [profiles.X.dags]; it is started without a shell"
        raise UsageError("run today's pipeline", on=" ".join(command), why=str(error), next_step=cure) from None
    lines = [line for line in redact(done.stdout).splitlines() if line.strip()]
    said = " / ".join(lines[-3:]) or "it said nothing"
    seconds = time.monotonic() - started
    how = functional.shown(command)
    if done.returncode:
        first = Stage("command", "failed", f"exit code {done.returncode}: {said}", seconds)
        return PipelineRun(how, (first, *_skipped(settings)))
    return PipelineRun(how, (Stage("command", "done", said, seconds), *_looked_at(settings, before)))


def by_airflow(settings: Settings, *, load_id: str, progress: Progress | None = None) -> PipelineRun:
    """Triggers the DAG once, follows it to its end, then compares the figures.

    Args:
        settings: the profile, whose Airflow and whose first modern DAG it is.
        load_id: 32 hexadecimal digits, with which the run's id begins.

    Raises:
        UsageError: the DAG is not there or not enabled, or works with another profile.
        PipelineFailed: the run has not ended in time.
        ConnectionFailed: Airflow does not answer; the run goes on there.
    """
    how, stages, run_id = _by_airflow(settings, settings.dags.modern[0], load_id, progress)
    if settings.figures:
        done = all(stage.state == "done" for stage in stages)
        stages.append(_last("parity", compared, settings) if done else Stage("parity", "skipped", "", 0.0))
    return PipelineRun(how, tuple(stages), run_id)


def legacy_by_airflow(settings: Settings, *, load_id: str, progress: Progress | None = None) -> PipelineRun:
    """The same with today's DAG, whose figures are computed again behind it.

    Raises:
        UsageError, PipelineFailed, ConnectionFailed: as `by_airflow`.
    """
    before = state(settings)
    how, stages, run_id = _by_airflow(settings, settings.dags.legacy[0], load_id, progress)
    done = all(stage.state == "done" for stage in stages)
    return PipelineRun(how, (*stages, *(_looked_at(settings, before) if done else _skipped(settings))), run_id)


def state(settings: Settings) -> dict[str, tuple[int, int]]:
    """By the source's tables: the file, of which a table that is truncated or refreshed gets another, and the rows written so far.

    Raises:
        ConnectionFailed: no answer, or no entry.
    """
    with asking(settings.source, "look at the source's tables") as cursor:
        cursor.execute(
            "SELECT format('%%s.%%s', n.nspname, c.relname), coalesce(pg_relation_filenode(c.oid), 0)::int8,"
            " coalesce(s.n_tup_ins + s.n_tup_upd + s.n_tup_del, 0)::int8"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid"
            " WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
            " AND n.nspname NOT LIKE 'pg\\_%%' AND (%(schemas)s::text[] = '{}' OR n.nspname = ANY (%(schemas)s)) ORDER BY 1",
            {"schemas": list(settings.source.schemas)},
        )
        return {str(name): (int(file), int(rows)) for name, file, rows in cursor.fetchall()}


def files_of(settings: Settings) -> dict[str, int]:
    """The file of each table, by which a run that rewrites tables is known again."""
    return {name: file for name, (file, _) in state(settings).items()}


def _looked_at(settings: Settings, before: dict[str, tuple[int, int]]) -> list[Stage]:
    """Whether a run that ended well has written here, and whether what it wrote is what the source's rows give."""
    recomputes = any(each.recomputed for each in settings.figures.values())
    if state(settings) == before:  # a task may end well and have worked elsewhere
        said = f"the run ended well, and the tables of {postgres.address(settings.source)} are those of before"
        return [Stage("recomputation" if recomputes else "what was written", "failed", said, 0.0)]
    return [_last("recomputation", recomputed, settings)] if recomputes else []


def _skipped(settings: Settings) -> list[Stage]:
    recomputes = any(each.recomputed for each in settings.figures.values())
    return [Stage("recomputation", "skipped", "", 0.0)] if recomputes else []


def _by_airflow(settings: Settings, dag: str, load_id: str, progress: Progress | None) -> tuple[str, list[Stage], str]:
    """How it was run, its tasks, and the run's id."""
    scheduler = airflow.connect(settings)
    _refuse_other_profile(scheduler, settings)
    run_id = scheduler.trigger(dag, run_id=f"runbook-{exporting.mark(load_id)}-{token_hex(2)}")
    scheduler.follow(dag, run_id, progress)
    stages = [_stage(task) for task in scheduler.tasks(dag, run_id)]
    if any(stage.state != "done" for stage in stages):
        log = scheduler.log_of_failed(dag, run_id)
        stages = [replace(each, said=log) if each.state == "failed" else each for each in stages]
    return f"{dag} in {scheduler.address}, run {run_id}", stages, run_id


def compared(settings: Settings) -> tuple[bool, str]:
    """Whether the target says what the source says, and a sentence about it."""
    return _said(figures.compare(settings))


def recomputed(settings: Settings) -> tuple[bool, str]:
    """Whether the source's figures are what its rows give, and a sentence about it."""
    return _said(figures.recompute(settings))


def _last(name: str, look: _Look, settings: Settings) -> Stage:
    started = time.monotonic()
    good, said = look(settings)
    return Stage(name, "done" if good else "failed", said, time.monotonic() - started)


def _said(found: FiguresReport) -> tuple[bool, str]:
    wrong = "; ".join(map(str, found.differences[:3]))
    numbers = sum(each.numbers for each in found.figures)
    if not wrong and not found.equal:
        wrong = "no figure has a row to compare"
    return found.equal, wrong or f"{numbers:,} numbers of {len(found.figures)} figures are equal"


_Look = Callable[[Settings], tuple[bool, str]]


def _refuse_other_profile(scheduler: airflow.Airflow, settings: Settings) -> None:
    """Where the DAGs learn their profile from a variable; whether others work with this one, nobody can ask."""
    variable = settings.dags.variable
    if variable is None:
        return
    try:
        profile = json.loads(scheduler.variable(variable) or "{}").get("profile")
    except (ValueError, AttributeError):
        profile = None
    if profile != settings.profile:
        raise UsageError(
            "run the pipeline by Airflow", on=f"the variable {variable} in {scheduler.address}",
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
        certify.require(self._settings, self._settings.main_target.adapter, progress=self._progress)
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
