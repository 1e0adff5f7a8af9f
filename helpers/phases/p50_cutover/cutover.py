"""The first half of phase 5 of the checklist, the production cutover, as the steps of `runbooks/50_cutover.ipynb`.

Until the scheduler is switched, everything can be undone by unfreezing the source. From then on the target takes writes that
the source does not have: what was carried over is not carried over again, and the way back is `90_rollback`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from helpers import checklist, export, verify
from helpers.cutover import last_difference
from helpers.cutover.last_difference import Health
from helpers.errors import UsageError
from helpers.ledger.folders import report_path
from helpers.ledger.gate import Token, gate, rehearse, require
from helpers.ledger.steps import Found, Probe
from helpers.ledger.view import NOT_APPLICABLE
from helpers.load import snowflake as load
from helpers.model import manifest
from helpers.model.catalog import Table
from helpers.model.manifest import Manifest
from helpers.phases.common import cutover_plan, earlier, switches
from helpers.phases.common.phase import Finding, Phase, table
from helpers.phases.common.switches import Dags
from helpers.platforms import postgres
from helpers.platforms import snowflake as snowflake_platform
from helpers.platforms.dns import Record
from helpers.platforms.s3 import Bucket
from helpers.progress import progress
from helpers.source import freeze, held_snapshots, snapshot
from helpers.source.catalog import read_catalog
from helpers.source.freeze import Stored
from helpers.source.held_snapshots import Snapshot

PHASE = "50_cutover"
PREFLIGHT, APPROVED, HOLDS, FINAL = "s50-preflight", "s50-cutover", "s50-freeze-holds", "s50-final-gate"

SWITCHED = ("s50-dags", "s50-traffic")
"""Steps from whose start on the new side may have been written to."""

BACK = "s90-unfreeze"
"""The step of the rollback after which the source serves again."""


class Cutover(Phase):
    """One walk through the cutover.

    Args:
        profile: of migration.toml.
        option: the migration path, which decides what must be done before.
        apply: whether steps act; without it they return their plans.
    """

    def __init__(self, profile: str, option: str, *, apply: bool | None) -> None:
        super().__init__(profile, apply=apply)
        self.option = option
        self._bucket = Bucket.open(self.settings.stage)
        self._found: dict[str, list[Finding]] = {}
        self._snapshot: Snapshot | None = None
        self._tables: tuple[Table, ...] = ()
        self._plan = pd.DataFrame()
        limits = self.settings.cutover
        self._dags = Dags(on=limits.modern_dags, off=limits.legacy_dags)

    def preflight(self) -> Token:
        """Whether every earlier box of this run is done; a rehearsal says what is missing and stops nothing."""
        self._found[PREFLIGHT] = found = list(self._missing())
        if self.apply:
            return self.check(PREFLIGHT, lambda: found)
        with self.step(PREFLIGHT, {}) as step:
            step.result = {"what": "would look at every earlier box", "stops": sum(f.severity == "stop" for f in found)}
        return rehearse(PREFLIGHT, "the ledger was looked at, and nothing depends on it yet")

    def findings(self, name: str) -> pd.DataFrame:
        """What a check has said, the gravest first."""
        return table(self._found.get(name, []))

    def window(self) -> pd.DataFrame:
        """Who has given their word on the maintenance window."""
        return self.words("s50-window")

    def approve_plan(self, checked: Token) -> Token:
        """Has the whole cutover approved, with the rollback that undoes it; the token lets the steps behind it act."""
        require(checked, PREFLIGHT, apply=self.apply)
        former = self._former()
        plan = cutover_plan.of_cutover(self.settings, self._catalog(), former)
        self._plan = plan.objects
        with self.step(APPROVED, plan.result()) as step:
            if not self.apply:
                self.shown(step, plan)
                return rehearse(APPROVED, plan.result())
            if not step.skipped:
                print(plan)  # noqa: T201 - who is asked to approve it reads it here
                by = self.approve(plan).by
                step.result = {**plan.result(), "approved_by": list(by), "former": [asdict(each) for each in former]}
        return gate(APPROVED, True, evidence=step.result, next_step="")

    def plan(self) -> pd.DataFrame:
        """What is approved: a row for each object, and what the rollback does to it."""
        return self._plan

    def freeze(self, approved: Token) -> pd.DataFrame:
        """Keeps writers out of the source; a row for each session that was ended."""
        require(approved, APPROVED, apply=self.apply)
        source, limits = self.settings.source, self.settings.cutover
        plan = replace(freeze.plan_freeze(source), former=self._former())
        with self.step("s50-freeze", {"source": postgres.address(source)}, probe=self._is_frozen) as step:
            if not self.apply:
                return self.shown(step, cutover_plan.of_freeze(plan))
            if not step.skipped:
                with self.timed("freeze"):
                    frozen = freeze.freeze(plan, patience=limits.patience_seconds, end_writers=limits.end_writers)
                step.result = {"ended": [str(each) for each in frozen.ended], "waited_seconds": round(frozen.waited, 1)}
        return pd.DataFrame({"session ended": step.result.get("ended", [])})

    def holds(self) -> Token:
        """Tries to write as the application, and looks for whoever writes all the same."""
        return self._checked(HOLDS, self._of_freeze())

    def delta(self, holding: Token) -> pd.DataFrame:
        """Exports again the tables that have changed since the first export; the others keep their files."""
        require(holding, HOLDS, apply=self.apply)
        if self._is_past("s50-delta"):
            return self._carried()
        with self.step("s50-delta", {"source": postgres.address(self.settings.source)}, probe=self._is_staged) as step:
            if not self.apply:
                what = f"read again what differs from the digests in the manifest at {self._bucket.location}"
                return self.shown(
                    step, cutover_plan.of_tables("s50-delta", what, self._catalog(), "export, if changed")
                )
            if not step.skipped:
                self._snapshot = snapshot.take(self.settings.source)
                with self.timed("final export"), progress("export") as report:
                    delta = last_difference.plan_delta(self.settings, self._bucket, self._snapshot, progress=report)
                    # What the load would refuse is refused before anything is written.
                    load.plan_load(delta.export.unwritten, self._bucket, self.settings.snowflake)
                    written = export.export(
                        export.marked(delta.export, _mark(step.load_id), progress=report), progress=report
                    )
                step.result = {
                    "export": written.export, "lsn": written.lsn, "changed": list(delta.changed),
                    "kept": list(delta.kept), "rows": delta.rows,
                }  # fmt: skip
        return self._carried(step.result)

    def load(self) -> pd.DataFrame:
        """Loads the changed tables, each in one transaction."""
        target = self.settings.snowflake
        if self._is_past("s50-delta-load"):
            return pd.DataFrame()
        delta = self.run.view()["s50-delta"].result if self.apply else None
        if self.apply and delta is None:
            raise _out_of_order("load the final delta", "it was not exported in this run")
        inputs = {"target": snowflake_platform.address(target), "delta": delta or {}}
        with self.step("s50-delta-load", inputs, probe=self._is_loaded) as step:
            if not self.apply or delta is None:
                what = f"replace the rows of the changed tables in {snowflake_platform.address(target)}"
                return self.shown(
                    step, cutover_plan.of_tables("s50-delta-load", what, self._catalog(), "load, if changed")
                )
            if not step.skipped:
                with self.timed("final load"), progress("load") as report:
                    plan = last_difference.plan_load(self._final(), self._bucket, target, _names(delta["changed"]))
                    done = load.load(plan, load_id=step.load_id, progress=report)
                step.result = {"tables": [each.table for each in done], "rows": plan.rows}
        return pd.DataFrame({"table loaded": step.result.get("tables", [])})

    def verify(self) -> Token:
        """The gate in front of every switch: source and target are equal, cell by cell, while nobody writes."""
        if self._is_past(FINAL):
            done = self.run.view()[FINAL].result or {}
            return gate(FINAL, done.get("stops") == 0, evidence=done, next_step="roll back: runbook run 90_rollback")
        try:
            return self._checked(FINAL, self._of_target())
        finally:
            if self._snapshot:
                held_snapshots.release(self._snapshot)
                self._snapshot = None

    def dags(self, compared: Token) -> pd.DataFrame:
        """Switches the scheduler; from here on the new side is written to."""
        require(compared, FINAL, apply=self.apply)
        limits = self.settings.cutover
        inputs = {"on": list(self._dags.on), "off": list(self._dags.off)}
        scheduler = switches.scheduler(self.settings) if self.apply else None

        def look(load_id: str, result: Mapping[str, Any]) -> Found:
            return self._dags.found(scheduler) if scheduler else Found("not done", "no scheduler is configured")

        with self.step("s50-dags", inputs, probe=look) as step:
            if not self.apply:
                return self.shown(step, cutover_plan.of_dags("s50-dags", limits.modern_dags, limits.legacy_dags))
            if scheduler is None:
                return self._undone(step.result, switches.no_scheduler(self._dags))
            if not step.skipped:
                self._dags.switch(scheduler)
                step.result = {"dags": self._dags.states(scheduler)}
        return pd.DataFrame({"dag": list(step.result["dags"]), "on": list(step.result["dags"].values())}).set_index(
            "dag"
        )

    def record(self, compared: Token) -> pd.DataFrame:
        """Makes the readers' record a weighted one that leads everybody to the old side still."""
        require(compared, FINAL, apply=self.apply)
        with self.step("s50-dns", self._of_dns(), probe=self._is_led(None)) as step:
            if not self.apply:
                return self.shown(step, cutover_plan.of_record("s50-dns", self.settings.dns, (0,)))
            if (record := switches.record(self.settings)) is None:
                return self._undone(step.result, switches.no_record(0))
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
        dns = self.settings.dns
        with self.step("s50-traffic", self._of_dns(), probe=self._is_led(100)) as step:
            if not self.apply:
                return self.shown(step, cutover_plan.of_record("s50-traffic", dns, dns.steps if dns else ()))
            record = switches.record(self.settings)
            if record is None or dns is None:
                return self._undone(step.result, switches.no_record(100))
            if not step.skipped:
                with self.timed("lead readers over"):
                    step.result = {"record": str(record), "steps": list(self._led(record, dns.steps, dns.seconds))}
        return pd.DataFrame(step.result["steps"], columns=["share", "weights", *_HEALTH]).set_index("share")

    def monitor(self) -> Token:
        """Whether the new side answers, and everything is switched as approved."""
        return self._checked("s50-monitor", self._of_new_side())

    def milestone(self) -> Token:
        """Whether every box of the phase is done."""
        boxes = (s for s in checklist.of_option(self.option) if s.phase == PHASE and s.id != "s50-milestone")
        return self._checked("s50-milestone", earlier.open_boxes(self.run.view(), boxes))

    def minutes(self) -> pd.DataFrame:
        """Planned and actual minutes, box by box."""
        return earlier.minutes(self.run.view(), PHASE, self.option)

    def summary(self) -> str:
        """One sentence."""
        if not self.apply:
            return f"REHEARSED: {len(self._catalog())} tables would be cut over; nothing was changed"
        done = self.run.view()["s50-delta"].result or {}
        return f"CUT OVER at LSN {done.get('lsn')}: the source is frozen, and the target serves"

    def _missing(self) -> Iterator[Finding]:
        if self.run.ledger is None:
            yield Finding("note", "the ledger", "outside a run nothing is known of earlier phases")
            return
        yield from earlier.open_boxes(self.run.view(), (s for s in checklist.of_option(self.option) if s.phase < PHASE))

    def _checked(self, name: str, found: Iterator[Finding]) -> Token:
        def look() -> list[Finding]:
            self._found[name] = list(found)
            return self._found[name]

        return self.check(name, look, acted=True)

    def _of_freeze(self) -> Iterator[Finding]:
        source, limits = self.settings.source, self.settings.cutover
        secret = limits.application_password.get_secret_value() if limits.application_password else None
        tried = freeze.try_a_write(source, role=limits.application, password=secret)
        fix = "find out who goes round the default, take their right to write, then run this cell again"
        yield Finding("note" if tried.refused else "stop", "a write", tried.how, "" if tried.refused else fix)
        for session in freeze.writers(source):
            yield Finding("stop", "a session", f"writes all the same: {session}", fix)

    def _of_target(self) -> Iterator[Finding]:
        path = report_path("verify-final.json")
        with progress("compare") as report:
            planned = verify.planned(
                self.settings, target="snowflake", cells_folder=path.with_suffix(""), progress=report
            )
            with planned as plan:
                found = verify.verify(plan, progress=report)
        fix = "look at the differing cells; unfreeze the source if it takes long: runbook run 90_rollback"
        for each in found.tables:
            if each.verdict == "equal":
                yield Finding("note", str(each), f"equal, {each.rows_source or 0:,} rows, {each.method}")
            else:
                yield Finding("stop", str(each), f"{each.verdict}: {each.differences or each.method}", fix)
        if not found.tables:
            yield Finding("stop", "the target", "nothing was compared", fix)

    def _of_new_side(self) -> Iterator[Finding]:
        health, fix = self._health(), "roll back: runbook run 90_rollback --apply in this run"
        yield Finding("note", "the target", _told(health))
        for why in health.exceeds(self.settings.cutover):
            yield Finding("stop", "the target", why, fix)
        if (record := switches.record(self.settings)) is None:
            yield switches.no_record(100)
        else:
            weights = record.weights()
            wrong = weights.share != 100
            yield Finding("stop" if wrong else "note", str(record), f"its weights are {weights}", fix if wrong else "")
        if (scheduler := switches.scheduler(self.settings)) is None:
            yield switches.no_scheduler(self._dags)
        else:
            found = self._dags.found(scheduler)
            yield Finding("note" if found.answer == "done" else "stop", "Airflow", found.how, fix)

    def _led(self, record: Record, steps: tuple[int, ...], seconds: float) -> Iterator[list[Any]]:
        """Goes on where the record says that the switch stands."""
        now = record.weights().share or 0
        for share in (each for each in steps if each >= now):
            weights = record.lead(share)
            time.sleep(seconds)
            health = self._health()
            if why := health.exceeds(self.settings.cutover):
                record.lead(0)
                if scheduler := switches.scheduler(self.settings):
                    Dags(on=(), off=self._dags.on).switch(scheduler)
                gate(
                    "s50-traffic", False, evidence={"at": f"{share} %", "why": why, "now": str(record.weights())},
                    next_step="the readers are on the old side again, which is frozen still: "
                    "runbook run 90_rollback --apply in this run brings back what was written, and unfreezes it",
                )  # fmt: skip
            yield [share, str(weights), health.asked, health.failed, round(health.latency, 3)]

    def _health(self) -> Health:
        largest = max(self._catalog(), key=lambda t: (t.estimated_rows, t.name))
        return last_difference.probe(self.settings.snowflake, self.settings.cutover, largest.name)

    def _undone(self, result: dict[str, Any], finding: Finding) -> pd.DataFrame:
        """Says in the record and to the operator what a step did not do."""
        result.update({NOT_APPLICABLE: finding.what})
        return table([finding])

    def _carried(self, done: Mapping[str, Any] | None = None) -> pd.DataFrame:
        done = done or self.run.view()["s50-delta"].result or {}
        rows = [(name, "exported again") for name in done.get("changed", ())]
        rows += [(name, "unchanged: its files stay") for name in done.get("kept", ())]
        return pd.DataFrame(rows, columns=["table", "what"]).set_index("table")

    def _is_past(self, name: str) -> bool:
        """Whether the new side may have been written to since, so that carrying over again would undo its writes."""
        if not self.apply:
            return False
        found = self.run.view()
        back = found[BACK].done
        past = any(each and each.n > (back.n if back else 0) for each in (found[step].started for step in SWITCHED))
        if past:
            print(f"{name}: behind the point of no return; what was carried over stands as it is")  # noqa: T201
        return past

    def _former(self) -> tuple[Stored, ...]:
        """What was stored before the freeze, which the ledger knows once it is frozen."""
        now = freeze.plan_freeze(self.settings.source).former
        known = self.run.view()[APPROVED].result or {}
        return former(known) if "former" in known and freeze.is_frozen(self.settings.source) else now

    def _catalog(self) -> tuple[Table, ...]:
        if not self._tables:
            with postgres.reading(self.settings.source) as cursor:
                self._tables = read_catalog(cursor, schemas=self.settings.source.schemas).tables
        return self._tables

    def _final(self) -> Manifest:
        return manifest.read(self._bucket)

    def _of_dns(self) -> dict[str, Any]:
        return {"dns": self.settings.dns.model_dump() if self.settings.dns else None}

    def _is_frozen(self, load_id: str, result: Mapping[str, Any]) -> Found:
        yes = freeze.is_frozen(self.settings.source)
        how = f"the source {'keeps' if yes else 'does not keep'} writers out"
        # Without a result nothing says that the sessions from before it were ended.
        return Found("done" if yes and result else "not done", how, result)

    def _is_staged(self, load_id: str, result: Mapping[str, Any]) -> Found:
        found = manifest.read_if_any(self._bucket)
        if found is None or not found.export.endswith(f"-{_mark(load_id)}") or not result:
            return Found("not done", f"the manifest at {self._bucket.location} is not of this export")
        return Found("done", f"the manifest at {self._bucket.location} is of this export", result)

    def _is_loaded(self, load_id: str, result: Mapping[str, Any]) -> Found:
        delta = self.run.view()["s50-delta"].result or {}
        changed = _names(delta.get("changed", ()))
        done, how = last_difference.is_loaded(self._final(), self.settings.snowflake, changed, load_id)
        return Found("done" if done else "not done", how, result)

    def _is_led(self, share: int | None) -> Probe:
        def look(load_id: str, result: Mapping[str, Any]) -> Found:
            if (record := switches.record(self.settings)) is None:
                return Found("not done", "no record is configured")
            weights = record.weights()
            done = weights.share is not None and share in (None, weights.share)
            return Found("done" if done and result else "not done", f"the weights of {record} are {weights}", result)

        return look


_HEALTH = ("queries", "failed", "95th percentile (s)")


def former(result: Mapping[str, Any]) -> tuple[Stored, ...]:
    """The settings from before the freeze, as the approved step recorded them."""
    return tuple(Stored(each["role"], each["value"]) for each in result["former"])


def _told(health: Health) -> str:
    return f"{health.asked - health.failed} of {health.asked} queries answered, 95th percentile {health.latency:.2f} s"


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list | tuple) else ()


def _mark(load_id: str) -> str:
    return load_id[:12]


def _out_of_order(what: str, why: str) -> UsageError:
    return UsageError(what, on="runbook 50_cutover", why=why, next_step="run the cells above first")
