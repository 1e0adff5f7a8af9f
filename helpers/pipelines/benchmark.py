"""How long do the legacy pipeline and the modern one take, over the same rows, at three volumes?

Each volume is a sample of its own in a scratch database on the local stack. The legacy pipeline is its SQL, run by
PostgreSQL; the modern one is export, load and marts, on the profile's stage and target, and the report queries of both are
timed. A figure from a stand-in only says how fast the stand-in is: it carries the stand-in's name, and is not held against a limit.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from helpers import export as exporting
from helpers import load as loading
from helpers.errors import LoadError, UsageError
from helpers.frames import frame
from helpers.pipelines import legacy, marts
from helpers.pipelines.marts import STAND_IN
from helpers.pipelines.parity import LEGACY_NAMES
from helpers.pipelines.query_times import Timing
from helpers.pipelines.sample.scratch import scratch
from helpers.platforms import dbt, postgres
from helpers.platforms.s3 import Bucket
from helpers.platforms.scratch_folder import scratch_folder
from helpers.progress import Progress
from helpers.settings import Settings, Sla

Pipeline = Literal["legacy", "modern"]
Volume = Literal["small", "medium", "large"]
Part = Literal["pipeline", "mart", "query"]
Answer = Literal["met", "missed", "not measured"]

VOLUMES: dict[Volume, int] = {"small": 10_000, "medium": 100_000, "large": 1_000_000}
"""Order lines. A large sample is what a laptop moves in a few minutes, not what production has."""

RUNS_OF_A_QUERY = 5

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


@dataclass(frozen=True)
class Measurement:
    """Seconds of wall clock of one stage or one query.

    Attributes:
        lines: order lines that were there.
        engine: with its version.
        name: of the stage or the query.
        seconds: of a query the median of its runs.
        slowest: of its runs.
    """

    volume: str
    lines: int
    pipeline: Pipeline
    engine: str
    part: Part
    name: str
    seconds: float
    slowest: float

    @property
    def stand_in(self) -> bool:
        """Whether the engine is one."""
        return STAND_IN in self.engine


@dataclass(frozen=True)
class Limit:
    """What an agreement allows of a pipeline.

    Attributes:
        name: as the profile calls it.
        part: what it is about.
        seconds: at most: of the pipeline or the marts the sum, of a query its slowest run.
        of: only this mart or query; empty for all.
    """

    name: str
    part: Part
    seconds: float
    of: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a limit was kept.

    Attributes:
        measured: seconds of the slowest that it is about; None where nothing was.
        why: what was measured, or why it says nothing.
    """

    limit: Limit
    answer: Answer
    measured: float | None
    why: str


@dataclass(frozen=True)
class BenchmarkPlan:
    """What will be measured; it changes nothing but scratch databases, prefixes and schemas, which it removes."""

    settings: Settings
    pipelines: tuple[Pipeline, ...]
    volumes: tuple[Volume, ...]

    @property
    def lines(self) -> int:
        """Order lines to generate."""
        return sum(VOLUMES[volume] for volume in self.volumes)


@dataclass(frozen=True)
class Benchmark:
    """What was measured, in order, and what the limits say to it."""

    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...] = field(default_factory=tuple)

    @property
    def kept(self) -> bool:
        """Whether no limit was missed; one that was not measured is not missed, and not kept either."""
        return bool(self.measurements) and not any(verdict.answer == "missed" for verdict in self.verdicts)

    def totals(self) -> pd.DataFrame:
        """A row a volume and pipeline: how long all of it took."""
        rows: dict[tuple[str, int, str, str], float] = {}
        for each in (m for m in self.measurements if m.part == "pipeline"):
            key = (each.volume, each.lines, each.pipeline, each.engine)
            rows[key] = rows.get(key, 0) + each.seconds
        columns = ["volume", "order lines", "pipeline", "engine", "seconds", "lines a second"]
        made = [(*key, round(seconds, 2), round(key[1] / seconds)) for key, seconds in rows.items()]
        return frame(made, *columns)

    def frame(self, part: Part) -> pd.DataFrame:
        """A row a stage, a mart or a query."""
        rows = [
            (m.volume, m.pipeline, m.engine, m.name, round(m.seconds, 3), round(m.slowest, 3))
            for m in self.measurements if m.part == part
        ]  # fmt: skip
        what = "stage" if part == "pipeline" else part
        columns = ["volume", "pipeline", "engine", what, "seconds", "slowest"]
        return frame(rows, *columns)

    def judged(self) -> pd.DataFrame:
        """A row a limit."""
        rows = []
        for v in self.verdicts:
            of, measured = f"{v.limit.part} {v.limit.of}".strip(), None if v.measured is None else round(v.measured, 3)
            rows.append((v.limit.name, of, v.limit.seconds, measured, v.answer, v.why))
        return frame(rows, "limit", "of", "seconds", "measured", "verdict", "why")

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "measurements": [vars(each) for each in self.measurements],
            "verdicts": [{**vars(each), "limit": vars(each.limit)} for each in self.verdicts],
        }


