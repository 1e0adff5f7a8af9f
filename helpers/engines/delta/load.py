"""Loading Delta, through Spark Connect: each table's rows arrive in one commit of its log.

A table that serves as it is gets `INSERT OVERWRITE`; a new one is created empty and then likewise; one whose definition
differs is replaced by `CREATE OR REPLACE TABLE … AS SELECT`, which takes no constraints and comments
(https://docs.databricks.com/en/sql/language-manual/sql-ref-syntax-ddl-create-table-using.html), so these follow it; Apache Spark
lets no NOT NULL follow, and gets the definition first and then the rows. Until the commit readers see the former rows; a load that is killed leaves them, and the next one replaces and never adds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from helpers.engines.applying import Followed
from helpers.engines.delta import clustering, keys, owner
from helpers.engines.delta.catalog import DeltaCatalog, folded, has_schema, qualified, qualified_schema, table_names
from helpers.engines.delta.landing import location, read_files
from helpers.engines.delta.records import Record, read_record
from helpers.engines.loading import Loader, Standing, TableLoad, There, counted_as_staged, counts, require_staged
from helpers.engines.shapes import ColumnShape, TableShape, comment_difference, difference
from helpers.errors import LoadError, MigrationError
from helpers.model import names
from helpers.model.keys import Told
from helpers.model.manifest import StagedColumn, StagedTable
from helpers.model.places import TargetTable
from helpers.platforms import spark, statements
from helpers.platforms.s3 import Bucket
from helpers.platforms.spark import Session, identifier, literal
from helpers.settings import Databricks
from helpers.settings.local_stack import local_stack

LOADED = "loaded-delta.json"

_MAPPED = re.compile(r"[ ,;{}()\n\t=]")
"""What a column's name may hold only with column mapping (https://docs.delta.io/latest/delta-column-mapping.html)."""

_MAPPING = "'delta.columnMapping.mode' = 'name', 'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5'"


@contextmanager
def opened(target: Databricks, bucket: Bucket) -> Iterator[DeltaLoader]:
    """A loader whose session begins when it is first needed, and ends with the block."""
    with ExitStack() as stack:
        yield DeltaLoader(target, bucket, stack)


