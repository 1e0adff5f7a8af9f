"""Who has to do what, by name, before a run can continue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.checker.dsse import short
from helpers.control_room.evidence import Checked, Signature
from helpers.ledger.ledger import Entry
from helpers.ledger.view import Standing, view
from helpers.runs.following import Following
from helpers.runs.status import RunStatus


@dataclass(frozen=True)
class PendingAction:
    """Something that waits for somebody.

    Attributes:
        who: the names of those who may do it; empty where the settings name nobody.
        needed: how many of them it takes.
        what: a sentence that goes on behind the names.
        command: what a terminal is given; empty where no command helps.
        plan: the file in the run's folder that is signed; empty where there is none.
        why: what is in the way.
    """

    who: tuple[str, ...]
    needed: int
    what: str
    command: str = ""
    plan: str = ""
    why: str = ""


def pending_actions(
    folder: Path,
    status: RunStatus,
    entries: Sequence[Entry],
    following: Following,
    people: Sequence[str],
    signatures: Sequence[Signature],
    checked: Checked | None = None,
) -> tuple[PendingAction, ...]:
    """Everything that waits for a person, or else what the operator does next; nothing while the run works by itself.

    Args:
        folder: the run's.
        status, entries: of the run.
        following: what comes next in it.
        people: who may sign, by the settings of the run's profile.
        signatures: those of the ledger, and whether each holds.
        checked: what the check of the seal says.
    """
    if checked and checked.verdict == "tampered":
        what = "compares this folder with the archive that left the machine, and finds out who changed it"
        return (PendingAction((), 1, what, "runbook verify-evidence EVIDENCE.ZIP --public-key PEM"),)
    if following.command.startswith("runbook verify-evidence") and not (checked and checked.verdict):
        return (PendingAction((), 1, "checks the seal with the public key of whoever sealed it", following.command),)
    titles = {step.id: step.title for step in status.steps}
    waiting = [each for each in view(entries) if each.state == "awaiting"]
    found = [_signing(folder, each, titles, people, signatures) for each in waiting]
    asked = tuple(each for each in found if each.needed)
    if asked or any(state == "running" for state in status.attempts.values()):
        return asked
    operator = next((str(e.get("by")) for e in reversed(entries) if e.event == "attempt-started" and e.get("by")), "")
    return tuple(_operating(folder.name, operator, status, following, signed=bool(found)))


def _signing(
    folder: Path, waits: Standing, titles: Mapping[str, str], people: Sequence[str], signatures: Sequence[Signature]
) -> PendingAction:
    line, run = waits.line, folder.name
    assert line
    title = titles.get(waits.step, waits.step)
    if line.get("what") != "approval":
        theirs = line.get("elsewhere") or {}
        signed = {s.by for s in signatures if theirs and s.line > line.n and (s.step, s.holds) == (waits.step, "holds")}
        left, needed = tuple(name for name in people if name not in signed), int(line.get("needed") or 1) - len(signed)
        what = f"looks at {theirs.get('link')} and signs that “{title}” exists there: {theirs.get('what')}"
        return PendingAction(
            left, max(0, needed), what if theirs else f"signs for “{title}”",
            f"runbook attest {waits.step} --run {run} --by {_one(left)} --key PATH --note TEXT",
        )  # fmt: skip
    digest = str((line.get("payload") or {}).get("plan_sha256", ""))
    plan = short(digest)
    signed = {s.by for s in signatures if (s.step, s.plan, s.holds) == (waits.step, plan, "holds")}
    left = tuple(name for name in people if name not in signed)
    needed = max(0, int(line.get("needed") or 1) - len(signed))
    file = f"approvals/{waits.step}.{plan}.plan.json"
    so_far = f"; {' and '.join(sorted(signed))} has signed" if signed else ""
    return PendingAction(
        left, needed, f"approves the plan of “{title}”{so_far}",
        f"runbook approve {waits.step} --run {run} --by {_one(left)} --key PATH --plan {plan}",
        file if (folder / file).exists() else "",
    )  # fmt: skip


def _one(people: Sequence[str]) -> str:
    return people[0] if len(people) == 1 else "PERSON"


def _operating(
    run: str, operator: str, status: RunStatus, following: Following, *, signed: bool
) -> list[PendingAction]:
    who = (operator,) if operator else ()
    if status.findings:
        return [
            PendingAction(who, 1, "finds out who changed the ledger, and restores it from a copy or starts a new run")
        ]
    if following.step:
        words = {
            "failed": "mends what failed and runs it again:",
            "interrupted": "runs again what was broken off:",
            "planned": "applies",
        }
        if signed:
            return [PendingAction(who, 1, f"runs the phase again, for “{following.title}” is signed", following.again)]
        said = words.get(following.state, "runs")
        return [PendingAction(who, 1, f"{said} “{following.title}”", following.command, why=following.why)]
    if status.objections:
        return [PendingAction(who, 1, "mends what differs, and verifies again", following.command, why=following.why)]
    if following.command.startswith("runbook seal"):
        return [PendingAction((), 1, "seals the run: every step is done", following.command)]
    return []
