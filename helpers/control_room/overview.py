"""The state of a run, what blocks it, and the next command; it only reads."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from helpers import checklist
from helpers.checker.ledger_reader import read
from helpers.checker.manifest import SEAL
from helpers.checker.rule import counts_in_words
from helpers.checklist import ROLLBACK
from helpers.control_room.evidence import CHECKED_AT_ONCE, Checked, SealState, checked, evidence, people, size
from helpers.control_room.pending import PendingAction, pending_actions
from helpers.control_room.timeline import Timeline, timeline
from helpers.control_room.verdicts import TargetVerdict, last_verdicts
from helpers.errors import EvidenceError, UsageError
from helpers.ledger.folders import checked_name
from helpers.ledger.ledger import NAME, Entry, Ledger
from helpers.ledger.view import is_gone
from helpers.runs import attempts, estimate
from helpers.runs.following import Following, find_following
from helpers.runs.status import RunStatus, StepStatus, make_status

OUTPUTS = "RUNBOOK_CONTROL_ROOM_OUTPUTS"
RUN = "RUNBOOK_CONTROL_ROOM_RUN"
KEY = "RUNBOOK_CONTROL_ROOM_KEY"
"""What `runbook control-room` tells the notebook: the folder of all runs, the run to begin with, the sealer's public key."""

LISTED, LOOKED = 30, 600
"""Runs in the list, and seconds after which one is looked at again though its ledger is the same: its process may have died."""

_NOTHING = RunStatus("A", "", (), None, "", {}, 0, "")
_NO_TIME = Timeline((), 0, 0.0)
_NO_SEAL = SealState(False, "")


@dataclass(frozen=True)
class Running:
    """An attempt whose process is alive.

    Attributes:
        step, title: what it is at; empty between steps.
        since: when that began, ISO 8601.
        began: when the attempt began.
        done, steps: how many steps of the phase this attempt is through with, and how many there are.
        left: how long it will take, as far as former times or the plan tell.
    """

    phase: str
    attempt: str
    step: str
    since: str
    title: str = ""
    began: str = ""
    done: int = 0
    steps: int = 0
    left: str = ""


@dataclass(frozen=True)
class Overview:
    """A run at one moment.

    Attributes:
        exists: whether the run has a folder.
        status: the checklist's boxes.
        following: the next thing to do.
        running: what is at work.
        torn: bytes at the ledger's end that are no whole line: a writer is at it, or a crash left them.
        sealed: whether the run has a seal.
        problem: why the run could not be read; empty where it could.
        verdicts: what was said last of each target.
        acts: who has to do what.
        times: the phases, planned and as they went.
        checked: what the check of the seal says; None where it was not asked.
        seal: the seal, or what it would be.
        begun, at: when the ledger was written first and last, ISO 8601.
    """

    run: str
    exists: bool
    status: RunStatus
    following: Following
    running: tuple[Running, ...] = ()
    torn: str = ""
    sealed: bool = False
    problem: str = ""
    verdicts: tuple[TargetVerdict, ...] = ()
    acts: tuple[PendingAction, ...] = ()
    times: Timeline = _NO_TIME
    checked: Checked | None = None
    seal: SealState = _NO_SEAL
    begun: str = ""
    at: str = ""

    def count(self, state: str) -> int:
        """How many boxes stand so."""
        return sum(step.state == state for step in self.status.steps)

    @property
    def counted(self) -> tuple[StepStatus, ...]:
        """The boxes that must be done; those of the way back only once it was taken."""
        return tuple(
            step for step in self.status.steps if step.phase != ROLLBACK or step.state not in ("open", "planned")
        )

    @property
    def over(self) -> int:
        """How many of them need nothing more."""
        return sum(step.over for step in self.counted)

    @property
    def counts(self) -> str:
        """How many boxes were done, exist elsewhere and are not applicable."""
        return counts_in_words(self.status.counts)

    @property
    def differing(self) -> tuple[TargetVerdict, ...]:
        """The targets that were not found equal."""
        return tuple(each for each in self.verdicts if each.verdict != "equal")

    @property
    def state(self) -> str:
        """The one word for the run: whatever is wrong stands before what goes well."""
        states = {step.state for step in self.status.steps}
        if self.problem or self.status.findings or (self.checked and self.checked.verdict == "tampered"):
            return "tampered" if not self.problem else "unreadable"
        if self.differing or self.status.objections:
            return "different"
        if self.running:
            return "running"
        if self.sealed:
            return "sealed" if self.checked and self.checked.verdict == "intact" else "sealed, not checked"
        if states & {"failed", "interrupted"}:
            return "stopped"
        if any(act.command.startswith(("runbook approve", "runbook attest")) for act in self.acts):
            return "awaiting a person"
        if not self.status.entries or states <= {"open"}:
            return "not begun"
        return "ready to seal" if self.status.next is None else "in progress"


def runs(outputs: Path) -> list[str]:
    """Names of the runs below `outputs`, the one written last first."""
    try:
        found = [(path.stat().st_mtime, path.parent.name) for path in outputs.glob(f"*/{NAME}")]
    except OSError:
        return []
    return [name for _, name in sorted(found, reverse=True)]


def listed(outputs: Path) -> list[Overview]:
    """The runs written last, at most `LISTED` of them; one whose ledger has not changed is read again after `LOOKED` seconds."""
    return [_listed(str(outputs / name), _stamp(outputs / name)) for name in runs(outputs)[:LISTED]]