def plan_benchmark(settings: Settings, pipelines: Iterable[str], volumes: Iterable[str]) -> BenchmarkPlan:
    """Which pipelines at which volumes.

    Raises:
        UsageError: there is no such pipeline or volume, or none was named.
    """
    chosen, sizes = tuple(pipelines), tuple(volumes)
    for given, known in ((chosen, get_args(Pipeline)), (sizes, tuple(VOLUMES))):
        if not given or (unknown := [each for each in given if each not in known]):
            why = "there is no such choice"
            cure = f"use one or more of: {', '.join(known)}"
            raise UsageError("plan a benchmark", on=", ".join(unknown) if given else "nothing", why=why, next_step=cure)
    return BenchmarkPlan(settings, chosen, sizes)  # type: ignore[arg-type]


def benchmark(plan: BenchmarkPlan, limits: Sequence[Limit] = (), *, progress: Progress | None = None) -> Benchmark:
    """Measures every pipeline of `plan` at every volume.

    Args:
        plan: what to measure.
        limits: to judge by.

    Raises:
        LoadError: a mart did not build: its time would be of something else.
        MigrationError: a server did not answer; the scratch data are removed all the same.
    """
    found: list[Measurement] = []
    done = 0
    for volume in plan.volumes:
        lines = VOLUMES[volume]

        def tell(what: str, before: int = done) -> None:
            if progress:
                progress(before, plan.lines, what)

        tell(f"{volume}: making {lines:,} order lines")
        with scratch(plan.settings, orders=lines) as own:
            for pipeline in plan.pipelines:
                measure = _legacy if pipeline == "legacy" else _modern
                found += measure(own, volume, lines, tell)
        done += lines
        tell("measured", done)
    return Benchmark(tuple(found), judge(found, limits))


def limits_of(settings: Settings) -> tuple[Limit, ...]:
    """What the profile's section sla promises of the legacy aggregates, held against the marts that replace them; nothing where
    the profile has no such section."""
    sla = settings.values.sla
    if sla is None:
        return ()
    limits = [Limit(name, "mart", float(seconds), of=name.rpartition(".")[2]) for name, seconds in sla.seconds.items()]
    if sla.total_seconds is not None:
        limits.append(Limit("total_seconds", "mart", float(sla.total_seconds)))
    return tuple(limits)


def verdicts_of_source(timings: Sequence[Timing], sla: Sla | None) -> tuple[Verdict, ...]:
    """Holds the source's own queries, as the assessment times them, against what was promised of them; on option C they stay."""
    found = []
    for each in timings:
        if each.limit is not None:
            limit = Limit(each.name, "query", each.limit, of=each.name)
            answer: Answer = "not measured" if each.why_not else "missed" if each.missed else "met"
            why = each.why_not or f"slowest of {len(each.seconds)}: {each.rows:,} rows of the source, by {each.of}"
            found.append(Verdict(limit, answer, None if each.why_not else each.slowest, why))
    if sla and sla.total_seconds is not None:
        total = sum(each.slowest for each in timings)
        limit = Limit("total_seconds", "query", sla.total_seconds)
        found.append(
            Verdict(limit, "met" if total <= sla.total_seconds else "missed", total, f"{len(timings)} queries")
        )
    return tuple(found)


def judge(measurements: Sequence[Measurement], limits: Sequence[Limit]) -> tuple[Verdict, ...]:
    """Holds what was measured of the modern pipeline against what was agreed; the largest volume counts."""
    return tuple(_verdict(limit, [m for m in measurements if m.pipeline == "modern"]) for limit in limits)


