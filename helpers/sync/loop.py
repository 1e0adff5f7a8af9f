"""The sync itself: one stream of changes, taken to every target batch by batch, and confirmed to the slot behind that.

Killed at any moment it goes on right: the slot sends again what was not confirmed, and each target says where it is. Those positions
are cuts, so a target takes or skips a batch whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from helpers import log
from helpers.engines import engine
from helpers.engines.applying import Applier, Positions, TablesRefused
from helpers.errors import StageError, UsageError
from helpers.model import lsn
from helpers.model import manifest as manifests
from helpers.model import sync as records
from helpers.model.batch import Batch, ChangedTable
from helpers.model.manifest import Manifest, StagedTable
from helpers.model.sync import Progress, Sync, SyncedTable, TargetProgress
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress as Report
from helpers.settings import Settings
from helpers.source.asking import asking
from helpers.source.catalog import read_catalog
from helpers.sync import relations, replication
from helpers.sync.additions import adding
from helpers.sync.changes import Mark, Relation, Transaction
from helpers.sync.collector import Collector, Pending, Target
from helpers.sync.convert import CannotBeStaged, Converter, Refusals, refusals
from helpers.sync.relations import Difference
from helpers.sync.replication import Sent, Stream
from helpers.sync.slot import refuse_gap, server_of

IDLE_BYTES = 64 * 1024 * 1024
"""Of the source's log without a change of ours, after which the targets' positions move all the same, so that it can be removed there."""

TOLD_SECONDS = 5.0
"""Between two words about how far the sync is."""

LOOK_SECONDS = 60.0
"""Between two looks at the catalog for what no change tells: a partition attached, a table dropped."""


@dataclass(frozen=True)
class Followed:
    """A table whose changes are applied.

    Attributes:
        staged: as it is staged now, with its place in the targets.
        refused: what its rows may not have.
        added: columns that it got since the copy.
    """

    staged: StagedTable
    target: Target
    refused: Refusals
    added: tuple[str, ...]


@dataclass
class Done:
    """What a sync has done since it began to run.

    Attributes:
        batches: that had changes.
        rows: written and deleted in each target.
    """

    batches: int = 0
    rows: dict[str, int] = field(default_factory=dict)


@contextmanager
def syncing(
    settings: Settings, bucket: Bucket, targets: Sequence[str] = (), *, report: Report | None = None
) -> Iterator[Syncing]:
    """A sync that goes on from where the targets are, for the length of the block; nobody else reads its slot meanwhile.

    Args:
        settings: the profile.
        bucket: at the location of the copy.
        targets: that are taken along; empty for all of the profile. A target that is left out keeps its place in the slot.
        report: told about bytes of the source's log.

    Raises:
        StageError: no sync was set up there, or the copy is another one by now.
        TargetRefused: a target does not hold what the changes follow on.
        SourceRefused: changes may be missing: the slot is not where the targets are.
        SourceFailed: another sync is running.
    """
    sync, manifest = records.read(bucket), manifests.read(bucket).placed(settings.tables)
    if manifest.export != sync.export:
        raise StageError(
            "go on with the sync", on=str(bucket.location), why=f"it follows on the copy {sync.export}, and {manifest.export} is there now",
            next_step="runbook sync stop, then runbook export --follow and runbook load",
        )  # fmt: skip
    chosen = tuple(targets) or tuple(settings.targets)
    if not chosen:
        raise UsageError(
            "sync", on=f"profile {settings.profile}", why="it has no target", next_step="describe one in migration.toml"
        )
    with ExitStack() as stack:
        appliers = {
            name: stack.enter_context(engine(name).applier(settings.target(name), bucket, sync)) for name in chosen
        }
        running = Syncing(settings, bucket, sync, manifest, appliers, report)
        running.go_on(stack)
        yield running


class Syncing:
    """A sync that runs.

    Attributes:
        sync: its record, as it was last written.
        position: that every target has reached.
        done: what was done since it began to run.
        between: called between two batches.
        ended: set by whoever wants it to end, which it does behind the batch that is under way.
    """

    def __init__(
        self, settings: Settings, bucket: Bucket, sync: Sync, manifest: Manifest, appliers: dict[str, Applier],
        report: Report | None,
    ) -> None:  # fmt: skip
        self.sync, self.done = sync, Done()
        self.between: Callable[[], None] = lambda: None
        self.ended = threading.Event()
        self._settings, self._bucket, self._manifest = settings, bucket, manifest
        self._appliers, self._report = appliers, report
        self._converter = Converter(settings.source, bucket)
        self._found: dict[int, tuple[Relation, str | None]] = {}
        self._followed: dict[str, Followed] = {}
        self._waiting_since = 0.0
        self._told_at = 0.0
        self._looked_at = monotonic()
        self._as_of = datetime.fromisoformat(sync.created_at)
        self._collector = Collector(sync.position, (), self._find, self._stop)

    @property
    def position(self) -> int:
        return self._collector.pending.after

    @property
    def end(self) -> int:
        """Where the source's log ends now."""
        with asking(self._settings.source, "ask where the log ends") as cursor:
            return server_of(cursor).position

    def go_on(self, stack: ExitStack) -> None:
        """Begins to read where the target is that is least far; see `syncing`."""
        cuts: set[int] = set()
        wholes = []
        for name in self._appliers:
            positions = self._positions(name)
            assert positions.whole is not None
            wholes.append(positions.whole)
            cuts |= {positions.whole, *positions.ahead.values()}
        cuts |= {start for _, start in self._going()}
        start = min(wholes)
        source = self._settings.source
        with asking(source, "ask whether the slot goes on from there") as cursor:
            sync = refuse_gap(cursor, source, self.sync, start)
            self._change(sync)
            self._collector = Collector(start, cuts, self._find, self._stop)
            self._compare(cursor)
        progress = records.progress(self._bucket, self.sync)
        # A target that is not taken along must find its changes later.
        others = [
            lsn.parse(each.position) for name, each in (progress.targets if progress else {}).items()
            if name not in self._appliers
        ]  # fmt: skip
        self._most_confirmed = min(others, default=None)
        self._rows = {name: each.rows for name, each in (progress.targets if progress else {}).items()}
        self._others = {
            name: each for name, each in (progress.targets if progress else {}).items() if name not in self._appliers
        }
        # Of a sync that was broken off: what it staged is staged again.
        self._bucket.remove(list(self._bucket.sizes(f"{records.FOLDER}{self.sync.id}/")))
        self._pool = stack.enter_context(ThreadPoolExecutor(max(1, len(self._appliers)), "apply"))
        self._stream: Stream = stack.enter_context(
            replication.reading(source, self.sync.slot, self.sync.publication, start)
        )
        self._began = start
        self._tell(now=True)  # so that whoever goes on without one of these targets leaves it its changes

    def _positions(self, target: str) -> Positions:
        """Where a target is, behind the beginning; tables to which others wrote there stop."""
        applier = self._appliers[target]
        while True:
            there = {staged.there(self._own(target)): start for staged, start in self._going()}
            try:
                found = applier.positions(list(there))
                if found.whole is None:
                    applier.begin(there)
                    found = applier.positions(list(there))
                return found
            except TablesRefused as error:
                self._stop_refused(target, error)

    def _stop_refused(self, target: str, error: TablesRefused) -> None:
        own = self._own(target)
        named = {staged.there(own).shown(own): str(staged) for staged, _ in self._going()}
        if not any(shown in named for shown in error.tables):
            raise error
        for shown, why in error.tables.items():
            if shown in named:
                self._stop(named[shown], f"in {target}, {why}")

    def run(self, until: int | None = None) -> None:
        """Applies what comes, to a position or for ever; a second call goes on.

        Args:
            until: to which; None until `ended` is set.

        Raises:
            ConnectionFailed: source, stage or a target were lost; a retry can help.
            TargetRefused: a target is not where it said that it was.
        """
        if until is not None:
            if until <= self.position:
                return
            self._collector.cut(until)
        while not self.ended.is_set() and (until is None or self.position < until):
            for found in self._stream.read(0.25):
                self._take(found)
            if self._is_due():
                self.apply()
            self._look()
            self._tell()
            self.between()
        if until is None:
            self.apply()
        self._tell(now=True)

    def _take(self, found: Transaction | Mark | Sent) -> None:
        if isinstance(found, Mark):
            return
        at = found.commit_lsn if isinstance(found, Transaction) else found.position
        while self._collector.due(at):
            self._collector.reach(at)
            self.apply()
        if isinstance(found, Sent):
            self._collector.reach(at)
            if not self._collector.pending.tables:
                self._as_of = datetime.now(UTC)
            return
        if not self._collector.pending.tables:
            self._waiting_since = monotonic()
        self._collector.take(found)
        if self._collector.pending.size >= self._settings.sync.batch_megabytes * 1_000_000:
            self.apply()

    def _is_due(self) -> bool:
        pending = self._collector.pending
        if pending.tables:
            return monotonic() - self._waiting_since >= self._settings.sync.batch_seconds
        return bool(pending.until - pending.after >= IDLE_BYTES)

    def apply(self) -> None:
        """Applies what is gathered.

        Raises:
            ConnectionFailed, TargetRefused: as `run`.
        """
        pending = self._collector.hand_over()
        if pending.until == pending.after:
            return
        batch = self._staged(pending)
        while refused := self._applied(batch):
            for name, error in refused.items():
                self._stop_refused(name, error)
        self._bucket.remove([changed.file.path for changed in batch.tables if changed.file])
        confirmed = pending.until if self._most_confirmed is None else min(pending.until, self._most_confirmed)
        self._stream.confirm(confirmed)
        count = sum(changed.written + changed.deleted for changed in batch.tables)
        for name in self._appliers:
            self.done.rows[name] = self.done.rows.get(name, 0) + count
            self._rows[name] = self._rows.get(name, 0) + count
        if batch.tables:
            self.done.batches += 1
            log.event("batch-applied", until=lsn.printed(batch.until), tables=len(batch.tables), rows=count)
        self._as_of = pending.committed or self._as_of
        self._tell(now=True)

    def _applied(self, batch: Batch) -> dict[str, TablesRefused]:
        """Has every target take a batch; what some refused, once all have ended."""
        tables = [staged for staged, _ in self._going()]
        done = {name: self._pool.submit(each.apply, batch, tables) for name, each in self._appliers.items()}
        refused: dict[str, TablesRefused] = {}
        for name, future in done.items():
            try:
                future.result()
            except TablesRefused as error:
                refused[name] = error
        return refused

    def _staged(self, pending: Pending) -> Batch:
        folder = f"{records.FOLDER}{self.sync.id}/{pending.after:016X}-{pending.until:016X}/"
        changed: list[ChangedTable] = []
        gathered = {name: each for name, each in pending.tables.items() if not each.collapsed.empty}
        if gathered:
            with self._converter.batch():
                for name, each in gathered.items():
                    followed = self._followed.get(name)
                    if followed is None:
                        continue
                    try:
                        changed.append(
                            self._converter.stage(
                                followed.staged, each.relation, each.collapsed, followed.refused, folder, followed.added
                            )
                        )
                    except CannotBeStaged as error:
                        self._stop(name, str(error))
        committed = pending.committed.isoformat() if pending.committed else ""
        return Batch(
            sync=self.sync.id, after=pending.after, until=pending.until, committed_at=committed, tables=tuple(changed)
        )

    def _find(self, relation: Relation) -> Target | None:
        """The table that a relation's changes belong to, seen for the first time or as it was seen before."""
        kept = self._found.get(relation.oid)
        if kept is None or kept[0] is not relation:
            name = kept[1] if kept and kept[0] == relation else self._recognized(relation)
            self._found[relation.oid] = kept = (relation, name)
        followed = self._followed.get(kept[1]) if kept[1] else None
        return followed.target if followed else None

    def _recognized(self, relation: Relation) -> str | None:
        tables = relations.Tables(self.sync, self._manifest.tables)
        with asking(self._settings.source, "ask which table has changed") as cursor:
            staged = tables.table(cursor, relation)
            synced = staged and self.sync.table(staged.schema_, staged.name)
            if not staged or not synced or synced.stopped:
                return None
            name = str(staged)
            difference = tables.compare(cursor, relation, staged)
            if not self._travels(cursor, synced, staged, difference):
                return None
            synced = self.sync.table(staged.schema_, staged.name) or synced
            cursor.execute(_LEAVES, [synced.oid])
            leaves = frozenset(int(oid) for (oid,) in cursor.fetchall())
            refused = self._followed[name].refused if name in self._followed and not difference.added else None
            staged = synced.extended(self._manifest.table(staged.schema_, staged.name) or staged)
            refused = refused or self._refusals(cursor, staged)
        self._followed[name] = Followed(
            staged, Target(name, staged.key, synced.position, leaves), refused, synced.later
        )
        return name

    def _travels(self, cursor: Any, synced: SyncedTable, staged: StagedTable, difference: Difference) -> bool:
        """Takes up columns that a table has got; whether it can be followed further."""
        why = list(difference.anew)
        if difference.added and not why:
            added = adding(cursor, self._settings, synced.oid, staged, difference.added)
            why += added.anew
            if not why:
                self._change(self.sync.with_table(synced.model_copy(update={"added": (*synced.added, *added.columns)})))
        if why:
            self._stop(str(synced), "; ".join(why))
        return not why

    def _refusals(self, cursor: Any, staged: StagedTable) -> Refusals:
        """What the rows of a table may not have."""
        found = read_catalog(
            cursor, schemas=self._settings.source.schemas, described=self._settings.tables, tables=(str(staged),)
        )
        (table,) = (each for each in found.tables if str(each) == str(staged))
        return refusals(cursor, table, staged, self._settings.export.policies)

    def _stop(self, name: str, why: str) -> None:
        """The changes of a table are applied no more; those of the others are."""
        self._collector.forget(name)
        self._followed.pop(name, None)
        synced = next(each for each in self.sync.tables if str(each) == name)
        at = lsn.printed(self._collector.pending.until)
        self._change(self.sync.with_stopped(synced.schema_, synced.name, f"{why} (at {at})"))
        log.event("table-stopped", table=name, why=why)

    def _look(self) -> None:
        if monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = monotonic()
        with asking(self._settings.source, "ask what became of the tables") as cursor:
            self._compare(cursor)

    def _compare(self, cursor: Any) -> None:
        """Stops the tables of which the catalog says what no change will tell."""
        sync, differing = relations.look(cursor, self.sync, self._manifest.tables)
        self._change(sync)
        for name, difference in differing.items():
            # Columns that came are taken up with the first change that has them.
            if difference.anew:
                self._stop(name, difference.why)

    def _change(self, sync: Sync) -> None:
        if sync != self.sync:
            self.sync = sync
            sync.write(self._bucket)

    def _going(self) -> list[tuple[StagedTable, int]]:
        """The tables that have not stopped, as they are staged now, each with the position of its copy."""
        found = []
        for synced in self.sync.tables:
            staged = self._manifest.table(synced.schema_, synced.name)
            if staged and not synced.stopped:
                found.append((synced.extended(staged), synced.position))
        return found

    def _copied(self, schema: str, name: str) -> StagedTable | None:
        return self._manifest.table(schema, name)

    def _own(self, name: str) -> str:
        own = engine(name).own_schema(self._settings)
        assert own is not None
        return own

    def _tell(self, *, now: bool = False) -> None:
        if not now and monotonic() - self._told_at < TOLD_SECONDS:
            return
        self._told_at = monotonic()
        pending = self._collector.pending
        targets = {
            name: TargetProgress(
                position=lsn.printed(pending.after), as_of=self._as_of.isoformat(), rows=self._rows.get(name, 0)
            )
            for name in self._appliers
        }
        Progress(
            sync=self.sync.id, written_at=datetime.now(UTC).isoformat(), targets={**self._others, **targets}, waiting=pending.changes
        ).write(self._bucket)  # fmt: skip
        if self._report:
            sent = max(pending.until, pending.after)
            self._report(pending.after - self._began, sent - self._began, f"at {lsn.printed(pending.after)}")


_LEAVES = """
SELECT relid::oid::bigint FROM pg_partition_tree(%s::oid::regclass) t JOIN pg_class c ON c.oid = t.relid
WHERE t.isleaf AND t.relid IN (SELECT inhrelid FROM pg_inherits)
"""
