"""Reads a target with SQL: Snowflake, Delta tables through Spark, or a DuckDB file with the staged tables and the marts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import duckdb

from helpers.engines.delta.catalog import qualified
from helpers.engines.delta.files import whole_relation
from helpers.errors import LoadError
from helpers.model.places import TargetTable, place
from helpers.platforms import duck, snowflake, spark
from helpers.platforms.delta import Lake
from helpers.platforms.faults import duck as faults
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import identifier
from helpers.settings import Databricks, Settings
from helpers.settings.local_stack import local_stack

RECORD = "marts.json"
"""The object of the stage that says what the marts are of, and what dbt calls them."""


class Reader(Protocol):
    """Reads where the target's tables and marts are.

    Attributes:
        engine: with its version, as people are told it.
        dialect: sqlglot's name of its SQL.
    """

    engine: str
    dialect: str

    def rows(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        """Rows by lower-case column name; whole and decimal numbers are exact."""

    @property
    def mart(self) -> Callable[[str], str]:
        """A mart's name → the mart as SQL names it."""

    def migrated(self, schema: str, name: str) -> str:
        """The table that a table of the source became, as SQL names it; without a schema, a table of the target itself."""

    def columns(self, relation: str) -> tuple[str, ...] | None:
        """Names of a relation's columns; None where there is no such relation."""


@contextmanager
def reading(settings: Settings, file: Path | None = None) -> Iterator[Reader]:
    """Reads where the profile has its marts, or, where it has none, its target, for the length of the block.

    Args:
        file: of dbt's engine duckdb.

    Raises:
        ConnectionFailed: no answer, or no entry.
        LoadError: engine duckdb, and there is no such file.
    """
    if settings.dbt.engine == "duckdb":
        path = file or default_file(settings)
        if not path.exists():
            why = "there is no such file: nothing was built there"
            raise LoadError("read the marts", on=str(path), why=why, next_step="build them: runbook marts")
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute(
                "SET enable_progress_bar = false"
            )  # in a notebook it would be a picture among the results
            yield _DuckReader(connection, settings)
        return
    target = settings.main_target
    if not isinstance(target, Databricks):
        with snowflake.connect(target) as session:
            yield _SnowflakeReader(session, settings)
    elif target.engine == "pysail":
        # It keeps no catalog, so DuckDB reads the files that each table's log names, as in a verification.
        with duck.connect() as connection:
            duck.enable_s3(connection, settings.stage)
            yield _LakeReader(connection, settings, target)
    else:
        with spark.connect(target) as cluster:
            yield _SparkReader(cluster, settings, target)


def read_record(settings: Settings) -> dict[str, Any]:
    """What the marts were built from when they were whole last, and their names in the target; empty where none were."""
    found = Bucket.open(settings.stage).read(RECORD) if settings.values.stage else None
    record: dict[str, Any] = json.loads(found) if found else {}
    own = {"engine": settings.dbt.engine, "marts": settings.marts_schema}
    return record if own.items() <= record.items() else {}


class _Marts:
    """The names of the marts: as dbt told them when it built them, otherwise a table of that name in the marts' schema."""

    def __init__(self, settings: Settings, place: str) -> None:
        self._settings, self._place = settings, place
        self._told: dict[str, str] | None = None

    def __call__(self, name: str) -> str:
        if self._told is None:
            self._told = dict(read_record(self._settings).get("relations", {}))
        # The tables are called as dbt calls them: without quotation marks.
        return self._told.get(name) or f"{self._place}.{name}"


def _place(settings: Settings, schema: str, name: str, own: str) -> TargetTable:
    """Where the profile's patterns put a table of the source; a name without a schema is the target's own."""
    return place(settings.tables, schema, name, own) if schema else TargetTable(own, name)


def default_file(settings: Settings) -> Path:
    """Where engine duckdb keeps a profile's marts."""
    return local_stack().root() / f"marts-{settings.profile}-{settings.marts_schema}.duckdb"


class _SnowflakeReader:
    dialect = "snowflake"

    def __init__(self, session: snowflake.Session, settings: Settings) -> None:
        self._session, self._settings = session, settings
        self.mart = _Marts(settings, identifier(settings.snowflake.database, settings.marts_schema))
        (row,) = session.execute("SELECT CURRENT_VERSION() AS V", doing="ask for the version")
        self.engine = f"Snowflake {row['V']}"

    def rows(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        found = self._session.execute(sql, doing=doing)
        return [{name.lower(): value for name, value in row.items()} for row in found]

    def migrated(self, schema: str, name: str) -> str:
        own = self._settings.snowflake
        return identifier(own.database, *_place(self._settings, schema, name, own.schema_))

    def columns(self, relation: str) -> tuple[str, ...] | None:
        try:
            return self._session.columns(f"SELECT * FROM {relation}", doing="look at the columns")
        except LoadError:
            return None


class _DuckReader:
    dialect = "duckdb"

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        self._connection, self._settings = connection, settings
        self.mart = _Marts(settings, identifier(settings.marts_schema))
        self.engine = f"DuckDB {duckdb.__version__}"

    def rows(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        try:
            cursor = self._connection.execute(sql)
            names = [column[0].lower() for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except duckdb.Error as error:
            cure = "build the marts: runbook marts"
            raise faults.told(error, doing, on=self.engine, kind=LoadError, cure=cure) from None

    def migrated(self, schema: str, name: str) -> str:
        return identifier(*_place(self._settings, schema, name, self._settings.migrated_schema))

    def columns(self, relation: str) -> tuple[str, ...] | None:
        try:
            described = self._connection.execute(f"SELECT * FROM {relation} LIMIT 0").description
        except duckdb.CatalogException:
            return None
        return tuple(str(column[0]) for column in described or ())


class _LakeReader(_DuckReader):
    """Delta tables, each as it was when it was first asked for."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: Settings, target: Databricks) -> None:
        super().__init__(connection, settings)
        self._target = target
        self.engine = f"{self.engine} over the Delta tables' files"

    def migrated(self, schema: str, name: str) -> str:
        there = _place(self._settings, schema, name, self._target.schema_)
        lake = Lake.open(self._target, self._settings.stage, there.schema)
        view = identifier(str(there))
        if there.name in lake.tables():
            self._connection.execute(
                f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {whole_relation(lake, there.name)}"
            )
        return view


class _SparkReader:
    dialect = "spark"

    def __init__(self, session: spark.Session, settings: Settings, target: Databricks) -> None:
        self._session, self._settings, self._target = session, settings, target
        (row,) = session.execute("SELECT version() AS version", doing="ask for the version")
        self.engine = f"{spark.engine(target)} {row['version']}"

    def rows(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        return [{name.lower(): value for name, value in row.items()} for row in self._session.execute(sql, doing=doing)]

    def mart(self, name: str) -> str:
        return qualified(self._target, TargetTable(self._settings.marts_schema, name))

    def migrated(self, schema: str, name: str) -> str:
        return qualified(self._target, _place(self._settings, schema, name, self._target.schema_))

    def columns(self, relation: str) -> tuple[str, ...] | None:
        try:
            return tuple(column[0] for column in self._session.columns(relation, doing="look at the columns"))
        except LoadError:
            return None
