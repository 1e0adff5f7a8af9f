"""The data sources of the DAGs: whether each can be reached, and the variable from which the DAGs know their profile.

They are the profile's own: the source, which is read, and the stage and the target, which are written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from helpers.engines import destination
from helpers.errors import LoadError, SourceRefused, StageError
from helpers.platforms import postgres, snowflake, spark
from helpers.platforms.s3 import Bucket
from helpers.settings import Databricks, Settings, Target

PROBE = "reached-by-runbook-20"
"""An object that is written to the stage and removed again."""

Section = Literal["source", "stage", "target"]


@dataclass(frozen=True)
class DataSource:
    """One of them.

    Attributes:
        section: what of the profile it is.
        access: what the DAGs do with it.
        what: it is, in words.
    """

    section: Section
    access: Literal["read", "write"]
    what: str


@dataclass(frozen=True)
class Reached:
    """What answered, in words."""

    address: str
    said: str


def data_sources(settings: Settings) -> dict[str, DataSource]:
    """The data sources that the profile has, by name."""
    found = [DataSource("source", "read", "the database in PostgreSQL")]
    if settings.values.stage:
        found.append(DataSource("stage", "write", "the Parquet files between export and load"))
    if settings.targets:
        found.append(DataSource("target", "write", "the migrated tables and the marts"))
    return {each.section: each for each in found}


def address(source: DataSource, settings: Settings) -> str:
    """How it is named to people.

    Raises:
        SettingsError: the profile has no such section.
    """
    match source.section:
        case "source":
            return postgres.address(settings.source)
        case "stage":
            return str(Bucket.open(settings.stage).location)
        case "target":
            return destination(settings.main_target).where


def reach(source: DataSource, settings: Settings, *, write: bool = False) -> Reached:
    """Asks it something that only the right one answers.

    Args:
        source: which.
        write: whether the stage is written to as well: an object that is removed again.

    Raises:
        MigrationError: it does not answer, does not let us in, or has not what the DAGs need.
    """
    ask: dict[Section, Callable[[], str]] = {
        "source": lambda: _source(settings),
        "stage": lambda: _stage(settings, write),
        "target": lambda: _target(settings.main_target),
    }
    return Reached(address(source, settings), ask[source.section]())


def told(settings: Settings, sources: dict[str, DataSource]) -> str:
    """What the variable says: profile, folder of migration.toml, and the addresses by name; no secret."""
    value = {
        "profile": settings.profile,
        "folder": str(settings.file.resolve().parent),
        "sources": {name: address(source, settings) for name, source in sources.items()},
    }
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _source(settings: Settings) -> str:
    source = settings.source
    with closing(postgres.connect(source)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(*) FILTER (WHERE has_table_privilege(c.oid, 'SELECT')) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%%'"
            " AND (%(schemas)s = '{}' OR n.nspname = ANY (%(schemas)s))",
            {"schemas": list(source.schemas)},
        )
        tables, readable = cursor.fetchone()
    if readable < tables or not tables:
        why = f"{readable} of its {tables} tables may be read"
        cure = "grant SELECT on them, or name the database that has them"
        raise SourceRefused("read the source", on=postgres.address(source), why=why, next_step=cure)
    return f"{tables} tables may be read"


def _stage(settings: Settings, write: bool) -> str:
    bucket = Bucket.open(settings.stage)
    objects = len(bucket.sizes())
    if not write:
        return f"{objects} objects"
    bucket.write(PROBE, b"1")
    try:
        if bucket.read(PROBE) != b"1":
            why = "it is not there"
            cure = "look at the bucket's policy and life cycle"
            raise StageError("read back what was written", on=f"{bucket.location}{PROBE}", why=why, next_step=cure)
    finally:
        bucket.remove([PROBE])
    return f"{objects} objects; one was written, read and removed"


def _target(target: Target) -> str:
    if isinstance(target, Databricks):
        with spark.connect(target) as session:
            rows = session.execute("SELECT version() AS version", doing="ask for the version")
    else:
        with snowflake.connect(target) as account:
            rows = account.execute("SELECT CURRENT_VERSION() AS V", doing="ask for the version")
    if not rows:
        why, cure = "it said nothing", "run the same command again"
        raise LoadError("ask for the version", on=destination(target).where, why=why, next_step=cure)
    return f"version {next(iter(rows[0].values()))}"
