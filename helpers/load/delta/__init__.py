"""The stage → Delta, through Spark Connect: each table's rows arrive in one commit of its log.

A table that serves as it is gets `INSERT OVERWRITE`; a new one is created empty and then likewise; one whose definition
differs is replaced by `CREATE OR REPLACE TABLE … AS SELECT`, which takes no constraints and comments
(https://docs.databricks.com/en/sql/language-manual/sql-ref-syntax-ddl-create-table-using.html), so these follow it. Until
the commit readers see the former rows; a load that is killed leaves them, and the next one replaces and never adds. A load
that was broken off goes on behind the tables it recorded as committed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from uuid import uuid4

from helpers import log
from helpers.engines import shapes
from helpers.engines.delta.catalog import key, of_version, qualified, read_table, table_names, view_names
from helpers.engines.shapes import TableShape
from helpers.errors import LoadError
from helpers.load import comments
from helpers.load.delta import owner
from helpers.load.delta.records import Record, Versions
from helpers.model import declared, names
from helpers.model.manifest import Manifest, StagedColumn, StagedTable
from helpers.platforms import spark
from helpers.platforms.delta import Lake, folder
from helpers.platforms.s3 import Bucket
from helpers.platforms.spark import Session, identifier, literal
from helpers.progress import Progress
from helpers.settings import Databricks
from helpers.settings.local_stack import local_stack

LOADED = "loaded-delta.json"

_MAPPED = re.compile(r"[ ,;{}()\n\t=]")
"""What a column's name may hold only with column mapping (https://docs.delta.io/latest/delta-column-mapping.html)."""

_MAPPING = "'delta.columnMapping.mode' = 'name', 'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5'"


@dataclass(frozen=True)
class TableLoad:
    """What will happen to one table: "create", "replace the rows", or "replace the table: …" with the reason."""

    staged: StagedTable
    action: str
    source_comments: Mapping[str, str] = field(default_factory=dict)
    """The source's, of which the owner's may stand in `staged`."""

    @property
    def target(self) -> str:
        """The table's name in the target."""
        return self.staged.name


@dataclass(frozen=True)
class LoadPlan:
    """What a load will do; nothing was written to make it."""

    manifest: Manifest
    bucket: Bucket
    target: Databricks
    tables: tuple[TableLoad, ...]
    stale: tuple[str, ...] = ()
    """Tables that an earlier load made and the source no longer has; they are dropped."""

    @property
    def rows(self) -> int:
        """Rows to load."""
        return sum(table.staged.rows for table in self.tables)


@dataclass(frozen=True)
class Loaded:
    """Rows that one table holds after its commit."""

    table: str
    rows: int
    action: str


def plan_load(
    manifest: Manifest, bucket: Bucket, target: Databricks, *, table: str | None = None, exclude: Sequence[str] = ()
) -> LoadPlan:
    """Compares the manifest with what the target has.

    Args:
        manifest: of the export to load.
        bucket: where its files are.
        target: the Spark Connect server, the schema, and where its tables lie.
        table: only this one, by `name` or `schema.name`.
        exclude: globs of tables that are left out.

    Raises:
        UsageError: no such table in the manifest, or names that the target does not take; all of them, with their cures.
        TargetRefused: a table of that name is there that no load made; one that is to be replaced or dropped would lose what its
            owner put on it or wrote.
        ConnectionFailed: the server does not answer.
    """
    chosen, excluded = manifest.to_load(table, exclude)
    present, there, in_the_way = _present(target, bucket, [staged.name for staged in chosen])
    refused = list(names.refusals(chosen, spark.names(target), target.schema_))
    refused += [
        names.in_the_way(s, in_the_way[key(target, s.name)]) for s in chosen if key(target, s.name) in in_the_way
    ]
    names.refuse(refused, on=spark.address(target))
    with _connected(target) as session:
        versions = Versions.of(target, bucket, session)
        stands = {name: owner.standing(versions, name) for name in sorted(there)}
        foreign = [staged.name for staged in chosen if (s := stands.get(key(target, staged.name))) and s.mark is None]
        if session:
            unknown = [staged.name for staged in chosen if key(target, staged.name) not in present]
            foreign += [name for name in unknown if owner.at_its_place(session, target, name)]
        owner.refuse_foreign(target, foreign)
        planned = tuple(_plan_table(session, target, s, there, stands) for s in chosen)
        stale: set[str] = set()
        if manifest.complete and table is None and not excluded:
            kept = {key(target, staged.name) for staged in chosen}
            gone = {name for name in _loaded_before(bucket, target) if key(target, name) in present - kept}
            found = {name: owner.standing(versions, name) for name in sorted(gone)}
            stale = {name for name, stand in found.items() if stand.mark is not None}
            for name in sorted(stale):
                if found[name].written:
                    owner.refuse_written(target, name, found[name].written)
    return LoadPlan(manifest, bucket, target, planned, tuple(sorted(stale)))


