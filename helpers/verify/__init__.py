"""Do source and target hold the same values, cell by cell, at one known point in the source's log?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from helpers import log
from helpers.best_effort import best_effort
from helpers.engines import engine, texts
from helpers.engines.base import DuckDB, Ends, Side
from helpers.engines.columns import TablePlan
from helpers.engines.postgres.rows import PostgresSide
from helpers.engines.stage.rows import ManifestSide, StageSide
from helpers.errors import LoadError, MigrationError, SourceRefused, UsageError
from helpers.model.places import TargetTable
from helpers.platforms import duck, postgres
from helpers.platforms.scratch_folder import scratch_folder
from helpers.progress import Progress
from helpers.source import held_snapshots
from helpers.source import snapshot as snapshots
from helpers.verify.business import check_business
from helpers.verify.plan import Check, Options, SourceName, TargetName, VerifyPlan, planned, target_table
from helpers.verify.report import Report, SchemaFinding, TableReport
from helpers.verify.selection import Selection
from helpers.verify.several import Workplace, found_of_each
from helpers.verify.tables import as_counted, ask_target, compare_table


def verify(plan: VerifyPlan, *, progress: Progress | None = None) -> Report:
    """Compares every table of `plan`.

    Raises:
        ConnectionFailed: a side cannot be reached; a difference is never an error but part of the report.
    """
    if plan.check == "data-quality":
        return check_business(plan, progress=progress)
    with ExitStack() as stack:
        report = _compared(plan, stack, progress)
        ended = stack.pop_all()
    with best_effort("the sessions of the verification did not end as they should"):
        ended.close()
    return report


def rehearse(plan: VerifyPlan) -> None:
    """Asks the target what a verification asks that finds no difference; within a listing that withholds, no row is read for it.

    Where tables differ, further queries of the same form read the rows that do.

    Raises:
        ConnectionFailed: the target cannot be reached.
        UsageError: the check has no statements of its own.
    """
    if plan.check == "data-quality":
        raise UsageError(
            "list the statements", on="--check data-quality", why="its questions follow from what the tables hold",
            next_step="list those of another check, or run it: it only reads",
        )  # fmt: skip
    with ExitStack() as stack:
        target = _target(plan, stack)
        for table in plan.tables:
            ask_target(plan, table, target)
        if plan.complete and plan.check != "row-counts":
            target.tables()


def release_when_proved(plan: VerifyPlan, report: Report, *, everything: bool) -> None:
    """Lets go the export's snapshot once every cell of every table in it was found equal: nobody needs it any more."""
    if report.equal and plan.check == "full" and everything and plan.snapshot:
        held_snapshots.release_named(plan.snapshot, postgres.address(plan.source))


def _compared(plan: VerifyPlan, stack: ExitStack, progress: Progress | None) -> Report:
    spill = stack.enter_context(scratch_folder("verify"))
    source, failed = _source(plan, stack)
    place = Workplace(Ends(source, _target(plan, stack), _stage(plan)), _rows_here(spill, stack))

    def another(own: ExitStack) -> Workplace:
        ends = Ends(
            _source_alone(plan, source, own),
            engine(plan.target).open_another(plan.place, place.ends.target, own),
            _stage(plan),
        )
        return Workplace(ends, _rows_here(Path(tempfile.mkdtemp(dir=spill)), own))

    def compare(here: Workplace, table: TablePlan) -> TableReport:
        if not duck.answers(here.connection):
            here.connection = _rows_here(Path(tempfile.mkdtemp(dir=spill)), stack)
        return _found(plan, table, here, failed.get(str(table.table)))

    found: dict[int, TableReport] = {}
    done = 0
    if progress and plan.tables:
        progress(done, plan.rows, f"comparing {plan.tables[0].table}")
    for table, report in found_of_each(plan.tables, engine(plan.target).sessions(plan.place), place, another, compare):
        found[id(table)] = report
        log.event(
            "table-verified",
            table=str(table.table),
            verdict=report.verdict,
            missing=report.missing,
            extra=report.extra,
            changed=report.changed,
        )
        done += table.rows
        if progress:
            left = next((each for each in plan.tables if id(each) not in found), None)
            progress(done, plan.rows, f"comparing {left.table}" if left else "comparing")
    reports = [found[id(table)] for table in plan.tables]
    ends = place.ends
    reports += [
        TableReport(each.schema_, each.name, "refused", method=f"not compared: set aside by the export: {each.why}")
        for each in plan.failed
    ]
    reports += _added_tables(plan, ends.target)
    if progress:
        progress(plan.rows, plan.rows, "compared")
    tables = tuple(map(_refused_without_rows, reports) if _compared_nothing(reports) else reports)
    return Report(plan.lsn, plan.lsn_note, ends.source.name, ends.target.name, tables, left_out=plan.left_out)


