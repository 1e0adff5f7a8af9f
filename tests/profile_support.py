"""Profiles of a migration.toml: what one test's settings look like to a phase, a notebook or another process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from helpers.settings import Settings
from helpers.settings.problems import toml


def local_profile(settings: Settings) -> str:
    """Profile `local` on the local stack, with a source, a stage and targets of the test's own.

    What is added behind it belongs to another table of the profile.
    """
    own = settings.values
    return (
        '[profiles.local]\nstack = "local"\n'
        + _table("local.source", {"dbname": own.source.dbname})
        + _table("local.stage", {"url": own.stage.url})
        + _table("local.snowflake", {"schema": own.snowflake.schema_})
        + _table("local.databricks", {"schema": own.databricks.schema_})
        + _table("local.aws", {})
        + _table("local.kafka", {"topic": "orders"})
        + _table(
            "local.dns",
            {
                "zone": "t.example.com",
                "record": "r.t.example.com",
                "legacy": "l.t.example.com",
                "modern": "m.t.example.com",
                "ttl": 0,
                "seconds": 0,
            },
        )
    )


def whole_profile(settings: Settings, name: str) -> tuple[str, dict[str, str]]:
    """A profile that needs no local stack, and the environment that holds its secrets: for a process that finds nothing by itself."""
    source, stage, target = settings.source, settings.stage, settings.snowflake
    secrets = {"T_PASSWORD": source.password, "T_SECRET": stage.secret_key, "T_SNOWFLAKE": target.password}
    text = (
        _table(f"{name}.source", {key: getattr(source, key) for key in ("host", "port", "dbname", "user")})
        + 'password = { env = "T_PASSWORD" }\n'
        + _table(f"{name}.stage", {key: getattr(stage, key) for key in ("url", "endpoint", "access_key")})
        + 'secret_key = { env = "T_SECRET" }\n'
        + _table(f"{name}.snowflake", {key: getattr(target, key) for key in ("account", "user", "database")})
        + f'schema = {json.dumps(target.schema_)}\npassword = {{ env = "T_SNOWFLAKE" }}\n'
        + _table(f"{name}.snowflake.connect", target.connect)
    )
    return text, {variable: secret.get_secret_value() for variable, secret in secrets.items() if secret}


def described(name: str, description: Mapping[str, Any]) -> str:
    """What a profile says of its pipeline, as TOML; `helpers.local.profile.sample()` is what the sample's says."""
    return "".join(
        f"[profiles.{name}.{section}]\n"
        + "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in keys.items())
        for section, keys in description.items()
    )


def _table(name: str, values: Mapping[str, Any]) -> str:
    return f"[profiles.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
