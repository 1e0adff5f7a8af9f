"""What every phase has: its settings, its run, plans before actions, checks that become gates, and people's signatures.

A phase is a class whose methods are called by the cells of its notebook, one a step:

    class Infrastructure(Phase):
        def deploy(self, checked: Token) -> pd.DataFrame:
            require(checked, "…", apply=self.apply)
            plan = …                                         # a StepPlan
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
from typing import Any

import pandas as pd
from IPython.display import Markdown

from helpers import checklist, settings
from helpers.errors import AwaitingPerson, UsageError
from helpers.evidence import approvals
from helpers.evidence.approvals import ApprovalToken
from helpers.finding import Finding as Finding
from helpers.finding import Severity as Severity
from helpers.ledger import steps
from helpers.ledger.folders import report_path, run_folder
from helpers.ledger.gate import Token, gate, rehearse
from helpers.ledger.ledger import Ledger
from helpers.ledger.steps import CHECK, Declares, Probe, Step
from helpers.phases.common.plan import StepPlan
from helpers.phases.common.tables import show_tables


class Phase:
    """One walk through a phase.

    Args:
        profile: of migration.toml.
        apply: True: steps act; False: they return their plans; None: they act on profile local where `ACTS_ON_LOCAL` says so.
    """

    ACTS_ON_LOCAL = False
    """Whether the notebook acts by default: it then needs nobody's signature and nothing but the local stack."""

    def __init__(self, profile: str, *, apply: bool | None) -> None:
        show_tables()
        self.apply = self.ACTS_ON_LOCAL and profile == settings.DEFAULT_PROFILE if apply is None else apply
        self.settings = settings.load(profile)
        self.run = steps.current()
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
    ) -> Token:
        """A check whose findings are its evidence.

        Args:
            name: the step's id, and the gate's name.
            look: returns what is to be said; a finding of severity "stop" closes the gate.
            inputs: what decides the answer.
            acted: it looks at the effect of steps that only planned in a rehearsal, so that there is nothing to look at then.
            result: what later phases read of it in the ledger; `look` may still fill it.

        Raises:
            GateClosed: with the first findings that stop.
        """
        with self.step(name, inputs or {}, CHECK) as step:
            if acted and not self.apply:
                return rehearse(name, "nothing was applied, so there is nothing to check")
            with self.timed(name):
                found = list(look())
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

    def shown(self, step: Step, plan: StepPlan) -> pd.DataFrame:
        """Prints a plan, records it, and returns its objects."""
        step.result = plan.result()
        print(plan)  # noqa: T201 - the operator and the auditor read it in the cell's output
        return plan.objects

    def approve(self, plan: StepPlan) -> ApprovalToken:
        """Lets a step pass once enough people have approved exactly this plan.

        Raises:
            AwaitingPerson: not enough of them have; the plan lies in the run's folder for them to read.
            UsageError: the notebook runs outside a run, where nobody can approve anything, or the checklist asks for no approval
                of this step.
        """
        kind = checklist.approval_of(plan.step)
        if kind is None:
            raise UsageError(
                "ask for an approval", on=plan.step, why="the checklist asks for none", next_step="declare it there"
            )
        value = {**plan.result(), "changes": plan.objects.reset_index().astype(str).to_dict("records")}
        lsn = self.lsn() or "none"
        token = approvals.require(
            run_folder(), plan.step, value, lsn, self.settings, ledger=self._ledger(plan.step), kind=kind
        )
        return approvals.accept(token, plan.step, value, lsn)

    def words(self, *names: str) -> pd.DataFrame:
        """Who has given their word on steps that rest on one.

        Args:
            names: ids of the steps.

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
        return pd.DataFrame(
            [(name, checklist.title(name), by[name]) for name in names], columns=["step", "what", "by"]
        ).set_index("step")

    def form(self, *names: str) -> Any:
        """The form by which a person gives their word; in a run, whose notebook nobody can click, a line that says how.

        Args:
            names: ids of the steps.
        """
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
        return pd.DataFrame(
            {"stage": list(self.seconds), "seconds": [round(s, 2) for s in self.seconds.values()]}
        ).set_index("stage")

    def _ledger(self, step: str) -> Ledger:
        if self.run.ledger is None:
            raise UsageError(
                "go on without a run",
                on=step,
                why="it needs a person's signature, and only a run keeps those",
                next_step=f"runbook run {self._number(step)} --run NAME; here, apply = False shows the plan",
            )
        return self.run.ledger

    def _await_words(self, ledger: Ledger, missing: Sequence[str]) -> None:
        found = self.run.view()
        for name in missing:
            if found[name].state != "awaiting":
                ledger.append("awaiting", step=name, phase=self.run.phase, attempt=self.run.attempt, what="attestation")
        raise AwaitingPerson(
            "go on without a person's word",
            on=", ".join(missing),
            why=f"{len(missing)} of the steps that rest on a person's word have none yet",
            next_step=f"runbook attest {missing[0]} --run {run_folder().name} --by PERSON --key PATH --note TEXT"
            f"{' (and so for the others)' if missing[1:] else ''}, or the form in the notebook; then the same command again",
        )

    @staticmethod
    def _number(step: str) -> str:
        return step[1:3]


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Findings for a cell, the gravest first."""
    order: list[Severity] = ["stop", "warning", "note"]
    rows = sorted(findings, key=lambda finding: order.index(finding.severity))
    return pd.DataFrame(
        [(f.severity, f.on, f.what, f.fix) for f in rows], columns=["severity", "on", "what", "fix"]
    ).set_index("severity")
