"""Do the marts say what the legacy aggregates say? Every row and every figure, to the cent, each difference by its name.

Sums and counts are compared exactly, as decimals. A ratio has no last digit that two engines agree on, so both sides round it
to the cent, half away from zero. That is one rounding of the exact ratio on either side as long as the divisor times the
unit of the dividend stays below 10¹⁰: Snowflake keeps at least twelve digits after the point there
(https://docs.snowflake.com/en/sql-reference/operators-arithmetic), and PostgreSQL sixteen significant ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from helpers.errors import LoadError, UsageError
from helpers.frames import frame
from helpers.model import manifest as manifests
from helpers.model.manifest import StagedTable
from helpers.pipelines import marts
from helpers.platforms import duck, postgres
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings, Source

Kind = Literal["changed", "missing", "extra", "repeated"]
Against = Literal["mart", "recomputation"]
"""What the legacy aggregates are held against; `helpers.pipelines.recomputation` has the second."""

Row = dict[str, Any]

READ_AT_ONCE = 10_000
"""Rows that the server sends at a time."""


@dataclass(frozen=True)
class Aggregate:
    """A table or view of the legacy pipeline, and the mart of the same name that replaces it.

    Attributes:
        key: what tells its rows apart.
        exact: columns whose values must be equal.
        cents: ratios, which both sides round to two digits after the point.
    """

    name: str
    key: tuple[str, ...]
    exact: tuple[str, ...]
    cents: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All but the key."""
        return self.exact + self.cents

    def query(self, relation: str, quoted: Callable[[str], str] = identifier) -> str:
        """What reads it; the same SQL on every side, but that a mart's columns are called without quotation marks."""
        plain = [quoted(name) for name in self.key + self.exact]
        rounded = [f"round({quoted(name)}, 2) AS {quoted(name)}" for name in self.cents]
        return f"SELECT {', '.join(plain + rounded)} FROM {relation}"


_TOTALS = ("orders", "lines", "quantity", "sales", "profit")
AGGREGATES = (
    Aggregate("sales_daily", ("day", "region", "category"), _TOTALS),
    Aggregate("sales_monthly", ("month", "region", "category"), _TOTALS, cents=("average_order",)),
    Aggregate("product_ranking", ("product_id",), ("rank", "category", "quantity", "sales")),
    Aggregate("open_orders", ("order_id", "customer_id"), ("order_date", "lines", "sales")),
)
"""Everything in pipeline/legacy that sums or counts: 40_aggregates.sql and 50_reports.sql."""

LEGACY_NAMES = {"sales_lines": "sales_data"}
"""Marts that have another name than what they replace."""


@dataclass(frozen=True)
class Difference:
    """One figure, or one row, that the two sides do not share.

    Attributes:
        kind: "missing" is a row that only the legacy aggregate has, "extra" one that only the other side has, "repeated" a key
            that a side has several times.
        column: of a changed figure; empty otherwise.
        since: the mart agrees with what the source held at the export: the source was changed after it.
    """

    aggregate: str
    key: Mapping[str, str | None]
    kind: Kind
    column: str = ""
    legacy: str | None = None
    other: str | None = None
    since: bool = False
    against: Against = "mart"

    def as_dict(self) -> dict[str, Any]:
        """For `--json`; the other side under its own name."""
        return {
            "aggregate": self.aggregate, "key": dict(self.key), "kind": self.kind, "column": self.column,
            "legacy": self.legacy, self.against: self.other, "since": self.since, "words": str(self),
        }  # fmt: skip

    def __str__(self) -> str:
        where = f"{self.aggregate} {', '.join(f'{name}={value}' for name, value in self.key.items())}"
        why = " (the source was changed after the export)" if self.since else ""
        match self.kind:
            case "changed":
                return f"{where}: {self.column} is {self.legacy} in the legacy pipeline, {self.other} in the {self.against}{why}"
            case "missing":
                return f"{where}: the row is missing in the {self.against}{why}"
            case "extra":
                return f"{where}: only the {self.against} has the row{why}"
            case "repeated":
                return f"{where}: {self.legacy} rows in the legacy pipeline, {self.other} in the {self.against}"


