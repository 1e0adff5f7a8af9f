"""What Terraform answers in JSON: what it says is wrong, what a plan would change, and what a state holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from helpers.redaction import redact

Action = Literal["create", "update", "replace", "delete", "read"]

_NAMED_BY = (
    "name", "bucket", "cluster_name", "alarm_name", "identifier", "cidr_block", "service_name", "bucket_prefix", "set_identifier",
)  # fmt: skip
_SENSITIVE = "(sensitive)"
_ACTIONS: dict[str, Action] = {
    "create": "create", "update": "update", "delete": "delete", "create+delete": "replace", "read": "read",
}  # fmt: skip
"""By Terraform's words in their order; a resource that is replaced is deleted and created, or the other way round."""


@dataclass(frozen=True)
class Problem:
    """What Terraform says about a module.

    Attributes:
        severity: "error" or "warning".
        what: its summary and detail.
        where: file and line, relative to the module; empty when it concerns the whole.
    """

    severity: Literal["error", "warning"]
    what: str
    where: str


@dataclass(frozen=True)
class Change:
    """What would happen to one resource.

    Attributes:
        address: as Terraform names it.
        action: what is done.
        type: of the resource.
        what: the name that people know it by.
        values: the first twelve hexadecimal digits of the SHA-256 of what it would be, as far as that is known and not
            sensitive.
    """

    address: str
    action: Action
    type: str
    what: str
    values: str


def read_changes(shown: dict[str, Any]) -> tuple[tuple[Change, ...], str]:
    """The changes of a plan as `terraform show -json` has it, and one SHA-256 of them with all their values."""
    changes, values = [], []
    for each in sorted(shown.get("resource_changes", ()), key=lambda each: str(each["address"])):
        change = each["change"]
        action = _ACTIONS.get("+".join(sorted(change["actions"])))
        if action is None or each["mode"] != "managed":
            continue
        after = _without(change.get("after"), change.get("after_sensitive"))
        before = _without(change.get("before"), change.get("before_sensitive"))
        whole = [each["address"], action, before, after, change.get("after_unknown")]
        values.append(whole)
        named = after or before or {}
        what = next((str(named[key]) for key in _NAMED_BY if named.get(key)), "")
        changes.append(Change(each["address"], action, each["type"], what, _digest(whole)[:12]))
    return tuple(changes), _digest(values)


def _without(value: Any, sensitive: Any) -> Any:
    """The value with every sensitive part of it replaced: the digest of a weak password can be guessed."""
    if sensitive is True:
        return _SENSITIVE
    if isinstance(value, dict) and isinstance(sensitive, dict):
        return {key: _without(each, sensitive.get(key)) for key, each in value.items()}
    if isinstance(value, list) and isinstance(sensitive, list):
        return [_without(each, sensitive[n] if n < len(sensitive) else None) for n, each in enumerate(value)]
    return value


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_resources(module: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The resources of a state's module and of those below it."""
    yield from module.get("resources", ())
    for child in module.get("child_modules", ()):
        yield from read_resources(child)


def read_problem(diagnostic: dict[str, Any]) -> Problem:
    """One diagnostic of `terraform validate -json` or of a call's events."""
    place = diagnostic.get("range") or {}
    start = place.get("start", {}).get("line")
    where = f"{place['filename']}:{start}" if place.get("filename") else str(diagnostic.get("address") or "")
    parts = (str(diagnostic.get("summary") or ""), str(diagnostic.get("detail") or ""))
    what = redact(": ".join(" ".join(part.split()) for part in parts if part.strip()))
    return Problem("error" if diagnostic.get("severity") == "error" else "warning", what, where)


def read_problems(answer: dict[str, Any]) -> list[Problem]:
    """What a call said was wrong: its events in JSON, or the text of those that have none."""
    if isinstance(answer["value"], list):
        return [read_problem(e["diagnostic"]) for e in answer["value"] if e.get("type") == "diagnostic"]
    text = " ".join(redact(str(answer["error"] or "")).replace("│", " ").replace("╷", " ").replace("╵", " ").split())
    if "Error: " not in text:
        return []
    return [Problem("error", each.strip(), "") for each in text.split("Error: ")[1:]]
