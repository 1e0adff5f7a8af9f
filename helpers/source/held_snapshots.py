"""The snapshots that this machine holds, by their records on disk; no server is asked, and nothing heavy is imported."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from helpers import PROJECT
from helpers.errors import MigrationError, SettingsError, UsageError
from helpers.process_identity import lives

RECORDS = PROJECT / "outputs" / ".snapshots"


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot and the process that holds it.

    Attributes:
        name: what `SET TRANSACTION SNAPSHOT` takes.
        lsn: the position in the source's log that the snapshot shows.
        exact: whether the snapshot holds exactly the changes up to `lsn`; otherwise the LSN is approximate: a position from
            just before, after which the snapshot may hold some changes already.
        why_approximate: empty where exact.
        keeper: the holding process.
        keeper_started: its start, as `start_of` tells it.
        taken_by, taken_by_started: the process that took it, likewise.
        run: that it is held for; empty where it is for none.
        purpose: what it is held for, in words; empty where it goes with the process that took it.
        instance: the server it lies on, as `settings.Instance` has it; a source may lead to several.
        slot: a temporary slot whose changes go on from the snapshot, which the keeper holds as well: what is to outlive the keeper
            is copied from it (pg_copy_logical_replication_slot); empty where nobody is to follow.
        follow: the name that this one is to have.
    """

    name: str
    lsn: str
    exact: bool
    why_approximate: str
    taken_at: str
    until: str
    source: str
    keeper: int
    keeper_started: str
    taken_by: int = 0
    taken_by_started: str = ""
    run: str = ""
    purpose: str = ""
    instance: dict[str, Any] = field(default_factory=dict, hash=False)
    slot: str = ""
    follow: str = ""

    def __str__(self) -> str:
        return f"the snapshot at LSN {self.lsn} of {self.source} for {self.purpose}, since {self.taken_at}"

    @property
    def abandoned(self) -> bool:
        """Whether it is held for later, and who took it is no more."""
        return bool(self.purpose) and not lives(self.taken_by, self.taken_by_started)

    @property
    def record(self) -> Path:
        """Where the keeper is written down while it lives."""
        return record_of(RECORDS, self.name, self.keeper)


def held(run: str | None = None) -> list[Snapshot]:
    """Snapshots whose keeper lives, of a run or all; records of dead ones are removed."""
    found = []
    for path in sorted(RECORDS.glob("*.json")):
        with suppress(FileNotFoundError, ValueError, TypeError):
            snapshot = Snapshot(**json.loads(path.read_text()))
            if lives(snapshot.keeper, snapshot.keeper_started):
                if run in (None, snapshot.run):
                    found.append(snapshot)
            else:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
    return found


def release(snapshot: Snapshot) -> None:
    """Ends the keeper; one that is gone already is no error."""
    if lives(snapshot.keeper, snapshot.keeper_started):
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            process = psutil.Process(snapshot.keeper)
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    with suppress(OSError):  # the next look at the records removes it
        snapshot.record.unlink(missing_ok=True)


def release_named(name: str, source: str) -> bool:
    """Ends the keeper of a snapshot, if it is one of this machine's; another server may have one of the same name.

    Args:
        name: of the snapshot.
        source: the server's address, as a manifest has it.

    Returns:
        Whether there was one.
    """
    mine = [each for each in held() if (each.name, each.source) == (name, source)]
    for snapshot in mine:
        release(snapshot)
    return bool(mine)


def release_all(run: str) -> list[Snapshot]:
    """Lets go all that is held for a run, which goes on with nothing."""
    mine = held(run)
    for snapshot in mine:
        release(snapshot)
    return mine


@contextmanager
def released_when_refused(name: str, source: str, tell: Callable[[], object]) -> Iterator[None]:
    """Lets go an export's snapshot when a load in this block is refused for good: nothing is left to verify.

    Args:
        name, source: of the snapshot, as `release_named` takes them.
        tell: is called when it was let go.
    """
    try:
        yield
    except MigrationError as error:
        final = not error.transient and not isinstance(error, UsageError | SettingsError)
        if final and release_named(name, source):
            tell()
        raise


def record_of(records: Path, name: str, keeper: int) -> Path:
    """Where the keeper of a snapshot is written down while it lives."""
    return records / f"{name}-{keeper}.json"
