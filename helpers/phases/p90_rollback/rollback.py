"""The rollback plan of the checklist, as the steps of `runbooks/90_rollback.ipynb`.

It was approved together with the cutover that it undoes. First readers and writers leave the new side; then what was written
there since the cutover is brought back, and compared; then the source serves again. Where nothing was cut over, there is
nothing to take back, and the first gate says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from helpers import verify
from helpers.checklist import ROLLBACK
from helpers.cutover import rollback
from helpers.cutover.rollback import RollbackPlan
from helpers.ledger.folders import report_path
from helpers.ledger.gate import Token, gate, rehearse, require
from helpers.ledger.steps import Found
from helpers.ledger.view import NOT_APPLICABLE
from helpers.phases.common import cutover_plan, earlier, switches
from helpers.phases.common.phase import Finding, Phase, table
from helpers.phases.common.plan import StepPlan
from helpers.phases.common.switches import Dags
from helpers.phases.p50_cutover.cutover import APPROVED, former
from helpers.platforms import postgres
from helpers.progress import progress
from helpers.runs.notify import Webhook
from helpers.source import freeze
from helpers.source.freeze import Stored
from helpers.verify import Report

CUT_OVER, FITS, EQUAL = "s90-preflight", "s90-compare", "s90-verify"


class Rollback(Phase):
    """One walk through the rollback.

    Args:
        profile: of migration.toml.
        apply: whether steps act; without it they return their plans.
    """

    def __init__(self, profile: str, *, apply: bool | None) -> None:
        super().__init__(profile, apply=apply)
        self._found: dict[str, list[Finding]] = {}
        self._plan: RollbackPlan | None = None
        limits = self.settings.cutover
        self._modern_off = Dags(on=(), off=limits.modern_dags)
        self._legacy_on = Dags(on=limits.legacy_dags, off=())

    def preflight(self) -> Token:
        """What this run has cut over, and that people have approved its way back with it."""
        self._found[CUT_OVER] = list(self._of_cutover())
        if self.apply:
            return self.check(CUT_OVER, lambda: self._found[CUT_OVER])
        with self.step(CUT_OVER, {}) as step:
            step.result = {"what": "would look at what this run has cut over"}
        return rehearse(CUT_OVER, "nothing is rolled back in a rehearsal")

    def findings(self, name: str) -> pd.DataFrame:
        """What a check has said, the gravest first."""
        return table(self._found.get(name, []))

    def traffic(self, cut_over: Token) -> pd.DataFrame:
        """Leads every reader to the old side again."""
        require(cut_over, CUT_OVER, apply=self.apply)
        record = switches.record(self.settings) if self.apply else None

        def look(load_id: str, result: Mapping[str, Any]) -> Found:
            if record is None:
                return Found("not done", "no record is configured")
            weights = record.weights()
            led = weights.share == 0 or weights.simple
            return Found(
                "done" if led else "not done", f"the weights of {record} are {weights}", {"weights": str(weights)}
            )

        inputs = {"dns": self.settings.dns.model_dump() if self.settings.dns else None}
        with self.step("s90-traffic", inputs, probe=look) as step:
            if not self.apply:
                return self.shown(step, cutover_plan.of_record("s90-traffic", self.settings.dns, (0,)))
            if record is None:
                return self._undone(step.result, switches.no_record(0))
            if not step.skipped:
                simple = record.weights().simple
                step.result = {"weights": str(record.weights() if simple else record.lead(0))}
        return pd.DataFrame([{"record": str(record), **step.result}]).set_index("record")

    def stop_writers(self, cut_over: Token) -> pd.DataFrame:
        """Switches the new pipeline off, so that the target stands still."""
        require(cut_over, CUT_OVER, apply=self.apply)
        return self._switched("s90-modern-dag", self._modern_off)

    def notify(self, cut_over: Token) -> pd.DataFrame:
        """Tells the stakeholders; says so where nobody was told."""
        require(cut_over, CUT_OVER, apply=self.apply)
        secret = self.settings.notify.webhook
        text = (
            f"rollback of {self.settings.source.dbname} (profile {self.settings.profile}): readers are on the old side, which "
            "takes no writes until what was written to the new one has been brought back"
        )
        with self.step("s90-notify", {"text": text}) as step:
            if not self.apply:
                return self.shown(
                    step, cutover_plan.of_one("s90-notify", "tell the stakeholders", "the webhook, if one is set", text)
                )
            why = Webhook(secret.get_secret_value()).send(text) if secret else "no webhook is configured"
            step.result = {"told": why is None, "why": why or ""}
            self._found["s90-notify"] = (
                [switches.not_told([why])] if why else [Finding("note", "the webhook", "took the message")]
            )
        return self.findings("s90-notify")

    def compare(self, cut_over: Token) -> Token:
        """Finds what was written to the target since, and tries all of it out in a transaction that is rolled back."""
        require(cut_over, CUT_OVER, apply=self.apply)
        return self._over(FITS) or self._checked(FITS, self._of_differences())

    def differences(self) -> pd.DataFrame:
        """What would come back, a row a table."""
        tables = self._plan.tables if self._plan else ()
        rows = [(str(t), *(len(t.of(kind)) for kind in rollback.KINDS)) for t in tables]
        return pd.DataFrame(rows, columns=["table", *rollback.KINDS]).set_index("table")

    def recover(self, fits: Token) -> pd.DataFrame:
        """Brings it back, in one transaction."""
        require(fits, FITS, apply=self.apply)
        if self._is_over():
            return self.differences()
        with self.step("s90-recovery", {"source": postgres.address(self.settings.source)}, probe=self._is_back) as step:
            if not self.apply or self._plan is None:
                what = f"bring back to {postgres.address(self.settings.source)} what was written to the target since the cutover"
                one = cutover_plan.of_one(
                    "s90-recovery", what, "rows by key", "insert, update, delete in one transaction"
                )
                return self.shown(step, one)
            if not step.skipped:
                with self.timed("bring back"):
                    done = rollback.bring_back(self._plan)
                step.result = {
                    "rows": {name: dict(kinds) for name, kinds in done.items()},
                    "changes": self._plan.changes,
                }
        rows = [
            (name, *(kinds[kind] for kind in rollback.KINDS)) for name, kinds in step.result.get("rows", {}).items()
        ]
        return pd.DataFrame(rows, columns=["table", *rollback.KINDS]).set_index("table")

    def verify(self) -> Token:
        """The gate in front of unfreezing: the source holds what the target holds, cell by cell."""
        return self._over(EQUAL) or self._checked(EQUAL, self._of_both())

    def unfreeze(self, equal: Token) -> pd.DataFrame:
        """Lets the application write to the source again, with exactly the settings from before."""
        require(equal, EQUAL, apply=self.apply)
        before = self._former()
        names = [f"{each.value or 'unset'}{f' for {each.role}' if each.role else ''}" for each in before]
        with self.step("s90-unfreeze", {"former": names}, probe=self._is_unfrozen) as step:
            if not self.apply:
                one = cutover_plan.of_one("s90-unfreeze", "let writers in again", f"database {self.settings.source.dbname}", "the setting from before the freeze")  # fmt: skip
                return self.shown(step, one)
            if not step.skipped:
                left = freeze.unfreeze(self.settings.source, before)
                step.result = {"restored": names, "read-only until they connect anew": [str(each) for each in left]}
        return pd.DataFrame({freeze.SETTING: step.result.get("restored", names)})

    def start_legacy(self, equal: Token) -> pd.DataFrame:
        """Switches the former pipeline on again, now that the source takes its writes."""
        require(equal, EQUAL, apply=self.apply)
        return self._switched("s90-legacy-dag", self._legacy_on)

    def immediate(self) -> Token:
        """Whether readers, pipelines and people are where the checklist's immediate actions want them."""
        return self._checked("s90-immediate", self._of_old_side())

    def minutes(self) -> pd.DataFrame:
        """Planned and actual minutes, box by box."""
        return earlier.minutes(self.run.view(), ROLLBACK, "A")

    def summary(self) -> str:
        """One sentence."""
        if not self.apply:
            return "REHEARSED: nothing was changed; `runbook rehearse-rollback` takes data there and back on a scratch copy"
        done = self.run.view()["s90-recovery"].result or {}
        return f"ROLLED BACK: {done.get('changes', 0):,} rows came back, source and target are equal, and the source serves"

    def _of_cutover(self) -> Iterator[Finding]:
        found = self.run.view()
        approved = found[APPROVED].result
        fix = "a rollback undoes a cutover of its own run: name that run with --run"
        if approved is None:
            yield Finding("stop" if self.apply else "note", "the cutover", "this run has approved none", fix)
            return
        yield Finding("note", "the approval", f"by {', '.join(map(str, approved.get('approved_by', ())))}")
        for name in ("s50-freeze", "s50-delta", "s50-final-gate"):
            if found[name].result is None:
                yield Finding(
                    "stop", name, "it was not done in this run, so there is no final state to go back from", fix
                )
        yield Finding("note", "the source", f"is {'' if freeze.is_frozen(self.settings.source) else 'not '}frozen")

    def _of_differences(self) -> Iterator[Finding]:
        delta = self.run.view()["s50-delta"].result or {}
        with self.timed("compare"), progress("compare") as report:
            folder = report_path("rollback.json").with_suffix("")
            self._plan = rollback.plan_rollback(
                self.settings, str(delta.get("export")), cells_folder=folder, progress=report
            )
        fix = "settle it by hand, then run the same command again; nothing was changed"
        for why in self._plan.refused:
            yield Finding("stop", "the differences", why, fix)
        if not self._plan.refused:
            rollback.try_out(self._plan)
            kinds = ", ".join(f"{self._plan.rows(kind):,} to {kind}" for kind in rollback.KINDS)
            yield Finding("note", "the differences", f"{kinds}: tried out in a transaction that was rolled back")

    def _of_both(self) -> Iterator[Finding]:
        report = self._compared()
        fix = "somebody still writes to the target: stop it, then run this notebook again"
        for each in report.tables:
            equal = each.verdict == "equal"
            yield Finding("note" if equal else "stop", str(each), each.differences or each.method, "" if equal else fix)
        if not report.tables:
            yield Finding("stop", "the target", "nothing was compared", fix)

    def _of_old_side(self) -> Iterator[Finding]:
        if (record := switches.record(self.settings)) is None:
            yield switches.no_record(0)
        else:
            weights = record.weights()
            led = weights.share == 0 or weights.simple
            yield Finding(
                "note" if led else "stop",
                str(record),
                f"its weights are {weights}",
                "" if led else "run this notebook again",
            )
        if (scheduler := switches.scheduler(self.settings)) is None:
            yield switches.no_scheduler(Dags(on=self._legacy_on.on, off=self._modern_off.off))
        else:
            found = Dags(on=self._legacy_on.on, off=self._modern_off.off).found(scheduler)
            yield Finding("note" if found.answer == "done" else "stop", "Airflow", found.how, "run this notebook again")
        yield from self._found.get("s90-notify", ())

    def _compared(self) -> Report:
        folder = report_path("verify-rollback.json").with_suffix("")
        with progress("compare") as report, verify.planned(
            self.settings, target="snowflake", cells_folder=folder, progress=report
        ) as plan:  # fmt: skip
            return verify.verify(plan, progress=report)

    def _switched(self, name: str, dags: Dags) -> pd.DataFrame:
        scheduler = switches.scheduler(self.settings) if self.apply else None

        def look(load_id: str, result: Mapping[str, Any]) -> Found:
            return dags.found(scheduler) if scheduler else Found("not done", "no scheduler is configured")

        with self.step(name, {"on": list(dags.on), "off": list(dags.off)}, probe=look) as step:
            if not self.apply:
                return self.shown(step, _plan_of(name, dags))
            if scheduler is None:
                return self._undone(step.result, switches.no_scheduler(dags))
            if not step.skipped:
                dags.switch(scheduler)
                step.result = {"dags": dags.states(scheduler)}
        return pd.DataFrame({"dag": list(step.result["dags"]), "on": list(step.result["dags"].values())}).set_index(
            "dag"
        )

    def _undone(self, result: dict[str, Any], finding: Finding) -> pd.DataFrame:
        result.update({NOT_APPLICABLE: finding.what})
        return table([finding])

    def _checked(self, name: str, found: Iterator[Finding]) -> Token:
        def look() -> list[Finding]:
            self._found[name] = list(found)
            return self._found[name]

        return self.check(name, look, acted=True)

    def _is_over(self) -> bool:
        """Whether the source serves again since this run's freeze: what it takes now, nobody may compare with the target."""
        if not self.apply:
            return False
        found = self.run.view()
        frozen, served = found["s50-freeze"].started, found["s90-unfreeze"].done
        return served is not None and served.n > (frozen.n if frozen else 0)

    def _over(self, name: str) -> Token | None:
        if not self._is_over():
            return None
        done = self.run.view()[name].result or {}
        print(f"{name}: the source serves again; what was found before that stands")  # noqa: T201
        return gate(name, done.get("stops") == 0, evidence=done, next_step="begin a new run")

    def _former(self) -> tuple[Stored, ...]:
        approved = self.run.view()[APPROVED].result
        return former(approved) if approved else freeze.plan_freeze(self.settings.source).former

    def _is_back(self, load_id: str, result: Mapping[str, Any]) -> Found:
        """The differences are looked at above: a plan without changes says that they are back."""
        if self._plan is None or self._plan.changes:
            return Found("not done", f"{self._plan.changes if self._plan else 'unknown'} rows differ still")
        return Found("done", "source and target do not differ", result)

    def _is_unfrozen(self, load_id: str, result: Mapping[str, Any]) -> Found:
        now = freeze.plan_freeze(self.settings.source).former
        done = set(now) == set(self._former())
        return Found(
            "done" if done and result else "not done",
            f"{freeze.SETTING} is {'as before' if done else 'not as before'}",
            result,
        )


def _plan_of(name: str, dags: Dags) -> StepPlan:
    return cutover_plan.of_dags(name, dags.on, dags.off)
