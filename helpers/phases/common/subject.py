"""What a box of phases 40 and 60 consists of, and what those phases need from the pipeline under test.

Options A and B end with the modern pipeline (`modern_pipeline`), option C keeps the legacy one (`legacy_pipeline`). A box is
planned, run, shown and judged in the same way for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from helpers.finding import Finding
from helpers.frames import frame
from helpers.ledger.steps import Found
from helpers.phases.common.box_findings import figure_findings
from helpers.phases.common.phase import table
from helpers.phases.common.plan import StepPlan
from helpers.pipelines.benchmark import Benchmark, BenchmarkPlan
from helpers.pipelines.downstream import Listed, Reading
from helpers.pipelines.figures import FiguresReport
from helpers.pipelines.full_run import PipelineRun
from helpers.progress import Progress
from helpers.settings import Downstream
from helpers.verify.data_quality.rules.result import RuleResult


@dataclass(frozen=True)
class Answer:
    """What a box has found.

    Attributes:
        rows: to show.
        findings: to judge by.
        result: small plain values for the ledger.
        report: name and content of the report beside the notebook; None where there is none, or it is written already.
        rules: that were counted.
        failing: the first rows or figures behind what failed.
    """

    rows: pd.DataFrame
    findings: Sequence[Finding]
    result: Mapping[str, Any]
    report: tuple[str, object] | None = None
    rules: Sequence[RuleResult] = ()
    failing: pd.DataFrame | None = None


@dataclass(frozen=True)
class Box:
    """What a box would do, and what does it."""

    plan: StepPlan
    act: Callable[[Progress], Answer]


class Subject(Protocol):
    """A pipeline under test; what it is asked reads, but for `full_run`.

    Attributes:
        name: "modern" or "legacy".
        pipelines: that are measured beside one another.
    """

    name: str
    pipelines: tuple[str, ...]

    def inputs(self) -> dict[str, Any]:
        """What decides the answers."""

    def box(self, step: str) -> Box:
        """A box of which only this pipeline can say what it is."""

    def performance(self, plan: BenchmarkPlan, progress: Progress) -> tuple[Benchmark, list[Finding]]:
        """What was measured, held against what was agreed."""

    def plan_full_run(self) -> StepPlan:
        """What a full run would change."""

    def full_run(self, load_id: str, progress: Progress) -> tuple[PipelineRun, dict[str, Any]]:
        """One run from end to end, and by what it is known again."""

    def stands(self, load_id: str, result: Mapping[str, Any]) -> Found:
        """Whether what a full run made is still there."""

    def readers(self, listed: Sequence[Listed]) -> dict[str, Downstream | None]:
        """What each downstream system reads of it."""

    def read(self, described: Mapping[str, Downstream | None]) -> tuple[Reading, ...]:
        """Reads as each of them."""


def answer_figures(found: FiguresReport, report: str) -> Answer:
    """A comparison of the figures, as a box answers; `report` is the name that it is kept under."""
    result = {
        "verdict": "equal" if found.equal else "different", "differences": len(found.differences), "lsn": found.lsn,
        "figures": sum(each.numbers for each in found.figures), "engine": found.engine,
    }  # fmt: skip
    return Answer(found.frame(), figure_findings(found), result, (report, found.as_dict()), failing=found.differing())


def show_failing(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """Rows behind what failed, each with the name of what found it."""
    return frame(((name, ", ".join(f"{k}={v}" for k, v in row.items())) for name, row in rows), "test", "row")


def answer_protection(findings: Sequence[Finding]) -> Answer:
    """How the place where the data lie is protected, as a box answers."""
    stops = sum(each.severity == "stop" for each in findings)
    return Answer(table(findings), findings, {"answers": len(findings), "stops": stops})
