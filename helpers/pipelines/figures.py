"""Do source and target agree on the profile's figures? Every row and every number, to the last digit, each difference by its name.

Numbers are compared exactly, as decimals. A ratio has no last digit that two engines agree on, so a figure's query rounds it. That
is one rounding of the exact ratio on either side as long as the divisor times the unit of the dividend stays below 10¹⁰: Snowflake
keeps at least twelve digits after the point there (https://docs.snowflake.com/en/sql-reference/operators-arithmetic), and PostgreSQL
sixteen significant ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pandas as pd

from helpers.errors import LoadError, SettingsError
from helpers.frames import frame
from helpers.pipelines import questions
from helpers.pipelines.questions import Question
from helpers.pipelines.readers import reading
from helpers.pipelines.staged import Staged
from helpers.platforms import postgres
from helpers.progress import Progress
from helpers.settings import Figure, Settings
from helpers.source.asking import asking

Kind = Literal["changed", "missing", "extra", "repeated"]
Against = Literal["target", "recomputation"]
"""What the source's figures are held against: option C has no target."""

_SIDES: dict[Against, str] = {"target": "mart", "recomputation": "recomputation"}
"""The other side's name in a report."""

Row = Mapping[str, Any]
Key = tuple[str | None, ...]
Texts = Mapping[str, str | None]

READ_AT_ONCE = 10_000
"""Rows that the server sends at a time."""


@dataclass(frozen=True)
class Difference:
    """One number, or one row, that the two sides do not share.

    Attributes:
        kind: "missing" is a row that only the source has, "extra" one that only the other side has, "repeated" a key that a side
            has several times.
        column: of a changed number; empty otherwise.
        since: the other side agrees with what the source held at the export: the source was changed after it.
    """

    figure: str
    key: Mapping[str, str | None]
    kind: Kind
    column: str = ""
    source: str | None = None
    other: str | None = None
    since: bool = False
    against: Against = "target"

    def as_dict(self) -> dict[str, Any]:
        """For `--json`; the other side under its own name."""
        return {
            "aggregate": self.figure, "key": dict(self.key), "kind": self.kind, "column": self.column,
            "legacy": self.source, _SIDES[self.against]: self.other, "since": self.since, "words": str(self),
        }  # fmt: skip

    def __str__(self) -> str:
        where = " ".join([self.figure, ", ".join(f"{name}={value}" for name, value in self.key.items())]).strip()
        why = " (the source was changed after the export)" if self.since else ""
        match self.kind:
            case "changed":
                return f"{where}: {self.column} is {self.source} in the source, {self.other} in the {self.against}{why}"
            case "missing":
                return f"{where}: the row is missing in the {self.against}{why}"
            case "extra":
                return f"{where}: only the {self.against} has the row{why}"
            case "repeated":
                return f"{where}: {self.source} rows in the source, {self.other} in the {self.against}"


@dataclass(frozen=True)
class FigureReport:
    """One figure, compared.

    Attributes:
        numbers: that were compared.
        within: of these, numbers that differ by no more than their tolerance, whose reason is beside.
        tables: migrated tables that it was asked of, as globs of a verification.
    """

    name: str
    rows_source: int
    rows_other: int
    numbers: int
    differences: tuple[Difference, ...]
    within: int = 0
    reason: str = ""
    tables: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs but what the source changed after the export; a comparison of nothing proves nothing."""
        return bool(self.rows_source or self.differences) and all(difference.since for difference in self.differences)

    @property
    def verdict(self) -> str:
        """ "equal", "different", or "no rows" where there was nothing to compare."""
        return "equal" if self.equal else "different" if self.differences else "no rows"


@dataclass(frozen=True)
class FiguresReport:
    """All figures, compared.

    Attributes:
        engine: where the other side was read.
        lsn: of the source when its figures were read.
        export_lsn: of the export that the target is of; empty where the stage does not say.
        against: what they were held against.
    """

    engine: str
    lsn: str
    export_lsn: str
    figures: tuple[FigureReport, ...]
    against: Against = "target"

    @property
    def equal(self) -> bool:
        """Whether every figure is that has rows, and one has."""
        verdicts = {each.verdict for each in self.figures}
        return "equal" in verdicts and "different" not in verdicts

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Of all figures."""
        return tuple(difference for each in self.figures for difference in each.differences)

    def frame(self) -> pd.DataFrame:
        """A row a figure."""
        rows = [
            (each.name, each.verdict, each.rows_source, each.rows_other, each.numbers, each.within,
             sum(not d.since for d in each.differences), sum(d.since for d in each.differences))
            for each in self.figures
        ]  # fmt: skip
        columns = (
            "figure", "verdict", "source rows", f"{self.against} rows", "numbers compared", "within tolerance", "differences",
            "changed since",
        )  # fmt: skip
        return frame(rows, *columns)

    def differing(self, limit: int = 100) -> pd.DataFrame:
        """The first differences, a row each."""
        rows = [
            (d.figure, ", ".join(f"{k}={v}" for k, v in d.key.items()), d.kind, d.column, d.source, d.other, d.since)
            for d in self.differences[:limit]
        ]
        return frame(rows, "figure", "row", "difference", "column", "source", self.against, "changed since")

    def as_dict(self) -> dict[str, Any]:
        """For `--json` and for the report: every difference is in it."""
        return {
            "verdict": "equal" if self.equal else "different", "engine": self.engine, "lsn": self.lsn,
            "export_lsn": self.export_lsn,
            "aggregates": [
                {
                    "name": each.name, "verdict": each.verdict, "rows_legacy": each.rows_source,
                    f"rows_{_SIDES[self.against]}": each.rows_other, "figures": each.numbers,
                    "within_tolerance": each.within, "tolerance_reason": each.reason or None, "tables": list(each.tables),
                    "differences": [d.as_dict() for d in each.differences],
                }
                for each in self.figures
            ],
        }  # fmt: skip


