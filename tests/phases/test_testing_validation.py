"""Phase 40 says no where it must, and only plans in a rehearsal.

Each box is spoilt once: a functional test that fails, a slow query, an alarm that is lost, a downstream system that cannot
read, a stage of the full run that fails, a test of dbt that finds rows. The slow ones need dbt's or moto's environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from profile_support import described

from helpers.errors import EvidenceError, GateClosed, UsageError
from helpers.finding import Finding
from helpers.local.profile import sample as description
from helpers.phases.common import box_findings
from helpers.phases.p40_testing_validation.testing import BOXES, END_TO_END, TestingValidation
from helpers.pipelines import alerts, benchmark, downstream, figures, full_run, functional, marts
from helpers.pipelines.benchmark import Benchmark, Limit, Measurement
from helpers.pipelines.downstream import Listed
from helpers.pipelines.full_run import PipelineRun, Stage
from helpers.pipelines.readers import default_file, reading
from helpers.pipelines.sample import volumes
from helpers.pipelines.sample.scratch import scratch
from helpers.platforms import aws as platform
from helpers.platforms import dbt, snowflake
from helpers.platforms.dbt import DbtResult, Node
from helpers.settings import Downstream, Settings

BOX_METHODS = {box: box.removeprefix("s40-").replace("-", "_") for box in BOXES}


def severities(findings: list[Finding]) -> list[str]:
    return [finding.severity for finding in findings]


@pytest.fixture
def rehearsal(
    migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TestingValidation:
    own = {
        section: keys for section, keys in description().items() if section != "kafka"
    }  # `migration.profile` has its own
    migration_toml(migration.profile + described("local", own))
    monkeypatch.chdir(tmp_path)
    return TestingValidation("local", ["small"], apply=False)


def test_a_rehearsal_plans_every_box_and_acts_on_none(
    rehearsal: TestingValidation, migration: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for acting in (functional, marts):
        for name in ("run", "build", "prepare"):
            monkeypatch.delattr(acting, name, raising=False)
    tokens = {}
    for box, method in BOX_METHODS.items():
        assert len(getattr(rehearsal, method)()), box
        assert f"PLAN {box}: " in capsys.readouterr().out
        assert rehearsal.findings(box).empty
        tokens[box] = rehearsal.gate(box)
    whole = rehearsal.end_to_end(*(tokens[box] for box in END_TO_END))
    others = [tokens[box] for box in BOXES if box not in END_TO_END]
    assert rehearsal.milestone(*others, whole).rehearsed
    for frame in (rehearsal.stages(), rehearsal.queries(), rehearsal.limits(), rehearsal.failing_rows(), rehearsal.differences(),
                  rehearsal.rules()):  # fmt: skip
        assert frame.empty
    assert rehearsal.chart() is not None
    assert rehearsal.summary().startswith("REHEARSED")
    assert migration.bucket.sizes() == {}


def test_a_box_that_was_not_done_does_not_pass_its_gate(
    migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration_toml(migration.profile)
    monkeypatch.chdir(tmp_path)
    walk = TestingValidation("local", ["small"], apply=True)
    with pytest.raises(GateClosed, match="not done in this session"):
        walk.gate("s40-quality")


@pytest.fixture
def duck_settings(local_settings: Settings, tmp_path: Path) -> tuple[Settings, Path]:
    """Marts in a DuckDB file, each with one row."""
    values = local_settings.values.model_copy(
        update={"dbt": local_settings.dbt.model_copy(update={"engine": "duckdb", "schema_": "M"})}
    )
    file = tmp_path / "marts.duckdb"
    with closing(duckdb.connect(str(file))) as connection:
        connection.execute("CREATE SCHEMA M")
        for name in ("sales_lines", "sales_daily", "sales_monthly", "product_ranking", "open_orders"):
            connection.execute(f"CREATE TABLE M.{name} AS SELECT 1 AS id, 'sale' AS kind")
    return replace(local_settings, values=values), file


def test_a_slow_query_misses_its_limit(duck_settings: tuple[Settings, Path]) -> None:
    slow = {"slow": "SELECT sum(a.range * b.range) AS n FROM range(20000) a, range(2000) b, {sales_daily}"}
    with reading(*duck_settings) as reader:
        measured = list(volumes.queries(reader, slow, volume="small", lines=1, runs=1))
    limits = [
        Limit("report_seconds", "query", 0.000_001),
        Limit("patient", "query", 600),
        Limit("nightly", "pipeline", 1),
    ]
    verdicts = benchmark.judge(measured, limits)
    assert [verdict.answer for verdict in verdicts] == ["missed", "met", "not measured"]
    assert "slow" in verdicts[0].why and "DuckDB" in verdicts[0].why
    found = box_findings.performance_findings(Benchmark(tuple(measured), verdicts))
    assert severities(found) == ["stop", "warning"]
    assert found[0].on == "report_seconds"
    assert not Benchmark(tuple(measured), verdicts).kept


def test_a_stand_ins_speed_is_no_measurement() -> None:
    engine = "Snowflake 10.0.0 local-stand-in"
    measured = [
        Measurement("small", 10_000, "modern", engine, "pipeline", name, 1.0, 1.0) for name in ("export", "load")
    ]
    for seconds in (0.1, 100.0):
        (verdict,) = benchmark.judge(measured, [Limit("nightly", "pipeline", seconds)])
        assert (verdict.answer, verdict.measured) == ("not measured", None)
        assert "stand-in" in verdict.why
    real = [replace(each, engine="Snowflake 9.31.1") for each in measured]
    assert [v.answer for v in benchmark.judge(real, [Limit("a", "pipeline", 2.0), Limit("b", "pipeline", 1.9)])] == [
        "met",
        "missed",
    ]


def test_what_was_promised_of_an_aggregate_is_held_against_its_mart() -> None:
    took = {"sales_daily": 3.0, "sales_monthly": 1.0, "stg_orders": 0.5}
    measured = [Measurement("small", 10, "modern", "Snowflake 9.31.1", "mart", name, s, s) for name, s in took.items()]
    limits = [Limit(name, "mart", 2.0, of=name) for name in ("sales_daily", "sales_monthly", "open_orders")]
    verdicts = benchmark.judge(measured, [*limits, Limit("total_seconds", "mart", 4.4)])
    assert [verdict.answer for verdict in verdicts] == ["missed", "met", "not measured", "missed"]
    assert [verdict.measured for verdict in verdicts] == [3.0, 1.0, None, 4.5]


def test_the_largest_volume_is_judged() -> None:
    sizes = {"small": (10, 0.1), "large": (1000, 9.0)}
    measured = [Measurement(v, n, "modern", "Snowflake 9", "pipeline", "load", s, s) for v, (n, s) in sizes.items()]
    (verdict,) = benchmark.judge(measured, [Limit("nightly", "pipeline", 1.0)])
    assert (verdict.answer, verdict.measured) == ("missed", 9.0)


def test_a_benchmark_of_nothing_is_refused(local_settings: Settings) -> None:
    for pipelines, sizes in (((), ("small",)), (("modern",), ()), (("modern",), ("huge",)), (("other",), ("small",))):
        with pytest.raises(UsageError):
            benchmark.plan_benchmark(local_settings, pipelines, sizes)
    assert not Benchmark(()).kept


def test_rows_that_a_test_of_dbt_found_are_shown(duck_settings: tuple[Settings, Path]) -> None:
    sql = "-- a comment\nwith lines as (select * from M.sales_lines) select kind from lines where kind <> 'return'"
    bad = Node("accepted_values_kind", "test", "fail", 1, "Got 1 result, configured to fail if != 0", 0.1, sql)
    good = Node("unique_id", "test", "pass", 0, "", 0.1, "select 1 where false")
    skipped = Node("sales_daily", "model", "skipped", 0, "", 0.0, "")
    with reading(*duck_settings) as reader:
        assert marts.failing_rows(reader, bad) == [{"kind": "sale"}]
        assert marts.failing_rows(reader, good) == []
        assert marts.failing_rows(reader, skipped) == []
    found = box_findings.quality_findings(DbtResult("duckdb", (bad, good, skipped), 1.0))
    assert [(f.severity, f.on) for f in found] == [("stop", "accepted_values_kind"), ("stop", "sales_daily")]
    assert severities(box_findings.quality_findings(DbtResult("duckdb", (), 1.0))) == ["stop"]
    assert not DbtResult("duckdb", (), 1.0).ok


def test_results_of_dbt_are_read_by_name() -> None:
    nodes = dbt._nodes(
        {
            "results": [
                {"unique_id": "model.sales.sales_daily", "status": "success", "execution_time": 0.5, "failures": None},
                {"unique_id": "test.sales.unique_sales_lines_order_line.1f2e3d", "status": "fail", "failures": 3,
                 "message": "Got 3 results", "compiled_code": "select 1"},
                {"unique_id": "test.sales.daily_and_monthly_figures_agree", "status": "pass", "failures": 0},
            ]
        }
    )  # fmt: skip
    assert [(n.name, n.kind, n.good, n.failures) for n in nodes] == [
        ("sales_daily", "model", True, 0), ("unique_sales_lines_order_line", "test", False, 3),
        ("daily_and_monthly_figures_agree", "test", True, 0),
    ]  # fmt: skip


def test_secrets_go_to_dbt_by_its_environment_alone(local_settings: Settings) -> None:
    secret = local_settings.snowflake.password
    assert secret
    made = dbt._environment(local_settings, None)
    assert [name for name, value in made.items() if value == secret.get_secret_value()] == ["DBT_ENV_SECRET_PASSWORD"]
    folder = dbt.project_folder(local_settings)
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*.*") if path.is_file()]
    assert not any(secret.get_secret_value() in text for text in texts)


def test_a_downstream_system_that_cannot_read_closes_the_gate(migration: Any) -> None:
    values = migration.settings.values
    schema = snowflake.identifier(values.snowflake.database, values.snowflake.schema_)
    with snowflake.connect(values.snowflake) as session:
        session.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}", doing="prepare")
        session.execute(f'CREATE TABLE {schema}."customers" AS SELECT 1 AS "id"', doing="prepare")
    described = {
        "crm": Downstream(reads=("customers",)),
        "finance": Downstream(reads=("customers", "marts.sales_monthly")),
        "stranger": Downstream(reads=("customers",), user="NOBODY_KNOWN", password=None),
    }
    settings = replace(migration.settings, values=values.model_copy(update={"downstream": described}))
    listed = (Listed("crm", "role"), Listed("unheard of", "replication slot", ("public.customers",)))
    known = downstream.systems(settings, listed)
    readings = downstream.validate(settings, known)
    assert {(r.system, r.what, r.readable, r.own) for r in readings} == {
        ("crm", "customers", True, False), ("finance", "customers", True, False),
        ("finance", "marts.sales_monthly", False, False), ("stranger", "customers", False, True),
    }  # fmt: skip
    found = box_findings.downstream_findings(True, known, readings)
    stops = {finding.on for finding in found if finding.severity == "stop"}
    assert stops == {"finance: marts.sales_monthly", "stranger: customers", "unheard of"}


def test_a_listed_role_reads_what_it_may_read_today_and_marts_for_aggregates(
    local_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "integrations.json"
    file.write_text(
        '[{"kind": "role", "name": "bi", "objects": ["public.sales_daily", "public.customers"], "detail": ""}]'
    )
    known = downstream.systems(local_settings, downstream.read_list(file))
    assert known["bi"] and known["bi"].reads == ("public.sales_daily", "public.customers")
    assert known["reports"] == local_settings.values.downstream["reports"]
    file.write_text('{"bi": 1}')
    with pytest.raises(EvidenceError, match="integrations"):
        downstream.read_list(file)


def test_no_list_of_downstream_systems_is_a_finding() -> None:
    (found,) = box_findings.downstream_findings(False, {}, ())
    assert (found.severity, found.on) == ("warning", "downstream")
    (found,) = box_findings.downstream_findings(True, {}, ())
    assert (found.severity, "nothing was read" in found.what) == ("warning", True), (
        "a box that looked at nothing says so"
    )


def test_a_lost_alarm_and_nobody_to_tell_close_the_gate() -> None:
    lost = alerts.Arrival("alarm → topic → queue", False, 60.0, "nothing arrived within 60 s")
    assert severities(box_findings.alert_findings([lost])) == ["stop"]
    assert severities(box_findings.alert_findings([])) == ["stop"]
    assert severities(box_findings.alert_findings([replace(lost, arrived=True)])) == ["note"]


def test_a_failed_stage_closes_the_gate() -> None:
    stages = (
        Stage("export", "done", "ten rows", 1.0),
        Stage("load", "failed", "no warehouse", 1.0),
        Stage("verify", "skipped", "", 0),
    )
    found = box_findings.full_run_findings(PipelineRun("in this process", stages))
    assert [(f.severity, f.on) for f in found] == [("note", "full run"), ("stop", "load"), ("stop", "verify")]
    assert not PipelineRun("in this process", stages).done
    assert not PipelineRun("in this process", ()).done


@pytest.fixture
def engine_settings(local_settings: Settings, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Scratch data, with the marts on one engine."""
    with scratch(local_settings, orders=300) as own:
        dbt_section = own.dbt.model_copy(update={"engine": request.param})
        yield replace(own, values=own.values.model_copy(update={"dbt": dbt_section}))


