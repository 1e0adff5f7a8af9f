"""PostgreSQL → Parquet on S3: every table in one snapshot, and a manifest that is written last.

Each part of a table (a heap, or a range of its pages) is one SELECT inside PostgreSQL and one Parquet file. After each
file the export's state is written beside the files, so that an export that was killed goes on where it was, in the
same snapshot. The manifest is one object replaced at the end, so a reader sees the former export or this one, never a
mixture.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import uuid4

import duckdb

from helpers import digests
from helpers.errors import MigrationError, SourceFailed, SourceRefused, StageError
from helpers.export import state as states
from helpers.export.state import ExportState, PartState, TableState, unfinished
from helpers.export.worker import is_unchanged
from helpers.export.writing import write_parts
from helpers.model import manifest as manifests
from helpers.model import sync as syncs
from helpers.model.catalog import Catalog, Table
from helpers.model.globs import left_by_choice, left_by_profile
from helpers.model.limits import BY_POLICY
from helpers.model.manifest import Exported, ExportedTable, Manifest
from helpers.model.names import Refusal
from helpers.platforms import postgres
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Export, Settings, Source
from helpers.source import held_snapshots, left_out, sequences
from helpers.source import snapshot as snapshots
from helpers.source.catalog import measured, read_catalog
from helpers.source.census import TableCensus, check_policies
from helpers.source.census_worker import take_censuses
from helpers.source.described import refuse_changed, refuse_unfit
from helpers.source.held_snapshots import Snapshot
from helpers.source.readers import ranges
from helpers.source.snapshot import Follow
from helpers.source.staging import staged_table

Objections = Callable[[Sequence[TableState]], Sequence[Refusal]]

EXPORT_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6,12}")


@dataclass(frozen=True)
class ExportPlan:
    """What an export will read and write; nothing was written to make it.

    Attributes:
        state: the tables with their parts; of a resumed export, with the files that are already there.
        census: empty for a resumed export, whose census was taken before.
        refused: every reason why it cannot be made, in sentences.
        names: those of them that a target gives for a name.
        digests: whether to sum up the staged rows once they are written.
        sets_aside: whether a table that the source does not give is set aside, and the others go on.
    """

    source: Source
    options: Export
    bucket: Bucket
    snapshot: Snapshot
    catalog: Catalog
    census: tuple[TableCensus, ...]
    state: ExportState
    resumed: bool = False
    digests: bool = True
    refused: tuple[str, ...] = field(default=())
    names: tuple[Refusal, ...] = ()
    sets_aside: bool = False

    @property
    def rows(self) -> int:
        """Rows in the snapshot."""
        return sum(table.rows for table in self.state.tables)

    @property
    def unwritten(self) -> Manifest:
        """The manifest that the export would write, without the files: enough to ask a target what a load would do."""
        return self.state.manifest((table.staged(()) for table in self.state.tables), exported_at="", engine="")

    def refusals(self, table: str) -> list[str]:
        """Why a table, given as `schema.name`, cannot be moved."""
        losses = [sentence for census in self.census if str(census.table) == table for sentence in census.refused]
        return losses + [str(refusal) for refusal in self.names if table in refusal.tables]


@contextmanager
def planned(
    settings: Settings,
    *,
    location: str | None = None,
    tables: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    objections: Objections | None = None,
    include_views: bool = False,
    snapshot: Snapshot | None = None,
    resume: str | None = None,
    keep_for_resume: bool = False,
    release: bool = True,
    run: str = "",
    set_aside: bool = False,
    only_failed: bool = False,
    follow: Follow | None = None,
    progress: Progress | None = None,
) -> Iterator[ExportPlan]:
    """Takes a snapshot and plans an export in it; the snapshot is released with the block.

    Args:
        settings: the profile.
        location: `s3://bucket/prefix/`; without it, the profile's stage.
        tables: globs over table names; empty means all.
        exclude: globs of what is left out of them: not counted, not locked, and no right is needed for it.
        objections: what the targets refuse of the tables; nothing is asked where the stage is all that is wanted.
        include_views: export views and materialized views too.
        snapshot: one that somebody else holds; it is then not released.
        resume: the name of an unfinished export at the location; it goes on in its own snapshot while that is held,
            otherwise under a new one, keeping the tables that are equal there.
        keep_for_resume: write the plan to the stage before the block, and leave the snapshot held when the block fails behind a
            file that another attempt need not write again.
        release: let the snapshot go when the block succeeds.
        run: that the export is for.
        set_aside: set a table aside that cannot be exported, with the reason, and go on with the others; the snapshot is then
            held, so that such a table can follow in it.
        only_failed: export what the finished export at the location has set aside, in its snapshot.
        follow: that the snapshot is taken with a slot to follow from; one that was taken without is not gone on with.
        progress: told about each table counted.

    Raises:
        SourceRefused: nobody holds the snapshot of the finished export any more.
        ConnectionFailed, SourceRefused, UsageError: see `snapshot.take`, `snapshot.lock` and `read_catalog`.
        StageError: the plan could not be written.
        UsageError: a sync goes on from the copy that is at the location.
    """
    bucket = Bucket.open(settings.stage, location)
    if only_failed:
        yield _plan_failed(settings, bucket, objections, progress)
        return
    syncs.refuse_other_copy(bucket)
    former = unfinished(bucket, resume) if resume else None
    own = _still_held(settings.source, former) if former else None
    if own and follow and not snapshots.has_slot(settings.source, own):
        own = None
    outlives = keep_for_resume or not release
    chosen = own or snapshot or snapshots.take(
        settings.source, hold_hours=settings.export.hold_snapshot_hours, run=run,
        purpose=f"export to {bucket.location}" if outlives else "", follow=follow,
    )  # fmt: skip
    own = None if chosen is snapshot else chosen
    begun = former is not None
    name = resume or ""
    try:
        if former and chosen.name == former.snapshot:
            plan = replace(_go_on(settings, bucket, chosen, former, progress), sets_aside=set_aside)
        else:
            plan = plan_export(
                settings, bucket, chosen, tables, exclude=exclude, objections=objections, include_views=include_views,
                set_aside=set_aside, progress=progress,
            )  # fmt: skip
            plan = _with_kept_tables(plan, former, progress) if former else plan
        if keep_for_resume and not plan.refused:
            plan.state.write(bucket)
        begun, name = True, plan.state.export
        yield plan
    except BaseException as error:
        # What failed while it was planned has written nothing that another attempt could go on with.
        if own and not (keep_for_resume and begun and is_worth_holding(bucket, name, error)):
            held_snapshots.release(own)
        raise
    if own and release and not (set_aside and _lacks_some(bucket, own)):
        held_snapshots.release(own)


def is_worth_holding(bucket: Bucket, name: str, error: BaseException) -> bool:
    """Whether the snapshot of a broken-off export is held for the next attempt.

    Args:
        bucket: where it went to.
        name: the export's, or the mark that its name ends with.
        error: what broke it off. What may pass or was a kill is gone on from; a source that has moved needs another
            snapshot; after anything else it depends on whether a file was written that another attempt need not write again.
    """
    if not isinstance(error, Exception) or getattr(error, "transient", False):
        return True
    if isinstance(error, SourceRefused) and not isinstance(error, SourceFailed):
        return False
    try:
        folders = {path.partition("/")[0] for path in bucket.sizes()}
        states = [unfinished(bucket, each) for each in folders if each.endswith(name)]
    except MigrationError:
        return False  # nobody can say that there is anything to go on with
    return any(part.file for state in states if state for table in state.tables for part in table.parts)


def _still_held(source: Source, former: Exported) -> Snapshot | None:
    mine = (former.snapshot, former.source)
    found = next((held for held in held_snapshots.held() if (held.name, held.source) == mine), None)
    return found if found and snapshots.is_held(snapshots.on(source, found), found.name) else None


def plan_export(
    settings: Settings,
    bucket: Bucket,
    snapshot: Snapshot,
    tables: tuple[str, ...] = (),
    *,
    exclude: tuple[str, ...] = (),
    objections: Objections | None = None,
    include_views: bool = False,
    set_aside: bool = False,
    only: Manifest | None = None,
    progress: Progress | None = None,
) -> ExportPlan:
    """Reads the catalog and takes the census of every table in `snapshot`, on the server that it lies on.

    Args:
        set_aside: whether tables that cannot be exported are set aside; where none is left, all is refused all the same.
        only: a finished export in this snapshot, of whose tables those are planned that it has set aside.
    """
    source, options = snapshots.on(settings.source, snapshot), settings.export
    complete = not tables and not exclude
    with snapshots.reading(source, snapshot.name) as cursor:
        catalog = read_catalog(
            cursor, schemas=source.schemas, tables=tables, exclude=exclude, include_views=include_views,
            described=settings.tables, also=tuple(only.failed) if only else (),
        )  # fmt: skip
        everything = not (tables or left_by_choice(catalog.left_out))
        check_policies(catalog.tables, options.policies, complete=everything)
        wanted = tuple(table for table in catalog.tables if only is None or str(table) in only.failed)
        failed: dict[str, SourceRefused] = {}
        if set_aside:
            locked, failed = snapshots.lock_each(cursor, wanted, timeout_seconds=options.lock_timeout_seconds)
        else:
            locked = wanted
            snapshots.lock(cursor, locked, timeout_seconds=options.lock_timeout_seconds)
        refuse_unfit(cursor, locked)
        catalog = measured(cursor, replace(catalog, tables=locked))
        census = take_censuses(
            cursor, source, options, snapshot.name, catalog.tables, failed=failed if set_aside else None, progress=progress
        )  # fmt: skip
        there = tuple(table for table in catalog.tables if str(table) not in failed)
        catalog = left_out.complete(cursor, replace(catalog, tables=there))
        version = postgres.value(cursor, "SHOW server_version")
        following = sequences.next_values(cursor, source.schemas)
    counted = tuple(_planned_table(c, options.workers).placed(settings.tables) for c in census)
    planned_tables = counted
    names = tuple(dict.fromkeys(objections(planned_tables) if objections else ()))
    refused = (*(sentence for table in census for sentence in table.refused), *map(str, names))
    if set_aside:
        failed |= _refusals(census, names, postgres.address(source))
    aside = [states.set_aside(table.schema, table.name, failed[str(table)]) for table in wanted if str(table) in failed]
    if len(aside) == len(wanted) and aside and not only:
        refused = refused or tuple(f"{each}: {each.why}" for each in aside)  # nothing is left to go on with
    elif set_aside:
        refused = ()
        planned_tables = tuple(table for table in planned_tables if str(table) not in failed)
        catalog = replace(catalog, tables=tuple(t for t in catalog.tables if str(t) not in failed))
    left = {str(table) for table in planned_tables}
    staged = [(c.table, t.columns) for c, t in zip(census, counted, strict=True) if str(c.table) in left]
    # What is set aside is to follow, and counts as moving here: only so does the list stay true when it has.
    catalog = left_out.with_keys(catalog, staged, [*map(str, aside), *map(str, only.tables if only else ())])
    state = ExportState(
        export=_new_name(uuid4().hex[:6]),
        source=postgres.address(source),
        server_version=version,
        snapshot=snapshot.name,
        lsn=snapshot.lsn,
        lsn_exact=snapshot.exact,
        why_approximate=snapshot.why_approximate,
        instance=source.instance,
        tables=planned_tables,
        left_out=catalog.left_out,
        sequences=following,
        complete=complete,
        set_aside=tuple(aside) if set_aside else (),
    )
    return ExportPlan(
        source, options, bucket, snapshot, catalog, census, state, refused=refused, names=names, sets_aside=set_aside
    )


def _refusals(census: Sequence[TableCensus], names: Sequence[Refusal], on: str) -> dict[str, SourceRefused]:
    """Why tables cannot be moved without loss, or under their names, each with its cures."""
    found = {}
    for table in census:
        mine = [refusal for refusal in names if str(table.table) in refusal.tables]
        if why := [*table.refused, *map(str, mine)]:
            cures = [*table.cures, *(refusal.cure for refusal in mine)] or [BY_POLICY]
            cure = "; ".join(dict.fromkeys(cures))
            found[str(table.table)] = SourceRefused("export without loss", on=on, why="; ".join(why), next_step=cure)
    return found


def _lacks_some(bucket: Bucket, snapshot: Snapshot) -> bool:
    """Whether the finished export in a snapshot has set tables aside, which can follow in it alone."""
    found = _former(bucket)
    return bool(found and found.snapshot == snapshot.name and found.set_aside)


def _plan_failed(
    settings: Settings, bucket: Bucket, objections: Objections | None, progress: Progress | None
) -> ExportPlan:
    """The plan of the tables that a finished export has set aside; those that it has stay as they are."""
    former = manifests.read(bucket)
    held = _still_held(settings.source, former)
    if held is None:
        raise SourceRefused(
            "export what was set aside", on=", ".join(former.failed),
            why=f"nobody holds the snapshot at LSN {former.lsn} any more: a table that is exported now would be of another LSN than "
            f"the {len(former.tables):,} that are there, and no manifest holds two",
            next_step="export all tables again: runbook export --run NAME",
        )  # fmt: skip
    kept = tuple(TableState.finished_before(table.placed(settings.tables)) for table in former.tables)

    def about_the_new(new: Sequence[TableState]) -> Sequence[Refusal]:
        names = set(map(str, new))
        return [each for each in (objections((*kept, *new)) if objections else ()) if names & set(each.tables)]

    plan = plan_export(settings, bucket, held, objections=about_the_new, set_aside=True, only=former, progress=progress)
    state = plan.state.model_copy(
        update={
            "export": former.export, "complete": former.complete, "sequences": former.sequences,
            "tables": tuple(sorted((*kept, *plan.state.tables), key=str)), "left_out": plan.state.left_out | former.left_out,
        }
    )  # fmt: skip
    return replace(plan, state=state)


def mark(load_id: str) -> str:
    """What the name of a step's export ends with, so that the step's probe knows it again."""
    return load_id[:12]


def find_marked(bucket: Bucket, load_id: str) -> Manifest | None:
    """The manifest at the stage where it is of the export of that load id; None where it is of another, or there is none."""
    found = manifests.read_if_any(bucket)
    return found if found and found.export.endswith(f"-{mark(load_id)}") else None


def marked(plan: ExportPlan, load_id: str, *, progress: Progress | None = None) -> ExportPlan:
    """`plan` under a name by which `find_marked` knows it again.

    Args:
        load_id: hexadecimal digits, at least 6.
        progress: told about each file checked.

    Returns:
        The plan; where an unfinished export of that load id is at the location, in the same snapshot, one that goes on with it.

    Raises:
        StageError: the stage cannot be read.
    """
    own = mark(load_id)
    folders = {path.partition("/")[0] for path in plan.bucket.sizes()}
    for name in sorted(folder for folder in folders if EXPORT_NAME.fullmatch(folder) and folder.endswith(f"-{own}")):
        former = unfinished(plan.bucket, name)
        if former and former.snapshot == plan.snapshot.name:
            return replace(plan, state=former.without_damaged_files(plan.bucket, progress), resumed=True)
    return replace(plan, state=plan.state.model_copy(update={"export": _new_name(own)}))


def since(plan: ExportPlan, former: Manifest, *, progress: Progress | None = None) -> ExportPlan:
    """`plan` without the tables whose rows are still those of a finished export: it takes over their files.

    Args:
        plan: in its own snapshot.
        former: the manifest at the plan's location.
        progress: told about each file checked and each table compared.

    Returns:
        A plan whose tables are `finished` where the source has not changed them, by the digests kept with the manifest.
    """
    state = plan.state.model_copy(update={"tables": tuple(map(TableState.finished_before, former.tables))})
    return _with_kept_tables(plan, state, progress)


def with_kept(plan: ExportPlan, former: Manifest | None) -> ExportPlan:
    """`plan` without the tables that a finished export in the same snapshot has, where that set others aside.

    Args:
        former: the manifest at the plan's location, if there is one.
    """
    mine = (plan.snapshot.name, plan.state.source)
    if former is None or not former.set_aside or (former.snapshot, former.source) != mine:
        return plan
    there = {str(table): table for table in former.tables}

    def kept(table: TableState) -> TableState:
        old = there.get(str(table))
        if old is None or (old.columns, old.where, old.omitted) != (table.columns, table.where, table.omitted):
            return table
        about = ("keys", "foreign_keys", "target_schema", "target_name")
        return TableState.finished_before(old).model_copy(update={name: getattr(table, name) for name in about})

    return replace(plan, state=plan.state.model_copy(update={"tables": tuple(map(kept, plan.state.tables))}))


def export(plan: ExportPlan, *, progress: Progress | None = None) -> Manifest:
    """Writes the files of `plan`, then its manifest, then removes the files of exports before the former one.

    Raises:
        SourceRefused: a column cannot be moved without loss; nothing was written.
        StageError: the bucket did not take a file; the former export still stands.
    """
    refuse_losses(plan)
    syncs.refuse_other_copy(plan.bucket, plan.state.lsn)
    former = _former(plan.bucket)
    plan.state.write(plan.bucket)
    state = write_parts(plan, progress)
    manifest = state.manifest(
        (table.whole() for table in state.tables), engine=f"duckdb {duckdb.__version__}",
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    plan.bucket.write(manifests.NAME, manifest.model_dump_json(indent=1).encode())
    plan.bucket.remove([state.path])
    _remove_leftovers(plan, {path for kept in (manifest, former) if kept for path in _objects(kept)})
    return manifest


def refuse_losses(plan: ExportPlan) -> None:
    """Raises `SourceRefused` where a column of `plan` cannot be moved without loss."""
    if plan.refused:
        names = [refusal.cure for refusal in plan.names]
        losses = len(plan.refused) > len(plan.names)
        cures = [cure for table in plan.census for cure in table.cures] or ([BY_POLICY] if losses else [])
        raise SourceRefused(
            "export without loss" if losses else "export what the target takes",
            on=postgres.address(plan.source),
            why="; ".join(plan.refused),
            next_step="; ".join(dict.fromkeys([*cures, *names])),
        )


def parts(table: Table, workers: int) -> tuple[PartState, ...]:
    """A table's files: one for each of its ranges."""
    folder = manifests.folder(table.schema, table.name)
    return tuple(
        PartState(
            name=f"{folder}/{number:05d}.parquet",
            relation=part.relation,
            first_page=part.first_page,
            end_page=part.end_page,
            pages=part.pages,
        )
        for number, part in enumerate(ranges(table, workers), 1)
    )


