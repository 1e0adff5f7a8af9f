"""A target that only holds files: DuckDB reads those of an export, and those that a Delta table's log names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import duckdb
import pyarrow as pa

from helpers import digests
from helpers.digests import ENGINES, Method, Sums
from helpers.engines import texts
from helpers.engines.base import MOST_SEGMENTS_CHOSEN, DuckDB
from helpers.engines.columns import ComparedColumn, Segments, TablePlan
from helpers.engines.duck_dialect import SQL
from helpers.engines.sql import Sql
from helpers.engines.where import where
from helpers.errors import MigrationError
from helpers.model.types import Comparison
from helpers.platforms import duck
from helpers.platforms.postgres import identifier
from helpers.platforms.s3 import Bucket

READING = "read the files"


class Files(ABC):
    """Tables whose columns are named as their staged fields, as `Side` and `Asked`.

    Args:
        bucket: where the files are.
    """

    name: str
    digested: str
    sql: Sql = SQL
    computes = False
    methods: tuple[Method, ...] = ("native", "canonical")
    settings = ""
    """Of DuckDB, while files are read."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @abstractmethod
    def relation(self, plan: TablePlan) -> str:
        """As `Asked`."""

    @abstractmethod
    def parquet(self, plan: TablePlan) -> Iterable[str]:
        """DuckDB's types of the plan's columns in the files."""

    @abstractmethod
    def failed(self, error: duckdb.Error, doing: str) -> MigrationError:
        """What is told of files that cannot be read."""

    def count(self, plan: TablePlan) -> int:
        condition = where(plan, self.sql)
        return self._count(f"{self.relation(plan)}{f' WHERE {condition}' if condition else ''}")

    def _count(self, rows: str) -> int:
        return int(self._rows(f"SELECT count(*) FROM {rows}").column(0)[0].as_py())

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        condition = where(plan, self.sql)
        sql = digests.stage_query(method, plan.staged_columns, plan.key, segments, self.relation(plan), condition)
        return digests.gathered(ENGINES[method], segments, [self._rows(sql)])

    def choosable(self, plan: TablePlan) -> int:
        return MOST_SEGMENTS_CHOSEN

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        duck.enable_s3(into, self._bucket.stage)
        printed = ", ".join(
            f"{texts.parquet_text(identifier(column.staged.field), kind)} AS c{n}"
            for n, (column, kind) in enumerate(zip(plan.columns, self.parquet(plan), strict=True))
        )
        rows, condition = self.relation(plan), where(plan, self.sql)
        try:
            into.execute(self.settings)
            if chosen:
                # Joined and not listed: a third cheaper at a thousand segments.
                into.execute("CREATE OR REPLACE TABLE chosen AS SELECT unnest(?) AS segment", [list(chosen.numbers)])
                rows += f" AS f SEMI JOIN chosen ON chosen.segment = {self.sql.segment(plan, chosen.count)}"
            rows += f" WHERE {condition}" if condition else ""
            into.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT {printed} FROM {rows}")
            into.execute("RESET disabled_optimizers")
        except duckdb.Error as error:
            raise self.failed(error, READING) from None

    def value(self, text: str, comparison: Comparison) -> str:
        return texts.value(text, comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return texts.printed(text, column)

    def query(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        rows = self._rows(sql, doing)
        return list(zip(*(column.to_pylist() for column in rows.columns), strict=True))

    def zone(self) -> str | None:
        return None

    def _rows(self, sql: str, doing: str = READING) -> pa.Table:
        with duck.connect(memory="512MB") as connection:
            duck.enable_s3(connection, self._bucket.stage)
            connection.execute(self.settings)
            try:
                return connection.execute(sql).to_arrow_table()
            except duckdb.Error as error:
                raise self.failed(error, doing) from None