def load(plan: LoadPlan, *, load_id: str | None = None, progress: Progress | None = None) -> tuple[Loaded, ...]:
    """Loads every table of `plan`, each in a commit of its own.

    Args:
        plan: what to load.
        load_id: recorded with the version that each table then has; tables that still are at the version of this very load
            are not loaded again.
        progress: told about the rows loaded.

    Raises:
        LoadError: the server refused rows, and that table is as it was before; or it counted others than were staged.
        ConnectionFailed: the server does not answer any more.
    """
    done = 0
    loaded = []
    record = Record.begun(plan.bucket, plan.target, plan.manifest.export, load_id or uuid4().hex)
    with spark.connect(plan.target) as session:
        session.execute(f"CREATE SCHEMA IF NOT EXISTS {qualified(plan.target)}", doing="create the schema")
        versions = Versions.of(plan.target, plan.bucket, session)
        for table in plan.tables:
            if progress:
                progress(done, plan.rows, f"loading {table.staged}")
            loaded.append(_loaded(session, plan, table, record, versions))
            log.event("table-loaded", target="databricks", **asdict(loaded[-1]))
            done += table.staged.rows
        for name in plan.stale:
            _drop(session, plan, name)
        if progress:
            progress(done, plan.rows, "loaded")
    names = {table.target for table in plan.tables} | (set(_loaded_before(plan.bucket, plan.target)) - set(plan.stale))
    plan.bucket.write(LOADED, json.dumps({spark.address(plan.target): sorted(names)}).encode())
    record.finish(plan.bucket)
    return tuple(loaded)


def definition(staged: StagedTable) -> str:
    """What follows CREATE TABLE and its name, up to USING DELTA."""
    return f"({', '.join(_column(column) for column in staged.columns)}) USING DELTA"


def selected(staged: StagedTable) -> str:
    """The SELECT list that takes the staged fields to the table's columns."""
    return ", ".join(f"CAST({identifier(c.field)} AS {c.delta}) AS {identifier(c.name)}" for c in staged.columns)


def _column(column: StagedColumn) -> str:
    parts = [identifier(column.name), column.delta]
    if column.not_null:
        parts.append("NOT NULL")
    if column.comment:
        parts.append(f"COMMENT {literal(column.comment)}")
    return " ".join(parts)


def _present(
    target: Databricks, bucket: Bucket, wanted: Sequence[str]
) -> tuple[set[str], dict[str, TableShape], dict[str, str]]:
    """By `key`: all that lies in the target; of what is wanted the tables; and what is none that could take rows, and why.

    Nothing else that lies there is looked at.
    """
    if target.engine == "pysail":
        lake = Lake.of(target, bucket.stage)
        listed = {name: name for name in lake.tables()}
        return set(listed), *_read(lambda name: of_version(lake.read(name)), listed, wanted, target)
    with spark.connect(target) as session:
        listed = {key(target, name): name for name in table_names(session, target)}
        views = view_names(session, target) if listed.keys() & {key(target, name) for name in wanted} else set()
        tables = {name: listed[name] for name in listed if listed[name] not in views}
        found, unreadable = _read(lambda name: read_table(session, target, name), tables, wanted, target)
    return set(listed), found, unreadable | {key(target, name): "view" for name in views}


