"""Where a backup is restored to prove it, or the backup that exists and is proved by others."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AfterValidator, model_validator

from helpers.settings.elsewhere import Elsewhere
from helpers.settings.section import Section, example
from helpers.settings.source import Source

STEPS = ("s00-backup", "s60-recovery")
"""The steps that an existing backup stands in for."""


class RestoreServer(Source):
    """The PostgreSQL server on which a dump is restored, in a database that is made for it and dropped again. Its role may create
    databases; the one that is named is connected to and not changed."""

    @model_validator(mode="after")
    def _has_no_schemas(self) -> RestoreServer:
        if self.schemas:
            raise ValueError("schemas says nothing here: a dump is of all schemas")
        return self


def _is_past(value: date) -> date:
    if value > datetime.now(UTC).date():
        raise ValueError("a restore test that lies ahead proves nothing")
    return value


class ExistingBackup(Elsewhere):
    """A backup that others make, with the day on which it was last restored: the run asks for a person's signed word on it."""

    restored_on: Annotated[date, AfterValidator(_is_past), example("2026-11-20")]
    """The day of its latest restore test."""

    @property
    def as_elsewhere(self) -> Elsewhere:
        """The same as a step that exists elsewhere."""
        return Elsewhere(what=f"{self.what}, last restored on {self.restored_on}", link=self.link)


class Backup(Section):
    """How the backup is proved. Without this section a dump of the source is restored on a server that is started on this machine for
    it, and compared; nothing is created on the source in any case."""

    restore: Annotated[
        RestoreServer | None, example({"host": "restore.example.com", "dbname": "postgres", "user": "restore"})
    ] = None
    """A server of yours to restore on, instead of one that is started here."""
    existing: Annotated[
        ExistingBackup | None,
        example(
            {"what": "pgBackRest, nightly", "link": "https://wiki.example.com/backups", "restored_on": "2026-11-20"}
        ),
    ] = None
    """A backup that others make and restore (pgBackRest, snapshots of RDS): nothing is dumped then, and a person signs for it."""

    @model_validator(mode="after")
    def _is_one_way(self) -> Backup:
        if self.restore and self.existing:
            raise ValueError("backup.restore and backup.existing are two ways to prove it: take one of them away")
        return self
