"""The marts: built by dbt from the migrated tables, and read exactly, in Snowflake or in a DuckDB file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import duckdb

from helpers.errors import LoadError, MigrationError
from helpers.load import duckdb as loading_duckdb
from helpers.model import manifest as manifests
from helpers.platforms import dbt, snowflake
from helpers.platforms.dbt import DbtResult, Node
from helpers.platforms.faults import duck as faults
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import identifier
from helpers.settings import Settings
from helpers.settings.local_stack import local_stack

SELECT = ("+marts",)
"""The marts with everything below them: alone they fail where a staging view is missing."""

STAND_IN = "stand-in"
"""What a local stand-in has in its version."""


class Reader(Protocol):
    """Reads where the marts are."""

    engine: str
    """With its version, as people are told it."""

    def rows(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        """Rows by lower-case column name; whole and decimal numbers are exact."""

    def mart(self, name: str) -> str:
        """A mart as SQL names it."""

    def migrated(self, name: str) -> str:
        """A migrated table as SQL names it."""


def build(
    settings: Settings,
    *,
    load_id: str | None = None,
    file: Path | None = None,
    select: Sequence[str] = SELECT,
    report: Callable[[str], None] = lambda line: None,
) -> DbtResult:
    """Builds the marts and runs their tests, on the profile's engine; on DuckDB the stage must be in the file (`prepare`).

    Args:
        load_id: written into the marts once all of them are well; `built` reads it. Without it they keep the one that they
            have while they are of the same export.
        file: of engine duckdb; without it one beside the local stack's data.
        select: dbt's selectors.
        report: is told what dbt says.

    Raises:
        MigrationError: dbt could not run; a failed test is part of the result.
    """
    manifest = manifests.read_if_any(Bucket.open(settings.stage))
    export = manifest.export if manifest else "none"
    if load_id is None:
        former = built(settings, file)
        load_id = former["load_id"] if former.get("export_id") == export else "none"
    variables = {"load_id": load_id, "export": export}
    database = (file or default_file(settings)) if settings.dbt.engine == "duckdb" else None
    return dbt.build(settings, select, variables=variables, file=database, report=report)


def prepare(settings: Settings, file: Path | None = None) -> None:
    """Puts the staged tables where the profile's engine looks for them: on DuckDB into its file; elsewhere the load did.

    Raises:
        StageError, LoadError: the stage cannot be read, or not all of it arrived.
    """
    if settings.dbt.engine != "duckdb":
        return
    database = file or default_file(settings)
    database.parent.mkdir(parents=True, exist_ok=True)
    bucket = Bucket.open(settings.stage)
    manifest = manifests.read(bucket).placed(settings.tables)
    loading_duckdb.load(manifest, bucket, database, settings.migrated_schema)


def failing_rows(reader: Reader, node: Node, *, limit: int = 10) -> list[dict[str, Any]]:
    """The first rows that a test found, by its own SQL; none where it has none to show."""
    if node.kind != "test" or not node.sql:
        return []
    with suppress(MigrationError):  # its message says why it could not be run
        return reader.rows(
            f"SELECT * FROM (\n{node.sql}\n) AS failing LIMIT {limit}", doing=f"show what {node.name} found"
        )
    return []


def built(settings: Settings, file: Path | None = None) -> dict[str, str]:
    """Which load the marts are of, as they say themselves; empty where there are none that are whole."""
    with suppress(LoadError), reading(settings, file) as reader:
        rows = reader.rows(
            f"SELECT * FROM {reader.mart('pipeline_build')}", doing="read what the marts were built from"
        )
        return {name: str(value) for name, value in rows[0].items()} if rows else {}
    return {}


@contextmanager
def reading(settings: Settings, file: Path | None = None, *, fresh: bool = False) -> Iterator[Reader]:
    """Reads the marts of the profile's engine, for the length of the block.

    Args:
        file: of engine duckdb.
        fresh: answer no query from the result of an earlier one, as Snowflake does otherwise
            (https://docs.snowflake.com/en/user-guide/querying-persisted-results).

    Raises:
        ConnectionFailed: no answer, or no entry.
        LoadError: engine duckdb, and there is no such file.
    """
    if settings.dbt.engine == "duckdb":
        path = file or default_file(settings)
        if not path.exists():
            why = "there is no such file: nothing was built there"
            raise LoadError("read the marts", on=str(path), why=why, next_step="build them: runbook marts")
        connection = duckdb.connect(str(path), read_only=True)
        connection.execute("SET enable_progress_bar = false")  # in a notebook it would be a picture among the results
        try:
            yield _DuckReader(connection, settings)
        finally:
            connection.close()
        return
    with snowflake.connect(settings.snowflake) as session:
        if fresh:
            session.execute("ALTER SESSION SET USE_CACHED_RESULT = FALSE", doing="leave the result cache out")
        yield _SnowflakeReader(session, settings)


def default_file(settings: Settings) -> Path:
    """Where engine duckdb keeps a profile's marts."""
    return local_stack().root() / f"marts-{settings.profile}-{settings.marts_schema}.duckdb"


class _SnowflakeReader:
    def __init__(self, session: snowflake.Session, settings: Settings) -> None:
        self._session, self._settings = session, settings
        (row,) = session.execute("SELECT CURRENT_VERSION() AS V", doing="ask for the version")
        self.engine = f"Snowflake {row['V']}"

    def rows(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        found = self._session.execute(sql, doing=doing)
        return [{name.lower(): value for name, value in row.items()} for row in found]

    def mart(self, name: str) -> str:
        # The tables are called as dbt calls them: without quotation marks.
        return f"{identifier(self._settings.snowflake.database, self._settings.marts_schema)}.{name}"

    def migrated(self, name: str) -> str:
        return identifier(self._settings.snowflake.database, self._settings.snowflake.schema_, name)


class _DuckReader:
    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        self._connection, self._settings = connection, settings
        self.engine = f"DuckDB {duckdb.__version__}"

    def rows(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        try:
            cursor = self._connection.execute(sql)
            names = [column[0].lower() for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except duckdb.Error as error:
            cure = "build the marts: runbook marts"
            raise faults.told(error, doing, on=self.engine, kind=LoadError, cure=cure) from None

    def mart(self, name: str) -> str:
        return f"{identifier(self._settings.marts_schema)}.{name}"

    def migrated(self, name: str) -> str:
        return identifier(self._settings.migrated_schema, name)
