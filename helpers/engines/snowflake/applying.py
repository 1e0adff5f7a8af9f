"""Applying a sync's batches to Snowflake: the MERGEs of all tables of a batch and the position in one transaction.

The files land before it, as those of a load do: every statement that defines something commits what is open
(https://docs.snowflake.com/en/sql-reference/transactions#ddl). The MERGE counts how many of the batch's keys the table has, and the
batch says how many there are: rows that others took away, added, or hid from this role take the transaction back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from helpers.engines.applying import Applier, Followed, Positions, between, not_begun, stood_still, written
from helpers.engines.loading import counted_as_staged, counts, require_staged
from helpers.engines.merging import Dialect, columns_of, merge_statement
from helpers.engines.snowflake import copying, owner, policies, positions, records
from helpers.engines.snowflake.catalog import Present, read_present
from helpers.engines.snowflake.definition import column_definition
from helpers.engines.snowflake.positions import WHOLE, Synced
from helpers.engines.snowflake.records import affected, beside
from helpers.errors import ConnectionFailed, TargetRefused
from helpers.model.batch import Batch, ChangedTable, batch_columns
from helpers.model.manifest import StagedTable
from helpers.model.places import TargetTable
from helpers.model.sync import ANEW, Sync
from helpers.platforms import snowflake, statements
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import Session, identifier
from helpers.settings import Snowflake

DIALECT = Dialect(identifier, copying.cast)

_UNDONE = "nothing of the batch was applied; run the same command again"


@contextmanager
def opened(target: Snowflake, bucket: Bucket, sync: Sync) -> Iterator[SnowflakeApplier]:
    """An applier with a session, which ends with the block."""
    with snowflake.connect(target) as session:
        yield SnowflakeApplier(target, bucket, sync, session)


def followed(target: Snowflake, bucket: Bucket) -> Followed | None:
    """As `Engine.followed`."""
    with snowflake.connect(target) as session:
        found = positions.read(session, target) if records.has_database(session, target) else {}
    whole = found.pop(WHOLE, None)
    if whole is None or whole.stage != str(bucket.location) or not found:
        return None
    return Followed(whole.sync, whole.reached)


@dataclass(frozen=True)
class _Work:
    """What a batch does to one table.

    Attributes:
        landing: the quoted name of the table that its file has landed in; empty without one.
    """

    staged: StagedTable
    changed: ChangedTable
    table: TargetTable
    landing: str


class SnowflakeApplier(Applier):
    """One session with the schemas of a Snowflake database."""

    def __init__(self, target: Snowflake, bucket: Bucket, sync: Sync, session: Session) -> None:
        self._target = target
        self._bucket = bucket
        self._sync = sync
        self._session = session
        self._where = snowflake.address(target)
        self._stage = beside(target, f"sync_{sync.id}")
        self._staged = False
        self._held: dict[TargetTable, Synced] | None = None
        self._others: dict[TargetTable, str] = {}
        self._completed: dict[TargetTable, int] = {}
        self._name = f"sync_{sync.id}"
        self._taken_over = False

    def positions(self, tables: Collection[TargetTable]) -> Positions:
        self._held = None  # another process may have moved them
        held = self._read(tables)
        if WHOLE not in held:
            return Positions(None)
        whole = held[WHOLE].reached
        present = read_present(self._session, self._target.database, {table.schema for table in tables} or {""})
        self._refuse_strangers(tables, present)
        found = {table: held[table].reached for table in tables}
        return Positions(whole, {table: position for table, position in found.items() if position > whole})

    def begin(self, tables: Mapping[TargetTable, int]) -> None:
        session, target = self._session, self._target
        held = self._read(tables)
        recorded = records.read(session, target) if records.has_database(session, target) else {}
        if not recorded:
            raise not_begun(self._where, "no load of ours has filled it")
        schemas = {table.schema for table in tables}
        present = read_present(session, target.database, schemas)
        there = [table for table in tables if table in present and table in recorded]
        now = records.changes(session, target, there)
        whole, refused, found = held.get(WHOLE), list[TargetRefused](), dict[TargetTable, Synced]()
        for table, position in tables.items():
            if table in held and held[table].reached == position:
                continue
            name, made = table.shown(target.schema_), recorded.get(table)
            if whole and position < whole.reached:
                refused.append(between(self._where, name, position, whole.reached, whole.reached))
            elif made is None or (position == self._sync.position and made.export != self._sync.export):
                refused.append(not_begun(self._where, f"{name} does not hold the export {self._sync.export}"))
            elif table not in present or present[table].created != made.created:
                refused.append(written(self._where, name, ["it was dropped or made anew"]))
            elif made.changed not in (None, now[table]):
                refused.append(written(self._where, name, ["its rows were changed"]))
            else:
                found[table] = Synced(
                    self._sync.id, str(self._bucket.location), position, made.created, now[table], made.rows
                )
        if refused:
            raise stood_still(self._where, refused)
        if whole is None:
            found[WHOLE] = Synced(self._sync.id, str(self._bucket.location), self._sync.position)
        if found:
            positions.begin(session, target, found)
            self._held = {**held, **found}

    def apply(self, batch: Batch, tables: Sequence[StagedTable]) -> None:
        if WHOLE not in self._read():
            raise not_begun(self._where, "no sync has begun there")
        try:
            self._take_over([staged.there(self._target.schema_) for staged in tables])
            if self._read()[WHOLE].reached >= batch.until:
                return
            self._take_in(batch, self._chosen(batch, tables))
        except BaseException:
            self._held = None  # of a transaction whose answer is lost nobody knows whether it took effect
            raise

    def _take_over(self, tables: Collection[TargetTable]) -> None:
        """Ends what a killed process has left open, and reads the tokens that it had no time for."""
        if self._taken_over:
            return
        if self._session.abort(self._name, doing="end a transaction that was left open"):
            self._held = None
        held = self._read()
        if unsettled := [table for table in tables if table in held and held[table].changed is None]:
            self._refuse_changed(unsettled)
            self._settle(unsettled)
        self._taken_over = True

    def _chosen(self, batch: Batch, tables: Sequence[StagedTable]) -> list[tuple[StagedTable, ChangedTable]]:
        """The tables that the batch changes, of those that do not have it."""
        held = self._read()
        changes = {(changed.schema_, changed.name): changed for changed in batch.tables}
        chosen = []
        for staged in tables:
            table = staged.there(self._target.schema_)
            if table not in held:
                raise not_begun(self._where, f"the sync of {table.shown(self._target.schema_)} has not begun there")
            at = max(held[table].reached, held[WHOLE].reached)
            if at >= batch.until:
                continue
            if at != batch.after:
                raise between(self._where, table.shown(self._target.schema_), at, batch.after, batch.until)
            changed = changes.get((staged.schema_, staged.name))
            if changed and (changed.file or changed.truncated):
                chosen.append((staged, changed))
        return chosen

    def _take_in(self, batch: Batch, chosen: Sequence[tuple[StagedTable, ChangedTable]]) -> None:
        session, doing = self._session, f"apply changes to {len(chosen)} tables"
        places = [staged.there(self._target.schema_) for staged, _ in chosen]
        self._refuse_changed(places)
        self._refuse_masked(chosen)
        for staged, _ in chosen:
            self._complete(staged)
        work = [self._land(staged, changed, f"landing_{n}") for n, (staged, changed) in enumerate(chosen)]
        with session.transaction(doing=doing, name=self._name):
            # First what all batches change, so that a second process waits here, and learns that it is late.
            self._require_moved(positions.move(session, self._target, self._sync.id, batch.until, {WHOLE: 0}))
            rows = {each.table: self._change(each) for each in work}
            self._require_moved(positions.move(session, self._target, self._sync.id, batch.until, rows))
        held = self._read()
        held[WHOLE] = replace(held[WHOLE], reached=batch.until)
        for table, count in rows.items():
            held[table] = replace(held[table], reached=batch.until, rows=count, changed=None)
        if places:
            self._settle(places)
        for each in work:
            if each.landing:
                session.execute(f"DROP TABLE {each.landing}", doing=doing)

    def _complete(self, staged: StagedTable) -> None:
        """Gives a table the columns that the source's has got since; rows that are there have NULL in them."""
        session, table = self._session, staged.there(self._target.schema_)
        if self._completed.get(table) == len(staged.columns) or statements.rehearsed():
            return
        full, doing = identifier(self._target.database, *table), f"add columns to {staged}"
        there = session.columns(f"SELECT * FROM {full}", doing=doing)
        if missing := [column for column in staged.columns if column.name not in there]:
            positions.doubt(session, self._target, [table])
            self._read()[table] = replace(self._read()[table], changed=None)
            for column in missing:
                plain = column.model_copy(update={"not_null": False, "default": None})
                session.execute(f"ALTER TABLE {full} ADD COLUMN {column_definition(plain)}", doing=doing)
            self._settle([table])
        self._completed[table] = len(staged.columns)

    def _land(self, staged: StagedTable, changed: ChangedTable, name: str) -> _Work:
        """Reads a table's file into a temporary table, and counts what arrived."""
        session, doing, table = self._session, f"apply changes to {staged}", staged.there(self._target.schema_)
        if changed.file is None:
            return _Work(staged, changed, table, "")
        if not self._staged:
            beside_it = self._target.schema_ + records.SCHEMA_SUFFIX
            owner.refuse_masked(session, self._target, TargetTable(beside_it, positions.TABLE))
            session.execute(
                copying.stage_statement(self._stage, self._bucket, self._target), doing="create the external stage"
            )
            self._staged = True
        landing, columns = beside(self._target, name), columns_of(staged, changed)
        arriving = staged.model_copy(update={"files": (changed.file,), "rows": changed.file.rows})
        session.execute(copying.landing_statement(landing, columns), doing=doing)
        for sql in copying.copy_statements(landing, self._stage, arriving):
            session.execute(sql, doing=doing)
        (counted,) = session.execute(
            f"SELECT {counts(arriving, copying.cast)} FROM {landing}", doing=doing, expected=counted_as_staged(arriving)
        )
        require_staged(arriving, counted, on="Snowflake", where="COPY read", next_step=_UNDONE)
        return _Work(staged, changed, table, landing)

    def _change(self, work: _Work) -> int:
        """Changes one table within the transaction; how many rows it has then."""
        staged, changed, doing = work.staged, work.changed, f"apply changes to {work.staged}"
        full = identifier(self._target.database, *work.table)
        if changed.truncated:
            sql = copying.insert_statement(full, work.landing or full, staged)
            condition = (
                f"NOT {identifier(batch_columns(staged, changed.unchanged).deleted)}" if work.landing else "FALSE"
            )
            arrived = self._session.execute(
                f"{sql} WHERE {condition}", doing=doing, expected=[{"number of rows inserted": changed.written}]
            )
            self._require(work, affected(arrived), changed.written, "rows were inserted")
            return changed.written
        sql = merge_statement(DIALECT, staged, changed, into=full, rows=work.landing, former=full)
        known = changed.known or 0
        would = {
            "number of rows inserted": changed.written,
            "number of rows updated": 0,
            "number of rows deleted": known,
        }
        (done,) = self._session.execute(sql, doing=doing, expected=[would])
        inserted, updated, deleted = (
            int(done.get(f"number of rows {what}", 0)) for what in ("inserted", "updated", "deleted")
        )
        # A table of nothing but its key has no rows to update.
        if changed.known is not None and "number of rows updated" in done:
            self._require(work, updated + deleted, known, "rows with keys of the batch are there")
        return self._read()[work.table].rows + inserted - deleted

    def _require_moved(self, moved: bool) -> None:
        if not moved:
            raise ConnectionFailed(
                "apply changes", on=self._where, why="another process has applied changes of this sync meanwhile",
                next_step="nothing of the batch was applied twice. Let one `runbook sync` run at a time, and run the same command again",
            )  # fmt: skip

    def _require(self, work: _Work, found: int, wanted: int, what: str) -> None:
        if found != wanted:
            why = f"{found:,} {what} and {wanted:,} should be: others changed the table, or a policy hides rows of it from this role"
            raise written(self._where, work.table.shown(self._target.schema_), [why])

    def _refuse_strangers(self, tables: Collection[TargetTable], present: Mapping[TargetTable, Present]) -> None:
        """Raises `TargetRefused` for tables that are not those, or not as, the sync has left them."""
        held, refused = self._read(), list[TargetRefused]()
        for table in tables:
            name = table.shown(self._target.schema_)
            if table not in held:
                refused.append(not_begun(self._where, f"the sync of {name} has not begun there"))
            elif table not in present or present[table].created != held[table].created:
                refused.append(written(self._where, name, ["it was dropped or made anew"]))
        if refused:
            raise stood_still(self._where, refused)
        self._refuse_changed(tables)

    def _refuse_changed(self, tables: Collection[TargetTable]) -> None:
        """Of a table whose token was not read before the sync was broken off, the number of its rows is all that tells."""
        held, refused = self._read(), list[TargetRefused]()
        now = records.changes(self._session, self._target, tables)
        for table in tables:
            name, left = table.shown(self._target.schema_), held[table]
            if left.changed is not None:
                if left.changed != now[table]:
                    refused.append(written(self._where, name, ["its rows were changed"]))
                continue
            asked = f"SELECT COUNT(*) AS N FROM {identifier(self._target.database, *table)}"
            (row,) = self._session.execute(asked, doing="count the tables' rows")
            if int(row["N"]) != left.rows:
                refused.append(
                    written(self._where, name, [f"it has {int(row['N']):,} rows, and {left.rows:,} were left"])
                )
        if refused:
            raise stood_still(self._where, refused)

    def _refuse_masked(self, chosen: Sequence[tuple[StagedTable, ChangedTable]]) -> None:
        """Raises `TargetRefused` where a value that was not sent would be read through a mask and written back masked."""
        reads = {
            staged.there(self._target.schema_): {c.name for c in staged.columns if c.field in changed.unchanged}
            for staged, changed in chosen
            if changed.unchanged
        }
        found = policies.masked(self._session, self._target.database, list(reads)) if reads else {}
        masks = [
            f"{table.shown(self._target.schema_)}.{column} by {policy}"
            for table, columns in found.items()
            for column, policy in columns.items()
            if column in reads[table]
        ]
        if masks:
            raise TargetRefused(
                "keep values that the source did not send again", on=self._where, why=f"they would be read masked: {', '.join(masks)}",
                next_step="nothing of the batch was applied. Have every value sent (ALTER TABLE … REPLICA IDENTITY FULL on the source), then "
                f"{ANEW}; or take the policy off while sync runs",
            )  # fmt: skip

    def _settle(self, tables: Collection[TargetTable]) -> None:
        tokens, held = positions.settle(self._session, self._target, tables), self._read()
        for table, token in tokens.items():
            held[table] = replace(held[table], changed=token)

    def _read(self, tables: Collection[TargetTable] = ()) -> dict[TargetTable, Synced]:
        """What is recorded of this sync.

        Args:
            tables: that no other sync may have changed since their load, which ends a sync of theirs.

        Raises:
            TargetRefused: one has.
        """
        if self._held is None:
            there = records.has_database(self._session, self._target)
            found = positions.read(self._session, self._target) if there else {}
            self._held = {table: each for table, each in found.items() if each.sync == self._sync.id}
            self._others = {table: each.sync for table, each in found.items() if each.sync != self._sync.id}
        if others := sorted({self._others[table] for table in tables if table in self._others}):
            raise not_begun(self._where, f"another sync, {', '.join(others)}, has changed its tables")
        return self._held
