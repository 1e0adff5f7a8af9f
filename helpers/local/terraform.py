"""What Terraform needs on the local stack: providers from this disk, stand-ins to apply to, and no access to anything else.

- hashicorp/aws 3.39.0 is the genuine binary, and talks to the AWS stand-in.
- snowflakedb/snowflake is a stand-in of ours (`helpers.local.cloud.snowflake_provider`): it checks a module by the schema that
  the genuine one publishes, and makes schemas in the Snowflake stand-in.
- The state ends with the AWS stand-in, which keeps everything in memory.
- What neither stand-in has is left out of the working copy, by override files; `LEFT_OUT` says what, and why.
"""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

from helpers import PROJECT
from helpers.errors import LocalStackError
from helpers.local import stack
from helpers.local.servers.aws import ACCESS_KEY, SECRET_KEY, Aws
from helpers.platforms import environments
from helpers.platforms.child_environment import child_environment
from helpers.settings import Settings

AWS_VERSION = "3.39.0"
SNOWFLAKE_VERSION = "2.11.0"

_NO_BROKER = "moto has no brokers: on the local stack Kafka is the server that `runbook local status` calls kafka"
_NO_OBJECT = "the Snowflake stand-in has its own from its start; checked against the published schema, and its grants against docs/rights.md"

LEFT_OUT: Mapping[str, str] = {
    "module.kafka[0].aws_msk_configuration.this": _NO_BROKER,
    "module.kafka[0].aws_msk_cluster.this": _NO_BROKER,
    "module.snowflake[0].snowflake_database.this": "the Snowflake stand-in makes it when it starts",
    "module.snowflake[0].snowflake_warehouse.this": _NO_OBJECT,
    "module.snowflake[0].snowflake_account_role.this": _NO_OBJECT,
    "module.snowflake[0].snowflake_grant_privileges_to_account_role.warehouse": _NO_OBJECT,
    "module.snowflake[0].snowflake_grant_privileges_to_account_role.database": _NO_OBJECT,
    "module.snowflake[0].snowflake_grant_privileges_to_account_role.schemas": _NO_OBJECT,
    "module.snowflake[0].snowflake_grant_privileges_to_account_role.future": _NO_OBJECT,
    "module.snowflake[0].snowflake_grant_privileges_to_account_role.integration": _NO_OBJECT,
    "module.snowflake[0].snowflake_grant_account_role.administrators": _NO_OBJECT,
    "module.snowflake[0].snowflake_grant_account_role.user": _NO_OBJECT,
    "module.snowflake[0].snowflake_storage_integration.stage": _NO_OBJECT,
}
"""Per address: why it is not made on the local stack."""

_SERVICES = "cloudwatch cloudwatchlogs ec2 iam kafka rds route53 s3 sns sts".split()

_BACKEND = """
terraform {
  backend "local" {}
}
"""

_AWS = """
provider "aws" {{
  access_key                  = "{access_key}"
  secret_key                  = "{secret_key}"
  s3_force_path_style         = true
  skip_credentials_validation = true
  skip_get_ec2_platforms      = true
  skip_metadata_api_check     = true
  skip_region_validation      = true

  endpoints {{
{endpoints}
  }}
}}
"""

_KAFKA = """
resource "aws_msk_configuration" "this" {
  count = 0
}

resource "aws_msk_cluster" "this" {
  count = 0

  configuration_info {
    arn      = ""
    revision = 1
  }
}

output "bootstrap" {
  value = null
}
"""

_SNOWFLAKE = "".join(
    f'resource "{kind}" "{name}" {{\n  {"for_each = toset([])" if name in ("schemas", "future") else "count = 0"}\n}}\n\n'
    for _, module, kind, name in (address.split(".") for address in LEFT_OUT)
    if module.startswith("snowflake")
)


