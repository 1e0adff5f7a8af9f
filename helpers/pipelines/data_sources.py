"""The data sources of the DAGs: a list, whether each can be reached, and the variables that Airflow gets for them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from helpers import PROJECT
from helpers.errors import LoadError, SettingsError, SourceRefused, StageError
from helpers.platforms import postgres, snowflake
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings

FILE = PROJECT / "pipeline" / "airflow" / "data_sources.toml"
VARIABLE = "migration_sources"
"""Of Airflow, from which the DAGs have their profile."""

PROBE = "reached-by-runbook-20"
"""An object that is written to the stage and removed again."""

Section = Literal["source", "stage", "snowflake"]


class DataSource(BaseModel):
    """One of them.

    Attributes:
        section: of the profile, that says where it is.
        access: what the DAGs do with it.
        what: it is, in words.
        used_by: ids of DAGs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    section: Section
    access: Literal["read", "write"]
    what: str
    used_by: tuple[str, ...]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: dict[str, DataSource]


@dataclass(frozen=True)
class Reached:
    """What answered, in words."""

    address: str
    said: str


def read(file: Path = FILE) -> dict[str, DataSource]:
    """The data sources by name.

    Raises:
        SettingsError: the file is missing or wrong; names the key.
    """
    try:
        return _File.model_validate(tomllib.loads(file.read_text(encoding="utf-8"))).sources
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise _wrong(file, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise _wrong(file, str(error)) from None


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
        case "snowflake":
            return snowflake.address(settings.snowflake)


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
        "snowflake": lambda: _snowflake(settings),
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


def _snowflake(settings: Settings) -> str:
    with snowflake.connect(settings.snowflake) as session:
        rows = session.execute("SELECT CURRENT_VERSION() AS V", doing="ask for the version")
    if not rows:
        why = "it said nothing"
        cure = "run the same command again"
        raise LoadError("ask for the version", on=snowflake.address(settings.snowflake), why=why, next_step=cure)
    return f"version {next(iter(rows[0].values()))}"


def _wrong(file: Path, why: str) -> SettingsError:
    cure = "see docs/configuration/data-sources.md"
    return SettingsError("read the data sources", on=file.name, why=why, next_step=cure)
