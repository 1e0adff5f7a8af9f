"""A PostgreSQL server, inside one snapshot, as the source or as a target."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import duckdb
import pyarrow as pa

from helpers import digests, shapes
from helpers.canonical import FormColumn, kind_of
from helpers.canonical import postgres as canonical_postgres
from helpers.catalog import Table
from helpers.digests import ENGINES, Method, Sums
from helpers.errors import ConnectionFailed, UsageError
from helpers.manifest import StagedColumn
from helpers.platforms import postgres
from helpers.platforms.postgres import identifier, literal
from helpers.readers import Range, Readers, ranges
from helpers.redaction import redact
from helpers.settings import Export, Source
from helpers.shapes import TableShape
from helpers.types import Comparison
from helpers.verify import texts
from helpers.verify.columns import ComparedColumn, Segments, TablePlan
from helpers.verify.sides import DuckDB, NoDigest, both, in_segments, key_of

DIALECT = canonical_postgres.DIALECT

ROWS_PER_BATCH = 50_000
"""Enough to keep DuckDB busy, few enough that wide rows stay within a few hundred megabytes."""

MEMORY_OF_READERS = 384
"""MB of DuckDB."""


class PostgresSide:
    """A PostgreSQL server; its rows are fetched as `value::text`, which is another path than the export's.

    Args:
        tables: as the snapshot has them, with the size of their heaps.
        witness: compute digests inside PostgreSQL and not over its stream, so that a fault of the reader that the export
            and the stream share cannot hide on both sides.
        is_target: whether the target's names of columns apply.
    """

    name = "postgresql"

    def __init__(
        self,
        source: Source,
        snapshot: str,
        tables: Sequence[Table],
        options: Export,
        *,
        witness: bool = False,
        is_target: bool = False,
    ) -> None:
        self._source = source
        self._tables = {(table.schema, table.name): table for table in tables}
        self._readers = Readers(source, options, snapshot, tables, memory=MEMORY_OF_READERS)
        self._witness = witness
        self._is_target = is_target
        self.methods: tuple[Method, ...] = ("canonical",) if witness else ("native", "canonical")
        with postgres.reading(source) as cursor:
            self._utf8 = cursor.connection.get_parameter_status("server_encoding") == "UTF8"
        if witness and not self._utf8:
            raise UsageError(
                "compute digests inside PostgreSQL",
                on=postgres.address(source),
                why="the database's encoding is not UTF8, so its MD5 is of other bytes than the target's",
                next_step="leave out --witness: the digests are then computed over the stream, which is UTF-8",
            )

    def __enter__(self) -> PostgresSide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.__exit__(kind, error, trace)

    def tables(self) -> dict[str, str]:
        return {name: schema for schema, name in self._tables}

    def table(self, plan: TablePlan) -> Table | None:
        """The table of the plan as this server has it."""
        return self._tables.get((plan.table.schema, plan.there if self._is_target else plan.table.name))

    def shape(self, plan: TablePlan) -> TableShape | None:
        found = self.table(plan)
        return shapes.of_table(found) if found else None

    def rows(self, schema: str, name: str) -> int:
        return self._count(self._tables[schema, name].sql)

    def count(self, plan: TablePlan) -> int:
        where = plan.where(self.name)
        return self._count(f"{self._found(plan).sql}{f' WHERE {where}' if where else ''}")

    def _count(self, rows_of: str) -> int:
        sql = f"SELECT count(*) AS n FROM {rows_of}"
        try:
            rows = self._readers.map(
                lambda connection, query: connection.execute(
                    f"SELECT n FROM postgres_query('source', {literal(query)})"
                ).fetchall(),
                [sql],
            )
            return int(next(rows)[0][0])
        except duckdb.Error as error:
            raise self._failed(error) from None

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        try:
            if self._witness:
                return self._digest_inside(plan, segments)
            return digests.of_source(
                self._readers,
                self._found(plan),
                [self._here(column) for column in plan.columns],
                plan.key,
                segments,
                method,
                where=plan.where(self.name),
            )
        except duckdb.ConversionException as error:
            raise NoDigest(redact(str(error))) from None
        except duckdb.Error as error:
            raise self._failed(error) from None

    def _digest_inside(self, plan: TablePlan, segments: int) -> Sums:
        forms = self._forms(plan)
        query = DIALECT.digest_query(forms, key_of(forms, plan), segments, "{rows}")

        def work(connection: DuckDB, part: Range) -> pa.Table:
            sql = query.replace("{rows}", part.rows(plan.where(self.name)))
            return connection.execute(f"SELECT * FROM postgres_query('source', {literal(sql)})").to_arrow_table()

        parts = self._readers.map(work, ranges(self._found(plan), self._readers.workers))
        return digests.gathered(ENGINES["canonical"], segments, parts)

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        printed = ", ".join(f"{self._text(column)} AS c{n}" for n, column in enumerate(plan.columns))
        where = plan.where(self.name)
        forms = self._forms(plan)
        key = key_of(forms, plan)
        # Another encoding has other bytes, and so other segments, unless they are of whole numbers.
        if chosen and (self._utf8 or (key and all(form.kind == "integer" for form in key))):
            where = both([where, in_segments(DIALECT, forms, key, chosen)])
        else:
            chosen = None
        queries = [
            f"SELECT * FROM postgres_query('source', {literal(f'SELECT {printed} FROM {part.rows(where)}')})"
            for part in ranges(self._found(plan), self._readers.workers)
        ]
        into.execute(f"CREATE OR REPLACE TABLE {name} ({', '.join(f'c{n} VARCHAR' for n in range(len(plan.columns)))})")
        try:
            if chosen:
                for part in self._readers.map(lambda reader, sql: reader.execute(sql).to_arrow_table(), queries):
                    insert(into, name, part)
            else:
                self._stream(into, name, queries)
        except duckdb.Error as error:
            raise self._failed(error) from None

    def _stream(self, into: DuckDB, name: str, queries: Sequence[str]) -> None:
        """One range after the other: all rows of a table never are in memory at once."""

        def all_of(reader: DuckDB, sqls: Sequence[str]) -> None:
            for sql in sqls:
                insert(into, name, reader.execute(sql).to_arrow_reader(ROWS_PER_BATCH))

        next(self._readers.map(all_of, [queries]))

    def value(self, text: str, comparison: Comparison) -> str:
        return texts.value(text, comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return text

    def _found(self, plan: TablePlan) -> Table:
        found = self.table(plan)
        assert found is not None
        return found

    def _here(self, column: ComparedColumn) -> StagedColumn:
        return column.staged.model_copy(update={"source": column.there}) if self._is_target else column.staged

    def _text(self, column: ComparedColumn) -> str:
        return column.staged.text.format(c=identifier(self._here(column).source))

    def _forms(self, plan: TablePlan) -> list[FormColumn]:
        forms = []
        for column in plan.columns:
            staged = self._here(column)
            kind, digits, places = kind_of(staged.parquet)
            forms.append(FormColumn(f"({staged.read.format(c=identifier(staged.source))})", kind, digits, places))
        return forms

    def _failed(self, error: Exception) -> ConnectionFailed:
        return ConnectionFailed(
            "read the source",
            on=postgres.address(self._source),
            why=redact(str(error)),
            next_step="check the server's log, then run the same command again",
        )


def insert(into: DuckDB, name: str, rows: pa.Table | pa.RecordBatchReader, selected: str = "*") -> None:
    """Appends Arrow rows to a table; `selected` are expressions over their columns."""
    into.register("arriving", rows)
    try:
        into.execute(f"INSERT INTO {name} SELECT {selected} FROM arriving")
    finally:
        into.unregister("arriving")
