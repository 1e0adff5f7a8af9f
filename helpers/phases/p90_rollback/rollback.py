"""The rollback plan of the checklist, as the steps of `runbooks/90_rollback.ipynb`.

It was approved together with the cutover that it undoes. First readers and writers leave the target; then what was written
there since the cutover is brought back and compared; then the source serves again. If nothing was cut over, the first gate
says that there is nothing to roll back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from helpers.checklist import ROLLBACK
from helpers.cutover import rollback
from helpers.cutover.rollback import RollbackPlan
from helpers.finding import Finding, note, stop, warning
from helpers.frames import frame
from helpers.ledger.folders import report_path
from helpers.ledger.gate import Token, gate, require
from helpers.ledger.steps import Found
from helpers.phases.common import earlier, switches
from helpers.phases.common.switches import Switches, Switching, plan_change, rolled_back
from helpers.phases.p50_cutover.cutover import APPROVED, former_settings
from helpers.platforms import postgres
from helpers.progress import progress
from helpers.runs.notify import Webhook
from helpers.source import freeze
from helpers.source.freeze import Stored

CUT_OVER, FITS, EQUAL = "s90-preflight", "s90-compare", "s90-verify"


class Rollback(Switching):
    """One walk through the rollback; see `Phase` for what it takes and raises."""

    def __init__(self, profile: str, option: str = "A", *, apply: bool | None) -> None:
        super().__init__(profile, option, apply=apply)
        self._plan: RollbackPlan | None = None
        self._dags = rolled_back(self.settings.dags)

    def preflight(self) -> Token:
        """What this run has cut over, and that people have approved its way back with it."""
        return self.preflight_check(CUT_OVER, self._look_at_the_cutover(), "would look at what this run has cut over")

    def traffic(self, cut_over: Token) -> pd.DataFrame:
        """Leads every reader to the old side again."""
        require(cut_over, CUT_OVER, apply=self.apply)
        if "s90-traffic" in self.absent:
            return self.passed_over("s90-traffic")
        record = switches.connect_record(self.settings) if self.apply else None

        def probe(load_id: str, result: Mapping[str, Any]) -> Found:
            if record is None:
                return Found("not done", "no record is configured")
            weights = record.weights()
            answer, how = (
                "done" if switches.leads_to(weights, 0) else "not done",
                f"the weights of {record} are {weights}",
            )
            return Found(answer, how, {"weights": str(weights)})  # type: ignore[arg-type]

        with self.step("s90-traffic", self.dns_inputs(), probe=probe) as step:
            if not self.apply:
                return self.shown(step, self.plan_record("s90-traffic", (0,)))
            if record is None:
                return self.not_done(step, switches.no_record(0))
            if not step.skipped:
                simple = record.weights().simple
                step.result = {"weights": str(record.weights() if simple else record.lead(0))}
        return pd.DataFrame([{"record": str(record), **step.result}]).set_index("record")

    def stop_writers(self, cut_over: Token) -> pd.DataFrame:
        """Switches the new pipeline off, so that the target stands still."""
        require(cut_over, CUT_OVER, apply=self.apply)
        return self.switch_dags("s90-modern-dag", Switches(on=(), off=self._dags.off))

    def notify(self, cut_over: Token) -> pd.DataFrame:
        """Tells the stakeholders; says so where nobody was told."""
        require(cut_over, CUT_OVER, apply=self.apply)
        if "s90-notify" in self.absent:
            return self.passed_over("s90-notify")
        secret = self.settings.notify.webhook
        text = (
            f"rollback of {self.settings.source.dbname} (profile {self.settings.profile}): readers are on the old side, which "
            + (
                "was written to all along"
                if "s50-freeze" in self.absent
                else "takes no writes until what was written to the new one has been brought back"
            )
        )
        with self.step("s90-notify", {"text": text}) as step:
            if not self.apply:
                rows = [("the webhook, if one is set", text, "")]
                return self.shown(step, plan_change("s90-notify", "tell the stakeholders", rows, "objects"))
            why = Webhook(secret.get_secret_value()).send(text) if secret else "no webhook is configured"
            step.result = {"told": why is None, "why": why or ""}
            fix = "tell them yourself, or add [profiles.NAME.notify] webhook to migration.toml"
            nobody = warning("stakeholders", f"nobody was told ({why})", fix)
            self.found["s90-notify"] = [nobody if why else note("the webhook", "took the message")]
        return self.findings("s90-notify")

    def compare(self, cut_over: Token) -> Token:
        """Finds what was written to the target since, and tries all of it out in a transaction that is rolled back."""
        require(cut_over, CUT_OVER, apply=self.apply)
        return self._over(FITS) or self.check(FITS, self._try_out, acted=True)

    def differences(self) -> pd.DataFrame:
        """What would come back, a row a table."""
        tables = self._plan.tables if self._plan else ()
        return frame(
            ((str(t), *(len(t.of(kind)) for kind in rollback.KINDS)) for t in tables), "table", *rollback.KINDS
        )

    def recover(self, fits: Token) -> pd.DataFrame:
        """Brings it back, in one transaction."""
        require(fits, FITS, apply=self.apply)
        if "s90-recovery" in self.absent:
            return self.passed_over("s90-recovery")
        if self._is_over():
            return self.differences()
        where = postgres.address(self.settings.source)
        with self.step("s90-recovery", {"source": where}, probe=self._is_back) as step:
            if not self.apply or self._plan is None:
                what = f"bring back to {where} what was written to the target since the cutover"
                one = ("rows by key", "insert, update, delete in one transaction", "")
                return self.shown(step, plan_change("s90-recovery", what, [one], "objects"))
            if not step.skipped:
                with self.timed("bring back"):
                    done = rollback.bring_back(self._plan)
                by_table = {name: dict(kinds) for name, kinds in done.items()}
                step.result = {"rows": by_table, "changes": self._plan.changes}
        found = step.result.get("rows", {})
        rows = ((name, *(kinds[kind] for kind in rollback.KINDS)) for name, kinds in found.items())
        return frame(rows, "table", *rollback.KINDS)

    def verify(self) -> Token:
        """The gate in front of unfreezing: the source holds what the target holds, cell by cell."""
        fix = "somebody still writes to the target: stop it, then run this notebook again"
        return self._over(EQUAL) or self.check(EQUAL, lambda: self.check_target("verify-rollback", fix), acted=True)

    def unfreeze(self, equal: Token) -> pd.DataFrame:
        """Lets the application write to the source again, with exactly the settings from before."""
        require(equal, EQUAL, apply=self.apply)
        if "s90-unfreeze" in self.absent:
            return self.passed_over("s90-unfreeze")
        before = self._former()
        names = [f"{each.value or 'unset'}{f' for {each.role}' if each.role else ''}" for each in before]
        with self.step("s90-unfreeze", {"former": names}, probe=self._is_unfrozen) as step:
            if not self.apply:
                rows = [(f"database {self.settings.source.dbname}", "the setting from before the freeze", "")]
                return self.shown(step, plan_change("s90-unfreeze", "let writers in again", rows, "objects"))
            if not step.skipped:
                left = freeze.unfreeze(self.settings.source, before)
                step.result = {"restored": names, "read-only until they connect anew": [str(each) for each in left]}
        return pd.DataFrame({freeze.SETTING: step.result.get("restored", names)})

    def start_legacy(self, equal: Token) -> pd.DataFrame:
        """Switches the former pipeline on again, now that the source takes its writes."""
        require(equal, EQUAL, apply=self.apply)
        return self.switch_dags("s90-legacy-dag", Switches(on=self._dags.on, off=()))

    def immediate(self) -> Token:
        """Whether readers, pipelines and people are where the checklist's immediate actions want them."""
        return self.check("s90-immediate", self._look_at_the_old_side, acted=True)

    def minutes(self) -> pd.DataFrame:
        """Planned and actual minutes, box by box."""
        return earlier.minutes(self.run.view(), ROLLBACK, self.option)

    def summary(self) -> str:
        """One sentence."""
        if not self.apply:
            return "REHEARSED: nothing was changed; `runbook rehearse-rollback` takes data there and back on a scratch copy"
        if "s90-recovery" in self.absent:
            return "ROLLED BACK: readers are on the old side, the new pipeline is off, and PostgreSQL went on all along"
        done = self.run.view()["s90-recovery"].result or {}
        return f"ROLLED BACK: {done.get('changes', 0):,} rows came back, source and target are equal, and the source serves"

    def _look_at_the_cutover(self) -> Iterator[Finding]:
        found = self.run.view()
        approved = found[APPROVED].result
        fix = "a rollback undoes a cutover of its own run: name that run with --run"
        if approved is None:
            said = stop if self.apply else note
            yield said("the cutover", "this run has approved none", fix)
            return
        yield note("the approval", f"by {', '.join(map(str, approved.get('approved_by', ())))}")
        for name in (n for n in ("s50-freeze", "s50-delta", "s50-final-gate") if n not in self.absent):
            if found[name].result is None:
                yield stop(name, "it was not done in this run, so there is no final state to go back from", fix)
        if "s50-freeze" not in self.absent:
            yield note("the source", f"is {'' if freeze.is_frozen(self.settings.source) else 'not '}frozen")

    def _try_out(self) -> Iterator[Finding]:
        delta = self.run.view()["s50-delta"].result or {}
        with self.timed("compare"), progress("compare") as report:
            self._plan = rollback.plan_rollback(
                self.settings, str(delta.get("export")), cells_folder=report_path("rollback.json").with_suffix(""), progress=report
            )  # fmt: skip
        fix = "settle it by hand, then run the same command again; nothing was changed"
        for why in self._plan.refused:
            yield stop("the differences", why, fix)
        if not self._plan.refused:
            rollback.try_out(self._plan)
            kinds = ", ".join(f"{self._plan.rows(kind):,} to {kind}" for kind in rollback.KINDS)
            yield note("the differences", f"{kinds}: tried out in a transaction that was rolled back")

    def _look_at_the_old_side(self) -> Iterator[Finding]:
        yield from self.check_switches(
            0, self._dags, "run this notebook again", readers="s90-traffic", scheduler="s90-modern-dag"
        )
        yield from self.found.get("s90-notify", ())

    def _is_over(self) -> bool:
        """Whether the source serves again since this run's freeze: what it takes now, nobody may compare with the target."""
        if not self.apply or "s90-unfreeze" in self.absent:
            return False
        found = self.run.view()
        frozen, served = found["s50-freeze"].started, found["s90-unfreeze"].done
        return served is not None and served.n > (frozen.n if frozen else 0)

    def _over(self, name: str) -> Token | None:
        if not self._is_over():
            return None
        done = self.run.view()[name].result or {}
        print(f"{name}: the source serves again; what was found before that stands")  # noqa: T201
        return gate(name, done.get("stops") == 0, evidence=done, next_step="start a new run")

    def _former(self) -> tuple[Stored, ...]:
        approved = self.run.view()[APPROVED].result
        return former_settings(approved) if approved else freeze.plan_freeze(self.settings.source).former

    def _is_back(self, load_id: str, result: Mapping[str, Any]) -> Found:
        """The differences are looked at above: a plan without changes says that they are back."""
        if self._plan is None or self._plan.changes:
            return Found("not done", f"{self._plan.changes if self._plan else 'unknown'} rows differ still")
        return Found("done", "source and target do not differ", result)

    def _is_unfrozen(self, load_id: str, result: Mapping[str, Any]) -> Found:
        same = set(freeze.plan_freeze(self.settings.source).former) == set(self._former())
        how = f"{freeze.SETTING} is {'as before' if same else 'not as before'}"
        return Found("done" if same and result else "not done", how, result)
