"""Can each system that reads the target read it? It is tried as that system's own user, on what that system reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from helpers import marts
from helpers.errors import MigrationError
from helpers.settings import Downstream, Settings

MARTS = "marts."


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


def validate(settings: Settings, systems: Iterable[str], file: Path | None = None) -> tuple[Reading, ...]:
    """Reads what each system reads, as its own user where the profile names one.

    Args:
        settings: the profile; `[profiles.NAME.downstream.SYSTEM]` says what a system reads, and as whom.
        systems: which ones; one that the profile does not describe is left to the caller.
        file: of engine duckdb.

    Returns:
        A reading for each object; one that fails is an answer and raises nothing.
    """
    known = settings.values.downstream
    return tuple(reading for name in systems if name in known for reading in _of(settings, name, known[name], file))


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