@contextmanager
def _whole_run(settings: Settings, folder: Path) -> Iterator[PipelineRun]:
    yield full_run.run(settings, load_id="0123456789abcdef0123456789abcdef", cells_folder=folder / "cells")


@pytest.mark.slow
@pytest.mark.parametrize("engine_settings", ["snowflake", "duckdb"], indirect=True)
def test_a_full_run_and_a_cell_changed_behind_it(engine_settings: Settings, tmp_path: Path) -> None:
    """dbt's environment: the marts see a changed cell of their source, at its day and column, and a doubled key."""
    own = engine_settings
    file = default_file(own)
    try:
        with _whole_run(own, tmp_path) as done:
            assert done.done, [stage for stage in done.stages if stage.state != "done"]
        assert marts.built(own)["load_id"] == "0123456789abcdef0123456789abcdef"
        _change(own, file, 'UPDATE {} SET "sales" = \'777.77\' WHERE "line_no" = 5')
        assert marts.build(own).ok
        days = [d for d in figures.compare(own).differences if d.figure == "sales_daily"]
        assert {(d.kind, d.column) for d in days} == {("changed", "sales")}
        assert len(days) == 1
        _change(own, file, 'UPDATE {} SET "line_no" = 5 WHERE "line_no" = 6')
        built = marts.build(own, load_id="never")
        failed = {node.name: node for node in built.bad if node.kind == "test"}
        assert "source_unique_migrated_raw_orders__line_no_" in failed
        with reading(own) as reader:
            rows = marts.failing_rows(reader, failed["source_unique_migrated_raw_orders__line_no_"])
        assert [int(row["unique_field"]) for row in rows] == [5]
        assert marts.built(own).get("load_id") != "never"
    finally:
        file.unlink(missing_ok=True)


