"""The stage → a target, each table in one transaction or one commit: its readers see its former rows or its new ones.

A second load replaces the first, and one that was broken off goes on behind the tables that it has recorded. Only what a load
of ours made is replaced or dropped. What differs between engines is in `helpers.engines`: each has a `Loader`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from uuid import uuid4

from helpers import engines, log
from helpers.engines import shapes
from helpers.engines.applying import Followed
from helpers.engines.loading import Destination, Loader, Standing, TableLoad
from helpers.errors import LoadError, MigrationError, TargetRefused, UsageError
from helpers.load import comments, several
from helpers.model import keys, lsn, names
from helpers.model.keys import Told
from helpers.model.manifest import Manifest, StagedTable
from helpers.model.places import TargetTable
from helpers.platforms import statements
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Target


@dataclass(frozen=True)
class LoadPlan:
    """What a load will do; nothing was written to make it.

    Attributes:
        stale: tables that an earlier load from this stage made and the source no longer has; they are dropped.
        written: those of the stale ones to which others wrote since.
        keys: that the target is told of once the tables are there.
    """

    manifest: Manifest
    bucket: Bucket
    there: Destination
    tables: tuple[TableLoad, ...]
    stale: tuple[TargetTable, ...] = ()
    written: tuple[TargetTable, ...] = ()
    keys: tuple[Told, ...] = ()

    @property
    def rows(self) -> int:
        """Rows to load."""
        return sum(table.staged.rows for table in self.tables)


@dataclass(frozen=True)
class Loaded:
    """Rows that one table holds after its transaction or commit."""

    table: str
    rows: int
    action: str


def plan_load(
    manifest: Manifest, bucket: Bucket, target: Target, *, table: str | None = None, exclude: Sequence[str] = ()
) -> LoadPlan:
    """Compares the manifest with what the target has.

    Args:
        manifest: of the export to load.
        bucket: where its files are.
        target: the section of the profile that describes it.
        table: only this one, by `name` or `schema.name`.
        exclude: globs of tables that are left out.

    Raises:
        ConnectionFailed: the target does not answer.
        UsageError: no such table in the manifest, or names that the target does not take; all of them, with their cures.
        TargetRefused: something lies at a table's name that no load of ours made, or a table that is to be replaced or dropped
            would lose what its owner put on it or wrote; all of that, with what is wrong with names. Or a sync has changed the
            tables since this export was loaded, which would be set back.
    """
    chosen, excluded = manifest.to_load(table, exclude)
    there, own = engines.destination(target), target.schema_
    with there.open(bucket) as loader:
        seen = loader.look(chosen)
        if followed := loader.followed(manifest.export):
            raise _behind_a_sync(manifest, there.where, followed)
        refused = [*_refused_names(there, chosen, seen.names), *_refused_tables(there, seen.foreign)]
        planned = []
        for staged in chosen:
            try:
                place = staged.there(own)
                planned.append(_plan_table(loader, staged, place, seen.tables.get(place)))
            except TargetRefused as error:
                refused.append(error)
        whole = manifest.whole and table is None and not excluded
        gone = loader.gone(chosen) if whole else {}
        refuse_together([*refused, *loader.refused], on=there.where)
    written = tuple(sorted(table for table, by_others in gone.items() if by_others))
    return LoadPlan(manifest, bucket, there, tuple(planned), tuple(sorted(gone)), written, _keys(manifest, there))


def _behind_a_sync(manifest: Manifest, where: str, followed: Followed) -> TargetRefused:
    return TargetRefused(
        f"load the export {manifest.export} again", on=where,
        why=f"a sync follows on it, and has brought the tables from LSN {manifest.lsn} to {lsn.printed(followed.position)}: they would be set back",
        next_step="nothing was changed. Go on with runbook sync; or begin anew: runbook sync stop, runbook export --follow, runbook load",
    )  # fmt: skip


def load(
    plan: LoadPlan, *, load_id: str | None = None, progress: Progress | None = None,
    set_aside: dict[str, LoadError] | None = None,
    untold: Callable[[Mapping[str, str]], object] | None = None,
) -> tuple[Loaded, ...]:  # fmt: skip
    """Loads every table of `plan`, then tells the target of their keys.

    Args:
        plan: what to load.
        load_id: recorded with the rows; tables that hold the rows of this very load are not loaded again.
        progress: told about the rows loaded.
        set_aside: is given the error of each table that the target did not take, by `schema.name`, and the others are loaded all
            the same; the load is then not whole, and drops nothing. Without it, the first error is raised.
        untold: is given the keys that the target did not take, and why; the rows are there all the same.

    Raises:
        ConnectionFailed: the target does not answer any more.
        LoadError: it refused rows, and that table is as it was before; or it counted others than were staged.
    """
    target = plan.there.target.adapter
    loaded: dict[str, Loaded] = {}

    def done() -> int:
        return sum(table.rows for table in loaded.values())

    def is_there(table: TableLoad, action: str) -> None:
        loaded[str(table.staged)] = Loaded(str(table.staged), table.staged.rows, action)
        if not statements.rehearsed():
            log.event("table-loaded", target=target, **asdict(loaded[str(table.staged)]))

    def under_way(tables: Sequence[TableLoad]) -> None:
        if progress and tables:
            more = f" and {len(tables) - 1} more" if len(tables) > 1 else ""
            progress(done(), plan.rows, f"loading {tables[0].staged}{more}")

    with plan.there.open(plan.bucket) as loader:
        loader.begin(plan.manifest.export, load_id or uuid4().hex, plan.tables)
        held = loader.held({table.target: table.staged.rows for table in plan.tables if table.serves})
        for table in plan.tables:
            if table.target in held:
                loader.keep_table(table)
                is_there(table, "kept the rows of this load")
        waiting = [table for table in plan.tables if table.target not in held]
        with closing(several.loaded(loader, waiting, plan.there.parallel, under_way)) as batches:
            for batch in batches:
                loader.settle([table.target for table, error in batch if error is None])
                for table, error in batch:
                    if error is None:
                        is_there(table, table.action)
                    elif set_aside is None or error.transient:
                        raise error
                    else:
                        set_aside[str(table.staged)] = error
                        log.event("table-set-aside", target=target, table=str(table.staged), why=error.why)
        for stale in plan.stale if not set_aside else ():
            loader.drop(stale, written=stale in plan.written)
        if progress and plan.keys:
            progress(done(), plan.rows, "telling of keys")
        refused = loader.tell_keys(
            plan.keys, [staged.there(plan.there.target.schema_) for staged in plan.manifest.tables]
        )
        for key, why in refused.items():
            log.event("key-not-told", target=target, key=key, why=why)
        if untold:
            untold(refused)
        if not set_aside:
            loader.finish([table.target for table in plan.tables], plan.stale, plan.rows)
        if progress:
            progress(done(), plan.rows, "loaded")
    return tuple(loaded[name] for table in plan.tables if (name := str(table.staged)) in loaded)


def rehearse(plan: LoadPlan) -> None:
    """Goes through a load, statement by statement; within a listing that withholds changes, none of them is made.

    Raises:
        ConnectionFailed, LoadError: the target cannot be asked.
    """
    if not statements.rehearsed():
        raise ValueError("a rehearsal outside of a listing that withholds what changes anything would be a load")
    # One table after the other, so that the list has an order; a load of several sessions says the first statements in each.
    load(replace(plan, there=replace(plan.there, parallel=1)))


def last_load(manifest: Manifest, bucket: Bucket, target: Target) -> str | None:
    """The id of the load of an export that a target's tables hold, most of them where there were several; None for none.

    A load with that id keeps the tables that hold all of its rows, and loads the others.

    Raises:
        ConnectionFailed, LoadError: the target cannot be asked.
    """
    with engines.destination(target).open(bucket) as loader:
        return loader.last_load(manifest.export)


def is_loaded(manifest: Manifest, bucket: Bucket, target: Target, load_id: str) -> tuple[bool, str]:
    """Asks a target whether it holds the rows of a load, all of them and nobody else's since.

    Args:
        manifest: of the export that was loaded.
        bucket: its stage.
        target: where the tables are.
        load_id: what the load was given.

    Returns:
        The answer, and what it was read from.

    Raises:
        ConnectionFailed, LoadError: the target cannot be asked.
    """
    there = engines.destination(target)
    with there.open(bucket) as loader:
        if not loader.recall(load_id):
            return False, f"nothing records the load {load_id} into {there.where} as whole"
        held = loader.held({staged.there(target.schema_): staged.rows for staged in manifest.tables})
        for staged in manifest.tables:
            if staged.there(target.schema_) not in held:
                return False, f"{staged} in {there.where} is not as the load {load_id} left it"
    return True, f"{there.where} holds every table of the load {load_id} as it was left"


def refuse_together(found: Sequence[MigrationError], *, on: str) -> None:
    """Raises what there is to refuse, all of it at once; nothing where there is nothing.

    Args:
        found: refusals of one target, or of several.
        on: what all of them are about.
    """
    if len(found) == 1:
        raise found[0]
    if found:
        of_usage = all(isinstance(error, UsageError) for error in found)
        why = dict.fromkeys(error.why if error.on == on else f"{error.on}: {error.why}" for error in found)
        raise (UsageError if of_usage else TargetRefused)(
            found[0].what if of_usage else "load without loss", on=on, why="; ".join(why),
            next_step="; ".join(dict.fromkeys(error.next_step for error in found)),
        )  # fmt: skip


def _plan_table(loader: Loader, staged: StagedTable, place: TargetTable, there: Standing | None) -> TableLoad:
    said = comments.by_column(staged)
    if there is None:
        return TableLoad(staged, place, "create", "create", said)
    staged = comments.with_kept(staged, there.shape, said if there.comments is None else there.comments)
    plan = TableLoad(staged, place, "rows", "replace the rows", said, written=bool(there.kept))
    plan = loader.change(plan, there.shape, shapes.loaded_shape(staged, there.shape.ddl))
    if there.kept:
        plan = replace(plan, action=f"{plan.action}; others wrote to it since its load: {there.kept}")
    return plan


def _keys(manifest: Manifest, there: Destination) -> tuple[Told, ...]:
    places = {(staged.schema_, staged.name): staged.there(there.target.schema_) for staged in manifest.tables}
    return keys.told(manifest.tables, lambda schema, table: places.get((schema, table)))


def _refused_names(
    there: Destination, chosen: Sequence[StagedTable], found: Sequence[names.Refusal]
) -> list[MigrationError]:
    placed = [(staged, staged.there(there.target.schema_)) for staged in chosen]
    refusals = list(dict.fromkeys([*names.refusals(placed, there.rules), *found]))
    return [names.refused(refusals, on=there.where)] if refusals else []


def _refused_tables(there: Destination, foreign: Mapping[TargetTable, str]) -> list[MigrationError]:
    if not foreign:
        return []
    found = (f"{table.shown(there.target.schema_)} ({what})" for table, what in sorted(foreign.items()))
    why = f"no load of ours made {'; '.join(found)}"
    cure = (
        "nothing was changed. Its owner renames it or moves it to another schema; or set another `schema` under the profile's "
        f"{there.target.adapter} section or its section tables, or leave the table out with --exclude"
    )
    return [TargetRefused("load into what belongs to others", on=there.where, why=why, next_step=cure)]