class DeltaLoader(Loader):
    """Schemas of Delta tables; those of the local stack are known by their logs alone, without a session."""

    def __init__(self, target: Databricks, bucket: Bucket, stack: ExitStack) -> None:
        super().__init__(bucket)
        self._where = spark.address(target)
        self._target = target
        self._catalog = DeltaCatalog(target, bucket.stage, stack)
        self._record: Record | None = None

    @property
    def _session(self) -> Session:
        return self._catalog.session

    def look(self, chosen: Sequence[StagedTable]) -> There:
        target, catalog = self._target, self._catalog
        tables: dict[TargetTable, Standing] = {}
        foreign: dict[TargetTable, str] = {}
        refusals = []
        for staged in chosen:
            table = staged.there(target.schema_)
            if not catalog.has(table):
                if not catalog.local and owner.at_its_place(self._session, target, table):
                    foreign[table] = "a table in its folder"
            elif catalog.is_view(table):
                refusals.append(names.in_the_way(staged, "view"))
            else:
                try:
                    standing = owner.standing(catalog, table)
                    if standing.mark is None:
                        foreign[table] = "a table"
                    else:
                        tables[table] = _standing(standing, catalog.shape(table))
                except LoadError as error:
                    self.refused.append(owner.unreadable(target, table, error.why))
        if refused := clustering.refusal(target, chosen, on=self._where):
            self.refused.append(refused)
        return There(tables, refusals, foreign)

    def change(self, table: TableLoad, found: TableShape, wanted: TableShape) -> TableLoad:
        if differs := difference(found, wanted) or comment_difference(found, wanted):
            if self._target.catalog and not self._catalog.local:
                owner.refuse_governed(self._session, self._target, table.target, differs)
            empty = (
                "; until its rows are there, readers see it empty"
                if _in_two_commits(self._target, wanted.columns)
                else ""
            )
            return replace(table, way="replace", action=f"replace the table: {differs}{empty}")
        return table

    def gone(self, kept: Sequence[StagedTable]) -> dict[TargetTable, bool]:
        stay = {folded(self._target, staged.there(self._target.schema_)) for staged in kept}
        found = {}
        for table in self._loaded_before():
            if folded(self._target, table) in stay or not self._catalog.has(table):
                continue
            try:
                standing = owner.standing(self._catalog, table)
            except LoadError as error:
                self.refused.append(owner.undroppable(self._target, table, f"it cannot be read: {error.why}"))
                continue
            if standing.written:
                why = f"others wrote to it since its load: {', '.join(dict.fromkeys(standing.written))}"
                self.refused.append(owner.undroppable(self._target, table, why))
            elif standing.mark is not None:
                found[table] = False
        return found

    def begin(self, export: str, load_id: str, tables: Sequence[TableLoad]) -> None:
        for schema in dict.fromkeys(table.target.schema for table in tables):
            # Where an administrator made the schema, the user may not even say IF NOT EXISTS.
            if self._catalog.local or not has_schema(self._session, self._target, schema):
                name = qualified_schema(self._target, schema)
                self._session.execute(f"CREATE SCHEMA IF NOT EXISTS {name}", doing=f"create the schema {schema}")
        self._record = Record.begun(self.bucket, self._target, export, load_id)

    @contextmanager
    def another(self) -> Iterator[DeltaLoader]:
        """Itself: one session of Spark Connect runs several statements at once, each table's commit is its own, and the record of
        the load is one."""
        yield self

    def interrupt(self, others: Sequence[Loader]) -> None:
        self._session.interrupt()

    def holds(self, table: TargetTable, rows: int) -> bool:
        kept = self._record.kept(table) if self._record else None
        if kept is None or kept.rows != rows or kept.position is not None or not self._catalog.has(table):
            return False
        now = self._catalog.now(table)
        return now is not None and not self._catalog.changes(table, kept.version, now)

    def load_table(self, table: TableLoad) -> None:
        """Rows are counted in the files before anything changes, and in the table after its commit."""
        made = self._constraints(table.target)
        self._fill(table)
        owner.leave_mark(self._session, self._catalog, table.target, dict(table.source_comments), made)
        if self._record and (now := self._catalog.now(table.target)) and not statements.rehearsed():
            self._record.keep(self.bucket, table.target, now, table.staged.rows)

    def tell_keys(self, told: Sequence[Told], tables: Collection[TargetTable]) -> dict[str, str]:
        if not keys.has_keys(self._target):
            return {str(each): keys.NO_PLACE for each in told}
        there = {
            folded(self._target, TargetTable(schema, name))
            for schema in dict.fromkeys(table.schema for table in tables)
            for name in table_names(self._session, self._target, schema)
        }
        if statements.rehearsed():  # they would be by now
            there = {folded(self._target, table) for table in tables}
        marks = {
            table: owner.standing(self._catalog, table).mark for table in tables if folded(self._target, table) in there
        }
        ours = {table: mark.constraints for table, mark in marks.items() if mark}
        refused, changed = keys.tell(self._session, self._target, told, ours)
        for table, made in changed.items():
            mark = marks[table]
            owner.leave_mark(self._session, self._catalog, table, dict(mark.comments if mark else {}), made)
            kept = self._record.kept(table) if self._record else None
            if statements.rehearsed():
                continue
            if self._record and kept and self.holds(table, kept.rows) and (now := self._catalog.now(table)):
                self._record.keep(self.bucket, table, now, kept.rows)
        return refused

    def _constraints(self, table: TargetTable) -> tuple[str, ...]:
        """What loads made on a table that is there."""
        if not keys.has_keys(self._target) or not self._catalog.has(table):
            return ()
        mark = owner.standing(self._catalog, table).mark
        return mark.constraints if mark else ()

    def drop(self, table: TargetTable, *, written: bool) -> None:
        doing = f"drop {table.shown(self._target.schema_)}, which the source no longer has"
        self._session.execute(f"DROP TABLE IF EXISTS {qualified(self._target, table)}", doing=doing)
        # Of a table that names its place the files stay, and the local stack's servers know their tables by these.
        if self._target.engine != "spark" and not statements.rehearsed():
            self._catalog.lake(table.schema).remove(table.name)

    def finish(self, tables: Collection[TargetTable], dropped: Collection[TargetTable], rows: int) -> None:
        if statements.rehearsed():
            return
        ours = {*tables, *self._loaded_before()} - set(dropped)
        self.bucket.write(LOADED, json.dumps({self._where: sorted(ours)}).encode())
        assert self._record
        self._record.finish(self.bucket)

    def followed(self, export: str) -> Followed | None:
        found = read_record(self.bucket)
        if found is None or found.sync is None or (found.target, found.export) != (self._where, export):
            return None
        return Followed(found.sync.id, found.sync.position)

    def last_load(self, export: str) -> str | None:
        found = read_record(self.bucket)
        return found.load_id if found and (found.target, found.export) == (self._where, export) else None

    def recall(self, load_id: str) -> bool:
        self._record = read_record(self.bucket)
        found = self._record
        return bool(found and found.whole and (found.target, found.load_id) == (self._where, load_id))

    def _loaded_before(self) -> list[TargetTable]:
        """The tables that loads from this stage have made in the target; older versions wrote the names in its own schema."""
        content = self.bucket.read(LOADED)
        found = json.loads(content).get(self._where, []) if content else []
        return [
            TargetTable(self._target.schema_, each) if isinstance(each, str) else TargetTable(*each) for each in found
        ]

    def _fill(self, table: TableLoad) -> None:
        staged, target, doing = table.staged, self._target, f"load {table.staged}"
        name = qualified(target, table.target)
        fields = [(column.field, column.delta) for column in staged.columns]
        paths = [file.path for file in staged.files]
        landing = read_files(self._session, target, self.bucket, table.target, paths, fields, doing=doing)
        own = {column.field: column.field for column in staged.columns}
        self._require(staged, landing, own, "its files hold", "nothing was changed; export it again")
        query = f"SELECT {selected(staged)} FROM {landing}"
        if table.way == "replace":
            self._replace(table, query, doing)
        else:
            # Of a table that is there not even IF NOT EXISTS is said, which needs the right to make one; but the local stack's
            # catalog is a new one in every session, and then names the folder that is there.
            columns = self._clustering(table)
            if table.way == "create" or self._catalog.local:
                options = f"{clustering.clause(columns or ())}{_options(target, table)}"
                self._session.execute(f"CREATE TABLE IF NOT EXISTS {name} {definition(staged)}{options}", doing=doing)
            self._overwrite(table, query, columns, doing)
        cure = "check that nobody else writes to it, then run the same command again"
        own = {column.field: column.name for column in staged.columns}
        self._require(staged, name, own, "the table holds", cure)

    def _overwrite(self, table: TableLoad, query: str, columns: tuple[str, ...] | None, doing: str) -> None:
        """Its rows in one commit, and then again the clustering that Delta Lake's INSERT OVERWRITE takes away."""
        name = qualified(self._target, table.target)
        self._session.execute(f"INSERT OVERWRITE TABLE {name} {query}", doing=doing)
        if columns is not None and not clustering.same(self._catalog.clustering(table.target), columns):
            by = clustering.clause(columns) or " CLUSTER BY NONE"
            self._session.execute(f"ALTER TABLE {name}{by}", doing=f"cluster {table.target}")

    def _require(self, staged: StagedTable, rows: str, own: Mapping[str, str], where: str, next_step: str) -> None:
        """Compares what a relation holds, whose columns are `own` by the staged field, with what was staged."""
        query = f"SELECT {counts(staged, lambda column: identifier(own[column.field]))} FROM {rows}"
        doing = f"count the rows of {staged}"
        (counted,) = self._session.execute(query, doing=doing, expected=counted_as_staged(staged))
        require_staged(staged, counted, on=f"{rows} of {self._where}", where=where, next_step=next_step)

    def _clustering(self, table: TableLoad) -> tuple[str, ...] | None:
        """What a table is to be clustered by: as the profile says, or as its owner chose; None where nobody says anything."""
        wanted = clustering.wanted(self._target, table.staged)
        if wanted is not None or self._catalog.local or table.way == "create":
            return wanted
        return clustering.kept(self._catalog.clustering(table.target), table.staged) or None

    def _replace(self, table: TableLoad, query: str, doing: str) -> None:
        staged, name, options = table.staged, qualified(self._target, table.target), _options(self._target, table)
        if self._catalog.local:
            lake = self._catalog.lake(table.target.schema)
            if not statements.rehearsed():
                local_stack().replace_delta_table(lake, table.target.name, staged, self.bucket)
            self._session.execute(f"CREATE TABLE IF NOT EXISTS {name} USING DELTA{options}", doing=doing)
            return
        columns = self._clustering(table)
        by = clustering.clause(columns or ())
        if _in_two_commits(self._target, staged.columns):
            self._replace_in_two_commits(table, query, columns, doing)
            return
        self._session.execute(f"CREATE OR REPLACE TABLE {name} USING DELTA{by}{options} AS {query}", doing=doing)
        for statement in _constraints(name, staged):
            self._session.execute(statement, doing=f"{doing}: its rows are there; now its constraints and comments")

    def _replace_in_two_commits(
        self, table: TableLoad, query: str, columns: tuple[str, ...] | None, doing: str
    ) -> None:
        """Where rows that are there take no NOT NULL: between the commits readers see no rows, and a failure brings back the former."""
        name, before = qualified(self._target, table.target), self._catalog.now(table.target)
        options = f"{clustering.clause(columns or ())}{_options(self._target, table)}"
        self._session.execute(f"CREATE OR REPLACE TABLE {name} {definition(table.staged)}{options}", doing=doing)
        try:
            self._overwrite(table, query, columns, doing)
        except MigrationError:
            with suppress(MigrationError):
                assert before
                self._session.execute(
                    f"RESTORE TABLE {name} TO VERSION AS OF {before.number}",
                    doing=f"bring back the rows of {table.staged}",
                )
            raise


