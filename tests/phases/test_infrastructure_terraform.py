"""Would catch: a typo in a module that validation passes, a plan that is applied without its approval or with that of another
plan, an apply that is reported and did not happen, and a resource deleted behind Terraform's back that nobody notices.

Slow: Terraform and a provider are installed into an environment of their own on the first call, and each plan takes seconds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
from infrastructure_support import KEYS, attempt, own_project

from helpers.errors import GateClosed, InfrastructureError, UsageError
from helpers.evidence import approvals
from helpers.infrastructure import resources as infrastructure
from helpers.ledger import keys
from helpers.ledger.ledger import Ledger
from helpers.phases.p10_infrastructure import plan as infrastructure_plan
from helpers.phases.p10_infrastructure.infrastructure import Infrastructure
from helpers.platforms import aws, snowflake, terraform
from helpers.settings import Profile, Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def own(local_settings: Settings, tmp_path: Path) -> Settings:
    """Profile local with a state of the test's own."""
    values = local_settings.values.model_copy(
        update={"terraform": local_settings.terraform.model_copy(update={"folder": str(tmp_path / "terraform")})}
    )
    return replace(local_settings, values=values)


def variables(settings: Settings, **more: str) -> dict[str, str]:
    name = f"t{uuid4().hex[:8]}"
    return {
        **infrastructure_plan.variables(infrastructure.MODERN, settings, {}, {}),
        "name": name,
        "zone_name": f"{name}.example.com",
        **more,
    }


@pytest.mark.parametrize("module", [infrastructure.MODERN, infrastructure.LEGACY], ids=["modern", "legacy"])
def test_the_modules_are_valid(own: Settings, module: Path) -> None:
    assert [p for p in terraform.validate(module, own) if p.severity == "error"] == []


@pytest.mark.parametrize(
    ("file", "right", "wrong", "named"),
    [
        ("modules/dns/main.tf", "set_identifier", "set_identifyer", "set_identifyer"),
        ("modules/snowflake/main.tf", "warehouse_size", "warehouse_sise", "warehouse_sise"),
        ("modules/snowflake/main.tf", "snowflake_schema\" \"this", "snowflake_shema\" \"this", "snowflake_shema"),
        ("modules/kafka/main.tf", "number_of_broker_nodes = 3", "number_of_broker_nodes = \"three\"", "number"),
        ("main.tf", "subnet_ids            = module.network.subnet_ids", "", "subnet_ids"),
        ("main.tf", "module \"dns\" {", "module \"dns\" ", "dns"),
    ],
)  # fmt: skip
def test_a_typo_is_caught_with_its_place(
    own: Settings, tmp_path: Path, file: str, right: str, wrong: str, named: str
) -> None:
    module = tmp_path / "module"
    shutil.copytree(infrastructure.MODERN, module)
    text = (module / file).read_text()
    assert right in text
    (module / file).write_text(text.replace(right, wrong, 1))
    errors = [problem for problem in terraform.validate(module, own) if problem.severity == "error"]
    assert errors and any(named in f"{problem.what} {problem.where}" for problem in errors), errors


def test_equal_plans_are_equal_and_a_changed_value_is_another_plan(own: Settings) -> None:
    given = variables(own)
    first = terraform.plan(infrastructure.MODERN, given, targets=["module.dns"], settings=own)
    assert {change.action for change in first.changes} == {"create"}
    assert [change.type for change in first.changes] == ["aws_route53_record", "aws_route53_record", "aws_route53_zone"]
    again = terraform.plan(infrastructure.MODERN, given, targets=["module.dns"], settings=own)
    assert (again.sha256, again.changes) == (first.sha256, first.changes)
    other = terraform.plan(
        infrastructure.MODERN,
        {**given, "modern_endpoint": "elsewhere.example.com"},
        targets=["module.dns"],
        settings=own,
    )
    assert [c.address for c in other.changes] == [c.address for c in first.changes]
    assert other.sha256 != first.sha256
    shown = [
        infrastructure_plan.plan_changes("s10-base", "x", planned, ["module.dns"], own).result()["plan_sha256"]
        for planned in (first, again, other)
    ]
    assert shown[0] == shown[1] != shown[2]


def test_only_the_planned_file_is_applied(own: Settings) -> None:
    planned = terraform.plan(infrastructure.MODERN, variables(own), targets=["module.dns"], settings=own)
    terraform.plan(infrastructure.MODERN, variables(own), targets=["module.dns"], settings=own)
    with pytest.raises(InfrastructureError, match="not the one that was planned"):
        terraform.apply(planned)
    assert terraform.resources(infrastructure.MODERN, own) == []


@dataclass
class Project:
    """A folder with a profile of its own, in which runs are made."""

    folder: Path
    run: str = "first"

    @property
    def settings(self) -> Settings:
        from helpers import settings

        return settings.load("local", self.folder / "migration.toml")

    def attempt(self, **parameters: object) -> tuple[int, str]:
        return attempt(self.folder, self.run, parameters)

    def approve(self, step: str, by: str = "alice") -> None:
        folder = self.folder / "outputs" / self.run
        approvals.approve(
            folder,
            step,
            by=by,
            key=self.folder / KEYS / f"{by}.pem",
            settings=self.settings,
            ledger=Ledger.open(folder),
        )

    def events(self, step: str) -> list[str]:
        entries = Ledger.open(self.folder / "outputs" / self.run).entries()
        return [entry.event for entry in entries if entry.get("step") == step]


