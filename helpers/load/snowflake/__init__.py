"""The stage → Snowflake: a temporary table takes the files, explicit casts move its rows to the final table.

Each table is one transaction: readers see its former rows or its new ones. A second load replaces the first, so it
neither duplicates rows nor depends on which files Snowflake remembers having loaded.

Only what a load of ours made is replaced or dropped (`snowflake_records`); anything else of that name is refused before
anything is changed. A table stays the same table wherever Snowflake can alter it, and with it what its owner put on it; where
another has to take its place, grants, policies and tags are carried to it, or the load is refused (`snowflake_owner`). What
others wrote into a table of ours since its load is kept as a copy beside the target's schema.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from urllib.parse import urlparse
from uuid import uuid4

from helpers import log
from helpers.engines import shapes
from helpers.engines.shapes import TableShape
from helpers.engines.snowflake.catalog import Present, read_names, read_tables
from helpers.engines.snowflake.catalog import declared_type as declared_type
from helpers.errors import LoadError, UsageError
from helpers.load import comments
from helpers.load.snowflake import definition as definitions
from helpers.load.snowflake import owner
from helpers.load.snowflake import records as snowflake_records
from helpers.load.snowflake.definition import Alteration
from helpers.load.snowflake.records import Made, Record, beside
from helpers.model import names
from helpers.model.manifest import Manifest, StagedColumn, StagedTable
from helpers.platforms import snowflake
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import Session, identifier, literal
from helpers.progress import Progress
from helpers.settings import Snowflake, Stage

FILES_PER_COPY = 1000
"""The most that COPY's FILES takes (https://docs.snowflake.com/en/sql-reference/sql/copy-into-table)."""


@dataclass(frozen=True)
class TableLoad:
    """What will happen to one table.

    Attributes:
        staged: with the comments that it will have.
        action: "create", "replace the rows", "alter the table: …" or "replace the table: …" with the reason.
        source_comments: the source's comments, which are recorded with the load.
        definition: columns, key and comment of a new table; empty where the present one stays.
        made: the present table's time of creation; None where there is none.
        alteration: of the present table.
        comments: statements that give the present table its comments.
        carried: statements that put on the new table what the owner put on the present one, with {table} for its name.
        written: whether others wrote to the present table since its load.
    """

    staged: StagedTable
    action: str
    source_comments: str = "{}"
    definition: str = ""
    made: int | None = None
    alteration: Alteration = field(default_factory=Alteration)
    comments: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    written: bool = False

    @property
    def target(self) -> str:
        """The table's name in Snowflake."""
        return self.staged.name

    @property
    def serves(self) -> bool:
        """Whether the present table is as the source's: only its rows are replaced."""
        return not self.definition and self.alteration == Alteration()


