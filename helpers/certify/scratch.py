"""Where a certification works: a schema and a prefix of the stage of its own, named so that what a killed one left is known; or a
schema that an administrator made for certifications, which is emptied and stays.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from helpers.certify import golden
from helpers.engines.certifying import Trial
from helpers.errors import MigrationError, SettingsError, TargetRefused
from helpers.platforms.s3 import Bucket
from helpers.settings import Databricks, Settings, Source, Tables

PREFIX = "RUNBOOK_CERTIFY_"
FOLDER = "certification/"
"""Below the stage's location: storage integrations and external locations read no other."""

_NAME = re.compile(r"RUNBOOK_CERTIFY_(\d{12})_([0-9A-F]{6})_(\d+)", re.IGNORECASE)
_LONGEST = timedelta(hours=6)
"""No certification takes so long: one of another machine that is older was killed."""


@dataclass(frozen=True)
class Scratch:
    """Of one certification.

    Attributes:
        name: of its schema, and of its prefix below the stage.
        settings: the profile, with that schema and that prefix.
        made_by_others: whether the schema is one that an administrator made.
    """

    name: str
    settings: Settings
    made_by_others: bool = False

    @property
    def bucket(self) -> Bucket:
        """Its prefix below the stage."""
        return Bucket.open(self.settings.stage)


def new_scratch(settings: Settings, target: str) -> Scratch:
    """Nothing is made yet.

    Args:
        settings: the profile.
        target: the adapter's name.

    Raises:
        SettingsError: the schema for certifications is one that gets tables of the migration.
    """
    name = f"{PREFIX}{datetime.now(UTC):%Y%m%d%H%M}_{_host()}_{os.getpid()}"
    section, given = settings.target(target), settings.values.certification.schema_
    if given and given.casefold() == section.schema_.casefold():
        raise SettingsError(
            "certify the target", on=f"[profiles.{settings.profile}.certification] schema", why=f"{given} is the schema of the migrated tables",
            next_step="name a schema that is for certifications alone",
        )  # fmt: skip
    folder = name if section.schema_.isupper() else name.lower()
    schema = given or folder
    own = {
        # Nothing of the profile's own source and tables has to do with the golden ones, and no source is asked.
        "source": Source(host="golden", dbname="golden", user="golden"), "tables": Tables(),
        "stage": settings.stage.model_copy(update={"url": f"{Bucket.open(settings.stage).location}{FOLDER}{folder}/"}),
        target: section.model_copy(update={"schema_": schema} | ({"cluster_by": {}} if isinstance(section, Databricks) else {})),
    }  # fmt: skip
    return Scratch(schema, replace(settings, values=settings.values.model_copy(update=own)), bool(given))


def empty(own: Scratch, trial: Trial) -> None:
    """Empties the schema that an administrator made, before a certification and behind it.

    Raises:
        TargetRefused: something lies there that no certification made; nothing was changed.
        ConnectionFailed, LoadError: it cannot be read, or something of it cannot be dropped.
    """
    found = trial.tables(own.name)
    manifests = (golden.manifest(of) for of in (golden.BEFORE, golden.AFTER))
    of_ours = {
        name.casefold() for name in (*trial.records, *(table.name for each in manifests for table in each.tables))
    }
    # A copy of what others wrote, and a table that is to take another's place, have more behind its name.
    others = [
        table for table in found if not {table.name.casefold(), table.name.casefold().rpartition("__")[0]} & of_ours
    ]
    if others:
        raise TargetRefused(
            "certify the target", on=f"the schema {own.name}", why=f"no certification made {', '.join(map(str, others[:5]))}",
            next_step="nothing was changed. Name a schema that is for certifications alone: [profiles.X.certification] schema",
        )  # fmt: skip
    trial.clear(own.name, found)


def remove_left(trial: Trial, bucket: Bucket) -> list[str]:
    """Removes what killed certifications left in the target and in the stage; what could not be removed, in words."""
    kept = []
    for schema in trial.schemas(PREFIX):
        if is_left(schema):
            try:
                trial.drop(schema)
            except MigrationError as error:
                kept.append(f"the schema {schema}: {error.why}")
    staged = list(bucket.sizes(FOLDER))
    bucket.remove([path for path in staged if is_left(path.removeprefix(FOLDER).partition("/")[0])])
    return kept


def is_left(name: str) -> bool:
    """Whether the certification of that name has been killed: its process is gone, or it would have ended long ago."""
    found = _NAME.fullmatch(name.removesuffix("__migration"))
    if not found:
        return False
    begun = datetime.strptime(found[1], "%Y%m%d%H%M").replace(tzinfo=UTC)
    if datetime.now(UTC) - begun > _LONGEST:
        return True
    return found[2].upper() == _host() and not _lives(int(found[3]))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return sha256(socket.gethostname().encode()).hexdigest()[:6].upper()
