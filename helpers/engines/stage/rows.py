"""The Parquet files of an export: as a target, or by their manifest as what the source held."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from helpers import digests
from helpers.digests import DIALECT, ENGINES, Method, StageChanged, Sums
from helpers.engines import row_forms, shapes, texts
from helpers.engines.base import MOST_SEGMENTS_CHOSEN, DuckDB, key_of
from helpers.engines.columns import ComparedColumn, Segments, TablePlan
from helpers.engines.shapes import TableShape
from helpers.errors import MigrationError
from helpers.model.manifest import Manifest, StagedTable
from helpers.model.types import Comparison
from helpers.platforms import duck
from helpers.platforms.faults import duck as faults
from helpers.platforms.postgres import identifier
from helpers.platforms.s3 import Bucket


class StageSide:
    """The files as the bucket holds them now."""

    name = "stage"
    digested = "over the staged files"
    methods: tuple[Method, ...] = ("native", "canonical")

    def __init__(self, bucket: Bucket, manifest: Manifest) -> None:
        self._bucket = bucket
        self._manifest = manifest
        self._damaged: dict[str, str] = {}

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

    def choosable(self, plan: TablePlan) -> int:
        return MOST_SEGMENTS_CHOSEN

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        duck.enable_s3(into, self._bucket.stage)
        printed = ", ".join(
            f"{texts.of_parquet(identifier(c.field), c.parquet)} AS c{n}" for n, c in enumerate(plan.staged_columns)
        )
        rows, where = self._files(plan), plan.where("duckdb")
        try:
            if chosen:
                # Joined and not listed: a third cheaper at a thousand segments.
                into.execute("CREATE OR REPLACE TABLE chosen AS SELECT unnest(?) AS segment", [list(chosen.numbers)])
                of = row_forms.staged(plan.columns)
                segment = DIALECT.segment(of, key_of(of, plan), chosen.count)
                rows += f" AS f SEMI JOIN chosen ON chosen.segment = {segment}"
            rows += f" WHERE {where}" if where else ""
            into.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT {printed} FROM {rows}")
        except duckdb.Error as error:
            raise self._unreadable(error) from None

    def damaged(self, plan: TablePlan) -> str:
        """The path of a file that is not what the export wrote, or empty; told once for each table."""
        name = str(plan.table)
        if name not in self._damaged:
            self._damaged[name] = digests.damaged_file(self._bucket, self._staged(plan))
        return self._damaged[name]

    def value(self, text: str, comparison: Comparison) -> str:
        return texts.value(text, comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return texts.printed(text, column)

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
                raise self._unreadable(error) from None

    def _unreadable(self, error: duckdb.Error) -> MigrationError:
        cure = "a file is gone or damaged: export again"
        return faults.told(error, "read the staged files", on=str(self._bucket.location), cure=cure)


class ManifestSide(StageSide):
    """What the source held at the export's LSN, by the digests kept with its manifest; the source is not asked.

    The stage's files stand for the source only while they are, by their SHA-256, what the export wrote. They are read where
    a digest in the method at hand is not kept yet, or where segments differ.
    """

    name = "manifest"
    digested = "kept with the manifest"

    def count(self, plan: TablePlan) -> int:
        if not plan.where("duckdb"):
            return self._staged(plan).rows
        self._trust(plan)
        return super().count(plan)

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        staged = self._staged(plan)
        whole = plan.staged_columns == staged.columns and not plan.where("duckdb")
        if whole and method == "canonical":
            return digests.canonical_of_stage(self._bucket, staged)
        if whole and staged.digest and staged.digest.engine == ENGINES["native"]:
            return digests.read(self._bucket, staged.digest)
        self._trust(plan)
        return super().digest(plan, method, segments)

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        self._trust(plan)
        super().fetch(into, name, plan, chosen)

    def _trust(self, plan: TablePlan) -> None:
        if damaged := self.damaged(plan):
            raise StageChanged(
                "take the staged rows for the source's",
                on=f"{self._bucket.location}{damaged}",
                why="it is gone, or its bytes are not those that the manifest names",
                next_step="somebody changed the stage: export again, or verify with --source postgresql",
            )
