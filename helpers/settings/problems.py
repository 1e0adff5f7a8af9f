"""A wrong setting as one error: the key, where it was looked for, and an example."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from helpers.errors import SettingsError


def settings_error(
    error: ValidationError, model: type[BaseModel], profile: str, file: str, variables: Mapping[tuple[str, ...], str]
) -> SettingsError:
    """One error out of all that pydantic found.

    Args:
        error: what it found.
        model: the profile's class.
        profile: its name.
        file: where it was read.
        variables: keys that the environment set, each with the variable.
    """
    found = error.errors(include_input=False, include_url=False)
    # A key that is missing may be the one that is misspelt.
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    place = tuple(str(part) for part in first["loc"])
    key, on = ".".join(["profiles", profile, *place]), _variable(place, variables) or file
    if place and place[0] in _REPLACED:
        why, cure = _REPLACED[place[0]]
        return SettingsError(f"read {key}", on=on, why=why, next_step=cure.format(profile=profile))
    if first["type"] == "extra_forbidden":
        cure = _meant(model, profile, place) or f"correct it; {example_of(model, place)}"
        return SettingsError(f"read {key}", on=on, why="there is no such key", next_step=cure)
    why = first["msg"].removeprefix("Value error, ")
    return SettingsError(f"read {key}", on=on, why=why, next_step=f"correct it; {example_of(model, place)}")


_REPLACED = {
    "hybrid": (
        "the tables that stay are described with those that move",
        'write its list as [profiles.{profile}.tables] stay = {{ "crm.*" = "the reason why they stay" }}',
    )
}
"""Sections that there were: why they went, and what is written instead."""


def example_of(model: type[BaseModel], place: Sequence[str | int]) -> str:
    """What may be written for a key, from its place within the profile."""
    keys = [str(part) for part in place if not str(part).isdigit()]
    field: FieldInfo | None = None
    section: type[BaseModel] | None = model
    named = ""
    for name in keys:
        found = fields(section).get(name) if section else None
        if found is None:
            continue  # a name within a table, or a key that is not there
        named, field, section = name, found, section_of(found.annotation)
    if field is None:
        return "see the settings reference: runbook settings"
    if field.examples:
        value = field.examples[0]
        whole = isinstance(value, dict) and section and len(keys) == 1 and not str(field.annotation).startswith("dict[")
        body = inline(value) if whole else f"{named} = {toml(value)}"
    elif section:
        written = {name: each for name, each in fields(section).items() if each.is_required() and each.examples}
        body = inline({name: each.examples[0] for name, each in written.items() if each.examples})
    else:
        body = f"{keys[-1]} = {toml(field.get_default(call_default_factory=True))}"
    return f"for example {body}"


def toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, dict):
        return f"{{ {inline(value)} }}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(each) for each in value)}]"
    return value.isoformat() if isinstance(value, date) else json.dumps(value, ensure_ascii=False)


def inline(table: Mapping[str, Any]) -> str:
    """Keys and values of a table, one after the other."""
    keys = (key if key.replace("_", "").replace("-", "").isalnum() else json.dumps(key) for key in table)
    return ", ".join(f"{key} = {toml(value)}" for key, value in zip(keys, table.values(), strict=True))


def fields(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a section as the file has them."""
    return {each.alias or name: each for name, each in section.model_fields.items()}


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds: itself, in a list or by name."""
    return next(
        (
            each
            for each in (annotation, *get_args(annotation))
            if isinstance(each, type) and issubclass(each, BaseModel)
        ),
        None,
    )


def _meant(model: type[BaseModel], profile: str, place: Sequence[str]) -> str:
    """What an unknown key was probably meant for: the nearest in its place, else its place elsewhere."""
    sections = {name: section for name, each in fields(model).items() if (section := section_of(each.annotation))}
    *within, key = place
    here: type[BaseModel] | None = model
    for name in within:
        found = fields(here).get(name) if here else None
        here = section_of(found.annotation) if found else here  # or it is a name of the profile's own, as of a glob
    known = fields(here) if here else {}
    if near := difflib.get_close_matches(key, sorted(known), 1):
        return f"write {near[0]}" if key not in known else ""
    others = [name for name, section in sections.items() if key in fields(section) and name not in within]
    if others:
        return "it belongs under " + " or ".join(f"[profiles.{profile}.{name}]" for name in others)
    if key in sections:
        return f"it is a section: [profiles.{profile}.{key}]"
    return f"take it away; known here: {', '.join(sorted(known))}" if known else ""


def _variable(place: tuple[str, ...], variables: Mapping[tuple[str, ...], str]) -> str | None:
    """The variable that set a key, or the table it lies in."""
    return next((variables[place[:n]] for n in range(len(place), 0, -1) if place[:n] in variables), None)
