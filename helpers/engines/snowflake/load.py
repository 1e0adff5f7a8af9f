"""Loading Snowflake: a temporary table takes the files, explicit casts move its rows to the final table.

Each table is one transaction; it does not depend on which files Snowflake remembers having loaded. A table stays the same table
wherever Snowflake can alter it, and with it what its owner put on it; where another has to take its place, grants, policies and
tags are carried to it, or the load is refused (`owner`). What others wrote into a table of ours since its load is kept as a copy
beside the target's schema.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from uuid import uuid4

from helpers.engines.applying import Followed
from helpers.engines.loading import (
    Loader,
    Standing,
    TableLoad,
    There,
    counted_as_staged,
    counts,
    miscounted,
    require_staged,
)
from helpers.engines.shapes import TableShape, difference
from helpers.engines.snowflake import copying, keys, owner, positions, records
from helpers.engines.snowflake import definition as definitions
from helpers.engines.snowflake.catalog import TABLE, Present, created, read_present, read_tables
from helpers.engines.snowflake.definition import Alteration
from helpers.engines.snowflake.owner import successor
from helpers.engines.snowflake.positions import Synced
from helpers.engines.snowflake.records import Made, Record, affected, beside
from helpers.errors import MigrationError, UsageError
from helpers.model.catalog import ForeignKey
from helpers.model.keys import Told
from helpers.model.manifest import StagedTable
from helpers.model.places import TargetTable
from helpers.platforms import snowflake, statements
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import Session, identifier, literal
from helpers.settings import Snowflake

_AS_BEFORE = "the table is as it was before; check that nobody else writes to it, then run the same command again"


@dataclass(frozen=True)
class Details:
    """How a present table becomes what the source's is.

    Attributes:
        definition: columns, key and comment of a new table; empty where the present one stays.
        made: the present table's time of creation; None where there is none.
        alteration: of the present table.
        comments: statements that give the present table its comments.
        carried: statements that put on the new table what the owner put on the present one, with {table} for its name.
    """

    definition: str = ""
    made: int | None = None
    alteration: Alteration = field(default_factory=Alteration)
    comments: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()


@contextmanager
def opened(target: Snowflake, bucket: Bucket) -> Iterator[SnowflakeLoader]:
    """A loader with a session, which ends with the block."""
    with snowflake.connect(target) as session:
        yield SnowflakeLoader(target, bucket, session)


class SnowflakeLoader(Loader):
    """One session with the schemas of a Snowflake database that get tables."""

    def __init__(self, target: Snowflake, bucket: Bucket, session: Session) -> None:
        super().__init__(bucket)
        self._target = target
        self._session = session
        self._present: dict[TargetTable, Present] = {}
        self._recorded: dict[TargetTable, Made] = {}
        self._written: set[TargetTable] = set()
        self._unfinished: set[TargetTable] = set()
        self._made: dict[TargetTable, Made] = {}
        """What a rehearsal would have recorded, had it sent what it lists."""
        self._synced: dict[TargetTable, Synced] = {}
        self._landing = beside(target, "landing")
        self._database_is_there = False
        self._takes_back = False
        """Whether a failed table is being made as it was before, which no interrupt ends."""

    def look(self, chosen: Sequence[StagedTable]) -> There:
        session, target = self._session, self._target
        wanted = [staged.there(target.schema_) for staged in chosen]
        self._read_records(wanted)
        ours = {
            table: made.changed for table, made in self._recorded.items()
            if made.changed is not None and table in self._present and self._present[table].created == made.created
        }  # fmt: skip
        now = records.changes(session, target, ours)
        synced = positions.read(session, target) if self._recorded else {}
        self._synced = synced
        left = {table: each.changed for table, each in synced.items()}
        self._written = {table for table, changed in ours.items() if now[table] not in (changed, left.get(table))}
        shapes = read_tables(session, target.database, wanted, self._present) if self._present else {}
        refusals = owner.refusals(session, chosen, self._present, target)
        # A table whose place is taken by a new one has its successor's name for a moment.
        needed = [each for table in wanted for each in (table, successor(table))]
        foreign = owner.foreign(needed, self._present, self._recorded)
        views = {table for table in wanted if table in self._present and self._present[table].kind != TABLE}
        tables = {
            table: Standing(shape, made.comments if (made := self._recorded.get(table)) else None, self._kept(table))
            for table, shape in shapes.items() if table not in {*foreign, *views}
        }  # fmt: skip
        try:
            copying.stage_statement('""', self.bucket, target)
        except UsageError as error:
            self.refused.append(error)
        return There(tables, refusals, {table: what for table, what in foreign.items() if table not in views})

    def change(self, table: TableLoad, found: TableShape, wanted: TableShape) -> TableLoad:
        target = table.target
        said = tuple(definitions.comment_statements(self._full(target), found, wanted))
        details = Details(made=self._present[target].created, comments=said)
        differs = difference(found, wanted)
        if not differs:
            return replace(table, details=details)
        alteration = definitions.alteration(found, wanted, table.staged)
        altered = replace(table, way="alter", action=f"alter the table: {differs}")
        if alteration and not alteration.gone:
            return replace(altered, details=replace(details, alteration=alteration))
        made = self._recorded.get(target)
        own_keys = owner.keys(self._target, found, made.constraints if made else ())
        on_it = (*owner.attached(self._session, self._target, target), *own_keys)
        gone = {column.name for column in found.columns if wanted.column(column.name) is None}
        if alteration:
            owner.refuse_lost(self._target, target, differs, [one for one in on_it if gone & set(one.columns)])
            return replace(altered, details=replace(details, alteration=alteration))
        retyped = set(definitions.changed_columns(found, wanted))
        lost = [one for one in on_it if not one.clause or (retyped if one.typed else gone) & set(one.columns)]
        owner.refuse_lost(self._target, target, differs, lost)
        details = Details(
            definitions.table_definition(table.staged), details.made, carried=tuple(one.clause for one in on_it)
        )
        return replace(table, way="replace", action=f"replace the table: {differs}", details=details)

    def gone(self, kept: Sequence[StagedTable]) -> dict[TargetTable, bool]:
        from_here = {table for table, made in self._recorded.items() if made.stage == str(self.bucket.location)}
        ours = sorted(from_here & self._present.keys())
        stay = (staged.there(self._target.schema_) for staged in kept)
        needed = {each for table in stay for each in (table, successor(table))}
        stale = set(ours) - owner.foreign(ours, self._present, self._recorded).keys() - needed
        return {table: table in self._written for table in stale}

    def begin(self, export: str, load_id: str, tables: Sequence[TableLoad]) -> None:
        session, target = self._session, self._target
        self._stage = copying.stage_statement(beside(target, f"migration_{export}"), self.bucket, target)
        self._prepare([table.target.schema for table in tables])
        self._stage_name, self._load_id = beside(target, f"migration_{export}"), load_id
        self._record = Record(target, export, load_id, str(self.bucket.location))
        self._read_records([table.target for table in tables], prepared=True)
        positions.forget(session, target, [table.target for table in tables])
        session.execute(self._stage, doing="create the external stage")
        for table in tables:
            # Of a load that was broken off: planning has seen that they are ours.
            if table.target in self._unfinished:
                session.execute(f"DROP TABLE {self._full(table.target)}", doing=f"drop {table.target}")
            if (left := successor(table.target)) in self._present:
                session.execute(f"DROP TABLE {self._full(left)}", doing=f"drop {left}")
                self._record.forget(session, left)

    def _prepare(self, schemas: Sequence[str]) -> None:
        """Makes what is not there: a role may lack the right to create what exists, and IF NOT EXISTS needs it all the same
        (https://docs.snowflake.com/en/sql-reference/sql/create-schema).
        """
        session, target, doing = self._session, self._target, "create the database and its schemas"
        there = records.schemas(session, target)
        if there is None:
            session.execute(f"CREATE DATABASE {identifier(target.database)}", doing=doing)
        for schema in dict.fromkeys([*schemas, target.schema_ + records.SCHEMA_SUFFIX]):
            if schema not in (there or ()):
                session.execute(f"CREATE SCHEMA {identifier(target.database, schema)}", doing=doing)
        for sql in records.prepare(session, target):
            session.execute(sql, doing="create the table of the loads")
        owner.refuse_masked(session, target, TargetTable(target.schema_ + records.SCHEMA_SUFFIX, records.TABLE))

    @contextmanager
    def another(self) -> Iterator[SnowflakeLoader]:
        with snowflake.connect(self._target) as session:
            session.execute(self._stage, doing="create the external stage")
            other = copy(self)
            other._session = session
            yield other

    def interrupt(self, others: Sequence[Loader]) -> None:
        for other in others:
            if isinstance(other, SnowflakeLoader) and not other._takes_back:
                # https://docs.snowflake.com/en/sql-reference/functions/system_cancel_all_queries
                with suppress(MigrationError):
                    asked = f"SELECT SYSTEM$CANCEL_ALL_QUERIES({other._session.id})"
                    self._session.execute(asked, doing="end what runs")

    def holds(self, table: TargetTable, rows: int) -> bool:
        return table in self.held({table: rows})

    def held(self, tables: Mapping[TargetTable, int]) -> set[TargetTable]:
        return records.held(self._session, self._target, tables, self._load_id, self._recorded, self._present)

    def load_table(self, table: TableLoad) -> None:
        """Rows go to a temporary table, are counted and cast there, and then go to the final table in one transaction.

        Every statement that defines something commits what is open
        (https://docs.snowflake.com/en/sql-reference/transactions#ddl), so none stands in that transaction.
        """
        self._takes_back = False
        self._land(table.staged)
        if table.written:
            self._keep_a_copy(table.target)
        details = table.details or Details()
        match table.way:
            case "create":
                self._create(table)
            case "replace":
                self._replace(table, details)
            case _:
                self._refill(table, details)
        self._session.execute(f"DROP TABLE {self._landing}", doing=f"load {table.staged}")
        self.keep_table(table)

    def keep_table(self, table: TableLoad) -> None:
        for statement in table.details.comments if table.details else ():
            self._session.execute(statement, doing=f"comment on {table.target.name}")

    def settle(self, tables: Collection[TargetTable]) -> None:
        if tables:
            self._record.settle(self._session, tables)

    def _land(self, staged: StagedTable) -> None:
        session, doing = self._session, f"load {staged}"
        session.execute(copying.landing_statement(self._landing, copying.fields(staged)), doing=doing)
        for sql in copying.copy_statements(self._landing, self._stage_name, staged):
            session.execute(sql, doing=doing)
        query = f"SELECT {counts(staged, copying.cast)} FROM {self._landing}"
        (counted,) = session.execute(query, doing=doing, expected=counted_as_staged(staged))
        require_staged(staged, counted, on="Snowflake", where="COPY read", next_step=_AS_BEFORE)

    def _create(self, table: TableLoad) -> None:
        """A new table is made where it stays: future grants of its schema apply to what is created there, and not to what is
        renamed (https://docs.snowflake.com/en/sql-reference/sql/grant-privilege). Until it is recorded its comment says what it is.
        """
        session, staged, final = self._session, table.staged, self._full(table.target)
        doing = f"create the table for {staged}"
        marked = staged.model_copy(update={"comment": f"{owner.UNFINISHED}{self._load_id}"})
        session.execute(f"CREATE TABLE {final} {definitions.table_definition(marked)}", doing=doing)
        try:
            made = created(session, self._target.database, table.target)
            self._fill(final, table, lambda: self._write_record(table, made))
        except BaseException:
            self._take_back([f"DROP TABLE {final}"], f"drop the table for {staged}, which got no rows")
            raise
        said = f"COMMENT ON TABLE {final} IS {literal(staged.comment or '')}"
        for statement in (said, *definitions.later_comments(final, staged)):
            session.execute(statement, doing=f"comment on {table.target.name}")

    def _refill(self, table: TableLoad, details: Details) -> None:
        session, final, doing = self._session, self._full(table.target), f"alter {table.staged.name}"
        alteration = details.alteration
        for clause in alteration.before:
            session.execute(f"ALTER TABLE {final} {clause}", doing=doing)
        try:
            self._fill(final, table, lambda: self._write_record(table, details.made or 0))
        except BaseException:
            self._take_back([f"ALTER TABLE {final} {clause}" for clause in alteration.undo], doing)
            raise
        for clause in alteration.after:
            session.execute(f"ALTER TABLE {final} {clause}", doing=doing)

    def _replace(self, table: TableLoad, details: Details) -> None:
        """Another table is filled beside the target's schema, gets what the owner put on the present one, and takes its name."""
        session, staged, target = self._session, table.staged, self._target
        doing, waiting = f"load {staged}", successor(table.target)
        beside_it = TargetTable(target.schema_ + records.SCHEMA_SUFFIX, waiting.name)
        final, new, place = (self._full(each) for each in (table.target, beside_it, waiting))
        session.execute(f"CREATE OR REPLACE TABLE {new} {details.definition}", doing=f"create the table for {staged}")
        made = created(session, target.database, beside_it)
        # Recorded as ours before it goes where the others are.
        self._record.write(session, waiting, 0, known=waiting in self._recorded, created=made)
        self._fill(new, table, None)
        for statement in definitions.later_comments(new, staged):
            session.execute(statement, doing=f"comment on {table.target.name}")
        for clause in details.carried:
            session.execute(clause.replace("{table}", new, 1), doing=f"keep what its owner put on {staged.name}")
        session.execute(f"ALTER TABLE {new} RENAME TO {place}", doing=doing)
        session.execute(f"ALTER TABLE {place} SWAP WITH {final}", doing=doing)
        session.execute(f"DROP TABLE {place}", doing=doing)
        with session.transaction(doing=doing):
            self._write_record(table, made)
            self._record.forget(session, waiting)

    def _fill(self, into: str, table: TableLoad, recording: Callable[[], None] | None) -> None:
        session, staged, doing = self._session, table.staged, f"load {table.staged}"
        with session.transaction(doing=doing):
            try:
                sql = copying.insert_statement(into, self._landing, staged)
                arrived = [{"number of rows inserted": staged.rows}]
                if (rows := affected(session.execute(sql, doing=doing, expected=arrived))) != staged.rows:
                    raise miscounted(staged, "Snowflake", "the final table got", rows, _AS_BEFORE)
                if recording:
                    recording()
            except BaseException:
                self._takes_back = True
                raise

    def _take_back(self, said: Sequence[str], doing: str) -> None:
        """Undoes what was defined for rows that did not come; of a session that has ended, the next load does it."""
        self._takes_back = True
        with suppress(MigrationError):
            # Each of the statements would commit what is open, should it be open still.
            for sql in ("ROLLBACK", *said):
                self._session.execute(sql, doing=doing)

    def tell_keys(self, told: Sequence[Told], tables: Collection[TargetTable]) -> dict[str, str]:
        self._read_records(tables, prepared=True)
        ours = {table: made for table in tables if (made := self._recorded.get(table)) and self._is_ours(table, made)}
        there = [
            each for each in told
            if each.there in ours and (not isinstance(each.key, ForeignKey) or (each.key.schema, each.key.table) in ours)
        ]  # fmt: skip
        waiting = {
            str(each): "its table, or the one that it refers to, is not there" for each in told if each not in there
        }
        return waiting | keys.tell(
            self._session,
            self._target,
            self._record,
            there,
            ours,
            {each for each, made in self._made.items() if not made.created},
        )

    def _is_ours(self, table: TargetTable, made: Made) -> bool:
        return table in self._present and self._present[table].created == made.created

    def drop(self, table: TargetTable, *, written: bool) -> None:
        if written:
            self._keep_a_copy(table)
        doing = f"drop {table.shown(self._target.schema_)}, which the source no longer has"
        self._session.execute(f"DROP TABLE IF EXISTS {self._full(table)}", doing=doing)
        self._record.forget(self._session, table)
        positions.forget(self._session, self._target, [table])

    def finish(self, tables: Collection[TargetTable], dropped: Collection[TargetTable], rows: int) -> None:
        with self._session.transaction(doing="record the load"):
            self._record.write(self._session, records.WHOLE, rows, known=records.WHOLE in self._recorded)

    def followed(self, export: str) -> Followed | None:
        whole = self._synced.get(positions.WHOLE)
        of_export = (made and made.export == export for made in map(self._recorded.get, self._synced))
        return Followed(whole.sync, whole.reached) if whole and any(of_export) else None

    def last_load(self, export: str) -> str | None:
        self._read_records()
        ids = Counter(made.load_id for made in self._recorded.values() if made.export == export)
        return ids.most_common(1)[0][0] if ids else None

    def recall(self, load_id: str) -> bool:
        self._load_id = load_id
        self._read_records()
        return records.WHOLE in self._recorded and self._recorded[records.WHOLE].load_id == load_id

    def _read_records(self, wanted: Iterable[TargetTable] = (), *, prepared: bool = False) -> None:
        """What is recorded, and what lies in every schema that has such tables or is to have one."""
        session, target = self._session, self._target
        self._database_is_there = self._database_is_there or records.has_database(session, target)
        if self._database_is_there:
            self._recorded = records.read(session, target, prepared=prepared)
            schemas = {table.schema for table in (*wanted, *self._recorded) if table != records.WHOLE}
            found = read_present(session, target.database, {target.schema_, *schemas})
            self._unfinished = owner.unfinished(found, self._recorded)
            self._present = {table: each for table, each in found.items() if table not in self._unfinished}
        for table, made in self._made.items():
            self._recorded[table], self._present[table] = made, Present(TABLE, "", made.created)

    def _full(self, table: TargetTable) -> str:
        return identifier(self._target.database, *table)

    def _kept(self, table: TargetTable) -> str:
        return f"a copy is kept in {beside(self._target)}" if table in self._written else ""

    def _write_record(self, table: TableLoad, created: int) -> None:
        said = json.dumps(dict(table.source_comments), ensure_ascii=False)
        former = self._recorded.get(table.target)
        self._record.write(
            self._session, table.target, table.staged.rows, known=former is not None, created=created, comments=said,
            constraints=former.constraints if former else (),
        )  # fmt: skip
        if statements.rehearsed():
            of_load = self._record
            self._made[table.target] = Made(
                of_load.load_id, of_load.export, of_load.stage, table.staged.rows, created, None,
                dict(table.source_comments), former.constraints if former else (),
            )  # fmt: skip

    def _keep_a_copy(self, table: TargetTable) -> None:
        copy = beside(self._target, f"{table.name}__{uuid4().hex[:8]}")
        doing = f"keep a copy of {table.shown(self._target.schema_)}, to which others wrote"
        self._session.execute(f"CREATE TABLE {copy} CLONE {self._full(table)}", doing=doing)
