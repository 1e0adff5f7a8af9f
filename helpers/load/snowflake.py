"""The stage → Snowflake: a temporary table takes the files, explicit casts move its rows to the final table.

Each table is one transaction: readers see its former rows or its new ones. A second load replaces the first, so it
neither duplicates rows nor depends on which files Snowflake remembers having loaded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import urlparse

from helpers.errors import LoadError, UsageError
from helpers.manifest import Manifest, StagedColumn, StagedTable
from helpers.platforms import snowflake
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import Session, identifier, literal
from helpers.progress import Progress
from helpers.settings import Snowflake, Stage

LOADED = "loaded.json"
NEW_SUFFIX = "__migration_new"

FILES_PER_COPY = 1000
"""The most that COPY's FILES takes (https://docs.snowflake.com/en/sql-reference/sql/copy-into-table)."""


@dataclass(frozen=True)
class TableLoad:
    """What will happen to one table."""

    staged: StagedTable
    action: str
    """"create", "replace the rows", or "replace the table: …" with the reason."""
    definition: str = ""
    """Columns and comment of a new table; empty where the present one serves."""
    exists: bool = False

    @property
    def target(self) -> str:
        """The table's name in Snowflake."""
        return self.staged.name


@dataclass(frozen=True)
class LoadPlan:
    """What a load will do; nothing was written to make it."""

    manifest: Manifest
    bucket: Bucket
    target: Snowflake
    tables: tuple[TableLoad, ...]
    stale: tuple[str, ...] = ()
    """Tables that an earlier load made and the source no longer has; they are dropped."""

    @property
    def rows(self) -> int:
        """Rows to load."""
        return sum(table.staged.rows for table in self.tables)


@dataclass(frozen=True)
class Loaded:
    """Rows that one table holds after its transaction."""

    table: str
    rows: int
    action: str


def plan_load(manifest: Manifest, bucket: Bucket, target: Snowflake, *, table: str | None = None) -> LoadPlan:
    """Compares the manifest with what the target has.

    Args:
        manifest: of the export to load.
        bucket: where its files are.
        target: the Snowflake account, database and schema.
        table: only this one, by `name` or `schema.name`.

    Raises:
        UsageError: no such table in the manifest, or two that would get one name.
    """
    chosen = [staged for staged in manifest.tables if table is None or table in (staged.name, str(staged))]
    if not chosen:
        raise UsageError(
            "find the table to load",
            on=f"--target-table {table}",
            why="the manifest does not name it",
            next_step=f"name one of: {', '.join(str(staged) for staged in manifest.tables)}",
        )
    _refuse_same_names(chosen)
    with snowflake.connect(target) as session:
        present = _present_columns(session, target)
    planned = tuple(_plan_table(staged, present) for staged in chosen)
    whole = manifest.complete and table is None
    stale = {name for name in _loaded_before(bucket, target) if name in present} - {staged.name for staged in chosen}
    return LoadPlan(manifest, bucket, target, planned, tuple(sorted(stale)) if whole else ())


def load(plan: LoadPlan, *, progress: Progress | None = None) -> tuple[Loaded, ...]:
    """Loads every table of `plan`, each in a transaction of its own.

    Raises:
        LoadError: Snowflake refused rows or counted others than were staged; that table is as it was before.
    """
    done = 0
    loaded = []
    with snowflake.connect(plan.target) as session:
        for sql in _prepare(plan.target):
            session.execute(sql, doing="create the database and schema")
        stage = f"migration_{plan.manifest.export}"
        session.execute(_create_stage(stage, plan.bucket, plan.target), doing="create the external stage")
        for table in plan.tables:
            if progress:
                progress(done, plan.rows, f"loading {table.staged}")
            loaded.append(_load_table(session, stage, table))
            done += table.staged.rows
        for name in plan.stale:
            session.execute(
                f"DROP TABLE IF EXISTS {identifier(name)}", doing=f"drop {name}, which the source has no more"
            )
        if progress:
            progress(done, plan.rows, "loaded")
    names = {table.target for table in plan.tables} | (set(_loaded_before(plan.bucket, plan.target)) - set(plan.stale))
    plan.bucket.write(LOADED, json.dumps({snowflake.address(plan.target): sorted(names)}).encode())
    return tuple(loaded)


