"""How long the queries of today's pipeline take, compared with its service levels.

Of an `INSERT INTO … SELECT` only the SELECT runs, by EXPLAIN ANALYZE in a read-only transaction: the server computes every row
and writes none, and its time has no network in it (https://www.postgresql.org/docs/current/sql-explain.html).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from helpers.errors import SettingsError
from helpers.finding import Finding, note, stop, warning
from helpers.pipelines.questions import relation_in_source, sql_text
from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.settings import Settings, Sla
from helpers.source.asking import APPLICATION

_INSERT = re.compile(
    r'^\s*INSERT\s+INTO\s+(?P<table>[\w$."]+)\s*(?:\([^)]*\)\s*)?(?P<query>(?:WITH|SELECT)\b.*?);[ \t]*$',
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)

_SELECT = re.compile(r"^(?:\s*--[^\n]*\n)*\s*(?:WITH|SELECT|VALUES|TABLE)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Query:
    """What is timed; `name` is the table that it fills, or the view."""

    name: str
    sql: str
    of: str


@dataclass(frozen=True)
class Timing:
    """One query.

    Attributes:
        of: the file, or the kind of view.
        seconds: of the server, each time that it ran; empty where it did not.
        rows: that it gives.
        limit: seconds that were promised, or None.
        why_not: why it did not run.
    """

    name: str
    of: str
    seconds: tuple[float, ...]
    rows: int
    limit: float | None
    why_not: str = ""

    @property
    def fastest(self) -> float:
        """Of the times that it ran."""
        return min(self.seconds, default=0.0)

    @property
    def slowest(self) -> float:
        """What is held against the limit."""
        return max(self.seconds, default=0.0)

    @property
    def missed(self) -> bool:
        """Whether the limit was not kept."""
        return self.limit is not None and self.slowest > self.limit


def queries(settings: Settings, sla: Sla) -> tuple[Query, ...]:
    """The queries that the profile names: of a file each `INSERT INTO … SELECT`, by its table, or the one query that it holds.

    Raises:
        SettingsError: a file cannot be read, or holds no query.
    """
    found: list[Query] = []
    for name, written in sla.queries.items():
        text = sql_text(settings, written, f"profiles.{settings.profile}.sla.queries")
        own, of = name, "the profile"
        if written.endswith(".sql"):
            of = Path(written).name
            own = Path(written).stem if name == written else name
        inserts = [Query(_table(m["table"]), m["query"], of) for m in _INSERT.finditer(f"{text};")]
        if not inserts and not _SELECT.match(text):
            why = "it has neither INSERT INTO … SELECT nor a query of its own"
            raise SettingsError(
                f"read profiles.{settings.profile}.sla.queries", on=of, why=why,
                next_step="name the SQL files of today's aggregation, or queries that people wait for",
            )  # fmt: skip
        found += inserts or [Query(own, text, of)]
    return tuple(found)


def measure(settings: Settings, sla: Sla) -> tuple[Timing, ...]:
    """Runs each query `sla.repeat` times, one after the other.

    Raises:
        ConnectionFailed: the server cannot be reached, or went away.
        SettingsError: as `queries`.
    """
    source = settings.source
    wanted = queries(settings, sla)
    limit = settings.export.statement_timeout_seconds
    session = {"statement_timeout": str(int(limit * 1000))}
    connection = postgres.connect(source, application=APPLICATION, settings=session)
    try:
        connection.readonly = True
        cursor = connection.cursor()
        views = [_view(cursor, name, source.schemas) for name in sla.views]
        return tuple(_time(cursor, each, sla) for each in (*wanted, *views))
    except psycopg2.Error as error:
        raise faults.told(error, "time the queries of today's pipeline", on=postgres.address(source)) from None
    finally:
        connection.close()


def findings(timings: Sequence[Timing], sla: Sla | None) -> Iterator[Finding]:
    """What ran, and what was promised and not kept."""
    for each in timings:
        if each.why_not:
            fix = "correct queries and views of [profiles.X.sla]; a query names the schema of each table, since search_path is empty"
            yield stop(each.name, f"could not be timed: {each.why_not}", fix)
        elif each.missed:
            fix = f"find out why, or agree on a limit that holds and write it to sla.seconds.{each.name}"
            yield stop(each.name, f"takes {each.slowest:.2f} s, and {each.limit:g} s were promised", fix)
        elif each.limit is not None:
            yield note(each.name, f"takes {each.slowest:.3f} s of {each.limit:g} s")
        else:
            yield warning(each.name, "nobody has promised a limit", f"agree on one: sla.seconds.{each.name}")
    total = sum(each.slowest for each in timings)
    if sla and sla.total_seconds is not None and total > sla.total_seconds:
        yield stop("all queries", f"take {total:.2f} s, and {sla.total_seconds:g} s were promised", "agree on a new sla.total_seconds")  # fmt: skip
    known = {name for each in timings for name in (each.name, each.name.rpartition(".")[2])}
    for name in sorted(set(sla.seconds) - known if sla else ()):
        yield stop(name, "has a limit, and no query of that name was timed", f"correct sla.seconds.{name}")
    if sla is None:
        yield warning("the profile", "it has no section sla", "write down what was promised: [profiles.X.sla]")


def _table(written: str) -> str:
    return written.replace('"', "").rpartition(".")[2]


def _view(cursor: Any, name: str, schemas: Sequence[str]) -> Query:
    first, _, second = name.partition(".")
    relation = relation_in_source(cursor, schemas, first, second or None)
    if relation is None or relation.kind not in "vm":
        return Query(name, "", "")
    cursor.execute("SELECT pg_get_viewdef(%s::regclass)", [relation.sql])
    (definition,) = cursor.fetchone()
    return Query(name, definition.rstrip().rstrip(";"), "materialized view" if relation.kind == "m" else "view")


def _time(cursor: Any, query: Query, sla: Sla) -> Timing:
    limit = sla.seconds.get(query.name, sla.seconds.get(query.name.rpartition(".")[2]))
    if not query.sql:
        return Timing(query.name, query.of, (), 0, limit, "there is no such view")
    seconds, count = [], 0
    try:
        for _ in range(sla.repeat):
            answer = postgres.value(cursor, f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query.sql}")
            (plan,) = json.loads(answer) if isinstance(answer, str) else answer
            seconds.append((plan["Planning Time"] + plan["Execution Time"]) / 1000)
            count = int(plan["Plan"]["Actual Rows"])
    except psycopg2.Error as error:
        if faults.lost(error):
            raise
        return Timing(query.name, query.of, (), 0, limit, faults.said(error))
    finally:
        if not cursor.closed:
            cursor.connection.rollback()
    return Timing(query.name, query.of, tuple(seconds), count, limit)