def _stamp(folder: Path) -> tuple[int, bool, int]:
    try:
        written = (folder / NAME).stat().st_mtime_ns
    except OSError:
        written = 0
    return written, (folder / SEAL).exists(), int(time.time() // LOOKED)


@lru_cache(maxsize=4 * LISTED)
def _listed(folder: str, stamp: tuple[int, bool, int]) -> Overview:
    return overview(Path(folder))


def run_folder(outputs: Path, name: str) -> Path | None:
    """The folder of a run that lies directly below `outputs`; None for every other name, a link that leads out included."""
    try:
        folder = (outputs / checked_name(name, kind="run")).resolve()
    except (UsageError, OSError, ValueError):
        return None
    return folder if folder.parent == outputs.resolve() else None


def overview(folder: Path, public_key: str | None = None) -> Overview:
    """Reads a run without writing to it. Whatever is wrong with it is part of the answer, never an exception.

    Args:
        folder: `outputs/<run>`; it need not exist.
        public_key: of whoever sealed it, to check the seal with; empty for that of a person in the settings. Without it
            (None), and where there is more to hash than `CHECKED_AT_ONCE`, a seal is only told of.
    """
    try:
        return _overview(folder, public_key)
    except Exception as error:  # a ledger that anybody may have written must not end the page that tells of it
        why = f"{type(error).__name__}: {error}"
        return Overview(folder.name, folder.is_dir(), _NOTHING, Following(why=why), problem=why)


def _overview(folder: Path, public_key: str | None) -> Overview:
    entries, torn, findings = _entries(folder)
    status = make_status(entries, findings)
    sealed = (folder / SEAL).exists()
    check = sealed and public_key is not None and size(folder) <= CHECKED_AT_ONCE
    following = find_following(folder.name, status, entries, sealed=sealed)
    known, left = people(status.profile), evidence(folder)
    told = checked(folder, public_key or "") if check else None
    return Overview(
        folder.name, folder.is_dir(), status, following, tuple(_running(folder, entries, status)), torn, sealed,
        verdicts=last_verdicts(folder, entries, status.profile),
        acts=pending_actions(folder, status, entries, following, known, left.signatures, told),
        times=timeline(status, entries),
        checked=told,
        seal=left.seal,
        begun=entries[0].at if entries else "",
        at=entries[-1].at if entries else "",
    )  # fmt: skip


def now(found: Overview, folder: Path) -> Overview:
    """The same run with what runs told anew: its time goes on while the ledger stays as it is."""
    if not found.running:
        return found
    entries, _, _ = _entries(folder)
    return replace(found, running=tuple(_running(folder, entries, found.status)), times=timeline(found.status, entries))


def moment(outputs: Path, version: str, seconds: float) -> tuple[str, int]:
    """What changes as often as the top of the page is worth telling anew: with the run, with the other runs, every 5 seconds."""
    try:
        last = max((path.stat().st_mtime_ns for path in outputs.glob(f"*/{NAME}")), default=0)
    except OSError:
        last = 0
    return f"{version} {last}", int(seconds // 5)


def version(folder: Path) -> str:
    """A word that changes whenever what is shown of the run may have changed; cheap enough to ask for every second."""
    seen: list[object] = [folder.is_dir()]
    # Somebody may change any file of a sealed run.
    patterns = ("**/*",) if (folder / SEAL).exists() else (NAME, "approvals/*", "*/attempt-*", "verify*/*")
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            try:
                found = path.stat()
            except OSError:
                continue
            seen.append((path.name, found.st_size, found.st_mtime_ns))
    try:
        entries, _, _ = _entries(folder)
        seen.append([(e.n, is_gone(e)) for e in attempts.open_attempts(entries)])
    except Exception as error:
        seen.append(str(error))
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def since(at: str, now: datetime | None = None) -> float:
    """Seconds from an instant in ISO 8601 until now; 0 where it is none."""
    try:
        return max(0.0, ((now or datetime.now(UTC)) - datetime.fromisoformat(at)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def place() -> tuple[Path, str, str]:
    """The folder of all runs, the run to begin with and the public key, as the environment says it."""
    from helpers import PROJECT

    outputs = Path(os.environ.get(OUTPUTS) or PROJECT / "outputs")
    return outputs, os.environ.get(RUN, ""), os.environ.get(KEY, "")


def _entries(folder: Path) -> tuple[list[Entry], str, tuple[str, ...]]:
    """The lines that can be read, what is behind the last whole one, and what is wrong with the others."""
    ledger = Ledger(folder / NAME)
    wrong = ledger.verify()
    try:
        return ledger.entries(), wrong[0].why if wrong else "", ()
    except EvidenceError:
        lines, found = read(ledger.path.read_bytes())
    readable = [Entry(x.n, x.text("at"), x.text("prev"), x.event, x.fields, x.digest) for x in lines if x.event]
    return readable, "", tuple(each.message for each in found)


def _running(folder: Path, entries: list[Entry], status: RunStatus) -> Iterator[Running]:
    titles = {name: step.title for step in checklist.steps() for name in step.ids}
    for started in attempts.open_attempts(entries):
        phase, attempt = str(started.get("phase")), str(started.get("attempt"))
        if status.attempts.get(f"{phase}/{attempt}") != "running":
            continue
        own = [e for e in entries if (e.get("phase"), e.get("attempt")) == (phase, attempt) and e.get("step")]
        last = own[-1] if own else None
        step = str(last.get("step")) if last and last.event == "step-started" else ""
        through = {e.get("step") for e in own if e.event != "step-started"}
        steps = [name for each in checklist.steps_for_option(status.option) if each.phase == phase for name in each.ids]
        apply = bool((started.get("parameters") or {}).get("apply", True))
        whole = estimate.estimate_phases(
            folder.parent, folder.name, {phase: apply}, profile=status.profile, option=status.option
        )
        left = whole[phase].after(since(started.at))
        yield Running(
            phase, attempt, step, (last or started).at, titles.get(step, step), started.at,
            len(through & set(steps)), len(steps), str(left) if left.seconds else "longer than it took last time",
        )  # fmt: skip