@dataclass(frozen=True)
class LoadPlan:
    """What a load will do; nothing was written to make it."""

    manifest: Manifest
    bucket: Bucket
    target: Snowflake
    tables: tuple[TableLoad, ...]
    stale: tuple[str, ...] = ()
    """Tables that an earlier load from this stage made and the source no longer has; they are dropped."""
    written: tuple[str, ...] = ()
    """Those of the stale ones to which others wrote since."""

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
        TargetRefused: something lies at a table's name that no load made, or a table that has to be replaced would lose what its
            owner put on it.
    """
    chosen, excluded = manifest.to_load(table, exclude)
    with snowflake.connect(target) as session:
        there = _There.of(session, target, [staged.name for staged in chosen])
        names.refuse(owner.refusals(session, chosen, there.objects, target), on=snowflake.address(target))
        # A table whose place is taken by a new one has this name for a moment.
        needed = [name for staged in chosen for name in (staged.name, staged.name + snowflake_records.NEW_SUFFIX)]
        owner.refuse_foreign(target, owner.foreign(needed, there.objects, there.recorded))
        planned = tuple(_plan_table(session, target, staged, there) for staged in chosen)
    stale: set[str] = set()
    if manifest.complete and table is None and not excluded:
        ours = {
            name for name, made in there.recorded.items() if made.stage == str(bucket.location)
        } & there.objects.keys()
        stale = ours - owner.foreign(sorted(ours), there.objects, there.recorded).keys() - set(needed)
    return LoadPlan(manifest, bucket, target, planned, tuple(sorted(stale)), tuple(sorted(stale & there.written)))


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
    record = Record(plan.target, plan.manifest.export, load_id or uuid4().hex, str(plan.bucket.location))
    with snowflake.connect(plan.target) as session:
        for sql in _prepare(plan.target):
            session.execute(sql, doing="create the database and schema")
        recorded = snowflake_records.read(session, plan.target)
        present = read_names(session, plan.target.database, plan.target.schema_)
        stage = f"migration_{plan.manifest.export}"
        session.execute(_create_stage(stage, plan.bucket, plan.target), doing="create the external stage")
        for table in plan.tables:
            if progress:
                progress(done, plan.rows, f"loading {table.staged}")
            if (left := table.target + snowflake_records.NEW_SUFFIX) in present:
                # Of a load that was broken off; planning has seen that it is ours.
                session.execute(f"DROP TABLE {identifier(left)}", doing=f"drop {left}")
                record.forget(session, left)
            asked = (table.target, table.staged.rows, record.load_id, recorded, present)
            if table.serves and snowflake_records.holds(session, plan.target, *asked):
                loaded.append(_commented(session, table, "kept the rows of this load"))
            else:
                loaded.append(_load_table(session, stage, table, record))
            log.event("table-loaded", target="snowflake", **asdict(loaded[-1]))
            done += table.staged.rows
        for name in plan.stale:
            if name in plan.written:
                _keep_a_copy(session, plan.target, name)
            session.execute(
                f"DROP TABLE IF EXISTS {identifier(name)}", doing=f"drop {name}, which the source has no more"
            )
            record.forget(session, name)
        with session.transaction(doing="record the load"):
            record.write(session, snowflake_records.WHOLE, plan.rows)
        if progress:
            progress(done, plan.rows, "loaded")
    return tuple(loaded)


@dataclass(frozen=True)
class _There:
    """What the target has: definitions of the wanted tables, everything at the names it has, what is recorded, and those of
    ours to which others wrote since.
    """

    shapes: dict[str, TableShape]
    objects: dict[str, Present]
    recorded: dict[str, Made]
    written: set[str]

    @classmethod
    def of(cls, session: Session, target: Snowflake, wanted: list[str]) -> _There:
        if not snowflake_records.has_database(session, target):
            return cls({}, {}, {}, set())
        present = read_names(session, target.database, target.schema_)
        recorded = snowflake_records.read(session, target)
        ours = {
            name: made.changed for name, made in recorded.items()
            if made.changed is not None and name in present and present[name].created == made.created
        }  # fmt: skip
        now = snowflake_records.changes(session, target, ours)
        shapes = read_tables(session, target.database, target.schema_, wanted, present)
        return cls(shapes, present, recorded, {name for name, changed in ours.items() if now[name] != changed})


def _plan_table(session: Session, target: Snowflake, staged: StagedTable, there: _There) -> TableLoad:
    name, found = staged.name, there.shapes.get(staged.name)
    said = comments.of_staged(staged)
    source_comments = json.dumps(said, ensure_ascii=False)
    if found is None or name not in there.objects:
        return TableLoad(staged, "create", source_comments, definitions.table_definition(staged))
    made = there.recorded.get(name)
    staged = comments.with_kept(staged, found, made.comments if made else said)
    wanted = shapes.of_staged(staged)
    plan = TableLoad(
        staged, "replace the rows", source_comments, made=there.objects[name].created, written=name in there.written,
        comments=tuple(definitions.comment_statements(name, found, wanted)),
    )  # fmt: skip
    if differs := definitions.difference(found, wanted):
        plan = _of_another_definition(session, target, plan, differs, found, wanted)
    if plan.written:
        plan = replace(
            plan, action=f"{plan.action}; others wrote to it since its load: a copy is kept in {beside(target)}"
        )
    return plan


def _of_another_definition(
    session: Session, target: Snowflake, plan: TableLoad, differs: str, found: TableShape, wanted: TableShape
) -> TableLoad:
    """The present table altered where Snowflake can do that, or else another in its place with what is put on the present one."""
    alteration = definitions.alteration(found, wanted, plan.staged)
    if alteration and not alteration.gone:
        return replace(plan, action=f"alter the table: {differs}", alteration=alteration)
    on_it = owner.attached(session, target, plan.target)
    gone = {column.name for column in found.columns if wanted.column(column.name) is None}
    if alteration:
        owner.refuse_lost(target, plan.target, differs, [one for one in on_it if gone & set(one.columns)])
        return replace(plan, action=f"alter the table: {differs}", alteration=alteration)
    retyped = set(definitions.changed_columns(found, wanted))
    lost = [one for one in on_it if not one.clause or (retyped if one.typed else gone) & set(one.columns)]
    owner.refuse_lost(target, plan.target, differs, lost)
    return replace(
        plan, action=f"replace the table: {differs}", definition=definitions.table_definition(plan.staged), comments=(),
        carried=tuple(one.clause for one in on_it),
    )  # fmt: skip


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
    staged, target, doing = table.staged, record.target, f"load {table.staged}"
    landing = beside(target, f"landing_{staged.name}")
    columns = ", ".join(f"{identifier(c.field)} {_landing_type(c)}" for c in staged.columns)
    session.execute(f"CREATE OR REPLACE TEMPORARY TABLE {landing} ({columns})", doing=doing)
    copied = sum(_copy(session, stage, landing, staged, doing))
    if copied != staged.rows:
        raise _miscounted(staged, "COPY read", copied)
    if table.written:
        _keep_a_copy(session, target, staged.name)
    final = identifier(staged.name)
    into, created = (_new_table(session, table, record)) if table.definition else (final, table.made or 0)
    for clause in table.alteration.before:
        session.execute(f"ALTER TABLE {final} {clause}", doing=f"alter {staged.name}")
    with session.transaction(doing=doing):
        names = ", ".join(identifier(c.name) for c in staged.columns)
        casts = ", ".join(f"{identifier(c.field)}::{c.snowflake}" for c in staged.columns)
        # Rows that a row access policy hides from this role go too: OVERWRITE empties the table, DELETE would leave them.
        session.execute(f"INSERT OVERWRITE INTO {into} ({names}) SELECT {casts} FROM {landing}", doing=doing)
        (count,) = session.execute(f"SELECT COUNT(*) AS N FROM {into}", doing=doing)
        if count["N"] != staged.rows:
            raise _miscounted(staged, "the final table holds", count["N"])
        if not table.definition:
            record.write(session, staged.name, staged.rows, created=created, comments=table.source_comments)
    if table.definition:
        _put_in_place(session, table, record, into, created)
    for clause in table.alteration.after:
        session.execute(f"ALTER TABLE {final} {clause}", doing=f"alter {staged.name}")
    session.execute(f"DROP TABLE IF EXISTS {landing}", doing=doing)
    done = _commented(session, table, table.action)
    record.settle(session, staged.name)
    return done


def _new_table(session: Session, table: TableLoad, record: Record) -> tuple[str, int]:
    """An empty table beside the target's schema, recorded as ours before it goes there: its name and time of creation."""
    target, name = record.target, table.staged.name + snowflake_records.NEW_SUFFIX
    new, doing = beside(target, name), f"create the table for {table.staged}"
    session.execute(f"CREATE OR REPLACE TABLE {new} {table.definition}", doing=doing)
    there = read_names(session, target.database, target.schema_ + snowflake_records.SCHEMA_SUFFIX)
    record.write(session, name, 0, created=there[name].created)
    return new, there[name].created