def _new_name(mark: str) -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ-") + mark


def _planned_table(census: TableCensus, workers: int) -> TableState:
    return TableState(**manifests.shared(staged_table(census), ExportedTable), parts=parts(census.table, workers))


def _go_on(
    settings: Settings, bucket: Bucket, snapshot: Snapshot, former: ExportState, progress: Progress | None
) -> ExportPlan:
    """The former plan in the former snapshot; files that are not what was written are forgotten."""
    wanted, source = [str(table) for table in former.tables], snapshots.on(settings.source, snapshot)
    with snapshots.reading(source, snapshot.name) as cursor:
        before = {name: why for name, why in former.left_out.items() if name not in left_by_profile(former.left_out)}
        catalog = read_catalog(
            cursor, schemas=source.schemas, described=settings.tables, also=wanted, left_before=before
        )
        refuse_changed(former, former.tables, catalog, what="go on with an export")
        found = catalog.tables
    sound = former.without_damaged_files(bucket, progress)
    placed = tuple(table.placed(settings.tables) for table in sound.tables)
    state = sound.model_copy(update={"tables": placed})
    catalog = Catalog(tuple(table for table in found if str(table) in wanted), former.left_out)
    return ExportPlan(source, settings.export, bucket, snapshot, catalog, (), state, resumed=True)