def _found(plan: VerifyPlan, table: TablePlan, here: Workplace, failed: SourceRefused | None) -> TableReport:
    try:
        if failed:
            raise failed
        return as_counted(
            table, here.ends.source, compare_table(plan, table, here.ends, here.connection), plan.excluded
        )
    except LoadError as error:
        if error.transient:
            raise
        return _unreadable(table, error)
    except SourceRefused as error:
        if not plan.sets_aside:
            raise
        if isinstance(here.ends.source, PostgresSide):
            here.ends.source.renew()
        return _unreadable(table, error)


def _unreadable(table: TablePlan, error: MigrationError) -> TableReport:
    """A table that a side has and cannot give is refused; the others are compared all the same."""
    method = f"not compared: could not {error.what}: {error.why} → {error.next_step}"
    return TableReport(table.table.schema, table.table.name, "refused", method=method)


def _rows_here(spill: Path, stack: ExitStack) -> DuckDB:
    """Where rows are compared on this machine."""
    connection = stack.enter_context(duck.connect(spill=spill))
    texts.register(connection)
    return connection


def _compared_nothing(reports: Sequence[TableReport]) -> bool:
    """Whether a condition left no row of any table: a slip in it must not read as an equal target."""
    return bool(reports) and all(
        t.selection and t.verdict == "equal" and (t.rows_source, t.rows_target) == (0, 0) for t in reports
    )


def _refused_without_rows(report: TableReport) -> TableReport:
    return replace(report, verdict="refused", method=f"{report.method}: no row is so, and nothing was compared")


def _source(plan: VerifyPlan, stack: ExitStack) -> tuple[Side, Mapping[str, SourceRefused]]:
    """The source, and the error of each table that it does not give, where the plan sets such aside."""
    if plan.source_name == "manifest":
        assert plan.bucket
        assert plan.manifest
        return ManifestSide(plan.bucket, plan.manifest), {}
    tables = [p.table for p in plan.tables if not p.refused]
    options = plan.settings.export
    cursor = stack.enter_context(snapshots.reading(plan.source, plan.snapshot))
    failed: Mapping[str, SourceRefused] = {}
    if plan.sets_aside:
        locked, failed = snapshots.lock_each(cursor, tables, timeout_seconds=options.lock_timeout_seconds)
        tables = list(locked)
    else:
        snapshots.lock(cursor, tables, timeout_seconds=options.lock_timeout_seconds)
    side = PostgresSide(plan.source, plan.snapshot, tables, options, witness=plan.options.witness)
    return stack.enter_context(side), failed


def _source_alone(plan: VerifyPlan, source: Side, stack: ExitStack) -> Side:
    """The source once more, in the same snapshot, with one reader."""
    return stack.enter_context(source.alone()) if isinstance(source, PostgresSide) else source


def _target(plan: VerifyPlan, stack: ExitStack) -> Side:
    side: Side = engine(plan.target).open(plan.place, stack)
    return side


def _stage(plan: VerifyPlan) -> Side | None:
    """What the source held at the export's snapshot, where the source is now read in another one."""
    if plan.same_snapshot or not engine(plan.target).as_staged or plan.manifest is None or plan.bucket is None:
        return None
    return StageSide(plan.bucket, plan.manifest)


def _added_tables(plan: VerifyPlan, target: Side) -> list[TableReport]:
    """Tables of the target that the source does not have; not looked for where only some tables were asked for."""
    if not plan.complete or plan.check == "row-counts":
        return []
    known = {p.there for p in plan.tables}
    places = (target_table(plan.settings, plan.options, plan.target, *name.split(".", 1)) for name in plan.excluded)
    excluded = {str(table).lower() for table in places}  # a catalog may keep their names in small letters
    finding = SchemaFinding("table-added", "error", None, None, "a table that the source does not have")
    return [
        TableReport(*table, "different", 0, count, extra=count or 0, schema_findings=(finding,), method=method)
        for table in sorted(target.tables())
        if table not in known and str(table).lower() not in excluded
        for count, method in (_counted(target, table),)
    ]


def _counted(target: Side, table: TargetTable) -> tuple[int | None, str]:
    """Rows of a table that is nobody's business here: one that cannot be read is told, and keeps nothing else from being so."""
    try:
        return target.rows(table), "schema"
    except LoadError as error:
        return None, f"schema; its rows cannot be counted: {error.why}"


__all__ = [
    "Check",
    "Options",
    "Report",
    "SchemaFinding",
    "Selection",
    "SourceName",
    "TargetName",
    "VerifyPlan",
    "planned",
    "release_when_proved",
    "verify",
]
