"""What `environment.json` says of a run's opening and of its servers, which the ledger says too: the check compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helpers.checker.ledger_reader import Line

_SERVER_KEYS = frozenset(
    "server_version version versions server role time_zone timezone snapshot lsn lsn_exact warehouse database".split()
)


def environment_from_ledger(lines: Sequence[Line]) -> dict[str, Any]:
    """The parts of `environment.json` that follow from the ledger.

    Returns:
        `run`, how it was opened, and `servers`: an entry for each line in which servers told of themselves, or a step told
        of them, so that two steps that saw two servers, or two LSNs, both stand there.
    """
    opened = lines[0].fields if lines else {}
    return {
        "run": {key: value for key, value in opened.items() if key not in ("prev", "n")},
        "servers": [
            {"step": line.text("step"), "line": line.n, **known}
            for line in lines
            if (known := dict(_told(line)) if line.event == "servers" else _known(line))
        ],
    }


def _told(line: Line) -> Mapping[str, Any]:
    told = line.fields.get("servers")
    return told if isinstance(told, Mapping) else {}


def _known(line: Line) -> dict[str, Any]:
    return _picked(line.fields.get("result")) if line.event == "step-done" else {}


def _picked(value: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(value, dict):
        for key, each in value.items():
            if key in _SERVER_KEYS:
                found[key] = each
            elif inner := _picked(each):
                found[key] = inner
    return found
