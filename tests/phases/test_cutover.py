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
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cutover_support import Crash, Project, opened, write_profile
from profile_support import whole_profile

from helpers import checklist
from helpers import load as loading
from helpers.errors import AwaitingPerson, GateClosed, UsageError
from helpers.evidence import signing
from helpers.ledger.view import view
from helpers.model import manifest
from helpers.phases.common import switches
from helpers.phases.common.plan import StepPlan
from helpers.phases.p50_cutover import cutover as cutover_phase
from helpers.phases.p90_rollback.rollback import Rollback
from helpers.platforms import postgres


@pytest.fixture
def project(migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    with opened(migration, tmp_path, monkeypatch) as found:
        yield found


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


def test_there_and_back(signed: Project) -> None:
    migration, record, scheduler = signed.migration, signed.record, signed.scheduler
    assert record and scheduler
    migration.source("UPDATE shops SET name = 'since the export' WHERE id = 1")
    walk = signed.switched(signed.cutover())
    assert record.shares == [0, 10, 50, 100]
    assert scheduler.order == ["nightly_of_today off", "cloud_pipeline on"]
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
    assert scheduler.on == {"nightly_of_today": True, "cloud_pipeline": False}
    assert not signed.is_frozen()
    migration.source("INSERT INTO shops VALUES (52, 'served again', true)")
    assert "tell the stakeholders yourself" in back.findings("s90-notify")["what"].iloc[0]
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
            view([*lines, project.ledger.append("step-planned", step="s30-load", phase="30", attempt="a", inputs="b", result={})]),
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
    with closing(
        postgres.connect(
            signed.migration.settings.source, application="nightly import", settings={"search_path": "public"}
        )
    ) as connection:
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
    real, asked = cutover_phase.health.probe, []

    def second_step_fails(target: Any, options: Any, name: str) -> Any:
        asked.append(name)
        query = "SELECT * FROM no_such_table" if len(asked) == 2 else None
        return real(target, options.model_copy(update={"query": query}), name)

    monkeypatch.setattr(cutover_phase.health, "probe", second_step_fails)
    with pytest.raises(GateClosed, match="2 of 2 queries failed"):
        signed.switched(signed.cutover())
    assert signed.record and signed.record.shares == [0, 10, 50, 0]
    assert signed.scheduler and signed.scheduler.on["cloud_pipeline"] is False
    assert signed.is_frozen()
    signed.rollback()
    assert not signed.is_frozen()


def test_a_slow_target_is_a_reason_too() -> None:
    from helpers.cutover.health import Health, percentile
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


DELTA_ALONE = """
[profiles.local.approvals]
threshold = 1
thresholds = { cutover = 1 }
people = { alice = "alice.pem.pub" }
[profiles.local.cutover]
probes = 2
patience_seconds = 0.2
max_latency_seconds = 60.0
[profiles.local.elsewhere]
"s50-dags" = { what = "cron on the host, switched by hand", link = "https://wiki.example.com/cron" }
"s50-traffic" = { what = "the load balancer, by hand", link = "https://wiki.example.com/lb" }
"""


def test_delta_alone_is_cut_over_and_others_switch_scheduler_and_readers(
    migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile without a stack, Snowflake, Airflow or DNS: nothing of theirs is asked, and what others did has their word."""
    text, secrets = whole_profile(migration.settings, "local")
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    there = migration.settings.databricks
    delta = f'[profiles.local.databricks]\nengine = "pysail"\nschema = "{there.schema_}"\ndelta_root = "{there.delta_root}"\n'
    with opened(migration, tmp_path, monkeypatch) as project:
        toml = text[: text.index("[profiles.local.snowflake]")] + delta + DELTA_ALONE
        (tmp_path / "migration.toml").write_text(toml)
        loading.load(loading.plan_load(manifest.read(migration.bucket), migration.bucket, there))
        for dead in ("connect_record", "connect_scheduler"):
            monkeypatch.setattr(switches, dead, lambda settings: pytest.fail("it was asked"))
        walk = project.cutover()
        seen = walk.preflight()
        with pytest.raises(AwaitingPerson):
            walk.window()
        project.sign("s50-window")
        with pytest.raises(AwaitingPerson):
            walk.approve_plan(seen)
        project.sign("s50-cutover")
        migration.source("UPDATE shops SET name = 'since the export' WHERE id = 1")
        compared = project.compared(project.cutover())
        assert project.is_frozen()
        walk = project.cutover()
        compared = project.compared(walk)
        for step, take in (("s50-dags", walk.dags), ("s50-traffic", walk.traffic)):
            with pytest.raises(AwaitingPerson, match=step):
                take(compared)
            signing.attest(project.run, step, by="alice", key=tmp_path / "alice.pem", note="done", profile=None)
            assert "by the word of alice" in take(compared)["what"].iloc[0]
        assert "no record that readers follow" in walk.record(compared)["what"].iloc[0]
        assert not walk.monitor().rehearsed
        said = walk.findings("s50-monitor")["what"]
        assert any(what.startswith("2 of 2 queries answered") for what in said)
        assert any("the load balancer, by hand" in what for what in said)
        assert walk.summary().endswith(
            "not switched by this run: the scheduler, the record that readers follow, the readers"
        )
        found = view(project.ledger.entries())
        assert [found[s].state for s in ("s50-dags", "s50-dns", "s50-traffic")] == [
            "exists elsewhere", "not applicable", "exists elsewhere",
        ]  # fmt: skip
        project.rollback()
        assert not project.is_frozen()
        assert view(project.ledger.entries())["s90-modern-dag"].state == "not applicable"
