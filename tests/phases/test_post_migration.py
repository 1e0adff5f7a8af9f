"""Phase 60 says no where it must, proves that a backup restores, and only plans in a rehearsal.

Would catch: a pipeline that nobody ran and is ticked, a target that has drifted since, a rule that only the target breaks, a backup
whose restore lacks a row, a right that everybody has, an alarm nobody is told of, a limit that was missed, a person's word
asked for behind closed gates, a final report that a run's text could act in. What needs moto's or dbt's environment is
tested with phase 40, whose functions these boxes call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from profile_support import described

from helpers import verify
from helpers.archive import backup, recovery
from helpers.checklist import steps_for_option
from helpers.doctor import snowflake as target_of_snowflake
from helpers.doctor import target as target_security
from helpers.errors import GateClosed, UsageError
from helpers.ledger import folders
from helpers.phases.common.box_findings import last_run_findings, target_findings
from helpers.phases.p60_post_migration import planned_actual
from helpers.phases.p60_post_migration.post_migration import BOXES, WORDS, PostMigration
from helpers.pipelines import alerts, benchmark
from helpers.pipelines.benchmark import Benchmark, Limit, Measurement, Verdict
from helpers.platforms import postgres
from helpers.runs.status import RunStatus, StepStatus, read_status
from helpers.settings import Compliance
from helpers.verify.report import Report

METHODS = {box: box.removeprefix("s60-") for box in BOXES}
DONE = {"how": "in this process", "stages": [{"name": "export", "state": "done", "said": "", "seconds": 1.0}]}


def severities(findings: Any) -> list[str]:
    return [finding.severity for finding in findings]


@pytest.fixture
def project(
    migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """This test's source, stage and target, where the phase is called."""
    migration_toml(migration.profile + described("local", {"figures": FIGURES}))
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path)
    folders._scratch_folder.cache_clear()
    yield migration
    folders._scratch_folder.cache_clear()


FIGURES = {"orders": {"query": "SELECT count(*) AS orders FROM {orders}"}}


@pytest.fixture
def moved(project: Any) -> Any:
    """A small source that was migrated."""
    project.source(
        "CREATE TABLE orders (id int PRIMARY KEY, region text NOT NULL, amount numeric(9,2) CHECK (amount > 0))",
        "INSERT INTO orders SELECT i, 'West', i * 1.5 FROM generate_series(1, 100) i",
    )
    project.migrate()
    return project


