"""Where a profile's values come from, in order of precedence: the environment, `.env`, the file, the local stack."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as NotJson

from helpers import PROJECT
from helpers.errors import SettingsError
from helpers.settings.local_stack import local_stack
from helpers.settings.problems import settings_error
from helpers.settings.profile import Profile
from helpers.settings.references import resolve
from helpers.settings.section import Resolved
from helpers.settings.source import Source

FILE = "migration.toml"

LOCATION = "RUNBOOK_SETTINGS_FILE"
"""Where the file is, for a notebook, which does not run in the folder of the command that starts it."""

DEFAULT_PROFILE = "local"

PREFIX, DELIMITER = "RUNBOOK_", "__"
"""`RUNBOOK_EXPORT__WORKERS=8` is `export.workers = 8` of whatever profile is read; a list or a table is JSON."""


def location(beside: Path | None = None) -> Path:
    """The settings' file: what `RUNBOOK_SETTINGS_FILE` names, else `migration.toml` in the current folder, else in the project's.

    Args:
        beside: a folder of notebooks; a `migration.toml` in it comes first.
    """
    if beside is not None and (beside / FILE).exists():
        return beside / FILE
    if named := os.environ.get(LOCATION):
        return Path(named)
    return next((p for p in (Path.cwd() / FILE, PROJECT / FILE) if p.exists()), PROJECT / FILE)


def read_file(profile: str | None, file: Path | None) -> tuple[str, Path, dict[str, Any]]:
    """The profile's name, the file, and what the file has under that name, its references unread.

    Raises:
        SettingsError: there is no such file or profile, or something else stands beside the profiles.
    """
    name = profile or os.environ.get("RUNBOOK_PROFILE") or DEFAULT_PROFILE
    path = file or location()
    whole = _parsed(path)
    if unknown := next((key for key in whole if key != "profiles"), None):
        belongs = unknown in Profile.model_fields or (isinstance(whole[unknown], dict) and name in whole[unknown])
        raise SettingsError(
            f"read [{unknown}]",
            on=str(path),
            why="the file may only have tables under [profiles.NAME]",
            next_step=f"write it as [profiles.{name}{f'.{unknown}' if unknown in Profile.model_fields else ''}]"
            if belongs
            else "remove it, or correct its name",
        )
    tree = whole.get("profiles", {})
    if misplaced := next((key for key in tree if key != name and key in Profile.model_fields), None):
        raise SettingsError(
            f"read [profiles.{misplaced}]",
            on=str(path),
            why=f"it reads as a profile of that name, and {misplaced} is a section of a profile",
            next_step=f"write it as [profiles.{name}.{misplaced}], or give the profile another name",
        )
    if name not in tree:
        raise SettingsError(
            f"find profile {name!r}",
            on=str(path),
            why=f"the file has the profiles {', '.join(sorted(tree)) or '(none)'}",
            next_step=f"add [profiles.{name}], or name another with --profile",
        )
    return name, path, tree[name]


def read_everywhere(name: str, path: Path, written: dict[str, Any], source: Source | None = None) -> Profile:
    """The profile out of every source.

    Args:
        name: the profile's.
        path: the file.
        written: what the file has.
        source: what the local stack is told of as the source, in place of the profile's.

    Raises:
        SettingsError: a key or a secret is missing or wrong.
        LocalStackError: the profile lives on the local stack, and that is not up.
    """
    environment = {**dotenv_values(path.parent / ".env"), **os.environ}
    variables = dict(_variables(environment))
    try:
        given: dict[str, Any] = {
            "name": name,
            "path": path,
            "written": written,
            "environment": environment,
            "other": source,
        }
        return _Everywhere(**given)
    except NotJson:
        raise SettingsError(
            "read a setting from the environment", on=", ".join(variables.values()), why="a list or a table there is not JSON",
            next_step="write a list or a table as JSON, for example '[\"public\"]'",
        ) from None  # fmt: skip
    except ValidationError as error:
        raise settings_error(error, Profile, name, str(path), variables) from None


class _Everywhere(Profile):
    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(init_settings, InitSettingsSource)
        given = init_settings.init_kwargs
        options: dict[str, Any] = {
            "env_prefix": PREFIX, "env_nested_delimiter": DELIMITER, "env_ignore_empty": True
        }  # fmt: skip
        dotenv = _Dotenv(cls, given["path"].parent / ".env", dotenv_filtering="only_existing", **options)
        return _Environment(cls, **options), dotenv, _File(cls, given), _LocalStack(cls, given)


class _Environment(EnvSettingsSource):
    def __call__(self) -> dict[str, Any]:
        return {key: _marked(value) for key, value in super().__call__().items()}


class _Dotenv(DotEnvSettingsSource):
    def __call__(self) -> dict[str, Any]:
        return {key: _marked(value) for key, value in super().__call__().items()}


class _Given(PydanticBaseSettingsSource):
    """A source that needs to know which profile of which file is read."""

    def __init__(self, model: type[BaseSettings], given: Mapping[str, Any]) -> None:
        super().__init__(model)
        self.given = given

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Unused: the whole tree is read at once."""
        raise NotImplementedError


class _File(_Given):
    def __call__(self) -> dict[str, Any]:
        at = f"profiles.{self.given['name']}"
        return resolve(self.given["written"], self.given["environment"], at, self.given["path"], self.current_state)


class _LocalStack(_Given):
    def __call__(self) -> dict[str, Any]:
        if self.current_state.get("stack") != "local":
            return {}
        name, path, other = self.given["name"], self.given["path"], self.given["other"]
        if other is None:
            return local_stack().filled(self.current_state, name, path)
        keys = other.model_dump(include={"host", "port", "dbname"})
        found = local_stack().filled({**self.current_state, "source": keys}, name, path)
        del found["source"]  # it takes the place of the profile's, whose keys would contradict it
        return found


def _marked(value: Any) -> Any:
    """A tree whose texts did not come from the file, so that they may be secrets."""
    if isinstance(value, dict):
        return {key: _marked(each) for key, each in value.items()}
    return Resolved(value) if isinstance(value, str) else value


def _variables(environment: Mapping[str, str | None]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys that the environment sets, each with its variable; refuses those of no section."""
    for variable in environment:
        if not variable.upper().startswith(PREFIX):
            continue
        place = tuple(variable[len(PREFIX) :].lower().split(DELIMITER))
        if place[0] in Profile.model_fields and place[0] != "approvals":
            yield place, f"the environment variable {variable}"
        elif len(place) > 1 or place[0] == "approvals":
            raise SettingsError(
                f"read {variable}",
                on="the environment",
                why="who may sign can only be set in the file"
                if place[0] == "approvals"
                else f"a profile has no section {place[0]}",
                next_step=f"unset it; a setting is {PREFIX}SECTION{DELIMITER}KEY, for example {PREFIX}EXPORT{DELIMITER}WORKERS=4",
            )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        why, next_step = "the file does not exist", f"create {FILE}; the project's own shows every key"
    except tomllib.TOMLDecodeError as error:
        why, next_step = f"it is not valid TOML: {error}", "correct that line"
    raise SettingsError("read the settings", on=str(path), why=why, next_step=next_step)