@dataclass(frozen=True)
class AggregateReport:
    """One aggregate, compared."""

    name: str
    rows_legacy: int
    rows_other: int
    figures: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs but what the source changed after the export."""
        return all(difference.since for difference in self.differences)


@dataclass(frozen=True)
class ParityReport:
    """All aggregates, compared.

    Attributes:
        engine: where the other side was read or computed.
        lsn: of the source when the legacy aggregates were read.
        export_lsn: of the export that the marts are of; empty where the stage does not say.
        against: what they were held against.
    """

    engine: str
    lsn: str
    export_lsn: str
    aggregates: tuple[AggregateReport, ...]
    against: Against = "mart"

    @property
    def equal(self) -> bool:
        """Whether every aggregate is; a comparison of nothing proves nothing."""
        return any(each.rows_legacy for each in self.aggregates) and all(each.equal for each in self.aggregates)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Of all aggregates."""
        return tuple(difference for each in self.aggregates for difference in each.differences)

    def frame(self) -> pd.DataFrame:
        """A row an aggregate."""
        rows = [
            (each.name, "equal" if each.equal else "different", each.rows_legacy, each.rows_other, each.figures,
             sum(not d.since for d in each.differences), sum(d.since for d in each.differences))
            for each in self.aggregates
        ]  # fmt: skip
        columns = [
            "aggregate",
            "verdict",
            "legacy rows",
            f"{self.against} rows",
            "figures compared",
            "differences",
            "changed since",
        ]
        return frame(rows, *columns)

    def differing(self, limit: int = 100) -> pd.DataFrame:
        """The first differences, a row each."""
        rows = [
            (d.aggregate, ", ".join(f"{k}={v}" for k, v in d.key.items()), d.kind, d.column, d.legacy, d.other, d.since)
            for d in self.differences[:limit]
        ]
        columns = ["aggregate", "row", "difference", "column", "legacy", self.against, "changed since"]
        return frame(rows, *columns)

    def as_dict(self) -> dict[str, Any]:
        """For `--json` and for the report: every difference is in it."""
        return {
            "verdict": "equal" if self.equal else "different", "engine": self.engine, "lsn": self.lsn,
            "export_lsn": self.export_lsn,
            "aggregates": [
                {
                    "name": each.name, "verdict": "equal" if each.equal else "different", "rows_legacy": each.rows_legacy,
                    f"rows_{self.against}": each.rows_other, "figures": each.figures,
                    "differences": [d.as_dict() for d in each.differences],
                }
                for each in self.aggregates
            ],
        }  # fmt: skip


def compare(
    settings: Settings,
    *,
    file: Path | None = None,
    aggregates: Sequence[Aggregate] = AGGREGATES,
    progress: Progress | None = None,
) -> ParityReport:
    """Compares every legacy aggregate with its mart, row by row.

    Args:
        file: of engine duckdb.
        aggregates: which ones.

    Raises:
        UsageError: the source has no such aggregate.
        ConnectionFailed, LoadError: a side cannot be read; a difference is part of the report.
    """
    staged = Staged(settings)
    there = relations(settings.source, [each.name for each in aggregates])
    with postgres.reading(settings.source) as cursor, marts.reading(settings, file) as reader:
        lsn = locked(cursor, there)

        def read_mart(each: Aggregate) -> Iterable[Row]:
            return reader.rows(each.query(reader.mart(each.name), quoted=str), doing=f"read the mart {each.name}")

        reports = compare_each(cursor, aggregates, there, read_mart, staged=staged, progress=progress)
        return ParityReport(reader.engine, lsn, staged.lsn, reports)


def compare_each(
    cursor: Any, aggregates: Sequence[Aggregate], there: Sequence[Relation], other: Callable[[Aggregate], Iterable[Row]], *,
    staged: Staged | None = None, against: Against = "mart", progress: Progress | None = None,
) -> tuple[AggregateReport, ...]:  # fmt: skip
    """Compares legacy aggregates with another side, one after the other.

    Args:
        there: where the source has each of them.
        other: gives the other side's rows of one.
        staged, against: as `compared` takes them.
    """
    reports = []
    for n, (each, relation) in enumerate(zip(aggregates, there, strict=True)):
        if progress:
            progress(n, len(aggregates), f"comparing {each.name}")
        reports.append(compared(each, legacy_rows(cursor, each, relation), other(each), staged, against=against))
    if progress:
        progress(len(aggregates), len(aggregates), "compared")
    return tuple(reports)