def definition(staged: StagedTable) -> str:
    """What follows CREATE TABLE and its name, up to USING DELTA."""
    return f"({', '.join(column_definition(column) for column in staged.columns)}) USING DELTA"


def selected(staged: StagedTable) -> str:
    """The SELECT list that takes the staged fields to the table's columns."""
    return ", ".join(f"{cast(c, identifier(c.field))} AS {identifier(c.name)}" for c in staged.columns)


def cast(column: StagedColumn, value: str) -> str:
    """A staged value of a column as the table has it."""
    return f"CAST({value} AS {column.delta})"


def _in_two_commits(target: Databricks, columns: Iterable[StagedColumn] | Iterable[ColumnShape]) -> bool:
    """Whether a table is replaced so: Databricks gives columns with rows their NOT NULL, Apache Spark does not
    (https://docs.databricks.com/aws/en/sql/language-manual/sql-ref-syntax-ddl-alter-table-manage-column; "Cannot change nullable column
    to non-nullable" on 4.2.0).
    """
    return target.engine != "pysail" and not target.host and any(column.not_null for column in columns)


def _standing(found: owner.Standing, shape: TableShape) -> Standing:
    mark = found.mark
    recorded = mark.comments if mark and mark.version is not None else None
    kept = f"as it was, it is version {found.version} of its history" if found.written else ""
    return Standing(shape, recorded, kept)


