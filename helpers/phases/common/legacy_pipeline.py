"""Today's pipeline under test, which option C keeps: all of it in PostgreSQL.

There is no second system to compare it with. Its figures are compared with a second way to them (`figures.recompute`), and its
data with the rules that it declares itself (`helpers.pipelines.source_quality`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from helpers.assessment import security
from helpers.finding import Finding, note, stop
from helpers.ledger.steps import Found
from helpers.phases.common.box_findings import source_findings
from helpers.phases.common.plan import StepPlan, plan_step
from helpers.phases.common.subject import Answer, Box, answer_figures, answer_protection, show_failing
from helpers.pipelines import benchmark, downstream, figures, full_run, functional, query_times, source_quality
from helpers.pipelines.benchmark import Benchmark, BenchmarkPlan
from helpers.pipelines.downstream import Listed, Reading
from helpers.pipelines.full_run import PipelineRun
from helpers.platforms import airflow, postgres
from helpers.progress import Progress
from helpers.settings import Downstream, Settings, Sla

_READS = "none worth naming: the source is only read"
_ADDS_UP = "what the figures' queries cost, both ways: the source is only read"


class LegacyPipeline:
    """As `helpers.phases.common.subject.Subject`.

    Args:
        settings: the profile; it needs neither a stage nor a target.
    """

    name: str = "legacy"
    pipelines: tuple[str, ...] = ("legacy",)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._where = postgres.address(settings.source)
        self._figures = {name: each for name, each in settings.figures.items() if each.recomputed}
        self._boxes = {
            "s40-quality": self._check_every_table,
            "s40-parity": self._add_up_again,
            "s40-output": self._check_what_was_written,
            "s60-pipeline": self._look_at_the_last_run,
            "s60-quality": self._check_only_system,
            "s60-security": self._look_at_protection,
        }

    def inputs(self) -> dict[str, Any]:
        return {"profile": self._settings.profile, "pipeline": self.name}

    def box(self, step: str) -> Box:
        return self._boxes[step](step)

    def performance(self, plan: BenchmarkPlan, progress: Progress) -> tuple[Benchmark, list[Finding]]:
        """The benchmark; the limits are held against the source's own queries over its own rows."""
        measured = benchmark.benchmark(plan, progress=progress)
        sla = self._settings.values.sla
        timings = query_times.measure(self._settings, sla or Sla())
        findings = list(query_times.findings(timings, sla))
        if not measured.measurements:
            findings.append(stop("benchmark", "nothing was measured", "name a volume"))
        return Benchmark(measured.measurements, benchmark.verdicts_of_source(timings, sla)), findings

    def plan_full_run(self) -> StepPlan:
        own = self._settings
        what, run = "run today's pipeline once by the profile's command", functional.shown(own.dags.command)
        if own.values.airflow and own.dags.legacy:
            what, run = "run today's pipeline once by Airflow", own.dags.legacy[0]
        rows = [(run, "writes what it writes every time")]
        if any(each.recomputed for each in own.figures.values()):
            rows.append(("recomputation", "nothing: it reads the figures and what they are of"))
        cost = "what a run of today's pipeline costs"
        return plan_step("s40-full-run", what, rows, "stage", "what", cost=cost)

    def full_run(self, load_id: str, progress: Progress) -> tuple[PipelineRun, dict[str, Any]]:
        # On profile local, Airflow is in the settings only while it is up.
        before = full_run.files_of(self._settings)
        if self._settings.values.airflow and self._settings.dags.legacy:
            done = full_run.legacy_by_airflow(self._settings, load_id=load_id, progress=progress)
        else:
            done = full_run.run_legacy(self._settings)
        after = full_run.files_of(self._settings)
        return done, {"files": {name: file for name, file in after.items() if before.get(name) != file}}

    def stands(self, load_id: str, result: Mapping[str, Any]) -> Found:
        """Whether the tables are still those that the run filled, and Airflow calls it a success."""
        files = full_run.files_of(self._settings)
        if anew := [name for name, file in result["files"].items() if files.get(name) != file]:
            return Found("not done", f"{', '.join(anew)} were made anew since")
        if result["run"]:
            state = airflow.connect(self._settings).state(self._settings.dags.legacy[0], str(result["run"]))
            return Found("done" if state == "success" else "not done", f"Airflow calls the run {result['run']} {state}")
        if not result["files"]:
            return Found(
                "not done", "the run made no table anew, so nothing here says whether what it wrote still stands"
            )
        return Found("done", "the tables' files are those that the run made")

    def readers(self, listed: Sequence[Listed]) -> dict[str, Downstream | None]:
        return downstream.systems(self._settings, listed, stays=True)

    def read(self, described: Mapping[str, Downstream | None]) -> tuple[Reading, ...]:
        return downstream.validate_source(self._settings, described)

    def _check_every_table(self, step: str) -> Box:
        return Box(self._plan_rules(step, "every table"), partial(self._check_rules, ()))

    def _check_only_system(self, step: str) -> Box:
        """The rules again, as they are kept after the migration."""
        what = "it is the only system, so its rules were counted again and compared with no other's"

        def act(progress: Progress) -> Answer:
            answer = self._check_rules((), progress)
            return replace(answer, findings=[*answer.findings, note("legacy pipeline", what)])

        return Box(self._plan_rules(step, "every table"), act)

    def _add_up_again(self, step: str) -> Box:
        return Box(self._plan_figures(step), self._recompute)

    def _look_at_the_last_run(self, step: str) -> Box:
        """Every figure beside its recomputation; how the last run ended, the ledger says."""
        if not self._figures:
            return self._check_every_table(step)
        plan = self._plan_figures(step)
        return Box(replace(plan, what=f"read how the pipeline ran last, and {plan.what}"), self._recompute)

    def _check_what_was_written(self, step: str) -> Box:
        """Every table's rules, and every figure that is computed again."""
        if not self._figures:
            return self._check_every_table(step)

        def act(progress: Progress) -> Answer:
            kept, again = self._check_rules((), progress), self._recompute(progress)
            rows = again.rows.assign(found=[f"{n:,} numbers" for n in again.rows["numbers compared"]])
            rows = rows.rename_axis("name")[["verdict", "found"]]
            return Answer(
                pd.concat([kept.rows, rows]), [*kept.findings, *again.findings],
                {"rules": kept.result, "figures": again.result},
                ("output", {"rules": kept.report and kept.report[1], "figures": again.report and again.report[1]}),
                kept.rules, kept.failing,
            )  # fmt: skip

        rules, again = self._plan_rules(step, "every table"), self._plan_figures(step)
        objects = pd.concat([rules.objects, again.objects.rename_axis("asked")])
        what = f"{rules.what}, and compare its figures"
        return Box(replace(rules, what=what, objects=objects, totals={"checks": len(objects)}), act)

    def _look_at_protection(self, step: str) -> Box:
        def act(progress: Progress) -> Answer:
            seen = security.look(self._settings.source)
            return answer_protection(list(security.findings(seen, self._settings.values.compliance)))

        rows = [(self._where, "encryption, passwords, superusers, what everybody may do, personal data")]
        what = "ask the source how it is protected; nothing is changed"
        return Box(plan_step(step, what, rows, "asked", "what", cost=_READS), act)

    def _plan_rules(self, step: str, tables: str) -> StepPlan:
        rows = [(tables, "every declared rule: NOT NULL, keys, foreign keys, CHECK, labels")]
        rows += [(file.name, "the rows that it finds are wrong") for file in source_quality.queries(self._settings)]
        return plan_step(step, f"count the rows of {self._where} that break a rule", rows, "asked", "what", cost=_READS)

    def _check_rules(self, tables: tuple[str, ...], progress: Progress) -> Answer:
        found = source_quality.check(self._settings, tables=tables, progress=progress)
        failing = [(result.rule.words, row) for result in found.rules for row in result.examples]
        failing += [(each.name, row) for each in found.checks for row in each.examples]
        result = {
            "verdict": "kept" if found.kept else "broken", "lsn": found.lsn, "rules": len(found.rules),
            "checks": len(found.checks),
        }  # fmt: skip
        report = ("source-quality", found.as_dict())
        return Answer(found.frame(), source_findings(found), result, report, found.rules, show_failing(failing))

    def _plan_figures(self, step: str) -> StepPlan:
        rows = [(name, f"row by {', '.join(each.key) or 'nothing'}") for name, each in self._figures.items()]
        what = f"compute the figures of {self._where} again, another way, and compare them"
        return plan_step(step, what, rows, "figure", "what", cost=_ADDS_UP)

    def _recompute(self, progress: Progress) -> Answer:
        return answer_figures(figures.recompute(self._settings, progress=progress), "recomputation")
