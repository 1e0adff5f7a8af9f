"""Writes the files of an export, the largest first, and the export's state after each of them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any

from helpers import digests, log
from helpers.errors import SourceRefused
from helpers.export.state import ExportState, PartState, TableState
from helpers.export.worker import Workers
from helpers.progress import Progress
from helpers.source import snapshot as snapshots

if TYPE_CHECKING:
    from helpers.export import ExportPlan

POLL_SECONDS = 0.5


def write_parts(plan: ExportPlan, progress: Progress | None) -> ExportState:
    """Writes every file of a plan that is not there yet, and the state after each; the state then.

    Where the plan sets aside, a table that the source does not give is, and the others go on.

    Raises:
        SourceRefused: none of the tables could be read.
    """
    state = plan.state
    waiting = [(table, part) for table in state.tables for part in table.parts if part.file is None]
    waiting.sort(key=lambda item: -item[1].pages)
    timeout = plan.options.lock_timeout_seconds
    with snapshots.reading(plan.source, plan.snapshot.name) as cursor:
        tables = plan.catalog.tables
        if plan.sets_aside:
            needed = {str(table) for table, _ in waiting}
            wanted = [table for table in tables if str(table) in needed]
            tables, failed = snapshots.lock_each(cursor, wanted, timeout_seconds=timeout)
            state = _without(plan, state, failed)
            waiting = [(table, part) for table, part in waiting if str(table) not in failed]
        else:
            snapshots.lock(cursor, tables, timeout_seconds=timeout)
        workers = Workers(plan.source, plan.options, plan.snapshot.name, plan.bucket, tables, state.export)
        try:
            running: dict[Future[Any], tuple[TableState, PartState]] = {
                workers.submit(table, part): (table, part) for table, part in waiting
            }
            while running:
                finished, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in finished:
                    table, part = running.pop(future)
                    if str(table) in state.failed:
                        continue
                    try:
                        file = future.result()
                    except SourceRefused as error:
                        if not plan.sets_aside or not snapshots.is_held(plan.source, plan.snapshot.name):
                            raise
                        state = _without(plan, state, {str(table): error})
                        for other, (its, _) in running.items():
                            if str(its) == str(table):
                                other.cancel()
                        continue
                    log.event("file-exported", table=str(table), file=part.name, rows=file.rows)
                    state = state.with_file(table, part, file)
                if finished:
                    state = _with_digests(plan, state)
                    state.write(plan.bucket)
                if progress:
                    done = sum(p.file.rows for t in state.tables for p in t.parts if p.file)
                    progress(done + workers.rows_under_way(cursor), plan.rows, f"{len(running)} files to go")
        except BaseException:
            workers.interrupt()
            raise
        finally:
            workers.close()
    return state


def _without(plan: ExportPlan, state: ExportState, failed: Mapping[str, SourceRefused]) -> ExportState:
    left = state.without(failed)
    if failed and not left.tables:
        raise next(iter(failed.values()))
    for name, error in failed.items():
        log.event("table-set-aside", table=name, why=error.why)
    return left


def _with_digests(plan: ExportPlan, state: ExportState) -> ExportState:
    if not plan.digests:
        return state
    tables = tuple(_with_digest(plan, t) if t.finished and t.digest is None else t for t in state.tables)
    return state.model_copy(update={"tables": tables})


def _with_digest(plan: ExportPlan, table: TableState) -> TableState:
    paths = [part.file.path for part in table.parts if part.file]
    sums = digests.sum_files(plan.bucket, paths, table.columns, table.key, table.rows, "native")
    kept = digests.write(plan.bucket, f"{paths[0].rpartition('/')[0]}/{digests.NATIVE}", sums)
    return table.model_copy(update={"digest": kept})
