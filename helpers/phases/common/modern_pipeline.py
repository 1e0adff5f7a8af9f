"""The modern pipeline under test: PostgreSQL → stage → Snowflake → marts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import verify
from helpers.assessment import target_security
from helpers.finding import Finding
from helpers.ledger.folders import report_path
from helpers.ledger.steps import Found
from helpers.load.snowflake import records as snowflake_records
from helpers.model import manifest
from helpers.phases.common import post_migration_plan, testing_plan
from helpers.phases.common.box_findings import output_findings, performance_findings, quality_findings, target_findings
from helpers.phases.common.plan import StepPlan
from helpers.phases.common.subject import Answer
from helpers.phases.common.verification import keep
from helpers.pipelines import benchmark, downstream, functional, marts, parity
from helpers.pipelines import full_run as pipeline_run
from helpers.pipelines.benchmark import Benchmark, BenchmarkPlan
from helpers.pipelines.downstream import Listed, Reading
from helpers.pipelines.full_run import PipelineRun
from helpers.pipelines.parity import ParityReport
from helpers.platforms import airflow
from helpers.platforms.dbt import DbtResult
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Downstream, Settings
from helpers.verify.about import About

ROWS_SHOWN = 10
"""Of each failed test."""

_PLANS = {
    "s40-quality": testing_plan.of_quality,
    "s40-parity": testing_plan.of_parity,
    "s40-full-run": testing_plan.of_full_run,
    "s40-output": testing_plan.of_output,
    "s60-pipeline": post_migration_plan.of_pipeline,
    "s60-quality": post_migration_plan.of_quality,
    "s60-security": post_migration_plan.of_security,
}


class ModernPipeline:
    """As `helpers.phases.common.subject.Subject`.

    Args:
        settings: the profile.
    """

    name: str = "modern"
    pipelines: tuple[str, ...] = ("legacy", "modern")
    tests: Path = functional.FILE

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def inputs(self) -> dict[str, Any]:
        own = self._settings
        return {"profile": own.profile, "engine": own.dbt.engine, "marts": own.marts_schema}

    def plan(self, box: str) -> StepPlan:
        return _PLANS[box](self._settings)

    def performance(self, plan: BenchmarkPlan, progress: Progress) -> tuple[Benchmark, list[Finding]]:
        measured = benchmark.benchmark(plan, benchmark.limits_of(self._settings), progress=progress)
        return measured, performance_findings(measured)

    def quality(self, progress: Progress) -> Answer:
        """Builds the marts with dbt and runs their tests."""
        marts.prepare(self._settings)
        built = marts.build(self._settings)
        failing = self._rows_that_fail(built)
        nodes = [{name: value for name, value in vars(node).items() if name != "sql"} for node in built.nodes]
        in_order = sorted(built.nodes, key=lambda node: (node.good, node.status == "skipped"))
        rows = [(n.status, n.kind, n.failures, n.name, "" if n.good else n.message) for n in in_order]
        return Answer(
            pd.DataFrame(rows, columns=["status", "kind", "failing rows", "name", "message"]).set_index("status"),
            quality_findings(built),
            {"models": len(built.of_kind("model")), "tests": len(built.of_kind("test")), "not well": len(built.bad)},
            ("dbt", {"nodes": nodes, "failing rows": failing}),
            failing=failing,
        )

    def parity(self, progress: Progress) -> ParityReport:
        return parity.compare(self._settings, progress=progress)

    def full_run(self, load_id: str, progress: Progress) -> tuple[PipelineRun, dict[str, Any]]:
        # On profile local, Airflow is in the settings only while it is up.
        if self._settings.values.airflow:
            done = pipeline_run.by_airflow(self._settings, load_id=load_id, progress=progress)
        else:
            cells = report_path("full-run")
            done = pipeline_run.run(self._settings, load_id=load_id, cells_folder=cells, progress=progress)
        staged = manifest.read_if_any(Bucket.open(self._settings.stage))
        return done, {"export": staged.export if staged else "none"}

    def stands(self, load_id: str, result: Mapping[str, Any]) -> Found:
        """The export at the stage, and what Airflow, or the marts and the target, say."""
        staged = manifest.read_if_any(Bucket.open(self._settings.stage))
        if staged is None or staged.export != result["export"]:
            return Found("not done", "the stage holds another export by now")
        if result["run"]:
            state = airflow.connect(self._settings).state(pipeline_run.DAG, str(result["run"]))
            return Found("done" if state == "success" else "not done", f"Airflow calls the run {result['run']} {state}")
        found = marts.built(self._settings)
        if found.get("load_id") != load_id:
            return Found("not done", f"the marts are of the load {found.get('load_id', 'none')}")
        loaded, how = snowflake_records.is_loaded(staged, self._settings.snowflake, load_id)
        return Found("done" if loaded else "not done", f"the marts are of the load {load_id}, and {how}")

    def output(self, progress: Progress) -> Answer:
        planned = verify.planned(self._settings, target="snowflake", check="data-quality", progress=progress)
        with planned as plan:
            found = verify.verify(plan, progress=progress)
        rows = [(str(t), t.verdict, t.method) for t in found.tables]
        return Answer(
            pd.DataFrame(rows, columns=["table", "verdict", "found"]).set_index("table"),
            output_findings(found), {"verdict": found.verdict}, ("data-quality", found.as_dict()),
            rules=found.business.rules if found.business else (),
        )  # fmt: skip

    def readers(self, listed: Sequence[Listed]) -> dict[str, Downstream | None]:
        return downstream.systems(self._settings, listed)

    def read(self, described: Mapping[str, Downstream | None]) -> tuple[Reading, ...]:
        return downstream.validate(self._settings, described)

    def holds(self, progress: Progress) -> Answer:
        """Every table of the target beside the source, cell by cell."""
        path = report_path("verify-snowflake.json")
        folder = path.with_suffix("")
        with verify.planned(self._settings, target="snowflake", cells_folder=folder, progress=progress) as plan:
            found, about = verify.verify(plan, progress=progress), About.of(plan)
        keep(found, path, about)
        rows = [(str(t), t.verdict, t.rows_source, t.rows_target, t.differences) for t in found.tables]
        columns = ["table", "verdict", "source rows", "target rows", "differences"]
        return Answer(
            pd.DataFrame(rows, columns=columns).set_index("table"), target_findings(found),
            {"verdict": found.verdict, "lsn": found.lsn, "rows": found.rows, "cells": found.cells},
        )  # fmt: skip

    def data(self, progress: Progress) -> Answer:
        return self.output(progress)

    def protection(self) -> list[Finding]:
        return list(target_security.findings(self._settings))

    def _rows_that_fail(self, built: DbtResult) -> list[tuple[str, dict[str, Any]]]:
        failed = [node for node in built.bad if node.kind == "test"]
        if not failed:
            return []
        with marts.reading(self._settings, built.file) as reader:
            return [
                (node.name, {name: str(value) for name, value in row.items()})
                for node in failed for row in marts.failing_rows(reader, node, limit=ROWS_SHOWN)
            ]  # fmt: skip
