"""Where a run stands, what is in its way, and the command that comes next; read without writing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from helpers import checklist
from helpers.errors import EvidenceError
from helpers.runs import attempts
from helpers.runs.dsse import short
from helpers.runs.ledger import NAME, Entry, Ledger
from helpers.runs.seal_manifest import SEAL
from helpers.runs.status import RunStatus, StepStatus, read_status

OUTPUTS = "RUNBOOK_CONTROL_ROOM_OUTPUTS"
RUN = "RUNBOOK_CONTROL_ROOM_RUN"
KEY = "RUNBOOK_CONTROL_ROOM_KEY"
"""What `runbook control-room` tells the notebook: the folder of all runs, the run to begin with, the sealer's public key."""

_NOTHING = RunStatus("A", "", (), None, "", 0, {}, 0, "")


@dataclass(frozen=True)
class Following:
    """The next thing to do.

    Attributes:
        step, title, phase, state: of the box; empty where nothing is left.
        why: what is in its way; empty where nothing is.
        command: what a terminal is given next; empty where no command helps.
    """

    step: str = ""
    title: str = ""
    phase: str = ""
    state: str = ""
    why: str = ""
    command: str = ""


@dataclass(frozen=True)
class Running:
    """An attempt whose process is alive. `step` is what it is at, empty between steps; `since` is ISO 8601."""

    phase: str
    attempt: str
    step: str
    since: str


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
    """

    run: str
    exists: bool
    status: RunStatus
    following: Following
    running: tuple[Running, ...] = ()
    torn: str = ""
    sealed: bool = False
    problem: str = ""

    def count(self, state: str) -> int:
        """How many boxes stand so."""
        return sum(step.state == state for step in self.status.steps)


def runs(outputs: Path) -> list[str]:
    """Names of the runs below `outputs`, the one written last first."""
    try:
        found = [(path.stat().st_mtime, path.parent.name) for path in outputs.glob(f"*/{NAME}")]
    except OSError:
        return []
    return [name for _, name in sorted(found, reverse=True)]


def overview(folder: Path) -> Overview:
    """Reads a run without writing to it. Whatever is wrong with it is part of the answer, never an exception.

    Args:
        folder: `outputs/<run>`; it need not exist.
    """
    try:
        status = read_status(folder, record_killed=False)
        entries, torn = _entries(folder)
        sealed = (folder / SEAL).exists()
        following = _following(folder.name, status, entries, sealed=sealed)
        return Overview(folder.name, folder.is_dir(), status, following, tuple(_running(entries, status)), torn, sealed)
    except Exception as error:  # a ledger that anybody may have written must not end the page that tells of it
        why = f"{type(error).__name__}: {error}"
        return Overview(folder.name, folder.is_dir(), _NOTHING, Following(why=why), problem=why)


def version(folder: Path) -> str:
    """A word that changes whenever what is shown of the run may have changed; cheap enough to ask for every second."""
    seen: list[object] = [folder.is_dir()]
    for pattern in (NAME, SEAL, "evidence.zip", "approvals/*", "*/attempt-*", "verify*/*"):
        for path in sorted(folder.glob(pattern)):
            try:
                found = path.stat()
            except OSError:
                continue
            seen.append((path.name, found.st_size, found.st_mtime_ns))
    try:
        entries, _ = _entries(folder)
        seen.append([(e.n, attempts.is_gone(e)) for e in attempts.open_attempts(entries)])
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
    from helpers.settings import PROJECT

    outputs = Path(os.environ.get(OUTPUTS) or PROJECT / "outputs")
    return outputs, os.environ.get(RUN, ""), os.environ.get(KEY, "")


def _entries(folder: Path) -> tuple[list[Entry], str]:
    """The whole lines, and what is behind them; none where the chain is broken."""
    ledger = Ledger(folder / NAME)
    try:
        entries = ledger.entries()
    except (EvidenceError, OSError):
        return [], ""
    torn = ledger.verify()
    return entries, torn[0].why if torn else ""


def _running(entries: list[Entry], status: RunStatus) -> Iterator[Running]:
    for started in attempts.open_attempts(entries):
        phase, attempt = str(started.get("phase")), str(started.get("attempt"))
        if status.attempts.get(f"{phase}/{attempt}") != "running":
            continue
        own = [e for e in entries[started.n :] if (e.get("phase"), e.get("attempt")) == (phase, attempt)]
        last = next((e for e in reversed(own) if e.get("step")), None)
        at_work = last is not None and last.event == "step-started"
        yield Running(phase, attempt, str(last.get("step")) if last and at_work else "", (last or started).at)


def _following(run: str, status: RunStatus, entries: list[Entry], *, sealed: bool) -> Following:
    if status.findings:
        return Following(
            why=status.blocked_by, command="find out who changed the ledger; restore it from a copy, or begin a new run"
        )
    if sealed:
        return Following(command=f"runbook verify-evidence outputs/{run} --public-key PEM")
    step = next((each for each in status.steps if each.id == status.next), None)
    if step is None:
        return Following(command=f"runbook seal --run {run} --key PATH")
    return Following(
        step.id, step.title, step.phase, step.state, status.blocked_by, _command(run, status, step, entries)
    )


def _command(run: str, status: RunStatus, step: StepStatus, entries: list[Entry]) -> str:
    if step.state == "not built":
        return f"runbook seal --run {run} --key PATH" if any(s.state == "done" for s in status.steps) else ""
    if step.state == "running":
        return ""
    if step.state == "awaiting" and (waits := _awaited(step, entries)):
        name = waits.get("step")
        if waits.get("what") == "approval":
            plan = short(str((waits.get("payload") or {}).get("plan_sha256", "")))
            return f"runbook approve {name} --run {run} --by PERSON --key PATH --plan {plan}"
        return f"runbook attest {name} --run {run} --by PERSON --key PATH --note TEXT"
    words = ["runbook run", step.phase[:2], "--run", run]
    words += ["--option", status.option] if status.option != "A" else []
    words += ["--profile", status.profile] if status.profile not in ("", "local") else []
    words += ["--apply"] if step.state == "planned" else []
    return " ".join(words)


def _awaited(step: StepStatus, entries: list[Entry]) -> Entry | None:
    ids = next((each.ids for each in checklist.steps() if each.id == step.id), (step.id,))
    return next((e for e in reversed(entries) if e.event == "awaiting" and e.get("step") in ids), None)
