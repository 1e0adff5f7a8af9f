"""A schema of Delta tables, asked through Spark Connect; digests are computed there, by Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from helpers.digests import ENGINES, Method, Sums, gathered
from helpers.engines import row_forms, texts
from helpers.engines.base import DuckDB, both, in_segments, key_of
from helpers.engines.columns import ComparedColumn, Segments, TablePlan
from helpers.engines.delta import dialect as canonical_spark
from helpers.engines.delta.catalog import key, qualified, read_table, table_names, view_names
from helpers.engines.delta.files import parquet_type
from helpers.engines.postgres.rows import insert
from helpers.engines.shapes import TableShape
from helpers.model.types import Comparison
from helpers.platforms.spark import Session, identifier
from helpers.settings import Databricks

DIALECT = canonical_spark.DIALECT

SEGMENTS_PER_QUERY = 10_000
MOST_QUERIES = 10
"""With more segments than these, the whole table is fetched."""


class SparkSide:
    """A schema of Delta tables.

    Args:
        session: in UTC.
        target: which schema.
        names: of the tables that are compared, since a catalog may have them in small letters; nothing else that lies there
            is looked at.
    """

    name = "databricks"
    digested = "in Spark"
    methods: tuple[Method, ...] = ("canonical",)

    def __init__(self, session: Session, target: Databricks, names: Iterable[str] = ()) -> None:
        self._session = session
        self._target = target
        self._known = {key(target, name): name for name in names}
        present = table_names(session, target)
        self._views = view_names(session, target) if present else set()
        self._present = {key(target, name): name for name in present}
        self._shapes: dict[str, TableShape] = {}

    def tables(self) -> dict[str, str]:
        names = (name for name, there in self._present.items() if there not in self._views)
        return dict.fromkeys((self._known.get(name, name) for name in names), self._target.schema_)

    def shape(self, plan: TablePlan) -> TableShape | None:
        return self._shape(plan) if key(self._target, plan.there) in self._present else None

    def _shape(self, plan: TablePlan) -> TableShape:
        name = key(self._target, plan.there)
        if name not in self._shapes:
            self._shapes[name] = read_table(self._session, self._target, self._present[name])
        return self._shapes[name]

    def rows(self, schema: str, name: str) -> int:
        return self._count(qualified(self._target, name))

    def count(self, plan: TablePlan) -> int:
        where = plan.where("spark")
        return self._count(f"{self._from(plan)}{f' WHERE {where}' if where else ''}")

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        forms = row_forms.in_spark(plan.columns)
        sql = DIALECT.digest_query(forms, key_of(forms, plan), segments, self._from(plan), plan.where("spark"))
        batches = self._session.batches(sql, doing=f"sum up {plan.there}")
        return gathered(
            ENGINES["canonical"], segments, (batch.rename_columns(["segment", "n", "total"]) for batch in batches)
        )

    def choosable(self, plan: TablePlan) -> int:
        return MOST_QUERIES * SEGMENTS_PER_QUERY

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        found = {column.name: column.type for column in self._shape(plan).columns}
        columns = ", ".join(f"{identifier(c.there)} AS c{n}" for n, c in enumerate(plan.columns))
        printed = ", ".join(texts.of_parquet(f"c{n}", parquet_type(found[c.there])) for n, c in enumerate(plan.columns))
        into.execute(f"CREATE OR REPLACE TABLE {name} ({', '.join(f'c{n} VARCHAR' for n in range(len(plan.columns)))})")
        for condition in self._conditions(plan, chosen):
            sql = f"SELECT {columns} FROM {self._from(plan)}{f' WHERE {condition}' if condition else ''}"
            for batch in self._session.batches(sql, doing=f"read {plan.there}"):
                insert(into, name, batch, printed)

    def value(self, text: str, comparison: Comparison) -> str:
        return texts.value(text, comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return texts.printed(text, column)

    def _conditions(self, plan: TablePlan, chosen: Segments | None) -> Iterator[str]:
        where = plan.where("spark")
        if chosen is None:
            yield where
            return
        forms = row_forms.in_spark(plan.columns)
        for start in range(0, len(chosen.numbers), SEGMENTS_PER_QUERY):
            some = Segments(chosen.count, chosen.numbers[start : start + SEGMENTS_PER_QUERY])
            yield both([where, in_segments(DIALECT, forms, key_of(forms, plan), some)])

    def _from(self, plan: TablePlan) -> str:
        return qualified(self._target, plan.there)

    def _count(self, rows: str) -> int:
        (row,) = self._session.execute(f"SELECT COUNT(*) AS n FROM {rows}", doing="count rows")
        return int(row["n"])
