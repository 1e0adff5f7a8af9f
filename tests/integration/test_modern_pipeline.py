"""The modern pipeline as a whole, on a profile's stack: generated orders go through export, load, verification, marts and parity.

It would catch a part that works alone and not behind the one before it: a stage that the load cannot read, a target that dbt
does not find, a mart that sums otherwise than PostgreSQL, a second run that keeps what the first one wrote. Runbook 40 runs
this file on its own profile (RUNBOOK_PROFILE); what it makes is scratch, and goes again. The tests that need dbt's environment,
which is installed when it is first needed, are slow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import export as exporting
from helpers import load as loading
from helpers import settings as profiles
from helpers import verify
from helpers.local import stack
from helpers.model.manifest import Manifest
from helpers.pipelines import figures, marts
from helpers.pipelines.figures import FiguresReport
from helpers.pipelines.sample import legacy
from helpers.pipelines.sample.scratch import scratch
from helpers.platforms import postgres
from helpers.platforms.dbt import DbtResult
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings

LINES = 1_000


@dataclass(frozen=True)
class Pipeline:
    """The chain over scratch data; a file for engine duckdb."""

    settings: Settings
    file: Path

    def migrate(self) -> Manifest:
        with exporting.planned(self.settings) as plan:
            manifest = exporting.export(plan)
        loading.load(loading.plan_load(manifest, Bucket.open(self.settings.stage), self.settings.snowflake))
        return manifest

    def build(self) -> DbtResult:
        marts.prepare(self.settings, self.file)
        return marts.build(self.settings, load_id="integration", file=self.file)

    def compare(self) -> FiguresReport:
        return figures.compare(self.settings, file=self.file)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    stack.up()
    settings = profiles.load(os.environ.get("RUNBOOK_PROFILE"))
    with scratch(settings, orders=LINES) as own:
        yield Pipeline(own, tmp_path_factory.mktemp("marts") / "marts.duckdb")


@pytest.fixture(scope="module")
def migrated(pipeline: Pipeline) -> Manifest:
    return pipeline.migrate()


@pytest.fixture(scope="module")
def built(pipeline: Pipeline, migrated: Manifest) -> DbtResult:
    return pipeline.build()


def test_every_table_is_staged_with_its_rows(pipeline: Pipeline, migrated: Manifest) -> None:
    staged = {table.name: table.rows for table in migrated.tables}
    with postgres.reading(pipeline.settings.source) as cursor:
        for name in ("raw_orders", "sales_data", "sales_daily", "customers"):
            cursor.execute(f"SELECT count(*) FROM public.{name}")
            assert staged[name] == cursor.fetchone()[0] > 0, name


def test_every_cell_arrives(pipeline: Pipeline, migrated: Manifest) -> None:
    with verify.planned(pipeline.settings, target="snowflake") as plan:
        report = verify.verify(plan)
    assert report.equal, [f"{table}: {table.differences}" for table in report.tables if table.verdict != "equal"]
    assert report.cells > LINES


@pytest.mark.slow
def test_the_marts_are_built_and_every_test_of_them_passes(pipeline: Pipeline, built: DbtResult) -> None:
    assert built.ok, [f"{node.name}: {node.status} {node.message}" for node in built.bad]
    assert {node.name for node in built.nodes_of("model")} >= set(pipeline.settings.figures)
    kinds = {node.name.split("_")[0] for node in built.nodes_of("test")}
    assert {"unique", "not", "relationships", "accepted", "daily", "amounts", "source"} <= kinds


@pytest.mark.slow
def test_the_marts_say_which_load_they_are_of(pipeline: Pipeline, built: DbtResult, migrated: Manifest) -> None:
    found = marts.built(pipeline.settings)
    assert (found["load_id"], found["export"]) == ("integration", migrated.export)


@pytest.mark.slow
def test_the_marts_say_what_the_legacy_pipeline_says(pipeline: Pipeline, built: DbtResult) -> None:
    found = pipeline.compare()
    assert found.equal, [str(difference) for difference in found.differences[:5]]
    assert all(each.rows_source == each.rows_other > 0 for each in found.figures)


@pytest.mark.slow
def test_a_second_run_carries_over_what_changed(pipeline: Pipeline, built: DbtResult) -> None:
    with (
        closing(postgres.connect(pipeline.settings.source, settings={"search_path": "public"})) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE raw_orders SET sales = '12345.67' WHERE line_no = 1")
        cursor.execute("UPDATE raw_orders SET region = 'Nowhere' WHERE line_no = 2")
        legacy.run_sql(cursor, legacy.STAR_SQL + legacy.REFRESH_SQL)
    behind = pipeline.compare()
    assert behind.differences, "the legacy pipeline has moved on, and the marts have not"
    pipeline.migrate()
    assert pipeline.build().ok
    ahead = pipeline.compare()
    assert ahead.equal, [str(difference) for difference in ahead.differences[:5]]
    assert not ahead.differences
