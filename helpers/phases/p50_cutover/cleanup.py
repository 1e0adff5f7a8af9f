"""The second half of phase 5 of the checklist, the legacy clean-up, as steps of `runbooks/50_cutover.ipynb`.

Only option A has it: a hybrid keeps its PostgreSQL. A rollback cannot undo it, so it comes after the days of monitoring the
new system; the notebook says so, and it has its own approval.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import archive, checklist
from helpers.archive import record as archive_record
from helpers.infrastructure import tf_vars
from helpers.ledger.folders import run_folder
from helpers.ledger.gate import Token, gate, rehearse, require
from helpers.ledger.steps import Found
from helpers.phases.common import earlier
from helpers.phases.common.absent import module_of
from helpers.phases.common.phase import part_of
from helpers.phases.common.switches import Switching, plan_change, plan_tables
from helpers.phases.p10_infrastructure import plan as infrastructure_plan
from helpers.phases.p50_cutover.cutover import PHASE
from helpers.pipelines import dashboard
from helpers.platforms import aws, postgres, terraform
from helpers.platforms.s3 import Bucket
from helpers.progress import progress

MONITORED, ARCHIVED, REMOVED, CLEANED = "s50-monitor", "s50-archive", "s50-remove-legacy", "s50-cleanup"
DOCUMENTS = ("s50-runbooks", "s50-team-documentation", "s50-documentation")


class Cleanup(Switching):
    """One walk through the clean-up; see `Phase` for what it takes and raises."""

    def __init__(self, profile: str, option: str, *, apply: bool | None) -> None:
        super().__init__(profile, option, apply=apply)
        self._spoken = pd.DataFrame()

    @part_of(ARCHIVED)
    def archive(self, monitored: Token) -> Token:
        """Locks the legacy data away, as Parquet and as a dump, and sees that the dump restores; what follows takes the token."""
        require(monitored, MONITORED, apply=self.apply)
        if ARCHIVED in self.absent:
            return self.pass_over(ARCHIVED)
        source, _ = self.settings.source, self.settings.archive  # without which a rehearsal would promise too much
        with self.step(ARCHIVED, {"source": postgres.address(source)}, probe=self._is_archived) as step:
            if not self.apply:
                what = "lock every table and a dump in the archive's bucket, and restore the dump once"
                self.shown(
                    step,
                    plan_tables(
                        ARCHIVED,
                        what,
                        self.source_catalog(self.settings.undescribed.tables).tables,
                        "Parquet, and in the dump",
                    ),
                )
                return rehearse(ARCHIVED, what)
            if not step.skipped:
                # Where `runbook archive --run` works too: not in the run's own folder, whose files are evidence.
                folder = archive.working_folder(run_folder().parent, run=run_folder().name)
                with self.timed("archive"), progress("archive") as report:
                    done = archive.archive(archive.plan_archive(self.settings, folder), progress=report)
                step.result = {
                    "archive": done.name, "location": done.location, "lsn": done.lsn, "rows": done.rows, "bytes": done.bytes,
                    "retain_until": done.retain_until.isoformat(), "restores": done.restore_test.verdict,
                }  # fmt: skip
            return gate(
                ARCHIVED, step.result.get("restores") == "equal", evidence=step.result,
                next_step="the archive does not restore to what it should hold: nothing is removed; runbook archive --retest NAME",
            )  # fmt: skip

    def archived(self) -> pd.DataFrame:
        """What lies in the archive."""
        done = (self.run.view()[ARCHIVED].result if self.apply else None) or {}
        return pd.DataFrame({"archive": list(done.values())}, index=list(done))

    @part_of(REMOVED)
    def remove_legacy(self, archived: object) -> pd.DataFrame:
        """Destroys what Terraform has made for the legacy pipeline, once enough people have approved exactly that."""
        require(archived, ARCHIVED, apply=self.apply)
        module, account = self._legacy, self.settings.values.aws
        where = aws.address(account) if account else "the services of its providers"
        what = f"destroy what {'/'.join(module.parts[-2:])} has made in {where}"
        inputs = {"module": infrastructure_plan.module_digest(module), "where": where}
        with self.step(REMOVED, inputs, probe=self._is_gone) as step:
            if not self.apply:
                return self.shown(step, infrastructure_plan.plan_files(REMOVED, what, module, (), self.settings))
            if not step.skipped:
                environment = tf_vars.environment(self.settings.file.parent)
                variables = infrastructure_plan.variables(module, self.settings, environment, {})
                planned = terraform.plan(module, variables, destroy=True, settings=self.settings)
                # By address and name: a service reports some values differently at every look, such as until when a
                # database can be restored, and a signature must outlast that.
                rows = [(change.address, change.action, change.what) for change in planned.changes]
                by = self.approve(plan_change(REMOVED, what, rows, "resources")).by
                with self.timed("destroy"):
                    done = terraform.apply(planned)
                step.result = {
                    "deleted": done.deleted, "left": list(done.resources), "approved_by": list(by), "plan_sha256": planned.sha256,
                }  # fmt: skip
        return pd.DataFrame([{k: v for k, v in step.result.items() if k in ("deleted", "left")}])

    @part_of(*DOCUMENTS)
    def documents(self) -> pd.DataFrame:
        """Who has given their word on the documents; all that are missing are named at once."""
        self._spoken = self.words(*DOCUMENTS)
        return self._spoken.loc[["s50-runbooks"]]

    def document(self, name: str) -> pd.DataFrame:
        """Whose word one of them is."""
        return self._spoken.loc[[name]] if name in self._spoken.index else self.no_part(name)

    @part_of("s50-dashboards")
    def dashboards(self) -> pd.DataFrame:
        """Puts the dashboard's definition into CloudWatch."""
        name, where = self.settings.cutover.dashboard or "", aws.address(self.settings.aws)
        body = dashboard.definition(self.settings)
        with self.step("s50-dashboards", {"where": where, "definition": body}, probe=self._is_shown) as step:
            if not self.apply:
                what, rows = (
                    f"put the dashboard {name} into CloudWatch",
                    [(f"{name} in {where}", "create or replace", "")],
                )
                return self.shown(step, plan_change("s50-dashboards", what, rows, "objects"))
            if not step.skipped:
                wrong = dashboard.put(self.settings, body)
                step.result = {
                    "dashboard": name, "where": where, "widgets": len(body["widgets"]), "wrong": list(wrong),
                    "definition": self.report("dashboard", body),
                }  # fmt: skip
        return pd.DataFrame([step.result]).set_index("dashboard")

    @part_of(CLEANED)
    def done(self) -> Token:
        """Whether every box under the clean-up is done."""
        under, boxes = {CLEANED}, []
        for step in checklist.steps_for_option(self.option):
            if step.phase == PHASE and step.under in under:
                under.add(step.id)
                boxes.append(step)
        return self.check(CLEANED, lambda: earlier.open_boxes(self.run.view(), boxes), acted=True)

    def findings(self, name: str = CLEANED) -> pd.DataFrame:
        """What that check has said, the most severe first."""
        return super().findings(name)

    @property
    def _legacy(self) -> Path:
        module = module_of(self.settings, "C")
        assert module is not None, "without a module of the legacy infrastructure, its removal is absent"
        return module

    def _is_archived(self, load_id: str, result: Mapping[str, Any]) -> Found:
        if not result:
            return Found("not done", "nothing says that an archive was finished")
        found = archive_record.read(Bucket.open(self.settings.archive_stage), str(result.get("archive")))
        how = f"the archive {result.get('archive')} is {'there' if found else 'not there'}"
        return Found("done" if found else "not done", how, result)

    def _is_gone(self, load_id: str, result: Mapping[str, Any]) -> Found:
        held = terraform.resources(self._legacy, self.settings)
        how = f"the state holds {len(held)} resources of the legacy pipeline"
        return Found("done" if not held and result else "not done", how, result)

    def _is_shown(self, load_id: str, result: Mapping[str, Any]) -> Found:
        same = dashboard.present(self.settings) == dashboard.definition(self.settings)
        how = f"CloudWatch has {'this' if same else 'another or no'} dashboard"
        return Found("done" if same and result else "not done", how, result)
