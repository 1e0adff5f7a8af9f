"""Loading Snowflake: a temporary table takes the files, explicit casts move its rows to the final table.

Each table is one transaction; it does not depend on which files Snowflake remembers having loaded. A table stays the same table
wherever Snowflake can alter it, and with it what its owner put on it; where another has to take its place, grants, policies and
tags are carried to it, or the load is refused (`owner`). What others wrote into a table of ours since its load is kept as a copy
beside the target's schema.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import uuid4

from helpers.engines.loading import Loader, Standing, TableLoad, There, counts, miscounted, require_staged
from helpers.engines.shapes import TableShape, difference
from helpers.engines.snowflake import copying, keys, owner, records
from helpers.engines.snowflake import definition as definitions
from helpers.engines.snowflake.catalog import TABLE, Present, read_present, read_tables
from helpers.engines.snowflake.definition import Alteration
from helpers.engines.snowflake.owner import successor
from helpers.engines.snowflake.records import Made, Record, beside
from helpers.errors import UsageError
from helpers.model.catalog import ForeignKey
from helpers.model.keys import Told
from helpers.model.manifest import StagedTable
from helpers.model.places import TargetTable
from helpers.platforms import snowflake
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import Session, identifier
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

    def look(self, chosen: Sequence[StagedTable]) -> There:
        session, target = self._session, self._target
        wanted = [staged.there(target.schema_) for staged in chosen]
        self._read_records(wanted)
        ours = {
            table: made.changed for table, made in self._recorded.items()
            if made.changed is not None and table in self._present and self._present[table].created == made.created
        }  # fmt: skip
        now = records.changes(session, target, ours)
        self._written = {table for table, changed in ours.items() if now[table] != changed}
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
            copying.stage_statement("", self.bucket, target)
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
        own_keys = owner.keys(found, made.constraints if made else ())
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
        target = self._target
        stage = f"migration_{export}"
        creating = copying.stage_statement(stage, self.bucket, target)
        there = records.schemas(self._session, target)
        for sql in (
            *([f"CREATE DATABASE IF NOT EXISTS {identifier(target.database)}"] if there is None else []),
            # Where an administrator made the schemas, the role may not even say IF NOT EXISTS.
            *(
                f"CREATE SCHEMA IF NOT EXISTS {identifier(target.database, schema)}"
                for schema in dict.fromkeys(
                    [*(table.target.schema for table in tables), target.schema_ + records.SCHEMA_SUFFIX]
                )
                if schema not in (there or ())
            ),
            *records.prepare(target),
            f"USE SCHEMA {beside(target)}",
        ):
            self._session.execute(sql, doing="create the database and its schemas")
        self._stage, self._load_id = stage, load_id
        self._record = Record(target, export, load_id, str(self.bucket.location))
        self._read_records([table.target for table in tables])
        self._session.execute(creating, doing="create the external stage")
        for table in tables:
            if (left := successor(table.target)) in self._present:
                # Of a load that was broken off; planning has seen that it is ours.
                self._session.execute(f"DROP TABLE {self._full(left)}", doing=f"drop {left}")
                self._record.forget(self._session, left)

    def holds(self, table: TargetTable, rows: int) -> bool:
        return records.holds(self._session, self._target, table, rows, self._load_id, self._recorded, self._present)

    def load_table(self, table: TableLoad) -> None:
        """Rows go to a temporary table, then to the final one, or to a new one that takes its place when it is whole."""
        session, staged, doing = self._session, table.staged, f"load {table.staged}"
        details = table.details or Details(definitions.table_definition(staged))
        final = self._full(table.target)
        landing = beside(self._target, f"landing_{table.target.name}")
        session.execute(copying.landing_statement(landing, staged), doing=doing)
        for sql in copying.copy_statements(landing, self._stage, staged):
            session.execute(sql, doing=doing)
        (counted,) = session.execute(f"SELECT {counts(staged, identifier)} FROM {landing}", doing=doing)
        require_staged(staged, counted, on="Snowflake", where="COPY read", next_step=_AS_BEFORE)
        if table.written:
            self._keep_a_copy(table.target)
        into, created = self._new_table(table, details) if details.definition else (final, details.made or 0)
        for clause in details.alteration.before:
            session.execute(f"ALTER TABLE {final} {clause}", doing=f"alter {staged.name}")
        with session.transaction(doing=doing):
            session.execute(copying.insert_statement(into, landing, staged), doing=doing)
            (count,) = session.execute(f"SELECT COUNT(*) AS N FROM {into}", doing=doing)
            if int(count["N"]) != staged.rows:
                raise miscounted(staged, "Snowflake", "the final table holds", int(count["N"]), _AS_BEFORE)
            if not details.definition:
                self._write_record(table, created)
        if details.definition:
            self._put_in_place(table, details, into, created)
        for clause in details.alteration.after:
            session.execute(f"ALTER TABLE {final} {clause}", doing=f"alter {staged.name}")
        session.execute(f"DROP TABLE IF EXISTS {landing}", doing=doing)
        self.keep_table(table)
        self._record.settle(session, table.target)

    def keep_table(self, table: TableLoad) -> None:
        for statement in table.details.comments if table.details else ():
            self._session.execute(statement, doing=f"comment on {table.target.name}")

    def tell_keys(self, told: Sequence[Told], tables: Collection[TargetTable]) -> dict[str, str]:
        self._read_records(tables)
        ours = {table: made for table in tables if (made := self._recorded.get(table)) and self._is_ours(table, made)}
        there = [
            each for each in told
            if each.there in ours and (not isinstance(each.key, ForeignKey) or (each.key.schema, each.key.table) in ours)
        ]  # fmt: skip
        waiting = {
            str(each): "its table, or the one that it refers to, is not there" for each in told if each not in there
        }
        return waiting | keys.tell(self._session, self._target, self._record, there, ours)

    def _is_ours(self, table: TargetTable, made: Made) -> bool:
        return table in self._present and self._present[table].created == made.created

    def drop(self, table: TargetTable, *, written: bool) -> None:
        if written:
            self._keep_a_copy(table)
        doing = f"drop {table.shown(self._target.schema_)}, which the source no longer has"
        self._session.execute(f"DROP TABLE IF EXISTS {self._full(table)}", doing=doing)
        self._record.forget(self._session, table)

    def finish(self, tables: Collection[TargetTable], dropped: Collection[TargetTable], rows: int) -> None:
        with self._session.transaction(doing="record the load"):
            self._record.write(self._session, records.WHOLE, rows)

    def last_load(self, export: str) -> str | None:
        self._read_records()
        ids = Counter(made.load_id for made in self._recorded.values() if made.export == export)
        return ids.most_common(1)[0][0] if ids else None

    def recall(self, load_id: str) -> bool:
        self._load_id = load_id
        self._read_records()
        return records.WHOLE in self._recorded and self._recorded[records.WHOLE].load_id == load_id

    def _read_records(self, wanted: Iterable[TargetTable] = ()) -> None:
        """What is recorded, and what lies in every schema that has such tables or is to have one."""
        session, target = self._session, self._target
        if records.has_database(session, target):
            self._recorded = records.read(session, target)
            schemas = {table.schema for table in (*wanted, *self._recorded) if table != records.WHOLE}
            self._present = read_present(session, target.database, {target.schema_, *schemas})

    def _full(self, table: TargetTable) -> str:
        return identifier(self._target.database, *table)

    def _kept(self, table: TargetTable) -> str:
        return f"a copy is kept in {beside(self._target)}" if table in self._written else ""

    def _new_table(self, table: TableLoad, details: Details) -> tuple[str, int]:
        """An empty table beside the target's schema, recorded as ours before it goes there: its name and time of creation."""
        target, schema = self._target, self._target.schema_ + records.SCHEMA_SUFFIX
        at = TargetTable(schema, successor(table.target).name)
        new, doing = self._full(at), f"create the table for {table.staged}"
        self._session.execute(f"CREATE OR REPLACE TABLE {new} {details.definition}", doing=doing)
        created = read_present(self._session, target.database, [schema])[at].created
        self._record.write(self._session, successor(table.target), 0, created=created)
        return new, created

    def _put_in_place(self, table: TableLoad, details: Details, new: str, created: int) -> None:
        session, staged, doing = self._session, table.staged, f"load {table.staged}"
        final, waiting = self._full(table.target), successor(table.target)
        for clause in details.carried:
            session.execute(clause.replace("{table}", new, 1), doing=f"keep what its owner put on {staged.name}")
        if details.made is None:
            session.execute(f"ALTER TABLE {new} RENAME TO {final}", doing=doing)
        else:
            full = self._full(waiting)
            session.execute(f"ALTER TABLE {new} RENAME TO {full}", doing=doing)
            session.execute(f"ALTER TABLE {full} SWAP WITH {final}", doing=doing)
            session.execute(f"DROP TABLE {full}", doing=doing)
        with session.transaction(doing=doing):
            self._write_record(table, created)
            self._record.forget(session, waiting)

    def _write_record(self, table: TableLoad, created: int) -> None:
        said = json.dumps(dict(table.source_comments), ensure_ascii=False)
        former = self._recorded.get(table.target)
        self._record.write(
            self._session, table.target, table.staged.rows, created=created, comments=said,
            constraints=former.constraints if former else (),
        )  # fmt: skip

    def _keep_a_copy(self, table: TargetTable) -> None:
        copy = beside(self._target, f"{table.name}__{uuid4().hex[:8]}")
        doing = f"keep a copy of {table.shown(self._target.schema_)}, to which others wrote"
        self._session.execute(f"CREATE TABLE {copy} CLONE {self._full(table)}", doing=doing)