@dataclass(frozen=True)
class Relation:
    """A relation of the source, quoted; a materialized view takes no lock."""

    name: str
    lockable: bool


def relations(source: Source, names: Sequence[str]) -> list[Relation]:
    """Where the source has relations of these names, in the order of its schemas.

    Raises:
        UsageError: it has none of such a name.
    """
    schemas = source.schemas or ("public",)
    found = []
    with postgres.reading(source) as cursor:
        for name in names:
            places = [identifier(schema, name) for schema in schemas]
            cursor.execute(
                "SELECT n, c.relkind FROM unnest(%s) WITH ORDINALITY AS u(n, place) "
                "JOIN pg_class c ON c.oid = to_regclass(n) ORDER BY place LIMIT 1",
                (places,),
            )
            row = cursor.fetchone()
            if row is None:
                why = f"the source has no such table or view in {', '.join(schemas)}"
                cure = "name its schema under the profile's source, or build the sample: runbook local sample"
                raise UsageError("compare the legacy aggregates", on=name, why=why, next_step=cure)
            found.append(Relation(str(row[0]), row[1] != "m"))  # LOCK takes no materialized view
    return found


def locked(cursor: Any, relations: Iterable[Relation]) -> str:
    """Locks what will be read, then begins to read: the transaction's snapshot is taken by its first query, and what is
    truncated later waits. Returns the source's LSN, which is about that of the snapshot."""
    names = [relation.name for relation in relations if relation.lockable]
    locks = f"; LOCK TABLE {', '.join(names)} IN ACCESS SHARE MODE" if names else ""
    cursor.connection.begin(f"SET LOCAL lock_timeout = '30s'{locks}")
    return read_lsn(cursor)


def read_lsn(cursor: Any) -> str:
    """The source's position in its log now; of a standby that of what it has replayed."""
    position = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"
    return str(postgres.value(cursor, f"SELECT {position}::text"))


def legacy_rows(cursor: Any, aggregate: Aggregate, relation: Relation) -> Iterator[Row]:
    """What the legacy pipeline has in an aggregate, as `Aggregate.query` reads it."""
    names = aggregate.key + aggregate.columns
    with cursor.connection.cursor(name=f"parity_{aggregate.name}") as reading:
        reading.itersize = READ_AT_ONCE
        reading.execute(aggregate.query(relation.name))
        for row in reading:
            yield dict(zip(names, row, strict=True))


class Staged:
    """What the legacy aggregates held at the export, by the staged files; looked at only where something differs."""

    def __init__(self, settings: Settings) -> None:
        self._bucket: Bucket | None = None
        self._tables: dict[str, StagedTable] = {}
        self.lsn = ""
        if settings.values.stage is None:
            return
        self._bucket = Bucket.open(settings.stage)
        manifest = manifests.read_if_any(self._bucket)
        if manifest and manifest.source == postgres.address(settings.source):
            self.lsn = manifest.lsn
            self._tables = {table.name: table for table in manifest.tables}

    def rows(self, aggregate: Aggregate) -> dict[_Key, _Texts] | None:
        """By key; None where the aggregate was not staged, as a view is not."""
        table = self._tables.get(aggregate.name)
        if table is None or self._bucket is None:
            return None
        files = [literal(str(self._bucket.location) + file.path) for file in table.files if file.rows]
        if not files:
            return {}
        with duck.connect() as connection:
            duck.enable_s3(connection, self._bucket.stage)
            cursor = connection.execute(aggregate.query(f"read_parquet([{', '.join(files)}])"))
            names = aggregate.key + aggregate.columns
            rows = (dict(zip(names, row, strict=True)) for row in cursor.fetchall())
            return {_key(aggregate, row): _texts(aggregate, row) for row in rows}


