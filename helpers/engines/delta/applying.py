"""Applying a sync's batches to Delta tables: one MERGE a table and batch, whose commit says which batch it is.

Delta commits one table at a time, so the tables of a batch are ahead of one another for a moment. The record beside the staged
files says for each which of its versions has which position, and follows the commits; where a sync was killed between the two, a
table's own history tells the rest. What is in it since that version beside the sync's own MERGEs and its keeper's maintenance is
somebody else's write, and ends the sync of that table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from helpers.engines.applying import Applier, Followed, Positions, between, not_begun, stood_still, written
from helpers.engines.delta import history, owner
from helpers.engines.delta.catalog import DeltaCatalog, Version, qualified
from helpers.engines.delta.history import COLUMNS_ADDED, Applied, Commit
from helpers.engines.delta.landing import name_local_table, read_files
from helpers.engines.delta.load import cast, column_definition
from helpers.engines.delta.records import Reached, Record, read_record
from helpers.engines.merging import Dialect, columns_of, merge_statement
from helpers.errors import TargetRefused
from helpers.model.batch import Batch, ChangedTable, key_columns
from helpers.model.manifest import StagedTable
from helpers.model.places import TargetTable
from helpers.model.sync import Sync
from helpers.platforms import spark, statements
from helpers.platforms.s3 import Bucket
from helpers.platforms.spark import identifier
from helpers.settings import Databricks
from helpers.settings.local_stack import local_stack

DIALECT = Dialect(identifier, cast)


@contextmanager
def opened(target: Databricks, bucket: Bucket, sync: Sync) -> Iterator[DeltaApplier]:
    """An applier whose session begins when it is first needed, and ends with the block."""
    with ExitStack() as stack:
        yield DeltaApplier(target, bucket, sync, stack)


def followed(target: Databricks, bucket: Bucket) -> Followed | None:
    """As `Engine.followed`."""
    found = read_record(bucket)
    if found is None or found.sync is None or found.target != spark.address(target):
        return None
    return Followed(found.sync.id, found.sync.position)


@dataclass(frozen=True)
class _Stand:
    """A version of a table whose position is known."""

    version: Version
    position: int


class DeltaApplier(Applier):
    """One session with schemas of Delta tables."""

    def __init__(self, target: Databricks, bucket: Bucket, sync: Sync, stack: ExitStack) -> None:
        self._target = target
        self._bucket = bucket
        self._sync = sync
        self._where = spark.address(target)
        self._catalog = DeltaCatalog(target, bucket.stage, stack)
        self._stands: dict[TargetTable, _Stand] = {}
        self._named: set[TargetTable] = set()
        self._completed: dict[TargetTable, int] = {}

    def positions(self, tables: Collection[TargetTable]) -> Positions:
        record = self._begun()
        if record is None or record.sync is None:
            return Positions(None)
        whole, refused = record.sync.position, []
        for table in tables:
            try:
                self._stands[table] = self._look(record, table)
            except TargetRefused as error:
                refused.append(error)
        if refused:
            raise stood_still(self._where, refused)
        found = {table: self._stands[table].position for table in tables}
        return Positions(whole, {table: position for table, position in found.items() if position > whole})

    def begin(self, tables: Mapping[TargetTable, int]) -> None:
        record = self._begun()
        if record is None:
            raise not_begun(self._where, "no load from this stage has filled it")
        if record.sync is None and record.export != self._sync.export:
            raise not_begun(
                self._where, f"it holds the export {record.export}, and changes follow on {self._sync.export}"
            )
        reached = record.sync or Reached(id=self._sync.id, position=self._sync.position)
        found: dict[TargetTable, tuple[Version, int]] = {}
        refused = []
        for table, position in tables.items():
            kept = record.kept(table)
            if kept and kept.position == position:
                continue
            try:
                if record.sync and position < reached.position:
                    raise between(
                        self._where, table.shown(self._target.schema_), position, reached.position, reached.position
                    )
                found[table] = self._loaded(record, table, position), position
            except TargetRefused as error:
                refused.append(error)
        if refused:
            raise stood_still(self._where, refused)
        if not statements.rehearsed():
            record.follow(self._bucket, reached, found)

    def apply(self, batch: Batch, tables: Sequence[StagedTable]) -> None:
        record = self._begun()
        if record is None or record.sync is None:
            raise not_begun(self._where, "no sync has begun there")
        if record.sync.position >= batch.until:
            return
        changes = {(changed.schema_, changed.name): changed for changed in batch.tables}
        work: list[tuple[StagedTable, ChangedTable]] = []
        for staged in tables:
            at = self._stand(record, staged.there(self._target.schema_)).position
            if at >= batch.until:
                continue
            if at != batch.after:
                raise between(self._where, str(staged), at, batch.after, batch.until)
            if changed := changes.get((staged.schema_, staged.name)):
                work.append((staged, changed))
        for staged, _ in work:
            self._complete(record, staged)
            self._name(staged.there(self._target.schema_))
        self._at_once(record, batch, work)
        if not statements.rehearsed():
            record.follow(
                self._bucket, Reached(id=self._sync.id, position=batch.until), self._moved(record, tables, batch.until)
            )

    def _moved(
        self, record: Record, tables: Iterable[StagedTable], until: int
    ) -> dict[TargetTable, tuple[Version, int]]:
        """What is to be recorded of the tables that have another version than the record says."""
        there = {staged.there(self._target.schema_) for staged in tables}
        stands = {table: stand for table, stand in self._stands.items() if table in there}
        return {
            table: (stand.version, max(stand.position, until))
            for table, stand in stands.items()
            if (kept := record.kept(table)) and kept.version != stand.version
        }

    def _at_once(self, record: Record, batch: Batch, work: Sequence[tuple[StagedTable, ChangedTable]]) -> None:
        """Several tables at the same time: a session of Spark Connect runs several statements at once."""
        count = 1 if self._catalog.local else min(self._target.parallel, len(work))
        if count < 2:
            for staged, changed in work:
                self._merge(record, batch, staged, changed)
            return
        with ThreadPoolExecutor(count, "apply") as pool:
            for done in [pool.submit(self._merge, record, batch, *each) for each in work]:
                done.result()

    def _merge(self, record: Record, batch: Batch, staged: StagedTable, changed: ChangedTable) -> None:
        table = staged.there(self._target.schema_)
        before = self._stands.pop(table)  # of a statement that fails nobody knows whether it took effect
        doing = f"apply changes to {staged}"
        name, mark = qualified(self._target, table), Applied(batch.sync, batch.until)
        if changed.file:
            columns = columns_of(staged, changed)
            fields = [(field, column.delta if column else "BOOLEAN") for field, column in columns]
            rows = read_files(
                self._catalog.session, self._target, self._bucket, table, [changed.file.path], fields, doing=doing
            )
            sql = merge_statement(
                DIALECT, staged, changed, into=name, rows=rows, former=f"{name} VERSION AS OF {before.version.number}",
                first=mark.column, alone=changed.truncated,
            )  # fmt: skip
        elif changed.truncated:
            sql = _emptying_statement(name, staged, mark)
        else:
            self._stands[table] = before
            return
        self._catalog.session.execute(sql, doing=doing)
        found = self._look(record, table)
        # A MERGE that finds nothing to change may commit nothing.
        self._stands[table] = _Stand(found.version, batch.until)

    def _begun(self) -> Record | None:
        """The record of this target, where it is not another sync's."""
        found = read_record(self._bucket)
        if found is None or found.target != self._where:
            return None
        if found.sync and found.sync.id != self._sync.id:
            raise not_begun(self._where, f"another sync, {found.sync.id}, has changed its tables")
        return found

    def _stand(self, record: Record, table: TargetTable) -> _Stand:
        if table not in self._stands:
            self._stands[table] = self._look(record, table)
        assert record.sync
        stand = self._stands[table]
        return _Stand(stand.version, max(stand.position, record.sync.position))

    def _look(self, record: Record, table: TargetTable) -> _Stand:
        """How a table stands now, by the record and what its history says since.

        Raises:
            TargetRefused: others wrote to it, or it cannot be read.
        """
        kept = record.kept(table)
        if kept is None or kept.position is None or record.sync is None:
            raise not_begun(self._where, f"the sync of {table.shown(self._target.schema_)} has not begun there")
        now = self._catalog.now(table) if self._catalog.has(table) else None
        if now is None:
            raise written(self._where, table.shown(self._target.schema_), ["it is not there, or its files are lost"])
        position = None
        if kept.version.table_id == now.table_id:
            position = history.reached(
                self._catalog.commits(table, kept.version, now), left=kept.version.number, at=max(kept.position, record.sync.position),
                now=now.number, ours=self._is_ours,
            )  # fmt: skip
        if position is None:
            others = self._catalog.changes(table, kept.version, now, ours=self._is_ours)
            raise written(self._where, table.shown(self._target.schema_), others or ["a restoration"])
        return _Stand(now, position)

    def _is_ours(self, commit: Commit) -> bool:
        """A batch that was taken in, or columns that a table got for one: they change no row that is there."""
        if commit.applied is not None:
            return commit.applied.sync == self._sync.id
        return commit.operation in COLUMNS_ADDED and not commit.changes_data

    def _loaded(self, record: Record, table: TargetTable, position: int) -> Version:
        """The version of a table that holds what a load of ours left, and nothing else."""
        name = table.shown(self._target.schema_)
        now = self._catalog.now(table) if self._catalog.has(table) else None
        if now is None:
            raise written(self._where, name, ["it is not there, or its files are lost"])
        kept = record.kept(table)
        if position == self._sync.position:
            if kept is None:
                raise not_begun(self._where, f"{name} was not loaded from this stage")
            others = self._catalog.changes(table, kept.version, now)
        else:
            found = owner.standing(self._catalog, table)
            others = found.written if found.mark else ("no load of ours made it",)
        if others:
            raise written(self._where, name, others)
        return now

    def _complete(self, record: Record, staged: StagedTable) -> None:
        """Gives a table the columns that the source's has got since; rows that are there have NULL in them."""
        table = staged.there(self._target.schema_)
        if self._completed.get(table) == len(staged.columns):
            return
        there = {column.name.lower() for column in self._catalog.shape(table).columns}
        if missing := [column for column in staged.columns if column.name.lower() not in there]:
            if self._catalog.local and not statements.rehearsed():
                local_stack().add_delta_columns(self._catalog.lake(table.schema), table.name, missing)
            elif not self._catalog.local:
                added = ", ".join(
                    column_definition(column.model_copy(update={"not_null": False})) for column in missing
                )
                sql = f"ALTER TABLE {qualified(self._target, table)} ADD COLUMNS ({added})"
                self._catalog.session.execute(sql, doing=f"add columns to {staged}")
            self._named.discard(table)
            self._stands[table] = self._look(record, table)
        self._completed[table] = len(staged.columns)

    def _name(self, table: TargetTable) -> None:
        if self._catalog.local and table not in self._named:
            name_local_table(self._catalog.session, self._target, table, doing=f"open {table}")
            self._named.add(table)


def _emptying_statement(into: str, staged: StagedTable, mark: Applied) -> str:
    """A MERGE from no rows, which says in its commit which batch it is; TRUNCATE and DELETE would not."""
    key = key_columns(staged)[0]
    rows = f"SELECT CAST(NULL AS {key.delta}) AS {identifier(mark.column)} WHERE FALSE"
    return (
        f"MERGE INTO {into} AS t USING ({rows}) AS s ON t.{identifier(key.name)} = s.{identifier(mark.column)} "
        "WHEN NOT MATCHED BY SOURCE THEN DELETE"
    )