def _put_in_place(session: Session, table: TableLoad, record: Record, new: str, created: int) -> None:
    staged, doing = table.staged, f"load {table.staged}"
    final, name = identifier(staged.name), staged.name + snowflake_records.NEW_SUFFIX
    for clause in table.carried:
        session.execute(clause.replace("{table}", new, 1), doing=f"keep what its owner put on {staged.name}")
    if table.made is None:
        session.execute(
            f"ALTER TABLE {new} RENAME TO {identifier(record.target.database, record.target.schema_)}.{final}",
            doing=doing,
        )
    else:
        full = identifier(record.target.database, record.target.schema_, name)
        session.execute(f"ALTER TABLE {new} RENAME TO {full}", doing=doing)
        session.execute(f"ALTER TABLE {full} SWAP WITH {final}", doing=doing)
        session.execute(f"DROP TABLE {full}", doing=doing)
    with session.transaction(doing=doing):
        record.write(session, staged.name, staged.rows, created=created, comments=table.source_comments)
        record.forget(session, name)


def _keep_a_copy(session: Session, target: Snowflake, name: str) -> None:
    copy = beside(target, f"{name}__{uuid4().hex[:8]}")
    source = identifier(target.database, target.schema_, name)
    session.execute(f"CREATE TABLE {copy} CLONE {source}", doing=f"keep a copy of {name}, to which others wrote")


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