_Key = tuple[str | None, ...]
_Texts = tuple[str | None, ...]


def compared(
    aggregate: Aggregate,
    legacy: Iterable[Row],
    other: Iterable[Row],
    staged: Staged | None = None,
    *,
    against: Against = "mart",
) -> AggregateReport:
    """One aggregate on both sides, row by row.

    Args:
        aggregate: whose rows they are.
        legacy: as the legacy pipeline stores them.
        other: as they are elsewhere.
        staged: what the source held at the export, which tells later changes of it apart.
        against: what the other side is.
    """
    ours, theirs = _by_key(aggregate, legacy), _by_key(aggregate, other)
    found: list[Difference] = []
    figures = 0
    for key in sorted(ours.keys() | theirs.keys(), key=lambda key: [(text is not None, text or "") for text in key]):
        left, right = ours.get(key, []), theirs.get(key, [])
        figures += len(aggregate.columns) * min(len(left), len(right))
        found += _differences(aggregate, key, left, right)
    if found and staged and (then := staged.rows(aggregate)) is not None:
        found = [replace(each, since=_since(aggregate, each, theirs, then)) for each in found]
    found = [replace(each, against=against) for each in found]
    rows = [sum(map(len, side.values())) for side in (ours, theirs)]
    return AggregateReport(aggregate.name, rows[0], rows[1], figures, tuple(found))


def _by_key(aggregate: Aggregate, rows: Iterable[Row]) -> dict[_Key, list[_Texts]]:
    found: dict[_Key, list[_Texts]] = defaultdict(list)
    for row in rows:
        found[_key(aggregate, row)].append(_texts(aggregate, row))
    return dict(found)


def _differences(aggregate: Aggregate, key: _Key, legacy: list[_Texts], mart: list[_Texts]) -> Iterator[Difference]:
    named = dict(zip(aggregate.key, key, strict=True))
    if len(legacy) > 1 or len(mart) > 1:
        if sorted(legacy, key=str) != sorted(mart, key=str):
            yield Difference(aggregate.name, named, "repeated", "", str(len(legacy)), str(len(mart)))
    elif not mart:
        yield Difference(aggregate.name, named, "missing")
    elif not legacy:
        yield Difference(aggregate.name, named, "extra")
    else:
        for column, ours, theirs in zip(aggregate.columns, legacy[0], mart[0], strict=True):
            if ours != theirs:
                yield Difference(aggregate.name, named, "changed", column, ours, theirs)


def _since(aggregate: Aggregate, found: Difference, mart: dict[_Key, list[_Texts]], then: dict[_Key, _Texts]) -> bool:
    key = tuple(found.key[name] for name in aggregate.key)
    match found.kind:
        case "missing":
            return key not in then
        case "extra":
            return mart[key] == [then.get(key)]
        case "changed":
            place = aggregate.columns.index(found.column)
            return key in then and then[key][place] == mart[key][0][place]
        case "repeated":
            return False


def _key(aggregate: Aggregate, row: Row) -> _Key:
    return tuple(_text(aggregate, name, row[name]) for name in aggregate.key)


def _texts(aggregate: Aggregate, row: Row) -> _Texts:
    return tuple(_text(aggregate, name, row[name]) for name in aggregate.columns)


def _text(aggregate: Aggregate, column: str, value: object) -> str | None:
    """One text a value: 12.5 and 12.50 are one number. A float has no cents, so a side that has one is refused."""
    match value:
        case None:
            return None
        case bool() | str():
            return str(value)
        case int() | Decimal():
            if isinstance(value, Decimal) and not value.is_finite():
                return str(value)
            text = format(value, "f") if isinstance(value, Decimal) else str(value)
            text = text.rstrip("0").rstrip(".") if "." in text else text
            return "0" if text == "-0" else text
        case date():
            return value.isoformat()
    why = f"it holds a {type(value).__name__}, not an exact number, a date or a text"
    cure = "give the column an exact type, such as decimal(38, 9)"
    raise LoadError(f"compare {aggregate.name} to the cent", on=f"column {column}", why=why, next_step=cure)
