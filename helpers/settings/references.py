"""References of the file: `{ env = "NAME" }` (the environment or `.env`), `{ aws_secret = "id", key = "field" }` (AWS Secrets
Manager) or `{ vault = "secret/data/path", key = "field" }`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helpers.errors import SettingsError
from helpers.redaction import remember
from helpers.settings.section import Resolved


def resolve(
    tree: dict[str, Any], environment: Mapping[str, str | None], at: str, path: Path, known: Mapping[str, Any]
) -> dict[str, Any]:
    """The tree with the value of each reference in its place.

    Args:
        tree: a table of the file.
        environment: variables of the process and of `.env`.
        at: the table's key, for an error.
        path: the file, for an error.
        known: values that win over the file's, so that their references are not followed.

    Raises:
        SettingsError: a reference leads nowhere.
    """
    resolved: dict[str, Any] = {}
    for key, value in tree.items():
        here, better = f"{at}.{key}", known.get(key)
        if isinstance(value, dict) and (better is None or isinstance(better, dict)):
            reference = next((kind for kind in _REFERENCES if kind in value), None)
            if reference and (unread := sorted(set(value) - _KEYS_OF[reference])):
                raise SettingsError(
                    f"read {here}.{unread[0]}",
                    on=str(path),
                    why=f"a reference by {reference} has no such key",
                    next_step=f"remove it; its keys are {', '.join(sorted(_KEYS_OF[reference]))}",
                )
            resolved[key] = (
                Resolved(_REFERENCES[reference](value, environment, here, path))
                if reference
                else resolve(value, environment, here, path, better or {})
            )
        else:
            resolved[key] = value
    return resolved


def referred_variables(file: Path, profile: str | None) -> dict[str, str]:
    """The environment variables that a profile refers to, each with the key that does so.

    Args:
        file: the settings.
        profile: its name; all profiles of the file when None.

    Raises:
        SettingsError: the file cannot be read.
    """
    try:
        profiles = tomllib.loads(file.read_text(encoding="utf-8")).get("profiles", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            "read the settings", on=str(file), why=str(error), next_step=f"correct {file.name}"
        ) from None
    names = profiles if profile is None else [profile]
    return {name: key for each in names for name, key in _variables(profiles.get(each, {}), f"profiles.{each}")}


def _variables(tree: object, at: str) -> Iterator[tuple[str, str]]:
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if isinstance(value, dict) and isinstance(value.get("env"), str):
            yield value["env"], f"{at}.{key}"
        elif isinstance(value, dict) and "vault" in value:
            yield from (("VAULT_ADDR", f"{at}.{key}"), ("VAULT_TOKEN", f"{at}.{key}"))
        else:
            yield from _variables(value, f"{at}.{key}")


def _from_environment(reference: dict[str, str], environment: Mapping[str, str | None], at: str, path: Path) -> str:
    name = reference["env"]
    value = environment.get(name)
    if not value:
        raise SettingsError(
            f"read {at}",
            on=str(path),
            why=f"{name} is neither in the environment nor in {path.parent / '.env'}",
            next_step=f"set it, for example: export {name}=…",
        )
    return value


def _from_aws(reference: dict[str, str], environment: Mapping[str, str | None], at: str, path: Path) -> str:
    import boto3  # a tenth of a second of every command's start, for the few that need it
    from botocore.exceptions import BotoCoreError, ClientError

    name = reference["aws_secret"]
    try:
        answer = boto3.client("secretsmanager", region_name=reference.get("region")).get_secret_value(SecretId=name)
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(
            f"read {at}",
            on=f"AWS Secrets Manager, secret {name}",
            why=str(error),
            next_step="check the name, the region and that the role may call secretsmanager:GetSecretValue",
        ) from None
    return _field(answer.get("SecretString", ""), reference.get("key"), at, f"AWS Secrets Manager, secret {name}")


def _from_vault(reference: dict[str, str], environment: Mapping[str, str | None], at: str, path: Path) -> str:
    import requests

    address = _from_environment({"env": "VAULT_ADDR"}, environment, at, path)
    token = remember(_from_environment({"env": "VAULT_TOKEN"}, environment, at, path))
    where = f"Vault at {address}, path {reference['vault']}"
    try:
        answer = requests.get(
            f"{address.rstrip('/')}/v1/{reference['vault']}", headers={"X-Vault-Token": token}, timeout=10
        )
        answer.raise_for_status()
        data = answer.json()["data"]
    except (requests.RequestException, KeyError, ValueError) as error:
        raise SettingsError(
            f"read {at}", on=where, why=str(error), next_step="check VAULT_ADDR, VAULT_TOKEN and the path"
        ) from None
    # Version 2 of the key-value engine wraps the fields once more (https://developer.hashicorp.com/vault/api-docs).
    return _field(json.dumps(data["data"] if "metadata" in data else data), reference.get("key"), at, where)


def _field(secret: str, key: str | None, at: str, where: str) -> str:
    if key is None:
        return secret
    try:
        return str(json.loads(secret)[key])
    except (ValueError, KeyError, TypeError):
        raise SettingsError(
            f"read {at}", on=where, why=f"the secret has no field {key!r}", next_step="correct `key`"
        ) from None


_KEYS_OF = {"env": {"env"}, "aws_secret": {"aws_secret", "key", "region"}, "vault": {"vault", "key"}}
_REFERENCES = {"env": _from_environment, "aws_secret": _from_aws, "vault": _from_vault}
