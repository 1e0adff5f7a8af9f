"""The verifications of a run, and their differing cells a page at a time: the files may be larger than memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb

from helpers.platforms import duck
from helpers.platforms.postgres import literal

PAGE = 50
"""Cells on one page."""

LONGEST = 400
"""Characters of one value that are read; the report and the file have the rest."""

MEMORY = "512MB"

_CELLS = ".cells.parquet"


@dataclass(frozen=True)
class Column:
    """One column of a verified table: how many cells changed, and why, where that was found out."""

    name: str
    changed: int
    diagnosis: str


@dataclass(frozen=True)
class VerifiedTable:
    """One table of a verification; counts are rows, None where the report does not say.

    Attributes:
        cells: the file of its differing cells, as it lies in the run's folder; None where there is none.
        lost: whether the report names such a file and it is not there.
    """

    name: str
    verdict: str
    rows_source: int | None = None
    rows_target: int | None = None
    missing: int = 0
    extra: int = 0
    changed: int = 0
    changed_since: int = 0
    definitions: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    cells: Path | None = None
    lost: bool = False

    @property
    def differences(self) -> str:
        """In a few words what differs."""
        counts = {
            "missing": self.missing,
            "extra": self.extra,
            "changed": self.changed,
            "changed since": self.changed_since,
        }
        return ", ".join([f"{n:,} {word}" for word, n in counts.items() if n] + list(self.definitions))


@dataclass(frozen=True)
class Verification:
    """One verification of the run.

    Attributes:
        name: its report within the run's folder, without the suffix.
        target: what was compared with the source.
        page: the report for people within the run's folder; empty where there is none.
        problem: why the report could not be read; empty where it could.
        written: when, in seconds of the file's time; a copy of the run may have another.
    """

    name: str
    target: str
    verdict: str = ""
    lsn: str = ""
    tables: tuple[VerifiedTable, ...] = ()
    page: str = ""
    problem: str = ""
    written: float = 0.0

    @property
    def differing(self) -> tuple[VerifiedTable, ...]:
        """Tables with a file of differing cells."""
        return tuple(table for table in self.tables if table.cells)


@dataclass(frozen=True)
class CellRow:
    """One differing cell; values are PostgreSQL's text cut at `LONGEST`, None is NULL, lengths are those of the whole."""

    key: str | None
    column: str
    source: str | None
    target: str | None
    source_length: int
    target_length: int


@dataclass(frozen=True)
class CellPage:
    """A page of cells, in the file's order.

    Attributes:
        total: cells that the filter lets through.
        offset: how many of them lie before this page.
    """

    rows: tuple[CellRow, ...]
    total: int
    offset: int
    problem: str = ""


def verifications(folder: Path) -> tuple[Verification, ...]:
    """Every verification of a run, the youngest first; a report that cannot be read says so."""
    found = [
        replace(_reported(folder, path), written=_age(path))
        for path in (*folder.glob("*/*verify-*.json"), *folder.glob("verify*.json"))
    ]
    known = {verification.name for verification in found}
    for path in folder.glob("**/report.html"):
        if path.parent.relative_to(folder).as_posix() not in known:
            found.append(replace(_unreported(folder, path), written=_age(path)))
    return tuple(sorted(found, key=lambda each: -each.written))


def columns(file: Path) -> dict[str, int]:
    """How many differing cells each column of a file has, those with most first; reads that one column of the file.

    Raises:
        OSError, duckdb.Error: it cannot be read.
    """
    at = file.stat()
    return dict(_columns(str(file), at.st_size, at.st_mtime_ns))


