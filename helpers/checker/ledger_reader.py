"""The ledger as somebody reads it who trusts neither its writer nor its writer's code."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.checker.dsse import sha256
from helpers.checker.finding import Finding
from helpers.checker.strict_json import is_canonical, loads

LEDGER = "ledger.jsonl"
START = "0" * 64
"""What the first line names as the digest before it."""

_MOST_COMPARED = 4_000_000
"""Pairs of lines up to which it is found out what was moved, inserted or removed; more would take minutes."""


@dataclass(frozen=True)
class Line:
    """One fact. `digest` is that of the line's bytes, which the next line names."""

    n: int
    event: str
    fields: dict[str, Any]
    digest: str

    def text(self, field: str) -> str:
        """The field when it is a text, else an empty one."""
        value = self.fields.get(field)
        return value if isinstance(value, str) else ""


def read(data: bytes) -> tuple[list[Line], list[Finding]]:
    """Every line that can be read, and what is wrong with the chain.

    Returns:
        The lines in the order of the file; findings of the kinds `ledger-truncated`, `ledger-line` and `ledger-form`, and
        of `ledger-chain` where a line does not follow from the one before.
    """
    *complete, rest = data.split(b"\n")
    found: list[Finding] = []
    if rest:
        found.append(Finding("ledger-truncated", LEDGER, "its last line is not complete"))
    lines: list[Line] = []
    for number, raw in enumerate(complete, start=1):
        line = _line(raw)
        if line is None:
            found.append(Finding("ledger-line", LEDGER, f"line {number} is not readable"))
            line = Line(number, "", {}, sha256(raw))
        elif not is_canonical(raw, line.fields):
            found.append(Finding("ledger-form", LEDGER, f"line {number} is not written as the ledger writes its lines"))
        lines.append(line)
    return lines, found + list(_chain(lines))


def named_differences(lines: Sequence[Line], sealed: Sequence[str]) -> list[Finding]:
    """Says what was done to a ledger since it was sealed, also when its chain was computed anew.

    Args:
        lines: as they are now.
        sealed: the lines' digests as they were.
    """
    now = [line.digest for line in lines]
    if now == list(sealed):
        return []
    same = next((at for at, (a, b) in enumerate(zip(now, sealed, strict=False)) if a != b), min(len(now), len(sealed)))
    if (len(now) - same) * (len(sealed) - same) > _MOST_COMPARED:
        return [Finding("ledger-edited", LEDGER, f"from line {same + 1} on it is not as it was sealed")]
    if sorted(now) == sorted(sealed):
        moved = [str(place) for place, (a, b) in enumerate(zip(now, sealed, strict=True), start=1) if a != b]
        return [Finding("ledger-reordered", LEDGER, f"the lines {', '.join(moved)} stand in another order")]
    found = []
    tails = difflib.SequenceMatcher(None, sealed[same:], now[same:], autojunk=False)
    for tag, *places in tails.get_opcodes():
        a, b, c, d = (same + each for each in places)
        if tag == "delete" and b == len(sealed):
            found.append(Finding("ledger-truncated", LEDGER, f"it ends before line {a + 1} of {len(sealed)}"))
        elif tag == "delete":
            found.append(Finding("ledger-removed", LEDGER, f"{_span(a, b)} of the sealed ledger is gone"))
        elif tag == "insert":
            found.append(Finding("ledger-inserted", LEDGER, f"{_span(c, d)} was not there when it was sealed"))
        elif tag == "replace":
            found += _replaced(a, b, c, d)
    return found


def _replaced(a: int, b: int, c: int, d: int) -> Iterator[Finding]:
    # A chain that was computed anew changes every line behind the first: the count tells what else happened.
    yield Finding("ledger-edited", LEDGER, f"{_span(a, b)} is not as it was sealed")
    if d - c > b - a:
        yield Finding("ledger-inserted", LEDGER, f"{d - c - (b - a)} more lines than were sealed from line {a + 1} on")
    if d - c < b - a:
        yield Finding("ledger-removed", LEDGER, f"{b - a - (d - c)} fewer lines than were sealed from line {a + 1} on")


def _line(raw: bytes) -> Line | None:
    try:
        value = loads(raw)
        if not isinstance(value, dict) or not isinstance(value["event"], str) or type(value["n"]) is not int:
            return None
        return Line(value["n"], value["event"], value, sha256(raw))
    except (ValueError, KeyError):
        return None


def _chain(lines: Sequence[Line]) -> Iterator[Finding]:
    before = START
    for place, line in enumerate(lines, start=1):
        if line.n != place:
            yield Finding("ledger-chain", LEDGER, f"line {place} is numbered {line.n}")
        if line.event and line.fields.get("prev") != before:
            yield Finding("ledger-chain", LEDGER, f"line {place} does not follow from the one before it")
        before = line.digest


def _span(first: int, end: int) -> str:
    return f"line {first + 1}" if end - first == 1 else f"what lies in the lines {first + 1} to {end}"