def prepare(work: Path, settings: Settings, environment: Mapping[str, str], *, override: bool) -> dict[str, str]:
    """Makes a working copy of a module one that plans and applies on the local stack.

    Args:
        work: the copy's folder.
        settings: of a profile on the local stack.
        environment: of Terraform's process, as it would be elsewhere.
        override: whether the copy is going to be planned; to validate it, no file may be added, since Terraform passes over an
            unknown argument of a resource that is overridden.

    Returns:
        The environment that it gets here: nobody's credentials, and the stand-ins'.

    Raises:
        LocalStackError: the stack is not up, or a stand-in or the environment could not be had.
    """
    if override:
        _override(work)
    mirror = _mirror()
    configuration = work / "runbook.tfrc"
    configuration.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n', encoding="utf-8"
    )
    home = work / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("AWS_", "SNOWFLAKE_")) and "proxy" not in name.lower()
    }
    target = settings.snowflake
    connection = {
        **target.connect,
        "account": target.account,
        "user": target.user,
        "password": target.password.get_secret_value() if target.password else "",
    }
    return {
        **kept,
        "HOME": str(home),
        "NO_PROXY": "*",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TF_CLI_CONFIG_FILE": str(configuration),
        "STAND_IN_SNOWFLAKE": json.dumps(connection),
    }


def _override(work: Path) -> None:
    server = stack.on_demand(Aws)
    _forget_a_former_server(work, server.instance)
    endpoint = server.endpoint
    provider = _AWS.format(
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        endpoints="\n".join(f'    {service} = "{endpoint}"' for service in _SERVICES),
    )
    (work / "runbook_override.tf").write_text(_BACKEND + provider, encoding="utf-8")
    for name, content in (("kafka", _KAFKA), ("snowflake", _SNOWFLAKE)):
        if (work / "modules" / name).is_dir():
            (work / "modules" / name / "runbook_override.tf").write_text(content, encoding="utf-8")


def _forget_a_former_server(work: Path, instance: str) -> None:
    """Sets aside the state of a stand-in that has stopped: it holds nothing any more, and to be told so resource by resource
    takes the provider six minutes."""
    mark = work / "standin-instance"
    former = mark.read_text(encoding="utf-8") if mark.exists() else ""
    if former != instance:
        state = work / "terraform.tfstate"
        if state.exists():
            state.replace(work / f"terraform.tfstate.of-{former[:8] or 'nobody'}")
        mark.write_text(instance, encoding="utf-8")


def _mirror() -> Path:
    """A folder with the providers, laid out as Terraform looks for them; made once for each environment."""
    python = environments.python("cloud")
    mirror = python.parents[1] / "terraform-providers"
    if (mirror / "ready").exists():
        return mirror
    registry = mirror / "registry.terraform.io"
    aws = registry / "hashicorp" / "aws" / AWS_VERSION / "linux_amd64"
    aws.mkdir(parents=True, exist_ok=True)
    packed = next(python.parents[1].glob(f"lib/python*/site-packages/cloudrail/**/*aws_{AWS_VERSION}_linux_amd64.zip"))
    with zipfile.ZipFile(packed) as archive:
        for name in archive.namelist():
            archive.extract(name, aws)
            (aws / name).chmod(0o755)
    own = registry / "snowflakedb" / "snowflake" / SNOWFLAKE_VERSION / "linux_amd64"
    own.mkdir(parents=True, exist_ok=True)
    script = own / f"terraform-provider-snowflake_v{SNOWFLAKE_VERSION}"
    script.write_text(
        f'#!/bin/sh\nexec "{python}" -P -m helpers.local.cloud.snowflake_provider "$@"\n', encoding="utf-8"
    )
    script.chmod(0o755)
    _write_schema(python, mirror)
    (mirror / "ready").touch()
    return mirror


def _write_schema(python: Path, mirror: Path) -> None:
    command = [str(python), "-P", "-m", "helpers.local.cloud.snowflake_schema", str(mirror / "snowflake-schema.json")]
    done = subprocess.run(
        command,
        env={**child_environment(), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LocalStackError(
            "read the schema of Terraform's provider for Snowflake",
            on=str(mirror),
            why=(done.stderr.strip().splitlines() or ["no message"])[-1],
            next_step="remove .venv-cloud, then run the same command again",
        )
