"""The stage → Snowflake: a temporary table takes the files, explicit casts move its rows to the final table.

Each table is one transaction: readers see its former rows or its new ones. A second load replaces the first, so it
neither duplicates rows nor depends on which files Snowflake remembers having loaded.

Which load a table's rows are of stands in a schema beside the target's, committed with the rows themselves: the target's own
schema holds the migrated tables and nothing else. A load that was broken off goes on behind the tables it committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlparse
from uuid import uuid4

from helpers import declared, defaults, names, shapes
from helpers.errors import LoadError, UsageError
from helpers.load import snowflake_records
from helpers.load.snowflake_catalog import TABLE, Present, read_names, read_tables
from helpers.load.snowflake_catalog import declared_type as declared_type
from helpers.load.snowflake_records import Record
from helpers.manifest import Manifest, StagedColumn, StagedTable
from helpers.names import Refusal
from helpers.platforms import snowflake
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import Session, identifier, literal
from helpers.progress import Progress
from helpers.settings import Snowflake, Stage
from helpers.shapes import ColumnShape, TableShape

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
    """Columns, key and comment of a new table; empty where the present one serves."""
    exists: bool = False
    comments: tuple[str, ...] = ()
    """Statements that give the present table the source's comments."""

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


def plan_load(
    manifest: Manifest, bucket: Bucket, target: Snowflake, *, table: str | None = None, exclude: Sequence[str] = ()
) -> LoadPlan:
    """Compares the manifest with what the target has.

    Args:
        manifest: of the export to load.
        bucket: where its files are.
        target: the Snowflake account, database and schema.
        table: only this one, by `name` or `schema.name`.
        exclude: globs of tables that are left out.

    Raises:
        UsageError: no such table in the manifest, or names that the target does not take; all of them, with their cures.
    """
    left, excluded = manifest.chosen(exclude=exclude)
    chosen = [staged for staged in left if table is None or table in (staged.name, str(staged))]
    if not chosen:
        raise UsageError(
            "find the table to load",
            on=f"--target-table {table}",
            why="the manifest does not name it",
            next_step=f"name one of: {', '.join(str(staged) for staged in manifest.tables)}",
        )
    wanted = [staged.name for staged in chosen]
    with snowflake.connect(target) as session:
        present = _present(session, target)
        names.refuse(_refusals(session, chosen, present, target), on=snowflake.address(target))
        shapes_there = read_tables(session, target.database, target.schema_, wanted, present)
    planned = tuple(_plan_table(staged, shapes_there) for staged in chosen)
    whole = manifest.complete and table is None and not excluded
    stale = {name for name in _loaded_before(bucket, target) if name in present} - set(wanted)
    return LoadPlan(manifest, bucket, target, planned, tuple(sorted(stale)) if whole else ())


def load(plan: LoadPlan, *, load_id: str | None = None, progress: Progress | None = None) -> tuple[Loaded, ...]:
    """Loads every table of `plan`, each in a transaction of its own.

    Args:
        plan: what to load.
        load_id: recorded in the target with the rows; tables that hold the rows of this very load are not loaded again.
        progress: told about the rows loaded.

    Raises:
        LoadError: Snowflake refused rows or counted others than were staged; that table is as it was before.
    """
    done = 0
    loaded = []
    record = Record(plan.target, plan.manifest.export, load_id or uuid4().hex)
    with snowflake.connect(plan.target) as session:
        for sql in _prepare(plan.target):
            session.execute(sql, doing="create the database and schema")
        recorded = snowflake_records.recorded_rows(session, plan.target, record.load_id)
        stage = f"migration_{plan.manifest.export}"
        session.execute(_create_stage(stage, plan.bucket, plan.target), doing="create the external stage")
        for table in plan.tables:
            if progress:
                progress(done, plan.rows, f"loading {table.staged}")
            if _is_loaded(session, plan.target, table, recorded):
                loaded.append(_commented(session, table, "kept the rows of this load"))
            else:
                loaded.append(_load_table(session, stage, table, record))
            done += table.staged.rows
        for name in plan.stale:
            session.execute(
                f"DROP TABLE IF EXISTS {identifier(name)}", doing=f"drop {name}, which the source has no more"
            )
        names = {t.target for t in plan.tables} | (set(_loaded_before(plan.bucket, plan.target)) - set(plan.stale))
        plan.bucket.write(LOADED, json.dumps({snowflake.address(plan.target): sorted(names)}).encode())
        with session.transaction(doing="record the load"):
            record.write(session, snowflake_records.WHOLE, plan.rows)
        if progress:
            progress(done, plan.rows, "loaded")
    return tuple(loaded)


def _is_loaded(session: Session, target: Snowflake, table: TableLoad, recorded: dict[str, int]) -> bool:
    rows = table.staged.rows
    same = not table.definition and recorded.get(table.target) == rows
    return same and snowflake_records.count(session, target, table.target) == rows


def _loaded_before(bucket: Bucket, target: Snowflake) -> list[str]:
    """Names of the tables that loads from this stage have made in the target."""
    content = bucket.read(LOADED)
    return list(json.loads(content).get(snowflake.address(target), [])) if content else []


def column_definition(column: StagedColumn) -> str:
    """A column of the final table as DDL."""
    parts = [identifier(column.name), column.snowflake]
    if default := defaults.in_snowflake(column.default, column.postgres, column.snowflake):
        parts.append(f"DEFAULT {default}")
    if column.not_null:
        parts.append("NOT NULL")
    if column.comment:
        parts.append(f"COMMENT {literal(column.comment)}")
    return " ".join(parts)


