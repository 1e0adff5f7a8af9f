"""Can each system that reads the pipeline's output still read it? Tried with that system's user, on what that system reads.

On a target by logging in as that user. On the source, which option C keeps, by asking the server what the system's role may
do, which needs nobody else's password.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2

from helpers.errors import EvidenceError, MigrationError
from helpers.pipelines.readers import read_record, reading
from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.platforms.postgres import identifier, value
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


def systems(settings: Settings, listed: Sequence[Listed], *, stays: bool = False) -> dict[str, Downstream | None]:
    """What each system reads: as the profile describes it, otherwise what a role may read of the source today.

    A relation of the source and the mart of its name stand for one another.

    Args:
        listed: by the assessment.
        stays: whether the legacy pipeline does; they then read the source, and else the target.

    Returns:
        By the system's name; None where neither profile nor list says what it reads.
    """
    found: dict[str, Downstream | None] = {}
    built = (
        frozenset()
        if stays or not listed or not settings.dbt.project
        else frozenset(read_record(settings).get("relations", ()))
    )
    for each in listed:
        reads = each.objects if each.kind in READERS else ()
        named = dict.fromkeys(reads if stays else (_on_target(relation, built) for relation in reads))
        found[each.name] = Downstream(reads=tuple(named)) if named else None
    for name, how in settings.values.downstream.items():
        found[name] = how.model_copy(update={"reads": tuple(map(_on_source, how.reads))}) if stays else how
    return found


def _on_target(relation: str, built: Set[str]) -> str:
    """What replaces a relation of the source, "schema.name": the mart of its name, where dbt has built one, otherwise its table."""
    return f"{MARTS}{name}" if (name := relation.rpartition(".")[2]) in built else relation


def _on_source(what: str) -> str:
    """The relation that a mart replaces; a table is its own."""
    return what.removeprefix(MARTS)


def validate(settings: Settings, described: Mapping[str, Downstream | None]) -> tuple[Reading, ...]:
    """Reads what each system reads, as its own user where the profile names one.

    Args:
        settings: the profile; `[profiles.NAME.downstream.SYSTEM]` says what a system reads, and as whom.
        described: what `systems` knows; one of which nothing is known is left to the caller.

    Returns:
        A reading for each object; one that fails is an answer and raises nothing.
    """
    return tuple(reading for name, how in described.items() if how for reading in _read_target(settings, name, how))


def validate_source(settings: Settings, described: Mapping[str, Downstream | None]) -> tuple[Reading, ...]:
    """Reads what each system reads of the source, and asks whether its own role may.

    Args:
        settings: the profile; a system's role is its `user`, or the role that is called as the system is.
        described: what `systems` knows where the pipeline stays; one of which nothing is known is left to the caller.

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
    role: str | None = EVERYBODY
    if user or system.lower() != EVERYBODY:
        role = value(cursor, "SELECT (SELECT rolname::text FROM pg_roles WHERE rolname = %s)", (user or system,))
    who = role or user or str(cursor.connection.info.user)
    relation = next((name for place in places if (name := _relation(cursor, place))), None)
    if relation is None:
        return Reading(system, what, who, role is not None, False, "the source has no such table or view")
    if user and role is None:
        return Reading(system, what, user, True, False, f"the source has no role {user}")
    if role and (lacking := _lacking(cursor, role, relation)):
        return Reading(system, what, role, True, False, lacking)
    rows = int(value(cursor, f"SELECT count(*) FROM {relation}"))
    return Reading(system, what, who, role is not None, True, f"{rows:,} rows")


def _relation(cursor: Any, place: str) -> str | None:
    """The relation's name, quoted; `place` is "schema.name", which needs no quotation marks of its own."""
    quoted = identifier(*place.split(".", 1))
    return quoted if value(cursor, "SELECT to_regclass(%s)", (quoted,)) else None


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


def _read_target(settings: Settings, system: str, described: Downstream) -> list[Reading]:
    as_it = _as_itself(settings, described)
    own = as_it is not settings
    user = as_it.snowflake.user if _is_snowflake(settings) else "the migration's own user"
    found = []
    try:
        with reading(as_it) as reader:
            for what in described.reads:
                name = (
                    reader.mart(what.removeprefix(MARTS)) if what.startswith(MARTS) else reader.migrated(*_place(what))
                )
                try:
                    (row,) = reader.rows(f"SELECT count(*) AS n FROM {name}", doing=f"read {what} as {system}")
                    found.append(Reading(system, what, user, own, True, f"{int(row['n']):,} rows"))
                except MigrationError as error:
                    found.append(Reading(system, what, user, own, False, error.why))
    except MigrationError as error:  # no entry: nothing of it can be read
        read = {each.what for each in found}
        found += [Reading(system, what, user, own, False, error.why) for what in described.reads if what not in read]
    return found


def _place(what: str) -> tuple[str, str]:
    """Schema and name of a table as it is written; without a schema it is empty."""
    schema, _, name = what.rpartition(".")
    return schema, name


def _is_snowflake(settings: Settings) -> bool:
    """Whether readers log in to Snowflake."""
    return settings.dbt.engine == "snowflake" and settings.values.snowflake is not None


def _as_itself(settings: Settings, described: Downstream) -> Settings:
    if described.user is None or not _is_snowflake(settings):
        return settings
    own = settings.snowflake.model_copy(
        update={
            **described.login, "user": described.user, "role": described.role,
            "warehouse": described.warehouse or settings.snowflake.warehouse,
        }
    )  # fmt: skip
    return replace(settings, values=settings.values.model_copy(update={"snowflake": own}))