def page(file: Path, *, column: str | None = None, offset: int = 0, limit: int = PAGE) -> CellPage:
    """Some of a file's differing cells, always the same for the same arguments; never more than a page is held.

    Args:
        file: with the columns key, column, source and target.
        column: only cells of this column.
        offset: cells to pass over; beyond the end it is the last page's.
        limit: cells at most, up to 1000.
    """
    limit = max(1, min(limit, 1000))
    try:
        counts = columns(file)
        total = sum(counts.values()) if column is None else counts.get(column, 0)
        offset = max(0, min(offset, (total - 1) // limit * limit if total else 0))
        where = "" if column is None else f'WHERE "column" = {literal(column)}'
        values = ", ".join(
            f"substr({name}, 1, {LONGEST}), coalesce(length({name}), 0)" for name in ("source", "target")
        )
        with _connection() as connection:
            rows = connection.execute(
                f'SELECT substr(key, 1, {LONGEST}), "column", {values} FROM read_parquet({literal(str(file))}) {where} '
                f"LIMIT {limit} OFFSET {offset}"
            ).fetchall()
    except (OSError, duckdb.Error) as error:
        return CellPage(
            (), 0, 0, f"{file.name} cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        )
    return CellPage(tuple(CellRow(k, c, s, t, sl, tl) for k, c, s, sl, t, tl in rows), total, offset)


def names(file: Path) -> list[str]:
    """The columns of a file's cells, those with most first; none where it cannot be read, which `page` tells."""
    try:
        return list(columns(file))
    except (OSError, duckdb.Error):
        return []


def pages(file: Path, *, column: str | None = None, limit: int = PAGE) -> int:
    """How many pages there are, at least one."""
    try:
        counts = columns(file)
    except (OSError, duckdb.Error):
        return 1
    total = sum(counts.values()) if column is None else counts.get(column, 0)
    return max(1, -(-total // limit))


@lru_cache(maxsize=256)
def _columns(file: str, size: int, changed: int) -> tuple[tuple[str, int], ...]:
    with _connection() as connection:
        rows = connection.execute(
            f'SELECT "column", count(*) FROM read_parquet({literal(file)}) GROUP BY 1 ORDER BY 2 DESC, 1'
        ).fetchall()
    return tuple((str(name), int(count)) for name, count in rows)


def _connection() -> duckdb.DuckDBPyConnection:
    connection = duck.connect(memory=MEMORY, threads=1)
    # LIMIT and OFFSET are pages of one order only where the file's own is kept.
    connection.execute("SET preserve_insertion_order = true")
    return connection


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _reported(folder: Path, path: Path) -> Verification:
    name = path.relative_to(folder).with_suffix("").as_posix()
    target = path.stem.rpartition("verify-")[2]
    beside = path.with_suffix("")
    link = f"{name}/report.html" if (beside / "report.html").exists() else ""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        tables = tuple(_table(each, beside) for each in value["tables"])
        return Verification(
            name, str(value.get("target") or target), str(value["verdict"]), str(value.get("lsn", "")), tables, link
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Verification(name, target, problem=f"the report cannot be read: {type(error).__name__}", page=link)


def _table(value: Mapping[str, Any], beside: Path) -> VerifiedTable:
    named = value.get("cells_file")
    # The report names the file where it was written; a run that was copied has it beside the report.
    cells = beside / Path(str(named)).name if named else None
    there = cells is not None and cells.exists()
    counts = {key: int(value.get(key) or 0) for key in ("missing", "extra", "changed", "changed_since")}
    found = [(each.get("name"), each.get("column")) for each in value.get("schema_findings") or ()]
    return VerifiedTable(
        f"{value['schema']}.{value['name']}",
        str(value["verdict"]),
        value.get("rows_source"),
        value.get("rows_target"),
        missing=counts["missing"],
        extra=counts["extra"],
        changed=counts["changed"],
        changed_since=counts["changed_since"],
        definitions=tuple(f"{name} {column}" if column else str(name) for name, column in found),
        columns=tuple(_changed(value.get("columns") or {})),
        cells=cells if there else None,
        lost=cells is not None and not there,
    )


def _changed(value: Mapping[str, Any]) -> Iterator[Column]:
    for name, found in sorted(value.items(), key=lambda item: -int(item[1].get("changed") or 0)):
        if found.get("changed"):
            yield Column(name, int(found["changed"]), str(found.get("diagnosis") or ""))


def _unreported(folder: Path, path: Path) -> Verification:
    """What a verification leaves that could not write its JSON, for a full disk or a kill: the page and the files."""
    tables = tuple(
        VerifiedTable(file.name.removesuffix(_CELLS), "different", cells=file)
        for file in sorted(path.parent.glob(f"*{_CELLS}"))
    )
    name = path.parent.relative_to(folder).as_posix()
    return Verification(
        name, "", "different" if tables else "", "", tables, f"{name}/report.html",
        "" if tables else "no JSON report lies beside this page, so its verdict is only there",
    )  # fmt: skip
