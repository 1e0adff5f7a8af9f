"""Phase 3 of the checklist, as the steps of `runbooks/30_data_migration.ipynb`.

The notebook holds the narrative; each of its cells calls one method here. A step that is protected takes the token of
its gate, and a step that changes something is only planned unless `apply` is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import duckdb
import pandas as pd
import plotly.graph_objects as go
import snowflake.connector
import sqlalchemy
from IPython.display import HTML, Markdown

from helpers import certify, export, load
from helpers.engines import destination
from helpers.errors import LoadError, UsageError
from helpers.export import ExportPlan
from helpers.export.state import TableState
from helpers.finding import Finding, note, stop, warning
from helpers.frames import frame
from helpers.ledger.folders import PHASE, run_folder
from helpers.ledger.gate import Token, gate, rehearse, require
from helpers.ledger.steps import CHECK, Found, Step
from helpers.ledger.view import NOT_APPLICABLE
from helpers.load import beforehand
from helpers.model import manifest, sync
from helpers.model.globs import EXCLUDED
from helpers.model.manifest import Manifest
from helpers.model.names import Refusal
from helpers.model.places import TargetTable
from helpers.phases.common import charts
from helpers.phases.common.verification import compare, keep_report
from helpers.phases.p30_data_migration import plan as data_migration_plan
from helpers.phases.p30_data_migration.snapshot_phase import SnapshotPhase
from helpers.phases.p30_data_migration.sql_cells import load_jupysql as load_jupysql
from helpers.platforms import postgres
from helpers.platforms import snowflake as snowflake_platform
from helpers.progress import progress
from helpers.settings import Snowflake
from helpers.source import left_out
from helpers.sync import setup
from helpers.verify import TargetName, page, tables_for_notebooks
from helpers.verify.report import Report, TableReport
from helpers.verify.verdict import counted

STAGE_HOLDS_THE_SNAPSHOT = "stage-holds-the-snapshot"
TARGET_HOLDS_THE_SNAPSHOT = "target-holds-the-snapshot"
DELTA_HOLDS_THE_SNAPSHOT = "delta-holds-the-snapshot"

FOLLOWED = ("slot", "publication")
"""What a step's result says beside the copy where that is followed; `runbook sync stop` drops both, and the copy stays."""

_NO_SNOWFLAKE = "the profile has no Snowflake"


