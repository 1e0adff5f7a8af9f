"""What a certification rests on and what can be told without asking anybody: the SQL that the product generates, and the settings."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

from pydantic import SecretStr

from helpers import PROJECT
from helpers.certify import golden
from helpers.settings import Stage, Target
from helpers.settings.section import Server

_COMMON = (
    "helpers/engines/*.py", "helpers/digests/**/*.py", "helpers/load/*.py", "helpers/model/*.py", "helpers/verify/*.py",
    "helpers/certify/*.py", "helpers/platforms/statements.py", "helpers/platforms/naming.py",
)  # fmt: skip
_OWN = {
    "snowflake": ("helpers/engines/snowflake/*.py", "helpers/platforms/snowflake.py"),
    "databricks": ("helpers/engines/delta/*.py", "helpers/platforms/spark.py", "helpers/platforms/delta.py"),
}
"""The code that makes every statement of a load and a verification; whatever of it changes, the SQL may have."""

_LIBRARIES = {
    "snowflake": ("snowflake-connector-python", "duckdb", "pyarrow"),
    "databricks": ("pyspark-client", "duckdb", "pyarrow", "deltalake"),
}
"""What carries statements, rows and files between us and the engine."""


@cache
def of_product(target: str) -> str:
    """Digest of the SQL that the product generates for an engine, by the code that makes it, and of the golden migration.

    Args:
        target: the adapter's name.
    """
    found = sha256(golden.fingerprint())
    patterns = (*_COMMON, *_OWN.get(target, ()))
    for path in sorted({path for pattern in patterns for path in PROJECT.glob(pattern)}):
        found.update(f"{path.relative_to(PROJECT)}\n".encode() + path.read_bytes())
    for name in _LIBRARIES.get(target, ()):
        found.update(f"{name} {_version(name)}\n".encode())
    return found.hexdigest()


def of_settings(target: Target, stage: Stage) -> str:
    """Digest of what a profile says of a target and of how its stage is reached; no secret and no time-out is in it."""
    left_out = {*Server.model_fields, "connect_timeout_seconds"}
    said = target.model_dump(mode="json", exclude=left_out | _secrets(target), by_alias=True)
    there = stage.model_dump(mode="json", include={"url", "endpoint", "region", "kms_key", "path_style"})
    return sha256(json.dumps([said, there], sort_keys=True).encode()).hexdigest()


def _secrets(target: Target) -> set[str]:
    return {name for name, field in type(target).model_fields.items() if SecretStr in get_args(field.annotation)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
