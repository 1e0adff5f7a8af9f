"""What every phase has: its settings, its run, plans before actions, checks that become gates, and people's signatures.

A phase is a class whose methods are called by the cells of its notebook, one a step, each with its plan, probe and action:

    class Infrastructure(Phase):
        @part_of("s10-snowflake")                            # where the checklist's option has no such box, the cell says so
        def deploy(self, checked: Token) -> pd.DataFrame:
            require(checked, "…", apply=self.apply)
            plan = plan_step(…)
            with self.step("s10-snowflake", inputs, probe=…) as step:
                if not self.apply:
                    return self.shown(step, plan)
                self.approve(plan)                           # exit 3 until enough people have signed this plan
                …
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from typing import Any, TypeVar

import pandas as pd
from IPython.display import Markdown, display

from helpers import checklist, settings
from helpers.errors import AwaitingPerson, UsageError
from helpers.evidence import approvals
from helpers.evidence.approvals import ApprovalToken
from helpers.finding import Finding, Severity, note
from helpers.frames import frame
from helpers.ledger import steps
from helpers.ledger.folders import report_path, run_folder
from helpers.ledger.gate import Token, gate, pass_by, rehearse
from helpers.ledger.ledger import Ledger
from helpers.ledger.steps import CHECK, Declares, Probe, Step
from helpers.ledger.view import ELSEWHERE, NOT_APPLICABLE
from helpers.phases.common.absent import absent_steps
from helpers.phases.common.plan import StepPlan
from helpers.phases.common.tables import show_tables
from helpers.settings import Elsewhere

OPTIONS = "ABC"
"""The migration paths."""

Shown = TypeVar("Shown")


class Phase:
    """One walk through a phase.

    Args:
        option: the migration path: "A", "B" or "C".
        apply: True: steps act; False: they return their plans; None: they act on profile local where `ACTS_ON_LOCAL` says so.

    Attributes:
        found: findings by the step or check that has made them.
        absent: steps that this run does not perform, each with the reason: their system is not in the profile, or they exist
            elsewhere; see `pass_over`.

    Raises:
        UsageError: there is no such option, or it moves tables that stay by the settings.
    """

    ACTS_ON_LOCAL = False
    """Whether the notebook acts by default: it then needs nobody's signature and nothing but the local stack."""

    ASKS_AT_ONCE = True
    """Whether people are asked at once for their words on all steps of the phase that exist elsewhere; where a step is somebody's
    act at its moment, nobody may sign it before."""

    def __init__(self, profile: str, option: str = "A", *, apply: bool | None) -> None:
        if option not in OPTIONS:
            why = "no such option"
            raise UsageError("choose a path", on=option, why=why, next_step=f"use one of: {', '.join(OPTIONS)}")
        show_tables()
        self.option = option
        self.apply = self.ACTS_ON_LOCAL and profile == settings.DEFAULT_PROFILE if apply is None else apply
        self.settings = settings.load(profile).for_option(option)
        self.absent = absent_steps(self.settings, option)
        self.run = steps.current()
        self.found: dict[str, list[Finding]] = {}
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(
        self, name: str, inputs: Mapping[str, Any], declares: Declares | None = None, probe: Probe | None = None
    ) -> Iterator[Step]:
        """A step of the run, as `Run.step`; in a rehearsal its result is recorded as its plan. If it fails, whom to call is printed."""
        try:
            with self.run.step(name, inputs=inputs, declares=declares, probe=probe, apply=self.apply) as step:
                yield step
        except AwaitingPerson:
            raise
        except Exception:
            print(self.settings.whom_to_call)  # noqa: T201 - beside the failure, in the cell's output
            raise

    def check(
        self,
        name: str,
        look: Callable[[], Iterable[Finding]],
        *,
        inputs: Mapping[str, Any] | None = None,
        acted: bool = False,
        result: Mapping[str, Any] | None = None,
        show: bool = False,
    ) -> Token:
        """A check whose findings are its evidence; `findings` shows them.

        Args:
            name: the step's id, and the gate's name.
            look: returns what is to be said; a finding of severity "stop" closes the gate.
            inputs: what decides the answer.
            acted: it looks at the effect of steps that only planned in a rehearsal, so that there is nothing to look at then.
            result: what later phases read of it in the ledger; `look` may still fill it.
            show: displays all findings first: a closed gate quotes only those that stop.

        Raises:
            GateClosed: with the first findings that stop.
        """
        if name in self.absent:
            return self.pass_over(name)
        with self.step(name, inputs or {}, CHECK) as step:
            if acted and not self.apply:
                return rehearse(name, "nothing was applied, so there is nothing to check")
            with self.timed(name):
                found = self.found[name] = list(look())
            if show:
                display(table(found))  # type: ignore[no-untyped-call]
            stops = [finding for finding in found if finding.severity == "stop"]
            step.result = {
                **(result or {}),
                "findings": len(found),
                "stops": len(stops),
                "evidence": self.report(name, [asdict(f) for f in found]),
            }
            evidence: list[Any] = [f"{f.on}: {f.what}" for f in stops] or [asdict(f) for f in found]
            return gate(
                name,
                not stops,
                evidence=evidence,
                next_step="; ".join(dict.fromkeys(f.fix for f in stops if f.fix)) or "correct what the evidence names",
            )

    def preflight_check(self, name: str, look: Iterable[Finding], rehearsed: str) -> Token:
        """The check in front of a phase that cannot be taken twice; a rehearsal looks too, and stops at nothing."""
        found = self.found[name] = list(look)
        if self.apply:
            return self.check(name, lambda: found)
        with self.step(name, {}) as step:
            step.result = {"what": rehearsed, "stops": sum(each.severity == "stop" for each in found)}
        return rehearse(name, f"in a rehearsal nothing depends on it: {rehearsed}")

    def findings(self, name: str) -> pd.DataFrame:
        """What a step or check has found, the most severe first."""
        return table(self.found.get(name, []))

    def has(self, name: str) -> bool:
        """Whether the option has this box of the checklist, or part of a box."""
        return any(name in step.ids for step in checklist.steps_for_option(self.option))

    def no_part(self, name: str) -> pd.DataFrame:
        """What a cell shows whose step the option does not have."""
        return frame([(name, f"no part of option {self.option}")], "step", "what")

    def shown(self, step: Step, plan: StepPlan) -> pd.DataFrame:
        """Prints a plan, records it, and returns its objects."""
        step.result = plan.result()
        print(plan)  # noqa: T201 - the operator and the auditor read it in the cell's output
        return plan.objects

    def pass_over(self, name: str) -> Token:
        """Records a step of `absent`; what stands behind it goes on without it. A rehearsal says the same, and asks nobody.

        Raises:
            AwaitingPerson: it is said to exist elsewhere, and somebody's word is missing.
        """
        word = checklist.elsewhere_by(name)
        theirs = self.settings.elsewhere.get(word) if word else None
        said: dict[str, Any] = {ELSEWHERE: theirs.model_dump()} if theirs else {NOT_APPLICABLE: self.absent[name]}
        anew = word == name and self.run.view()[name].state == "rolled back"
        with self.step(name, said, CHECK) as step:
            if theirs and word and self.apply:
                said[ELSEWHERE]["by"] = self._words_elsewhere(word, theirs, anew=anew)
            step.result = said
        how = ELSEWHERE if theirs else NOT_APPLICABLE
        by = (
            " and ".join(said[ELSEWHERE].get("by", ())) or "a person, who is not asked in a rehearsal" if theirs else ""
        )
        self.found[name] = [note(name, f"{how}: {self.absent[name]}{f', by the word of {by}' if by else ''}")]
        return pass_by(name, said, how, apply=self.apply)

    def passed_over(self, name: str) -> pd.DataFrame:
        """The same of a step that shows what it has done: it shows why it has not."""
        self.pass_over(name)
        return self.findings(name)

    def _words_elsewhere(self, word: str, theirs: Elsewhere, *, anew: bool) -> list[str]:
        """By whose word a step exists elsewhere; with `ASKS_AT_ONCE` the others of the phase are asked for, too."""
        ledger = self._ledger(word)
        asked = {word: theirs}
        if self.ASKS_AT_ONCE:
            phases = checklist.may_be_elsewhere()
            own = {name: each for name, each in self.settings.elsewhere.items() if phases[name] == phases[word]}
            asked |= {name: each for name, each in own.items() if self.has(name)}
        place = {"phase": self.run.phase, "attempt": self.run.attempt}
        given = {
            name: approvals.require_words_elsewhere(
                run_folder(), name, each, self.settings, ledger=ledger, place=place,
                kind=checklist.approval_of(name), anew=anew and name == word,
            )
            for name, each in asked.items()
        }  # fmt: skip
        if not given[word]:
            missing = [name for name, by in given.items() if not by]
            raise AwaitingPerson(
                "continue without a person's word on what exists elsewhere",
                on=", ".join(missing),
                why="; ".join(f"{name}: {asked[name].what} ({asked[name].link})" for name in missing),
                next_step=f"look there, then runbook attest {missing[0]} --run {run_folder().name} --by PERSON --key PATH --note TEXT"
                f"{' (and so for the others)' if missing[1:] else ''}, then the same command again",
            )
        return list(given[word])

    def not_done(self, step: Step, finding: Finding) -> pd.DataFrame:
        """Records and shows why a step has nothing to act on."""
        step.result.update({NOT_APPLICABLE: finding.what})
        return table([finding])

    def approve(self, plan: StepPlan) -> ApprovalToken:
        """Shows a plan, and lets its step pass once enough people have approved exactly this plan.

        Raises:
            AwaitingPerson: not enough of them have; the plan lies in the run's folder for them to read.
            UsageError: the notebook runs outside a run, where nobody can approve anything, or the checklist asks for no approval
                of this step.
        """
        kind = checklist.approval_of(plan.step)
        if kind is None:
            why = "the checklist asks for none"
            raise UsageError("ask for an approval", on=plan.step, why=why, next_step="declare it there")
        print(plan)  # noqa: T201 - who is asked to approve it reads it here
        value = {**plan.result(), "changes": plan.objects.reset_index().astype(str).to_dict("records")}
        lsn = self.lsn() or "none"
        token = approvals.require(
            run_folder(), plan.step, value, lsn, self.settings, ledger=self._ledger(plan.step), kind=kind
        )
        return approvals.accept(token, plan.step, value, lsn)

    def words(self, *names: str) -> pd.DataFrame:
        """Who has given their word on steps that rest on one.

        Returns:
            A row a step.

        Raises:
            AwaitingPerson: somebody's word is missing; all that are missing are named at once.
            UsageError: the notebook runs outside a run, where nobody's word is kept.
        """
        if not self.apply:
            for name in names:
                with self.step(name, {}) as step:
                    step.result = {"what": "a person's word would be asked for"}
            by: dict[str, str | None] = dict.fromkeys(names, "planned: a person's word")
        else:
            ledger = self._ledger(names[0])
            by = {name: approvals.attested(run_folder(), name, self.settings) for name in names}
            if missing := [name for name in names if by[name] is None]:
                self._await_words(ledger, missing)
        return frame(((name, checklist.title(name), by[name]) for name in names), "step", "what", "by")

    def form(self, *names: str) -> Any:
        """The form by which a person gives their word; in a run, whose notebook nobody can click, a line that says how."""
        if self.run.recorded:
            return Markdown(f"Nobody can fill in a form here: `runbook attest STEP --run {run_folder().name} …` signs.")  # type: ignore[no-untyped-call]
        from helpers.phases.common.form import (
            AttestationForm,  # half a second of widgets, which no unattended run needs
        )

        return AttestationForm(names, self.settings.profile)

    def escalation(self) -> pd.DataFrame | str:
        """Whom to call when a step fails and its remedy does not help, in this order; or that nobody is named."""
        contacts = [contact.model_dump() for contact in self.settings.escalation]
        return pd.DataFrame(contacts).set_index("name") if contacts else self.settings.whom_to_call

    def lsn(self) -> str | None:
        """Of the snapshot that this run has moved; None before the data migration, or outside a run."""
        moved = self.run.view()["s30-snapshot"].result
        return str(moved["lsn"]) if moved else None

    def report(self, name: str, value: object) -> str:
        """Writes a report beside the notebook as JSON; returns its path within the run."""
        path = report_path(f"{name}.json")
        path.write_text(json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n", encoding="utf-8")
        return path.relative_to(run_folder()).as_posix()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Keeps the seconds of wall clock of a stage, a step under its title."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[checklist.title(stage)] = time.monotonic() - started

    def timing(self) -> pd.DataFrame:
        """Seconds of wall clock for each stage so far."""
        return frame(((stage, round(seconds, 2)) for stage, seconds in self.seconds.items()), "stage", "seconds")

    def _ledger(self, step: str) -> Ledger:
        if self.run.ledger is None:
            why = "it needs a person's signature, and only a run keeps those"
            cure = f"runbook run {step[1:3]} --run NAME; here, apply = False shows the plan"
            raise UsageError("continue without a run", on=step, why=why, next_step=cure)
        return self.run.ledger

    def _await_words(self, ledger: Ledger, missing: Sequence[str]) -> None:
        found = self.run.view()
        for name in missing:
            if found[name].state != "awaiting":
                ledger.append("awaiting", step=name, phase=self.run.phase, attempt=self.run.attempt, what="attestation")
        raise AwaitingPerson(
            "continue without a person's word",
            on=", ".join(missing),
            why=f"{len(missing)} of the steps that rest on a person's word have none yet",
            next_step=f"runbook attest {missing[0]} --run {run_folder().name} --by PERSON --key PATH --note TEXT"
            f"{' (and so for the others)' if missing[1:] else ''}, or the form in the notebook; then the same command again",
        )


def part_of(*names: str) -> Callable[[Callable[..., Shown]], Callable[..., Shown | pd.DataFrame]]:
    """Passes steps over on the options that do not have them: the cell says so, and nothing is recorded. A step that the run does
    not perform is recorded as that; a gate does so where it checks.

    Args:
        names: ids of the checklist's boxes or parts; the first one tells.
    """

    def within(method: Callable[..., Shown]) -> Callable[..., Shown | pd.DataFrame]:
        gives_token = str(method.__annotations__.get("return")).startswith("Token")

        @wraps(method)
        def taken(self: Phase, *arguments: Any) -> Shown | pd.DataFrame:
            if not self.has(names[0]):
                return self.no_part(", ".join(names))
            if names[0] in self.absent and not gives_token:
                return self.passed_over(names[0])
            return method(self, *arguments)

        return taken

    return within


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Findings for a cell, the most severe first."""
    order: list[Severity] = ["stop", "warning", "unchecked", "note"]
    rows = sorted(findings, key=lambda finding: order.index(finding.severity))
    return frame(((f.severity, f.on, f.what, f.fix) for f in rows), "severity", "on", "what", "fix")
