"""The Parquet files of an export: as a target, or by their manifest as what the source held."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from helpers import digests, shapes
from helpers.canonical import FormColumn
from helpers.digests import DIALECT, ENGINES, Method, Sums
from helpers.errors import StageError
from helpers.manifest import Manifest, StagedTable
from helpers.platforms import duck
from helpers.platforms.postgres import identifier
from helpers.platforms.s3 import Bucket
from helpers.shapes import TableShape
from helpers.types import Comparison
from helpers.verify import texts
from helpers.verify.columns import ComparedColumn, Segments, TablePlan
from helpers.verify.sides import DuckDB, key_of


class StageSide:
    """The files as the bucket holds them now."""

    name = "stage"
    methods: tuple[Method, ...] = ("native", "canonical")

    def __init__(self, bucket: Bucket, manifest: Manifest) -> None:
        self._bucket = bucket
        self._manifest = manifest

    def tables(self) -> dict[str, str]:
        return {table.name: table.schema_ for table in self._manifest.tables}

    def shape(self, plan: TablePlan) -> TableShape | None:
        staged = self._manifest.table(plan.table.schema, plan.table.name)
        return shapes.of_staged(staged) if staged else None

    def rows(self, schema: str, name: str) -> int:
        staged = self._manifest.table(schema, name)
        return staged.rows if staged else 0

    def count(self, plan: TablePlan) -> int:
        where = plan.where("duckdb")
        sql = f"SELECT count(*) FROM {self._files(plan)}{f' WHERE {where}' if where else ''}"
        return int(self._rows(sql).column(0)[0].as_py())

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        sql = digests.stage_query(
            method, plan.staged_columns, plan.key, segments, self._files(plan), plan.where("duckdb")
        )
        return digests.gathered(ENGINES[method], segments, [self._rows(sql)])

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        duck.enable_s3(into, self._bucket.stage)
        printed = ", ".join(
            f"{texts.of_parquet(identifier(c.field), c.parquet)} AS c{n}" for n, c in enumerate(plan.staged_columns)
        )
        rows, where = self._files(plan), plan.where("duckdb")
        if chosen:
            # Joined and not listed: a third cheaper at a thousand segments.
            into.execute("CREATE OR REPLACE TABLE chosen AS SELECT unnest(?) AS segment", [list(chosen.numbers)])
            forms = self._forms(plan)
            segment = DIALECT.segment(forms, key_of(forms, plan), chosen.count)
            rows += f" AS f SEMI JOIN chosen ON chosen.segment = {segment}"
        into.execute(
            f"CREATE OR REPLACE TABLE {name} AS SELECT {printed} FROM {rows}{f' WHERE {where}' if where else ''}"
        )

    def value(self, text: str, comparison: Comparison) -> str:
        return texts.value(text, comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return texts.printed(text, column)

    def _forms(self, plan: TablePlan) -> list[FormColumn]:
        return [digests.form_column(column) for column in plan.staged_columns]

    def _staged(self, plan: TablePlan) -> StagedTable:
        staged = self._manifest.table(plan.table.schema, plan.table.name)
        assert staged is not None
        return staged

    def _files(self, plan: TablePlan) -> str:
        return digests.files_of(self._bucket, (file.path for file in self._staged(plan).files))

    def _rows(self, sql: str) -> pa.Table:
        with duck.connect(memory="512MB") as connection:
            duck.enable_s3(connection, self._bucket.stage)
            try:
                return connection.execute(sql).to_arrow_table()
            except duckdb.Error as error:
                raise StageError(
                    "read the staged files",
                    on=str(self._bucket.location),
                    why=str(error),
                    next_step="a file is gone or damaged: export again",
                ) from None


class ManifestSide(StageSide):
    """What the source held at the export's LSN, by the digests kept with its manifest; the source is not asked.

    The stage's files are read only where a digest in the method at hand is not kept yet, or where segments differ.
    """

    name = "manifest"

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        staged = self._staged(plan)
        whole = plan.staged_columns == staged.columns and not plan.where("duckdb")
        if whole and method == "canonical":
            return digests.canonical_of_stage(self._bucket, staged)
        if whole and staged.digest and staged.digest.engine == ENGINES["native"]:
            return digests.read(self._bucket, staged.digest)
        return super().digest(plan, method, segments)
