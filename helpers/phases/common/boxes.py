"""What phases 40 and 60 share: each box is run, shown and then judged, for the pipeline that the option ends with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from helpers.finding import stop
from helpers.frames import frame
from helpers.ledger.gate import Token
from helpers.ledger.steps import CHECK
from helpers.phases.common.box_findings import alert_findings
from helpers.phases.common.legacy_pipeline import LegacyPipeline
from helpers.phases.common.modern_pipeline import ModernPipeline
from helpers.phases.common.phase import Phase
from helpers.phases.common.plan import plan_step
from helpers.phases.common.subject import Answer, Box, Subject
from helpers.pipelines import alerts, benchmark
from helpers.pipelines.alerts import Arrival
from helpers.pipelines.benchmark import Benchmark
from helpers.progress import Progress, progress
from helpers.runs.notify import Webhook
from helpers.settings import Settings
from helpers.verify.data_quality.rules import result as rule_results

SUBJECTS: dict[str, Callable[[Settings], Subject]] = {"A": ModernPipeline, "B": ModernPipeline, "C": LegacyPipeline}


class Boxes(Phase):
    """One walk through a phase of boxes; the option decides what pipeline they are about.

    Args:
        profile, option, apply: as `Phase` takes them.
        volumes: of the benchmark: small, medium, large.

    Raises:
        UsageError: there is no such option.
    """

    def __init__(self, profile: str, volumes: list[str], *, option: str = "A", apply: bool | None) -> None:
        super().__init__(profile, option, apply=apply)
        self.subject: Subject = SUBJECTS[option](self.settings)
        self._volumes = volumes
        self._benchmark = Benchmark(())
        self._answers: dict[str, Answer] = {}

    def limits(self) -> pd.DataFrame:
        """Of the benchmark: a row a limit that was agreed, and whether it was kept."""
        return self._benchmark.judged()

    def rules(self) -> pd.DataFrame:
        """Of the data's quality: the rules that are not kept or could not be checked; empty when all are."""
        found = [each for answer in self._answers.values() for each in answer.rules if each.verdict != "pass"]
        return rule_results.frame(found).set_index("table")

    def gate(self, box: str) -> Token:
        """The gate behind a box: closed by a finding that stops.

        Raises:
            GateClosed: with the findings.
        """
        if box in self.absent:
            return self.pass_over(f"{box}-gate")
        missing = [stop(box, "it was not done in this session", "run the cells above first")]
        return self.check(f"{box}-gate", lambda: self.found.get(box, missing), acted=True)

    def take(self, name: str, box: Box | None = None, inputs: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Acts on a box, or shows its plan in a rehearsal.

        Args:
            box: what it is; without it the pipeline says.
            inputs: what decides the answer, beside what the pipeline says.
        """
        if name in self.absent:
            return self.passed_over(name)
        box = box or self.subject.box(name)
        with self.step(name, {**self.subject.inputs(), **(inputs or {})}, CHECK) as step:
            if not self.apply:
                return self.shown(step, box.plan)
            with self.timed(name), progress(name) as report:
                answer = self._answers[name] = box.act(report)
            step.result = dict(answer.result)
            if answer.report:
                step.result["evidence"] = self.report(*answer.report)
            self.found[name] = list(answer.findings)
            return answer.rows

    def measure(self, name: str, cost: str) -> pd.DataFrame:
        """The benchmark: a row a volume and pipeline.

        Args:
            cost: what can be said of it.
        """
        if name in self.absent:
            return self.take(name)
        measuring = benchmark.plan_benchmark(self.settings, self.subject.pipelines, self._volumes)

        def act(told: Progress) -> Answer:
            self._benchmark, found = self.subject.performance(measuring, told)
            result = {"measurements": len(self._benchmark.measurements)}
            return Answer(self._benchmark.totals(), found, result, ("benchmark", self._benchmark.as_dict()))

        rows = [(f"{volume}, {each}", lines) for volume, each, lines in measuring.rows()]
        totals = {"rows": sum(measuring.lines)}
        plan = plan_step(name, measuring.what, rows, "measured", "rows", cost=cost, totals=totals)
        return self.take(name, Box(plan, act), {"volumes": list(measuring.volumes)})

    def raise_alarm(self, name: str) -> pd.DataFrame:
        """Sends a test alarm over each way that the profile has, and waits for it; a row a way."""

        def act(told: Progress) -> Answer:
            arrivals, runbook = [], name[1:3]
            if self.settings.values.aws:
                arrivals.append(alerts.send_test_alarm(self.settings.aws, self.settings.alerts, runbook))
            if secret := self.settings.notify.webhook:
                why = Webhook(secret.get_secret_value()).send(f"test alarm of runbook {runbook}: nothing is wrong")
                said = why or "the receiver took it; that a person saw it, only they can say"
                arrivals.append(Arrival("the webhook of [notify]", why is None, 0.0, said))
            rows = [(a.way, "arrived" if a.arrived else "lost", round(a.seconds, 1), a.said) for a in arrivals]
            result = {"ways": len(arrivals), "arrived": sum(each.arrived for each in arrivals)}
            return Answer(frame(rows, "way", "alarm", "seconds", "said"), alert_findings(arrivals), result)

        ways, seconds = alerts.ways(self.settings), self.settings.alerts.timeout_seconds
        what = f"send a test alarm, which reaches whoever listens there, and wait up to {seconds:g} s for it"
        return self.take(name, Box(plan_step(name, what, ways, "through", "sends", totals={"ways": len(ways)}), act))