def table_definition(staged: StagedTable) -> str:
    """What follows CREATE TABLE and its name. Snowflake keeps the key as information for those who read the catalog, and
    does not enforce it (https://docs.snowflake.com/en/sql-reference/constraints-overview).
    """
    parts = [column_definition(column) for column in staged.columns]
    if staged.key:
        parts.append(f"PRIMARY KEY ({', '.join(identifier(name) for name in staged.key)})")
    comment = f" COMMENT = {literal(staged.comment)}" if staged.comment else ""
    return f"({', '.join(parts)}){comment}"


def _refusals(
    session: Session, chosen: list[StagedTable], present: Mapping[str, Present], target: Snowflake
) -> list[Refusal]:
    """Of names alone, of those that lie in the target already, and of what is no table there."""
    found = list(names.refusals(chosen, snowflake.NAMES, target.schema_))
    for staged in chosen:
        if (there := present.get(staged.name)) and there.kind != TABLE:
            found.append(names.in_the_way(staged, there.kind.lower()))
    others = [names.Other(name) for name in present if name not in {staged.name for staged in chosen}]
    ours = {str(staged) for staged in chosen}
    only_case = [each for each in names.alike([*others, *chosen], _FOLDING) if ours & set(each.tables)]
    if only_case and not _tells_case_apart(session):
        found = [*(refusal for refusal in found if refusal.on not in {each.on for each in only_case}), *only_case]
    return found


_FOLDING = replace(
    snowflake.NAMES,
    engine="this target, other than Snowflake itself (the local stand-in is such a one),",
    tells_case_apart=False,
)


def _tells_case_apart(session: Session) -> bool:
    asked = 'SELECT COUNT(*) AS N FROM (SELECT 1 AS "a", 2 AS "A") AS T WHERE T."a" <> T."A"'
    (row,) = session.execute(asked, doing="ask whether names that differ only in case are two")
    return int(row["N"]) == 1


def _present(session: Session, target: Snowflake) -> dict[str, Present]:
    databases = session.execute("SHOW DATABASES", doing="list the databases")
    if target.database not in {row["name"] for row in databases}:
        return {}
    return read_names(session, target.database, target.schema_)


def _plan_table(staged: StagedTable, present: dict[str, TableShape]) -> TableLoad:
    wanted, found = shapes.of_staged(staged), present.get(staged.name)
    if found is None:
        return TableLoad(staged, "create", table_definition(staged))
    if differs := _difference(found, wanted):
        return TableLoad(staged, f"replace the table: {differs}", table_definition(staged), exists=True)
    return TableLoad(staged, "replace the rows", exists=True, comments=tuple(_comments(staged.name, found, wanted)))


def _difference(found: TableShape, wanted: TableShape) -> str:
    """Why the present table cannot take the rows, or would not be what the source is; empty where it serves."""
    names, needed = [column.name for column in found.columns], [column.name for column in wanted.columns]
    if lacking := [name for name in needed if name not in names]:
        return f"it lacks {', '.join(lacking)}"
    if surplus := [name for name in names if name not in needed]:
        return f"it also has {', '.join(surplus)}"
    for have, want in zip(found.columns, wanted.columns, strict=True):
        same_type = declared.change(want.type, have.type, "snowflake") is None
        if (have.name, have.not_null) != (want.name, want.not_null) or not same_type:
            return f"its column {have.name} {have.type} must be {want.name} {want.type}{' NOT NULL' if want.not_null else ''}"
        if _defaults_differ(have, want):
            return f"its column {have.name} has the default {have.default or 'NULL'} for {want.default or 'NULL'}"
    if found.keys is not None and found.keys != wanted.keys:
        have_key, want_key = (", ".join(map(str, keys)) or "none" for keys in (found.keys, wanted.keys or ()))
        return f"its key is {have_key}, and the source's {want_key}"
    return ""


def _defaults_differ(have: ColumnShape, want: ColumnShape) -> bool:
    if have.default is None or want.default is None:
        return False
    return defaults.same(want.default, have.default, want.type, "snowflake") is False


def _comments(table: str, found: TableShape, wanted: TableShape) -> Iterable[str]:
    if found.comment is not None and found.comment != wanted.comment:
        yield f"COMMENT ON TABLE {identifier(table)} IS {literal(wanted.comment or '')}"
    for have, want in zip(found.columns, wanted.columns, strict=True):
        if have.comment != want.comment:
            yield f"COMMENT ON COLUMN {identifier(table, want.name)} IS {literal(want.comment or '')}"


def _prepare(target: Snowflake) -> list[str]:
    return [
        f"CREATE DATABASE IF NOT EXISTS {identifier(target.database)}",
        f"CREATE SCHEMA IF NOT EXISTS {identifier(target.database, target.schema_)}",
        *snowflake_records.prepare(target),
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


def _load_table(session: Session, stage: str, table: TableLoad, record: Record) -> Loaded:
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
        if table.definition:
            # These rows are not in their place yet, and the former record must not stand for them.
            record.forget(session, staged.name)
        else:
            record.write(session, staged.name, staged.rows)
    if table.definition and table.exists:
        session.execute(f"ALTER TABLE {into} SWAP WITH {final}", doing=doing)
        session.execute(f"DROP TABLE {into}", doing=doing)
    elif table.definition:
        session.execute(f"ALTER TABLE {into} RENAME TO {final}", doing=doing)
    if table.definition:
        with session.transaction(doing=doing):
            record.write(session, staged.name, staged.rows)
    session.execute(f"DROP TABLE IF EXISTS {landing}", doing=doing)
    return _commented(session, table, table.action)


def _commented(session: Session, table: TableLoad, action: str) -> Loaded:
    for statement in table.comments:
        session.execute(statement, doing=f"comment on {table.staged.name}")
    return Loaded(str(table.staged), table.staged.rows, action)


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
