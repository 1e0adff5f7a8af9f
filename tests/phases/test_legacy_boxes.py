"""Phases 40 and 60 on option C: each box looks at the legacy pipeline itself, and each is spoilt once in the embedded PostgreSQL.

Would catch: SQL that sums otherwise than the order lines say and passes its own tests; a promised time that is missed; a row that
breaks a declared rule which PostgreSQL let in; days and months that no longer agree; a cent changed in a stored aggregate; a run that
ended well and wrote nothing here; a role that has lost its right to read; a full run of the other pipeline that is taken for
one of this; a source whose protection is less than what is demanded; a restored backup that lacks a row; a path that needs a
Snowflake or a stage although it moves nothing.
"""

from __future__ import annotations

import ast
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from profile_support import described
from pydantic import SecretStr

from helpers import PROJECT
from helpers import settings as profiles
from helpers.archive import backup, recovery
from helpers.checklist import steps_for_option
from helpers.errors import GateClosed, MigrationError, SourceRefused, UsageError
from helpers.ledger import folders
from helpers.local.profile import sample as sample_description
from helpers.phases.common.box_findings import downstream_findings, last_run_findings, source_findings
from helpers.phases.common.legacy_pipeline import LegacyPipeline
from helpers.phases.p40_testing_validation.testing import BOXES, END_TO_END, TestingValidation
from helpers.phases.p60_post_migration import post_migration
from helpers.phases.p60_post_migration.post_migration import WORDS, PostMigration
from helpers.pipelines import alerts, benchmark, downstream, figures, full_run, functional, source_quality
from helpers.pipelines.downstream import Listed
from helpers.pipelines.full_run import PipelineRun, Stage
from helpers.pipelines.sample import functional_tests, legacy
from helpers.pipelines.sample.scratch import scratch
from helpers.pipelines.source_quality import SourceQuality
from helpers.platforms import postgres
from helpers.platforms.airflow import Task
from helpers.settings import Downstream, Settings

METHODS_40 = {box: box.removeprefix("s40-").replace("-", "_") for box in BOXES}
METHODS_60 = {box: box.removeprefix("s60-") for box in post_migration.BOXES}
QUERIES = [str(legacy.SQL_FOLDER / "40_aggregates.sql")]
ONE_CENT_MORE = (
    "UPDATE sales_daily SET sales = sales + 0.01 WHERE (day, region, category) = "
    "(SELECT day, region, category FROM sales_daily ORDER BY 1, 2, 3 LIMIT 1)"
)


def description() -> dict[str, Any]:
    """The sample's, but for what it promises of its times, and for a broker, which nobody here asks."""
    found = sample_description()
    return {section: keys for section, keys in found.items() if section not in ("sla", "hybrid", "downstream", "kafka")}


@dataclass(frozen=True)
class Source:
    """A legacy pipeline of one test's own, in a profile that names nothing else."""

    settings: Settings
    file: Path
    head: str

    def write(self, *statements: str) -> None:
        connection = postgres.connect(self.settings.source, settings={"search_path": "public"})
        with closing(connection), connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def describe(self, **sections: Any) -> None:
        """The profile with these sections in place of the sample's."""
        self.file.write_text(self.head + described("kept", description() | sections))

    def testing(self) -> TestingValidation:
        return TestingValidation("kept", ["small"], option="C", apply=True)

    def post(self) -> PostMigration:
        return PostMigration("kept", ["small"], option="C", apply=True)


@contextmanager
def copied(sample: profiles.Source) -> Iterator[profiles.Source]:
    """Another database with the same content, for the length of a block."""
    name = f"{sample.dbname}_copy"
    server = closing(postgres.connect(sample.model_copy(update={"dbname": "postgres"})))
    with server as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name} TEMPLATE {sample.dbname}")
        yield sample.model_copy(update={"dbname": name})
        postgres.drop_database(connection.cursor(), name)


@pytest.fixture(scope="module")
def sample(local_settings: Settings) -> Iterator[profiles.Source]:
    """The legacy pipeline's database, which is copied for each test: that takes a tenth of the time of filling it."""
    with scratch(local_settings, orders=300) as own:
        yield own.source


