"""Phase 3 of the checklist, as the steps of `runbooks/30_data_migration.ipynb`.

The notebook holds the narrative; each of its cells calls one method here. A step that is protected takes the token of
its gate, and a step that changes something is only planned unless `apply` is set.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go
import psycopg2
import snowflake.connector
import sqlalchemy

from helpers import charts, export, manifest, settings, snapshot, verify
from helpers.catalog import read_catalog
from helpers.errors import MigrationError, SourceRefused, UsageError
from helpers.export import ExportPlan
from helpers.load import snowflake as load
from helpers.load import snowflake_records
from helpers.manifest import Manifest
from helpers.phases import data_migration_plan
from helpers.phases.data_migration_plan import StepPlan
from helpers.platforms import postgres
from helpers.platforms import snowflake as snowflake_platform
from helpers.platforms.s3 import Bucket
from helpers.progress import progress
from helpers.runs import steps
from helpers.runs.folders import report_path
from helpers.runs.gate import Token, gate, rehearse, require
from helpers.runs.steps import CHECK, Declares, Found, Probe, Step
from helpers.snapshot import Snapshot
from helpers.verify import TargetName
from helpers.verify.report import Report

STAGE_HOLDS_THE_SNAPSHOT = "stage-holds-the-snapshot"
TARGET_HOLDS_THE_SNAPSHOT = "target-holds-the-snapshot"


class DataMigration:
    """One walk through the phase; holds the snapshot from the survey until it is closed.

    Within a run the snapshot outlives the process, so that the next attempt goes on in it: what was exported and loaded is
    then not exported and loaded again. A check that said no lets it go.

    Args:
        profile: of migration.toml.
        tables: globs over table names.
        apply: whether steps act; without it they return their plans.
    """

    def __init__(self, profile: str, tables: list[str], *, apply: bool) -> None:
        pd.set_option("display.max_colwidth", None, "display.max_rows", None)
        self.apply = apply
        self._settings = settings.load(profile)
        self._globs = tuple(tables)
        self._bucket = Bucket.open(self._settings.stage)
        self._seconds: dict[str, float] = {}
        self._run = steps.current()
        self._snapshot = self._take()
        if not self._outlives:
            atexit.register(self.close)
        self._plan: ExportPlan | None = None
        self._manifest: Manifest | None = None
        self._reports: dict[str, Report] = {}

    def close(self) -> None:
        """Lets the snapshot go; until then vacuum on the source waits for it. A run lets it go when its attempt has ended."""
        if not self._outlives:
            snapshot.release(self._snapshot)

    def survey(self) -> pd.DataFrame:
        """What will move: a row a table, every value counted."""
        with self._step("s30-survey", self._inputs(), CHECK) as step:
            with self._timed("survey"), progress("census") as report:
                self._plan = export.plan_export(
                    self._settings, self._bucket, self._snapshot, self._globs, progress=report
                )
            step.result = {
                "tables": len(self._plan.census),
                "rows": self._plan.rows,
                "refused": list(self._plan.refused),
            }
        return pd.DataFrame(
            {
                "table": str(census.table),
                "rows": census.rows,
                "columns": len(census.columns),
                "key": ", ".join(census.table.key) or "none: compared as a multiset",
                "re-encoded": sum(c.verdict == "re-encoded" for c in census.columns),
                "refused": "; ".join(census.refused),
            }
            for census in self._plan.census
        ).set_index("table")

    def left_out(self) -> pd.DataFrame:
        """What the source has and the migration leaves where it is."""
        left = self._planned().catalog.left_out
        return pd.DataFrame({"object": list(left), "why": list(left.values())}).set_index("object")

    def export(self) -> pd.DataFrame:
        """Writes the stage, or shows what would be written; what it would refuse it refuses in a rehearsal too."""
        plan = self._planned()
        with self._step("s30-export", self._inputs(), probe=self._is_staged) as step:
            if not self.apply:
                export.refuse_losses(plan)
                return _shown(step, data_migration_plan.of_export(plan, self._settings))
            if step.skipped:
                self._manifest = manifest.read(self._bucket)
            else:
                with self._timed("export"), progress("export") as report:
                    own = export.marked(plan, _mark(step.load_id), progress=report)
                    self._manifest = export.export(own, progress=report)
                step.result = self._exported(self._manifest)
        return pd.DataFrame(
            {"table": str(t), "rows": t.rows, "files": len(t.files), "MB": round(t.bytes / 1e6, 2)}
            for t in self._manifest.tables
        ).set_index("table")

    def check_stage(self) -> Token:
        """Compares the staged files with the snapshot, cell by cell; the gate in front of loading."""
        with self._step("s30-stage-gate", self._inputs(), CHECK) as step:
            if not self.apply:
                return rehearse(STAGE_HOLDS_THE_SNAPSHOT, str(self._planned().rows))
            step.result = _summary(report := self._verify("stage"))
            return gate(
                STAGE_HOLDS_THE_SNAPSHOT,
                report.equal,
                evidence=_summary(report),
                next_step="do not load; read the differing cells in the report and report a fault of the export",
            )

    def load(self, stage_checked: Token) -> pd.DataFrame:
        """Loads the target, each table in one transaction, or shows what would be loaded."""
        require(stage_checked, STAGE_HOLDS_THE_SNAPSHOT, apply=self.apply)
        target = self._settings.snowflake
        inputs = {"target": snowflake_platform.address(target), "export": self._exported(self._manifest)}
        with self._step("s30-load", inputs, probe=self._is_loaded) as step:
            if not self.apply:
                return _shown(step, data_migration_plan.of_load(self._planned(), self._bucket, self._settings))
            staged = self._staged()
            if not step.skipped:
                with self._timed("load"), progress("load") as report:
                    plan = load.plan_load(staged, self._bucket, target)
                    load.load(plan, load_id=step.load_id, progress=report)
                step.result = _loaded(staged)
        return pd.DataFrame({"table": str(table), "rows": table.rows} for table in staged.tables).set_index("table")

    def verify(self) -> pd.DataFrame:
        """Compares source and target, cell by cell; a row a table."""
        with self._step("s30-verify", self._inputs(), CHECK) as step:
            if not self.apply:
                return pd.DataFrame({"table": str(c.table), "verdict": "planned"} for c in self._planned().census)
            report = self._verify("snowflake")
            step.result = {**_summary(report), "rows": report.rows, "cells": report.cells}
        return _verdicts(report)

    def gate(self) -> Token:
        """The gate in front of every later phase: the target holds the snapshot."""
        with self._step("s30-gate", self._inputs(), CHECK) as step:
            if not self.apply:
                return rehearse(TARGET_HOLDS_THE_SNAPSHOT, str(self._planned().rows))
            step.result = _summary(report := self._found("snowflake"))
            return gate(
                TARGET_HOLDS_THE_SNAPSHOT,
                report.equal,
                evidence=_summary(report),
                next_step="look at the differing cells below and in the report; correct the cause, then run this phase again",
            )

    def differences(self) -> pd.DataFrame:
        """The first differing cells, side by side; empty when all are equal."""
        tables = self._reports["snowflake"].tables if "snowflake" in self._reports else ()
        rows = [
            {
                "table": str(t),
                "key": json.dumps(c.key) if c.key else "",
                "column": c.column,
                "source": c.source,
                "target": c.target,
            }
            for t in tables
            for c in t.cells[:20]
        ]
        return pd.DataFrame(rows, columns=["table", "key", "column", "source", "target"])

    def chart(self) -> go.Figure:
        """Rows on both sides; `verify` has its numbers."""
        tables = self._reports["snowflake"].tables if "snowflake" in self._reports else ()
        return charts.rows_on_both_sides(
            [str(t) for t in tables],
            [t.rows_source or 0 for t in tables],
            [t.rows_target or 0 for t in tables],
            [t.missing + t.extra + t.changed for t in tables],
        )

    def timing(self) -> pd.DataFrame:
        """Seconds of wall clock for each stage so far."""
        return pd.DataFrame(
            {"stage": list(self._seconds), "seconds": [round(s, 2) for s in self._seconds.values()]}
        ).set_index("stage")

    def timing_chart(self) -> go.Figure:
        """The same as a picture."""
        return charts.seconds_by_stage(self._seconds)

    def summary(self) -> str:
        """One sentence: the verdict, at which LSN, over how much."""
        if not self.apply:
            return f"REHEARSED: {self._planned().rows:,} rows would move at LSN {self._snapshot.lsn}"
        report = self._found("snowflake")
        exact = "" if self._snapshot.exact else " (approximate)"
        return (
            f"{report.verdict.upper()}: {report.rows:,} rows and {report.cells:,} cells of {len(report.tables)} tables "
            f"in {self._settings.snowflake.database}.{self._settings.snowflake.schema_} against the source at LSN {report.lsn}{exact}"
        )

    def source_engine(self) -> sqlalchemy.Engine:
        """For `%%sql` cells: read-only, and its address holds no password."""
        dsn = postgres.dsn(self._settings.source, settings={"default_transaction_read_only": "on"})
        return sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(dsn))

    def target_connection(self) -> Any:
        """For `%%sql` cells: the genuine connector's connection, in the target's schema."""
        target = self._settings.snowflake
        connection: snowflake.connector.SnowflakeConnection = snowflake_platform.open_connection(target)
        if self.apply:
            connection.cursor().execute(f"USE SCHEMA {snowflake_platform.identifier(target.database, target.schema_)}")
        return connection

    def largest_table(self, side: Literal["source", "target"] = "source") -> str:
        """What a `%%sql` cell selects from: the table with most rows, or in a rehearsal's target, which may not exist, one row."""
        census = max(self._planned().census, key=lambda c: c.rows)
        if side == "source":
            return postgres.identifier(census.table.schema, census.table.name)
        return snowflake_platform.identifier(census.table.name) if self.apply else "(SELECT 'rehearsed' AS STATE)"

    @property
    def _outlives(self) -> bool:
        return self._run.recorded and self.apply

    def _take(self) -> Snapshot:
        source = self._settings.source
        inputs = {"source": postgres.address(source)}
        with self._run.step("s30-snapshot", inputs=inputs, probe=self._is_held, apply=self.apply) as step:
            if step.skipped:
                return next(held for held in snapshot.held() if held.name == step.result["snapshot"])
            taken = snapshot.take(source, outlive=self._outlives)
            step.result = {"snapshot": taken.name, "lsn": taken.lsn, "exact": taken.exact}
        return taken

    @contextmanager
    def _step(
        self, name: str, inputs: Mapping[str, Any], declares: Declares | None = None, probe: Probe | None = None
    ) -> Iterator[Step]:
        try:
            with self._run.step(name, inputs=inputs, declares=declares, probe=probe, apply=self.apply) as step:
                yield step
        except MigrationError as error:
            if error.exit_code == 1 and self._outlives:
                snapshot.release(self._snapshot)  # the next attempt looks at the source as it is then
            raise

    def _inputs(self) -> dict[str, Any]:
        """What decides what the phase moves."""
        values = self._settings
        policies = {name: str(policy) for name, policy in values.export.policies.items()}
        return {
            "source": postgres.address(values.source), "schemas": list(values.source.schemas), "tables": list(self._globs),
            "snapshot": self._snapshot.name, "lsn": self._snapshot.lsn, "stage": str(self._bucket.location),
            "policies": policies,
        }  # fmt: skip

    def _is_held(self, load_id: str, result: Mapping[str, Any]) -> Found:
        name, source = result.get("snapshot"), self._settings.source
        kept = next((held for held in snapshot.held() if held.name == name), None)
        if kept is None:
            return Found("not done", f"the snapshot {name} was let go" if name else "no snapshot was recorded")
        try:
            with snapshot.reading(source, kept.name) as cursor:
                tables = read_catalog(cursor, schemas=source.schemas, tables=self._globs).tables
                snapshot.lock(cursor, tables, timeout_seconds=self._settings.export.lock_timeout_seconds)
        except SourceRefused as error:
            snapshot.release(kept)
            return Found("not done", f"the snapshot {name} no longer serves: {error.on}: {error.why}")
        return Found("done", f"the source still knows the snapshot {name}")

    def _is_staged(self, load_id: str, result: Mapping[str, Any]) -> Found:
        found = manifest.read_if_any(self._bucket)
        if found is None or not found.export.endswith(f"-{_mark(load_id)}"):
            return Found("not done", f"the manifest at {self._bucket.location} is not of this export")
        now = self._exported(found)
        if result and now != result:
            return Found("not done", f"the manifest at {self._bucket.location} was changed since")
        return Found("done", f"the manifest at {self._bucket.location} is of the export {found.export}", now)

    def _is_loaded(self, load_id: str, result: Mapping[str, Any]) -> Found:
        done, how = snowflake_records.is_loaded(self._staged(), self._settings.snowflake, load_id)
        return Found("done" if done else "not done", how, _loaded(self._staged()))

    def _exported(self, exported: Manifest | None) -> dict[str, Any]:
        if exported is None:
            return {}
        _, sha256 = self._bucket.sha256(manifest.NAME) or (0, "")
        rows, size = (sum(getattr(table, name) for table in exported.tables) for name in ("rows", "bytes"))
        return {"export": exported.export, "lsn": exported.lsn, "rows": rows, "bytes": size, "manifest_sha256": sha256}

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

    def _verify(self, target: TargetName) -> Report:
        path = report_path(f"verify-{target}.json")
        with self._timed(f"verify {target}"), progress(f"compare with {target}") as report:
            planned = verify.planned(
                self._settings, target=target, tables=self._globs, cells_folder=path.with_suffix(""), progress=report
            )
            with planned as plan:
                found = self._reports[target] = verify.verify(plan, progress=report)
        path.write_text(json.dumps(found.as_dict(), ensure_ascii=False, indent=1), encoding="utf-8")
        return found

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[stage] = time.monotonic() - started


