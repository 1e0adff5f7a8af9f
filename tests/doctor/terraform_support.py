"""What Terraform plans for the Snowflake module, as the statements that Snowflake's provider would send."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helpers import PROJECT
from helpers.platforms import environments
from helpers.platforms.child_environment import child_environment
from helpers.settings import Settings
from helpers.settings.local_stack import local_stack

MODULE = PROJECT / "pipeline" / "terraform" / "modules" / "snowflake"


def planned(folder: Path, settings: Settings, variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """The resources that the module would make, each with its type and its values."""
    work = folder / "module"
    shutil.copytree(MODULE, work)
    own = {**child_environment(), "PYTHONPATH": str(PROJECT), "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    environment = local_stack().prepare_terraform(work, settings, own, override=False)
    given = {f"TF_VAR_{name}": value for name, value in variables.items()}
    calls = [
        {"method": "init", "options": {"reconfigure": True}},
        {"method": "plan", "options": {"out": "plan"}},
        {"method": "show", "options": {"path": "plan"}},
    ]
    done = subprocess.run(
        [str(environments.python("cloud")), "-P", "-m", "helpers.local.cloud.terraform_run"],
        cwd=work, env={**environment, **given}, input=json.dumps({"folder": str(work), "calls": calls}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers = json.loads(done.stdout)
    assert [each["method"] for each in answers if each["code"] in (0, 2)] == ["init", "plan", "show"], answers[-1]
    return list(answers[-1]["value"]["planned_values"]["root_module"]["resources"])


def made_by(resources: list[dict[str, Any]]) -> list[str]:
    """Statements that make the objects, in an order in which each has what it needs."""
    order = list(_MAKE)
    sorted_ = sorted((each for each in resources if each["type"] in _MAKE), key=lambda each: order.index(each["type"]))
    return [_MAKE[each["type"]](each["values"]) for each in sorted_]


def granted_by(resources: list[dict[str, Any]]) -> list[str]:
    """Statements that grant, one a privilege."""
    known = {*_MAKE, "snowflake_grant_privileges_to_account_role", "snowflake_grant_account_role"}
    assert not {each["type"] for each in resources} - known
    return [statement for each in resources for statement in _grants(each["type"], each["values"])]


def _grants(kind: str, values: Mapping[str, Any]) -> Iterator[str]:
    if kind == "snowflake_grant_account_role":
        to = f"ROLE {values['parent_role_name']}" if values.get("parent_role_name") else f"USER {values['user_name']}"
        yield f"GRANT ROLE {values['role_name']} TO {to}"
    elif kind == "snowflake_grant_privileges_to_account_role":
        if of_account := values.get("on_account_object"):
            on = f"{of_account[0]['object_type']} {of_account[0]['object_name']}"
        elif of_schema := values.get("on_schema"):
            database = of_schema[0].get("future_schemas_in_database")
            on = f"FUTURE SCHEMAS IN DATABASE {database}" if database else f"SCHEMA {of_schema[0]['schema_name']}"
        else:
            (future,) = values["on_schema_object"][0]["future"]
            on = f"FUTURE {future['object_type_plural']} IN DATABASE {future['in_database']}"
        for privilege in values["privileges"]:
            yield f"GRANT {privilege} ON {on} TO ROLE {values['account_role_name']}"


_MAKE = {
    "snowflake_warehouse": lambda v: (
        f'CREATE WAREHOUSE "{v["name"]}" WITH WAREHOUSE_SIZE = {v["warehouse_size"]} AUTO_SUSPEND = {v["auto_suspend"]} '
        f"AUTO_RESUME = {v['auto_resume']} INITIALLY_SUSPENDED = {v['initially_suspended']}"
    ),
    "snowflake_database": lambda v: f'CREATE DATABASE "{v["name"]}"',
    "snowflake_schema": lambda v: f'CREATE SCHEMA "{v["database"]}"."{v["name"]}"',
    "snowflake_account_role": lambda v: f'CREATE ROLE "{v["name"]}"',
    "snowflake_storage_integration": lambda v: (
        f"CREATE STORAGE INTEGRATION \"{v['name']}\" TYPE = {v['type']} STORAGE_PROVIDER = '{v['storage_provider']}' "
        f"ENABLED = {v['enabled']} STORAGE_AWS_ROLE_ARN = '{v['storage_aws_role_arn']}' STORAGE_ALLOWED_LOCATIONS = "
        f"({', '.join(repr(each) for each in v['storage_allowed_locations'])})"
    ),
}
