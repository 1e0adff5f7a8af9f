"""The second half of phase 5 of the checklist, the legacy clean-up, as steps of `runbooks/50_cutover.ipynb`.

Only option A has it: a hybrid keeps its PostgreSQL. Nothing of it can be undone by a rollback, so it belongs behind the days in
which the new side was watched; the notebook says so, and its approval is one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import archive, checklist
from helpers.archive import record as archive_record
from helpers.errors import SettingsError
from helpers.infrastructure import resources as infrastructure
from helpers.infrastructure import tf_vars
from helpers.ledger.folders import run_folder
from helpers.ledger.gate import Token, gate, rehearse, require
from helpers.ledger.steps import Found
from helpers.ledger.view import NOT_APPLICABLE
from helpers.phases.common import cutover_plan, earlier
from helpers.phases.common.phase import Finding, Phase, table
from helpers.phases.p10_infrastructure import plan as infrastructure_plan
from helpers.phases.p50_cutover.cutover import PHASE
from helpers.pipelines import dashboard
from helpers.platforms import aws, postgres, terraform
from helpers.platforms.s3 import Bucket
from helpers.progress import progress
from helpers.source.catalog import read_catalog

MONITORED, ARCHIVED = "s50-monitor", "s50-archive"
DOCUMENTS = ("s50-runbooks", "s50-team-documentation", "s50-documentation")


class Cleanup(Phase):
    """One walk through the clean-up.

    Args:
        profile: of migration.toml.
        option: the migration path; only A has a clean-up.
        apply: whether steps act; without it they return their plans.
    """

    def __init__(self, profile: str, option: str, *, apply: bool | None) -> None:
        super().__init__(profile, apply=apply)
        self.option = option
        self._found: list[Finding] = []
        self._spoken = pd.DataFrame()

    def archive(self, monitored: Token) -> Token | pd.DataFrame:
        """Locks the legacy data away, as Parquet and as a dump, and sees that the dump restores; what follows takes the token."""
        if not self._has(ARCHIVED):
            return self._no_part(ARCHIVED)
        require(monitored, MONITORED, apply=self.apply)
        source = self.settings.source
        with self.step(ARCHIVED, {"source": postgres.address(source)}, probe=self._is_archived) as step:
            if not self.apply:
                with postgres.reading(source) as cursor:
                    tables = read_catalog(cursor, schemas=source.schemas).tables
                what = "lock every table and a dump in the archive's bucket, and restore the dump once"
                self.shown(step, cutover_plan.of_tables(ARCHIVED, what, tables, "Parquet, and in the dump"))
                return rehearse(ARCHIVED, what)
            if not step.skipped:
                with self.timed("archive"), progress("archive") as report:
                    done = archive.archive(archive.plan_archive(self.settings, self._working_folder()), progress=report)
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
        done = self.run.view()[ARCHIVED].result if self.apply else None
        return pd.DataFrame({"archive": list((done or {}).values())}, index=list(done or {}))

    def remove_legacy(self, archived: object) -> pd.DataFrame:
        """Destroys what Terraform has made for the legacy pipeline, once enough people have approved exactly that."""
        if not self._has("s50-remove-legacy"):
            return self._no_part("s50-remove-legacy")
        require(archived, ARCHIVED, apply=self.apply)
        step_id, module = "s50-remove-legacy", infrastructure.LEGACY
        what = f"destroy what {module.relative_to(module.parents[2])} has made in {aws.address(self.settings.aws)}"
        inputs = {"module": infrastructure_plan.module_digest(module), "where": aws.address(self.settings.aws)}
        with self.step(step_id, inputs, probe=self._is_gone) as step:
            if not self.apply:
                return self.shown(step, infrastructure_plan.of_files(step_id, what, module, (), self.settings))
            if not step.skipped:
                planned = terraform.plan(module, self._variables(), destroy=True, settings=self.settings)
                plan = cutover_plan.of_destroy(step_id, what, planned.changes)
                print(plan)  # noqa: T201 - who is asked to approve it reads it here
                by = self.approve(plan).by
                with self.timed("destroy"):
                    done = terraform.apply(planned)
                step.result = {
                    "deleted": done.deleted, "left": list(done.resources), "approved_by": list(by), "plan_sha256": planned.sha256,
                }  # fmt: skip
        return pd.DataFrame([{k: v for k, v in step.result.items() if k in ("deleted", "left")}])

    def documents(self) -> pd.DataFrame:
        """Who has given their word on the documents; all that are missing are named at once."""
        if not self._has(DOCUMENTS[0]):
            return self._no_part(", ".join(DOCUMENTS))
        self._spoken = self.words(*DOCUMENTS)
        return self._spoken.loc[["s50-runbooks"]]

    def document(self, name: str) -> pd.DataFrame:
        """Whose word one of them is."""
        return self._spoken.loc[[name]] if name in self._spoken.index else self._no_part(name)

    def dashboards(self) -> pd.DataFrame:
        """Puts the dashboard's definition into CloudWatch, or, where no account is configured, only beside this notebook."""
        if not self._has("s50-dashboards"):
            return self._no_part("s50-dashboards")
        name = self.settings.cutover.dashboard
        try:
            where = aws.address(self.settings.aws)
        except SettingsError:
            return self._only_beside(name)
        body = dashboard.definition(self.settings)
        with self.step("s50-dashboards", {"where": where, "definition": body}, probe=self._is_shown) as step:
            if not self.apply:
                what = f"put the dashboard {name} into CloudWatch"
                return self.shown(
                    step, cutover_plan.of_one("s50-dashboards", what, f"{name} in {where}", "create or replace")
                )
            if not step.skipped:
                wrong = dashboard.put(self.settings, body)
                step.result = {
                    "dashboard": name, "where": where, "widgets": len(body["widgets"]), "wrong": list(wrong),
                    "definition": self.report("dashboard", body),
                }  # fmt: skip
        return pd.DataFrame([step.result]).set_index("dashboard")

    def done(self) -> Token | pd.DataFrame:
        """Whether every box under the clean-up is done."""
        if not self._has("s50-cleanup"):
            return self._no_part("s50-cleanup")
        return self.check("s50-cleanup", self._of_boxes, acted=True)

    def findings(self) -> pd.DataFrame:
        """What that check has said, the gravest first."""
        return table(self._found)

    def _of_boxes(self) -> list[Finding]:
        under = {"s50-cleanup"}
        boxes = []
        for step in checklist.of_option(self.option):
            if step.phase == PHASE and step.under in under:
                under.add(step.id)
                boxes.append(step)
        self._found = list(earlier.open_boxes(self.run.view(), boxes))
        return self._found

    def _has(self, name: str) -> bool:
        return any(step.id == name for step in checklist.of_option(self.option))

    def _no_part(self, name: str) -> pd.DataFrame:
        return pd.DataFrame([(name, f"no part of option {self.option}")], columns=["step", "what"]).set_index("step")

    def _only_beside(self, name: str) -> pd.DataFrame:
        finding = Finding(
            "warning", name, "no AWS account is configured, so no dashboard was put anywhere",
            "add [profiles.NAME.aws] to migration.toml, or build the dashboard in the tool that you use",
        )  # fmt: skip
        with self.step("s50-dashboards", {"where": "nowhere"}) as step:
            step.result = {NOT_APPLICABLE: finding.what}
        return table([finding])

    def _variables(self) -> dict[str, str]:
        return infrastructure_plan.variables(self.settings, tf_vars.environment(self.settings.file.parent), {})

    def _working_folder(self) -> Path:
        """Where `runbook archive --run` works too: not in the run's own folder, whose files are evidence."""
        return run_folder().parent / ".archives" / f"run-{run_folder().name}"

    def _is_archived(self, load_id: str, result: Mapping[str, Any]) -> Found:
        if not result:
            return Found("not done", "nothing says that an archive was finished")
        found = archive_record.read(Bucket.open(self.settings.archive_stage), str(result.get("archive")))
        how = f"the archive {result.get('archive')} is {'there' if found else 'not there'}"
        return Found("done" if found else "not done", how, result)

    def _is_gone(self, load_id: str, result: Mapping[str, Any]) -> Found:
        held = terraform.resources(infrastructure.LEGACY, self.settings)
        how = f"the state holds {len(held)} resources of the legacy pipeline"
        return Found("done" if not held and result else "not done", how, result)

    def _is_shown(self, load_id: str, result: Mapping[str, Any]) -> Found:
        same = dashboard.present(self.settings) == dashboard.definition(self.settings)
        return Found(
            "done" if same and result else "not done",
            f"CloudWatch has {'this' if same else 'another or no'} dashboard",
            result,
        )
