"""What Terraform would do for a module: the plans that are shown and approved, and the values that it gets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.infrastructure import resources as infrastructure
from helpers.infrastructure import tf_vars
from helpers.phases.common.plan import StepPlan, plan_step
from helpers.platforms import terraform
from helpers.platforms.terraform import TerraformPlan
from helpers.settings import Settings
from helpers.settings.local_stack import local_stack

COLUMNS = ["address", "action", "type", "what", "values"]


def plan_files(step: str, what: str, module: Path, targets: Sequence[str], settings: Settings) -> StepPlan:
    """What a module declares: no plan, since nobody asked Terraform or a service."""
    left = left_out(module, (), settings)
    rows = [
        (each.address, "left out" if each.address in left else "declared", each.type, left.get(each.address, each.file))
        for each in infrastructure.declared(module, targets)
    ]
    totals = {kind: sum(row[1] == kind for row in rows) for kind in ("declared", "left out")}
    what = f"{what}\n  read from the files; Terraform plans it when it is applied, or with plan = True"
    return plan_step(step, what, rows, *COLUMNS[:-1], cost=cost(settings), totals=totals)


def plan_changes(step: str, what: str, planned: TerraformPlan, targets: Sequence[str], settings: Settings) -> StepPlan:
    """Terraform's plan, with what the local stack leaves out; `values` changes with any value that is known and not secret."""
    rows: list[tuple[str, ...]] = [(c.address, c.action, c.type, c.what, c.values) for c in planned.changes]
    left = left_out(planned.module, targets, settings)
    rows += [(address, "left out", address.split(".")[-2], why, "") for address, why in left.items()]
    kinds = ("create", "update", "replace", "delete")
    totals = {f"to {kind}": sum(c.action == kind for c in planned.changes) for kind in kinds} | {"left out": len(left)}
    return plan_step(step, what, rows, *COLUMNS, cost=cost(settings), totals=totals)


def left_out(module: Path, targets: Sequence[str], settings: Settings) -> Mapping[str, str]:
    """What of a module is not made on the local stack, and why; nothing elsewhere."""
    if not terraform.on_stand_ins(settings):
        return {}
    there = {each.address for each in infrastructure.declared(module, targets)}
    return {address: why for address, why in local_stack().terraform_leaves_out().items() if address in there}


def checked_by(module: Path, settings: Settings) -> list[tuple[str, str]]:
    """Per provider of a module, what its validation rests on."""
    if not terraform.on_stand_ins(settings):
        return []
    aws_version, snowflake_version = local_stack().terraform_providers()
    found = [(f"hashicorp/aws {aws_version}", "the module is what the genuine provider takes")]
    if (module / "modules" / "snowflake").is_dir():
        how = (
            f"checked against the schema that version {snowflake_version} publishes, by a stand-in: names, types and required "
            "arguments, not the words that an argument may have; no Snowflake account has seen it"
        )
        found.append(("snowflakedb/snowflake", how))
    return found


def variables(
    module: Path, settings: Settings, environment: Mapping[str, str], switches: Mapping[str, str]
) -> dict[str, str]:
    """Those of a module's variables that are known: what the settings give, above it what the environment says, above it what the
    profile's other sections know, above that the step's switches."""
    given = {**settings.terraform.variables, **tf_vars.variables(environment)}
    values = settings.values
    if values.aws:
        given["region"] = values.aws.region
    if target := values.snowflake:
        organization, _, account = target.account.partition("-")
        if account:
            given |= {"snowflake_organization": organization, "snowflake_account": account}
        given |= {
            "snowflake_user": target.user, "snowflake_database": target.database, "snowflake_schema": target.schema_,
            **({"snowflake_warehouse": target.warehouse} if target.warehouse else {}),
            **({"snowflake_role": target.role} if target.role else {}),
            **({"snowflake_verify_role": target.verify_role} if target.verify_role else {}),
        }  # fmt: skip
    if values.stack == "local" and infrastructure.is_shipped(module) and values.source and values.source.password:
        given.setdefault("db_password", values.source.password.get_secret_value())
    declared = infrastructure.variables_of(module)
    return {name: value for name, value in {**given, **switches}.items() if name in declared}


def origins(module: Path, settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Where each of a module's variables has its value from."""
    own, given = tf_vars.variables(environment), variables(module, settings, environment, {})
    found = {}
    for each in tf_vars.VARIABLES:
        if each.terraform not in given:
            continue
        if own.get(each.terraform) == given[each.terraform]:
            found[each.terraform] = f"from {each.env}"
        else:
            default = each.terraform in settings.terraform.variables and each.terraform not in own
            found[each.terraform] = f"the settings', as {each.env} is not set" if default else "from the profile"
    return found


_NEEDED = {
    "name": "everything that is made is named after it",
    "zone_name": "clients find the pipeline by it",
    "snowflake_organization": "the provider finds the account by it",
    "snowflake_account": "the provider finds the account by it",
}


def needed(module: Path, settings: Settings) -> dict[str, str]:
    """Variables of the environment that a module of this project has to be given, each with what it is for; the defaults of these are
    the sample's. What another module lacks, Terraform says itself."""
    if not infrastructure.is_shipped(module) or terraform.on_stand_ins(settings):
        return {}
    lacking = infrastructure.variables_of(module) - variables(module, settings, {}, {}).keys()
    envs = {each.terraform: each.env for each in tf_vars.VARIABLES}
    return {envs[name]: why for name, why in _NEEDED.items() if name in lacking and name in envs}


def cost(settings: Settings) -> str:
    """What can be said of it."""
    if terraform.on_stand_ins(settings):
        return "none: stand-ins on this machine"
    return (
        "not estimated: prices are the region's; a Kafka cluster costs from its first hour, a warehouse while it works"
    )


def module_digest(module: Path) -> str:
    """SHA-256 of all files of a module, by their names."""
    whole = hashlib.sha256()
    for file in sorted(module.rglob("*.tf")):
        whole.update(file.relative_to(module).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()
