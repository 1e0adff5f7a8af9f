"""The last verification of each target, its age, and the stand-in that answered for the target, if any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers import settings as profiles
from helpers.control_room.differences import Verification, VerifiedTable, verifications
from helpers.errors import MigrationError
from helpers.evidence.index_page import TARGETS
from helpers.ledger.ledger import Entry

_INSIDE = frozenset({"stage", "restored", "recovery"})
"""Comparisons on the way, which are told only where they are not equal."""


@dataclass(frozen=True)
class TargetVerdict:
    """What was said last of one target.

    Attributes:
        name: the target, as people say it.
        at: when the report was written, ISO 8601.
        stand_in: what stood in for the service; empty where it was the service itself, or nobody says.
    """

    name: str
    verification: Verification
    at: str
    stand_in: str = ""

    @property
    def verdict(self) -> str:
        """ "equal", "different" or "refused", or that there is none."""
        return self.verification.verdict or "unreadable"

    @property
    def differing(self) -> tuple[VerifiedTable, ...]:
        """Tables that were not found equal."""
        return tuple(each for each in self.verification.tables if each.verdict != "equal")

    @property
    def rows_source(self) -> int:
        """Rows of the source, of all tables that say it."""
        return sum(each.rows_source or 0 for each in self.verification.tables)

    @property
    def rows_target(self) -> int:
        """Rows of the target, of all tables that say it."""
        return sum(each.rows_target or 0 for each in self.verification.tables)


def last_verdicts(folder: Path, entries: Sequence[Entry], profile: str) -> tuple[TargetVerdict, ...]:
    """The last verdict of each target, those first that are not equal.

    Args:
        folder: the run's.
        entries: of its ledger, which says in which order the reports were made; a copy's files may all be of one moment.
        profile: of the run.
    """
    places = {f"{e.get('phase')}/{e.get('attempt')}": e for e in entries if e.event == "attempt-started"}
    ended = {f"{e.get('phase')}/{e.get('attempt')}": e for e in entries if e.event == "attempt-ended"}
    places |= {str(e.get("report")).removesuffix(".json"): e for e in entries if e.event == "verified"}
    stood_in = stand_ins(entries, profile)
    last: dict[str, tuple[tuple[int, float], TargetVerdict]] = {}
    for each in verifications(folder):
        attempt = "-".join(each.name.split("-")[:2])
        entry = places.get(each.name) or places.get(attempt)
        at = ended.get(attempt) or entry if each.name not in places else entry
        inside = each.name.rpartition("verify-")[2]
        key = inside if inside in _INSIDE else {"delta": "databricks"}.get(each.target, each.target)
        found = TargetVerdict(TARGETS.get(key, key or "a target"), each, at.at if at else "", stood_in.get(key, ""))
        order = (entry.n if entry else 0, each.written)
        if key not in last or order > last[key][0]:
            last[key] = (order, found)
    shown = [(key, each) for key, (_, each) in last.items() if key not in _INSIDE or each.verdict != "equal"]
    return tuple(
        each for _, each in sorted(shown, key=lambda x: (x[1].verdict == "equal", x[0] not in TARGETS, x[1].name))
    )


def stand_ins(entries: Sequence[Entry], profile: str) -> dict[str, str]:
    """By target, what stood in for it: as the ledger says, and where it says nothing as the profile's settings are now."""
    said = [e.get("stand_ins") for e in entries if e.event in ("attempt-started", "servers")]
    if any(isinstance(each, dict) for each in said):
        return {str(k).lower(): str(v) for each in said if isinstance(each, dict) for k, v in each.items()}
    try:
        local = profiles.load_approvals(profile or None).values.stack == "local"
    except MigrationError:
        return {}
    return {"snowflake": "fakesnow", "databricks": "pysail"} if local else {}
