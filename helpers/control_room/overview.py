"""Where a run stands, what is in its way, and the command that comes next; read without writing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from helpers.errors import EvidenceError, UsageError
from helpers.evidence.seal_manifest import SEAL
from helpers.ledger.folders import checked_name
from helpers.ledger.ledger import NAME, Entry, Ledger
from helpers.ledger.view import is_gone
from helpers.runs import attempts
from helpers.runs.following import Following, find_following
from helpers.runs.status import RunStatus, read_status

OUTPUTS = "RUNBOOK_CONTROL_ROOM_OUTPUTS"
RUN = "RUNBOOK_CONTROL_ROOM_RUN"
KEY = "RUNBOOK_CONTROL_ROOM_KEY"
"""What `runbook control-room` tells the notebook: the folder of all runs, the run to begin with, the sealer's public key."""

_NOTHING = RunStatus("A", "", (), None, "", {}, 0, "")


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


def run_folder(outputs: Path, name: str) -> Path | None:
    """The folder of a run that lies directly below `outputs`; None for every other name, a link that leads out included."""
    try:
        folder = (outputs / checked_name(name, kind="run")).resolve()
    except (UsageError, OSError, ValueError):
        return None
    return folder if folder.parent == outputs.resolve() else None


def overview(folder: Path) -> Overview:
    """Reads a run without writing to it. Whatever is wrong with it is part of the answer, never an exception.

    Args:
        folder: `outputs/<run>`; it need not exist.
    """
    try:
        status = read_status(folder, record_killed=False)
        entries, torn = _entries(folder)
        sealed = (folder / SEAL).exists()
        following = find_following(folder.name, status, entries, sealed=sealed)
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