def _read(
    read: Callable[[str], TableShape], listed: Mapping[str, str], wanted: Sequence[str], target: Databricks
) -> tuple[dict[str, TableShape], dict[str, str]]:
    found, unreadable = {}, {}
    for name in {key(target, name) for name in wanted} & listed.keys():
        try:
            found[name] = read(listed[name])
        except LoadError as error:
            unreadable[name] = f"table that cannot be read ({error.why})"
    return found, unreadable


@contextmanager
def _connected(target: Databricks) -> Iterator[Session | None]:
    """A session; none for the local stack, whose tables are known by their logs alone."""
    if target.engine == "pysail":
        yield None
    else:
        with spark.connect(target) as session:
            yield session


def _plan_table(
    session: Session | None, target: Databricks, staged: StagedTable, there: Mapping[str, TableShape],
    stands: Mapping[str, owner.Standing],
) -> TableLoad:  # fmt: skip
    said = comments.of_staged(staged)
    found, stand = there.get(key(target, staged.name)), stands.get(key(target, staged.name))
    if found is None or stand is None:
        return TableLoad(staged, "create", said)
    staged = comments.with_kept(
        staged, found, stand.mark.comments if stand.mark and stand.mark.version is not None else said
    )
    action = "replace the rows"
    if differs := _difference(found, shapes.of_staged(staged, dialect="delta")):
        action = f"replace the table: {differs}"
        if session:
            owner.refuse_governed(session, target, staged.name, differs)
    if stand.written:
        action += f"; others wrote to it since its load: as it was, it is version {stand.version} of its history"
    return TableLoad(staged, action, said)


def _difference(found: TableShape, wanted: TableShape) -> str:
    """Why the present table cannot take the rows, or would not be what the source is; empty where it serves."""
    names, needed = [column.name for column in found.columns], [column.name for column in wanted.columns]
    if lacking := [name for name in needed if name not in names]:
        return f"it lacks {', '.join(lacking)}"
    if surplus := [name for name in names if name not in needed]:
        return f"it also has {', '.join(surplus)}"
    for have, want in zip(found.columns, wanted.columns, strict=True):
        same_type = declared.change(want.type, have.type, "delta") is None
        if (have.name, have.not_null) != (want.name, want.not_null) or not same_type:
            return f"its column {have.name} {have.type} must be {want.name} {want.type}{' NOT NULL' if want.not_null else ''}"
        if have.comment != want.comment:
            return f"the comment on its column {have.name} is another"
    return "its comment is another" if found.comment != wanted.comment else ""


def _loaded(session: Session, plan: LoadPlan, table: TableLoad, record: Record, versions: Versions) -> Loaded:
    name, rows = table.target, table.staged.rows
    recorded = table.action.startswith("replace the rows") and name in record.tables
    if recorded and record.holds(name, rows, versions.now(name)):
        return Loaded(str(table.staged), rows, "kept the rows of this load")
    loaded = _load_table(session, plan, table)
    owner.leave_mark(session, versions, name, dict(table.source_comments))
    if now := versions.now(name):
        record.keep(plan.bucket, name, now, rows)
    return loaded


