"""Phase 1 of the checklist, as the steps of `runbooks/10_infrastructure.ipynb`: the environment, and what Terraform makes.

A rehearsal shows what the modules declare, read from their files; with `plan` it is Terraform's own plan, for which Terraform
and a provider are installed once. To be applied, each plan has to be approved as it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.evidence.people import roll
from helpers.infrastructure import env_file, tf_vars
from helpers.infrastructure import resources as infrastructure
from helpers.ledger.gate import Token, rehearse, require
from helpers.ledger.ledger import digest
from helpers.ledger.steps import Found, Probe
from helpers.phases.common.phase import Finding, Phase, table
from helpers.phases.p10_infrastructure import plan as infrastructure_plan
from helpers.platforms import aws, environments, snowflake, terraform
from helpers.platforms.terraform import TerraformPlan
from helpers.settings import PROJECT

ENVIRONMENT = "s10-environment-gate"
VALID = "s10-validate"
LEGACY_VALID = "s10-legacy-validate"

Applies = Mapping[str, str]


class Infrastructure(Phase):
    """One walk through the phase.

    Args:
        profile: of migration.toml.
        option: the migration path; C has the legacy module and nothing else.
        apply: whether steps act; without it they return their plans.
        plan: whether a rehearsal asks Terraform for its plan.
    """

    def __init__(self, profile: str, option: str, *, apply: bool | None, plan: bool = False) -> None:
        super().__init__(profile, apply=apply)
        self.option = option
        self._terraform = self.apply or plan
        self._plans: dict[str, TerraformPlan] = {}
        self._findings: dict[str, list[Finding]] = {}

    @property
    def _legacy(self) -> bool:
        return self.option == "C"

    def prepare(self) -> str:
        """Installs Terraform where it will be needed, and says how long that took."""
        if not self._terraform:
            return "Terraform is not asked: what the modules declare is read from their files. plan = True asks it."
        began = time.monotonic()
        with self.timed("install Terraform"):
            environments.python("cloud", report=print)
        return f"Terraform is there, after {time.monotonic() - began:.1f} s"

    def environment(self) -> pd.DataFrame:
        """Writes a missing `.env`, or shows what it would offer."""
        if self._legacy:
            return self._no_part("s10-environment")
        folder = self.settings.file.parent
        plan = infrastructure_plan.of_env_file(folder)
        with self.step("s10-environment", {"file": env_file.NAME}, probe=self._has_env) as step:
            if not self.apply:
                return self.shown(step, plan)
            if not step.skipped:
                made = env_file.copy(folder)
                step.result = {"made": made, "names": len(plan.objects)}
        return plan.objects

    def check_environment(self) -> Token | pd.DataFrame:
        """The gate in front of Terraform: every variable is there, and no secret is where others read it."""
        if self._legacy:
            return self._no_part(ENVIRONMENT)
        return self.check(ENVIRONMENT, self._environment_findings, inputs={"profile": self.settings.profile})

    def validate(self, environment_checked: object) -> Token | pd.DataFrame:
        """The gate in front of every plan: the modules are what their providers take."""
        if self._legacy:
            return self._no_part(VALID)
        require(environment_checked, ENVIRONMENT, apply=self.apply)
        return self._validated(VALID)

    def validate_legacy(self) -> Token | pd.DataFrame:
        """The same in front of option C's plan."""
        return self._validated(LEGACY_VALID) if self._legacy else self._no_part(LEGACY_VALID)

    def findings(self, name: str) -> pd.DataFrame:
        """What a check has seen, the gravest first."""
        return table(self._findings.get(name, []))

    def base(self, validated: object) -> pd.DataFrame:
        """Network, storage, monitoring and DNS."""
        return self._deploy("s10-base", validated, "make network, storage, monitoring and DNS", infrastructure.BASE, {})

    def snowflake(self, validated: object) -> pd.DataFrame:
        """`terraform apply -target=module.snowflake`, with ENABLE_SNOWFLAKE_OBJECTS."""
        return self._deploy(
            "s10-snowflake", validated, f"make the objects in {snowflake.address(self.settings.snowflake)}",
            infrastructure.SNOWFLAKE, {"enable_snowflake_objects": "true"},
        )  # fmt: skip

    def kafka(self, validated: object) -> pd.DataFrame:
        """`terraform apply -target=module.kafka`, with ENABLE_MSK."""
        return self._deploy(
            "s10-kafka", validated, "make the Kafka cluster", infrastructure.KAFKA, {"enable_msk": "true"}
        )

    def legacy(self, validated: object) -> pd.DataFrame:
        """`terraform apply` in the legacy module: option C's."""
        if not self._legacy:
            return self._no_part("s10-legacy")
        return self._deploy("s10-legacy", validated, "make the legacy pipeline's database, bucket and name", (), {})

    def milestone(self) -> Token | pd.DataFrame:
        """The phase's last gate: what was applied is there, and answers."""
        if self._legacy:
            return self._no_part("s10-milestone")
        return self.check("s10-milestone", self._milestone_findings, inputs=self._inputs(), acted=True)

    def summary(self) -> str:
        """One sentence: what is there now, or what would be."""
        resources = len(self._declared())
        module = self._module.relative_to(PROJECT).as_posix()
        if self.apply:
            held = len(terraform.resources(self._module, self.settings))
            return f"APPLIED: the state of {module} holds {held} resources, in {aws.address(self.settings.aws)}"
        how = "planned by Terraform" if self._terraform else "read from the files, not planned by Terraform"
        return f"REHEARSED: {module} declares {resources} resources ({how}); nothing was changed"

    @property
    def _module(self) -> Path:
        return infrastructure.LEGACY if self._legacy else infrastructure.MODERN

    def _declared(self, targets: Sequence[str] = ()) -> list[infrastructure.Declared]:
        return infrastructure.declared(self._module, targets)

    def _no_part(self, name: str) -> pd.DataFrame:
        return pd.DataFrame([(name, f"no part of option {self.option}")], columns=["step", "what"]).set_index("step")

    def _validated(self, name: str) -> Token:
        if not self._terraform:
            with self.step(name, self._inputs()) as step:
                step.result = {"what": "the module would be validated", "resources": len(self._declared())}
                self._findings[name] = [
                    Finding("note", "the module", "Terraform was not asked, so nothing was validated")
                ]
                return rehearse(name, "Terraform was not asked")
        return self.check(name, self._problems, inputs=self._inputs())

    def _deploy(
        self, name: str, validated: object, what: str, targets: Sequence[str], switches: Applies
    ) -> pd.DataFrame:
        if self._legacy != (name == "s10-legacy"):
            return self._no_part(name)
        require(validated, LEGACY_VALID if self._legacy else VALID, apply=self.apply)
        what = f"{what}, in {aws.address(self.settings.aws)}"
        inputs = {**self._inputs(switches), "targets": list(targets)}
        with self.step(name, inputs, probe=self._probe(name, targets, switches)) as step:
            if not self._terraform:
                return self.shown(step, infrastructure_plan.of_files(name, what, self._module, targets, self.settings))
            if step.skipped:
                return self._held(targets)
            if self.apply:
                roll(self.settings).needed(name, "other")  # where nobody may sign, Terraform need not be asked
            with self.timed(f"plan {name}"):
                planned = self._plans.pop(name, None) or self._planned(targets, switches)
            plan = infrastructure_plan.of_terraform(name, what, planned, targets, self.settings)
            if not self.apply:
                return self.shown(step, plan)
            print(plan)  # noqa: T201 - who is asked to approve it reads it here
            by = self.approve(plan).by
            with self.timed(f"apply {name}"):
                applied = terraform.apply(planned)
            step.result = {
                "created": applied.created, "updated": applied.updated, "deleted": applied.deleted,
                "left_out": int((plan.objects["action"] == "left out").sum()), "approved_by": list(by), "plan_sha256": planned.sha256,
            }  # fmt: skip
        return self._held(targets)

    def _planned(self, targets: Sequence[str], switches: Applies) -> TerraformPlan:
        return terraform.plan(self._module, self._variables(switches), targets=targets, settings=self.settings)

    def _probe(self, name: str, targets: Sequence[str], switches: Applies) -> Probe:
        """Asks the real services, through Terraform's refresh, whether everything is as it was applied."""

        def look(load_id: str, result: Mapping[str, Any]) -> Found:
            held = [each for each in terraform.resources(self._module, self.settings) if _meant(each, targets)]
            planned = self._planned(targets, switches)
            if not planned.changes and held:
                return Found(
                    "done",
                    f"the services hold all {len(held)} resources of the state as they were applied",
                    dict(result),
                )
            self._plans[name] = planned
            differ = ", ".join(f"{change.address} ({change.action})" for change in planned.changes[:3])
            more = f" and {len(planned.changes) - 3} more" if len(planned.changes) > 3 else ""
            return Found("not done", f"{len(held)} resources are in the state; to do: {differ}{more}")

        return look

    def _held(self, targets: Sequence[str]) -> pd.DataFrame:
        held = [each for each in terraform.resources(self._module, self.settings) if _meant(each, targets)]
        left = infrastructure_plan.left_out(self._module, targets, self.settings)
        rows = [(each, "in the state", "") for each in held] + [(each, "left out", why) for each, why in left.items()]
        return pd.DataFrame(rows, columns=["address", "state", "why"]).set_index("address")

    def _variables(self, switches: Applies) -> dict[str, str]:
        """What the environment says, and above it what the profile knows."""
        return infrastructure_plan.variables(self.settings, tf_vars.environment(self.settings.file.parent), switches)

    def _inputs(self, switches: Applies | None = None) -> dict[str, Any]:
        """What decides what a step does; of secrets their digest."""
        secret = {each.terraform for each in tf_vars.VARIABLES if each.secret}
        given = self._variables(switches or {})
        return {
            "module": infrastructure_plan.module_digest(self._module),
            "where": aws.address(self.settings.aws),
            "variables": {name: digest(value) if name in secret else value for name, value in sorted(given.items())},
        }

    def _has_env(self, load_id: str, result: Mapping[str, Any]) -> Found:
        path = self.settings.file.parent / env_file.NAME
        return (
            Found("done", f"{env_file.NAME} is there")
            if path.exists()
            else Found("not done", f"there is no {env_file.NAME}")
        )

    def _environment_findings(self) -> list[Finding]:
        needed = infrastructure_plan.needed(self.settings)
        found = env_file.faults(self.settings.profile, self.settings.file, needed)
        origins = infrastructure_plan.origins(self.settings, tf_vars.environment(self.settings.file.parent))
        notes = [
            Finding("note", f"TF_VAR_{each.terraform}", f"{each.what}: {origins[each.terraform]}")
            for each in tf_vars.VARIABLES
            if each.terraform in origins
        ]
        self._findings[ENVIRONMENT] = [*(Finding(f.severity, f.on, f.what, f.fix) for f in found), *notes]
        return self._findings[ENVIRONMENT]

    def _problems(self) -> list[Finding]:
        name = LEGACY_VALID if self._legacy else VALID
        with self.timed("validate"):
            problems = terraform.validate(self._module, self.settings)
        found = [
            Finding(
                "stop" if p.severity == "error" else "warning", p.where or "the module", p.what, "correct the module"
            )
            for p in problems
        ]
        found += [
            Finding("note", f"{provider}", how)
            for provider, how in infrastructure_plan.checked_by(self._module, self.settings)
        ]
        self._findings[name] = found
        return found

    def _milestone_findings(self) -> list[Finding]:
        self._findings["s10-milestone"] = list(self._of_milestone())
        return self._findings["s10-milestone"]

    def _of_milestone(self) -> Iterator[Finding]:
        switches = {"enable_snowflake_objects": "true", "enable_msk": "true"}
        for change in self._planned((), switches).changes:
            yield Finding(
                "stop", change.address, f"is not as it was applied: Terraform would {change.action} it",
                "run this phase again, and approve its plan",
            )  # fmt: skip
        for answer in infrastructure.answers(self.settings, self._variables(switches)):
            yield Finding(
                "note" if answer.found else "stop", f"{answer.service}: {answer.on}", answer.how,
                "" if answer.found else "run this phase again, and approve its plan",
            )  # fmt: skip
        for address, why in infrastructure_plan.left_out(self._module, (), self.settings).items():
            yield Finding("warning", address, f"was not made: {why}")


def _meant(address: str, targets: Sequence[str]) -> bool:
    return not targets or any(infrastructure.within(address, target) for target in targets)
