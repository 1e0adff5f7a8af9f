"""The first half of phase 5 of the checklist, the production cutover, as the steps of `runbooks/50_cutover.ipynb`.

Until the scheduler is switched, everything can be undone by unfreezing the source. From then on the target takes writes that
the source does not have: what was carried over is not carried over again, and the way back is `90_rollback`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from helpers import certify, checklist, export, load
from helpers.assessment import hybrid
from helpers.cutover import health, last_difference
from helpers.cutover.health import Health
from helpers.engines import destination
from helpers.errors import MigrationError, UsageError
from helpers.finding import Finding, failed, judged, note, stop
from helpers.frames import frame
from helpers.ledger.gate import Token, gate, rehearse, require
from helpers.ledger.steps import Found, Probe
from helpers.model import manifest
from helpers.model.catalog import Catalog
from helpers.model.globs import left_by_profile
from helpers.model.places import place
from helpers.phases.common import earlier, switches
from helpers.phases.common.plan import StepPlan, plan_step
from helpers.phases.common.switches import Switches, Switching, cut_over, plan_change, plan_tables
from helpers.platforms import postgres
from helpers.platforms.dns import Record
from helpers.platforms.s3 import Bucket
from helpers.progress import progress
from helpers.source import freeze, held_snapshots, snapshot
from helpers.source.freeze import SETTING, FreezePlan, Stored
from helpers.source.held_snapshots import Snapshot

PHASE = "50_cutover"
PREFLIGHT, APPROVED, HOLDS, FINAL = "s50-preflight", "s50-cutover", "s50-freeze-holds", "s50-final-gate"

SWITCHED = ("s50-dags", "s50-traffic")
"""Steps from whose start on the new side may have been written to."""

BACK = "s90-unfreeze"
"""The step of the rollback after which the source serves again."""

_HEALTH = ("queries", "failed", "95th percentile (s)")

_WAYS = {"s50-dags": "the scheduler", "s50-dns": "the record that readers follow", "s50-traffic": "the readers"}
"""Steps that lead to the new side what led to the old one."""


class Cutover(Switching):
    """One walk through the cutover; see `Phase` for what it takes and raises."""

    def __init__(self, profile: str, option: str, *, apply: bool | None) -> None:
        super().__init__(profile, option, apply=apply)
        self._bucket = Bucket.open(self.settings.stage)
        self._snapshot: Snapshot | None = None
        self._found: Catalog | None = None
        self._plan = pd.DataFrame()
        self._dags = cut_over(self.settings.dags, option)

    @property
    def _refreshes(self) -> bool:
        """Whether the source goes on: option B freezes nothing, and the tables that move are refreshed in a snapshot."""
        return self.option == "B"

    def preflight(self) -> Token:
        """Whether every earlier box of this run is done; a rehearsal says what is missing and stops nothing."""
        return self.preflight_check(PREFLIGHT, self._missing(), "would look at every earlier box")

    def window(self) -> pd.DataFrame:
        """Who has given their word on the maintenance window."""
        return self.words("s50-window")

    def approve_plan(self, checked: Token) -> Token:
        """Has the whole cutover approved, with the rollback that undoes it; the token lets the steps behind it act."""
        require(checked, PREFLIGHT, apply=self.apply)
        former = self._former()
        plan = self._plan_cutover(former)
        self._plan = plan.objects
        with self.step(APPROVED, plan.result()) as step:
            if not self.apply:
                self.shown(step, plan)
                return rehearse(APPROVED, plan.result())
            if not step.skipped:
                by = self.approve(plan).by
                step.result = {**plan.result(), "approved_by": list(by), "former": [asdict(each) for each in former]}
        return gate(APPROVED, True, evidence=step.result, next_step="")

    def plan(self) -> pd.DataFrame:
        """What is approved: a row for each object, and what the rollback does to it."""
        return self._plan

    def freeze(self, approved: Token) -> pd.DataFrame:
        """Keeps writers out of the source; a row for each session that was ended."""
        require(approved, APPROVED, apply=self.apply)
        if "s50-freeze" in self.absent:
            return self.passed_over("s50-freeze")
        source, limits = self.settings.source, self.settings.cutover
        plan = replace(freeze.plan_freeze(source), former=self._former())
        with self.step("s50-freeze", {"source": postgres.address(source)}, probe=self._is_frozen) as step:
            if not self.apply:
                return self.shown(step, _plan_freeze(plan))
            if not step.skipped:
                with self.timed("freeze"):
                    frozen = freeze.freeze(plan, patience=limits.patience_seconds, end_writers=limits.end_writers)
                step.result = {"ended": [str(each) for each in frozen.ended], "waited_seconds": round(frozen.waited, 1)}
        return pd.DataFrame({"session ended": step.result.get("ended", [])})

    def holds(self) -> Token:
        """Tries to write as the application, and looks for whoever writes all the same."""
        return self.check(HOLDS, self._try_to_write, acted=True)

    def delta(self, holding: Token) -> pd.DataFrame:
        """Exports again the tables that have changed since the first export; the others keep their files."""
        require(holding, HOLDS, apply=self.apply)
        if self._is_past("s50-delta"):
            return self._carried()
        with self.step("s50-delta", {"source": postgres.address(self.settings.source)}, probe=self._is_staged) as step:
            if not self.apply:
                what = f"read again what differs from the digests in the manifest at {self._bucket.location}"
                return self.shown(step, plan_tables("s50-delta", what, self._catalog().tables, "export, if changed"))
            if not step.skipped:
                self._snapshot = snapshot.take(self.settings.source)
                with self.timed("final export"), progress("export") as report:
                    delta = last_difference.plan_delta(self.settings, self._bucket, self._snapshot, progress=report)
                    # What the load would refuse is refused before anything is written.
                    load.plan_load(delta.export.unwritten, self._bucket, self.settings.main_target)
                    own = export.marked(delta.export, step.load_id, progress=report)
                    written = export.export(own, progress=report)
                step.result = {
                    "export": written.export, "lsn": written.lsn, "changed": list(delta.changed),
                    "kept": list(delta.kept), "rows": delta.rows,
                }  # fmt: skip
        return self._carried(step.result)

    def load(self) -> pd.DataFrame:
        """Loads the changed tables, each in one transaction."""
        target = self.settings.main_target
        if self._is_past("s50-delta-load"):
            return pd.DataFrame()
        delta = self.run.view()["s50-delta"].result if self.apply else None
        if self.apply and delta is None:
            why = "it was not exported in this run"
            cure = "run the cells above first"
            raise UsageError("load the final delta", on="runbook 50_cutover", why=why, next_step=cure)
        inputs = {"target": destination(target).where, "delta": delta or {}}
        with self.step("s50-delta-load", inputs, probe=self._is_loaded) as step:
            if not self.apply or delta is None:
                what = f"replace the rows of the changed tables in {destination(target).where}"
                return self.shown(step, plan_tables("s50-delta-load", what, self._catalog().tables, "load, if changed"))
            if not step.skipped:
                with self.timed("final load"), progress("load") as report:
                    final = manifest.read(self._bucket).placed(self.settings.tables)
                    plan = last_difference.plan_load(final, self._bucket, target, delta["changed"])
                    done = load.load(plan, load_id=step.load_id, progress=report)
                step.result = {"tables": [each.table for each in done], "rows": plan.rows}
        return pd.DataFrame({"table loaded": step.result.get("tables", [])})

    def verify(self) -> Token:
        """The gate in front of every switch: source and target are equal, cell by cell, while nobody writes, or in one snapshot."""
        if self._is_past(FINAL):
            done = self.run.view()[FINAL].result or {}
            return gate(FINAL, done.get("stops") == 0, evidence=done, next_step="roll back: runbook run 90_rollback")
        fix = "look at the differing cells"
        if not self._refreshes:
            fix += "; unfreeze the source if it takes long: runbook run 90_rollback"
        try:
            return self.check(FINAL, lambda: self.check_target("verify-final", fix), acted=True)
        finally:
            if self._snapshot:
                held_snapshots.release(self._snapshot)
                self._snapshot = None

    def dags(self, compared: Token) -> pd.DataFrame:
        """Switches the scheduler; from here on the new side is written to."""
        require(compared, FINAL, apply=self.apply)
        return self.switch_dags("s50-dags", self._dags)

    def record(self, compared: Token) -> pd.DataFrame:
        """Makes the readers' record a weighted one that leads everybody to the old side still."""
        require(compared, FINAL, apply=self.apply)
        if "s50-dns" in self.absent:
            return self.passed_over("s50-dns")
        with self.step("s50-dns", self.dns_inputs(), probe=self._is_led(None)) as step:
            if not self.apply:
                return self.shown(step, self.plan_record("s50-dns", (0,)))
            if (record := switches.connect_record(self.settings)) is None:
                return self.not_done(step, switches.no_record(0))
            if not step.skipped:
                before = record.weights()
                step.result = {"record": str(record), "before": str(before), "now": str(record.lead(before.share or 0))}
        return pd.DataFrame([step.result]).set_index("record")

    def traffic(self, compared: Token) -> pd.DataFrame:
        """Leads readers over step by step; behind each step the target is asked, and too many errors lead them back.

        Raises:
            GateClosed: a threshold was exceeded; the readers are on the old side again, and the modern DAGs are off.
        """
        require(compared, FINAL, apply=self.apply)
        if "s50-traffic" in self.absent:
            return self.passed_over("s50-traffic")
        dns = self.settings.dns
        with self.step("s50-traffic", self.dns_inputs(), probe=self._is_led(100)) as step:
            if not self.apply:
                return self.shown(step, self.plan_record("s50-traffic", dns.steps if dns else ()))
            record = switches.connect_record(self.settings)
            if record is None or dns is None:
                return self.not_done(step, switches.no_record(100))
            if not step.skipped:
                with self.timed("lead readers over"):
                    step.result = {"record": str(record), "steps": list(self._led(record, dns.steps, dns.seconds))}
        return frame(step.result["steps"], "share", "weights", *_HEALTH)

    def monitor(self) -> Token:
        """Whether the new side answers, and everything is switched as approved."""
        return self.check("s50-monitor", self._look_at_the_new_side, acted=True)

    def milestone(self) -> Token:
        """Whether every box of the phase is done."""
        boxes = (s for s in checklist.steps_for_option(self.option) if s.phase == PHASE and s.id != "s50-milestone")
        return self.check("s50-milestone", lambda: earlier.open_boxes(self.run.view(), boxes), acted=True)

    def minutes(self) -> pd.DataFrame:
        """Planned and actual minutes, box by box."""
        return earlier.minutes(self.run.view(), PHASE, self.option)

    def summary(self) -> str:
        """One sentence."""
        if not self.apply:
            return f"REHEARSED: {len(self._catalog().tables)} tables would be cut over; nothing was changed"
        done = self.run.view()["s50-delta"].result or {}
        others = [what for step, what in _WAYS.items() if step in self.absent]
        rest = f"; not switched by this run: {', '.join(others)}" if others else ""
        if self._refreshes:
            return f"REFRESHED at LSN {done.get('lsn')}: the target holds what moved, and both pipelines stay on{rest}"
        return f"CUT OVER at LSN {done.get('lsn')}: the source is frozen, and the target holds what it held{rest}"

    def _plan_cutover(self, former: Sequence[Stored]) -> StepPlan:
        """All of it, and the rollback that is approved with it."""
        limits, tables, dns = self.settings.cutover, self._catalog().tables, self.settings.dns
        rows = [] if self._refreshes else list(_frozen(self.settings.source.dbname, former))
        for table in tables:
            key = ", ".join(table.key)
            back = (
                f"by key ({key})" if key else "not at all: it has no key, and a rollback refuses if it was written to"
            )
            if table.in_part:
                back = f"not at all ({table.in_part}), and a rollback refuses if it was written to"
            back = "none: PostgreSQL stays the original" if self._refreshes else f"rollback: {back}"
            action = "; ".join(filter(None, ("carry over if changed, compare every cell", table.in_part_because)))
            rows.append((str(table), action, back))
        rows += [(name, f"leave: {why}", "") for name, why in left_by_profile(self._catalog().left_out).items()]
        if self._refreshes:
            across = "foreign key between the sides: nobody enforces it afterwards"
            rows += [(f"{a} → {b}", across, "") for a, b in hybrid.split(self.settings).references]
        undone = switches.rolled_back(self.settings.dags)
        for dag in (*self._dags.off, *self._dags.on):
            then = "on" if dag in undone.on else "off" if dag in undone.off else "as it is"
            if self._refreshes and dag in self.settings.dags.legacy:
                rows.append((dag, "stay on", ""))
            else:
                rows.append((dag, f"switch {'on' if dag in self._dags.on else 'off'}", f"rollback: {then}"))
        rows += switches.record_weights(dns, dns.steps if dns else ())
        too_bad = "more: back to the old side"
        rows.append(("threshold: failed queries", f"at most {limits.max_error_rate:.1%} of {limits.probes}", too_bad))
        slow = "threshold: 95th percentile of the latency"
        rows.append((slow, f"at most {limits.max_latency_seconds:g} s", too_bad))
        where = destination(self.settings.main_target).where
        start = f"freeze {self.settings.source.dbname}, carry the last difference"
        if self._refreshes:
            start = (
                f"freeze nothing: {self.settings.source.dbname} goes on. Carry what has changed in the tables that move"
            )
        what = f"{start} over to {where}, switch the scheduler and the readers"
        totals = {"tables": len(tables), "steps_of_the_switch": len(dns.steps) if dns else 0}
        columns = ("object", "action", "afterwards")
        return plan_step(APPROVED, what, rows, *columns, cost=switches.NO_COST, totals=totals)

    def _missing(self) -> Iterator[Finding]:
        if HOLDS not in self.absent:
            yield from self._who_tries()
        yield from self._is_certified()
        if self.run.ledger is None:
            yield note("the ledger", "outside a run nothing is known of earlier phases")
            return
        yield from earlier.open_boxes(
            self.run.view(), (s for s in checklist.steps_for_option(self.option) if s.phase < PHASE)
        )

    def _is_certified(self) -> Iterator[Finding]:
        """Whether the target still is the engine that answered golden questions: found out now, and not while the source is frozen."""
        for target in self.settings.targets:
            try:
                yield note(target, certify.require(self.settings, target).summary)
            except MigrationError as error:
                yield failed(target, error)

    def _who_tries(self) -> Iterator[Finding]:
        """As whom the freeze will be tried: found out now, and not while the source is frozen."""
        role = self.settings.cutover.application
        try:
            yield note("the freeze", f"it is tried as {freeze.who_writes(self.settings.source, role)}")
        except MigrationError as error:
            yield failed("the freeze", error)

    def _try_to_write(self) -> Iterator[Finding]:
        source, limits = self.settings.source, self.settings.cutover
        secret = limits.application_password.get_secret_value() if limits.application_password else None
        tried = freeze.try_a_write(source, role=limits.application, password=secret)
        fix = "find out who overrides the read-only default, revoke their write privileges, then run this cell again"
        yield judged(tried.refused, "a write", tried.how, fix)
        for session in freeze.writers(source):
            yield stop("a session", f"writes all the same: {session}", fix)

    def _look_at_the_new_side(self) -> Iterator[Finding]:
        found, fix = self._health(), "roll back: runbook run 90_rollback --apply in this run"
        answered = f"{found.asked - found.failed} of {found.asked} queries answered"
        yield note("the target", f"{answered}, 95th percentile {found.latency:.2f} s")
        for why in found.exceeds(self.settings.cutover):
            yield stop("the target", why, fix)
        yield from self.check_switches(100, self._dags, fix, readers="s50-traffic", scheduler="s50-dags")

    def _led(self, record: Record, steps: tuple[int, ...], seconds: float) -> Iterator[list[Any]]:
        """Goes on where the record says that the switch stands."""
        now = record.weights().share or 0
        for share in (each for each in steps if each >= now):
            weights = record.lead(share)
            time.sleep(seconds)
            found = self._health()
            if why := found.exceeds(self.settings.cutover):
                record.lead(0)
                if scheduler := switches.connect_scheduler(self.settings):
                    Switches(on=(), off=self.settings.dags.modern).switch(scheduler)
                gate(
                    "s50-traffic", False, evidence={"at": f"{share} %", "why": why, "now": str(record.weights())},
                    next_step="the readers are on the old side again, which is frozen still: "
                    "runbook run 90_rollback --apply in this run brings back what was written, and unfreezes it",
                )  # fmt: skip
            yield [share, str(weights), found.asked, found.failed, round(found.latency, 3)]

    def _health(self) -> Health:
        largest = max(self._catalog().tables, key=lambda t: (t.estimated_rows, t.name))
        target = self.settings.main_target
        counted = place(self.settings.tables, largest.schema, largest.name, target.schema_)
        return health.probe(target, self.settings.cutover, counted)

    def _carried(self, done: Mapping[str, Any] | None = None) -> pd.DataFrame:
        done = done or self.run.view()["s50-delta"].result or {}
        rows = [(name, "exported again") for name in done.get("changed", ())]
        rows += [(name, "unchanged: its files stay") for name in done.get("kept", ())]
        return frame(rows, "table", "what")

    def _is_past(self, name: str) -> bool:
        """Whether the new side may have been written to since, so that carrying over again would undo its writes."""
        if not self.apply or self._refreshes:
            return False
        found = self.run.view()
        back = found[BACK].done
        past = any(each and each.n > (back.n if back else 0) for each in (found[step].started for step in SWITCHED))
        if past:
            print(f"{name}: behind the point of no return; what was carried over stands as it is")  # noqa: T201
        return past

    def _former(self) -> tuple[Stored, ...]:
        """What was stored before the freeze, which the ledger knows once it is frozen."""
        if self._refreshes:
            return ()
        now = freeze.plan_freeze(self.settings.source).former
        known = self.run.view()[APPROVED].result or {}
        return former_settings(known) if "former" in known and freeze.is_frozen(self.settings.source) else now

    def _catalog(self) -> Catalog:
        self._found = self._found or self.source_catalog()
        return self._found

    def _is_frozen(self, load_id: str, result: Mapping[str, Any]) -> Found:
        yes = freeze.is_frozen(self.settings.source)
        how = f"the source {'keeps' if yes else 'does not keep'} writers out"
        # Without a result nothing says that the sessions from before it were ended.
        return Found("done" if yes and result else "not done", how, result)

    def _is_staged(self, load_id: str, result: Mapping[str, Any]) -> Found:
        found = export.find_marked(self._bucket, load_id)
        done = bool(found and result)
        if found and self._refreshes:
            # The source goes on: only in the export's own snapshot is it still what was exported.
            done = done and snapshot.is_held(self.settings.source, found.snapshot)
        how = f"the manifest at {self._bucket.location} is {'' if done else 'not '}of this export"
        return Found("done" if done else "not done", how, result)

    def _is_loaded(self, load_id: str, result: Mapping[str, Any]) -> Found:
        changed = (self.run.view()["s50-delta"].result or {}).get("changed", ())
        final = manifest.read(self._bucket).placed(self.settings.tables)
        done, how = last_difference.is_loaded(final, self._bucket, self.settings.main_target, changed, load_id)
        return Found("done" if done else "not done", how, result)

    def _is_led(self, share: int | None) -> Probe:
        def look(load_id: str, result: Mapping[str, Any]) -> Found:
            if (record := switches.connect_record(self.settings)) is None:
                return Found("not done", "no record is configured")
            weights = record.weights()
            done = weights.share is not None and share in (None, weights.share)
            return Found("done" if done and result else "not done", f"the weights of {record} are {weights}", result)

        return look


def former_settings(result: Mapping[str, Any]) -> tuple[Stored, ...]:
    """The settings from before the freeze, as the approved step recorded them."""
    return tuple(Stored(each["role"], each["value"]) for each in result["former"])


def _plan_freeze(plan: FreezePlan) -> StepPlan:
    """The settings that are stored, and who would be ended."""
    rows = list(_frozen(plan.source.dbname, plan.former))
    rows += [(role, f"{SETTING} of its own, for this database: on", "taken away") for role in plan.overriding]
    rows += [(str(session), "ended, unless it goes", "reconnects") for session in plan.sessions]
    what = f"make new transactions in {plan.source.dbname} read-only, and end the sessions from before"
    return replace(plan_change("s50-freeze", what, rows, "objects"), totals={"sessions": len(plan.sessions)})


def _frozen(database: str, former: Sequence[Stored]) -> Iterator[tuple[str, str, str]]:
    for each in former:
        name = f"database {database}" if each.role is None else f"role {each.role} in database {database}"
        yield name, f"{SETTING}: on", f"rollback: {each.value or 'unset'}"