def test_a_rehearsal_plans_every_box_and_acts_on_none(
    project: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for acting, name in ((recovery, "recover"), (verify, "verify"), (target_security, "findings"),
                         (alerts, "send_test_alarm"), (benchmark, "benchmark")):  # fmt: skip
        monkeypatch.delattr(acting, name)
    post = PostMigration("local", ["small"], apply=False)
    tokens = []
    for box, method in METHODS.items():
        assert len(getattr(post, method)()), box
        assert f"PLAN {box}: " in capsys.readouterr().out
        tokens.append(post.gate(box))
        assert tokens[-1].rehearsed
    assert list(post.operational(*tokens).index) == list(WORDS)
    assert post.summary().startswith("REHEARSED")
    assert post.rules().empty
    assert post.limits().empty
    assert list(post.planned_actual().index) == [step.id for step in steps_for_option("A")]
    assert set(post.planned_actual()["actual min"]) == {"–"}
    assert post.chart() is not None
    (report,) = Path.cwd().glob("outputs/*/final-report.html") if post.final_report() else ()
    assert "this is a rehearsal" in report.read_text()
    assert project.bucket.sizes() == {}


def test_the_target_is_compared_again_and_a_drifted_cell_closes_the_gate(moved: Any) -> None:
    moved.target('UPDATE "orders" SET "amount" = 7 WHERE "id" = 3')
    post = PostMigration("local", ["small"], apply=True)
    verdicts = post.pipeline()
    assert list(verdicts["verdict"]) == ["different"]
    with pytest.raises(GateClosed, match="orders: different"):
        post.gate("s60-pipeline")


def test_an_equal_target_is_no_tick_where_no_pipeline_ever_ran(moved: Any) -> None:
    post = PostMigration("local", ["small"], apply=True)
    assert list(post.pipeline()["verdict"]) == ["equal"]
    with pytest.raises(GateClosed, match="no full run"):
        post.gate("s60-pipeline")


def test_what_the_last_run_says_decides() -> None:
    assert severities(last_run_findings(DONE, "modern")) == ["note"]
    failed = {**DONE, "stages": [*DONE["stages"], {"name": "marts", "state": "failed", "said": "no"}]}  # type: ignore[misc]
    assert severities(last_run_findings(failed, "modern")) == ["stop", "note"]
    assert severities(last_run_findings({"how": "x", "stages": []}, "modern")) == ["stop", "note"]
    assert severities(last_run_findings(None, "modern")) == ["stop"]
    assert severities(last_run_findings({**DONE, "pipeline": "legacy"}, "modern")) == ["stop"]
    assert severities(target_findings(Report("", "", "postgresql", "snowflake", ()))) == ["stop"]


def test_a_rule_that_only_the_target_breaks_closes_the_gate(moved: Any) -> None:
    post = PostMigration("local", ["small"], apply=True)
    post.quality()
    assert str(post.gate("s60-quality")).startswith("✔")
    moved.target('UPDATE "orders" SET "amount" = -1 WHERE "id" = 3')
    post.quality()
    assert len(post.rules())
    with pytest.raises(GateClosed):
        post.gate("s60-quality")


def test_a_backup_is_restored_compared_and_removed(moved: Any) -> None:
    moved.source("DELETE FROM orders WHERE id = 1")  # the target is not asked
    post = PostMigration("local", ["small"], apply=True)
    restored = post.recovery()
    assert list(restored["restored"]) == ["equal"]
    assert list(restored["restored rows"]) == [99]
    assert str(post.gate("s60-recovery")).startswith("✔")
    assert moved.source(f"SELECT count(*) FROM pg_database WHERE datname LIKE '{backup.SCRATCH}%'") == [(0,)]


def test_a_restore_that_lacks_a_row_closes_the_gate(moved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = backup.restored

    @contextmanager
    def lossy(*given: Any, **options: Any) -> Iterator[Any]:
        with whole(*given, **options) as source:
            connection = postgres.connect(source, settings={"search_path": "public"})
            connection.autocommit = True
            connection.cursor().execute("DELETE FROM public.orders WHERE id = 50")
            connection.close()
            yield source

    monkeypatch.setattr(recovery.backup, "restored", lossy)
    post = PostMigration("local", ["small"], apply=True)
    assert list(post.recovery()["restored"]) == ["different"]
    with pytest.raises(GateClosed, match="1 missing"):
        post.gate("s60-recovery")


def test_rows_that_are_written_meanwhile_belong_to_neither_side(moved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = backup.dump

    def late(*given: Any, **options: Any) -> Any:
        moved.source("INSERT INTO orders VALUES (1000, 'late', 1)")
        return dump(*given, **options)

    monkeypatch.setattr(recovery.backup, "dump", late)
    found = recovery.recover(moved.settings, cells_folder=Path.cwd() / "cells")
    assert (found.report.verdict, found.report.rows) == ("equal", 100)


def test_the_targets_protection_is_asked_and_the_stand_in_says_what_it_cannot(moved: Any) -> None:
    post = PostMigration("local", ["small"], apply=True)
    found = post.security()
    assert "stop" not in found.index
    assert any("stand-in" in what for what in found["what"])
    assert str(post.gate("s60-security")).startswith("✔")


def test_a_demanded_encryption_that_is_not_there_stops(moved: Any) -> None:
    target = moved.settings.snowflake
    assert "stop" in severities(target_of_snowflake.look_at_connection(target, Compliance(require_tls=True)))
    https = target.model_copy(update={"connect": {}, "private_key_file": "key.p8", "password": None})
    assert severities(target_of_snowflake.look_at_connection(https, Compliance())) == ["note", "note"]
    unchecked = https.model_copy(update={"connect": {"insecure_mode": True}})
    assert severities(target_of_snowflake.look_at_connection(unchecked, Compliance())) == ["note", "warning", "note"]


def test_what_everybody_may_do_in_the_targets_schema_stops(moved: Any) -> None:
    target = moved.settings.snowflake
    inside = {"privilege": "SELECT", "granted_on": "TABLE", "name": f'{target.database}.{target.schema_}."orders"'}
    other = {"privilege": "USAGE", "granted_on": "DATABASE", "name": "SNOWFLAKE"}
    beside = {"privilege": "USAGE", "granted_on": "SCHEMA", "name": f"{target.database}.{target.schema_}_OLD"}
    assert severities(target_of_snowflake.look_at_grants("MIGRATION", [other, beside], target, [target.schema_])) == []
    (finding,) = target_of_snowflake.look_at_grants("MIGRATION", [other, inside], target, [target.schema_])
    assert finding.severity == "stop"
    assert "REVOKE SELECT ON TABLE" in finding.fix
    assert severities(target_of_snowflake.look_at_grants("accountadmin", [], target, [])) == ["stop"]


def test_nobody_to_tell_closes_the_gate(project: Any) -> None:
    post = PostMigration("local", ["small"], apply=True)
    values = post.settings.values.model_copy(update={"aws": None})
    post.settings = type(post.settings)(post.settings.profile, post.settings.file, values)
    assert post.monitoring().empty
    with pytest.raises(GateClosed, match="nobody would be told"):
        post.gate("s60-monitoring")


def test_a_missed_limit_closes_the_gate(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Measurement("small", 10, "modern", "x", "mart", "sales_daily", 9.0, 9.0)
    limit = Limit("sales_daily", "mart", 1.0, "sales_daily")
    found = Benchmark((measured,), (Verdict(limit, "missed", 9.0, "slowest"),))
    monkeypatch.setattr(benchmark, "benchmark", lambda *given, **options: found)
    post = PostMigration("local", ["small"], apply=True)
    post.performance()
    with pytest.raises(GateClosed, match="sales_daily"):
        post.gate("s60-performance")


def test_words_are_asked_for_behind_open_gates_only(project: Any) -> None:
    rehearsal = PostMigration("local", ["small"], apply=False)
    tokens = [rehearsal.gate(box) for box in BOXES]
    with pytest.raises(UsageError, match="rehearsed"):
        PostMigration("local", ["small"], apply=True).operational(*tokens)
    with pytest.raises(GateClosed, match="not done in this session"):
        PostMigration("local", ["small"], apply=True).gate("s60-recovery")


def test_the_final_report_escapes_and_adds_up(tmp_path: Path) -> None:
    steps = (
        StepStatus(
            "a", "<b>bold</b>", "30_data_migration", "check", "done", who="<i>", planned_minutes=60, actual_minutes=1.25
        ),
        StepStatus("b", "later", "60_post_migration", "check", "open", planned_minutes=30),
    )
    status = RunStatus("A", "local", steps, "b", "", 0, {}, 0, "", counts={"done": 1, "exists elsewhere": 1})
    assert planned_actual.by_phase(status) == (
        {"30_data_migration": 60.0, "60_post_migration": 30.0}, {"30_data_migration": 1.25, "60_post_migration": None},
    )  # fmt: skip
    text = planned_actual.page("r", status, {"s60-x": [("stop", "<script>", "x")]}, applied=True)
    assert "<b>bold" not in text
    assert "&lt;script&gt;" in text
    assert "Of the 2 boxes of option A: 1 done, 1 exists elsewhere" in text
    frame = planned_actual.by_box(status)
    assert list(frame["actual min"]) == ["1.25", "–"]
    assert planned_actual.by_box(read_status(tmp_path / "none")).shape[0] == len(steps_for_option("A"))