def column_definition(column: StagedColumn) -> str:
    """A column as DDL."""
    parts = [identifier(column.name), column.delta]
    if column.not_null:
        parts.append("NOT NULL")
    if column.comment:
        parts.append(f"COMMENT {literal(column.comment)}")
    return " ".join(parts)


def _constraints(table: str, staged: StagedTable) -> Iterable[str]:
    for column in staged.columns:
        if column.not_null:
            yield f"ALTER TABLE {table} ALTER COLUMN {identifier(column.name)} SET NOT NULL"
        if column.comment:
            yield f"ALTER TABLE {table} ALTER COLUMN {identifier(column.name)} COMMENT {literal(column.comment)}"


def _options(target: Databricks, table: TableLoad) -> str:
    """Where the table lies, its comment, and what its columns' names need."""
    options, staged = "", table.staged
    if target.delta_root:
        options += f" LOCATION {literal(location(target, table.target))}"
    if staged.comment:
        options += f" COMMENT {literal(staged.comment)}"
    mapping = ""
    if target.engine != "pysail" and any(_MAPPED.search(column.name) for column in staged.columns):
        mapping = f", {_MAPPING}"
    return f"{options} TBLPROPERTIES ({literal(owner.MARK)} = {literal(owner.NEW)}{mapping})"
