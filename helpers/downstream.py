"""Can each system that reads the target read it? It is tried as that system's own user, on what that system reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helpers import marts
from helpers.errors import EvidenceError, MigrationError
from helpers.parity import AGGREGATES
from helpers.settings import Downstream, Settings

MARTS = "marts."
READERS = ("role", "application")
"""Kinds of the assessment's list that read relations; a replication slot or a foreign server does not read the target."""


@dataclass(frozen=True)
class Reading:
    """One attempt to read.

    Attributes:
        system: as the assessment's list calls it.
        what: a table of the target, or a mart as "marts.NAME".
        user: who read.
        own: whether that is the system's own user.
        readable: whether there was an answer.
        said: rows that are there, or why it could not be read.
    """

    system: str
    what: str
    user: str
    own: bool
    readable: bool
    said: str


@dataclass(frozen=True)
class Listed:
    """A system that the assessment found around the source.

    Attributes:
        kind: as what the server knows it, such as "role" or "replication slot".
        objects: relations of the source that it may read, as "schema.name".
    """

    name: str
    kind: str
    objects: tuple[str, ...] = ()


def read_list(file: Path) -> tuple[Listed, ...]:
    """The assessment's list.

    Raises:
        EvidenceError: the file is gone, or is no such list.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return tuple(Listed(str(each["name"]), str(each["kind"]), tuple(map(str, each["objects"]))) for each in found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceError(
            "read phase 00's list of integrations", on=file.name, why=f"{type(error).__name__}: {error}",
            next_step="run phase 00 again in this run",
        ) from None  # fmt: skip


def systems(settings: Settings, listed: Sequence[Listed]) -> dict[str, Downstream | None]:
    """What each system reads: as the profile describes it, otherwise what a role may read of the source today, where a legacy
    aggregate becomes the mart that replaces it. None where neither says anything."""
    found: dict[str, Downstream | None] = {}
    aggregates = {each.name for each in AGGREGATES}
    for each in listed:
        names = [name.rpartition(".")[2] for name in each.objects] if each.kind in READERS else []
        reads = tuple(f"{MARTS}{name}" if name in aggregates else name for name in dict.fromkeys(names))
        found[each.name] = Downstream(reads=reads) if reads else None
    return found | dict(settings.values.downstream)


def validate(
    settings: Settings, described: Mapping[str, Downstream | None], file: Path | None = None
) -> tuple[Reading, ...]:
    """Reads what each system reads, as its own user where the profile names one.

    Args:
        settings: the profile; `[profiles.NAME.downstream.SYSTEM]` says what a system reads, and as whom.
        described: what `systems` knows; one of which nothing is known is left to the caller.
        file: of engine duckdb.

    Returns:
        A reading for each object; one that fails is an answer and raises nothing.
    """
    return tuple(reading for name, how in described.items() if how for reading in _of(settings, name, how, file))


def _of(settings: Settings, system: str, described: Downstream, file: Path | None) -> list[Reading]:
    as_it = _as_itself(settings, described)
    own = as_it is not settings
    user = as_it.snowflake.user if settings.dbt.engine == "snowflake" else "whoever opens the file"
    found = []
    try:
        with marts.reading(as_it, file) as reader:
            for what in described.reads:
                name = reader.mart(what.removeprefix(MARTS)) if what.startswith(MARTS) else reader.migrated(what)
                try:
                    (row,) = reader.rows(f"SELECT count(*) AS n FROM {name}", doing=f"read {what} as {system}")
                    found.append(Reading(system, what, user, own, True, f"{int(row['n']):,} rows"))
                except MigrationError as error:
                    found.append(Reading(system, what, user, own, False, error.why))
    except MigrationError as error:  # no entry: nothing of it can be read
        read = {reading.what for reading in found}
        found += [Reading(system, what, user, own, False, error.why) for what in described.reads if what not in read]
    return found


def _as_itself(settings: Settings, described: Downstream) -> Settings:
    if described.user is None or settings.dbt.engine != "snowflake":
        return settings
    own = settings.snowflake.model_copy(
        update={
            "user": described.user, "password": described.password, "private_key_file": described.private_key_file,
            "private_key_passphrase": None, "role": described.role,
            "warehouse": described.warehouse or settings.snowflake.warehouse,
        }
    )  # fmt: skip
    return replace(settings, values=settings.values.model_copy(update={"snowflake": own}))
