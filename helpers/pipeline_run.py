"""One full run of the modern pipeline: export → load → verify → marts → parity, each behind the one before it.

The chain that Airflow schedules, in this process: for a machine without Airflow, and for a test of the chain itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from helpers import export as exporting
from helpers import marts, parity, verify
from helpers.load import snowflake as loading
from helpers.manifest import Manifest
from helpers.parity import ParityReport
from helpers.platforms import snowflake
from helpers.platforms.dbt import DbtResult
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings
from helpers.verify.report import Report

STAGES = ("export", "load", "verify", "marts", "parity")
MARK = 12
"""Digits of the load id that an export's name ends with, so that a probe knows it again."""


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
    """

    how: str
    stages: tuple[Stage, ...]

    @property
    def done(self) -> bool:
        """Whether every stage is."""
        return bool(self.stages) and all(stage.state == "done" for stage in self.stages)

    def frame(self) -> pd.DataFrame:
        """A row a stage."""
        rows = [(stage.name, stage.state, stage.said, round(stage.seconds, 2)) for stage in self.stages]
        return pd.DataFrame(rows, columns=["stage", "state", "said", "seconds"]).set_index("stage")


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
        settings: the profile.
        load_id: 32 hexadecimal digits, which the export's name ends with and which the target and the marts record.
        cells_folder: where differing cells would go.
        progress: told about rows.
        report: is told what dbt says.

    Raises:
        MigrationError: a stage could not be run at all; what the stages before it made stands.
    """
    chain = _Chain(settings, load_id, cells_folder, progress, report)
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
    return PipelineRun("in this process, without Airflow", tuple(stages))


class _Chain:
    """Each stage's answer, and a sentence about it."""

    def __init__(
        self, settings: Settings, load_id: str, cells: Path, progress: Progress | None, report: Callable[[str], None]
    ) -> None:
        self._settings, self._load_id, self._cells = settings, load_id, cells
        self._progress, self._report = progress, report
        self._manifest: Manifest | None = None

    def export(self, plan: exporting.ExportPlan) -> tuple[bool, str]:
        own = exporting.marked(plan, self._load_id[:MARK], progress=self._progress)
        made = self._manifest = exporting.export(own, progress=self._progress)
        return True, f"{sum(table.rows for table in made.tables):,} rows of {len(made.tables)} tables at LSN {made.lsn}"

    def load(self) -> tuple[bool, str]:
        assert self._manifest
        target = self._settings.snowflake
        plan = loading.plan_load(self._manifest, Bucket.open(self._settings.stage), target)
        loaded = loading.load(plan, load_id=self._load_id, progress=self._progress)
        return True, f"{sum(table.rows for table in loaded):,} rows into {snowflake.address(target)}"

    def verify(self) -> tuple[bool, str]:
        with verify.planned(self._settings, target="snowflake", cells_folder=self._cells) as plan:
            found: Report = verify.verify(plan, progress=self._progress)
        wrong = [f"{t}: {t.differences or t.method}" for t in found.tables if t.verdict != "equal"]
        return found.equal, "; ".join(wrong) or f"{found.verdict}: {found.cells:,} cells at LSN {found.lsn}"

    def marts(self) -> tuple[bool, str]:
        marts.prepare(self._settings)
        built: DbtResult = marts.build(self._settings, load_id=self._load_id, report=self._report)
        wrong = [f"{node.name}: {node.status} {node.message}".strip() for node in built.bad]
        good = f"{len(built.of_kind('model'))} models and {len(built.of_kind('test'))} tests are well"
        return built.ok, "; ".join(wrong) or good

    def parity(self) -> tuple[bool, str]:
        found: ParityReport = parity.compare(self._settings)
        wrong = "; ".join(map(str, found.differences[:3]))
        figures = sum(each.figures for each in found.aggregates)
        return found.equal, wrong or f"{figures:,} figures of {len(found.aggregates)} aggregates are equal to the cent"
