"""The sample's benchmark: generated orders at three volumes, taken through both pipelines.

Each volume is a sample of its own in a scratch database on the local stack. The legacy pipeline is its SQL, run by PostgreSQL; the
modern one is export, load and marts, on the profile's stage and target, and the report queries of both are timed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from helpers import export as exporting
from helpers import load as loading
from helpers.errors import LoadError
from helpers.pipelines import marts
from helpers.pipelines.benchmark import RUNS_OF_A_QUERY, BenchmarkPlan, Measurement, Part, fetch, runs_of, timed
from helpers.pipelines.readers import Reader, reading
from helpers.pipelines.sample import legacy
from helpers.pipelines.sample.scratch import scratch
from helpers.platforms import dbt, postgres
from helpers.platforms.s3 import Bucket
from helpers.platforms.scratch_folder import scratch_folder
from helpers.progress import Progress
from helpers.settings import Settings

QUERIES = {
    "sales by region and month": "SELECT month, region, sum(sales) AS sales FROM {sales_monthly} GROUP BY month, region",
    "the last day": "SELECT * FROM {sales_daily} WHERE day = (SELECT max(day) FROM {sales_daily})",
    "the twenty best products": "SELECT * FROM {product_ranking} WHERE rank <= 20",
    "open orders by customer": "SELECT customer_id, sum(sales) AS sales FROM {open_orders} GROUP BY customer_id",
    "order lines by country": "SELECT country, count(*) AS lines, sum(sales) AS sales FROM {sales_lines} GROUP BY country",
}
"""What reports ask; the same words to both sides."""

_LEGACY_STAGES = {
    "clean": legacy.STAR_SQL[:1], "star": legacy.STAR_SQL[1:2], "aggregates": legacy.STAR_SQL[2:],
    "refresh": legacy.REFRESH_SQL,
}  # fmt: skip


LEGACY_NAMES = {"sales_lines": "sales_data"}
"""Marts that have another name than what they replace."""

_MARTS = ("sales_lines", "sales_daily", "sales_monthly", "product_ranking", "open_orders")


def measure(plan: BenchmarkPlan, progress: Progress | None = None) -> tuple[Measurement, ...]:
    """Measures every pipeline of `plan` at every volume.

    Raises:
        LoadError: a mart did not build: its time would be of something else.
        MigrationError: a server did not answer; the scratch data are removed all the same.
    """
    found: list[Measurement] = []
    done = 0
    for volume, lines in zip(plan.volumes, plan.lines, strict=True):

        def tell(what: str, before: int = done) -> None:
            if progress:
                progress(before, sum(plan.lines), what)

        tell(f"{volume}: making {lines:,} order lines")
        with scratch(plan.settings, orders=lines) as own:
            for pipeline in plan.pipelines:
                found += (_legacy if pipeline == "legacy" else _modern)(own, volume, lines, tell)
        done += lines
        tell("measured", done)
    return tuple(found)


def _legacy(own: Settings, volume: str, lines: int, tell: Callable[[str], None]) -> Iterator[Measurement]:
    source = own.source
    with postgres.reading(source) as cursor:
        engine = f"PostgreSQL {postgres.value(cursor, 'SHOW server_version')} (embedded)"

    def measured(part: Part, name: str, seconds: Sequence[float]) -> Measurement:
        return Measurement(volume, lines, "legacy", engine, part, name, statistics.median(seconds), max(seconds))

    with legacy.transaction(postgres.dsn(source), "run the legacy pipeline") as cursor:
        for name, files in _LEGACY_STAGES.items():
            tell(f"{volume}: legacy, {name}")
            with timed() as seconds:
                legacy.run_sql(cursor, files)
            yield measured("pipeline", name, seconds)
    with postgres.reading(source) as cursor:
        for name, query in QUERIES.items():
            relations = {mart: f"public.{LEGACY_NAMES.get(mart, mart)}" for mart in _MARTS}
            yield measured("query", name, runs_of(partial(fetch, cursor, query.format(**relations))))


def _modern(own: Settings, volume: str, lines: int, tell: Callable[[str], None]) -> Iterator[Measurement]:
    bucket = Bucket.open(own.stage)
    with scratch_folder("benchmark") as folder:
        file = Path(folder, "marts.duckdb")
        stages: dict[str, list[float]] = {}
        tell(f"{volume}: modern, export")
        with timed() as stages["export"], exporting.planned(own) as plan:
            manifest = exporting.export(plan)
        tell(f"{volume}: modern, load")
        with timed() as stages["load"]:
            if own.dbt.engine == "snowflake":
                loading.load(loading.plan_load(manifest, bucket, own.snowflake))
            marts.prepare(own, file)
        tell(f"{volume}: modern, marts")
        with timed() as stages["marts"]:
            built = marts.build(own, file=file)
        if not built.ok:
            raise _not_built(built)
        with reading(own, file) as reader:
            for name, seconds in stages.items():
                yield Measurement(volume, lines, "modern", reader.engine, "pipeline", name, seconds[0], seconds[0])
            for node in built.nodes_of("model"):
                yield Measurement(volume, lines, "modern", reader.engine, "mart", node.name, node.seconds, node.seconds)
            yield from queries(reader, QUERIES, volume=volume, lines=lines)


def queries(
    reader: Reader, texts: Mapping[str, str], *, volume: str, lines: int, runs: int = RUNS_OF_A_QUERY
) -> Iterator[Measurement]:
    """Times queries over the marts.

    Args:
        reader: where the marts are.
        texts: SQL by name, with a mart's name in braces.
        volume, lines: what the marts hold.
        runs: of each query.
    """
    relations = {mart: reader.mart(mart) for mart in _MARTS}
    for name, text in texts.items():
        seconds = runs_of(partial(reader.rows, text.format(**relations), doing="time a query"), runs)
        yield Measurement(
            volume, lines, "modern", reader.engine, "query", name, statistics.median(seconds), max(seconds)
        )


def _not_built(built: dbt.DbtResult) -> LoadError:
    first = built.bad[0] if built.bad else None
    why = first.message or first.status if first else "nothing was built"
    cure = "build them and read what failed: runbook marts"
    return LoadError("measure the marts", on=first.name if first else "dbt", why=why, next_step=cure)
