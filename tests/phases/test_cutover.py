"""Phases 50 and 90 in one run: what is missing stops, what people sign is what happens, and the way back loses nothing.

Readers' record and scheduler are small ones in memory here, so that their state can be looked at between the steps;
test_dns.py has the real client. Source, stage, target, ledger and signatures are real.

Would catch: a cutover without an earlier gate or a signature, a difference that reaches DNS, a threshold that only complains, a
killed switch that begins anew or believes itself done, a second attempt that loads over what the new side has written, a rollback
of a run that cut nothing over, one approver where two are asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers import checklist, freeze, snapshot
from helpers.errors import AwaitingPerson, GateClosed, UsageError
from helpers.phases import cutover as cutover_phase
from helpers.phases import switches
from helpers.phases.cutover import Cutover
from helpers.phases.plan import StepPlan
from helpers.phases.rollback import Rollback
from helpers.platforms import postgres
from helpers.platforms.dns import Weights
from helpers.runs import folders, keys, signing
from helpers.runs.ledger import Ledger

TABLES = [
    "CREATE TABLE shops (id int PRIMARY KEY, name text, open boolean)",
    "INSERT INTO shops SELECT n, 'shop ' || n, true FROM generate_series(1, 50) n",
    "CREATE TABLE log (line text)",
    "INSERT INTO log SELECT 'line ' || n FROM generate_series(1, 20) n",
]


@dataclass
class Record:
    """A record that keeps every change, and breaks off at the `crash`th."""

    shares: list[int] = field(default_factory=list)
    crash: int = 0

    def weights(self) -> Weights:
        return Weights(100 - self.shares[-1], self.shares[-1]) if self.shares else Weights(None, None, simple=True)

    def lead(self, share: int) -> Weights:
        self.shares.append(share)
        if len(self.shares) == self.crash:
            raise Crash
        return self.weights()


@dataclass
class Scheduler:
    """Two DAGs, and the order in which they were switched."""

    on: dict[str, bool] = field(
        default_factory=lambda: {"sales_data_aggregation": True, "cloud_sales_pipeline_dag": False}
    )
    order: list[str] = field(default_factory=list)

    def enable(self, dag: str) -> None:
        self.on[dag] = True
        self.order.append(f"{dag} on")

    def disable(self, dag: str) -> None:
        self.on[dag] = False
        self.order.append(f"{dag} off")

    def enabled(self, dag: str) -> bool:
        return self.on[dag]


class Crash(BaseException):
    pass


@dataclass
class Project:
    """A run in a folder of its own that has everything behind it but the cutover."""

    folder: Path
    migration: Any
    monkeypatch: pytest.MonkeyPatch
    record: Record | None = field(default_factory=Record)
    scheduler: Scheduler | None = field(default_factory=Scheduler)

    @property
    def run(self) -> Path:
        return self.folder / "outputs" / "r"

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(self.run)

    def attempt(self, phase: str) -> None:
        made = folders.open_attempt(self.folder / "outputs", "r", phase)
        self.ledger.append("attempt-started", phase=phase, attempt=made.name, notebook_sha256="a" * 64)
        for name, value in made.environment().items():
            self.monkeypatch.setenv(name, value)

    def cutover(self, *, apply: bool = True) -> Cutover:
        self.attempt("50_cutover")
        return Cutover("local", "A", apply=apply)

    def sign(self, step: str, by: str = "alice") -> None:
        key = self.folder / f"{by}.pem"
        word = next((s.kind == "word" for s in checklist.steps() if s.id == step), False)
        if word:
            signing.attest(self.run, step, by=by, key=key, note="Sunday", profile="local")
        else:
            signing.approve(self.run, step, by=by, key=key, plan_sha256=None, profile="local")

    def compared(self, walk: Cutover) -> Any:
        """A walk up to the last gate before anything is switched."""
        checked = walk.preflight()
        walk.window()
        approved = walk.approve_plan(checked)
        walk.freeze(approved)
        walk.delta(walk.holds())
        walk.load()
        return walk.verify()

    def switched(self, walk: Cutover) -> Cutover:
        compared = self.compared(walk)
        walk.dags(compared)
        walk.record(compared)
        walk.traffic(compared)
        walk.monitor()
        return walk

    def rollback(self) -> Rollback:
        self.attempt("90_rollback")
        walk = Rollback("local", apply=True)
        cut_over = walk.preflight()
        walk.traffic(cut_over)
        walk.stop_writers(cut_over)
        walk.notify(cut_over)
        walk.recover(walk.compare(cut_over))
        equal = walk.verify()
        walk.unfreeze(equal)
        walk.start_legacy(equal)
        walk.immediate()
        return walk

    def is_frozen(self) -> bool:
        return freeze.is_frozen(self.migration.settings.source)


def write_profile(folder: Path, migration: Any, extra: str = "") -> None:
    own = migration.settings.values
    (folder / "migration.toml").write_text(
        '[profiles.local]\nstack = "local"\n'
        f'[profiles.local.source]\ndbname = "{own.source.dbname}"\n'
        f'[profiles.local.stage]\nurl = "{own.stage.url}"\n'
        f'[profiles.local.snowflake]\nschema = "{own.snowflake.schema_}"\n'
        '[profiles.local.approvals.people]\nalice = "alice.pem.pub"\nbob = "bob.pem.pub"\n'
        "[profiles.local.cutover]\nprobes = 2\npatience_seconds = 0.2\nmax_latency_seconds = 60.0\n" + extra
    )


@pytest.fixture
def project(migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in ("alice", "bob"):
        keys.generate(tmp_path / f"{name}.pem")
    write_profile(tmp_path, migration)
    (tmp_path / "runbooks").mkdir()
    monkeypatch.chdir(tmp_path)
    migration.source(*TABLES)
    manifest = migration.migrate()
    found = Project(tmp_path, migration, monkeypatch)
    monkeypatch.setattr(switches, "record", lambda settings: found.record)
    monkeypatch.setattr(switches, "scheduler", lambda settings: found.scheduler)
    found.run.mkdir(parents=True)
    found.ledger.append("run-opened", run="r", option="A", profile="local", apply=True)
    for step in checklist.of_option("A"):
        for name in step.ids if step.phase < "50" else ():
            if name not in step.missing:
                result = {"lsn": manifest.lsn, "snapshot": manifest.snapshot} if name == "s30-snapshot" else {}
                found.ledger.append("step-done", step=name, phase=step.phase, attempt="attempt-01", inputs="b" * 64, result=result, seconds=1)  # fmt: skip
    yield found
    for held in snapshot.held():
        if held.source.startswith(f"PostgreSQL {migration.settings.source.dbname} "):
            snapshot.release(held)


@pytest.fixture
def signed(project: Project) -> Project:
    """The same, with everything signed that the cutover asks for."""
    walk = project.cutover()
    checked = walk.preflight()
    with pytest.raises(AwaitingPerson, match="s50-window"):
        walk.window()
    project.sign("s50-window")
    walk.window()
    with pytest.raises(AwaitingPerson, match="s50-cutover"):
        walk.approve_plan(checked)
    assert not project.is_frozen()
    project.sign("s50-cutover")
    return project


def outside_the_freeze(project: Project, *statements: str) -> list[tuple[Any, ...]]:
    with closing(postgres.connect(project.migration.settings.source, settings=freeze.WRITES)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def test_there_and_back(signed: Project) -> None:
    migration, record, scheduler = signed.migration, signed.record, signed.scheduler
    assert record and scheduler
    migration.source("UPDATE shops SET name = 'since the export' WHERE id = 1")
    walk = signed.switched(signed.cutover())
    assert record.shares == [0, 10, 50, 100]
    assert scheduler.order == ["sales_data_aggregation off", "cloud_sales_pipeline_dag on"]
    assert migration.target('SELECT "name" FROM "shops" WHERE "id" = 1') == [("since the export",)]
    assert walk.minutes()["planned minutes"].sum() > 0
    assert walk.summary().startswith("CUT OVER at LSN ")

    migration.target('UPDATE "shops" SET "name" = \'new side\' WHERE "id" = 2', 'DELETE FROM "shops" WHERE "id" = 3')
    migration.target("INSERT INTO \"shops\" VALUES (51, 'opened since', NULL)")
    back = signed.rollback()
    assert migration.source("SELECT id, name FROM shops WHERE id IN (1, 2, 3, 51) ORDER BY id") == [
        (1, "since the export"), (2, "new side"), (51, "opened since"),
    ]  # fmt: skip
    assert migration.verify().verdict == "equal"
    assert record.shares[-1] == 0
    assert scheduler.on == {"sales_data_aggregation": True, "cloud_sales_pipeline_dag": False}
    assert not signed.is_frozen()
    migration.source("INSERT INTO shops VALUES (52, 'served again', true)")
    assert "nobody was told" in back.findings("s90-notify").to_string()
    assert back.summary().startswith("ROLLED BACK: 3 rows")
    assert signed.ledger.verify() == []

    # Again, while the source serves: what stands is not compared with a target that nobody uses.
    signed.rollback()
    assert migration.source("SELECT count(*) FROM shops") == [(51,)]


def test_what_is_missing_is_named_and_nothing_begins(project: Project) -> None:
    project.ledger.append("step-failed", step="s30-gate", phase="30_data_migration", attempt="attempt-01", inputs="b" * 64,
                          error={"type": "GateClosed", "what": "", "on": "", "why": "2 tables differ", "next": "", "transient": False}, seconds=1)  # fmt: skip
    walk = project.cutover()
    with pytest.raises(GateClosed, match=r"s30-gate: .*2 tables differ"):
        walk.preflight()
    with pytest.raises(UsageError, match="not the gate's token"):
        walk.approve_plan(pd.DataFrame())  # type: ignore[arg-type]
    assert not project.is_frozen()


def test_a_rehearsed_box_is_not_a_done_one(project: Project) -> None:
    lines = [e for e in project.ledger.entries() if e.get("step") != "s30-load"]
    assert "was only rehearsed" in "".join(
        f.what for f in cutover_phase.earlier.open_boxes(
            [*lines, project.ledger.append("step-planned", step="s30-load", phase="30", attempt="a", inputs="b", result={})],
            (s for s in checklist.steps() if s.id == "s30-load"),
        )
    )  # fmt: skip


def test_a_planted_difference_stops_before_anything_is_switched(signed: Project) -> None:
    signed.migration.target('UPDATE "shops" SET "name" = \'planted\' WHERE "id" = 7')
    with pytest.raises(GateClosed, match=r"public\.shops: different: 1 changed"):
        signed.compared(signed.cutover())
    assert signed.record and signed.record.shares == []
    assert signed.scheduler and signed.scheduler.order == []
    # Corrected, the next attempt goes through.
    signed.migration.target('UPDATE "shops" SET "name" = \'shop 7\' WHERE "id" = 7')
    signed.switched(signed.cutover())
    assert signed.record.shares[-1] == 100


def test_a_session_that_writes_stops_it_by_name(signed: Project) -> None:
    with closing(postgres.connect(signed.migration.settings.source, application="nightly import")) as connection:
        connection.cursor().execute("INSERT INTO log VALUES ('open')")
        walk = signed.cutover()
        approved = walk.approve_plan(walk.preflight())
        with pytest.raises(Exception, match="nightly import as sales"):
            walk.freeze(approved)
    assert not signed.is_frozen()


def test_a_plan_that_changed_needs_new_signatures(signed: Project) -> None:
    write_profile(signed.folder, signed.migration, "max_error_rate = 0.5\n")
    with pytest.raises(AwaitingPerson, match="0 of 1"):
        signed.compared(signed.cutover())
    assert not signed.is_frozen()


def test_a_threshold_leads_everybody_back(signed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = cutover_phase.cutover.probe, []

    def second_step_fails(target: Any, options: Any, name: str) -> Any:
        asked.append(name)
        query = "SELECT * FROM no_such_table" if len(asked) == 2 else None
        return real(target, options.model_copy(update={"query": query}), name)

    monkeypatch.setattr(cutover_phase.cutover, "probe", second_step_fails)
    with pytest.raises(GateClosed, match="2 of 2 queries failed"):
        signed.switched(signed.cutover())
    assert signed.record and signed.record.shares == [0, 10, 50, 0]
    assert signed.scheduler and signed.scheduler.on["cloud_sales_pipeline_dag"] is False
    assert signed.is_frozen()
    signed.rollback()
    assert not signed.is_frozen()


def test_a_slow_target_is_a_reason_too() -> None:
    from helpers.cutover import Health, percentile
    from helpers.settings import Cutover as Limits

    limits = Limits(max_latency_seconds=1.0, max_error_rate=0.1)
    assert percentile([0.1] * 19 + [9.0]) == 0.1
    assert percentile([0.1] * 18 + [9.0] * 2) == 9.0
    assert Health(20, 0, 0.9).exceeds(limits) == ()
    assert "95th percentile" in Health(20, 0, 1.1).exceeds(limits)[0]
    assert len(Health(20, 20, percentile([]), "gone").exceeds(limits)) == 2
    assert Health(20, 2, 0.9).exceeds(limits) == ()
    assert "3 of 20" in Health(20, 3, 0.9).exceeds(limits)[0]


def test_a_switch_that_was_killed_goes_on_where_the_record_stands(signed: Project) -> None:
    assert signed.record
    signed.record.crash = 3  # behind the change to 50 per cent, before anybody could write it down
    with pytest.raises(Crash):
        signed.switched(signed.cutover())
    signed.switched(signed.cutover())
    assert signed.record.shares == [0, 10, 50, 50, 100]
    probed = [e for e in signed.ledger.entries() if e.event == "step-probed" and e.get("step") == "s50-traffic"]
    assert [e.get("found") for e in probed] == ["not done"]
    assert "legacy 50 : modern 50" in probed[0].get("how")


def test_a_second_attempt_does_not_load_over_the_new_side(signed: Project, capsys: Any) -> None:
    signed.switched(signed.cutover())
    signed.migration.target("INSERT INTO \"shops\" VALUES (60, 'new side', NULL)")
    capsys.readouterr()
    walk = signed.switched(signed.cutover())
    assert "behind the point of no return" in capsys.readouterr().out
    assert signed.migration.target('SELECT "name" FROM "shops" WHERE "id" = 60') == [("new side",)]
    assert signed.record and signed.record.shares == [0, 10, 50, 100]
    assert walk.findings("s50-monitor").shape[0] > 0


def test_what_is_not_configured_is_said(signed: Project) -> None:
    signed.record = signed.scheduler = None
    walk = signed.cutover()
    compared = signed.compared(walk)
    assert "no scheduler is configured" in walk.dags(compared).to_string()
    assert "no record is configured" in walk.record(compared).to_string()
    assert "no record is configured" in walk.traffic(compared).to_string()
    walk.monitor()
    assert (walk.findings("s50-monitor").index == "warning").sum() == 2
    signed.rollback()


def test_nothing_is_rolled_back_that_was_not_cut_over(project: Project) -> None:
    project.attempt("90_rollback")
    with pytest.raises(GateClosed, match="this run has approved none"):
        Rollback("local", apply=True).preflight()


def test_one_approver_is_not_enough_where_two_are_asked(project: Project) -> None:
    write_profile(project.folder, project.migration, "[profiles.local.approvals.thresholds]\ndestructive = 2\n")
    walk = project.cutover()
    plan = StepPlan(
        "s50-remove-legacy", "destroy", pd.DataFrame({"object": ["db"]}).set_index("object"), {"objects": 1}, ""
    )
    for who, signed_by in (("alice", 0), ("bob", 1)):
        with pytest.raises(AwaitingPerson, match=f"{signed_by} of 2"):
            walk.approve(plan)
        project.sign("s50-remove-legacy", who)
    assert walk.approve(plan).by == ("alice", "bob")


def test_a_rehearsal_plans_every_step_and_changes_nothing(project: Project) -> None:
    walk = project.cutover(apply=False)
    project.switched(walk)
    assert walk.milestone().rehearsed
    assert project.record and project.record.shares == []
    assert not project.is_frozen()
    planned = {e.get("step") for e in project.ledger.entries() if e.event == "step-planned"}
    own = [
        s for s in checklist.steps() if s.phase == "50_cutover" and (s.id == "s50-cutover" or s.under == "s50-cutover")
    ]
    assert planned >= {name for step in own for name in step.ids}
