"""Phase 1 of the checklist, as the steps of `runbooks/10_infrastructure.ipynb`: the environment, and what Terraform makes.

A rehearsal shows what the modules declare, read from their files; with `plan` it is Terraform's own plan, for which Terraform
and a provider are installed once. A plan is applied only if exactly that plan was approved.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import PROJECT, doctor
from helpers.errors import MigrationError
from helpers.evidence.people import roll
from helpers.finding import Finding, failed, note, stop, warning
from helpers.frames import frame
from helpers.infrastructure import env_file, tf_vars
from helpers.infrastructure import resources as infrastructure
from helpers.ledger.gate import Token, rehearse, require
from helpers.ledger.ledger import digest
from helpers.ledger.steps import Found, Probe
from helpers.phases.common.absent import module_of
from helpers.phases.common.phase import Phase, part_of
from helpers.phases.common.plan import plan_step
from helpers.phases.p10_infrastructure import plan as infrastructure_plan
from helpers.platforms import aws, environments, snowflake, terraform
from helpers.platforms.terraform import TerraformPlan
from helpers.settings import Snowflake

ENVIRONMENT = "s10-environment-gate"
VALID = "s10-validate"
LEGACY_VALID = "s10-legacy-validate"

MADE = ("s10-base", "s10-snowflake", "s10-kafka", "s10-legacy")
"""Steps that apply something with Terraform."""

SWITCHES = {"s10-snowflake": "enable_snowflake_objects", "s10-kafka": "enable_msk"}
"""Variables that switch on what a step makes, where the module has them."""

Applies = Mapping[str, str]


class Infrastructure(Phase):
    """One walk through the phase; option C has the legacy module and nothing else.

    Args:
        profile, option, apply: as `Phase` takes them.
        plan: whether a rehearsal asks Terraform for its plan.
    """

    def __init__(self, profile: str, option: str, *, apply: bool | None, plan: bool = False) -> None:
        super().__init__(profile, option, apply=apply)
        self._module = module_of(self.settings, option)
        self._made = tuple(step for step in MADE if self.has(step) and step not in self.absent)
        self._terraform = bool((self.apply or plan) and self._made)
        self._plans: dict[str, TerraformPlan] = {}

    def prepare(self) -> str:
        """Installs Terraform where it will be needed, and says how long that took."""
        if not self._made:
            return "Terraform is not asked: it makes nothing for this profile."
        if not self._terraform:
            return "Terraform is not asked: what the modules declare is read from their files. plan = True asks it."
        began = time.monotonic()
        with self.timed("install Terraform"):
            environments.python("cloud", report=print)
        return f"Terraform is there, after {time.monotonic() - began:.1f} s"

    @part_of("s10-environment")
    def environment(self) -> pd.DataFrame:
        """Writes a missing `.env`, or shows what it would offer."""
        folder = self.settings.file.parent
        there, uses = (folder / env_file.NAME).exists(), self._uses()
        example = (folder / env_file.EXAMPLE).exists()
        how = f"as a copy of {env_file.EXAMPLE}" if example else "with the names of these variables as comments"
        copied = f"write {env_file.NAME} {how}, for its owner alone to read"
        plan = plan_step(
            "s10-environment", f"{env_file.NAME} is there, and is left as it is" if there else copied,
            list(uses.items()), "variable", "for", cost="none", totals={"variables offered": len(uses)},
        )  # fmt: skip
        with self.step("s10-environment", {"file": env_file.NAME}, probe=self._has_env) as step:
            if not self.apply:
                return self.shown(step, plan)
            if not step.skipped:
                made = env_file.copy(folder, list(uses))
                step.result = {"made": made, "names": len(plan.objects)}
        return plan.objects

    @part_of(ENVIRONMENT)
    def check_environment(self) -> Token:
        """The gate in front of Terraform: every variable is there, and no secret is where others read it."""
        return self.check(ENVIRONMENT, self._look_at_environment, inputs={"profile": self.settings.profile})

    @part_of(VALID)
    def validate(self, environment_checked: object) -> Token:
        """The gate in front of every plan: the modules are what their providers take."""
        require(environment_checked, ENVIRONMENT, apply=self.apply)
        return self._validated(VALID)

    @part_of(LEGACY_VALID)
    def validate_legacy(self) -> Token:
        """The same in front of option C's plan."""
        return self._validated(LEGACY_VALID)

    @part_of("s10-base")
    def base(self, validated: object) -> pd.DataFrame:
        """Network, storage, monitoring and DNS."""
        targets = self._targets("s10-base")
        what = f"make {', '.join(targets)}" if targets else "make what the module declares"
        return self._deploy("s10-base", validated, what, targets, {})

    @part_of("s10-snowflake")
    def snowflake(self, validated: object) -> pd.DataFrame:
        """`terraform apply -target=module.snowflake`, with ENABLE_SNOWFLAKE_OBJECTS."""
        what, switches = (
            f"make the objects in {snowflake.address(self.settings.snowflake)}",
            {SWITCHES["s10-snowflake"]: "true"},
        )
        return self._deploy("s10-snowflake", validated, what, self._targets("s10-snowflake"), switches)

    @part_of("s10-kafka")
    def kafka(self, validated: object) -> pd.DataFrame:
        """`terraform apply -target=module.kafka`, with ENABLE_MSK."""
        switches = {SWITCHES["s10-kafka"]: "true"}
        return self._deploy(
            "s10-kafka",
            validated,
            "make the Kafka cluster",
            self._targets("s10-kafka"),
            switches,
        )

    @part_of("s10-legacy")
    def legacy(self, validated: object) -> pd.DataFrame:
        """`terraform apply` in the legacy module: option C's."""
        return self._deploy("s10-legacy", validated, "make the legacy pipeline's database, bucket and name", (), {})

    @part_of("s10-milestone")
    def milestone(self) -> Token:
        """The phase's last gate: what was applied is there, and answers."""
        inputs = self._inputs() if self._module else {"profile": self.settings.profile}
        return self.check("s10-milestone", self._look_at_what_is_there, inputs=inputs, acted=bool(self._made))

    def summary(self) -> str:
        """One sentence: what is there now, or what would be."""
        if self._module is None or not self._made:
            return "NOTHING MADE HERE: " + "; ".join(
                dict.fromkeys(self.absent[each] for each in MADE if self.has(each))
            )
        module = (
            self._module.name
            if not infrastructure.is_shipped(self._module)
            else self._module.relative_to(PROJECT).as_posix()
        )
        if self.apply:
            held = len(terraform.resources(self._module, self.settings))
            return f"APPLIED: the state of {module} holds {held} resources, in {self._where}"
        how = "planned by Terraform" if self._terraform else "read from the files, not planned by Terraform"
        declared = len(infrastructure.declared(self._module))
        return f"REHEARSED: {module} declares {declared} resources ({how}); nothing was changed"

    @property
    def _root(self) -> Path:
        assert self._module is not None, "without a module, every step of Terraform's is absent"
        return self._module

    @property
    def _where(self) -> str:
        account = self.settings.values.aws
        return aws.address(account) if account else "the services of its providers"

    def _targets(self, step: str) -> tuple[str, ...]:
        return next((each for name, each in self.settings.terraform.targets.items() if name == step), ())

    def _uses(self) -> dict[str, str]:
        """The variables of the environment that this profile has a use for, each with what it is for."""
        folder = self.settings.file.parent
        referred = env_file.referred(self.settings.profile, self.settings.file)
        declared = infrastructure.variables_of(self._module) if self._module else frozenset()
        made = {
            each.env: f"TF_VAR_{each.terraform}: {each.what}"
            for each in tf_vars.VARIABLES
            if each.terraform in declared
        }
        if self._module:
            made |= dict.fromkeys(tf_vars.PASSED_ON, "a provider's")
        elsewhere = {each.env for each in tf_vars.VARIABLES} | {*tf_vars.PASSED_ON}
        offered = [
            name for name in env_file.offered(folder / env_file.EXAMPLE) if name in made or name not in elsewhere
        ]
        return {name: made.get(name, "a profile's") for name in dict.fromkeys([*offered, *referred, *made])}

    def _validated(self, name: str) -> Token:
        if name in self.absent:
            return self.pass_over(name)
        if not self._terraform:
            with self.step(name, self._inputs()) as step:
                declared = len(infrastructure.declared(self._root))
                step.result = {"what": "the module would be validated", "resources": declared}
                self.found[name] = [note("the module", "Terraform was not asked, so nothing was validated")]
                return rehearse(name, "Terraform was not asked")
        return self.check(name, self._problems, inputs=self._inputs())

    def _deploy(
        self, name: str, validated: object, what: str, targets: Sequence[str], switches: Applies
    ) -> pd.DataFrame:
        require(validated, LEGACY_VALID if self.option == "C" else VALID, apply=self.apply)
        what = f"{what}, in {self._where}"
        inputs = {**self._inputs(switches), "targets": list(targets)}
        with self.step(name, inputs, probe=self._probe(name, targets, switches)) as step:
            if not self._terraform:
                return self.shown(step, infrastructure_plan.plan_files(name, what, self._root, targets, self.settings))
            if step.skipped:
                return self._held(targets)
            if self.apply:
                roll(self.settings).needed(name, "other")  # where nobody may sign, Terraform need not be asked
            with self.timed(f"plan {name}"):
                planned = self._plans.pop(name, None) or self._planned(targets, switches)
            plan = infrastructure_plan.plan_changes(name, what, planned, targets, self.settings)
            if not self.apply:
                return self.shown(step, plan)
            by = self.approve(plan).by
            with self.timed(f"apply {name}"):
                applied = terraform.apply(planned)
            step.result = {
                "created": applied.created, "updated": applied.updated, "deleted": applied.deleted,
                "left_out": int((plan.objects["action"] == "left out").sum()), "approved_by": list(by), "plan_sha256": planned.sha256,
            }  # fmt: skip
        return self._held(targets)

    def _planned(self, targets: Sequence[str], switches: Applies) -> TerraformPlan:
        return terraform.plan(self._root, self._variables(switches), targets=targets, settings=self.settings)

    def _probe(self, name: str, targets: Sequence[str], switches: Applies) -> Probe:
        """Asks the real services, through Terraform's refresh, whether everything is as it was applied."""

        def look(load_id: str, result: Mapping[str, Any]) -> Found:
            held = self._in_state(targets)
            planned = self._planned(targets, switches)
            if not planned.changes and held:
                how = f"the services hold all {len(held)} resources of the state as they were applied"
                return Found("done", how, dict(result))
            self._plans[name] = planned
            differ = ", ".join(f"{change.address} ({change.action})" for change in planned.changes[:3])
            more = f" and {len(planned.changes) - 3} more" if len(planned.changes) > 3 else ""
            return Found("not done", f"{len(held)} resources are in the state; to do: {differ}{more}")

        return look

    def _in_state(self, targets: Sequence[str]) -> list[str]:
        held = terraform.resources(self._root, self.settings)
        return [each for each in held if not targets or any(infrastructure.within(each, target) for target in targets)]

    def _held(self, targets: Sequence[str]) -> pd.DataFrame:
        left = infrastructure_plan.left_out(self._root, targets, self.settings)
        rows = [(each, "in the state", "") for each in self._in_state(targets)]
        return frame([*rows, *((each, "left out", why) for each, why in left.items())], "address", "state", "why")

    def _variables(self, switches: Applies) -> dict[str, str]:
        """What the environment says, and above it what the profile knows."""
        return infrastructure_plan.variables(
            self._root, self.settings, tf_vars.environment(self.settings.file.parent), switches
        )

    def _inputs(self, switches: Applies | None = None) -> dict[str, Any]:
        """What decides what a step does; of secrets their digest."""
        secret = {each.terraform for each in tf_vars.VARIABLES if each.secret}
        given = self._variables(switches or {})
        return {
            "module": infrastructure_plan.module_digest(self._root),
            "where": self._where,
            "variables": {name: digest(value) if name in secret else value for name, value in sorted(given.items())},
        }

    def _has_env(self, load_id: str, result: Mapping[str, Any]) -> Found:
        there = (self.settings.file.parent / env_file.NAME).exists()
        return Found("done" if there else "not done", f"{env_file.NAME} is {'there' if there else 'not there'}")

    def _look_at_environment(self) -> Iterator[Finding]:
        needed = infrastructure_plan.needed(self._module, self.settings) if self._module else {}
        yield from env_file.findings(self.settings.profile, self.settings.file, needed)
        if not self._module:
            return
        own = tf_vars.environment(self.settings.file.parent)
        origins = infrastructure_plan.origins(self._module, self.settings, own)
        for each in tf_vars.VARIABLES:
            if each.terraform in origins:
                yield note(f"TF_VAR_{each.terraform}", f"{each.what}: {origins[each.terraform]}")

    def _problems(self) -> Iterator[Finding]:
        for problem in terraform.validate(self._root, self.settings):
            said = stop if problem.severity == "error" else warning
            yield said(problem.where or "the module", problem.what, "correct the module")
        for provider, how in infrastructure_plan.checked_by(self._root, self.settings):
            yield note(provider, how)

    def _look_at_what_is_there(self) -> Iterator[Finding]:
        """What this run has made, and, whoever made it, whether the stage and the targets can be reached."""
        for step in (each for each in MADE if self.has(each) and each in self.absent):
            yield note(step, self.absent[step])
        if self._made:
            yield from self._look_at_what_was_applied()
        systems = ("source",) if self.option == "C" else ("stage", *self.settings.targets)
        if self.option != "C" and not self.settings.targets:
            fix = "add [profiles.NAME.snowflake] or [profiles.NAME.databricks]"
            yield stop("the target", "the profile names none", fix)
        for each in doctor.examine(self.settings, systems):
            yield each.as_finding()
        if self.option != "C" and (target := self.settings.values.snowflake):
            yield from _look_at_the_warehouse(target, stand_in="Snowflake" in self.settings.stand_ins)

    def _look_at_what_was_applied(self) -> Iterator[Finding]:
        again = "run this phase again, and approve its plan"
        switches = {name: "true" for step, name in SWITCHES.items() if step in self._made}
        targets = [each for step in self._made for each in self._targets(step)]
        for change in self._planned(targets, switches).changes:
            yield stop(change.address, f"is not as it was applied: Terraform would {change.action} it", again)
        if self._root == infrastructure.MODERN and set(self._made) == {"s10-base", "s10-snowflake", "s10-kafka"}:
            yield from infrastructure.findings(self.settings, self._variables(switches), again)
        for address, why in infrastructure_plan.left_out(self._root, targets, self.settings).items():
            yield warning(address, f"was not made: {why}")


def _look_at_the_warehouse(target: Snowflake, *, stand_in: bool) -> Iterator[Finding]:
    """A query that a warehouse has to work for, in the database that the tables go to."""
    on = snowflake.address(target)
    try:
        with snowflake.connect(target) as session:
            place = f"{snowflake.identifier(target.database)}.INFORMATION_SCHEMA.SCHEMATA"
            sql = f"SELECT CURRENT_WAREHOUSE() AS WAREHOUSE, COUNT(*) AS SCHEMAS FROM {place}"
            (row,) = session.execute(sql, doing="count the database's schemas")
    except MigrationError as error:
        yield failed(on, error)
        return
    if row["WAREHOUSE"] is None and not stand_in:
        fix = (
            f"GRANT USAGE ON WAREHOUSE {target.warehouse} TO ROLE {target.role}"
            if target.warehouse
            else "name a warehouse"
        )
        yield stop(on, "the session has no warehouse that would work for it", fix)
    else:
        yield note(
            on,
            f"the database {target.database} has {row['SCHEMAS']} schemas, counted by the warehouse {row['WAREHOUSE']}",
        )
