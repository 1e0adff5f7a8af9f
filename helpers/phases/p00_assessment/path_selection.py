"""The second half of phase 0: what each path involves, the case for it, and the signed choice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pandas as pd
import plotly.graph_objects as go

from helpers import checklist
from helpers.assessment import hybrid, paths
from helpers.assessment.hybrid import Split
from helpers.assessment.paths import Criterion
from helpers.checklist import Option, Step
from helpers.errors import SettingsError
from helpers.evidence.people import roll
from helpers.finding import Finding, failed, note, stop, warning
from helpers.frames import frame
from helpers.ledger.gate import Token, require
from helpers.phases.common import charts
from helpers.phases.common.plan import StepPlan, plan_step
from helpers.phases.p00_assessment.assessment import Assessment
from helpers.pipelines import functional

WORKING_DAY = 8 * 60
WORKING_WEEK = 5


class PathSelection:
    """The choice between the document's three paths, after the assessment and within its run.

    Args:
        assessment: that has run its checks.
    """

    def __init__(self, assessment: Assessment) -> None:
        self._phase = assessment
        self._facts = assessment.facts()
        self.criteria: tuple[Criterion, ...] = paths.score(self._facts)
        self._split: Split | None = None

    def scores(self) -> pd.DataFrame:
        """Each criterion: its weight, what was measured, and the points that it gives each option."""
        rows = [
            (c.name, c.weight, c.measured, *(round(c.weighted(option), 1) for option in paths.OPTIONS))
            for c in self.criteria
        ]
        totals = paths.totals(self.criteria)
        rows.append(("of 100", sum(c.weight for c in self.criteria), "", *(round(totals[o], 1) for o in paths.OPTIONS)))
        return frame(rows, "criterion", "weight", "measured", *paths.OPTIONS)

    def chart(self) -> go.Figure:
        """The same as a picture."""
        return charts.points_by_option(
            list(paths.OPTIONS),
            {c.name: [round(c.weighted(option), 1) for option in paths.OPTIONS] for c in self.criteria},
        )

    def recommendation(self) -> str:
        """One sentence."""
        best, found = paths.recommended(self.criteria), paths.totals(self.criteria)
        words = ", ".join(f"{option} {points:.1f}" for option, points in found.items())
        return f"RECOMMENDED: option {best} ({words} of 100); chosen: option {self._phase.option}"

    def boxes(self) -> pd.DataFrame:
        """The boxes of all three options beside each other; only those of the chosen option are asked and recorded.

        Raises:
            GateClosed: a box of the chosen option says no.
        """
        rows = []
        for option in paths.OPTIONS:
            answers = {
                "target": self.target(option),
                "benefits": self.benefits(option),
                "effort": self.effort(option),
                "timeline": self.timeline(option),
                **({"note": self.note()} if option == "C" else {}),
            }
            for box, answer in answers.items():
                name = f"s00-{option.lower()}-{box}"
                said = "not chosen" if answer is None else "rehearsed" if answer.rehearsed else "passed"
                rows.append((option, checklist.title(name), _after_the_colon(name), said))
        return frame(rows, "option", "box", "the document", "answer")

    def target(self, option: Option) -> Token | None:
        """Whether what the option builds on is there: the targets and Kafka, the tables that stay, or what runs today's pipeline."""
        look = {"A": self._full, "B": self._hybrid, "C": self._legacy}[option]
        return self._checked(f"s00-{option.lower()}-target", look)

    def benefits(self, option: Option) -> Token | None:
        """What the document promises of the option, beside what was measured."""
        name = f"s00-{option.lower()}-benefits"

        def look() -> Iterator[Finding]:
            yield note("the document", _after_the_colon(name))
            for each in self.criteria:
                points = each.points[paths.OPTIONS.index(option)]
                yield note(each.name, f"{each.measured}: {points} of {paths.MOST_POINTS} points")
            best = paths.recommended(self.criteria)
            if best != option:
                fix = "say in the signed choice why it is this one, or choose the other"
                yield warning(f"option {option}", f"the score recommends {best}", fix)

        return self._checked(name, look)

    def effort(self, option: Option) -> Token | None:
        """The planned minutes, beside the people who may sign."""
        name = f"s00-{option.lower()}-effort"

        def look() -> Iterator[Finding]:
            days, steps = planned_days(option), checklist.steps_for_option(option)
            yield note("the document", _after_the_colon(name))
            yield note("the checklist", f"{len(steps)} boxes, {days:.1f} working days of one person as planned")
            settings = self._phase.settings
            known = roll(settings)
            kinds = {each: checklist.approval_of(each) for step in steps for each in step.ids}
            most = max((known.asked(each, kind) for each, kind in kinds.items() if kind), default=0)
            have = len(known.people)
            if have < most:
                said = warning if settings.values.stack == "local" else stop
                fix = "make keys with runbook keygen, and name the people under [profiles.X.approvals.people]"
                yield said("people", f"{have} may sign, and a step of this path needs {most}", fix)

        return self._checked(name, look)

    def timeline(self, option: Option) -> Token | None:
        """The planned minutes, beside the weeks that the document names."""
        name = f"s00-{option.lower()}-timeline"

        def look() -> Iterator[Finding]:
            text, weeks = _after_the_colon(name), planned_days(option) / WORKING_WEEK
            longest = max(int(number) for number in re.findall(r"\d+", text))
            yield note("the document", text)
            planned = f"{weeks:.1f} weeks of one person as planned"
            if weeks > longest:
                fix = "let several people work on it, or plan more time"
                yield warning("the checklist", f"{planned}, which is longer", fix)
            else:
                yield note("the checklist", planned)

        return self._checked(name, look)

    def note(self) -> Token | None:
        """What the document warns of in option C; its day is past."""

        def look() -> Iterator[Finding]:
            yield note("the document", _after_the_colon("s00-c-note"))
            what = f"the support of its components {self._facts.support.said(self._facts.today)}"
            yield warning("option C", what, "take option B instead, or name the day by which this one is left behind")

        return self._checked("s00-c-note", look)

    def choose(self) -> pd.DataFrame:
        """The choice, signed within an applied run; elsewhere it is shown what would be signed.

        Raises:
            AwaitingPerson: it is not signed yet.
            UsageError: the boxes of the chosen option have not been asked.
        """
        phase, option = self._phase, self._phase.option
        target = f"s00-{option.lower()}-target"
        require(phase.tokens.get(target), target, apply=False)
        plan = self._plan(option)
        with phase.step(plan.step, plan.result()) as step:
            if not (phase.apply and phase.run.recorded):
                return phase.shown(step, plan)
            by = phase.approve(plan).by
            step.result = {**plan.result(), "option": option, "by": list(by)}
        return frame([(option, ", ".join(by))], "option", "signed by")

    def summary(self) -> str:
        """One sentence: how many checks answered, which option was recommended and which is taken."""
        answers = Counter(token.answer for token in self._phase.tokens.values())
        passed = answers.pop("passed", 0)
        words = ", ".join([f"{passed} checks passed", *(f"{count} {answer}" for answer, count in answers.items())])
        told = self.recommendation().replace("RECOMMENDED", "recommended")
        return f"{'ASSESSED' if self._phase.apply else 'REHEARSED'}: {words}; {told}"

    def _checked(self, name: str, look: Callable[[], Iterable[Finding]]) -> Token | None:
        return self._phase.checked(name, look) if self._phase.has(name) else None

    def _plan(self, option: str) -> StepPlan:
        """What is signed holds nothing that differs from one hour to the next, so that the signature outlives the attempt."""
        rows = [(c.name, c.weight, *c.points) for c in self.criteria]
        if option != "C":
            self._split = self._split or hybrid.split(self._phase.settings)
            rows += [(line, 0, 0, 0, 0) for line in self._split.lines]
        target, effort, time = (
            _after_the_colon(f"s00-{option.lower()}-{name}") for name in ("target", "effort", "timeline")
        )
        minutes = round(planned_days(option) * WORKING_DAY)
        return plan_step(
            f"s00-{option.lower()}-choice",
            f"take option {option}: {target}; {paths.recommended(self.criteria)} is recommended",
            rows, "criterion", "weight", *paths.OPTIONS, cost=f"effort {effort}, {time} by the document",
            totals={"boxes": len(checklist.steps_for_option(option)), "planned_minutes": minutes},
        )  # fmt: skip

    def _full(self) -> Iterator[Finding]:
        values = self._phase.settings.values
        for name in ("snowflake", "databricks"):
            if getattr(values, name) is None:
                fix = f"add [profiles.X.{name}], or say why one is enough"
                yield warning(name, "the profile does not name it, and option A has both", fix)
            else:
                yield note(name, "named by the profile; its check above passed")
        if values.kafka is None:
            what = "the profile does not name it, so changes would not stream"
            yield warning("Kafka", what, "add [profiles.X.kafka] before phase 10")
        else:
            yield note("Kafka", "named by the profile")

    def _hybrid(self) -> Iterator[Finding]:
        try:
            self._split = found = hybrid.split(self._phase.settings)
        except SettingsError as error:
            yield failed("tables", error)
            return
        yield from hybrid.findings(found)
        yield note(", ".join(found.stay) or "nothing", "stays in PostgreSQL: not exported, loaded, verified or frozen")
        yield note(", ".join(found.move) or "nothing", "moves")

    def _legacy(self) -> Iterator[Finding]:
        dags = self._phase.settings.dags
        for name in dags.legacy:
            yield note(name, "today's pipeline, a DAG; it goes on")
        if dags.command:
            yield note(functional.shown(dags.command), "what runs today's pipeline once")
        if not (dags.legacy or dags.command):
            what = "the profile names neither its DAGs nor a command that runs it, so that nothing here can run it"
            yield warning("today's pipeline", what, "name them under [profiles.X.dags]")


def planned_days(option: str) -> float:
    """Working days that the checklist plans for an option, all phases but the rollback, which is planned for nobody."""
    return (
        sum(step.minutes for step in checklist.steps_for_option(option) if step.phase != checklist.PHASES[-1])
        / WORKING_DAY
    )


def _after_the_colon(name: str) -> str:
    step: Step = next(each for each in checklist.steps() if each.id == name)
    return step.text.partition(":** ")[2] or step.text.partition(": ")[2]
