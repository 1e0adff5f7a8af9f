"""Terraform: validates a module, plans it, applies exactly what was planned, and says what its state holds.

The module is copied into a working folder of the profile, where its plans, and without a backend its state, lie; nothing is
written into the project. It runs in a process of its own, which is left to its end even when we are interrupted: a Terraform
that is killed in the middle of an apply has made things that its state does not know.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from helpers import PROJECT
from helpers.errors import InfrastructureError
from helpers.platforms import environments
from helpers.platforms.child_environment import child_environment
from helpers.platforms.terraform_answers import (
    Change,
    Problem,
    read_changes,
    read_problem,
    read_problems,
    read_resources,
)
from helpers.redaction import redact
from helpers.settings import Settings
from helpers.settings.local_stack import local_stack
from helpers.stopping import OUTLIVES

PLAN = "runbook.tfplan"
LOCK_FILE = ".terraform.lock.hcl"
"""Of the providers' versions."""

_READ = ("*.tf", "*.tf.json", "*.tfvars")
"""What Terraform reads of a folder by itself."""

LOCK_TIMEOUT = "60s"
"""Of the state: an apply of an earlier attempt, whose notebook was killed, may still be ending."""


@dataclass(frozen=True)
class TerraformPlan:
    """A saved plan.

    Attributes:
        module: that was planned.
        changes: in the order of their addresses.
        sha256: of the changes with all their values; equal plans made at two times have the same one.
        file: what `apply` applies.
        file_sha256: of that file's bytes.
        settings: the profile.
    """

    module: Path
    changes: tuple[Change, ...]
    sha256: str
    file: Path
    file_sha256: str
    settings: Settings = field(repr=False, compare=False)


@dataclass(frozen=True)
class Applied:
    """What an apply did.

    Attributes:
        created: number of resources; a replaced one counts here and as deleted.
        updated: number of resources.
        deleted: number of resources.
        resources: addresses that the state holds now.
    """

    created: int
    updated: int
    deleted: int
    resources: tuple[str, ...]


def validate(module: Path, settings: Settings) -> list[Problem]:
    """What is wrong with a module, by the schemas of its providers.

    Args:
        module: its folder.
        settings: the profile, which decides where providers come from.

    Returns:
        Errors and warnings; an empty list for a valid module.

    Raises:
        InfrastructureError: Terraform could not be prepared, such as for a provider that is not to be had.
        LocalStackError: its environment could not be installed.
    """
    with _working(module, settings, override=False) as work:
        # A module that cannot even be read fails in init, with the same kind of message.
        init, *rest = work.run(_init(settings, work, backend=False), ("validate", {}))
        if init["code"] != 0:
            if found := read_problems(init):
                return found
            raise _failed("prepare Terraform", module, init)
        (answer,) = rest
    return [read_problem(each) for each in answer["value"]["diagnostics"]]


def plan(
    module: Path,
    variables: Mapping[str, str],
    *,
    targets: Sequence[str] = (),
    destroy: bool = False,
    settings: Settings,
) -> TerraformPlan:
    """Plans a module: asks the real services what is there, and says what would change.

    Args:
        module: its folder.
        variables: by their name in `variables.tf`; values as Terraform reads them from the environment.
        targets: addresses to limit the plan to, with what they depend on; all when empty.
        destroy: whether everything is to go.
        settings: the profile.

    Raises:
        InfrastructureError: the module is wrong, or a service refused.
        LocalStackError: Terraform's environment, or a stand-in, could not be started.
    """
    with _working(module, settings) as work:
        options = {
            "out": PLAN, "target": list(targets) or None, "destroy": destroy or None, "lock_timeout": LOCK_TIMEOUT,
        }  # fmt: skip
        answers = work.run(_init(settings, work), ("plan", options), ("show", {"path": PLAN}), variables=variables)
        for answer in answers:
            if answer["code"] not in (0, 2):
                raise _failed(f"plan {_name(module)}", module, answer)
        changes, sha256 = read_changes(answers[-1]["value"])
        file = work.folder / PLAN
        file.chmod(0o600)  # it holds the variables, secret ones too
        return TerraformPlan(module, changes, sha256, file, hashlib.sha256(file.read_bytes()).hexdigest(), settings)


