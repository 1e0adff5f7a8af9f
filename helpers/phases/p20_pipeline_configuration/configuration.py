"""Phase 2 of the checklist, as the steps of `runbooks/20_pipeline_configuration.ipynb`.

Which DAGs are switched depends on the migration path; a cell whose step the path does not have says so and records nothing. A
rehearsal reads the DAG files and the data sources, without Airflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from helpers import settings
from helpers.errors import ConnectionFailed, MigrationError, PipelineFailed
from helpers.finding import Finding, failed, judged, note, stop, warning
from helpers.frames import frame
from helpers.ledger.gate import Token, require
from helpers.ledger.steps import CHECK, Found
from helpers.phases.common.phase import Phase, part_of
from helpers.phases.common.plan import StepPlan, plan_step
from helpers.phases.common.switches import Switches, configured
from helpers.pipelines import dag_files, data_sources
from helpers.platforms import airflow as platform
from helpers.platforms.airflow import Airflow, Task
from helpers.progress import progress
from helpers.settings.local_stack import local_stack

COST = "none: switches and variables of Airflow cost nothing"

ASK_AIRFLOW = ("s20-cloud-dag", "s20-sources", "s20-test", "s20-legacy-dag", "s20-legacy-run")
"""Steps that switch, write or start something there."""


class PipelineConfiguration(Phase):
    """One walk through the phase; with `apply`, the local stack's Airflow starts if it is not up.

    Args:
        profile, option, apply: as `Phase` takes them.

    Raises:
        UsageError: there is no such option, or a DAG file is missing or cannot be read.
        ConnectionFailed: with `apply`, the profile's Airflow is not up, or does not answer.
    """

    def __init__(self, profile: str, *, option: str = "A", apply: bool | None) -> None:
        super().__init__(profile, option, apply=apply)
        dags = self.settings.dags
        self.switches: Switches = configured(dags, option)
        self.pipeline = next(iter(dags.legacy if option == "C" else dags.modern), "")
        """The DAG that is tried; empty where the profile names none."""
        wanted = (*self.switches.off, *self.switches.on)
        found = dag_files.read(self.settings.path(dags.folder), wanted) if dags.folder else ()
        self._files = {dag.name: dag for dag in found}
        self._sources = data_sources.data_sources(self.settings)
        own = [step for step in ASK_AIRFLOW if self.has(step) and step not in self.absent]
        self._airflow: Airflow | None = self._reached() if self.apply and own else None
        self._tasks: list[Task] = []
        self._log: dict[str, list[str]] = {}

    def files(self) -> pd.DataFrame:
        """The pipeline's DAGs as their files say, and what this path does with each."""
        named = dict.fromkeys((*self.switches.off, *self.switches.on)) | self._files
        rows = [
            (name, self._wanted(name) or "stays as it is", dag.schedule if dag else "", dag.file if dag else "")
            for name, dag in sorted(named.items())
        ]
        return frame(rows, "dag", "on this path", "schedule", "file")

    @part_of("s20-cloud-dag")
    def cloud_dag(self) -> pd.DataFrame:
        """Switches the DAGs of options A and B; a row a DAG."""
        return self._switch("s20-cloud-dag")

    @part_of("s20-cloud-gate")
    def cloud_gate(self) -> Token:
        """The gate behind the switches of options A and B: Airflow has them so, and reads every DAG file."""
        return self._switched("s20-cloud-gate")

    @part_of("s20-sources")
    def sources(self, switched: Token) -> pd.DataFrame:
        """Tells Airflow which data sources its DAGs have; a row a source."""
        require(switched, "s20-cloud-gate", apply=self.apply)
        value = data_sources.told(self.settings, self._sources)
        rows = [
            (name, source.what, source.access, data_sources.address(source, self.settings))
            for name, source in self._sources.items()
        ]
        plan = plan_step(
            "s20-sources",
            f"write Airflow's variable {self._variable}: profile {self.settings.profile} and these names, no secret",
            rows, "source", "what", "access", "where",
            cost=COST, totals={"data_sources": len(rows), "characters": len(value)},
        )  # fmt: skip
        with self.step("s20-sources", {"value": value}, probe=self._is_told) as step:
            if not self.apply:
                return self.shown(step, plan)
            if not step.skipped:
                self._tell(value)
                step.result = {"variable": self._variable, "plan_sha256": plan.result()["plan_sha256"]}
        return plan.objects

    @part_of("s20-sources-gate")
    def sources_gate(self) -> Token:
        """The gate behind the data sources: each is reached, also in a rehearsal, which writes to none."""
        return self.check("s20-sources-gate", self._reach, inputs={"sources": list(self._sources)})

    @part_of("s20-test")
    def test(self, reached: Token) -> pd.DataFrame:
        """Runs the cloud pipeline once, to its end; a row a task."""
        require(reached, "s20-sources-gate", apply=self.apply)
        return self._run("s20-test")

    @part_of("s20-legacy-dag")
    def legacy_dag(self) -> pd.DataFrame:
        """Switches the DAGs of option C; a row a DAG."""
        return self._switch("s20-legacy-dag")

    @part_of("s20-legacy-gate")
    def legacy_gate(self) -> Token:
        """The gate behind the switches of option C, as `cloud_gate`."""
        return self._switched("s20-legacy-gate")

    @part_of("s20-legacy-run")
    def legacy_run(self, switched: Token) -> pd.DataFrame:
        """Runs the legacy pipeline once, to its end; a row a task."""
        require(switched, "s20-legacy-gate", apply=self.apply)
        return self._run("s20-legacy-run")

    def log(self) -> HTML:
        """What each task of the run said, folded; a line in a rehearsal."""
        said = "".join(
            f"<details><summary>{escape(task)}: {len(lines)} lines</summary><pre>{escape(chr(10).join(lines))}</pre></details>"
            for task, lines in self._log.items()
        )
        return HTML(said or "<p>No run was started.</p>")  # type: ignore[no-untyped-call]

    @part_of("s20-milestone")
    def milestone(self) -> Token:
        """The row of the timeline: switched, configured, and one run seen to succeed."""
        return self.check("s20-milestone", self._reaches_milestone, acted=True)

    def summary(self) -> str:
        """One sentence."""
        on, off = ", ".join(self.switches.on), ", ".join(self.switches.off)
        if (reason := self.absent.get("s20-milestone")) or (self.apply and self._airflow is None):
            return f"NOT CONFIGURED HERE: {reason or 'this run has switched, told and started nothing'}"
        if self._airflow is None:
            return f"REHEARSED: {on} would be on and {off} off, and {self.pipeline} would run once"
        seconds = sum(task.seconds or 0.0 for task in self._tasks)
        return f"CONFIGURED: {on} on, {off} off in {self._airflow.address}; {self.pipeline} ran {len(self._tasks)} tasks in {seconds:.0f} s"

    @property
    def _variable(self) -> str:
        return self.settings.dags.variable or ""

    @property
    def _connected(self) -> Airflow:
        assert self._airflow is not None, "only applied steps ask Airflow"
        return self._airflow

    @property
    def _address(self) -> str:
        return self._airflow.address if self._airflow else "not asked"

    def _reached(self) -> Airflow:
        if self.settings.values.stack == "local" and self.settings.values.airflow is None:
            local_stack().airflow(_say)
            self.settings = settings.load(self.settings.profile, self.settings.file)
        return platform.connect(self.settings)

    def _wanted(self, dag: str) -> str:
        return "enable" if dag in self.switches.on else "disable" if dag in self.switches.off else ""

    def _switch(self, name: str) -> pd.DataFrame:
        inputs = {"on": list(self.switches.on), "off": list(self.switches.off), "airflow": self._address}
        with self.step(name, inputs, probe=self._is_switched) as step:
            if not self.apply:
                return self.shown(step, self._plan_switches(name))
            if not step.skipped:
                self.switches.switch(self._connected)
                if self.option == "C" and self._variable:  # which has no step for its data sources
                    self._tell(data_sources.told(self.settings, self._sources))
                step.result = {"dags": self.switches.states(self._connected)}
        rows = ((dag, "enabled" if on else "disabled") for dag, on in step.result["dags"].items())
        return frame(rows, "dag", "state")

    def _plan_switches(self, name: str) -> StepPlan:
        rows = [
            (name, self._wanted(name), dag.file if dag else "", dag.schedule if dag else "")
            for name in (*self.switches.off, *self.switches.on)
            for dag in (self._files.get(name),)
        ]
        return plan_step(
            name, "switch DAGs in Airflow, which a rehearsal does not ask how they stand", rows, "dag", "action", "file", "schedule",
            cost=COST, totals={"to_enable": len(self.switches.on), "to_disable": len(self.switches.off)},
        )  # fmt: skip

    def _tell(self, value: str) -> None:
        description = "Data sources of the pipeline's DAGs, by name; written by runbook 20."
        self._connected.set_variable(self._variable, value, description=description)

    def _switched(self, name: str) -> Token:
        return self.check(name, self._look_at_dags, inputs={"airflow": self._address}, acted=True)

    def _look_at_dags(self) -> Iterator[Finding]:
        own = {dag.file for dag in self._files.values()}
        for problem in self._connected.import_errors():
            said = stop if Path(problem.file).name in own else warning  # other teams have DAGs there, too
            yield said(problem.file, f"Airflow cannot read it: {problem.why}", "correct the DAG file")
        for dag, on in self.switches.states(self._connected).items():
            fix = f"{self._wanted(dag)} it: run this notebook again"
            yield judged(on == (dag in self.switches.on), dag, f"it is {'enabled' if on else 'disabled'}", fix)

    def _reach(self) -> Iterator[Finding]:
        for name, source in self._sources.items():
            try:
                found = data_sources.reach(source, self.settings, write=self.apply and source.access == "write")
            except ConnectionFailed:
                raise  # it may pass, which a closed gate never does
            except MigrationError as error:
                yield failed(name, error)
            else:
                yield note(name, f"{found.address}: {found.said}")

    def _reaches_milestone(self) -> Iterator[Finding]:
        for step in (each for each in ASK_AIRFLOW if self.has(each) and each in self.absent):
            yield note(step, self.absent[step])
        switch, run = ("s20-legacy-dag", "s20-legacy-run") if self.option == "C" else ("s20-cloud-dag", "s20-test")
        if switch not in self.absent:
            yield from self._look_at_dags()
        told = switch if self.option == "C" else "s20-sources"
        wanted = data_sources.told(self.settings, self._sources)
        if self._variable and told not in self.absent and self._connected.variable(self._variable) != wanted:
            yield stop(self._variable, "Airflow has other data sources", "run this notebook again")
        if run in self.absent:
            return
        bad = [task.name for task in self._tasks if task.state != "success"]
        if bad or not self._tasks:
            what = f"not successful: {', '.join(bad)}" if bad else "no run was seen in this session"
            yield stop(self.pipeline, what, "run the test above")

    def _run(self, name: str) -> pd.DataFrame:
        with self.step(name, {"dag": self.pipeline, "airflow": self._address}, CHECK) as step:
            if not self.apply:
                file = self._files.get(self.pipeline)
                run = (self.pipeline, "run once", file.description if file else "")
                cost = COST if self.option == "C" else "what its tasks cost: see the plans of phase 30"
                what = "start one run in Airflow and follow it to its end"
                columns = ("dag", "action", "description")
                return self.shown(step, plan_step(name, what, [run], *columns, cost=cost, totals={"runs": 1}))
            run_id = f"runbook-{step.load_id}"
            # The DAG is enabled by now; a run of its schedule that is at work goes first, and this one waits.
            self._connected.trigger(self.pipeline, run_id=run_id)
            with self.timed("test run"), progress(self.pipeline, unit="tasks") as report:
                state = self._connected.follow(self.pipeline, run_id, report)
            self._tasks = self._connected.tasks(self.pipeline, run_id)
            self._log = self._said(run_id)
            step.result = {
                "run": run_id, "state": state, "tasks": {task.name: task.state for task in self._tasks},
                "evidence": self.report(name, {"dag": self.pipeline, "run": run_id, "state": state, "log": self._log}),
            }  # fmt: skip
            if state != "success":
                log = self._connected.log_of_failed(self.pipeline, run_id)
                why = log or f"it ended as {state}"
                cure = "correct what the log says, then run this phase again"
                raise PipelineFailed("run the pipeline", on=f"{self.pipeline}, run {run_id}", why=why, next_step=cure)
        rows = [(t.name, t.state, t.attempt, None if t.seconds is None else round(t.seconds, 1)) for t in self._tasks]
        return frame(rows, "task", "state", "attempt", "seconds")

    def _said(self, run_id: str) -> dict[str, list[str]]:
        begun = [task for task in self._tasks if task.attempt]
        logs = {task.name: self._connected.log(self.pipeline, run_id, task.name, task.attempt) for task in begun}
        return {name: platform.telling(log) for name, log in logs.items()}

    def _is_switched(self, load_id: str, result: Mapping[str, Any]) -> Found:
        found = self.switches.probe(self._connected, self._address)
        if self.option == "C" and self._variable and found.answer == "done":
            told = self._is_told(load_id, result)
            return replace(told, how=f"{found.how}; {told.how}", result=found.result)
        return found

    def _is_told(self, load_id: str, result: Mapping[str, Any]) -> Found:
        value, wanted = self._connected.variable(self._variable), data_sources.told(self.settings, self._sources)
        if value != wanted:
            return Found("not done", f"{self._address} has {'other' if value else 'no'} data sources")
        return Found("done", f"{self._address} has these data sources", {"variable": self._variable})


def _say(line: str) -> None:
    print(line)  # noqa: T201 - the operator sees in the cell's output why it takes a minute