def compare(
    settings: Settings,
    *,
    names: Sequence[str] = (),
    file: Path | None = None,
    progress: Progress | None = None,
) -> FiguresReport:
    """Asks source and target for every figure of the profile.

    Args:
        names: which ones; all when empty.
        file: of dbt's engine duckdb.

    Raises:
        SettingsError: a figure's query is no query, names a relation that a side does not have, or gives other columns on it.
        SourceRefused, ConnectionFailed, LoadError: a side cannot be read; a difference is part of the report.
    """
    chosen = {name: figure for name, figure in settings.figures.items() if not names or name in names}
    staged = Staged(settings)
    with asking(settings.source, "ask the source for the figures") as cursor, reading(settings, file) as reader:
        asked = {name: questions.of_source(settings, cursor, name, figure) for name, figure in chosen.items()}
        others = {
            name: questions.of_target(settings, reader, name, figure, asked[name]) for name, figure in chosen.items()
        }
        lsn = questions.locked(cursor, asked.values())

        def other(name: str) -> Iterable[Row]:
            return reader.rows(others[name].sql, doing=f"ask the target for the figure {name}")

        reports = _each(settings, cursor, chosen, asked, other, staged, progress)
        reports = tuple(replace(each, tables=others[each.name].tables) for each in reports)
        return FiguresReport(reader.engine, lsn, staged.lsn, reports)


def recompute(settings: Settings, *, progress: Progress | None = None) -> FiguresReport:
    """Asks the source for every figure that says how it is computed again, both ways, in one snapshot.

    Raises:
        SettingsError, SourceRefused, ConnectionFailed: as `compare`.
    """
    chosen = {name: figure for name, figure in settings.figures.items() if figure.recomputed}
    with asking(settings.source, "compute the figures again") as cursor:
        asked = {name: questions.of_source(settings, cursor, name, figure) for name, figure in chosen.items()}
        again = {name: questions.again(settings, cursor, name, figure) for name, figure in chosen.items()}
        lsn = questions.locked(cursor, [*asked.values(), *again.values()])
        version = postgres.value(cursor, "SHOW server_version")

        def other(name: str) -> Iterable[Row]:
            return source_rows(cursor, again[name])

        reports = _each(settings, cursor, chosen, asked, other, None, progress)
        found = tuple(
            replace(each, differences=tuple(replace(d, against="recomputation") for d in each.differences))
            for each in reports
        )
        return FiguresReport(f"PostgreSQL {version}", lsn, "", found, "recomputation")


def _each(
    settings: Settings, cursor: Any, chosen: Mapping[str, Figure], asked: Mapping[str, Question],
    other: Callable[[str], Iterable[Row]], staged: Staged | None, progress: Progress | None,
) -> tuple[FigureReport, ...]:  # fmt: skip
    reports = []
    for n, (name, figure) in enumerate(chosen.items()):
        if progress:
            progress(n, len(chosen), f"comparing {name}")
        question = asked[name]
        reports.append(compared(name, figure, source_rows(cursor, question), other(name), staged, question))
    if progress:
        progress(len(chosen), len(chosen), "compared")
    return tuple(reports)


def source_rows(cursor: Any, question: Question) -> Iterator[Row]:
    """The source's answer, as it comes."""
    with cursor.connection.cursor(name="figure") as asking_rows:
        asking_rows.itersize = READ_AT_ONCE
        asking_rows.execute(question.sql)
        names: list[str] = []
        for row in asking_rows:
            names = names or [column.name.lower() for column in asking_rows.description]
            yield dict(zip(names, row, strict=True))


