"""One table on both sides: digests by segment, then the rows of the segments that differ, cell by cell.

source   3:91c0 5:07aa 4:e2f1        one scan a side
target   3:91c0 5:3b12 4:e2f1
                ^^^^^^ only the rows of this segment are fetched, from both sides, and compared exactly
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from helpers.digests import Method, StageChanged, Sums, segments_of
from helpers.engines.base import DuckDB, Ends, NoDigest, Side
from helpers.engines.columns import Segments, TablePlan
from helpers.engines.postgres.rows import PostgresSide
from helpers.engines.shapes import TableShape
from helpers.engines.stage.rows import StageSide
from helpers.engines.warehouse import Warehouse
from helpers.model import manifest as manifests
from helpers.platforms import statements
from helpers.platforms.postgres import literal
from helpers.verify import cells, since
from helpers.verify.diagnosis import diagnose
from helpers.verify.plan import VerifyPlan
from helpers.verify.report import TableReport, Verdict
from helpers.verify.schema import compare_schema, counterparts, not_compared
from helpers.verify.selection import confidence

MANY_COLUMNS, MANY_ROWS = 200, 500_000
"""Beyond these, the rows only where all are compared, one thread has to do."""
MEMORY, MEMORY_IF_WIDE, MEMORY_IF_LONG = "512MB", "2GB", "460MB"
"""Of DuckDB, where rows are compared; the rest of them waits on disk."""

SHARE_WORTH_CHOOSING = 0.5
"""Where more of the segments differ, all rows are fetched: choosing them would cost more than it saves."""

_WORDS = {
    "native": "DuckDB's hash of every row, over both sides' values",
    "canonical": "MD5 of every row's canonical form",
}

_CONTRADICTIONS = {
    "manifest": "the digests kept at the export are of other rows than the stage holds: its files were changed since; export again",
    "live": "the digests differ and no cell does: the target changed between two readings (run the same command again), or "
    "its digest is at fault (report it)",
}


def compare_table(plan: VerifyPlan, table: TablePlan, ends: Ends, connection: DuckDB) -> TableReport:
    """Compares one table as deeply as the plan asks.

    Args:
        connection: where rows are compared; tables in it are replaced.

    Raises:
        ConnectionFailed: a side cannot be reached; a difference is never an error but part of the report.
    """
    started = time.monotonic()
    found = ends.target.shape(table)
    mapping = {c.name: c.there for c in table.columns if c.there != c.name}
    findings = compare_schema(table.expected, found, mapping=mapping)
    nothing = TableReport(table.table.schema, table.table.name, "refused")

    def report(verdict: Verdict, method: str, compared: TableReport = nothing) -> TableReport:
        return replace(
            compared, verdict=verdict,
            schema_findings=findings, method="; ".join(filter(None, (method, table.table.in_part))), seconds=time.monotonic() - started, selection=table.selection,
        )  # fmt: skip

    if table.refused:
        return report("refused", f"not compared: {'; '.join(table.refused)}")
    wrong = any(finding.severity == "error" for finding in findings)
    if plan.check == "schema":
        untold = not_compared(table.expected, found, mapping=mapping)
        told = f"schema; it is not told, and so not compared: {'; '.join(untold)}" if untold else "schema"
        return report("different" if wrong else "equal", told)
    if found is None:
        rows = ends.source.count(table)
        return report("different", "schema", replace(nothing, rows_source=rows, rows_target=0, missing=rows))
    if table.selection and (changed := _not_as_expected(table, found)):
        why = f"not compared: {changed}, so that other rows could be chosen there"
        return report("different" if wrong else "refused", why)
    common = _common(table, counterparts(table.expected, found, mapping=mapping))
    if plan.check == "row-counts" or not common.columns:
        ours, theirs = ends.source.count(table), ends.target.count(table)
        same = ours == theirs and bool(common.columns)
        counts = replace(
            nothing, rows_source=ours, rows_target=theirs, missing=max(0, ours - theirs), extra=max(0, theirs - ours)
        )
        method = "row counts" if common.columns else "row counts: no column is on both sides"
        return report("equal" if same else "different", method, counts)
    compared, method, contradiction = _compare(plan, common, found, ends, connection)
    if contradiction:
        # Never taken for equal: the digests say that the sides differ, and nobody can say where.
        return report(
            "different" if plan.source_name == "manifest" else "refused", f"{method}; {contradiction}", compared
        )
    differs = wrong or compared.rows_differ
    if compared.changed_since:
        method += f"; {compared.changed_since:,} rows differ because the source changed them after the export"
    if table.selection:
        method += f"; only {table.selection}"
    if table.sample and not differs:
        if not compared.rows_source:
            return report("refused", f"{method}: it has no rows and says nothing")
        method += f": {confidence(compared.rows_source)}"
    return report("different" if differs else "equal", f"{method}; in {plan.lsn_note}", compared)


def ask_target(plan: VerifyPlan, table: TablePlan, target: Side) -> None:
    """Asks the target what `compare_table` asks of a table that is there as it should be, where the target computes."""
    found = target.shape(table)
    if table.refused or plan.check == "schema" or found is None or not isinstance(target, Warehouse):
        return
    mapping = {c.name: c.there for c in table.columns if c.there != c.name}
    common = _common(table, counterparts(table.expected, found, mapping=mapping))
    if plan.check == "row-counts" or not common.columns:
        target.count(common)
    else:
        with statements.unread():
            target.digest(common, "canonical", segments_of(table.rows, table.key, "canonical"))


def as_counted(table: TablePlan, source: Side, report: TableReport, excluded: Collection[str] = ()) -> TableReport:
    """The report, refused where the source's own `SELECT count(*)` answers with rows that nothing accounts for.

    What was read for the comparison was read by parts, each by its name; the count is asked as a user asks it. Only tables
    that inherit from the table, which move by themselves or are named as left out, may make a difference. Where one of them
    is foreign or `excluded`, nothing is asked: the count would read it.

    Raises:
        ConnectionFailed: the source cannot be reached.
    """
    counted = isinstance(source, PostgresSide) and report.rows_source is not None and report.verdict == "equal"
    unasked = any(heir.elsewhere or heir.name in excluded for heir in table.table.heirs)
    if not counted or table.selection or table.table.kind == "v" or unasked:
        return report
    assert isinstance(source, PostgresSide)
    found = source.counted(table)
    if found == report.rows_source:
        return report
    return replace(
        report,
        verdict="refused",
        method=f"SELECT count(*) FROM {table.table} answers {found:,} rows without those that it inherits, and "
        f"{report.rows_source:,} were compared: a damaged index or catalog of the source shows rows in one way and not in "
        "another (see amcheck and REINDEX)",
    )


def _common(table: TablePlan, names: Mapping[str, str]) -> TablePlan:
    """The plan with those columns that the target has, under the names that they have there."""
    columns = tuple(replace(c, there=names[c.name]) for c in table.columns if c.name in names)
    return replace(table, columns=columns)


def _not_as_expected(table: TablePlan, found: TableShape) -> str:
    """Which of the columns that choose the rows is not as planned in the target, or empty."""
    types = {column.name: column.type for column in found.columns}
    for column in table.columns:
        if column.name in table.selecting and types.get(column.there) != column.type:
            return f"{column.name} is {types.get(column.there, 'missing')} in the target and not {column.type}"
    return ""


def _compare(
    plan: VerifyPlan, table: TablePlan, found: TableShape, ends: Ends, connection: DuckDB
) -> tuple[TableReport, str, str]:
    """What differs, how it was found, and why neither counts."""
    _limit(connection, table, all_rows=False)
    file = plan.cells_folder / f"{manifests.folder(table.table.schema, table.table.name)}.cells.parquet"
    method, why_not = _method(plan, table, found, ends)
    if method is not None:
        ours, theirs, method, why_not = _digests(table, ends, method)
    if method is None:
        compared, note = _cells(plan, table, ends, connection, None, file)
        return compared, f"every cell, as PostgreSQL prints it ({why_not}){note}", ""
    differing = ours.differing(theirs)
    where = "" if method == "native" else f", {ends.source.digested} and {ends.target.digested}"
    words = f"{_WORDS[method]}{where}, summed in {ours.segments:,} segments"
    if not differing:
        return _equal(table, ours), words, ""
    most = min(side.choosable(table) for side in (ends.source, ends.target, ends.stage) if side)
    whole = len(differing) > min(SHARE_WORTH_CHOOSING * ours.segments, most)
    chosen = None if whole else Segments(ours.segments, tuple(differing))
    words += f"; {len(differing):,} segments differ: "
    try:
        compared, note = _cells(plan, table, ends, connection, chosen, file)
        words += f"{'all' if whole else f'their {compared.fetched:,}'} rows compared cell by cell{note}"
        if compared.rows_differ or _tolerant(table):
            whole_table = replace(compared, rows_source=ours.rows, rows_target=theirs.rows, digest=ours.total)
            return whole_table, words, ""
        if not whole:
            compared, note = _cells(plan, table, ends, connection, None, file)
            words += f"; their rows are equal, so every cell was compared{note}"
            if compared.rows_differ:
                return compared, words, ""
    except StageChanged as error:
        why = f"at least one row in each, because the cells cannot be shown: {error.on}: {error.why}"
        return _by_segments(table, ours, theirs), words + why, ""
    return compared, words, _CONTRADICTIONS["manifest" if plan.source_name == "manifest" else "live"]


def _limit(connection: DuckDB, table: TablePlan, *, all_rows: bool) -> None:
    """What DuckDB may use: every thread holds a vector of 2,048 texts for each column of each operator, and its part of every
    join.
    """
    wide, long = len(table.columns) > MANY_COLUMNS, all_rows and table.rows > MANY_ROWS
    memory = MEMORY_IF_WIDE if wide else MEMORY_IF_LONG if long else MEMORY
    connection.execute(f"SET threads = {1 if wide or long else 2}; SET memory_limit = {literal(memory)}")


def _tolerant(table: TablePlan) -> bool:
    return any(column.tolerance is not None for column in table.columns)


def _method(plan: VerifyPlan, table: TablePlan, found: TableShape, ends: Ends) -> tuple[Method | None, str]:
    """The cheapest digest that both sides can give, or why there is none."""
    types = {column.name: column.type for column in found.columns}
    for column in table.columns:
        if types[column.there] != column.type:
            return None, f"{column.name} is {types[column.there]} in the target, so its digest would be another"
    both = [method for method in ends.source.methods if method in ends.target.methods]
    if not table.key and both[0] == "native" and plan.source_name != "manifest":
        # Without a key the native digest has one segment and does not say where rows differ.
        both = [*both[1:], *both[:1]] if len(both) > 1 else both
    return both[0], ""


def _digests(table: TablePlan, ends: Ends, method: Method) -> tuple[Sums, Sums, Method | None, str]:
    nothing, why = Sums("", 0, None), ""
    without_place: tuple[Sums, Sums, Method, str] | None = None
    attempts: tuple[Method, ...] = ("native", "canonical") if method == "native" else ("canonical",)
    for chosen in attempts:
        segments = segments_of(table.rows, table.key, chosen)
        try:
            ours = ends.source.digest(table, chosen, segments)
            theirs = ends.target.digest(table, chosen, ours.segments)
        except NoDigest as error:
            why = str(error)
            continue
        except StageChanged:
            if without_place:
                return without_place
            raise
        if chosen == "native" and not table.key and ours.differing(theirs):
            without_place = ours, theirs, chosen, ""
            continue
        return ours, theirs, chosen, ""
    return nothing, nothing, None, f"no digest: {why}"


def _equal(table: TablePlan, sums: Sums) -> TableReport:
    return TableReport(
        table.table.schema, table.table.name, "equal", sums.rows, sums.rows,
        changed_cells={column.name: 0 for column in table.columns}, digest=sums.total,
    )  # fmt: skip


def _by_segments(table: TablePlan, ours: Sums, theirs: Sums) -> TableReport:
    """What two digests that differ say of the rows, where those of the source cannot be read."""
    missing, extra, changed = ours.surplus(theirs)
    if not table.key:
        missing, extra, changed = missing + changed, extra + changed, 0
    return TableReport(
        table.table.schema, table.table.name, "different", ours.rows, theirs.rows, missing, extra, changed,
        digest=ours.total,
    )  # fmt: skip


def _cells(
    plan: VerifyPlan, table: TablePlan, ends: Ends, connection: DuckDB, chosen: Segments | None, file: Path
) -> tuple[TableReport, str]:
    _limit(connection, table, all_rows=chosen is None)
    ends.source.fetch(connection, "source", table, chosen)
    ends.target.fetch(connection, "target", table, chosen)
    cells.leave_over(connection, ends.source, ends.target, table)
    changed_since, note = 0, ""
    ((any_left,),) = connection.execute("SELECT count(*) FROM (FROM rest LIMIT 1)").fetchall()
    if any_left and isinstance(ends.stage, StageSide) and table.staged is not None:
        if damaged := ends.stage.damaged(table):
            note = (
                f"; changes of the source since the export count as errors, because {damaged} is not what was exported"
            )
        else:
            ends.stage.fetch(connection, "staged", table, chosen)
            changed_since = since.set_apart(connection, ends, table)
    digest = "" if chosen else cells.digest_of_texts(connection, ends.source, table)
    compared, untold = cells.compared(connection, ends, table, file, changed_since, digest)
    note += "".join(f"; {sentence}" for sentence in untold)
    if not compared.changed:
        return compared, note
    found, failed = diagnose(connection, table.columns, key=table.key, rows=None if chosen else compared.rows_source)
    return replace(compared, diagnoses=found, unexplained=failed), note
