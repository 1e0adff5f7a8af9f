"""Would catch: a variable that loses its blanks or its quotes on the way to Terraform, a secret that is shown or tracked, a
missing variable that nobody names, a `.env` that is overwritten or readable by others, a list of variables that drifted from
the modules, and a rehearsal of phase 10 that changes something, needs Terraform, or keeps a step from the ledger."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import PROJECT, checklist
from helpers.errors import GateClosed, SettingsError, UsageError
from helpers.infrastructure import env_file, tf_vars
from helpers.infrastructure import resources as infrastructure
from helpers.ledger.gate import Token
from helpers.ledger.ledger import Ledger
from helpers.phases.p10_infrastructure.infrastructure import VALID, Infrastructure
from helpers.platforms import environments
from helpers.runs.cell_progress import Silence
from helpers.runs.run import execute
from helpers.settings import Settings

RUNBOOK = PROJECT / "runbooks" / "10_infrastructure.ipynb"
PASSWORD = "a 'single', a \"double\" and $(touch executed) `touch executed`"

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Sources export_tf_vars.sh in a bash of its own, with a `.env` of the test's own."""

    def run(env: str, then: str, options: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / ".env").write_text(env)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        script = f"{options}\nsource {PROJECT}/export_tf_vars.sh\n{then}"
        return subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env={**kept, "RUNBOOK_ENV_FOLDER": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def dotenv_line(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'\n"


def test_values_keep_blanks_and_quotes_and_are_not_executed(shell: Shell, tmp_path: Path) -> None:
    env = dotenv_line("ALARM_EMAIL", "Sales on call <a@b.example>") + dotenv_line("LEGACY_DB_PASSWORD", PASSWORD)
    done = shell(env, 'printf "%s\\n" "$TF_VAR_alarm_email" "$TF_VAR_db_password"')
    assert done.stdout.splitlines() == ["Sales on call <a@b.example>", PASSWORD]
    assert not (tmp_path / "executed").exists()


def test_no_value_is_shown_even_while_the_shell_traces(shell: Shell) -> None:
    env = (
        dotenv_line("LEGACY_DB_PASSWORD", "correct horse")
        + "SNOWFLAKE_PASSWORD=battery-staple\nPIPELINE_NAME=sales-x\n"
    )
    done = shell(env, "echo still traced", options="set -x")
    assert "TF_VAR_db_password" in done.stderr and "SNOWFLAKE_PASSWORD" in done.stderr
    assert "+ echo still traced" in done.stderr
    for value in ("correct horse", "battery-staple", "sales-x"):
        assert value not in done.stdout + done.stderr


def test_the_environment_wins_over_the_file_and_switches_are_true_or_false(shell: Shell) -> None:
    done = shell(
        "ENABLE_MSK=Yes\nPIPELINE_NAME=file\n", 'echo "$TF_VAR_enable_msk $TF_VAR_name"', "export PIPELINE_NAME=own"
    )
    assert done.stdout.strip() == "true own"
    done = shell("ENABLE_MSK=perhaps\n", "echo code $?")
    assert "ENABLE_MSK" in done.stderr and done.stdout.strip() == "code 2"


def test_a_script_that_is_run_instead_of_sourced_says_so() -> None:
    done = subprocess.run(["bash", str(PROJECT / "export_tf_vars.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "source" in done.stderr


def test_every_variable_is_declared_and_every_declared_one_can_be_set() -> None:
    files = (infrastructure.MODERN / "variables.tf", infrastructure.LEGACY / "variables.tf")
    declared = {name for file in files for name in re.findall(r'^variable "(\w+)"', file.read_text(), re.M)}
    listed = {variable.terraform for variable in tf_vars.VARIABLES}
    assert listed <= declared
    own_to_legacy = {"postgres_version", "instance_class", "storage_gb", "db_subnet_group", "security_group_ids"}
    assert declared - listed == own_to_legacy
    offered = set(env_file.offered(PROJECT / ".env.example"))
    assert {variable.env for variable in tf_vars.VARIABLES} | set(tf_vars.PASSED_ON) <= offered


@pytest.fixture
def project(tmp_path: Path, migration_toml: Callable[..., Path]) -> Path:
    """A repository with a profile that refers to two variables."""
    migration_toml(
        '[profiles.p.source]\nhost = "h"\ndbname = "d"\nuser = "u"\npassword = { env = "RUNBOOK_TEST_PGPASSWORD" }\n'
        '[profiles.p.databricks]\nschema = "s"\ntoken = { vault = "secret/data/x", key = "k" }\n'
    )
    (tmp_path / ".env.example").write_text(
        "# RUNBOOK_TEST_PGPASSWORD=\nVAULT_ADDR=https://vault.example.com\n# VAULT_TOKEN=\n"
    )
    (tmp_path / ".gitignore").write_text(".env\n")
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def write_env(project: Path, text: str, mode: int = 0o600) -> None:
    (project / ".env").write_text(text)
    (project / ".env").chmod(mode)


WHOLE = "RUNBOOK_TEST_PGPASSWORD=pw-of-this-test\nVAULT_ADDR=https://v\nVAULT_TOKEN=t-of-this-test\n"


def test_a_whole_environment_has_no_fault(project: Path) -> None:
    write_env(project, WHOLE)
    assert list(env_file.findings("p", project / "migration.toml", {})) == []


def test_a_missing_variable_is_named_with_what_refers_to_it(project: Path) -> None:
    write_env(project, WHOLE.replace("RUNBOOK_TEST_PGPASSWORD=pw-of-this-test\n", ""))
    (fault,) = env_file.findings("p", project / "migration.toml", {})
    assert (fault.severity, fault.on) == ("stop", "RUNBOOK_TEST_PGPASSWORD")
    assert "profiles.p.source.password" in fault.what
    missing = list(env_file.findings("p", project / "migration.toml", {"RUNBOOK_TEST_ZONE": "clients find it by it"}))
    assert [each.on for each in missing] == ["RUNBOOK_TEST_PGPASSWORD", "RUNBOOK_TEST_ZONE"]


def test_a_name_that_the_example_does_not_know_is_a_warning(project: Path) -> None:
    write_env(project, WHOLE + "VAULT_TOKNE=x\n")
    (fault,) = env_file.findings("p", project / "migration.toml", {})
    assert (fault.severity, fault.on) == ("warning", "VAULT_TOKNE")


def test_a_file_that_others_may_read_stops(project: Path) -> None:
    write_env(project, WHOLE, mode=0o644)
    (fault,) = env_file.findings("p", project / "migration.toml", {})
    assert fault.severity == "stop" and "644" in fault.what


def test_a_tracked_file_stops_and_so_does_a_tracked_secret(project: Path) -> None:
    write_env(project, WHOLE)
    (project / "notes.md").write_text("the password is pw-of-this-test, do not tell\n")
    subprocess.run(["git", "add", "notes.md"], cwd=project, check=True)
    (fault,) = env_file.findings("p", project / "migration.toml", {})
    assert (fault.severity, fault.on) == ("stop", "notes.md")
    assert "RUNBOOK_TEST_PGPASSWORD" in fault.what and "pw-of-this-test" not in str(fault)
    subprocess.run(["git", "rm", "-q", "--cached", "notes.md"], cwd=project, check=True)
    subprocess.run(["git", "add", "-f", ".env"], cwd=project, check=True)
    found = list(env_file.findings("p", project / "migration.toml", {}))
    assert ("stop", ".env", "git tracks it") in [(each.severity, each.on, each.what) for each in found]


def test_the_copy_is_for_its_owner_alone_and_never_replaces(project: Path) -> None:
    assert env_file.offered(project / ".env.example") == ("RUNBOOK_TEST_PGPASSWORD", "VAULT_ADDR", "VAULT_TOKEN")
    assert env_file.copy(project)
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert (project / ".env").read_text() == (project / ".env.example").read_text()
    write_env(project, "MINE=1\n")
    assert not env_file.copy(project)
    assert (project / ".env").read_text() == "MINE=1\n"


def test_an_address_is_meant_by_its_module_and_not_by_a_longer_name() -> None:
    assert infrastructure.within("module.kafka[0].aws_msk_cluster.this", "module.kafka")
    assert infrastructure.within("module.dns.aws_route53_zone.this", "module.dns")
    assert not infrastructure.within("module.dns_old.aws_route53_zone.this", "module.dns")


@pytest.fixture
def no_terraform(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: object, **options: object) -> Path:
        raise AssertionError(f"a rehearsal asked for the environment {names}")

    monkeypatch.setattr(environments, "python", refuse)


def test_a_rehearsal_shows_what_the_modules_declare_without_terraform(
    local_settings: Settings, no_terraform: None, capsys: pytest.CaptureFixture[str]
) -> None:
    phase = Infrastructure("local", "A", apply=False)
    environment = phase.check_environment()
    assert isinstance(environment, Token) and not environment.rehearsed
    validated = phase.validate(environment)
    assert isinstance(validated, Token) and validated.rehearsed
    base, snowflake, kafka = phase.base(validated), phase.snowflake(validated), phase.kafka(validated)
    assert set(base["action"]) == {"declared"} and "module.dns.aws_route53_zone.this" in base.index
    assert "left out" in kafka.loc["module.kafka[0].aws_msk_cluster.this", "action"]
    assert snowflake.loc["module.snowflake[0].snowflake_schema.this", "action"] == "declared"
    printed = capsys.readouterr().out
    assert "read from the files" in printed and "moto, a stand-in" in printed
    assert phase.summary().startswith("REHEARSED") and "nothing was changed" in phase.summary()
    milestone = phase.milestone()
    assert isinstance(milestone, Token) and milestone.rehearsed


def test_option_c_has_the_legacy_module_and_nothing_else(local_settings: Settings, no_terraform: None) -> None:
    phase = Infrastructure("local", "C", apply=False)
    validated = phase.validate(phase.check_environment())
    legacy = phase.legacy(phase.validate_legacy())
    assert "aws_db_instance.sales" in legacy.index
    assert list(phase.kafka(validated)["what"]) == ["no part of option C"]


def test_a_step_takes_no_other_gate_and_an_applied_one_no_rehearsed_gate(
    local_settings: Settings, no_terraform: None
) -> None:
    phase = Infrastructure("local", "A", apply=False)
    environment = phase.check_environment()
    with pytest.raises(UsageError, match=VALID):
        phase.base(environment)
    validated = phase.validate(environment)
    phase.apply = True
    with pytest.raises(UsageError, match="rehearsed"):
        phase.base(validated)


def test_the_gate_closes_on_a_missing_variable(
    local_settings: Settings, no_terraform: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "helpers.phases.p10_infrastructure.plan.needed", lambda module, settings: {"RUNBOOK_TEST_ZONE": "it is sought"}
    )
    phase = Infrastructure("local", "A", apply=False)
    with pytest.raises(GateClosed, match="RUNBOOK_TEST_ZONE"):
        phase.check_environment()


def test_without_a_module_nothing_is_made_and_what_is_there_is_looked_at(
    local_settings: Settings, no_terraform: None, migration_toml: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A team whose infrastructure exists already; its source is not the stack's own."""
    monkeypatch.setenv("RUNBOOK_TEST_WEBHOOK", "https://hooks.example.com/x")
    monkeypatch.chdir(tmp_path)
    migration_toml(
        '[profiles.local]\nstack = "local"\n[profiles.local.source]\ndbname = "postgres"\n'
        '[profiles.local.stage]\nurl = "s3://migration/without-a-module/"\n'
        '[profiles.local.notify]\nwebhook = { env = "RUNBOOK_TEST_WEBHOOK" }\n'
    )
    phase = Infrastructure("local", "A", apply=False)
    assert list(phase.environment().index) == ["RUNBOOK_TEST_WEBHOOK"]
    environment = phase.check_environment()
    validated = phase.validate(environment)
    assert isinstance(validated, Token)
    said = [phase.findings("s10-validate"), phase.base(validated), phase.snowflake(validated), phase.kafka(validated)]
    assert [each["what"].iloc[0].partition(" (")[0] for each in said] == [
        "not applicable: no step of this run applies the module",
        "not applicable: the profile has no Terraform module",
        "not applicable: the profile has no Terraform module",
        "not applicable: the profile has no Kafka",
    ]
    milestone = phase.milestone()
    assert isinstance(milestone, Token) and not milestone.rehearsed
    seen = phase.findings("s10-milestone")
    assert {"s10-base", "s10-snowflake", "s10-kafka"} <= set(seen["on"]) and any(
        "fakesnow" in what for what in seen["what"]
    )
    assert any(on.startswith("stage: ") for on in seen["on"])
    assert phase.summary().startswith("NOTHING MADE HERE: the profile has no Terraform module")


def test_what_a_profile_makes_of_its_own_module(
    local_settings: Settings, no_terraform: None, migration_toml: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "main.tf").write_text('variable "name" {}\nresource "null_resource" "library" {}\n')
    migration_toml(
        '[profiles.local]\nstack = "local"\n[profiles.local.source]\nhost = "db.example.com"\ndbname = "library"\n'
        'user = "reader"\n[profiles.local.terraform]\nmodule = "infra"\n'
    )
    phase = Infrastructure("local", "A", apply=False)
    base = phase.base(phase.validate(phase.check_environment()))
    assert list(base.index) == ["null_resource.library"]
    assert phase.absent["s10-snowflake"].startswith("s10-base makes the whole module")
    assert "TF_VAR_name: prefix of everything that is made" in list(phase.environment()["for"])
    assert phase.summary().startswith("REHEARSED: infra declares 1 resources")
    milestone = phase.milestone()
    assert isinstance(milestone, Token) and milestone.rehearsed


def test_a_switch_that_is_neither_true_nor_false_is_named() -> None:
    with pytest.raises(SettingsError, match="ENABLE_MSK"):
        tf_vars.variables({"ENABLE_MSK": "on and off"})


@pytest.mark.parametrize("option", ["A", "C"])
def test_a_rehearsed_run_plans_every_built_step_of_its_option(
    local_settings: Settings, tmp_path: Path, option: str
) -> None:
    result = execute(
        RUNBOOK, run="rehearsed", parameters={"profile": "local", "apply": False, "option": option},
        outputs=tmp_path / "outputs", option=option, report=Silence(),
    )  # fmt: skip
    assert result.status == "done", result.failure
    entries = Ledger.open(tmp_path / "outputs" / "rehearsed").entries()
    planned = {entry.get("step") for entry in entries if entry.event == "step-planned"}
    wanted = {
        name for step in checklist.steps_for_option(option) if step.phase == "10_infrastructure" for name in step.ids
    }
    assert planned == wanted
