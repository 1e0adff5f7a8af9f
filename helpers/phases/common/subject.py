"""Which pipeline the checks of phases 40 and 60 are about: what each box asks of it is one method.

Options A and B end with the modern pipeline (`modern_pipeline`), option C keeps the legacy one (`legacy_pipeline`). The phases
know only this protocol, so that a box is acted on, shown and judged in one way, whatever it is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from helpers.finding import Finding
from helpers.ledger.steps import Found
from helpers.phases.common.plan import StepPlan
from helpers.pipelines.benchmark import Benchmark, BenchmarkPlan
from helpers.pipelines.downstream import Listed, Reading
from helpers.pipelines.full_run import PipelineRun
from helpers.pipelines.parity import ParityReport
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
        report: name and content of the report beside the notebook; None where the subject has written one itself.
        rules: that were counted.
        failing: the first rows behind what failed, each with the name of what found it.
    """

    rows: pd.DataFrame
    findings: Sequence[Finding]
    result: Mapping[str, Any]
    report: tuple[str, object] | None = None
    rules: Sequence[RuleResult] = ()
    failing: Sequence[tuple[str, Mapping[str, Any]]] = field(default_factory=tuple)


class Subject(Protocol):
    """A pipeline under test; what it is asked reads, but for `full_run`.

    Attributes:
        name: "modern" or "legacy".
        pipelines: that are measured beside one another.
        tests: the file of its functional tests.
    """

    name: str
    pipelines: tuple[str, ...]
    tests: Path

    def inputs(self) -> dict[str, Any]:
        """What decides the answers."""

    def plan(self, box: str) -> StepPlan:
        """What a box would do, of those that only this pipeline can say."""

    def performance(self, plan: BenchmarkPlan, progress: Progress) -> tuple[Benchmark, list[Finding]]:
        """What was measured, held against what was agreed."""

    def quality(self, progress: Progress) -> Answer:
        """The pipeline's own tests of its data."""

    def parity(self, progress: Progress) -> ParityReport:
        """The legacy aggregates beside what they should be."""

    def full_run(self, load_id: str, progress: Progress) -> tuple[PipelineRun, dict[str, Any]]:
        """One run from end to end, and by what it is known again."""

    def stands(self, load_id: str, result: Mapping[str, Any]) -> Found:
        """Whether what a full run made is still there."""

    def output(self, progress: Progress) -> Answer:
        """Rules and figures of what the run wrote."""

    def readers(self, listed: Sequence[Listed]) -> dict[str, Downstream | None]:
        """What each downstream system reads of it."""

    def read(self, described: Mapping[str, Downstream | None]) -> tuple[Reading, ...]:
        """Reads as each of them."""

    def holds(self, progress: Progress) -> Answer:
        """Whether what it serves is true now."""

    def data(self, progress: Progress) -> Answer:
        """The data's quality as it is after the migration."""

    def protection(self) -> list[Finding]:
        """How the place where the data lie is protected."""
