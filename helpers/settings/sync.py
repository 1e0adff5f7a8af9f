"""How changes after the copy are followed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from helpers.settings.section import Section, example


class SyncOptions(Section):
    """How changes are followed after the copy. With this section, be it empty, phase 30 copies as `runbook export --follow` does, and
    `runbook doctor` asks for all that following needs."""

    publication: Annotated[str | None, example("migration")] = Field(default=None, min_length=1, max_length=63)
    """A publication that an owner of the tables made for this, and drops; without it, the role makes one of its own, which takes
    ownership of the tables and CREATE on the database."""
    slot_patience_seconds: float = Field(default=60.0, gt=0)
    """How long the slot may wait for transactions that have written and are still open."""
    retained_gigabytes: float = Field(default=20.0, gt=0)
    """How much of its log the source may keep for the slot before `runbook sync status` and `runbook doctor` say no."""
    batch_seconds: float = Field(default=2.0, gt=0)
    """How long changes are gathered before the targets take them; each batch keeps a warehouse awake."""
    batch_megabytes: float = Field(default=64.0, gt=0)
    """At how many megabytes of values a batch goes to the targets before its time, where a transaction ends."""