def _with_kept_tables(plan: ExportPlan, former: ExportState, progress: Progress | None) -> ExportPlan:
    """A new plan that takes over the finished tables of `former` whose rows are the same in the new snapshot."""
    sound = former.without_damaged_files(plan.bucket, progress)
    finished = {str(table): table for table in sound.tables if table.finished and table.digest}
    sources = {str(table): table for table in plan.catalog.tables}
    tables = []
    for number, table in enumerate(plan.state.tables):
        old = finished.get(str(table))
        if old and old.digest and old.columns == table.columns and old.rows == table.rows:
            if progress:
                progress(number, len(plan.state.tables), f"is {table} still the same?")
            source = sources[str(table)]
            if is_unchanged(plan.source, plan.options, plan.snapshot.name, source, table.columns, old):
                about = ("keys", "foreign_keys", "target_schema", "target_name", "where", "omitted", "reason")
                table = old.model_copy(update={name: getattr(table, name) for name in about})
        tables.append(table)
    return replace(plan, state=plan.state.model_copy(update={"tables": tuple(tables)}), resumed=True)


def _former(bucket: Bucket) -> Manifest | None:
    try:
        return manifests.read_if_any(bucket)
    except StageError:
        return None  # of another version: this export replaces it


def _objects(manifest: Manifest) -> Iterator[str]:
    for table in manifest.tables:
        yield from (file.path for file in table.files)
        yield from (f"{manifests.home(table)}/{name}" for name in digests.OBJECTS)


_OF_AN_EXPORT = re.compile(rf"state\.json|[^/]+/(\d{{5,}}\.parquet|{'|'.join(map(re.escape, digests.OBJECTS))})")
"""Names of the objects that an export writes in its folder; what else lies there is somebody's."""


def _remove_leftovers(plan: ExportPlan, kept: set[str]) -> None:
    """Removes the files of earlier exports, and of others nothing, but not of one that may still go on: its snapshot is held.

    The former manifest's files stay until the next export: somebody may be loading them.
    """
    folders: dict[str, list[str]] = {}
    for path in plan.bucket.sizes():
        folder, _, name = path.partition("/")
        if EXPORT_NAME.fullmatch(folder) and _OF_AN_EXPORT.fullmatch(name):
            folders.setdefault(folder, []).append(path)
    for folder, paths in folders.items():
        state = unfinished(plan.bucket, folder)
        if state is None or not snapshots.is_held(plan.source.on(state.instance), state.snapshot):
            plan.bucket.abort_uploads(folder)
            plan.bucket.remove([path for path in paths if path not in kept])
