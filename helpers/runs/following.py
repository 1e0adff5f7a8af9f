"""The next thing to do in a run, and the command that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helpers import checklist
from helpers.checker.dsse import short
from helpers.ledger.ledger import Entry
from helpers.ledger.view import view
from helpers.runs.status import RunStatus, StepStatus


@dataclass(frozen=True)
class Following:
    """The next thing to do.

    Attributes:
        step, title, phase, state: of the box; empty where nothing is left.
        why: what is in its way; empty where nothing is.
        command: what a terminal is given next; empty where no command helps.
        again: what runs the phase again, once people have signed what it waits for.
    """

    step: str = ""
    title: str = ""
    phase: str = ""
    state: str = ""
    why: str = ""
    command: str = ""
    again: str = ""


def find_following(run: str, status: RunStatus, entries: Sequence[Entry], *, sealed: bool) -> Following:
    """What comes next in a run.

    Args:
        run: its name.
        entries: of its ledger.
        sealed: whether it has a seal.
    """
    if status.findings:
        return Following(
            why=status.blocked_by, command="find out who changed the ledger; restore it from a copy, or start a new run"
        )
    if sealed:
        return Following(command=f"runbook verify-evidence outputs/{run} --public-key PEM")
    step = next((each for each in status.steps if each.id == status.next), None)
    if step is None and status.objections:
        return Following(why=status.blocked_by, command=status.objections[0].command(run))
    if step is None:
        return Following(command=f"runbook seal --run {run} --key PATH")
    return Following(
        step.id, step.title, step.phase, step.state, status.blocked_by, _command(run, status, step, entries),
        _run(run, status, step),
    )  # fmt: skip


def _command(run: str, status: RunStatus, step: StepStatus, entries: Sequence[Entry]) -> str:
    if step.state == "running":
        return ""
    if step.state == "awaiting" and (waits := _awaited(step, entries)):
        name = waits.get("step")
        if waits.get("what") == "approval":
            plan = short(str((waits.get("payload") or {}).get("plan_sha256", "")))
            return f"runbook approve {name} --run {run} --by PERSON --key PATH --plan {plan}"
        return f"runbook attest {name} --run {run} --by PERSON --key PATH --note TEXT"
    return _run(run, status, step)


def _run(run: str, status: RunStatus, step: StepStatus) -> str:
    words = ["runbook run", step.phase[:2], "--run", run]
    words += ["--option", status.option] if status.option != "A" else []
    words += ["--profile", status.profile] if status.profile not in ("", "local") else []
    words += ["--apply"] if step.state == "planned" else []
    return " ".join(words)


def _awaited(step: StepStatus, entries: Sequence[Entry]) -> Entry | None:
    ids = next((each.ids for each in checklist.steps() if each.id == step.id), (step.id,))
    waiting = [each.line for each in map(view(entries).__getitem__, ids) if each.state == "awaiting" and each.line]
    return max(waiting, key=lambda line: line.n, default=None)
