"""The environment as variables of Terraform: `PIPELINE_NAME=sales` becomes `TF_VAR_name=sales`.

One list serves `export_tf_vars.sh`, for people who call Terraform by hand, and the notebook of phase 10. Values come from the
environment, and from `.env` where the environment has none; that file is read, never executed.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from helpers import PROJECT
from helpers.errors import MigrationError, SettingsError
from helpers.redaction import remember

_TRUTH = {"true": "true", "1": "true", "yes": "true", "false": "false", "0": "false", "no": "false"}


@dataclass(frozen=True)
class Variable:
    """One variable.

    Attributes:
        env: its name in the environment.
        terraform: its name in `variables.tf`.
        what: for people.
        switch: whether it is true or false.
        secret: whether its value must not be shown.
    """

    env: str
    terraform: str
    what: str
    switch: bool = False
    secret: bool = False


VARIABLES = (
    Variable("PIPELINE_NAME", "name", "prefix of everything that is made"),
    Variable("AWS_REGION", "region", "AWS region"),
    Variable("VPC_CIDR", "vpc_cidr", "addresses of the network"),
    Variable("DNS_ZONE", "zone_name", "DNS zone of the pipeline"),
    Variable("LEGACY_ENDPOINT", "legacy_endpoint", "where clients are sent today"),
    Variable("MODERN_ENDPOINT", "modern_endpoint", "where the cutover sends them"),
    Variable("ALARM_EMAIL", "alarm_email", "who is told of an alarm"),
    Variable(
        "ENABLE_SNOWFLAKE_OBJECTS", "enable_snowflake_objects", "whether Snowflake's objects are made", switch=True
    ),
    Variable("ENABLE_MSK", "enable_msk", "whether the Kafka cluster is made", switch=True),
    Variable("SNOWFLAKE_ORGANIZATION", "snowflake_organization", "first part of the account's identifier"),
    Variable("SNOWFLAKE_ACCOUNT", "snowflake_account", "second part of the account's identifier"),
    Variable("SNOWFLAKE_USER", "snowflake_user", "who makes Snowflake's objects"),
    Variable("SNOWFLAKE_DATABASE", "snowflake_database", "database of the pipeline"),
    Variable("SNOWFLAKE_SCHEMA", "snowflake_schema", "schema of the migrated tables"),
    Variable("SNOWFLAKE_WAREHOUSE", "snowflake_warehouse", "warehouse of the pipeline"),
    Variable("SNOWFLAKE_ROLE", "snowflake_role", "role of the pipeline"),
    Variable(
        "SNOWFLAKE_VERIFY_ROLE",
        "snowflake_verify_role",
        "role that verifies, where policies hide something from that one",
    ),
    Variable("SNOWFLAKE_PRINCIPAL", "snowflake_principal", "ARN that Snowflake assumes the storage role as"),
    Variable("LEGACY_DB_PASSWORD", "db_password", "password of the legacy database", secret=True),
)

PASSED_ON = (
    "SNOWFLAKE_PASSWORD",
    "SNOWFLAKE_PRIVATE_KEY",
    "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
"""What the providers read by itself, under these names: as a variable it would lie in clear text in every plan file."""


def environment(folder: Path) -> dict[str, str]:
    """What `folder/.env` and the environment say, the latter first; empty values count as none."""
    return {name: value for name, value in {**dotenv_values(folder / ".env"), **os.environ}.items() if value}


def variables(values: Mapping[str, str]) -> dict[str, str]:
    """Terraform's variables by their name in `variables.tf`.

    Args:
        values: by name in the environment.

    Returns:
        Those that are set, ready for `TF_VAR_…`.

    Raises:
        SettingsError: a switch is neither true nor false.
    """
    found: dict[str, str] = {}
    for variable in VARIABLES:
        value = values.get(variable.env)
        if not value:
            continue
        if variable.secret:
            remember(value)
        if variable.switch:
            if value.lower() not in _TRUTH:
                why = f"it switches {variable.what}, and {value!r} is neither true nor false"
                cure = f"export {variable.env}=true, or =false"
                raise SettingsError(f"read {variable.env}", on="the environment or .env", why=why, next_step=cure)
            value = _TRUTH[value.lower()]
        found[variable.terraform] = value
    return found


def exports(values: Mapping[str, str]) -> dict[str, str]:
    """What a shell exports: `TF_VAR_…`, and what providers read by itself."""
    passed = {name: values[name] for name in PASSED_ON if values.get(name)}
    return {**{f"TF_VAR_{name}": value for name, value in variables(values).items()}, **passed}


def main(folder: Path = PROJECT) -> int:
    """Prints statements for a shell on standard output, and on standard error the names alone."""
    try:
        found = exports(environment(folder))
    except MigrationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    for name, value in found.items():
        print(f"export {name}={shlex.quote(value)}")  # noqa: T201 - for the shell that evaluates it
    print(f"exported: {', '.join(found) or 'nothing, no variable is set'}", file=sys.stderr)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else PROJECT))