def _load_table(session: Session, plan: LoadPlan, table: TableLoad) -> Loaded:
    """Rows are counted in the files before anything changes, and in the table after its commit."""
    staged, target, doing = table.staged, plan.target, f"load {table.staged}"
    landing, name = f"landing_{folder(staged.name).replace('.', '_')}", qualified(target, staged.name)
    location = plan.bucket.location
    keys = [location.key(file.path) for file in staged.files]
    if target.engine == "pysail":
        keys = [local_stack().staged_key(key) for key in keys]
    urls = [f"{target.files}://{location.bucket}/{key}" for key in keys]
    session.view_of_files(landing, urls, [(c.field, c.delta) for c in staged.columns], doing=doing)
    _require_rows(session, identifier(landing), staged, "its files hold", "nothing was changed; export it again")
    query = f"SELECT {selected(staged)} FROM {identifier(landing)}"
    if table.action.startswith("replace the table"):
        _replace(session, plan, staged, query, doing)
    else:
        # The local stack's catalog is a new one in every session, and then names the folder that is there.
        session.execute(
            f"CREATE TABLE IF NOT EXISTS {name} {definition(staged)}{_options(target, staged)}", doing=doing
        )
        session.execute(f"INSERT OVERWRITE TABLE {name} {query}", doing=doing)
    _require_rows(
        session, name, staged, "the table holds", "check that nobody else writes to it, then run the same command again"
    )
    return Loaded(str(staged), staged.rows, table.action)


def _replace(session: Session, plan: LoadPlan, staged: StagedTable, query: str, doing: str) -> None:
    target, name = plan.target, qualified(plan.target, staged.name)
    if target.engine == "pysail":
        local_stack().replace_delta_table(Lake.of(target, plan.bucket.stage), staged, plan.bucket)
        session.execute(f"CREATE TABLE IF NOT EXISTS {name} USING DELTA{_options(target, staged)}", doing=doing)
        return
    session.execute(f"CREATE OR REPLACE TABLE {name} USING DELTA{_options(target, staged)} AS {query}", doing=doing)
    for statement in _constraints(name, staged):
        session.execute(statement, doing=f"{doing}: its rows are there; now its constraints and comments")


def _constraints(table: str, staged: StagedTable) -> Iterable[str]:
    for column in staged.columns:
        if column.not_null:
            yield f"ALTER TABLE {table} ALTER COLUMN {identifier(column.name)} SET NOT NULL"
        if column.comment:
            yield f"ALTER TABLE {table} ALTER COLUMN {identifier(column.name)} COMMENT {literal(column.comment)}"


def _options(target: Databricks, staged: StagedTable) -> str:
    """Where the table lies, its comment, and what its columns' names need."""
    options = ""
    if target.delta_root:
        root = target.delta_root.rstrip("/")
        options += f" LOCATION {literal(f'{root}/{folder(target.schema_)}/{folder(staged.name)}')}"
    if staged.comment:
        options += f" COMMENT {literal(staged.comment)}"
    mapping = ""
    if target.engine == "spark" and any(_MAPPED.search(column.name) for column in staged.columns):
        mapping = f", {_MAPPING}"
    return f"{options} TBLPROPERTIES ({literal(owner.MARK)} = {literal(owner.NEW)}{mapping})"


def _require_rows(session: Session, rows: str, staged: StagedTable, where: str, next_step: str) -> None:
    (counted,) = session.execute(f"SELECT COUNT(*) AS n FROM {rows}", doing=f"count the rows of {staged}")
    if counted["n"] != staged.rows:
        raise LoadError(
            f"load {staged}",
            on=rows,
            why=f"{staged.rows:,} rows were staged, but {where} {counted['n']:,}",
            next_step=next_step,
        )


def _drop(session: Session, plan: LoadPlan, name: str) -> None:
    session.execute(
        f"DROP TABLE IF EXISTS {qualified(plan.target, name)}", doing=f"drop {name}, which the source has no more"
    )
    if plan.target.engine == "pysail":
        Lake.of(plan.target, plan.bucket.stage).remove(name)


def _loaded_before(bucket: Bucket, target: Databricks) -> list[str]:
    """Names of the tables that loads from this stage have made in the target."""
    content = bucket.read(LOADED)
    return list(json.loads(content).get(spark.address(target), [])) if content else []
