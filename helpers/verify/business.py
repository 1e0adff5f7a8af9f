"""`--check data-quality`: the rules that the source's data keep, and the business figures, on both sides."""

from __future__ import annotations

import time
from contextlib import ExitStack

from helpers.engines import engine
from helpers.engines.postgres.quality import PostgresAnswers
from helpers.errors import UsageError
from helpers.progress import Progress
from helpers.source import snapshot as snapshots
from helpers.verify import data_quality
from helpers.verify.data_quality.figures import figures
from helpers.verify.plan import VerifyPlan
from helpers.verify.report import Business, Report, TableReport
from helpers.verify.verdict import counted as number


def check_business(plan: VerifyPlan, *, progress: Progress | None = None) -> Report:
    """Checks the rules and compares the figures of every table of `plan`.

    Raises:
        UsageError: rows or names were chosen, which this check does not know.
        MigrationError: a side could not be read; a broken rule is part of the report.
    """
    if plan.source_name == "manifest" or plan.options.names or any(table.selection for table in plan.tables):
        raise UsageError(
            "check the data's quality", on="--source manifest, --map, --where, --since or --sample",
            why="its rules and figures are those of whole tables of the live source, under their own names",
            next_step="leave the option out, or use --check full",
        )  # fmt: skip
    started = time.monotonic()
    tables = [p.table for p in plan.tables if not p.refused]
    with ExitStack() as stack:
        cursor = stack.enter_context(snapshots.reading(plan.source, plan.snapshot))
        snapshots.lock(cursor, tables, timeout_seconds=plan.settings.export.lock_timeout_seconds)
        plans = [p for p in plan.tables if not p.refused]
        source = PostgresAnswers(
            cursor, {str(table): table for table in tables}, plans if engine(plan.target).as_staged else None
        )
        target = engine(plan.target).ask(plan.place, stack)
        rules = data_quality.rules(cursor, tables)
        results = data_quality.check_rules(source, target, rules, tables, progress=progress)
        found = Business(results, figures(source, target, tables, rules, progress=progress))
    seconds = time.monotonic() - started
    reports = tuple(
        TableReport(
            p.table.schema, p.table.name, "refused", method=f"not compared: {'; '.join(p.refused)}"
        ) if p.refused else _table_report(str(p.table), p.table.schema, p.table.name, found, seconds / max(1, len(tables)))
        for p in plan.tables
    )  # fmt: skip
    return Report(plan.lsn, plan.lsn_note, "postgresql", target.name, reports, business=found, left_out=plan.left_out)


def _table_report(full: str, schema: str, name: str, found: Business, seconds: float) -> TableReport:
    mine = [result for result in found.rules if result.rule.table == full]
    counted = {verdict: sum(r.verdict == verdict for r in mine) for verdict in ("pass", "warn", "fail", "not checked")}
    compared = [table for table in found.figures.tables if table.table == full]
    differing = sum(len(table.differences) for table in compared)
    equal = data_quality.kept(mine) and all(table.equal for table in compared)
    figures = sum(len(table.figures) for table in compared)
    words = [
        f"{number(counted['pass'], 'rule')} kept",
        *(f"{number(n, noun)} {what}" for n, noun, what in (
            (counted["fail"], "rule", "broken"), (counted["warn"], "expectation", "not met"),
            (counted["not checked"], "rule", "not checked"),
        ) if n),
        f"{differing:,} of {number(figures, 'figure')} different" if differing else f"{number(figures, 'figure')} the same",
    ]  # fmt: skip
    return TableReport(schema, name, "equal" if equal else "different", method=", ".join(words), seconds=seconds)
