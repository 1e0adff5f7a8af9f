"""Brings back to the source what was written to the target after the cutover, or refuses before anything is changed.

The source was frozen at the cutover and its last manifest says what it held then. As long as it still holds exactly that,
every difference between source and target is a write to the target since:

    source (1, a) (2, b) (3, c)      target (1, a) (2, B) (4, d)
    → update 2: b → B, delete 3, insert 4

They are applied by key in one transaction, each only if the source's row is still the one compared, and are read back before the
commit: one value that the source's column rounds, truncates or prints differently rolls everything back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg2
import pyarrow.parquet as pq

from helpers import verify
from helpers.cutover import rollback_statements
from helpers.errors import SourceRefused
from helpers.model import manifest
from helpers.model.catalog import Table
from helpers.model.manifest import Manifest, StagedColumn, StagedTable
from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings, Source
from helpers.source import freeze
from helpers.source.catalog import read_catalog
from helpers.verify import Report
from helpers.verify.report import TableReport

Kind = Literal["insert", "update", "delete"]
KINDS: tuple[Kind, ...] = ("insert", "update", "delete")

DOING = "bring back what was written to the target"


@dataclass(frozen=True)
class RowChange:
    """One row of the source that the target has otherwise.

    Attributes:
        key: by column, as PostgreSQL prints it.
        new: what the row is to hold: every value that is not NULL of an insert, the changed ones of an update.
        old: what the source holds: the changed values of an update, every value that is not NULL of a delete.
    """

    kind: Kind
    key: Mapping[str, str | None]
    new: Mapping[str, str | None] = field(default_factory=dict)
    old: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TableChanges:
    """What one table of the source gets."""

    table: Table
    columns: tuple[StagedColumn, ...]
    rows: tuple[RowChange, ...]

    def of(self, kind: Kind) -> tuple[RowChange, ...]:
        """Those of one kind."""
        return tuple(row for row in self.rows if row.kind == kind)

    def __str__(self) -> str:
        return f"{self.table.schema}.{self.table.name}"


@dataclass(frozen=True)
class RollbackPlan:
    """What would be brought back; nothing was changed to make it.

    Attributes:
        lsn: of the source as it was compared.
        tables: those that differ and can be brought back.
        counts: rows of each table of the target, which the source must have afterwards.
        refused: why nothing may be brought back, a sentence each; empty where all of it may.
    """

    source: Source
    lsn: str
    tables: tuple[TableChanges, ...]
    counts: Mapping[str, int]
    refused: tuple[str, ...]

    def rows(self, kind: Kind) -> int:
        """Rows of one kind in all tables."""
        return sum(len(table.of(kind)) for table in self.tables)

    @property
    def changes(self) -> int:
        """Rows in all."""
        return sum(self.rows(kind) for kind in KINDS)


def plan_rollback(
    settings: Settings, final: str, *, cells_folder: Path, progress: Progress | None = None
) -> RollbackPlan:
    """Compares the source with the final manifest, then the target with the source.

    Args:
        final: name of the export that the cutover ended with.
        cells_folder: where the files of differing cells go.

    Raises:
        StageError: the stage has no manifest.
        ConnectionFailed: a side does not answer.
    """
    bucket = Bucket.open(settings.stage)
    written = manifest.read(bucket)
    refused = list(_not_final(written, final))
    moved = _compared(settings, "stage", cells_folder / "source-since-cutover", progress)
    refused += [f"{t} of the source is no longer what was cut over: {t.differences or t.method}" for t in moved.tables if t.verdict != "equal"]  # fmt: skip
    report = _compared(settings, settings.main_target.adapter, cells_folder / "target-since-cutover", progress)
    tables = []
    with postgres.reading(settings.source) as cursor:
        known = {(t.schema, t.name): t for t in read_catalog(cursor, schemas=settings.source.schemas).tables}
        for found in (t for t in report.tables if t.verdict != "equal"):
            table, staged = known.get((found.schema, found.name)), written.table(found.schema, found.name)
            reasons = list(_unfit(found, table, staged))
            if table is not None and staged is not None and not reasons:
                changes = TableChanges(table, staged.columns, tuple(_rows(found, table)))
                reasons += _unfit_rows(changes)
                reasons += rollback_statements.triggers(cursor, table)
                tables.append(changes)
            refused += reasons
    counts = {str(t): t.rows_target or 0 for t in report.tables}
    return RollbackPlan(settings.source, report.lsn, tuple(tables), counts, tuple(refused))


def try_out(plan: RollbackPlan) -> None:
    """Applies `plan` in a transaction that is rolled back: what the source would refuse, it refuses now.

    Raises:
        SourceRefused: with the reason; nothing was changed.
    """
    _apply(plan, commit=False)


def bring_back(plan: RollbackPlan) -> dict[str, dict[Kind, int]]:
    """Applies `plan` in one transaction, and moves the sequences behind the keys that came back.

    Returns:
        By table, the rows inserted, updated and deleted.

    Raises:
        SourceRefused: the plan says why not, the source is not frozen, a row is not as it was compared, or a value does not
            fit; nothing was changed.
    """
    return _apply(plan, commit=True)


def _apply(plan: RollbackPlan, *, commit: bool) -> dict[str, dict[Kind, int]]:
    if plan.refused:
        raise _refused(
            plan.source, "; ".join(plan.refused), "settle what is named by hand, then run the same command again"
        )
    if not freeze.is_frozen(plan.source):
        raise _refused(
            plan.source, "the source takes writes", "freeze it first; a write in between would be lost or mixed"
        )
    with closing(postgres.connect(plan.source, settings=freeze.WRITES)) as connection:
        try:
            with connection.cursor() as cursor:
                done = _applied(cursor, plan)
                if commit:
                    for table in plan.tables:
                        rollback_statements.advance_sequences(cursor, table.table)
            if commit:
                connection.commit()
            else:
                connection.rollback()
            return done
        except psycopg2.Error as error:
            with suppress(psycopg2.Error):
                connection.rollback()
            if told := faults.known(error):
                raise told.told(DOING, on=postgres.address(plan.source), why=faults.said(error)) from None
            raise _refused(
                plan.source,
                faults.said(error),
                "settle the row that the message names, then run the same command again",
            ) from None


def _applied(cursor: Any, plan: RollbackPlan) -> dict[str, dict[Kind, int]]:
    """Children go before their parents, and come after them."""
    tables = {t.table.oid: t for t in plan.tables}
    order = [tables[oid] for oid in rollback_statements.parents_first(cursor, list(tables))]
    for table in order:
        cursor.execute(
            f"LOCK TABLE {postgres.identifier(table.table.schema, table.table.name)} IN SHARE ROW EXCLUSIVE MODE"
        )
    done: dict[str, dict[Kind, int]] = {str(table): dict.fromkeys(KINDS, 0) for table in order}
    beside = {str(t): rollback_statements.beside(cursor, t.table, t.columns, t.of("update")) for t in order}
    turns: list[tuple[Kind, list[TableChanges]]] = [("delete", order[::-1]), ("update", order), ("insert", order)]
    for kind, ones in turns:
        for table in ones:
            rows = table.of(kind)
            done[str(table)][kind] = touched = rollback_statements.run(cursor, kind, table.table, table.columns, rows)
            if touched != len(rows):
                raise _refused(
                    plan.source,
                    f"of {len(rows):,} rows of {table} to {kind}, {touched:,} are as they were compared",
                    "somebody wrote to the source meanwhile: find out who, then run the same command again",
                )
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for table in order:
        kept = [row for row in table.rows if row.kind != "delete"]
        if wrong := rollback_statements.first_that_differs(cursor, table.table, table.columns, kept):
            raise _refused(
                plan.source, f"a value does not fit: {table}, {wrong}", "correct the value in the target, then run the same command again",
            )  # fmt: skip
        after = rollback_statements.beside(cursor, table.table, table.columns, table.of("update"))
        for key, held in beside[str(table)].items():
            if other := [name for name, value in held.items() if after.get(key, {}).get(name) != value]:
                raise _refused(
                    plan.source, f"{table}, key {json.dumps(key, ensure_ascii=False)}: {', '.join(other)} would change with it",
                    "the source computes it from what came back, and the target did not: correct the target, then run it again",
                )  # fmt: skip
    for name, expected in plan.counts.items():
        if (found := rollback_statements.count(cursor, name)) is not None and found != expected:
            raise _refused(
                plan.source, f"{name} would have {found:,} rows, and the target has {expected:,}",
                "a rule, a cascade or another session changed rows beside these; look at the table's definition",
            )  # fmt: skip
    return done


def _not_final(written: Manifest, final: str) -> Iterator[str]:
    if written.export != final:
        yield f"the stage holds the export {written.export}, and the cutover ended with {final}"


def _compared(settings: Settings, target: verify.TargetName, folder: Path, progress: Progress | None) -> Report:
    with verify.planned(settings, target=target, cells_folder=folder, progress=progress) as plan:
        return verify.verify(plan, progress=progress)


def _unfit(found: TableReport, table: Table | None, staged: StagedTable | None) -> Iterator[str]:
    """Why the differences of a table cannot be brought back."""
    if table is None or staged is None:
        yield f"{found} is a table of the target that the source does not have: {found.rows_target or 0:,} rows"
        return
    if staged.where or staged.omitted or staged.masked:
        yield f"{found} moved in part or masked, so that a row of the target is none of the source"
    if found.verdict == "refused":
        yield f"{found} was not compared: {found.method}"
    for finding in (f for f in found.schema_findings if f.severity == "error"):
        yield f"{found} has another definition in the target: {finding.name} {finding.column or ''}".rstrip()
    if found.changed_since:
        yield f"{found} was changed in the source since the cutover: {found.changed_since:,} rows"
    if not table.key:
        yield f"{found} has no key, so that a changed row cannot be told from a new one: {found.differences}"


def _rows(found: TableReport, table: Table) -> Iterator[RowChange]:
    """The rows behind the differing cells: a row that is on one side alone differs in its key, too."""
    if found.cells_file is None:
        return
    rows: dict[str, list[tuple[str, str | None, str | None]]] = {}
    cells = pq.read_table(found.cells_file)
    columns = [cells.column(name).to_pylist() for name in ("key", "column", "source", "target")]
    for text, column, source, target in zip(*columns, strict=True):
        rows.setdefault(text, []).append((column, source, target))
    for text, changed in rows.items():
        key: dict[str, str | None] = json.loads(text)
        names = [column for column, _, _ in changed]
        if len(names) != len(set(names)):
            # The target enforces no key, so that it may hold one twice.
            yield RowChange("insert", key, {"": None})
            continue
        of_key = [(source, target) for column, source, target in changed if column in table.key]
        if not of_key:
            yield RowChange("update", key, {c: t for c, _, t in changed}, {c: s for c, s, _ in changed})
        elif all(source is None for source, _ in of_key):
            yield RowChange("insert", key, {c: t for c, _, t in changed})
        else:
            yield RowChange("delete", key, {}, {c: s for c, s, _ in changed})


def _unfit_rows(changes: TableChanges) -> Iterator[str]:
    masked = {c.name for c in changes.columns if c.flag_of is not None or c.policy not in (None, "text")}
    for row in changes.rows:
        if "" in row.new:
            yield f"{changes} has the key {json.dumps(dict(row.key), ensure_ascii=False)} twice in the target"
        if names := sorted(masked & {*row.new, *row.old}):
            yield (
                f"{changes} differs in {', '.join(names)}, which the export's policy wrote differently from the source: "
                f"key {json.dumps(dict(row.key), ensure_ascii=False)}"
            )
            return


def _refused(source: Source, why: str, next_step: str) -> SourceRefused:
    return SourceRefused(DOING, on=postgres.address(source), why=f"{why}; nothing was changed", next_step=next_step)
