"""The legacy pipeline under test, which option C keeps: order lines → star → aggregates, all of it in PostgreSQL.

There is no second system to hold it against. What it stores is held against what its order lines give by another arithmetic
(`helpers.pipelines.recomputation`), and its data against the rules that it declares itself (`helpers.pipelines.source_quality`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.assessment import security
from helpers.finding import Finding
from helpers.ledger.steps import Found
from helpers.phases.common import legacy_plan
from helpers.phases.common.box_findings import parity_findings, source_findings
from helpers.phases.common.plan import StepPlan
from helpers.phases.common.subject import Answer
from helpers.pipelines import aggregation as legacy_aggregation
from helpers.pipelines import benchmark, downstream, recomputation, source_quality
from helpers.pipelines import full_run as pipeline_run
from helpers.pipelines import query_times as timing
from helpers.pipelines.benchmark import Benchmark, BenchmarkPlan
from helpers.pipelines.downstream import Listed, Reading
from helpers.pipelines.full_run import PipelineRun
from helpers.pipelines.parity import ParityReport
from helpers.pipelines.source_quality import SourceQuality
from helpers.platforms import airflow
from helpers.progress import Progress
from helpers.settings import PROJECT, Downstream, Settings, Sla

WRITTEN = ("customers", "dim_*", "fact_sales", "sales_*")
"""Tables that a run writes."""


class LegacyPipeline:
    """As `helpers.phases.common.subject.Subject`.

    Args:
        settings: the profile; it needs neither a stage nor a target.
    """

    name: str = "legacy"
    pipelines: tuple[str, ...] = ("legacy",)
    tests: Path = PROJECT / "tests" / "integration" / "test_legacy_pipeline.py"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def inputs(self) -> dict[str, Any]:
        return {"profile": self._settings.profile, "pipeline": self.name}

    def plan(self, box: str) -> StepPlan:
        return legacy_plan.PLANS[box](self._settings)

    def performance(self, plan: BenchmarkPlan, progress: Progress) -> tuple[Benchmark, list[Finding]]:
        """The benchmark over generated lines; the limits are held against the source's own queries over its own rows."""
        measured = benchmark.benchmark(plan, progress=progress)
        sla = self._settings.values.sla
        timings = timing.measure(self._settings, sla or Sla())
        findings = list(timing.findings(timings, sla))
        if not measured.measurements:
            findings.append(Finding("stop", "benchmark", "nothing was measured", "name a volume"))
        return Benchmark(measured.measurements, benchmark.verdicts_of_source(timings, sla)), findings

    def quality(self, progress: Progress) -> Answer:
        return self._kept(source_quality.check(self._settings, progress=progress))

    def parity(self, progress: Progress) -> ParityReport:
        return recomputation.compare(self._settings, progress=progress)

    def full_run(self, load_id: str, progress: Progress) -> tuple[PipelineRun, dict[str, Any]]:
        # On profile local, Airflow is in the settings only while it is up.
        if self._settings.values.airflow:
            done = pipeline_run.legacy_by_airflow(self._settings, load_id=load_id, progress=progress)
        else:
            done = pipeline_run.run_legacy(self._settings)
        return done, {"files": legacy_aggregation.files(self._settings.source)}

    def stands(self, load_id: str, result: Mapping[str, Any]) -> Found:
        """Whether the tables are still those that the run filled, and Airflow calls it a success."""
        if legacy_aggregation.files(self._settings.source) != result["files"]:
            return Found("not done", "the aggregates were made anew since")
        if result["run"]:
            state = airflow.connect(self._settings).state(pipeline_run.LEGACY_DAG, str(result["run"]))
            return Found("done" if state == "success" else "not done", f"Airflow calls the run {result['run']} {state}")
        return Found("done", "the aggregates' files are those that the run made")

    def output(self, progress: Progress) -> Answer:
        """Rules of the tables that a run writes, and every figure of the aggregates."""
        kept = self._kept(source_quality.check(self._settings, tables=WRITTEN, progress=progress))
        figures = self.holds(progress)
        rows = figures.rows.assign(found=[f"{n:,} figures" for n in figures.rows["figures compared"]])
        rows = rows.rename_axis("name")[["verdict", "found"]]
        return Answer(
            pd.concat([kept.rows, rows]), [*kept.findings, *figures.findings],
            {"rules": kept.result, "figures": figures.result},
            ("output", {"rules": kept.report and kept.report[1], "figures": figures.report and figures.report[1]}),
            kept.rules, kept.failing,
        )  # fmt: skip

    def readers(self, listed: Sequence[Listed]) -> dict[str, Downstream | None]:
        return downstream.source_systems(self._settings, listed)

    def read(self, described: Mapping[str, Downstream | None]) -> tuple[Reading, ...]:
        return downstream.validate_source(self._settings, described)

    def holds(self, progress: Progress) -> Answer:
        """Every stored aggregate beside its recomputation."""
        found = self.parity(progress)
        result = {
            "verdict": "equal" if found.equal else "different", "lsn": found.lsn, "differences": len(found.differences),
            "figures": sum(each.figures for each in found.aggregates),
        }  # fmt: skip
        return Answer(found.frame(), parity_findings(found), result, ("recomputation", found.as_dict()))

    def data(self, progress: Progress) -> Answer:
        answer = self.quality(progress)
        what = "it is the only system, so its rules were counted again and compared with no other's"
        return replace(answer, findings=[*answer.findings, Finding("note", "legacy pipeline", what)])

    def protection(self) -> list[Finding]:
        return list(security.findings(security.look(self._settings.source), self._settings.values.compliance))

    @staticmethod
    def _kept(found: SourceQuality) -> Answer:
        failing = [(result.rule.words, row) for result in found.rules for row in result.examples]
        failing += [(each.name, row) for each in found.checks for row in each.examples]
        result = {
            "verdict": "kept" if found.kept else "broken", "lsn": found.lsn, "rules": len(found.rules),
            "checks": len(found.checks),
        }  # fmt: skip
        return Answer(
            found.frame(), source_findings(found), result, ("source-quality", found.as_dict()), found.rules, failing
        )