def _change(own: Settings, file: Path, statement: str) -> None:
    if own.dbt.engine == "duckdb":
        with closing(duckdb.connect(str(file))) as connection:
            connection.execute(statement.format(f'"{own.migrated_schema}"."raw_orders"'))
        return
    name = snowflake.identifier(own.snowflake.database, own.snowflake.schema_, "raw_orders")
    with snowflake.connect(own.snowflake) as session:
        session.execute(statement.format(name), doing="change a cell")


@pytest.mark.slow
def test_a_test_alarm_arrives_and_a_lost_one_is_seen(local_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto's environment: once with its subscription, and once with the subscription taken away behind our back."""
    arrived = alerts.send_test_alarm(local_settings.aws, local_settings.alerts)
    assert arrived.arrived and "ALARM" in arrived.said
    assert "stand-in" in arrived.way
    listening = alerts._listening

    @contextmanager
    def deaf(aws: Any, name: str, given: str | None) -> Iterator[tuple[str, str]]:
        with listening(aws, name, given) as (topic, queue):
            sns = platform.client(aws, "sns")
            for each in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]:
                sns.unsubscribe(SubscriptionArn=each["SubscriptionArn"])
            yield topic, queue

    monkeypatch.setattr(alerts, "_listening", deaf)
    lost = alerts.send_test_alarm(local_settings.aws, local_settings.alerts.model_copy(update={"timeout_seconds": 2.0}))
    assert not lost.arrived
    assert severities(box_findings.alert_findings([lost])) == ["stop"]
    cloudwatch = platform.client(local_settings.aws, "cloudwatch")
    assert not [a for a in cloudwatch.describe_alarms()["MetricAlarms"] if a["AlarmName"].startswith(alerts.PREFIX)]