@pytest.fixture
def source(
    sample: profiles.Source, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Source]:
    with copied(sample) as there:
        assert there.password
        monkeypatch.setenv("KEPT_PASSWORD", there.password.get_secret_value())
        head = (
            f'[profiles.kept.source]\nhost = "{there.host}"\nport = {there.port}\ndbname = "{there.dbname}"\n'
            f'user = "{there.user}"\npassword = {{ env = "KEPT_PASSWORD" }}\nschemas = ["public"]\n'
        )
        file = migration_toml(head + described("kept", description()))
        (tmp_path / "runbooks").mkdir()
        (tmp_path / "outputs").mkdir()
        monkeypatch.chdir(tmp_path)
        folders._scratch_folder.cache_clear()
        yield Source(profiles.load("kept"), file, head)
        folders._scratch_folder.cache_clear()


def test_a_rehearsal_plans_every_box_and_acts_on_none(
    source: Source, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for acting, name in ((functional, "run"), (benchmark, "benchmark"), (figures, "recompute"), (recovery, "recover"),
                         (full_run, "run_legacy"), (alerts, "send_test_alarm"), (downstream, "validate_source")):  # fmt: skip
        monkeypatch.delattr(acting, name)
    source.describe(sla={"queries": QUERIES})
    testing = TestingValidation("kept", ["small"], option="C", apply=False)
    tokens = {}
    for box, method in METHODS_40.items():
        getattr(testing, method)()
        said = capsys.readouterr().out
        assert (f"PLAN {box}: " in said) != (box == "s40-alerts"), (
            "the profile has nothing through which an alarm could go"
        )
        assert "snowflake" not in said.lower(), box
        tokens[box] = testing.gate(box)
    whole = testing.end_to_end(*(tokens[box] for box in END_TO_END))
    assert testing.milestone(*(tokens[box] for box in BOXES if box not in END_TO_END), whole).rehearsed
    post = PostMigration("kept", ["small"], option="C", apply=False)
    for box, method in METHODS_60.items():
        assert len(getattr(post, method)())
        said = capsys.readouterr().out
        assert (f"PLAN {box}: " in said) != (box == "s60-monitoring")
        assert "snowflake" not in said.lower(), box
    assert list(post.operational(*(post.gate(box) for box in METHODS_60)).index) == list(WORDS)


def test_every_box_of_the_path_is_built_and_there_is_no_fourth_path(source: Source) -> None:
    own = [step for step in steps_for_option("C") if step.phase in ("40_testing_validation", "60_post_migration")]
    assert len(own) > 15
    with pytest.raises(UsageError, match="no such option"):
        TestingValidation("kept", ["small"], option="D", apply=False)


def test_a_whole_source_opens_the_gates_without_stage_or_target(source: Source) -> None:
    testing, post = source.testing(), source.post()
    for box in ("s40-quality", "s40-parity", "s40-full-run", "s40-output"):
        assert len(getattr(testing, METHODS_40[box])())
        assert str(testing.gate(box)).startswith("✔"), box
    assert testing.failing_rows().empty
    assert testing.differences().empty
    assert testing.rules().empty
    for box in ("s60-quality", "s60-recovery"):
        assert len(getattr(post, METHODS_60[box])())
        assert str(post.gate(box)).startswith("✔"), box


TESTS = PROJECT / "tests" / "integration" / functional_tests.FILES["C"]
FUNCTIONAL = tuple(
    node.name
    for node in ast.parse(TESTS.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
)


def spoilt_sql(folder: Path, name: str, change: tuple[str, str]) -> Path:
    """pipeline/legacy with one fault in it."""
    copied = folder / "legacy"
    shutil.copytree(legacy.SQL_FOLDER, copied)
    text = (copied / name).read_text()
    assert change[0] in text
    (copied / name).write_text(text.replace(*change))
    return copied


FAULTS = {
    "an order counted once a line": ("40_aggregates.sql", ("count(*)      AS orders", "sum(lines)    AS orders")),
    "a repeat that stays": ("20_clean.sql", ("order_id, order_date, ship_date,", "line_no, order_id, order_date, ship_date,")),
    "a return that is dropped": ("30_star.sql", ("    FROM clean_orders\n)\nSELECT * FROM final ORDER BY order_line", "    FROM clean_orders WHERE quantity > 0\n)\nSELECT * FROM final ORDER BY order_line")),
    "a ranking that is not refreshed": ("60_refresh.sql", ("REFRESH MATERIALIZED VIEW public.product_ranking;", "")),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_functional_test_fails_by_each_fault_in_the_sql(
    fault: str, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process and on a copy a test, which takes a tenth of the time; the one below runs them as the box does."""
    monkeypatch.setattr(legacy, "SQL_FOLDER", spoilt_sql(tmp_path, *FAULTS[fault]))
    spec = importlib.util.spec_from_file_location("functional_tests", TESTS)
    assert spec and spec.loader
    monkeypatch.setitem(sys.modules, spec.name, tests := importlib.util.module_from_spec(spec))
    spec.loader.exec_module(tests)
    failed = []
    for name in FUNCTIONAL:
        with copied(source.settings.source) as there:
            own = source.settings.values.model_copy(update={"source": there})
            try:
                getattr(tests, name)(tests.Pipeline(replace(source.settings, values=own)))
            except (AssertionError, MigrationError):
                failed.append(name)
    assert 0 < len(failed) < len(FUNCTIONAL)


def test_a_functional_test_that_fails_closes_the_gate(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = spoilt_sql(tmp_path, *FAULTS["an order counted once a line"])
    file = tmp_path / "test_spoilt.py"
    file.write_text(
        f"import sys\nfrom pathlib import Path\nfrom helpers.pipelines.sample import legacy\n"
        f"sys.path.insert(0, {str(TESTS.parent)!r})\n"
        f"from {TESTS.stem} import *\nlegacy.SQL_FOLDER = Path({str(folder)!r})\n"
    )
    pytest_options = ["-c", str(PROJECT / "pyproject.toml"), "--rootdir", str(PROJECT), "-p", "no:nbval"]
    source.describe(
        tests={"command": [sys.executable, "-m", "pytest", str(file), *pytest_options, "--junitxml={report}"]}
    )
    testing = source.testing()
    outcomes = testing.functional()["outcome"]
    assert len(outcomes) == len(FUNCTIONAL)
    assert "failed" in set(outcomes)
    with pytest.raises(GateClosed):
        testing.gate("s40-functional")


def test_the_functional_tests_pass_on_the_sql_as_it_is(source: Source) -> None:
    testing = source.testing()
    assert list(testing.functional().index) == list(FUNCTIONAL)
    assert str(testing.gate("s40-functional")).startswith("✔")


def test_a_promised_time_that_the_source_misses_closes_both_gates(source: Source) -> None:
    seconds = {"sales_daily": 0.000001, "open_orders": 600}
    source.describe(sla={"queries": QUERIES, "views": ["open_orders"], "seconds": seconds, "total_seconds": 600})
    testing, post = source.testing(), source.post()
    assert set(testing.performance()["pipeline"]) == {"legacy"}
    assert dict(testing.limits()["verdict"]) == {"sales_daily": "missed", "open_orders": "met", "total_seconds": "met"}
    with pytest.raises(GateClosed, match="sales_daily"):
        testing.gate("s40-performance")
    post.performance()
    with pytest.raises(GateClosed, match="sales_daily"):
        post.gate("s60-performance")


def test_a_promise_about_what_is_not_there_closes_the_gate(source: Source) -> None:
    source.describe(sla={"views": ["no_such_view"], "seconds": {"no_such_view": 60}})
    testing = source.testing()
    testing.performance()
    assert list(testing.limits()["verdict"]) == ["not measured"]
    with pytest.raises(GateClosed, match="no_such_view"):
        testing.gate("s40-performance")


LET_IN = {
    "a row that refers to nothing": (
        "ALTER TABLE fact_sales DROP CONSTRAINT fact_sales_product_fk",
        "UPDATE fact_sales SET product_key = -1 WHERE sale_id = 5",
        "ALTER TABLE fact_sales ADD CONSTRAINT fact_sales_product_fk FOREIGN KEY (product_key) REFERENCES dim_product NOT VALID",
    ),
    "a value out of range": (
        "ALTER TABLE sales_data ADD CONSTRAINT sales_data_quantity CHECK (quantity BETWEEN -5 AND 5) NOT VALID",
    ),
    "a value that lacks": (
        "ALTER TABLE sales_data ALTER region DROP NOT NULL",
        "UPDATE sales_data SET region = NULL WHERE order_line = 5",
        "ALTER TABLE sales_data ADD CONSTRAINT sales_data_region NOT NULL region NOT VALID",
    ),
    "a return that costs": ("UPDATE sales_data SET sales = 5, quantity = -1, is_return = true WHERE order_line = 5",),
    "a return that is not marked": ("UPDATE sales_data SET is_return = NOT is_return WHERE order_line = 5",),
    "a parcel before its order": ("UPDATE sales_data SET ship_date = order_date - 1 WHERE order_line = 5",),
    "a line that only the star has": ("DELETE FROM sales_data WHERE order_line = 5",),
    "a line that the star has otherwise": ("UPDATE fact_sales SET sales = sales + 1 WHERE sale_id = 5",),
    "a month unlike its days": ("UPDATE sales_monthly SET profit = coalesce(profit, 0) + 0.01",),
    "a day that the calendar lacks": (
        "ALTER TABLE fact_sales DROP CONSTRAINT fact_sales_order_date_fk",
        "ALTER TABLE fact_sales DROP CONSTRAINT fact_sales_ship_date_fk",
        "DELETE FROM dim_date WHERE day = (SELECT min(day) + 3 FROM dim_date)",
    ),
}


@pytest.mark.parametrize("what", LET_IN)
def test_a_broken_rule_closes_the_gates_and_its_row_is_shown(what: str, source: Source) -> None:
    source.write(*LET_IN[what])
    testing, post = source.testing(), source.post()
    testing.quality()
    assert len(testing.failing_rows())
    with pytest.raises(GateClosed):
        testing.gate("s40-quality")
    testing.output()
    with pytest.raises(GateClosed):
        testing.gate("s40-output")
    post.quality()
    with pytest.raises(GateClosed):
        post.gate("s60-quality")


def test_a_rule_that_another_engine_does_not_know_is_asked_of_postgresql_or_named(source: Source) -> None:
    source.write("ALTER TABLE stores ADD CONSTRAINT by_function CHECK (length(name) > 0)")
    testing = source.testing()
    testing.quality()
    verdicts = testing.rules()["verdict"]
    assert set(verdicts) <= {"not checked"}
    assert (len(verdicts) == 1) == ("warning" in testing.findings("s40-quality").index)
    assert str(testing.gate("s40-quality")).startswith("✔")


def test_no_rule_and_no_query_are_no_quality() -> None:
    found = source_findings(SourceQuality("0/0", (), (), ()))
    assert [finding.severity for finding in found] == ["stop", "warning"]
    assert not SourceQuality("0/0", (), (), ()).kept


SPOILT = {
    "a cent in a day": (ONE_CENT_MORE, "sales is"),
    "a month that is gone": ("DELETE FROM sales_monthly WHERE month = (SELECT min(month) FROM sales_monthly)", "lacks|only"),
    "an order line that came since": (
        "INSERT INTO raw_orders SELECT 900001, 'SO-NEW', order_date, '', customer_id, product_id, category, region, country, "
        "'1000', '1', '1' FROM raw_orders WHERE line_no = 1",
        "recomputation",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_an_aggregate_that_is_not_what_its_lines_give_closes_three_gates(what: str, source: Source) -> None:
    statement, said = SPOILT[what]
    source.write(statement)
    testing, post = source.testing(), source.post()
    assert "different" in set(testing.parity()["verdict"])
    assert set(testing.differences()["changed since"]) == {False}
    with pytest.raises(GateClosed, match=said):
        testing.gate("s40-parity")
    testing.output()
    with pytest.raises(GateClosed):
        testing.gate("s40-output")
    post.pipeline()
    assert any("recomputation" in what for what in post.findings("s60-pipeline")["what"])
    with pytest.raises(GateClosed):
        post.gate("s60-pipeline")


def test_a_source_without_orders_is_not_equal_to_itself(source: Source) -> None:
    source.write("TRUNCATE raw_orders, sales_data, sales_daily, sales_monthly, fact_sales", "REFRESH MATERIALIZED VIEW product_ranking")  # fmt: skip
    testing = source.testing()
    testing.parity()
    with pytest.raises(GateClosed, match="no figure has a row"):
        testing.gate("s40-parity")


def test_a_full_run_makes_stale_aggregates_true_and_says_when_it_could_not(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write(ONE_CENT_MORE)
    testing = source.testing()
    assert list(testing.full_run()["state"]) == ["done", "done"]
    assert str(testing.gate("s40-full-run")).startswith("✔")
    folder = spoilt_sql(tmp_path, *FAULTS["a return that is dropped"])
    spoilt = (
        f"import pathlib; from helpers import settings; from helpers.pipelines.sample import aggregation, legacy; "
        f"legacy.SQL_FOLDER = pathlib.Path({str(folder)!r}); aggregation.aggregate(settings.load().source)"
    )
    source.describe(dags=description()["dags"] | {"command": [sys.executable, "-c", spoilt]})
    testing = source.testing()
    assert list(testing.full_run()["state"]) == ["done", "failed"]
    with pytest.raises(GateClosed, match="recomputation"):
        testing.gate("s40-full-run")


def test_a_full_run_stands_until_the_aggregates_are_made_anew(source: Source) -> None:
    subject = LegacyPipeline(source.settings)
    done, known_by = subject.full_run("0" * 32, lambda *given: None)
    result = {"run": done.run_id, **known_by}
    assert subject.stands("0" * 32, result).answer == "done"
    full_run.run_legacy(source.settings)
    assert subject.stands("0" * 32, result).answer == "not done"


class Scheduler:
    """Airflow as it would be, whose task runs `work` and ends as it is told."""

    address = "http://airflow.invalid"

    def __init__(self, work: Callable[[], object], state: str = "success", profile: str = "kept") -> None:
        self._work, self._state, self._profile = work, state, profile

    def variable(self, name: str) -> str:
        return f'{{"profile": "{self._profile}"}}'

    def trigger(self, dag: str, *, run_id: str) -> str:
        assert dag == "legacy_postgres_sales_aggregation"
        self._work()
        return run_id

    def follow(self, *given: object) -> str:
        return self._state

    def tasks(self, dag: str, run_id: str) -> list[Task]:
        return [Task(name="aggregate", state=self._state, attempt=1, seconds=1.0)]

    def log_of_failed(self, dag: str, run_id: str) -> str:
        return "permission denied"


def by_airflow(source: Source, monkeypatch: pytest.MonkeyPatch, scheduler: Scheduler) -> PipelineRun:
    monkeypatch.setattr(full_run.airflow, "connect", lambda settings: scheduler)
    return full_run.legacy_by_airflow(source.settings, load_id="0" * 32)


def test_airflow_is_believed_only_where_the_source_has_changed(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    here = by_airflow(source, monkeypatch, Scheduler(lambda: full_run.run_legacy(source.settings)))
    assert here.done and here.run_id
    elsewhere = by_airflow(source, monkeypatch, Scheduler(lambda: None))
    assert [stage.state for stage in elsewhere.stages] == ["done", "failed"]
    assert "those of before" in elsewhere.stages[-1].said
    failed = by_airflow(source, monkeypatch, Scheduler(lambda: None, state="failed"))
    assert [(stage.state, stage.said) for stage in failed.stages] == [("failed", "permission denied"), ("skipped", "")]
    with pytest.raises(UsageError, match="'other'"):
        by_airflow(source, monkeypatch, Scheduler(lambda: None, profile="other"))


def test_nobody_to_tell_is_not_applicable_and_no_tick(source: Source) -> None:
    testing, post = source.testing(), source.post()
    for shown in (testing.alerts(), post.monitoring()):
        assert "not applicable: the profile has neither AWS nor a webhook" in shown.to_string()


@pytest.fixture
def reader(source: Source) -> Iterator[str]:
    """A role of the server that reads two relations of the source."""
    name = f"bi_{source.settings.source.dbname}"
    source.write(f"CREATE ROLE {name}", f"GRANT SELECT ON sales_monthly, open_orders TO {name}")
    yield name
    source.write(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {name}", f"DROP ROLE {name}")


def test_a_role_that_lost_its_right_closes_the_gate(
    source: Source, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = (Listed(reader, "role", ("public.sales_monthly", "public.open_orders")),)
    monkeypatch.setattr(TestingValidation, "_listed", lambda self: listed)
    testing = source.testing()
    answers = testing.downstream()
    assert list(answers["answer"]) == ["readable", "readable"]
    assert set(answers["as"]) == {reader}
    assert testing.findings("s40-downstream").empty
    assert str(testing.gate("s40-downstream")).startswith("✔")
    source.write(f"REVOKE SELECT ON open_orders FROM {reader}")
    testing.downstream()
    with pytest.raises(GateClosed, match="lacks SELECT"):
        testing.gate("s40-downstream")


def test_what_is_described_is_read_in_the_source_and_what_nobody_knows_stops(source: Source, reader: str) -> None:
    described = {
        "reports": Downstream(reads=("marts.open_orders", "marts.sales_data", "customers")),
        "finance": Downstream(reads=("sales_monthly", "payments"), user=reader),
        "gone": Downstream(reads=("no_such_table",)),
        "stranger": Downstream(reads=("customers",), user="nobody_of_this_test"),
    }
    settings = replace(source.settings, values=source.settings.values.model_copy(update={"downstream": described}))
    listed = (Listed("a slot", "replication slot", ("sales",)), Listed("PUBLIC", "role", ("public.stores",)))
    known = downstream.systems(settings, listed, stays=True)
    readings = downstream.validate_source(settings, known)
    assert {(r.system, r.what, r.readable, r.own) for r in readings} == {
        ("reports", "open_orders", True, False), ("reports", "sales_data", True, False),
        ("reports", "customers", True, False),
        ("finance", "sales_monthly", True, True), ("finance", "payments", False, True),
        ("gone", "no_such_table", False, False), ("stranger", "customers", False, True),
        ("PUBLIC", "public.stores", False, True),
    }  # fmt: skip
    found = downstream_findings(True, known, readings)
    stops = {finding.on for finding in found if finding.severity == "stop"}
    assert stops == {
        "a slot",
        "finance: payments",
        "gone: no_such_table",
        "stranger: customers",
        "PUBLIC: public.stores",
    }


def test_a_run_of_the_other_pipeline_or_none_is_no_run_of_this_one(source: Source) -> None:
    stages = [vars(Stage("aggregate", "done", "", 1.0))]
    legacy_run = {"pipeline": "legacy", "how": "in this process", "stages": stages}
    assert [f.severity for f in last_run_findings(legacy_run, "legacy")] == ["note"]
    for other in (None, {"how": "x", "stages": stages}, {**legacy_run, "pipeline": "modern"}):
        assert [f.severity for f in last_run_findings(other, "legacy")] == ["stop"]
    post = source.post()
    assert set(post.pipeline()["verdict"]) == {"equal"}
    with pytest.raises(GateClosed, match="no full run"):
        post.gate("s60-pipeline")


def test_a_demanded_protection_that_the_source_lacks_closes_the_gate(source: Source) -> None:
    source.describe(compliance={"require_tls": False})
    post = source.post()
    found = post.security()
    assert any("scram" in what or "superuser" in what or "log in" in what for what in found["what"])
    assert str(post.gate("s60-security")).startswith("✔")
    source.describe(compliance={"require_tls": True})
    post = source.post()
    post.security()
    with pytest.raises(GateClosed, match="TLS"):
        post.gate("s60-security")


def test_a_restore_that_lacks_a_row_closes_the_gate(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = backup.restored

    @contextmanager
    def lossy(*given: Any, **options: Any) -> Iterator[Any]:
        with whole(*given, **options) as there:
            with (
                closing(postgres.connect(there, settings={"search_path": "public"})) as connection,
                connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("DELETE FROM public.sales_data WHERE order_line = 5")
            yield there

    monkeypatch.setattr(recovery.backup, "restored", lossy)
    post = source.post()
    assert "different" in set(post.recovery()["restored"])
    with pytest.raises(GateClosed, match="1 missing"):
        post.gate("s60-recovery")


def test_a_source_that_does_not_let_us_read_is_no_fault_of_ours(source: Source, reader: str) -> None:
    source.write(f"ALTER ROLE {reader} LOGIN PASSWORD 'of-this-test'")
    there = source.settings.source.model_copy(update={"user": reader, "password": SecretStr("of-this-test")})
    own = replace(source.settings, values=source.settings.values.model_copy(update={"source": there}))
    for ask in (figures.recompute, source_quality.check):
        with pytest.raises(SourceRefused, match=r"GRANT SELECT ON|permission denied"):
            ask(own)
