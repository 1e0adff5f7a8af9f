"""The people of a profile: who may sign, and who is called when a step fails."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from helpers.settings.section import Section, example


class FormerKey(Section):
    """A key that was somebody's: of one who has left, or from before a key was replaced. It signs nothing any more."""

    name: Annotated[str, example("alice")]
    """Whose it was."""
    key: Annotated[str, example("keys/alice-2025.pem.pub")]
    """The public key, as under people."""
    start: Annotated[date | None, example("2025-01-01")] = Field(default=None, alias="from")
    """The first day, in UTC, on which it could sign; without it, every day before."""
    to: Annotated[date, example("2026-06-30")]
    """The last day, in UTC, on which it could sign. What was signed by then stays good; what was signed later is void."""


class Approvals(Section):
    """Who may sign, and how many of them a step needs. The environment cannot change this section."""

    people: Annotated[dict[str, str], example({"alice": "keys/alice.pem.pub"})] = Field(default_factory=dict)
    """Per name: a file with the public key (relative to this file), its PEM text, or the base64 text of its 32 bytes."""
    start: Annotated[dict[str, date], example({"alice": "2026-07-01"})] = Field(default_factory=dict, alias="from")
    """Per name: the first day, in UTC, on which their key under people signs. What it signed before is void."""
    former: Annotated[
        tuple[FormerKey, ...], example([{"name": "alice", "key": "keys/alice-2025.pem.pub", "to": "2026-06-30"}])
    ] = ()
    """Keys that were people's: what they signed in their time stays good."""
    threshold: int = Field(default=1, ge=1)
    """How many people a step needs."""
    thresholds: Annotated[dict[str, Annotated[int, Field(ge=1)]], example({"cutover": 2, "destructive": 2})] = Field(
        default_factory=dict
    )
    """Per step, or per class of steps: "cutover" and "destructive", which need two where the profile is not the local stack."""


class Contact(Section):
    """Whom to call when a step fails and its remedy does not help, in the order of the list."""

    name: Annotated[str, example("Ana Silva")]
    """A person, or a rota."""
    role: Annotated[str, example("database on call")]
    """What they decide or know."""
    reach: Annotated[str, example("+351 210 000 000, #db-oncall")]
    """How to reach them: phone, pager, channel."""

    def __str__(self) -> str:
        return f"{self.name}, {self.role}: {self.reach}"
