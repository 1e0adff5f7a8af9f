"""A PostgreSQL server, inside one snapshot, as the source or as a target."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from helpers import digests
from helpers.digests import ENGINES, Method, Sums
from helpers.engines import shapes, texts
from helpers.engines.base import MOST_SEGMENTS_CHOSEN, DuckDB, NoDigest, insert
from helpers.engines.columns import ComparedColumn, Segments, TablePlan
from helpers.engines.postgres.dialect import ANY_ENCODING, CANONICAL, PostgresSql
from helpers.engines.shapes import TableShape
from helpers.engines.where import where
from helpers.errors import MigrationError, SourceFailed
from helpers.model.catalog import Table
from helpers.model.manifest import StagedColumn
from helpers.model.places import TargetTable
from helpers.model.types import Comparison
from helpers.platforms import postgres
from helpers.platforms.faults import duck as faults
from helpers.platforms.postgres import identifier, literal
from helpers.settings import Export, Source
from helpers.source import left_out
from helpers.source.readers import Range, Readers, ranges

ROWS_PER_BATCH = 50_000
"""Enough to keep DuckDB busy, few enough that wide rows stay within a few hundred megabytes."""

MEMORY_OF_READERS = 384
"""MB of DuckDB."""


class PostgresSide:
    """A PostgreSQL server; its rows are fetched as `value::text`, which is another path than the export's.

    Args:
        tables: as the snapshot has them, with the size of their heaps; every reader locks them.
        witness: compute digests inside PostgreSQL and not over its stream, so that a fault of the reader that the export
            and the stream share cannot hide on both sides.
        is_target: whether the target's names of columns apply.
        others: which the server has, too; they are only named, and their rows counted.
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
        others: Collection[Table] = (),
    ) -> None:
        self._source = source
        self.alone = partial(
            PostgresSide, source, snapshot, tables, options.model_copy(update={"workers": 1}),
            witness=witness, is_target=is_target, others=others,
        )  # fmt: skip
        """The same in the same snapshot, with one reader."""
        self._tables = {(table.schema, table.name): table for table in (*tables, *others)}
        self._readers_of = partial(Readers, source, options, snapshot, tables, memory=MEMORY_OF_READERS)
        self._readers = self._readers_of()
        self._witness = witness
        self._is_target = is_target
        self.digested = "inside PostgreSQL" if witness else "over PostgreSQL's stream"
        self.methods: tuple[Method, ...] = ("canonical",) if witness else ("native", "canonical")
        with postgres.reading(source) as cursor:
            utf8 = cursor.connection.get_parameter_status("server_encoding") == "UTF8"
        self._sql = PostgresSql(CANONICAL if utf8 else ANY_ENCODING, is_target)

    def __enter__(self) -> PostgresSide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.__exit__(kind, error, trace)

    def tables(self) -> list[TargetTable]:
        return [TargetTable(schema, name) for schema, name in self._tables]

    def table(self, plan: TablePlan) -> Table | None:
        """The table of the plan as this server has it."""
        return self._tables.get(plan.there if self._is_target else (plan.table.schema, plan.table.name))

    def shape(self, plan: TablePlan) -> TableShape | None:
        found = self.table(plan)
        return shapes.source_shape(found) if found else None

    def rows(self, table: TargetTable) -> int:
        return self._count(self._tables[table].sql)

    def count(self, plan: TablePlan) -> int:
        found = self._found(plan)
        return self._count(Range(found.sql, where=found.condition).rows(self._where(plan)))

    def counted(self, plan: TablePlan) -> int:
        """How many rows SELECT shows, as a user writes it, but for those that the table inherits from others."""
        table = self._found(plan)
        parts = [part.rows() for part in ranges(replace(table, through_parent=True), self._readers.workers)]
        if not table.heirs:
            return sum(map(self._count, parts))
        return left_out.own_rows([row for part in parts for row in self._rows(left_out.by_table(part))], table)

    def _count(self, rows_of: str) -> int:
        return int(self._rows(f"SELECT count(*) AS n FROM {rows_of}")[0][0])

    def _rows(self, sql: str) -> list[Any]:
        def work(connection: DuckDB, query: str) -> list[Any]:
            return connection.execute(f"SELECT * FROM postgres_query('source', {literal(query)})").fetchall()

        try:
            return next(self._readers.map(work, [sql]))
        except duckdb.Error as error:
            raise self._failed(error) from None

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        try:
            if self._witness:
                return self._digest_inside(plan, segments)
            return digests.sum_source(
                self._readers,
                self._found(plan),
                [self._here(column) for column in plan.columns],
                plan.key,
                segments,
                method,
                where=self._where(plan),
            )
        except duckdb.Error as error:
            raise self._no_digest(error) from None

    def _digest_inside(self, plan: TablePlan, segments: int) -> Sums:
        def work(connection: DuckDB, part: Range) -> pa.Table:
            sql = self._sql.digest_query(plan, segments, part.rows(self._where(plan)), "")
            return connection.execute(f"SELECT * FROM postgres_query('source', {literal(sql)})").to_arrow_table()

        parts = self._readers.map(work, ranges(self._found(plan), self._readers.workers))
        return digests.gathered(ENGINES["canonical"], segments, parts)

    def choosable(self, plan: TablePlan) -> int:
        return MOST_SEGMENTS_CHOSEN

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        printed = ", ".join(f"{self._text(column)} AS c{n}" for n, column in enumerate(plan.columns))
        condition = where(plan, self._sql, chosen)
        into.execute(f"CREATE OR REPLACE TABLE {name} ({', '.join(f'c{n} VARCHAR' for n in range(len(plan.columns)))})")
        one_at_a_time = Lock()

        def work(reader: DuckDB, part: Range) -> None:
            query = literal(f"SELECT {printed} FROM {part.rows(condition)}")
            rows = reader.execute(f"SELECT * FROM postgres_query('source', {query})").to_arrow_reader(ROWS_PER_BATCH)
            # A batch after the other: all rows of a table never are in memory at once.
            for batch in rows:
                with one_at_a_time:
                    insert(into, name, pa.Table.from_batches([batch]))

        try:
            for _ in self._readers.map(work, ranges(self._found(plan), self._readers.workers)):
                pass
        except duckdb.Error as error:
            raise self._failed(error) from None

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

    def _where(self, plan: TablePlan) -> str:
        return where(plan, self._sql)

    def renew(self) -> None:
        """Begins anew after an error: the server ends a transaction in which it met one."""
        self._readers.interrupt()
        self._readers.close()
        self._readers = self._readers_of()

    def _no_digest(self, error: duckdb.Error) -> NoDigest | MigrationError:
        of_a_value = error if isinstance(error, digests.Unfit) else digests.unfit(error)
        if of_a_value is None:
            return self._failed(error)
        self.renew()
        return NoDigest(faults.said(of_a_value))

    def _failed(self, error: Exception) -> MigrationError:
        return faults.told(error, "read the source", on=postgres.address(self._source), kind=SourceFailed)
