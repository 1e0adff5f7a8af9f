"""The Parquet files of an export: as a target, or by their manifest as what the source held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb

from helpers import digests
from helpers.digests import ENGINES, Method, StageChanged, Sums
from helpers.engines import shapes
from helpers.engines.answers import held_there
from helpers.engines.base import DuckDB
from helpers.engines.columns import Segments, TablePlan
from helpers.engines.files import READING, Files
from helpers.engines.held import Held
from helpers.engines.shapes import TableShape
from helpers.engines.snowflake.ddl import SNOWFLAKE
from helpers.errors import MigrationError
from helpers.model.declared import DUCKDB
from helpers.model.manifest import Manifest, StagedTable
from helpers.model.places import TargetTable
from helpers.platforms.faults import duck as faults
from helpers.platforms.s3 import Bucket


class StageSide(Files):
    """The files as the bucket holds them now."""

    name = "stage"
    digested = "over the staged files"

    def __init__(self, bucket: Bucket, manifest: Manifest) -> None:
        super().__init__(bucket)
        self._manifest = manifest
        self._damaged: dict[str, str] = {}

    def tables(self) -> list[TargetTable]:
        return [TargetTable(table.schema_, table.name) for table in self._manifest.tables]

    def shape(self, plan: TablePlan) -> TableShape | None:
        staged = self._manifest.table(plan.table.schema, plan.table.name)
        return shapes.loaded_shape(staged, SNOWFLAKE) if staged else None

    def rows(self, table: TargetTable) -> int:
        staged = self._manifest.table(*table)
        return staged.rows if staged else 0

    def parquet(self, plan: TablePlan) -> Iterator[str]:
        return (column.parquet for column in plan.staged_columns)

    def failed(self, error: duckdb.Error, doing: str) -> MigrationError:
        cure = "a file is gone or damaged: export again"
        doing = "read the staged files" if doing == READING else doing
        return faults.told(error, doing, on=str(self._bucket.location), cure=cure)

    def damaged(self, plan: TablePlan) -> str:
        """The path of a file that is not what the export wrote, or empty; told once for each table."""
        name = str(plan.table)
        if name not in self._damaged:
            self._damaged[name] = digests.damaged_file(self._bucket, self._staged(plan))
        return self._damaged[name]

    def held(self, plan: TablePlan) -> Mapping[str, Held] | None:
        if self._manifest.table(plan.table.schema, plan.table.name) is None:
            return None
        rows = self.query(f"DESCRIBE SELECT * FROM {self.relation(plan)}", doing=f"read the columns of {plan.table}")
        return held_there(
            plan, {name: DUCKDB.read(kind) for name, kind, *_ in rows}, self.sql,
            name=lambda column: column.staged.field, wanted=lambda column: DUCKDB.read(column.staged.parquet),
        )  # fmt: skip

    def _staged(self, plan: TablePlan) -> StagedTable:
        staged = self._manifest.table(plan.table.schema, plan.table.name)
        assert staged is not None
        return staged

    def relation(self, plan: TablePlan) -> str:
        return digests.files_of(self._bucket, (file.path for file in self._staged(plan).files))


class ManifestSide(StageSide):
    """What the source held at the export's LSN, by the digests kept with its manifest; the source is not asked.

    The stage's files stand for the source only while they are, by their SHA-256, what the export wrote. They are read where
    a digest in the method at hand is not kept yet, or where segments differ.
    """

    name = "manifest"
    digested = "kept with the manifest"

    def count(self, plan: TablePlan) -> int:
        if not plan.selection:
            return self._staged(plan).rows
        self._trust(plan)
        return super().count(plan)

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        staged = self._staged(plan)
        whole = plan.staged_columns == staged.columns and not plan.selection
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