def _verdict(limit: Limit, modern: Sequence[Measurement]) -> Verdict:
    most = max((m.lines for m in modern), default=0)
    about = [m for m in modern if m.part == limit.part and m.lines == most]
    own = [m for m in about if limit.of in ("", m.name)]
    if not own:
        return Verdict(limit, "not measured", None, f"no {limit.part} {limit.of} of the modern pipeline was measured")
    slowest = max(own, key=lambda m: m.slowest)
    seconds = slowest.slowest if limit.part == "query" else sum(m.seconds for m in own)
    if any(m.stand_in for m in own):
        why = f"{own[0].engine} is a stand-in: its {seconds:.2f} s say nothing about the service"
        return Verdict(limit, "not measured", None, why)
    why = f"slowest: {slowest.name}; {most:,} order lines on {own[0].engine}"
    return Verdict(limit, "met" if seconds <= limit.seconds else "missed", seconds, why)


def _legacy(own: Settings, volume: str, lines: int, tell: Callable[[str], None]) -> Iterator[Measurement]:
    source = own.source
    with postgres.reading(source) as cursor:
        engine = f"PostgreSQL {postgres.value(cursor, 'SHOW server_version')} (embedded)"

    def measured(part: Part, name: str, seconds: Sequence[float]) -> Measurement:
        return Measurement(volume, lines, "legacy", engine, part, name, statistics.median(seconds), max(seconds))

    with legacy.transaction(postgres.dsn(source), "run the legacy pipeline") as cursor:
        for name, files in _LEGACY_STAGES.items():
            tell(f"{volume}: legacy, {name}")
            with _timed() as seconds:
                legacy.run_sql(cursor, files)
            yield measured("pipeline", name, seconds)
    with postgres.reading(source) as cursor:
        for name, query in QUERIES.items():
            relations = {mart: f"public.{LEGACY_NAMES.get(mart, mart)}" for mart in _MARTS}
            yield measured("query", name, _runs(partial(_fetch, cursor, query.format(**relations))))


def _modern(own: Settings, volume: str, lines: int, tell: Callable[[str], None]) -> Iterator[Measurement]:
    bucket = Bucket.open(own.stage)
    with scratch_folder("benchmark") as folder:
        file = Path(folder, "marts.duckdb")
        stages: dict[str, list[float]] = {}
        tell(f"{volume}: modern, export")
        with _timed() as stages["export"], exporting.planned(own) as plan:
            manifest = exporting.export(plan)
        tell(f"{volume}: modern, load")
        with _timed() as stages["load"]:
            if own.dbt.engine == "snowflake":
                loading.load(loading.plan_load(manifest, bucket, own.snowflake))
            marts.prepare(own, file)
        tell(f"{volume}: modern, marts")
        with _timed() as stages["marts"]:
            built = marts.build(own, file=file)
        if not built.ok:
            raise _not_built(built)
        with marts.reading(own, file, fresh=True) as reader:
            for name, seconds in stages.items():
                yield Measurement(volume, lines, "modern", reader.engine, "pipeline", name, seconds[0], seconds[0])
            for node in built.nodes_of("model"):
                yield Measurement(volume, lines, "modern", reader.engine, "mart", node.name, node.seconds, node.seconds)
            yield from queries(reader, QUERIES, volume=volume, lines=lines)


def queries(
    reader: marts.Reader, texts: Mapping[str, str], *, volume: str, lines: int, runs: int = RUNS_OF_A_QUERY
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
        seconds = _runs(partial(reader.rows, text.format(**relations), doing="time a query"), runs)
        yield Measurement(
            volume, lines, "modern", reader.engine, "query", name, statistics.median(seconds), max(seconds)
        )


_MARTS = ("sales_lines", "sales_daily", "sales_monthly", "product_ranking", "open_orders")


@contextmanager
def _timed() -> Iterator[list[float]]:
    seconds: list[float] = []
    started = time.monotonic()
    yield seconds
    seconds.append(time.monotonic() - started)


def _runs(call: Callable[[], object], runs: int = RUNS_OF_A_QUERY) -> list[float]:
    found = []
    for _ in range(runs):
        with _timed() as seconds:
            call()
        found += seconds
    return found


def _fetch(cursor: Any, sql: str) -> object:
    cursor.execute(sql)
    return cursor.fetchall()


def _not_built(built: dbt.DbtResult) -> LoadError:
    first = built.bad[0] if built.bad else None
    why = first.message or first.status if first else "nothing was built"
    cure = "build them and read what failed: runbook marts"
    return LoadError("measure the marts", on=first.name if first else "dbt", why=why, next_step=cure)
