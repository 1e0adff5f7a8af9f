"""docs/configuration/settings.md: every key of every section, rendered from the sections' classes."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from helpers import PROJECT
from helpers.settings.problems import example_of, fields, section_of, toml
from helpers.settings.profile import Profile
from helpers.settings.sources import DELIMITER, PREFIX

FILE = PROJECT / "docs" / "configuration" / "settings.md"

_HEAD = f"""# Settings

Every key of `migration.toml`, section by section. This page is rendered from the classes in `helpers/settings` by `runbook
settings --reference`; a test fails when it says something else. `runbook settings SECTION` prints one section.

A section is a table `[profiles.NAME.SECTION]`. Unknown keys are refused. Where a key is set more than once, the first of these
counts:

1. the environment: `{PREFIX}SECTION{DELIMITER}KEY`, for example `{PREFIX}EXPORT{DELIMITER}WORKERS=4`, whatever the profile;
   lists and tables as JSON. `approvals` cannot be set there: who may sign can only be set in the file;
2. the same names in `.env` beside the file;
3. the profile in the file;
4. the local stack, where the profile says `stack = "local"`;
5. the default below.

A **secret** is never written into the file. It is a reference, which any other key may be too:

| Reference | Read from |
|---|---|
| `{{ env = "NAME" }}` | the environment, else `.env` |
| `{{ aws_secret = "id", key = "field", region = "…" }}` | AWS Secrets Manager; without `key`, the whole secret |
| `{{ vault = "secret/data/path", key = "field" }}` | Vault at `VAULT_ADDR`, with `VAULT_TOKEN` |
"""


def page() -> str:
    """The whole page, as Markdown."""
    return _HEAD + "".join(f"\n## {name}\n\n{section(name)}" for name in Profile.model_fields)


def section(name: str) -> str:
    """One section, as Markdown: what it is for, and a row for each key."""
    field = Profile.model_fields[name]
    model = section_of(field.annotation)
    if model is None:
        described = _descriptions(Profile)[name]
        return f"A key of the profile itself, {_type(_schema(Profile)['properties'][name])}. {described}\n"
    parts = [f"{_table_name(name, field)}. {_plain(model.__doc__)}\n\n{_rows(model, name)}"]
    for key, each in fields(model).items():
        if inner := section_of(each.annotation):
            parts.append(f"{_table_name(f'{name}.{key}', each)}. {_plain(inner.__doc__)}\n\n{_rows(inner, name, key)}")
    return "\n".join(parts)


def _rows(model: type[BaseModel], *place: str) -> str:
    header = "| Key | Type | Default | Example | Description |\n|---|---|---|---|---|\n"
    inherits = [each for each in model.__mro__[1:] if issubclass(each, BaseModel)]
    own_first = sorted(fields(model).items(), key=lambda item: sum(item[0] in each.model_fields for each in inherits))
    return header + "".join(_row((*place, key), each, model) for key, each in own_first)


def write() -> bool:
    """Writes the page; whether it said something else before."""
    text = page()
    changed = not FILE.exists() or FILE.read_text(encoding="utf-8") != text
    if changed:
        FILE.write_text(text, encoding="utf-8")
    return changed


def _table_name(name: str, field: FieldInfo) -> str:
    written = str(field.annotation)
    if written.startswith("tuple["):
        return f"`[[profiles.NAME.{name}]]`, one table per entry"
    return f"`[profiles.NAME.{name}{'.ITS-NAME' if written.startswith('dict[') else ''}]`"


def _row(place: tuple[str, ...], field: FieldInfo, model: type[BaseModel]) -> str:
    default = "required"
    if not field.is_required():
        value = field.get_default(call_default_factory=True)
        default = "" if value is None or value in ((), {}) else f"`{toml(value)}`"
    example = example_of(Profile, place).removeprefix("for example ")
    key = place[-1]
    own = next(own for own, each in model.model_fields.items() if each is field)
    cells = (f"`{key}`", _type(_schema(model)["properties"][key]), default, f"`{example}`", _descriptions(model)[own])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "table",
}


def _type(schema: dict[str, Any]) -> str:
    """A type as pydantic's JSON schema has it, in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"] if each.get("type") != "null"))
    if schema.get("format") == "password":
        return "secret"
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return " or ".join(f"`{toml(each)}`" for each in choices)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(inner := schema.get("additionalProperties"), dict):
        return f"table of {_type(inner)} by name"
    limits = [
        text.format(schema[key])
        for key, text in {
            "minimum": "at least {}", "exclusiveMinimum": "above {}", "maximum": "at most {}",
        }.items()
        if key in schema
    ]  # fmt: skip
    return ", ".join([_NAMES[schema.get("type", "object")], *limits])


def _descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field; read from the source here alone, so that no command pays for it."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each.__module__.startswith("helpers."):
            (defined,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            assert isinstance(defined, ast.ClassDef)
            for field, text in pairwise(defined.body):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                        found[name] = _plain(said)
    return found


def _plain(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").strip()