def compared(
    name: str,
    figure: Figure,
    source: Iterable[Row],
    other: Iterable[Row],
    staged: Staged | None = None,
    question: Question | None = None,
) -> FigureReport:
    """One figure on both sides, row by row.

    Args:
        name: its name.
        figure: key and tolerance.
        source: rows of the source.
        other: rows of the other side.
        staged: what the source held at the export, which tells later changes of it apart.
        question: what the source was asked.

    Raises:
        SettingsError: the sides give other columns, or none of the key's.
        LoadError: a column holds what has no exact text, such as a float without a tolerance.
    """
    ours, theirs = _by_key(name, figure, source, "the source"), _by_key(name, figure, other, "the other side")
    _same_columns(name, ours, theirs)
    found: list[Difference] = []
    numbers = within = 0
    for key in sorted(ours.keys() | theirs.keys(), key=lambda key: [(text is not None, text or "") for text in key]):
        left, right = ours.get(key, []), theirs.get(key, [])
        numbers += sum(len(row) for row, _ in zip(left, right, strict=False))
        differing, near = _differences(name, figure, key, left, right)
        found, within = found + differing, within + near
    if found and staged and question and (answer := staged.answer(question)) is not None:
        then = _by_key(name, figure, answer, "the stage")
        found = [replace(each, since=_since(figure, each, theirs, then)) for each in found]
    rows = [sum(map(len, side.values())) for side in (ours, theirs)]
    return FigureReport(name, rows[0], rows[1], numbers, tuple(found), within, figure.reason or "")


def _by_key(name: str, figure: Figure, rows: Iterable[Row], where: str) -> dict[Key, list[Texts]]:
    found: dict[Key, list[Texts]] = defaultdict(list)
    lower = [column.lower() for column in figure.key]
    for row in rows:
        if missing := [column for column in lower if column not in row]:
            why = f"{where} gives {', '.join(row)}, and no {', '.join(missing)}"
            raise _wrong(name, why, f"name columns of the query as key of figures.{name}")
        texts = {column: _text(name, column, value, figure) for column, value in row.items()}
        found[tuple(texts.pop(column) for column in lower)].append(texts)
    return dict(found)


def _same_columns(name: str, ours: Mapping[Key, list[Texts]], theirs: Mapping[Key, list[Texts]]) -> None:
    """The first row tells for all."""
    left, right = (next((set(rows[0]) for rows in side.values()), None) for side in (ours, theirs))
    if left is not None and right is not None and left != right:
        why = f"the source gives {', '.join(sorted(left))}, the other side {', '.join(sorted(right))}"
        raise _wrong(name, why, f"name the columns alike in both queries of figures.{name}")


def _differences(
    name: str, figure: Figure, key: Key, source: list[Texts], other: list[Texts]
) -> tuple[list[Difference], int]:
    """What differs in the rows of one key, and how many numbers differ within their tolerance."""
    named = dict(zip(figure.key, key, strict=True))
    if len(source) > 1 or len(other) > 1:
        if sorted(source, key=str) == sorted(other, key=str):
            return [], 0
        return [Difference(name, named, "repeated", "", str(len(source)), str(len(other)))], 0
    if not other:
        return [Difference(name, named, "missing")], 0
    if not source:
        return [Difference(name, named, "extra")], 0
    found, within = [], 0
    for column, ours in source[0].items():
        theirs = other[0][column]
        if ours != theirs:
            if _is_near(ours, theirs, figure.tolerance.get(column)):
                within += 1
            else:
                found.append(Difference(name, named, "changed", column, ours, theirs))
    return found, within


def _is_near(left: str | None, right: str | None, tolerance: Decimal | None) -> bool:
    if tolerance is None or left is None or right is None:
        return False
    try:
        return abs(Decimal(left) - Decimal(right)) <= tolerance
    except ArithmeticError:
        return False


def _since(
    figure: Figure, found: Difference, other: Mapping[Key, list[Texts]], then: Mapping[Key, list[Texts]]
) -> bool:
    key = tuple(found.key[name] for name in figure.key)
    match found.kind:
        case "missing":
            return key not in then
        case "extra":
            return other[key] == then.get(key)
        case "changed":
            return len(then.get(key, ())) == 1 and then[key][0].get(found.column) == other[key][0][found.column]
        case "repeated":
            return False


def _text(name: str, column: str, value: object, figure: Figure) -> str | None:
    """One text a value: 12.5 and 12.50 are one number. A float has no last digit, so it needs a tolerance."""
    match value:
        case None:
            return None
        case bool() | str() | UUID() | time():
            return str(value)
        case int() | Decimal():
            return _number(value)
        case float() if column in figure.tolerance:
            return _number(Decimal(repr(value)))
        case datetime():
            return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
        case date():
            return value.isoformat()
        case bytes() | memoryview():
            return bytes(value).hex()
    why = f"it holds a {type(value).__name__}, not an exact number, a date or a text"
    cure = f"cast it to an exact type in the query, such as decimal(38, 9), or give figures.{name}.tolerance for it with its reason"
    raise LoadError(f"compare the figure {name} to the last digit", on=f"column {column}", why=why, next_step=cure)


def _number(value: int | Decimal) -> str:
    if isinstance(value, Decimal) and not value.is_finite():
        return str(value)
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _wrong(name: str, why: str, next_step: str) -> SettingsError:
    return SettingsError(f"compare the figure {name}", on=f"figures.{name}", why=why, next_step=next_step)