def apply(plan: TerraformPlan) -> Applied:
    """Applies a saved plan, and nothing else.

    Raises:
        InfrastructureError: the file is not the one that was planned, the state has moved on since, or a service refused; what
            was made until then is in the state.
    """
    with _working(plan.module, plan.settings, fresh=False) as work:
        if not plan.file.exists() or hashlib.sha256(plan.file.read_bytes()).hexdigest() != plan.file_sha256:
            raise InfrastructureError(
                f"apply the plan of {_name(plan.module)}",
                on=plan.file.name,
                why="the file is not the one that was planned",
                next_step="plan again",
            )
        (answer,) = work.run(("apply", {"plan": PLAN, "lock_timeout": LOCK_TIMEOUT}))
        if answer["code"] != 0:
            raise _failed(f"apply the plan of {_name(plan.module)}", plan.module, answer)
        plan.file.unlink()  # an applied plan is of no use, and holds the variables
        summary = next(
            (e["changes"] for e in answer["value"] if e.get("type") == "change_summary"),
            {"add": 0, "change": 0, "remove": 0},
        )
    held = tuple(resources(plan.module, plan.settings))
    return Applied(int(summary["add"]), int(summary["change"]), int(summary["remove"]), held)


def on_stand_ins(settings: Settings) -> bool:
    """Whether a profile's infrastructure is made in the local stack's stand-ins."""
    return settings.values.aws is not None and settings.aws.engine == "moto"


def resources(module: Path, settings: Settings) -> list[str]:
    """Addresses of the resources that the state of a module holds; it does not ask the services.

    Raises:
        InfrastructureError: the state cannot be read.
    """
    with _working(module, settings) as work:
        answers = work.run(_init(settings, work), ("show", {}))
        for answer in answers:
            if answer["code"] != 0:
                raise _failed(f"read the state of {_name(module)}", module, answer)
        root = (answers[-1]["value"].get("values") or {}).get("root_module", {})
    return sorted(each["address"] for each in read_resources(root) if each["mode"] == "managed")


@dataclass(frozen=True)
class _Work:
    folder: Path
    python: Path
    environment: Mapping[str, str]

    def run(
        self, *calls: tuple[str, Mapping[str, Any]], variables: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """The answers to the calls, until one fails."""
        request = {"folder": str(self.folder), "calls": [{"method": m, "options": dict(o)} for m, o in calls]}
        given = {f"TF_VAR_{name}": value for name, value in (variables or {}).items()}
        changes = any(method in ("apply", "destroy") for method, _ in calls)
        if changes:
            given[OUTLIVES] = f"Terraform's {calls[-1][0]}"
        command = [str(self.python), "-P", "-m", "helpers.local.cloud.terraform_run"]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **given},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(json.dumps(request))
        except BaseException:
            if not changes:  # else the state would lack what is being made just now
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        try:
            answers: list[dict[str, Any]] = json.loads(output)
        except ValueError:
            lines = redact(errors).strip().splitlines()
            raise InfrastructureError(
                "run Terraform",
                on=calls[-1][0],
                why=lines[-1] if lines else f"it ended with exit code {process.returncode} and said nothing",
                next_step="run the same command again",
            ) from None
        return answers