def quiet_jupysql() -> None:
    """Keeps jupysql from reporting its use to its makers; call before `%load_ext sql`."""
    os.environ["PLOOMBER_STATS_ENABLED"] = "false"
    os.environ["PLOOMBER_VERSION_CHECK_DISABLED"] = "true"


def _shown(step: Step, plan: StepPlan) -> pd.DataFrame:
    step.result = plan.result()
    print(plan)  # noqa: T201 - the operator and the auditor read it in the cell's output
    return plan.objects


def _mark(load_id: str) -> str:
    return load_id[:12]


def _loaded(staged: Manifest) -> dict[str, Any]:
    return {"tables": len(staged.tables), "rows": sum(table.rows for table in staged.tables)}


def _verdicts(report: Report) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "table": str(t),
            "verdict": t.verdict,
            "source rows": t.rows_source,
            "target rows": t.rows_target,
            "cells compared": (t.rows_source or 0) * len(t.changed_cells),
            "differences": t.differences,
            "digest": t.digest,
        }
        for t in report.tables
    ).set_index("table")


def _summary(report: Report) -> dict[str, Any]:
    return {
        "verdict": report.verdict,
        "lsn": report.lsn,
        "tables": len(report.tables),
        "differences": {str(t): t.differences or t.verdict for t in report.tables if t.verdict != "equal"},
    }


def _out_of_order(what: str, why: str, next_step: str) -> UsageError:
    return UsageError(what, on="runbook 30_data_migration", why=why, next_step=next_step)