class DataMigration(SnapshotPhase):
    """One walk through the phase; see `SnapshotPhase` for what it takes and how long it holds the snapshot."""

    ACTS_ON_LOCAL = True

    def __init__(
        self, profile: str, tables: list[str], *, option: str = "A", exclude: Sequence[str] = (), apply: bool | None
    ) -> None:
        super().__init__(profile, tables, option=option, exclude=exclude, apply=apply)
        self._plan: ExportPlan | None = None
        self._manifest: Manifest | None = None
        self._reports: dict[str, Report] = {}
        self._pages: dict[str, Path] = {}
        self._stand_ins: dict[str, str] = {}
        self._not_loaded: dict[str, dict[str, LoadError]] = {}

    def survey(self) -> pd.DataFrame:
        """What will move: a row a table, every value counted."""
        with self.step("s30-survey", self._inputs(), CHECK) as step:
            certified = {target: self._certified(target) for target in self.settings.targets}
            with self.timed("survey"), progress("census") as report:
                self._plan = export.plan_export(
                    self.settings, self._bucket, self._snapshot, self._globs, exclude=self._exclude,
                    objections=self._refused_names, set_aside=self._outlives, progress=report,
                )  # fmt: skip
            if not self._plan.refused:
                data_migration_plan.ask_targets(self._plan, self._bucket, self.settings)
            aside = self._plan.state.failed
            step.result = {
                "tables": len(self._plan.census),
                "rows": self._plan.rows,
                "refused": list(self._plan.refused),
                "certified": certified,
                **({"set_aside": aside} if aside else {}),
            }
            _say_set_aside(aside)
        return pd.DataFrame(
            {
                "table": str(census.table),
                "rows": census.rows,
                "columns": len(census.columns),
                "key": ", ".join(census.table.key) or "none: compared as a multiset",
                "re-encoded": sum(c.verdict == "re-encoded" for c in census.columns),
                "refused": "; ".join(self._plan.refusals(str(census.table))),
            }
            for census in self._plan.census
        ).set_index("table")

    def _certified(self, target: str) -> dict[str, Any]:
        """The certification that the loads and verifications rest on, kept whole beside the notebook; without one, the phase refuses."""
        with progress(f"certify {target}", unit="questions") as told:
            found = certify.require(self.settings, target, progress=told)
        report = self.report(f"certification-{target}", found.model_dump(mode="json"))
        return {**found.as_dict(), "report": report}

    def left_out(self) -> pd.DataFrame:
        """What the source has and the migration leaves where it is."""
        left = left_out.grouped(self._planned().state.left_out)
        return frame(left, "objects", "why")

    def export(self) -> pd.DataFrame:
        """Writes the stage, or shows what would be written; what it would refuse it refuses in a rehearsal too."""
        plan = self._planned()
        with self.step("s30-export", self._inputs(), probe=self._is_staged) as step:
            if not step.skipped:
                export.refuse_losses(plan)
                data_migration_plan.ask_targets(plan, self._bucket, self.settings)
            if not self.apply:
                return self.shown(step, data_migration_plan.plan_export(plan, self.settings))
            if step.skipped:
                self._manifest = manifest.read(self._bucket).placed(self.settings.tables)
            else:
                with self.timed("export"), progress("export") as report:
                    own = export.marked(plan, step.load_id, progress=report)
                    own = export.with_kept(own, manifest.read_if_any(self._bucket))
                    self._manifest = export.export(own, progress=report)
                step.result = self._exported(self._manifest)
            if self._follows:
                step.result |= self._kept(self._manifest)
            _say_set_aside(self._manifest.failed)
        return pd.DataFrame(
            {"table": str(t), "rows": t.rows, "files": len(t.files), "MB": round(t.bytes / 1e6, 2)}
            for t in self._manifest.tables
        ).set_index("table")

    def _kept(self, copy: Manifest) -> dict[str, Any]:
        """What the copy is followed from; a process that was killed behind the manifest may not have kept the slot yet."""
        there = sync.read_if_any(self._bucket)
        if there is None or there.export != copy.export:
            there = setup.keep(setup.of(self.settings, self._bucket), copy, self._snapshot)
        return dict(zip(FOLLOWED, (there.slot, there.publication), strict=True))

    def check_stage(self) -> Token:
        """Compares the staged files with the snapshot, cell by cell; the gate in front of loading."""
        with self.step("s30-stage-gate", self._inputs(), CHECK) as step:
            fix = "do not load; read the differing cells in the report and report a fault of the export"
            return self._judge(step, STAGE_HOLDS_THE_SNAPSHOT, lambda: self._verify("stage"), fix)

    def load(self, stage_checked: Token) -> pd.DataFrame:
        """Loads the target, each table in one transaction, or shows what would be loaded."""
        return self._load("s30-load", stage_checked, "snowflake")

    def verify(self) -> pd.DataFrame:
        """Compares source and target, cell by cell; a row a table."""
        return self._verdicts("s30-verify", "snowflake")

    def gate(self) -> Token | Markdown:
        """The gate in front of every later phase: the target holds the snapshot."""
        return self._gate("s30-gate", TARGET_HOLDS_THE_SNAPSHOT, "snowflake")

    def load_databricks(self, stage_checked: Token) -> pd.DataFrame:
        """Loads the Delta tables, each in one commit, or shows what would be loaded."""
        return self._load("s30-load-databricks", stage_checked, "databricks")

    def verify_databricks(self) -> pd.DataFrame:
        """Compares source and Delta tables, cell by cell; a row a table."""
        return self._verdicts("s30-verify-databricks", "databricks")

    def gate_databricks(self) -> Token | Markdown:
        """The gate behind the Delta tables."""
        return self._gate("s30-gate-databricks", DELTA_HOLDS_THE_SNAPSHOT, "databricks")

    def milestone(self) -> Token:
        """All historical data migrated and validated, in every target that is configured."""
        return self.check("s30-milestone", self._whole, inputs=self._inputs(), acted=True)

    def differences(self) -> pd.DataFrame:
        """How often each table and column differs, and how; empty when all are equal."""
        return tables_for_notebooks.differences(self._compared())

    def chart(self) -> go.Figure:
        """The same as a picture; rows on both sides when all are equal, of which `verify` has the numbers."""
        report = self._compared()
        found = tables_for_notebooks.differences(report, definitions=False)
        if len(found):
            names = [f"{table} · {column}" for table, column in found.index]
            return charts.differences_by_column(names, list(found["difference"]), list(found["count"]))
        return charts.rows_on_both_sides(
            [str(t) for t in report.tables],
            [t.rows_source or 0 for t in report.tables],
            [t.rows_target or 0 for t in report.tables],
            [t.missing + t.extra + t.changed for t in report.tables],
        )

    def diagnosis(self) -> pd.DataFrame:
        """Why values differ, a row an explanation; empty when none do."""
        return tables_for_notebooks.diagnoses(self._compared())

    def differing_rows(self) -> HTML:
        """The first differing rows of each table, source above target, with the differing characters marked."""
        return HTML(page.first_rows(self._compared()))  # type: ignore[no-untyped-call]

    def report_page(self, target: TargetName | None = None) -> Markdown:
        """A link to a verification's report for people, beside the files with all differing cells.

        Args:
            target: without it, the one that the pipeline writes.
        """
        target = target or self.settings.main_target.adapter
        if target not in self._pages:
            return Markdown("There is no report: nothing was compared, or its page could not be written.")  # type: ignore[no-untyped-call]
        # The archived notebook lies in its phase's folder; an open one is where Jupyter has started its kernel.
        folder = run_folder() / os.environ[PHASE] if PHASE in os.environ else Path.cwd()
        link = quote(os.path.relpath(self._pages[target], folder))
        return Markdown(f"[The report of this verification]({link})")  # type: ignore[no-untyped-call]

    def timing_chart(self) -> go.Figure:
        """The same as a picture."""
        return charts.seconds_by_stage(self.seconds)

    def summary(self) -> str:
        """One sentence: the verdict, at which LSN, over how much."""
        if not self.apply:
            return f"REHEARSED: {counted(self._planned().rows, 'row')} would move at LSN {self._snapshot.lsn}"
        main = self.settings.main_target
        report = self._found(main.adapter)
        exact = "" if self._snapshot.exact else " (approximate)"
        on = f"{named}," if (named := self._stand_ins[main.adapter]) else ""
        others = "" if main.adapter == "databricks" else f"; Delta tables: {self._delta_verdict()}"
        return (
            f"{report.verdict.upper()}: {counted(report.rows, 'row')} and {counted(report.cells, 'cell')} "
            f"of {counted(len(report.tables), 'table')} "
            f"in {destination(main).where}{on} against the source at LSN {report.lsn}{exact}{others}"
        )

    def source_engine(self) -> sqlalchemy.Engine:
        """For `%%sql` cells: read-only, and its address holds no password."""
        read_only = {"default_transaction_read_only": "on"}
        return sqlalchemy.create_engine(
            "postgresql+psycopg2://", creator=lambda: postgres.connect(self.settings.source, settings=read_only)
        )

    def target_connection(self) -> Any:
        """For `%%sql` cells: the genuine connector's connection, in the schema of the largest table.

        Without Snowflake, a database that says so: nothing else has a driver for these cells.
        """
        if (target := self.settings.values.snowflake) is None:
            nothing = duckdb.connect()
            nothing.execute(f"CREATE MACRO current_version() AS '{_NO_SNOWFLAKE}'")
            return nothing
        connection: snowflake.connector.SnowflakeConnection = snowflake_platform.open_connection(target)
        if self.apply:
            schema = self._largest_in_target(target).schema
            connection.cursor().execute(f"USE SCHEMA {snowflake_platform.identifier(target.database, schema)}")
        return connection

    def largest_table(self, side: Literal["source", "target"] = "source") -> str:
        """What a `%%sql` cell selects from: the table with most rows; one row in a target that may not exist, or is not there."""
        if side == "source":
            largest = str(self._largest())
            # The cell's answer is evidence: what is omitted or masked must not stand in it.
            return next(table.relation for table in self._planned().catalog.tables if str(table) == largest)
        if (target := self.settings.values.snowflake) is None:
            return f"(SELECT '{_NO_SNOWFLAKE}' AS STATE)"
        if not self.apply:
            return "(SELECT 'rehearsed' AS STATE)"
        return snowflake_platform.identifier(self._largest_in_target(target).name)

    def _largest(self) -> TableState:
        return max(self._planned().state.tables, key=lambda table: table.rows)

    def _largest_in_target(self, target: Snowflake) -> TargetTable:
        return self._largest().there(target.schema_)

    def _is_staged(self, load_id: str, result: Mapping[str, Any]) -> Found:
        found = export.find_marked(self._bucket, load_id)
        if found is None:
            return Found("not done", f"the manifest at {self._bucket.location} is not of this export")
        now = self._exported(found)
        if result and now != {name: value for name, value in result.items() if name not in FOLLOWED}:
            return Found("not done", f"the manifest at {self._bucket.location} was changed since")
        return Found("done", f"the manifest at {self._bucket.location} is of the export {found.export}", now)

    def _load(self, name: str, stage_checked: Token, target: TargetName) -> pd.DataFrame:
        """The step that loads a target; where several programs can write its tables, it shows which one did."""
        require(stage_checked, STAGE_HOLDS_THE_SNAPSHOT, apply=self.apply)
        section = self.settings.targets.get(target)

        def probe(load_id: str, result: Mapping[str, Any]) -> Found:
            assert section
            done, how = load.is_loaded(self._staged(), self._bucket, section, load_id)
            return Found("done" if done else "not done", how, _loaded(self._staged()))

        there = destination(section) if section else None
        exported, described = self._exported(self._manifest), self.settings.tables.as_inputs()
        inputs = {"target": there and there.where, "export": exported, **described}
        with self.step(name, inputs, probe=probe if section else None) as step:
            if section is None or there is None:
                return self._without(step, target)
            if not self.apply:
                planned = data_migration_plan.plan_load(name, self._planned(), self._bucket, section, self.settings)
                return self.shown(step, planned)
            staged = self._staged()
            if not step.skipped:
                title = name.removeprefix("s30-").replace("-", " ")
                with self.timed(title), progress(title) as report:
                    failed = self._not_loaded[target] = {}
                    plan = load.plan_load(staged, self._bucket, section)
                    untold: dict[str, str] = {}
                    aside = failed if self._outlives else None
                    load.load(plan, load_id=step.load_id, set_aside=aside, progress=report, untold=untold.update)
                why = {name: f"{error.why} → {error.next_step}" for name, error in failed.items()}
                told = {"keys": len(plan.keys), "keys_not_told": untold}
                step.result = {**_loaded(staged), **told, **({"set_aside": why} if why else {})}
            _say_set_aside(step.result.get("set_aside", {}))
        loaded = [t for t in staged.tables if str(t) not in self._not_loaded.get(target, {})]
        if there.written_by:
            return frame(((str(t), t.rows, there.written_by) for t in loaded), "table", "rows", "engine")
        return frame(((str(t), t.rows) for t in loaded), "table", "rows")

    def _exported(self, exported: Manifest | None) -> dict[str, Any]:
        if exported is None:
            return {}
        _, sha256 = self._bucket.sha256(manifest.NAME) or (0, "")
        rows, size = (sum(getattr(table, name) for table in exported.tables) for name in ("rows", "bytes"))
        aside = {"set_aside": exported.failed} if exported.set_aside else {}
        return {
            "export": exported.export, "lsn": exported.lsn, "rows": rows, "bytes": size, "manifest_sha256": sha256, **aside,
        }  # fmt: skip

    @property
    def _failed(self) -> bool:
        return bool(self._manifest and self._manifest.set_aside) or any(self._not_loaded.values())

    def _staged(self) -> Manifest:
        if self._manifest is None:
            raise _out_of_order("load", "the export has not run in this session", "run the cells above first")
        return self._manifest

    def _planned(self) -> ExportPlan:
        if self._plan is None:
            raise _out_of_order("go on", "the survey has not run in this session", "run the cells from the top")
        return self._plan

    def _found(self, target: str) -> Report:
        if target not in self._reports:
            raise _out_of_order(
                "pass the gate", "the verification has not run in this session", "run the cell above first"
            )
        return self._reports[target]

    def _compared(self) -> Report:
        """The verification's report; one without tables where nothing was compared yet."""
        main = self.settings.main_target.adapter
        return self._reports.get(main) or Report("", "", "postgresql", main, ())

    def _verdicts(self, name: str, target: TargetName) -> pd.DataFrame:
        with self.step(name, self._inputs(), CHECK) as step:
            if target not in self.settings.targets:
                return self._without(step, target)
            if not self.apply:
                return pd.DataFrame({"table": str(c.table), "verdict": "planned"} for c in self._planned().census)
            report = self._verify(target)
            left = dict(report.left_out)
            step.result = {**_summary(report), "rows": report.rows, "cells": report.cells, "left_out": left}
            return tables_for_notebooks.verdicts(report)

    def _gate(self, name: str, holds: str, target: TargetName) -> Token | Markdown:
        """The token; where the profile has no such target, a sentence and no token."""
        with self.step(name, self._inputs(), CHECK) as step:
            if target not in self.settings.targets:
                self._without(step, target)
                return Markdown("– no gate: there is no table to hold anything")  # type: ignore[no-untyped-call]
            fix = "look at what differs above, and at the report; correct the cause, then run this phase again"
            return self._judge(step, holds, lambda: self._found(target), fix)

    def _judge(self, step: Step, holds: str, compared: Callable[[], Report], fix: str) -> Token:
        if not self.apply:
            return rehearse(holds, str(self._planned().rows))
        report = compared()
        step.result = _summary(report)
        return gate(holds, report.equal, evidence=_summary(report), next_step=fix)

    def _without(self, step: Step, target: TargetName) -> pd.DataFrame:
        """What a step on a target does that the profile does not have: it says so, and its result says so in the ledger."""
        why = f"not configured: the profile {self.settings.profile} has no section {target}"
        step.result = {NOT_APPLICABLE: why}
        print(why)  # noqa: T201 - the operator and the auditor read it in the cell's output
        return pd.DataFrame({"table": [], "rows": []}).set_index("table")

    def _delta_verdict(self) -> str:
        if "databricks" not in self.settings.targets:
            return "not configured"
        report = self._reports.get("databricks")
        return f"{report.verdict}{self._stand_ins['databricks']}" if report else "not compared"

    def _whole(self) -> Iterator[Finding]:
        for name, why in self._staged().failed.items():
            yield stop(name, f"set aside by the export: {why}", "mend that, and run this phase again")
        for target in self.settings.targets:
            verdicts = {str(table): table.verdict for table in self._found(target).tables}
            for table in map(str, self._staged().tables):
                if verdicts.get(table) != "equal":
                    fix = "run this phase again"
                    yield stop(table, f"{target} does not hold it: {verdicts.get(table, 'not compared')}", fix)
        if self._globs:
            only = f"only what matches {', '.join(self._globs)} was asked for"
            yield warning("tables", only, "run the phase without the parameter tables")
        for on, why in left_out.grouped(self._planned().state.left_out):
            if why.startswith(EXCLUDED):
                yield warning(on, why, "run the phase without it in the parameter exclude once it can be moved")
            else:
                yield note(on, f"left where it is: {why}")

    def _refused_names(self, tables: Sequence[TableState]) -> list[Refusal]:
        """What any of the targets refuses: this phase loads them all."""
        return [refusal for found in beforehand.refusals_by_target(self.settings, tables).values() for refusal in found]

    def _verify(self, target: TargetName) -> Report:
        name = f"verify-{target}"
        with self.timed(f"verify {target}"):
            found, about = compare(self.settings, target, name, tables=self._globs, exclude=self._exclude)
        failed = self._not_loaded.get(target, {})
        found = replace(found, tables=tuple(_as_loaded(table, failed.get(str(table))) for table in found.tables))
        self._reports[target], self._stand_ins[target] = found, about.on_stand_in
        if written := keep_report(found, name, about):
            self._pages[target] = written
        return found


