"""What will be compared with what, as of when; nothing is compared to make a plan."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from helpers import PROJECT
from helpers.engines import engine, shapes
from helpers.engines.base import Place
from helpers.engines.columns import TablePlan, as_compared
from helpers.engines.shapes import TableShape
from helpers.errors import StageError, UsageError
from helpers.model import globs, keys
from helpers.model import manifest as manifests
from helpers.model.catalog import Column, Masked, PgType, Table, kinds_read
from helpers.model.globs import left_by_choice
from helpers.model.manifest import Manifest, SetAside, StagedColumn, StagedTable
from helpers.model.places import TargetTable, place
from helpers.platforms import pg_session, postgres
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings, Source
from helpers.source import held_snapshots, left_out
from helpers.source import snapshot as snapshots
from helpers.source.catalog import measured, read_catalog
from helpers.source.census import take_census
from helpers.source.described import refuse_changed, refuse_unfit
from helpers.source.held_snapshots import Snapshot
from helpers.source.relations import UNNAMED
from helpers.source.staging import as_in_postgres, staged_table
from helpers.verify.selection import DEFAULT_SAMPLE, Selection, choose

SourceName = Literal["postgresql", "manifest"]
TargetName = str
"""One of `helpers.engines.ADAPTERS`."""
Check = Literal["row-counts", "schema", "full", "sample-data", "data-quality"]

BYTES_PER_ROW = 100
"""A guess for tables without statistics; it only decides how finely rows are divided into segments."""


@dataclass(frozen=True)
class Options:
    """How an operator wants the comparison.

    Attributes:
        selection: which rows.
        names: "schema.table" or "schema.table.column" → the name in the target.
        tolerances: "schema.table.column" → how far two numbers may lie apart.
        witness: compute the source's digests inside PostgreSQL instead of over its stream.
    """

    selection: Selection = field(default_factory=Selection)
    names: Mapping[str, str] = field(default_factory=dict)
    tolerances: Mapping[str, float] = field(default_factory=dict)
    witness: bool = False


@dataclass(frozen=True)
class VerifyPlan:
    """What will be compared, where, and as of when.

    Attributes:
        snapshot: of the source; empty where the manifest stands for it.
        lsn_note: which snapshot that is.
        same_snapshot: whether the source is read as the export read it.
        bucket: the stage, where the manifest comes from.
        complete: whether every table of the source is among `tables`, but for those that were excluded.
        sets_aside: whether a table that the source does not give is refused by itself, and the others are compared.
        failed: tables that the export has set aside and that nothing else here names.
        left_out: what of the source is not compared, and why.
    """

    source: Source
    source_name: SourceName
    target: TargetName
    check: Check
    snapshot: str
    lsn: str
    lsn_note: str
    same_snapshot: bool
    tables: tuple[TablePlan, ...]
    cells_folder: Path
    manifest: Manifest | None
    bucket: Bucket | None
    settings: Settings
    options: Options = Options()
    target_source: Source | None = None
    complete: bool = True
    left_out: Mapping[str, str] = field(default_factory=dict)
    sets_aside: bool = False
    failed: tuple[SetAside, ...] = ()

    @property
    def place(self) -> Place:
        """Where the target is."""
        return Place(self.settings, self.target_source or self.source, self.tables, self.bucket, self.manifest)

    @property
    def excluded(self) -> set[str]:
        """What a person decided to leave out, as `schema.name`."""
        return set(left_by_choice(self.left_out))

    @property
    def rows(self) -> int:
        """About how many rows the source has."""
        return sum(plan.rows for plan in self.tables)


@contextmanager
def planned(
    settings: Settings,
    *,
    target: TargetName,
    source_name: SourceName = "postgresql",
    check: Check = "full",
    tables: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    source: Source | None = None,
    target_source: Source | None = None,
    location: str | None = None,
    cells_folder: Path | None = None,
    options: Options | None = None,
    snapshot: Snapshot | None = None,
    snapshot_note: str = "the snapshot that was given",
    set_aside: bool = False,
    progress: Progress | None = None,
) -> Iterator[VerifyPlan]:
    """Chooses the snapshot to verify in and what each table should look like.

    The export's own snapshot is used while its keeper holds it; otherwise a new one is taken for the length of the
    block, and the plan says so.

    Args:
        settings: the profile.
        target: what is compared with the source.
        source_name: the source itself, or its values at the export's LSN by the digests in the manifest.
        check: how deep.
        tables: globs over table names; empty means all of the source.
        exclude: globs of what is left out of them; where neither is given, what the export left out.
        source: another source than the profile's.
        target_source: the server of `target="postgresql"`.
        location: of the stage, without it the profile's.
        cells_folder: where the files of differing cells go.
        options: which rows, under which names, how exactly.
        snapshot: of the source, that the caller holds; such as the one that a dump was made in.
        snapshot_note: which one that is, in words.
        set_aside: refuse a table by itself that the source does not give, and compare the others.

    Raises:
        UsageError: an option that cannot be meant.
        StageError: there is no manifest where one is needed.
    """
    options = options or Options()
    if check == "sample-data" and options.selection.sample is None:
        options = replace(options, selection=replace(options.selection, sample=DEFAULT_SAMPLE))
    chosen = source or settings.source
    bucket, manifest = _manifest(settings, location, needed=engine(target).needs_export or source_name == "manifest")
    folder = cells_folder or PROJECT / "outputs" / "verify" / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    if source_name == "manifest":
        assert manifest
        if not engine(target).as_staged:
            raise UsageError(
                "verify", on=f"--source manifest --target {target}", why="the digests are of values as they are staged",
                next_step="use --source postgresql, or --target snowflake",
            )  # fmt: skip
        note = "the export's LSN, by the digests in its manifest"
        staged, excluded = manifest.chosen(tables, exclude)
        compared = tuple(_plans_of_stage(settings, staged, manifest.lsn, options, target))
        plans = _related(settings, compared, manifest, options, target)
        _all_used(options, plans, complete=not tables and not exclude)
        failed = tuple(
            each for each in manifest.set_aside
            if not (exclude and globs.match(each.schema_, each.name, exclude))
            and (not tables or globs.match(each.schema_, each.name, tables))
        )  # fmt: skip
        staying = {str(each): _aside(each.why) for each in failed} if engine(target).needs_export else {}
        yield VerifyPlan(
            chosen, source_name, target, check, "", manifest.lsn, _noted(note, manifest.lsn_exact), True, plans, folder,
            manifest, bucket, settings, options, target_source, complete=not tables,
            left_out={**_not_compared(manifest, plans), **excluded, **staying}, failed=() if staying else failed,
        )  # fmt: skip
        return
    own: Snapshot | None = None
    of_source = bool(manifest and manifest.source == postgres.address(chosen))
    same = bool(manifest and of_source and snapshots.is_held(chosen.on(manifest.instance), manifest.snapshot))
    if snapshot:
        chosen = snapshots.on(chosen, snapshot)
        same = bool(manifest and same and manifest.snapshot == snapshot.name)
        name, lsn, note, exact = snapshot.name, snapshot.lsn, snapshot_note, snapshot.exact
    elif manifest and same:
        chosen = chosen.on(manifest.instance)
        name, lsn, note, exact = manifest.snapshot, manifest.lsn, "the export's own snapshot", manifest.lsn_exact
    else:
        own = snapshots.take(chosen)
        chosen = snapshots.on(chosen, own)
        name, lsn, note, exact = own.name, own.lsn, "a snapshot taken for this verification", own.exact
    try:
        of_source = of_source and engine(target).as_staged
        before = manifest.excluded if manifest and of_source and not (tables or exclude) else {}
        plans, left = _plans_of_source(
            settings, chosen, name, tables, exclude, before, manifest, of_source, target, options, lsn, set_aside
        )
        yield VerifyPlan(
            chosen, source_name, target, check, name, lsn, _noted(note, exact), same, plans, folder,
            manifest, bucket, settings, options, target_source, complete=not tables, left_out=left,
            sets_aside=set_aside,
        )  # fmt: skip
    finally:
        if own:
            held_snapshots.release(own)


def _noted(note: str, exact: bool) -> str:
    return note if exact else f"{note}; the LSN is approximate"


def _manifest(settings: Settings, location: str | None, *, needed: bool) -> tuple[Bucket | None, Manifest | None]:
    if not needed and not location and settings.values.stage is None:
        return None, None
    bucket = Bucket.open(settings.stage, location)
    if needed:
        return bucket, manifests.read(bucket)
    try:
        return bucket, manifests.read_if_any(bucket)
    except StageError:
        # The stage only helps here: it may be gone, or of another version, and the target still is what it is.
        return bucket, None


def _plans_of_stage(
    settings: Settings, tables: tuple[StagedTable, ...], lsn: str, options: Options, target: TargetName
) -> Iterator[TablePlan]:
    for staged in tables:
        table = Table(
            staged.schema_, staged.name, 0,
            tuple(
                Column(c.name, PgType(c.postgres, c.postgres), c.not_null, mask=Masked(c.mask, "{c}") if c.mask else None)
                for c in staged.columns
            ),
            staged.key, (),
            where=staged.where, omitted=staged.omitted, reason=staged.reason,
            keys=keys.of_table(staged), foreign_keys=staged.foreign_keys,
        )  # fmt: skip
        expected = shapes.loaded_shape(staged, engine(target).ddl)
        yield _finished(table, staged.columns, expected, staged.rows, (), staged, settings, options, lsn, target)


def _plans_of_source(
    settings: Settings,
    source: Source,
    snapshot: str,
    tables: tuple[str, ...],
    exclude: tuple[str, ...],
    excluded_before: Mapping[str, str],
    manifest: Manifest | None,
    of_source: bool,
    target: TargetName,
    options: Options,
    lsn: str,
    set_aside: bool,
) -> tuple[tuple[TablePlan, ...], Mapping[str, str]]:
    with snapshots.reading(source, snapshot) as cursor:
        # Another PostgreSQL holds its tables whole: nothing of ours made them.
        described = settings.tables if engine(target).as_staged else settings.tables.choice
        exported = [str(staged) for staged in manifest.tables] if manifest else []
        catalog = read_catalog(
            cursor, schemas=source.schemas, tables=tables, exclude=exclude, described=described, also=exported,
            left_before=excluded_before,
        )  # fmt: skip
        if manifest and of_source:
            refuse_changed(manifest, manifest.tables, catalog, what="compare what was exported")
        failed = {name: _aside(why) for name, why in manifest.failed.items()} if manifest and of_source else {}
        lockable = [t for t in catalog.tables if t.kind in "rp" and str(t) not in failed]
        if set_aside:
            _, unlocked = snapshots.lock_each(cursor, lockable, timeout_seconds=settings.export.lock_timeout_seconds)
            failed |= {name: f"{error.why} → {error.next_step}" for name, error in unlocked.items()}
        else:
            snapshots.lock(cursor, lockable, timeout_seconds=settings.export.lock_timeout_seconds)
        chosen = {str(table): table for table in catalog.tables}
        readable = tuple(table for name, table in chosen.items() if name not in failed)
        pg_session.restrict(cursor, kinds_read(readable))
        refuse_unfit(cursor, readable)
        catalog = left_out.complete(cursor, measured(cursor, replace(catalog, tables=readable)))
        if engine(target).needs_export:
            catalog = replace(catalog, left_out=catalog.left_out | {n: why for n, why in failed.items() if n in chosen})
            failed = {}
        unread = tuple(chosen[name] for name in failed if name in chosen)
        plans = []
        for table in (*catalog.tables, *unread):
            staged = manifest.table(table.schema, table.name) if manifest else None
            same = staged if staged and _same_definition(table, staged) else None
            refused: tuple[str, ...] = (failed[str(table)],) if str(table) in failed else ()
            if not engine(target).as_staged or (refused and not same):
                columns = tuple(as_in_postgres(column) for column in table.columns)
                same, expected = None, shapes.source_shape(table)
            elif same:
                columns, expected = same.columns, shapes.loaded_shape(same, engine(target).ddl, table)
            else:
                census = take_census(cursor, table, settings.export.policies)
                counted, refused = staged_table(census), census.refused
                columns, expected = counted.columns, shapes.loaded_shape(counted, engine(target).ddl, table)
            rows = same.rows if same else table.estimated_rows or sum(h.bytes for h in table.heaps) // BYTES_PER_ROW
            plans.append(_finished(table, columns, expected, rows, refused, same, settings, options, lsn, target))
        _all_used(options, plans, complete=not (tables or left_by_choice(catalog.left_out)))
        if engine(target).as_staged:
            catalog = left_out.with_keys(catalog, [(plan.table, plan.staged_columns) for plan in plans], exported)
        return _related(settings, tuple(plans), manifest, options, target), catalog.left_out


def _aside(why: str) -> str:
    return f"set aside by the export: {why}"


def _related(
    settings: Settings, plans: tuple[TablePlan, ...], manifest: Manifest | None, options: Options, target: TargetName
) -> tuple[TablePlan, ...]:
    """The plans, with the foreign keys that the target should have: those between tables that are there."""
    if engine(target).ddl.keys == "none":
        return plans
    if not engine(target).as_staged:

        def copied(plan: TablePlan) -> TablePlan:
            at = partial(target_table, settings, options, target)
            foreign = keys.related(plan.table.foreign_keys, {}, at, lambda _, __, column: column)
            return replace(plan, expected=replace(plan.expected, foreign_keys=foreign))

        return tuple(map(copied, plans))
    names = options.names if engine(target).renames else {}
    moved = {str(staged): keys.of_table(staged) for staged in (manifest.tables if manifest else ())}
    moved |= {str(plan.table): keys.hold(plan.table.keys, plan.staged_columns) for plan in plans}
    in_part = [str(plan.table) for plan in plans if plan.table.where]
    in_part += [str(staged) for staged in (manifest.tables if manifest else ()) if staged.where]
    moved = {name: held for name, held in moved.items() if name not in in_part}

    def there(schema: str, table: str) -> TargetTable | None:
        return target_table(settings, options, target, schema, table) if f"{schema}.{table}" in moved else None

    def referenced(schema: str, table: str, column: str) -> str:
        return names.get(f"{schema}.{table}.{column}", column)

    def own(plan: TablePlan) -> TablePlan:
        unique = plan.expected.ddl.keys == "all"
        held = [
            key for key in plan.table.foreign_keys
            if not keys.why_not(key, plan.staged_columns)
            and (to := keys.referred(key, moved.get(f"{key.schema}.{key.table}", ())))
            and (unique or to.primary)
        ]  # fmt: skip
        columns = {column.name: column.there for column in plan.columns}
        related = keys.related(held, columns, there, referenced)
        return replace(plan, expected=replace(plan.expected, foreign_keys=related))

    return tuple(map(own, plans))


def _not_compared(manifest: Manifest, plans: Sequence[TablePlan]) -> Mapping[str, str]:
    compared = {str(plan.table) for plan in plans}
    others = {str(staged): UNNAMED for staged in manifest.tables if str(staged) not in compared}
    return {**others, **manifest.left_out}


def _finished(
    table: Table,
    columns: tuple[StagedColumn, ...],
    expected: TableShape,
    rows: int,
    refused: tuple[str, ...],
    staged: StagedTable | None,
    settings: Settings,
    options: Options,
    seed: str,
    target: TargetName,
) -> TablePlan:
    names = options.names if engine(target).renames else {}
    compared = tuple(
        as_compared(c, names.get(f"{table}.{c.name}", c.name), _tolerance(table, c, options.tolerances), expected.ddl)
        for c in columns
    )
    chosen = choose(options.selection, table, compared, rows, seed)
    there = target_table(settings, options, target, table.schema, table.name)
    return TablePlan(
        table, compared, expected, rows, there, refused, staged,
        chosen.condition, chosen.sample, chosen.words, chosen.columns,
    )  # fmt: skip


def target_table(settings: Settings, options: Options, target: TargetName, schema: str, name: str) -> TargetTable:
    """Where a verification looks for a table of the source.

    Args:
        schema, name: of the table in the source.
    """
    own = engine(target).own_schema(settings) or schema
    if not engine(target).renames:
        return TargetTable(own, name)
    found = place(settings.tables, schema, name, own)
    return found.renamed(options.names.get(f"{schema}.{name}", found.name))


def _tolerance(table: Table, column: StagedColumn, tolerances: Mapping[str, float]) -> float | None:
    name = f"{table}.{column.name}"
    tolerance = tolerances.get(name)
    if tolerance is None:
        return None
    why = ""
    if column.comparison == "text":
        why = f"{column.name} is compared as text, not as a number"
    elif column.name in table.key:
        why = f"{column.name} is part of the key, by which rows are told apart"
    elif not 0 <= tolerance < math.inf:
        why = "it is no distance"
    if why:
        raise UsageError(
            "allow for a tolerance", on=f"{name}={tolerance}", why=why, next_step="give one of 0 or more, for a number outside the key",
        )  # fmt: skip
    return tolerance


def _all_used(options: Options, plans: Sequence[TablePlan], *, complete: bool) -> None:
    """Refuses what was given for a name that there is not; names of tables that were left out pass."""
    known = {str(p.table) for p in plans} | {f"{p.table}.{c.name}" for p in plans for c in p.columns}
    for what, given in (("--map", options.names), ("--tolerance", options.tolerances)):
        for key in given:
            if key not in known and (complete or any(key.startswith(f"{p.table}.") for p in plans)):
                raise UsageError(
                    "match the names", on=f"{what} {key}", why="the source has no such table or column among those compared",
                    next_step="write schema.table, or schema.table.column",
                )  # fmt: skip
    since = options.selection.since
    column = since.partition("=")[0] if since else ""
    if since and not any(c.name == column for p in plans for c in p.columns):
        raise UsageError(
            "choose the rows to compare", on=f"--since {since}", why=f"no table has a column {column}",
            next_step="name the watermark's column as the source does",
        )  # fmt: skip


def _same_definition(table: Table, staged: StagedTable) -> bool:
    original = [column for column in staged.columns if column.flag_of is None]
    return [(c.name, c.type.sql) for c in table.columns] == [(c.source, c.postgres) for c in original]
