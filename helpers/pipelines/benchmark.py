"""How long do today's pipeline and the modern one take over the same rows?

At the volume of the profile's own data the figures are asked of both sides, and the service levels' queries of the source. The
sample, of which there is as much as one wants, is generated at three volumes and taken through both pipelines
(`helpers.pipelines.sample.volumes`). A time on a stand-in only says how fast the stand-in is: it carries the stand-in's name, and
is not held against a limit.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import pandas as pd

from helpers.errors import LoadError, UsageError
from helpers.frames import frame
from helpers.model import manifest as manifests
from helpers.pipelines import marts, query_times, questions
from helpers.pipelines.marts import STAND_IN
from helpers.pipelines.query_times import Timing
from helpers.pipelines.readers import reading
from helpers.platforms import postgres
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings, Sla
from helpers.settings.local_stack import local_stack
from helpers.source.asking import asking

Pipeline = Literal["legacy", "modern"]
Volume = Literal["small", "medium", "large", "own"]
Part = Literal["pipeline", "mart", "query"]
Answer = Literal["met", "missed", "not measured"]

OWN: Volume = "own"
"""The profile's own data, as many as there are."""

VOLUMES: dict[Volume, int] = {"small": 10_000, "medium": 100_000, "large": 1_000_000}
"""Rows of the sample's largest table. A large sample is what a laptop moves in a few minutes, not what production has."""

RUNS_OF_A_QUERY = 5


@dataclass(frozen=True)
class Measurement:
    """Seconds of wall clock of one stage or one query.

    Attributes:
        lines: rows that were there.
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
    """What will be measured; it changes nothing but scratch databases, prefixes and schemas of the sample, which it removes.

    Attributes:
        volumes: of the sample, or `OWN`.
        lines: rows at each of them; of `OWN` by the source's statistics.
    """

    settings: Settings
    pipelines: tuple[Pipeline, ...]
    volumes: tuple[Volume, ...]
    lines: tuple[int, ...]

    @property
    def what(self) -> str:
        """In a sentence."""
        which = " and ".join(self.pipelines)
        if self.volumes == (OWN,):
            first = "build the marts where this export has none yet, then " if self._builds_marts else ""
            read = "the source is" if first else "both sides are"
            return f"{first}time the figures and the service levels' queries of {which}, over the data that there are; {read} only read"
        return (
            f"measure {which} over scratch data, which is removed again; large is what a laptop moves in a few minutes"
        )

    @property
    def _builds_marts(self) -> bool:
        return "modern" in self.pipelines and bool(self.settings.dbt.project and self.settings.figures)

    def rows(self) -> list[tuple[str, str, int]]:
        """Volume, pipeline and rows of each part."""
        sizes = dict(zip(self.volumes, self.lines, strict=True))
        return [(volume, each, sizes[volume]) for volume in self.volumes for each in self.pipelines]


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
        for each in (m for m in self.measurements if m.part == "pipeline" or m.volume == OWN):
            key = (each.volume, each.lines, each.pipeline, each.engine)
            rows[key] = rows.get(key, 0) + each.seconds
        columns = ["volume", "rows", "pipeline", "engine", "seconds", "rows a second"]
        made = [
            (*key, round(seconds, 2), round(key[1] / seconds) if seconds else None) for key, seconds in rows.items()
        ]
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
    """Which pipelines at which volumes; a profile that is not described as the sample has one volume, its own.

    Raises:
        UsageError: there is no such pipeline or volume, or none was named.
        ConnectionFailed: the source does not tell how much it has.
    """
    chosen, sizes = tuple(pipelines), tuple(volumes)
    for given, known in ((chosen, get_args(Pipeline)), (sizes, tuple(VOLUMES))):
        if not given or (unknown := [each for each in given if each not in known]):
            why = "there is no such choice"
            cure = f"use one or more of: {', '.join(known)}"
            raise UsageError("plan a benchmark", on=", ".join(unknown) if given else "nothing", why=why, next_step=cure)
    if local_stack().describes_sample(settings):
        return BenchmarkPlan(settings, chosen, sizes, tuple(VOLUMES[volume] for volume in sizes))  # type: ignore[arg-type, index]
    return BenchmarkPlan(settings, chosen, (OWN,), (_rows_there(settings),))  # type: ignore[arg-type]


def benchmark(plan: BenchmarkPlan, limits: Sequence[Limit] = (), *, progress: Progress | None = None) -> Benchmark:
    """Measures every pipeline of `plan` at every volume.

    Args:
        plan: what to measure.
        limits: to judge by.

    Raises:
        LoadError: a mart did not build: its time would be of something else.
        MigrationError: a server did not answer, or a query is not one; scratch data are removed all the same.
    """
    if plan.volumes == (OWN,):
        found = tuple(_own(plan, progress))
    else:
        from helpers.pipelines.sample import volumes  # only the sample can be generated

        found = volumes.measure(plan, progress)
    return Benchmark(found, judge(found, limits))


def _own(plan: BenchmarkPlan, progress: Progress | None) -> Iterator[Measurement]:
    """The figures' queries on each side, and those of the service levels on the source."""
    settings, (lines,) = plan.settings, plan.lines
    parts = len(settings.figures) * len(plan.pipelines) or 1
    done = 0

    def tell(what: str) -> None:
        nonlocal done
        if progress:
            progress(min(done, parts), parts, what)
        done += 1

    with ExitStack() as opened:
        cursor = opened.enter_context(asking(settings.source, "time the figures"))
        asked = {name: questions.of_source(settings, cursor, name, each) for name, each in settings.figures.items()}
        if "legacy" in plan.pipelines:
            engine = f"PostgreSQL {postgres.value(cursor, 'SHOW server_version')}"
            for name, question in asked.items():
                tell(f"the source: {name}")
                seconds = runs_of(partial(fetch, cursor, question.sql))
                yield Measurement(OWN, lines, "legacy", engine, "query", name, statistics.median(seconds), max(seconds))
        if "modern" in plan.pipelines and asked:
            if settings.dbt.project:
                tell("the marts")
                _build_marts(settings)
            reader = opened.enter_context(reading(settings))
            for name, each in settings.figures.items():
                tell(f"the target: {name}")
                sql = questions.of_target(settings, reader, name, each, asked[name]).sql
                seconds = runs_of(partial(reader.rows, sql, doing=f"time the figure {name}"))
                yield Measurement(
                    OWN, lines, "modern", reader.engine, "query", name, statistics.median(seconds), max(seconds)
                )
    sla = settings.values.sla
    if "legacy" in plan.pipelines and sla:
        for timing in query_times.measure(settings, sla):
            if timing.seconds:
                middle = statistics.median(timing.seconds)
                yield Measurement(OWN, lines, "legacy", engine, "query", timing.name, middle, timing.slowest)


