"""What a verification found, as other programs read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from helpers.verify.data_quality.figures import Figures
from helpers.verify.data_quality.rules.result import RuleResult
from helpers.verify.diagnosis import Diagnosis

Verdict = Literal["equal", "different", "refused"]

CELLS_IN_JSON = 1000
"""The rest is in the Parquet file that `cells_file` names."""


@dataclass(frozen=True)
class SchemaFinding:
    """One way in which a table's definition in the target is not what the source's asks for."""

    name: str
    severity: Literal["error", "warning"]
    column: str | None
    expected: str | None
    found: str | None

    def as_dict(self) -> dict[str, Any]:
        """As in the contract."""
        return {key: getattr(self, key) for key in ("name", "severity", "column", "expected", "found")}


@dataclass(frozen=True)
class Cell:
    """One value that differs; a row that one side lacks differs in every cell that is not NULL.

    Attributes:
        row: the same number for the cells of one row; it says nothing else.
        on: which sides have the row.
        again: whether the one side that has it holds it more than once.
    """

    key: dict[str, str | None] | None
    column: str
    source: str | None
    target: str | None
    row: int = 0
    on: Literal["both", "source", "target"] = "both"
    again: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As in the contract."""
        return {"key": self.key, "column": self.column, "source": self.source, "target": self.target}


@dataclass(frozen=True)
class Copies:
    """Rows that one side lacks and the other holds more than once: the same key, or without one the same row."""

    source: int = 0
    target: int = 0


@dataclass(frozen=True)
class TableReport:
    """The findings for one table; counts are rows.

    Attributes:
        missing: only in the source.
        extra: only in the target.
        changed: in both, by key, with other values; without a key always 0.
        changed_cells: by column, for every column compared.
        cells: the first differing cells.
        cells_file: a Parquet file with all of them, or None where there are none.
        digest: of the source's rows, in any order: 16 hexadecimal digits, or empty where cells were not compared.
        fetched: rows read from both sides to be compared cell by cell.
        diagnoses: by column, what explains its changed cells, the best explanation first.
        unexplained: by column, why no explanation of its changed cells could be looked for.
        selection: which rows were compared, in words; empty for all.
        copies: of the missing and the extra rows.
    """

    schema: str
    name: str
    verdict: Verdict
    rows_source: int | None = None
    rows_target: int | None = None
    missing: int = 0
    extra: int = 0
    changed: int = 0
    changed_since: int = 0
    schema_findings: tuple[SchemaFinding, ...] = ()
    changed_cells: dict[str, int] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    cells_file: str | None = None
    seconds: float = 0.0
    method: str = ""
    digest: str = ""
    fetched: int = 0
    diagnoses: dict[str, tuple[Diagnosis, ...]] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)
    selection: str = ""
    copies: Copies = field(default_factory=Copies)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def rows_differ(self) -> bool:
        """Whether any row does, for whatever reason."""
        return bool(self.missing or self.extra or self.changed or self.changed_since)

    @property
    def columns_changed(self) -> list[tuple[str, int, float]]:
        """The columns with changed cells, those with most first: name, changed cells, and their share of the source's rows."""
        changed = sorted(((n, name) for name, n in self.changed_cells.items() if n), key=lambda each: -each[0])
        return [(name, n, min(1.0, n / (self.rows_source or 1))) for n, name in changed]

    @property
    def differences(self) -> str:
        """In a few words what differs, empty where nothing does."""
        counts = {
            "missing": self.missing,
            "extra": self.extra,
            "changed": self.changed,
            "changed since": self.changed_since,
        }
        copies = {"missing": self.copies.source, "extra": self.copies.target}
        words = [
            f"{count:,} {name}{f' ({copies[name]:,} there more than once)' if copies.get(name) else ''}"
            for name, count in counts.items()
            if count
        ]
        words += [f"{f.name}{f' {f.column}' if f.column else ''}" for f in self.schema_findings]
        if not words and self.rows_source != self.rows_target:
            words.append(f"{self.rows_source:,} rows against {self.rows_target:,}")
        return ", ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """As in the contract."""
        return {
            "schema": self.schema,
            "name": self.name,
            "verdict": self.verdict,
            "rows_source": self.rows_source,
            "rows_target": self.rows_target,
            "missing": self.missing,
            "extra": self.extra,
            "changed": self.changed,
            "changed_since": self.changed_since,
            "schema_findings": [finding.as_dict() for finding in self.schema_findings],
            "columns": {name: self._column(name, changed) for name, changed in self.changed_cells.items()},
            "cells": [cell.as_dict() for cell in self.cells[:CELLS_IN_JSON]],
            "cells_file": self.cells_file,
            "seconds": round(self.seconds, 3),
            "method": self.method,
            "digest": self.digest,
            "fetched": self.fetched,
        }

    def _column(self, name: str, changed: int) -> dict[str, Any]:
        found = self.diagnoses.get(name, ())
        words = "; ".join(diagnosis.words for diagnosis in found) or self.unexplained.get(name)
        return {"changed": changed, "diagnosis": words, "diagnoses": [diagnosis.as_dict() for diagnosis in found]}


@dataclass(frozen=True)
class Business:
    """What a check of the data's quality found beside the verdict of each table."""

    rules: tuple[RuleResult, ...]
    figures: Figures

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"rules": [result.as_dict() for result in self.rules], "figures": self.figures.as_dict()}


@dataclass(frozen=True)
class Report:
    """A whole verification.

    Attributes:
        business: rules and figures, where they were checked instead of the cells.
        left_out: what of the source was in no comparison, and why.
    """

    lsn: str
    lsn_note: str
    source: str
    target: str
    tables: tuple[TableReport, ...]
    business: Business | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst of the tables' verdicts; a verification of nothing proves nothing."""
        verdicts = {table.verdict for table in self.tables}
        if "refused" in verdicts or not verdicts:
            return "refused"
        return "different" if "different" in verdicts else "equal"

    @property
    def equal(self) -> bool:
        """Whether every table is equal."""
        return self.verdict == "equal"

    @property
    def rows(self) -> int:
        """Rows of the source that were looked at."""
        return sum(table.rows_source or 0 for table in self.tables)

    @property
    def cells(self) -> int:
        """Cells of the source that were compared."""
        return sum((table.rows_source or 0) * len(table.changed_cells) for table in self.tables)

    def as_dict(self) -> dict[str, Any]:
        """As in the contract."""
        return {
            "verdict": self.verdict,
            "lsn": self.lsn,
            "lsn_note": self.lsn_note,
            "source": self.source,
            "target": self.target,
            "left_out": dict(self.left_out),
            "tables": [table.as_dict() for table in self.tables],
            **(self.business.as_dict() if self.business else {}),
        }
