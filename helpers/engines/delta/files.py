"""Delta tables as DuckDB reads them: the files that their log names at one version, for the local stack."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from helpers import digests
from helpers.digests import DIALECT, ENGINES, Method, Sums
from helpers.engines import row_forms, texts
from helpers.engines.base import MOST_SEGMENTS_CHOSEN, DuckDB, both, in_segments, key_of
from helpers.engines.columns import ComparedColumn, Segments, TablePlan
from helpers.engines.delta.catalog import of_version
from helpers.engines.shapes import TableShape
from helpers.errors import LoadError
from helpers.model import types
from helpers.model.declared import delta_type
from helpers.model.types import Comparison
from helpers.platforms import duck
from helpers.platforms.delta import DeltaVersion, Lake
from helpers.platforms.faults import duck as faults
from helpers.platforms.postgres import identifier, literal


class DeltaSide:
    """The tables below one location, each at the version that it had when it was first asked for.

    Its rows do not pass Spark, so what Spark reads or computes wrongly is not hidden by Spark's own digest.
    """

    name = "delta"
    digested = "over the Delta tables' files"
    methods: tuple[Method, ...] = ("native", "canonical")

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._names = set(lake.tables())
        self._versions: dict[str, DeltaVersion] = {}

    def tables(self) -> dict[str, str]:
        return dict.fromkeys(sorted(self._names), str(self._lake.bucket.location))

    def shape(self, plan: TablePlan) -> TableShape | None:
        return of_version(self._version(plan.there)) if plan.there in self._names else None

    def rows(self, schema: str, name: str) -> int:
        return self._number(f"SELECT count(*) FROM {_files(self._whole(name))}")

    def count(self, plan: TablePlan) -> int:
        where = plan.where("duckdb")
        return self._number(f"SELECT count(*) FROM {self._from(plan)}{f' WHERE {where}' if where else ''}")

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        sql = digests.stage_query(
            method, plan.staged_columns, plan.key, segments, self._from(plan), plan.where("duckdb")
        )
        return digests.gathered(ENGINES[method], segments, [self._rows(sql)])

    def choosable(self, plan: TablePlan) -> int:
        return MOST_SEGMENTS_CHOSEN

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        duck.enable_s3(into, self._lake.bucket.stage)
        kinds = {column.name: delta_type(column.type) for column in self._version(plan.there).columns}
        printed = ", ".join(
            f"{texts.of_parquet(identifier(c.staged.field), parquet_type(kinds[c.there]))} AS c{n}"
            for n, c in enumerate(plan.columns)
        )
        forms = row_forms.staged(plan.columns)
        chosen_rows = in_segments(DIALECT, forms, key_of(forms, plan), chosen) if chosen else ""
        where = both([plan.where("duckdb"), chosen_rows])
        into.execute(
            f"CREATE OR REPLACE TABLE {name} AS SELECT {printed} FROM {self._from(plan)}{f' WHERE {where}' if where else ''}"
        )

    def value(self, text: str, comparison: Comparison) -> str:
        return texts.value(text, comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return texts.printed(text, column)

    def _version(self, name: str) -> DeltaVersion:
        if name not in self._versions:
            self._versions[name] = self._lake.read(name)
        return self._versions[name]

    def _whole(self, name: str) -> DeltaVersion:
        version = self._version(name)
        if version.whole:
            raise LoadError(
                f"read the Delta table {name} without Spark",
                on=self._lake.location(name),
                why=version.whole,
                next_step="load it again: runbook load --target databricks, or verify it through Spark: a profile with "
                "databricks.url instead of the local stack",
            )
        return version

    def _from(self, plan: TablePlan) -> str:
        """The rows, under the names that the staged fields have."""
        version = self._whole(plan.there)
        columns = {column.name: column for column in version.columns}
        chosen = ", ".join(
            f"{identifier(columns[c.there].physical)} AS {identifier(c.staged.field)}" for c in plan.columns
        )
        return f"(SELECT {chosen or '1'} FROM {_files(version)})"

    def _number(self, sql: str) -> int:
        return int(self._rows(sql).column(0)[0].as_py())

    def _rows(self, sql: str) -> pa.Table:
        with duck.connect(memory="512MB") as connection:
            duck.enable_s3(connection, self._lake.bucket.stage)
            try:
                return connection.execute(sql).to_arrow_table()
            except duckdb.Error as error:
                where = str(self._lake.bucket.location)
                cure = "a file is gone or damaged: load the table again"
                raise faults.told(
                    error, "read the files of a Delta table", on=where, kind=LoadError, cure=cure
                ) from None


def parquet_type(delta: str) -> str:
    """DuckDB's name of the type that a column of a Delta table, declared so, has in its files."""
    return types.PARQUET_OF_DELTA.get(delta, delta)


def _files(version: DeltaVersion) -> str:
    """Of no files, the same columns without rows; columns that a file lacks, because they came later, are NULL."""
    typed = ", ".join(
        f"CAST(NULL AS {parquet_type(delta_type(c.type))}) AS {identifier(c.physical)}" for c in version.columns
    )
    none = f"(SELECT {typed} WHERE false)"
    if not version.files:
        return none
    urls = ", ".join(literal(url) for url in version.files)
    return f"(FROM {none} UNION ALL BY NAME FROM read_parquet([{urls}], union_by_name = true))"