def _build_marts(settings: Settings) -> None:
    """A figure may be of a mart, and dbt's own step comes behind this one.

    Raises:
        LoadError: a mart did not build: its time would be of something else.
    """
    manifest = manifests.read_if_any(Bucket.open(settings.stage))
    if manifest and marts.built(settings).get("export") == manifest.export:
        return
    marts.prepare(settings)
    built = marts.build(settings)
    if not built.ok:
        first = next(iter(built.bad), None)
        why = f"{first.kind} {first.status}: {first.message}" if first else "dbt built nothing"
        cure = "build them and read what failed: runbook marts"
        raise LoadError("time the figures of the marts", on=first.name if first else "dbt", why=why, next_step=cure)


def _rows_there(settings: Settings) -> int:
    """Rows of the source's tables, by its statistics."""
    with asking(settings.source, "ask how many rows there are") as cursor:
        cursor.execute(
            "SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::int8 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%%'"
            " AND (%(schemas)s::text[] = '{}' OR n.nspname = ANY (%(schemas)s))",
            {"schemas": list(settings.source.schemas)},
        )
        return int(cursor.fetchone()[0])


def limits_of(settings: Settings) -> tuple[Limit, ...]:
    """What the profile's section sla promises of today's queries, held against what replaces them: of the sample the marts of the
    same names, of other profiles the figures of the same names, asked of the target. Nothing where there is no such section."""
    sla = settings.values.sla
    if sla is None:
        return ()
    part: Part = "mart" if local_stack().describes_sample(settings) else "query"
    limits = [Limit(name, part, float(seconds), of=name.rpartition(".")[2]) for name, seconds in sla.seconds.items()]
    if sla.total_seconds is not None:
        limits.append(Limit("total_seconds", part, float(sla.total_seconds)))
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
    why = f"slowest: {slowest.name}; {most:,} rows on {own[0].engine}"
    return Verdict(limit, "met" if seconds <= limit.seconds else "missed", seconds, why)


@contextmanager
def timed() -> Iterator[list[float]]:
    seconds: list[float] = []
    started = time.monotonic()
    yield seconds
    seconds.append(time.monotonic() - started)


def runs_of(call: Callable[[], object], runs: int = RUNS_OF_A_QUERY) -> list[float]:
    found = []
    for _ in range(runs):
        with timed() as seconds:
            call()
        found += seconds
    return found


def fetch(cursor: Any, sql: str) -> object:
    cursor.execute(sql)
    return cursor.fetchall()