def _loaded_before(bucket: Bucket, target: Snowflake) -> list[str]:
    """Names of the tables that loads from this stage have made in the target."""
    content = bucket.read(LOADED)
    return list(json.loads(content).get(snowflake.address(target), [])) if content else []


def column_definition(column: StagedColumn) -> str:
    """A column of the final table as DDL."""
    parts = [identifier(column.name), column.snowflake]
    if column.not_null:
        parts.append("NOT NULL")
    if column.comment:
        parts.append(f"COMMENT {literal(column.comment)}")
    return " ".join(parts)


def _refuse_same_names(tables: list[StagedTable]) -> None:
    seen: dict[str, StagedTable] = {}
    for table in tables:
        if other := seen.get(table.name):
            raise UsageError(
                "name the tables in Snowflake",
                on=f"{other} and {table}",
                why="both would be the same table of the one target schema",
                next_step="load them into two schemas: two profiles, each with its own `schemas` and target `schema`",
            )
        seen[table.name] = table


def _present_columns(session: Session, target: Snowflake) -> dict[str, list[tuple[str, str, bool]]]:
    databases = session.execute("SHOW DATABASES", doing="list the databases")
    if target.database not in {row["name"] for row in databases}:
        return {}
    rows = session.execute(
        f"SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, NUMERIC_PRECISION, NUMERIC_SCALE, CHARACTER_MAXIMUM_LENGTH, IS_NULLABLE "
        f"FROM {identifier(target.database)}.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = %s ORDER BY TABLE_NAME, ORDINAL_POSITION",
        [target.schema_],
        doing="read the columns of the target",
    )
    present: dict[str, list[tuple[str, str, bool]]] = {}
    for row in rows:
        kind = declared_type(
            row["DATA_TYPE"], row["NUMERIC_PRECISION"], row["NUMERIC_SCALE"], row["CHARACTER_MAXIMUM_LENGTH"]
        )
        present.setdefault(row["TABLE_NAME"], []).append((row["COLUMN_NAME"], kind, row["IS_NULLABLE"] == "NO"))
    return present


def declared_type(name: str, precision: int | None, scale: int | None, length: int | None) -> str:
    """A type of INFORMATION_SCHEMA as our DDL writes it."""
    match name.upper():
        case "NUMBER" | "DECIMAL" | "NUMERIC":
            return f"NUMBER({precision},{scale})"
        case "TEXT" | "VARCHAR":
            return "VARCHAR" if length is None or length >= 16_777_216 else f"VARCHAR({length})"
        case "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ" | "TIME" as kind:
            return f"{kind}(6)"
        case kind:
            return kind


def _plan_table(staged: StagedTable, present: dict[str, list[tuple[str, str, bool]]]) -> TableLoad:
    wanted = [(column.name, column.snowflake, column.not_null) for column in staged.columns]
    found = present.get(staged.name)
    if found == wanted:
        return TableLoad(staged, "replace the rows", exists=True)
    columns = ", ".join(column_definition(column) for column in staged.columns)
    comment = f" COMMENT = {literal(staged.comment)}" if staged.comment else ""
    action = "create" if found is None else f"replace the table: {_difference(found, wanted)}"
    return TableLoad(staged, action, f"({columns}){comment}", exists=found is not None)


def _difference(found: list[tuple[str, str, bool]], wanted: list[tuple[str, str, bool]]) -> str:
    names, needed = [column[0] for column in found], [column[0] for column in wanted]
    if lacking := [name for name in needed if name not in names]:
        return f"it lacks {', '.join(lacking)}"
    if surplus := [name for name in names if name not in needed]:
        return f"it also has {', '.join(surplus)}"
    differing = ((have, want) for have, want in zip(found, wanted, strict=True) if have != want)
    have, want = next(differing)
    return f"its column {have[0]} {have[1]} must be {want[0]} {want[1]}{' NOT NULL' if want[2] else ''}"


def _prepare(target: Snowflake) -> list[str]:
    return [
        f"CREATE DATABASE IF NOT EXISTS {identifier(target.database)}",
        f"CREATE SCHEMA IF NOT EXISTS {identifier(target.database, target.schema_)}",
        f"USE SCHEMA {identifier(target.database, target.schema_)}",
    ]


