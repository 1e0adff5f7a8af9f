"""The verifications of a run that did not read equal, and which of them no later one outweighs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

EVENT = "verified"


class Line(Protocol):
    """A line of a ledger, as either of its readers has it."""

    @property
    def event(self) -> str:
        """What happened."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """The event's own."""


@dataclass(frozen=True)
class Objection:
    """A verification that did not read equal, and that no later one outweighs.

    Attributes:
        target: as `--target` names it.
        report: its file within the run's folder.
        verdict: "different" or "refused".
        tables: those that did not read equal.
    """

    target: str
    report: str
    verdict: str
    tables: tuple[str, ...]

    def __str__(self) -> str:
        on = ", ".join(self.tables[:3]) + (f" and {len(self.tables) - 3} more" if len(self.tables) > 3 else "")
        return f"{self.report}: {self.target} was found {self.verdict}{f' in {on}' if on else ''}, and not equal since"

    def command(self, run: str) -> str:
        """What asks again for everything."""
        return f"runbook verify --target {self.target} --run {run}" + (
            " --target-dsn-env VARIABLE" if self.target == "postgresql" else ""
        )


def find_objections(lines: Iterable[Line]) -> tuple[Objection, ...]:
    """The verifications that stand against a run: each that did not read equal, unless a later one of the same servers did.

    That later one must have asked the same, or for every cell; and it must have seen the tables that differed.

    Args:
        lines: of its ledger, in their order; what they say is not trusted to be whole.
    """
    standing: list[Mapping[str, Any]] = []
    for found in (line.fields for line in lines if line.event == EVENT):
        if found.get("verdict") == "equal":
            standing = [earlier for earlier in standing if not _outweighs(found, earlier)]
        else:
            standing.append(found)
    return tuple(
        Objection(str(f.get("target")), str(f.get("report")), str(f.get("verdict")), _names(f, "differing"))
        for f in standing
    )


def _outweighs(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    if any(later.get(name) != earlier.get(name) for name in ("target", "on")):
        return False
    everything = later.get("asked") == {}
    return (everything or later.get("asked") == earlier.get("asked")) and set(_names(earlier, "differing")) <= set(
        _names(later, "tables")
    )


def _names(found: Mapping[str, Any], field: str) -> tuple[str, ...]:
    names = found.get(field)
    return tuple(map(str, names)) if isinstance(names, list) else ()
