"""The modern pipeline under test: PostgreSQL → stage → target → marts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helpers import load, verify
from helpers.doctor import target as target_security
from helpers.engines import destination
from helpers.finding import Finding
from helpers.frames import frame
from helpers.ledger.folders import report_path
from helpers.ledger.steps import Found
from helpers.model import manifest
from helpers.phases.common.box_findings import output_findings, performance_findings, quality_findings, target_findings
from helpers.phases.common.plan import StepPlan, compute_cost, plan_step
from helpers.phases.common.subject import Answer, Box, answer_figures, answer_protection, show_failing
from helpers.phases.common.verification import compare, keep_report
from helpers.pipelines import benchmark, downstream, figures, full_run, marts
from helpers.pipelines.benchmark import Benchmark, BenchmarkPlan
from helpers.pipelines.downstream import Listed, Reading
from helpers.pipelines.full_run import PipelineRun
from helpers.pipelines.readers import reading
from helpers.platforms import airflow, dbt, snowflake
from helpers.platforms.dbt import DbtResult
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Downstream, Settings

ROWS_SHOWN = 10
"""Of each failed test."""


class ModernPipeline:
    """As `helpers.phases.common.subject.Subject`."""

    name: str = "modern"
    pipelines: tuple[str, ...] = ("legacy", "modern")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._boxes = {
            "s40-quality": self._build_marts if settings.dbt.project else self._check_rules,
            "s40-parity": self._compare_marts,
            "s40-output": self._check_rules,
            "s60-pipeline": self._compare_target,
            "s60-quality": self._check_rules,
            "s60-security": self._look_at_protection,
        }

    def inputs(self) -> dict[str, Any]:
        own = self._settings
        return {"profile": own.profile, "engine": own.dbt.engine, "marts": own.marts_schema}

    def box(self, step: str) -> Box:
        return self._boxes[step](step)

    def performance(self, plan: BenchmarkPlan, progress: Progress) -> tuple[Benchmark, list[Finding]]:
        measured = benchmark.benchmark(plan, benchmark.limits_of(self._settings), progress=progress)
        return measured, performance_findings(measured)

    def plan_full_run(self) -> StepPlan:
        both, target = "nothing: it reads both sides", destination(self._settings.main_target).where
        writes = {
            "export": "the stage: new files, a new manifest", "load": f"replaces the rows of {target}", "verify": both,
            "marts": "builds or replaces the marts", "parity": both,
        }  # fmt: skip
        what = "run the whole pipeline once: by Airflow where it is up, otherwise in this process"
        rows = [(name, writes[name]) for name in full_run.stages_of(self._settings)]
        cost, totals = compute_cost(self._settings), {"stages": len(rows)}
        return plan_step("s40-full-run", what, rows, "stage", "changes", cost=cost, totals=totals)

    def full_run(self, load_id: str, progress: Progress) -> tuple[PipelineRun, dict[str, Any]]:
        # On profile local, Airflow is in the settings only while it is up.
        if self._settings.values.airflow and self._settings.dags.modern:
            done = full_run.by_airflow(self._settings, load_id=load_id, progress=progress)
        else:
            cells = report_path("full-run")
            done = full_run.run(self._settings, load_id=load_id, cells_folder=cells, progress=progress)
        staged = manifest.read_if_any(Bucket.open(self._settings.stage))
        return done, {"export": staged.export if staged else "none"}

    def stands(self, load_id: str, result: Mapping[str, Any]) -> Found:
        """The export at the stage, and what Airflow, or the marts and the target, say."""
        bucket = Bucket.open(self._settings.stage)
        staged = manifest.read_if_any(bucket)
        if staged is None or staged.export != result["export"]:
            return Found("not done", "the stage holds another export by now")
        if result["run"]:
            state = airflow.connect(self._settings).state(self._settings.dags.modern[0], str(result["run"]))
            return Found("done" if state == "success" else "not done", f"Airflow calls the run {result['run']} {state}")
        said = ""
        if self._settings.dbt.project:
            found = marts.built(self._settings)
            if found.get("load_id") != load_id:
                return Found("not done", f"the marts are of the load {found.get('load_id', 'none')}")
            said = f"the marts are of the load {load_id}, and "
        staged = staged.placed(self._settings.tables)
        loaded, how = load.is_loaded(staged, bucket, self._settings.main_target, load_id)
        return Found("done" if loaded else "not done", f"{said}{how}")

    def readers(self, listed: Sequence[Listed]) -> dict[str, Downstream | None]:
        return downstream.systems(self._settings, listed)

    def read(self, described: Mapping[str, Downstream | None]) -> tuple[Reading, ...]:
        return downstream.validate(self._settings, described)

    def _build_marts(self, step: str) -> Box:
        """Builds the marts with dbt and runs their tests."""
        own = self._settings

        def act(progress: Progress) -> Answer:
            marts.prepare(own)
            built = marts.build(own)
            failing = self._rows_that_fail(built)
            nodes = [{name: value for name, value in vars(node).items() if name != "sql"} for node in built.nodes]
            in_order = sorted(built.nodes, key=lambda node: (node.good, node.status == "skipped"))
            rows = [(n.status, n.kind, n.failures, n.name, "" if n.good else n.message) for n in in_order]
            return Answer(
                frame(rows, "status", "kind", "failing rows", "name", "message"), quality_findings(built),
                {"models": len(built.nodes_of("model")), "tests": len(built.nodes_of("test")), "not well": len(built.bad)},
                ("dbt", {"nodes": nodes, "failing rows": failing}), failing=show_failing(failing),
            )  # fmt: skip

        where = "a DuckDB file"
        if own.dbt.engine == "snowflake":
            where = f"{own.snowflake.database}.{own.marts_schema} of {snowflake.address(own.snowflake)}"
        names = dbt.model_names(dbt.project_folder(own))
        rows = [(name, "build or replace, then test") for name in names]
        select = f" --select {' '.join(own.dbt.select)}" if own.dbt.select else ""
        what, totals = f"dbt build{select} into {where}", {"models": len(names)}
        return Box(plan_step(step, what, rows, "model", "action", cost=compute_cost(own), totals=totals), act)

    def _compare_marts(self, step: str) -> Box:
        what = "ask source and target for each figure, row by row; both are only read"
        rows = [
            (
                name,
                ", ".join(each.key) or "one row",
                ", ".join(f"{c}: {t}" for c, t in each.tolerance.items()) or "none",
            )
            for name, each in self._settings.figures.items()
        ]
        columns, totals = ("figure", "row by", "tolerance"), {"figures": len(rows)}
        plan = plan_step(step, what, rows, *columns, cost="none: it reads what both sides hold", totals=totals)
        return Box(plan, lambda told: answer_figures(figures.compare(self._settings, progress=told), "parity"))

    def _check_rules(self, step: str) -> Box:
        """Rules and business figures of the target's rows, as they are now."""
        name = self._settings.main_target.adapter

        def act(progress: Progress) -> Answer:
            planned = verify.planned(self._settings, target=name, check="data-quality", progress=progress)
            with planned as plan:
                found = verify.verify(plan, progress=progress)
            return Answer(
                frame(((str(t), t.verdict, t.method) for t in found.tables), "table", "verdict", "found"),
                output_findings(found), {"verdict": found.verdict}, ("data-quality", found.as_dict()),
                rules=found.business.rules if found.business else (),
            )  # fmt: skip

        target = destination(self._settings.main_target).where
        what = f"runbook verify --check data-quality against {target}; both sides are only read"
        rows = [(side, "rules and business figures") for side in ("source", "target")]
        cost, totals = compute_cost(self._settings), {"sides": 2}
        return Box(plan_step(step, what, rows, "side", "asked for", cost=cost, totals=totals), act)

    def _compare_target(self, step: str) -> Box:
        """Every table of the target beside the source, cell by cell."""
        name = self._settings.main_target.adapter

        def act(progress: Progress) -> Answer:
            found, about = compare(self._settings, name, f"verify-{name}")
            keep_report(found, f"verify-{name}", about)
            rows = ((str(t), t.verdict, t.rows_source, t.rows_target, t.differences) for t in found.tables)
            return Answer(
                frame(rows, "table", "verdict", "source rows", "target rows", "differences"), target_findings(found),
                {"verdict": found.verdict, "lsn": found.lsn, "rows": found.rows, "cells": found.cells},
            )  # fmt: skip

        rows = [
            ("the run's ledger", "how the pipeline's last full run ended"),
            ("source and target", "every table, cell by cell"),
        ]
        target = destination(self._settings.main_target).where
        what = f"read how the pipeline ran last, and compare {target} with the source again"
        cost = "none worth naming: both sides are only read"
        return Box(plan_step(step, what, rows, "asked", "what", cost=cost), act)

    def _look_at_protection(self, step: str) -> Box:
        rows = [
            (destination(self._settings.main_target).where, "encryption, authentication, roles, what everybody may do"),
            ("the stage", "versions, encryption at rest, region"),
        ]
        plan = plan_step(step, "ask the target how it is protected; nothing is changed", rows, "asked", "what")
        return Box(plan, lambda told: answer_protection(list(target_security.findings(self._settings))))

    def _rows_that_fail(self, built: DbtResult) -> list[tuple[str, dict[str, Any]]]:
        failed = [node for node in built.bad if node.kind == "test"]
        if not failed:
            return []
        with reading(self._settings, built.file) as reader:
            return [
                (node.name, {name: str(value) for name, value in row.items()})
                for node in failed for row in marts.failing_rows(reader, node, limit=ROWS_SHOWN)
            ]  # fmt: skip