def _create_stage(name: str, bucket: Bucket, target: Snowflake) -> str:
    stage: Stage = bucket.stage
    location = bucket.location
    options = []
    scheme = "s3"
    if stage.endpoint:
        # S3-compatible storage has a scheme of its own (https://docs.snowflake.com/en/user-guide/data-load-s3-compatible-storage).
        scheme = "s3compat"
        options.append(f"ENDPOINT = {literal(urlparse(stage.endpoint).netloc)}")
    if target.storage_integration and not stage.endpoint:
        options.append(f"STORAGE_INTEGRATION = {identifier(target.storage_integration)}")
    elif stage.access_key and stage.secret_key:
        key, secret = stage.access_key, stage.secret_key.get_secret_value()
        options.append(f"CREDENTIALS = (AWS_KEY_ID = {literal(key)} AWS_SECRET_KEY = {literal(secret)})")
    else:
        raise UsageError(
            "let Snowflake read the stage",
            on=str(location),
            why="the profile names neither a storage integration nor keys for the stage",
            next_step='set storage_integration = "…" under the profile\'s snowflake section',
        )
    return (
        f"CREATE OR REPLACE TEMPORARY STAGE {identifier(name)} URL = {literal(f'{scheme}://{location.bucket}/{location.prefix}')} "
        f"{' '.join(options)} FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE)"
    )


def _load_table(session: Session, stage: str, table: TableLoad) -> Loaded:
    """Rows go to a temporary table, then to the final one, or to a new one that takes its place when it is whole."""
    staged, doing = table.staged, f"load {table.staged}"
    landing = identifier(f"landing_{staged.name}")
    columns = ", ".join(f"{identifier(c.field)} {_landing_type(c)}" for c in staged.columns)
    session.execute(f"CREATE OR REPLACE TEMPORARY TABLE {landing} ({columns})", doing=doing)
    copied = sum(_copy(session, stage, landing, staged, doing))
    if copied != staged.rows:
        raise _miscounted(staged, "COPY read", copied)
    final = identifier(staged.name)
    into = identifier(staged.name + NEW_SUFFIX) if table.definition else final
    if table.definition:
        session.execute(f"CREATE OR REPLACE TABLE {into} {table.definition}", doing=f"create the table for {staged}")
    with session.transaction(doing=doing):
        session.execute(f"DELETE FROM {into}", doing=doing)
        names = ", ".join(identifier(c.name) for c in staged.columns)
        casts = ", ".join(f"{identifier(c.field)}::{c.snowflake}" for c in staged.columns)
        session.execute(f"INSERT INTO {into} ({names}) SELECT {casts} FROM {landing}", doing=doing)
        (count,) = session.execute(f"SELECT COUNT(*) AS N FROM {into}", doing=doing)
        if count["N"] != staged.rows:
            raise _miscounted(staged, "the final table holds", count["N"])
    if table.definition and table.exists:
        session.execute(f"ALTER TABLE {into} SWAP WITH {final}", doing=doing)
        session.execute(f"DROP TABLE {into}", doing=doing)
    elif table.definition:
        session.execute(f"ALTER TABLE {into} RENAME TO {final}", doing=doing)
    session.execute(f"DROP TABLE IF EXISTS {landing}", doing=doing)
    return Loaded(str(staged), staged.rows, table.action)


def _landing_type(column: StagedColumn) -> str:
    return "VARCHAR" if column.parquet == "VARCHAR" else column.snowflake


def _copy(session: Session, stage: str, landing: str, staged: StagedTable, doing: str) -> list[int]:
    loaded = []
    paths = [file.path for file in staged.files if file.rows]
    for start in range(0, len(paths), FILES_PER_COPY):
        files = ", ".join(literal(path) for path in paths[start : start + FILES_PER_COPY])
        rows = session.execute(
            f"COPY INTO {landing} FROM @{identifier(stage)} FILES = ({files}) "
            "MATCH_BY_COLUMN_NAME = CASE_SENSITIVE ON_ERROR = ABORT_STATEMENT",
            doing=doing,
        )
        loaded += [int(row["rows_loaded"]) for row in rows]
    return loaded


def _miscounted(staged: StagedTable, where: str, rows: int) -> LoadError:
    return LoadError(
        f"load {staged}",
        on="Snowflake",
        why=f"{staged.rows:,} rows were staged, but {where} {rows:,}",
        next_step="the table is as it was before; check that nobody else writes to it, then run the same command again",
    )
