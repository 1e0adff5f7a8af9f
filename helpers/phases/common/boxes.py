"""What phases 40 and 60 share: boxes that are acted on, shown, and then judged, about the pipeline that the option has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from helpers.errors import UsageError
from helpers.ledger.gate import Token
from helpers.ledger.steps import CHECK, Step
from helpers.phases.common import testing_plan
from helpers.phases.common.box_findings import alert_findings
from helpers.phases.common.legacy_pipeline import LegacyPipeline
from helpers.phases.common.modern_pipeline import ModernPipeline
from helpers.phases.common.phase import Finding, Phase, table
from helpers.phases.common.plan import StepPlan
from helpers.phases.common.subject import Answer, Subject
from helpers.pipelines import alerts, benchmark
from helpers.pipelines.alerts import Arrival
from helpers.pipelines.benchmark import Benchmark, BenchmarkPlan
from helpers.progress import progress
from helpers.runs.notify import Webhook
from helpers.settings import Settings
from helpers.verify.data_quality.rules import result as rule_results
from helpers.verify.data_quality.rules.result import RuleResult

SUBJECTS: dict[str, Callable[[Settings], Subject]] = {"A": ModernPipeline, "B": ModernPipeline, "C": LegacyPipeline}


class Boxes(Phase):
    """One walk through a phase of boxes.

    Args:
        profile: of migration.toml.
        volumes: of the benchmark: small, medium, large.
        option: the migration path, which decides what pipeline the boxes are about.
        apply: whether steps act; without it they return their plans.

    Raises:
        UsageError: there is no such option or volume.
    """

    def __init__(self, profile: str, volumes: list[str], *, option: str = "A", apply: bool | None) -> None:
        super().__init__(profile, apply=apply)
        if option not in SUBJECTS:
            raise UsageError(
                "choose a path", on=option, why="no such option", next_step=f"one of {', '.join(SUBJECTS)}"
            )
        self.subject: Subject = SUBJECTS[option](self.settings)
        self._measuring: BenchmarkPlan = benchmark.plan_benchmark(self.settings, self.subject.pipelines, volumes)
        self._benchmark = Benchmark(())
        self._found: dict[str, list[Finding]] = {}
        self._rules: Sequence[RuleResult] = ()

    def limits(self) -> pd.DataFrame:
        """Of the benchmark: a row a limit that was agreed, and whether it was kept."""
        return self._benchmark.judged()

    def rules(self) -> pd.DataFrame:
        """Of the data's quality: the rules that are not kept or could not be checked; empty when all are."""
        return rule_results.frame(each for each in self._rules if each.verdict != "pass").set_index("table")

    def findings(self, box: str) -> pd.DataFrame:
        """What is to be said of a box, the gravest first."""
        return table(self._found.get(box, []))

    def gate(self, box: str) -> Token:
        """The gate behind a box: closed by a finding that stops.

        Raises:
            GateClosed: with the findings.
        """
        return self.check(f"{box}-gate", lambda: self._judged(box), acted=True)

    def _taken(
        self, box: str, plan: StepPlan, act: Callable[[Step], pd.DataFrame], inputs: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """A box that looks: its plan in a rehearsal, otherwise what `act` shows, which also says what it has found."""
        with self.step(box, inputs if inputs is not None else self.subject.inputs(), CHECK) as step:
            if not self.apply:
                return self.shown(step, plan)
            with self.timed(box):
                return act(step)

    def _answered(self, box: str, step: Step, answer: Answer) -> pd.DataFrame:
        """Records what the subject has answered, and returns its rows."""
        step.result = dict(answer.result)
        if answer.report:
            step.result["evidence"] = self.report(*answer.report)
        self._found[box] = list(answer.findings)
        self._rules = answer.rules
        return answer.rows

    def _measured(self, box: str, plan: StepPlan) -> pd.DataFrame:
        def act(step: Step) -> pd.DataFrame:
            with progress("benchmark") as report:
                self._benchmark, self._found[box] = self.subject.performance(self._measuring, report)
            evidence = self.report("benchmark", self._benchmark.as_dict())
            step.result = {"measurements": len(self._benchmark.measurements), "evidence": evidence}
            return self._benchmark.totals()

        return self._taken(box, plan, act, {**self.subject.inputs(), "volumes": list(self._measuring.volumes)})

    def _alarmed(self, box: str) -> pd.DataFrame:
        """Sends a test alarm over each way that the profile has, and waits for it; a row a way."""

        def act(step: Step) -> pd.DataFrame:
            arrivals, runbook = [], self._number(box)
            if self.settings.values.aws:
                arrivals.append(alerts.send_test_alarm(self.settings.aws, self.settings.alerts, runbook))
            if secret := self.settings.notify.webhook:
                why = Webhook(secret.get_secret_value()).send(f"test alarm of runbook {runbook}: nothing is wrong")
                said = why or "the receiver took it; that a person saw it, only they can say"
                arrivals.append(Arrival("the webhook of [notify]", why is None, 0.0, said))
            step.result = {"ways": len(arrivals), "arrived": sum(each.arrived for each in arrivals)}
            self._found[box] = alert_findings(arrivals)
            rows = [(a.way, "arrived" if a.arrived else "lost", round(a.seconds, 1), a.said) for a in arrivals]
            return pd.DataFrame(rows, columns=["way", "alarm", "seconds", "said"]).set_index("way")

        return self._taken(box, testing_plan.of_alerts(box, self.settings), act)

    def _judged(self, box: str) -> Sequence[Finding]:
        if box not in self._found:
            return [Finding("stop", box, "it was not done in this session", "run the cells above first")]
        return self._found[box]
