"""Can each system that reads the pipeline's output still read it? Tried with that system's user, on what that system reads.

On a target by logging in as that user. On the source, which option C keeps, by asking the server what the system's role may
do, which needs nobody else's password.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2

from helpers.errors import EvidenceError, MigrationError
from helpers.pipelines import marts
from helpers.pipelines.parity import AGGREGATES, LEGACY_NAMES
from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.platforms.postgres import identifier
from helpers.settings import Downstream, Settings

MARTS = "marts."
EVERYBODY = "public"
"""What PostgreSQL calls them in a question about rights; the assessment's list has them in capitals."""

READERS = ("role", "application")
"""Kinds of the assessment's list that read relations; a replication slot or a foreign server does not read the target."""


@dataclass(frozen=True)
class Reading:
    """One attempt to read.

    Attributes:
        system: as the assessment's list calls it.
        what: a table, or a mart as "marts.NAME".
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
        why = f"{type(error).__name__}: {error}"
        cure = "run phase 00 again in this run"
        raise EvidenceError("read phase 00's list of integrations", on=file.name, why=why, next_step=cure) from None


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
    return tuple(
        reading for name, how in described.items() if how for reading in _read_target(settings, name, how, file)
    )


def source_systems(settings: Settings, listed: Sequence[Listed]) -> dict[str, Downstream | None]:
    """What each system reads of the source: as the profile describes it, where a mart is the legacy aggregate of its name,
    otherwise what its role might use at the assessment. None where neither says anything."""
    found: dict[str, Downstream | None] = {
        each.name: Downstream(reads=tuple(dict.fromkeys(each.objects)))
        if each.kind in READERS and each.objects else None
        for each in listed
    }  # fmt: skip
    for name, described in settings.values.downstream.items():
        marts_read = {each: each.removeprefix(MARTS) for each in described.reads if each.startswith(MARTS)}
        reads = tuple(
            LEGACY_NAMES.get(marts_read.get(each, ""), marts_read.get(each, each)) for each in described.reads
        )
        found[name] = described.model_copy(update={"reads": reads})
    return found


def validate_source(settings: Settings, described: Mapping[str, Downstream | None]) -> tuple[Reading, ...]:
    """Reads what each system reads of the source, and asks whether its own role may.

    Args:
        settings: the profile; a system's role is its `user`, or the role that is called as the system is.
        described: what `source_systems` knows; one of which nothing is known is left to the caller.

    Returns:
        A reading for each object; one that fails is an answer and raises nothing.

    Raises:
        ConnectionFailed: no answer, or no entry.
    """
    schemas = settings.source.schemas or ("public",)
    found = []
    with closing(postgres.connect(settings.source)) as connection, connection.cursor() as cursor:
        connection.readonly = True
        for system, how in described.items():
            for what in how.reads if how else ():
                user = how.user if how else None
                try:
                    found.append(_read_source(cursor, schemas, system, user, what))
                except psycopg2.Error as error:
                    if faults.lost(error):
                        where = postgres.address(settings.source)
                        raise faults.told(error, f"read {what} as {system}", on=where) from None
                    who = user or settings.source.user
                    found.append(Reading(system, what, who, False, False, faults.said(error)))
                    connection.rollback()  # one object that cannot be read leaves the others alone
    return tuple(found)


def _read_source(cursor: Any, schemas: Sequence[str], system: str, user: str | None, what: str) -> Reading:
    places = [what] if "." in what else [f"{schema}.{what}" for schema in schemas]
    role = EVERYBODY if system.lower() == EVERYBODY and not user else _role(cursor, user or system)
    who = role or user or str(cursor.connection.info.user)
    relation = next((name for place in places if (name := _relation(cursor, place))), None)
    if relation is None:
        return Reading(system, what, who, role is not None, False, "the source has no such table or view")
    if user and role is None:
        return Reading(system, what, user, True, False, f"the source has no role {user}")
    if role and (lacking := _lacking(cursor, role, relation)):
        return Reading(system, what, role, True, False, lacking)
    cursor.execute(f"SELECT count(*) FROM {relation}")
    return Reading(system, what, who, role is not None, True, f"{int(cursor.fetchone()[0]):,} rows")


def _role(cursor: Any, name: str) -> str | None:
    cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = %s", (name,))
    row = cursor.fetchone()
    return str(row[0]) if row else None


def _relation(cursor: Any, place: str) -> str | None:
    """The relation's name, quoted; `place` is "schema.name", which needs no quotation marks of its own."""
    cursor.execute("SELECT to_regclass(%s)::text", (identifier(*place.split(".", 1)),))
    return cursor.fetchone()[0] and identifier(*place.split(".", 1))


def _lacking(cursor: Any, role: str, relation: str) -> str:
    """The right that a role lacks to read a relation; empty where it lacks none."""
    schema = relation[: relation.index('"."') + 1]
    cursor.execute(
        "SELECT has_schema_privilege(%(role)s, %(schema)s::regnamespace, 'USAGE'), "
        "has_table_privilege(%(role)s, %(relation)s::regclass, 'SELECT')",
        {"role": role, "schema": schema, "relation": relation},
    )
    enters, reads = cursor.fetchone()
    lacking = [what for what, has in ((f"USAGE on the schema {schema}", enters), ("SELECT", reads)) if not has]
    return f"the role {role} lacks {' and '.join(lacking)}" if lacking else ""


def _read_target(settings: Settings, system: str, described: Downstream, file: Path | None) -> list[Reading]:
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
