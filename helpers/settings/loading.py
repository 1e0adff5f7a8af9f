"""Reads the settings of one profile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from helpers.credentials import written_secret
from helpers.errors import SettingsError
from helpers.redaction import remember
from helpers.settings import libpq
from helpers.settings.local_stack import local_stack
from helpers.settings.problems import settings_error
from helpers.settings.profile import Profile, Settings
from helpers.settings.section import Resolved
from helpers.settings.source import Source
from helpers.settings.sources import read_everywhere, read_file


def load(profile: str | None = None, file: Path | None = None, *, source: Source | None = None) -> Settings:
    """Reads one profile and resolves the secrets it refers to.

    Args:
        profile: its name under `[profiles]`; without it, `RUNBOOK_PROFILE` or "local".
        file: without it, see `location`.
        source: in place of the profile's; on the local stack the sample's description is given only where this is the sample's.

    Raises:
        SettingsError: a file, profile, key or secret is missing or wrong; names the key and where it was looked for.
        LocalStackError: the profile lives on the local stack, and that is not up.
    """
    name, path, written = read_file(profile, file)
    values = read_everywhere(name, path, written, source)
    _remember_secrets(values)
    found = Settings(profile=name, file=path, values=values)
    return found.with_source(source) if source else found


def load_approvals(profile: str | None = None, file: Path | None = None) -> Settings:
    """Reads of one profile only who may sign, and what exists elsewhere: no secret, and no local stack, is needed for that.

    Raises:
        SettingsError: as `load` does.
    """
    name, path, written = read_file(profile, file)
    keys = {key: written[key] for key in ("stack", "approvals", "elsewhere") if key in written}
    if keys.get("stack") == "local":
        keys["approvals"] = {"people": local_stack().signers(), **keys.get("approvals", {})}
    try:
        return Settings(profile=name, file=path, values=Profile.model_validate(keys))
    except ValidationError as error:
        raise settings_error(error, Profile, name, str(path), {}) from None


def source_from_dsn(variable: str) -> Source:
    """The source that the environment variable `variable` describes as a libpq DSN or URL.

    Raises:
        SettingsError: the variable is not set or is no DSN.
    """
    dsn = os.environ.get(variable)
    example = f"export {variable}='postgresql://user@host:5432/database'"
    if not dsn:
        raise SettingsError(
            f"read the environment variable {variable}", on="the environment", why="it is not set", next_step=example
        )
    try:
        return Source.model_validate({"url": Resolved(dsn)})
    except ValidationError as error:
        why = error.errors(include_input=False, include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(f"parse the DSN in {variable}", on="the environment", why=why, next_step=example) from None


def local_source() -> Source:
    """The local stack's server, whatever the profile.

    Raises:
        LocalStackError: the stack is not up.
    """
    return Source.model_validate(local_stack().source())


def source_keys(dsn: str) -> dict[str, Any]:
    """A libpq DSN or URL as keys of a section `source`; raises `ValueError` for what is none."""
    return libpq.keys(libpq.parsed(dsn), frozenset(Source.model_fields))


def _remember_secrets(value: object, key: str = "") -> None:
    """So that none of them appears in a text that leaves this process."""
    if isinstance(value, Resolved) and written_secret(str(value), key):
        remember(value)
    elif isinstance(value, SecretStr):
        remember(value.get_secret_value())
    elif isinstance(value, BaseModel):
        _remember_secrets(dict(value))
    elif isinstance(value, dict):
        for name, each in value.items():
            _remember_secrets(each, str(name))