def _loaded(staged: Manifest) -> dict[str, Any]:
    return {"tables": len(staged.tables), "rows": sum(table.rows for table in staged.tables)}


def _as_loaded(found: TableReport, error: LoadError | None) -> TableReport:
    """The report of a table, refused where the load had set it aside: what lies there is not of this export."""
    if error is None:
        return found
    return replace(
        found, verdict="refused", method=f"set aside by the load: {error.why} → {error.next_step}; {found.method}"
    )


def _say_set_aside(failed: Mapping[str, str]) -> None:
    for name, why in failed.items():
        print(f"set aside: {name}: {why}")  # noqa: T201 - the operator and the auditor read it in the cell's output


def _summary(report: Report) -> dict[str, Any]:
    return {
        "verdict": report.verdict,
        "lsn": report.lsn,
        "tables": len(report.tables),
        "differences": {str(t): _difference(t) for t in report.tables if t.verdict != "equal"},
    }


def _difference(table: TableReport) -> str:
    """What a gate says of a table that is not equal: why it could not be compared, or what differs."""
    return (
        table.method
        if table.verdict == "refused" and "set aside" in table.method
        else table.differences or table.verdict
    )


def _out_of_order(what: str, why: str, next_step: str) -> UsageError:
    return UsageError(what, on="runbook 30_data_migration", why=why, next_step=next_step)