@contextmanager
def _working(module: Path, settings: Settings, *, fresh: bool = True, override: bool = True) -> Iterator[_Work]:
    """The module's working folder, for one of us at a time."""
    python = environments.python("cloud")
    folder = _folder(module, settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = child_environment("AWS_", "SNOWFLAKE_", "TF_VAR_")
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if fresh:
            _copy(module, folder)
        environment |= {
            "PYTHONPATH": str(PROJECT),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        if on_stand_ins(settings):
            environment = local_stack().prepare_terraform(folder, settings, environment, override=override)
        else:
            environment |= _credentials(settings)
            if override and not settings.terraform.backend:
                (folder / "runbook_override.tf").write_text('terraform {\n  backend "local" {}\n}\n', encoding="utf-8")
        yield _Work(folder, python, environment)


def _credentials(settings: Settings) -> dict[str, str]:
    """What the providers read from the environment by themselves: the profile's, and what `.env` has for them."""
    own = dotenv_values(settings.file.parent / ".env")
    found = {name: value for name, value in own.items() if value and name.startswith(("AWS_", "SNOWFLAKE_", "TF_VAR_"))}
    from helpers.platforms.aws_sessions import keys_of  # with boto3

    account = settings.values.aws
    if account and account.is_named and (keys := keys_of(account, account.region)):
        found |= {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
        if keys.session_token:
            found["AWS_SESSION_TOKEN"] = keys.session_token
    if account and account.ca_file:
        found["AWS_CA_BUNDLE"] = account.ca_file
    if target := settings.values.snowflake:
        if target.private_key_file:
            found["SNOWFLAKE_AUTHENTICATOR"] = "SNOWFLAKE_JWT"
            found["SNOWFLAKE_PRIVATE_KEY"] = Path(target.private_key_file).read_text(encoding="utf-8")
            if target.private_key_passphrase:
                found["SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"] = target.private_key_passphrase.get_secret_value()
        elif target.password:
            found["SNOWFLAKE_PASSWORD"] = target.password.get_secret_value()
    return found


def _folder(module: Path, settings: Settings) -> Path:
    if settings.terraform.folder:
        base = settings.file.parent / settings.terraform.folder
    elif settings.values.stack == "local":
        base = local_stack().root().resolve() / "terraform"
    else:
        base = settings.file.parent / ".terraform-runbook"
    own = settings.file.parent.resolve()
    path = module.resolve()
    # By its place beside the settings: the state's key must not change where the project is checked out elsewhere.
    beside = path.is_relative_to(own) and not path.is_relative_to(PROJECT / "pipeline") and path != own
    return base / settings.profile / ("-".join(path.relative_to(own).parts) if beside else _name(module))


def _name(module: Path) -> str:
    """`terraform`, `legacy-terraform`; of a module elsewhere with a mark of its own."""
    path, own = module.resolve(), PROJECT / "pipeline"
    if path.is_relative_to(own):
        return "-".join(path.relative_to(own).parts)
    return f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _copy(module: Path, folder: Path) -> None:
    for pattern in (*_READ, "*.tfvars.json"):
        for old in folder.glob(pattern):
            old.unlink()
    for own in {each.name for each in module.iterdir() if each.is_dir() and not each.name.startswith(".")} | {
        "modules"
    }:
        shutil.rmtree(folder / own, ignore_errors=True)
    # The state may lie within the module: it is not copied into itself.
    inside = folder.relative_to(module).parts[:1] if folder.is_relative_to(module) else ()

    def left_out(_: str, names: list[str]) -> list[str]:
        hidden = (name for name in names if name.startswith(".") and name != LOCK_FILE)
        return [*hidden, *inside, *(name for name in names if ".tfstate" in name or name.endswith(".tfplan"))]

    shutil.copytree(module, folder, ignore=left_out, dirs_exist_ok=True)


def _init(settings: Settings, work: _Work, *, backend: bool = True) -> tuple[str, dict[str, Any]]:
    given = settings.terraform.backend
    if not backend:
        return "init", {"backend": False}
    if on_stand_ins(settings) or not given:
        return "init", {"reconfigure": True}
    key = f"{given['key'].strip('/')}/{work.folder.name}.tfstate"
    arguments = [f"{name}={value}" for name, value in {**given, "key": key}.items()]
    return "init", {"reconfigure": True, "backend_config": arguments}


def _failed(what: str, module: Path, answer: dict[str, Any]) -> InfrastructureError:
    errors = [problem for problem in read_problems(answer) if problem.severity == "error"]
    why = "; ".join(f"{p.what}{f' ({p.where})' if p.where else ''}" for p in errors[:3])
    return InfrastructureError(
        what,
        on=_name(module),
        why=why or str(answer["error"])[:400] or f"terraform {answer['method']} ended with exit code {answer['code']}",
        next_step="correct what it names, then run the same command again; it resumes from Terraform's state",
    )