@pytest.fixture
def project(local_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    name = f"t{uuid4().hex[:8]}"
    own_project(tmp_path, name)
    keys.generate(tmp_path / KEYS / "alice.pem")
    monkeypatch.setenv("PIPELINE_NAME", name)
    monkeypatch.setenv("DNS_ZONE", f"{name}.example.com")
    yield Project(tmp_path)
    with snowflake.connect(local_settings.snowflake) as session:
        session.execute(f'DROP SCHEMA IF EXISTS "STAND_IN"."{name.upper()}"', doing="clean up after a test")


def test_an_apply_waits_for_its_approval_and_is_then_there_and_answers(project: Project) -> None:
    code, why = project.attempt(apply=True)
    assert code == 3 and "s10-base" in why, why
    assert terraform.resources(infrastructure.MODERN, project.settings) == []
    project.approve("s10-base")
    code, why = project.attempt(apply=True)
    assert code == 3 and "s10-snowflake" in why, why
    assert "step-done" in project.events("s10-base")
    project.approve("s10-snowflake")
    code, why = project.attempt(apply=True)
    assert code == 3 and "s10-kafka" in why, why
    project.approve("s10-kafka")
    code, why = project.attempt(apply=True)
    assert code == 0, why
    held = terraform.resources(infrastructure.MODERN, project.settings)
    assert 'module.snowflake[0].snowflake_schema.this["LANDING"]' in held
    assert not any("aws_msk_cluster" in address for address in held)
    variables = {"name": os.environ["PIPELINE_NAME"], "zone_name": os.environ["DNS_ZONE"]}
    assert {found.severity for found in infrastructure.findings(project.settings, variables, "again")} == {"note"}
    # Another attempt finds everything there, through the services, and applies nothing.
    code, why = project.attempt(apply=True)
    assert code == 0, why
    assert project.events("s10-base")[-1] == "step-skipped"


def test_a_changed_plan_voids_the_approval(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _ = project.attempt(apply=True)
    assert code == 3
    project.approve("s10-base")
    monkeypatch.setenv("VPC_CIDR", "10.99.0.0/16")
    code, why = project.attempt(apply=True)
    assert code == 3 and "s10-base" in why and "0 of 1" in why
    assert terraform.resources(infrastructure.MODERN, project.settings) == []


def test_what_is_deleted_behind_terraforms_back_is_seen(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    phase = Infrastructure("local", "A", apply=True)
    targets = ("module.monitoring",)  # the module without the half minute that a change in Route 53 takes
    terraform.apply(
        terraform.plan(infrastructure.MODERN, phase._variables({}), targets=targets, settings=phase.settings)
    )
    probe = phase._probe("s10-base", targets, {})
    found = probe("0" * 32, {})
    assert found.answer == "done", found.how
    name = os.environ["PIPELINE_NAME"]
    answers = infrastructure.findings(phase.settings, phase._variables({}), "again")
    assert next(a for a in answers if ": alarms" in a.on).severity == "note"
    aws.client(phase.settings.aws, "cloudwatch").delete_alarms(AlarmNames=[f"{name}-no-run"])
    found = probe("0" * 32, {})
    assert found.answer == "not done" and "no_run (create)" in found.how, found.how
    with pytest.raises(GateClosed):
        phase.milestone()
    stops = {finding.on: finding.what for finding in phase.found["s10-milestone"] if finding.severity == "stop"}
    assert "create" in stops["module.monitoring.aws_cloudwatch_metric_alarm.no_run"]
    assert "module.monitoring.aws_cloudwatch_metric_alarm.failed_runs" not in stops
    assert "1 alarms" in stops[f"AWS us-east-1 (moto, a stand-in): alarms {name}-…"]


def test_a_schema_dropped_behind_terraforms_back_is_seen(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    phase = Infrastructure("local", "A", apply=True)
    switches = {"enable_snowflake_objects": "true"}
    planned = terraform.plan(
        infrastructure.MODERN, phase._variables(switches), targets=["module.snowflake"], settings=phase.settings
    )
    assert {"aws_s3_bucket", "snowflake_schema"} <= {change.type for change in planned.changes}
    terraform.apply(planned)
    target = phase.settings.snowflake
    with snowflake.connect(target) as session:
        session.execute(f"DROP SCHEMA {snowflake.identifier(target.database, target.schema_)}", doing="spoil")
    found = phase._probe("s10-snowflake", ("module.snowflake",), switches)("0" * 32, {})
    assert found.answer == "not done" and f'this["{target.schema_}"] (create)' in found.how, found.how


def test_outside_a_run_nothing_is_applied(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    phase = Infrastructure("local", "A", apply=True)
    validated = phase.validate(phase.check_environment())
    with pytest.raises(UsageError, match="only a run keeps those"):
        phase.base(validated)
    assert terraform.resources(infrastructure.MODERN, phase.settings) == []


def test_the_legacy_module_is_applied_and_destroyed(own: Settings) -> None:
    given = {**infrastructure_plan.variables(infrastructure.LEGACY, own, {}, {})} | variables(
        own, db_password="legacy-password-of-this-test"
    )
    planned = terraform.plan(infrastructure.LEGACY, given, settings=own)
    assert "aws_db_instance" in {change.type for change in planned.changes}
    applied = terraform.apply(planned)
    assert applied.created == len(planned.changes) == len(applied.resources)
    gone = terraform.apply(terraform.plan(infrastructure.LEGACY, given, destroy=True, settings=own))
    assert (gone.deleted, gone.resources) == (applied.created, ())


def test_a_production_profile_is_told_what_it_lacks() -> None:
    values = Profile.model_validate(
        {
            "snowflake": {"account": "myaccount", "user": "u", "database": "d", "schema": "s"},
            "aws": {"region": "eu-central-1"},
        }
    )
    needed = infrastructure_plan.needed(infrastructure.MODERN, Settings("production", Path("migration.toml"), values))
    assert set(needed) == {"PIPELINE_NAME", "DNS_ZONE", "SNOWFLAKE_ORGANIZATION", "SNOWFLAKE_ACCOUNT"}
