"""A fence: a position at which source and targets are compared while the source goes on.

A snapshot of the source has an exact position. A sync that stands still there has applied every transaction whose commit lies before
it, and none after; so a target that is at that position, before the comparison and behind it, holds what the snapshot shows.

Who compares and who syncs may be on different machines; they talk by one object on the stage. The sync stops between two batches
before the snapshot is taken, since it could be beyond it otherwise; it goes on when it is told to, and when it hears nothing for
`LEASE_SECONDS`: what is compared then moves on, which the positions show.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Literal
from uuid import uuid4

from helpers.best_effort import best_effort
from helpers.engines import engine
from helpers.errors import SourceFailed, SourceRefused, TargetRefused
from helpers.model import lsn, stored
from helpers.model import sync as records
from helpers.model.stored import Stored
from helpers.model.sync import FOLDER
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings
from helpers.source import held_snapshots
from helpers.source import snapshot as snapshots
from helpers.source.asking import asking
from helpers.source.held_snapshots import Snapshot
from helpers.sync.loop import Syncing, syncing
from helpers.sync.slot import look

NAME = f"{FOLDER}fence.json"

LEASE_SECONDS = 60.0
"""For which a sync stands still without hearing of whoever compares."""

ASKED_EVERY_SECONDS = 1.0
"""Between two looks of a sync that runs for a fence that somebody wants."""

ANSWERED_WITHIN_SECONDS = 120.0
"""A sync that runs answers between two batches."""


class Fence(Stored):
    """One fence, as the stage has it.

    Attributes:
        state: wanted by whoever compares, holding as the sync says, at the position of the snapshot, reached by the targets, done.
        position: as LSN text; empty before there is a snapshot.
        expires: in ISO 8601, when nobody waits for it any more.
    """

    id: str
    state: Literal["wanted", "holding", "at", "reached", "done"]
    position: str = ""
    expires: str

    @property
    def stands(self) -> bool:
        """Whether somebody still waits for it."""
        return self.state != "done" and datetime.fromisoformat(self.expires) > datetime.now(UTC)

    def write(self, bucket: Bucket) -> None:
        """Replaces the object."""
        bucket.write(NAME, self.model_dump_json(indent=1).encode())


def read(bucket: Bucket) -> Fence | None:
    """The fence at a stage's location, or None.

    Raises:
        StageError: it cannot be understood.
    """
    return stored.parse(
        bucket.read(NAME), Fence, doing="understand the fence", on=f"{bucket.location}{NAME}", cure="remove that object, and verify again"
    )  # fmt: skip


class Attendant:
    """What a sync that runs does between two batches: it lets itself be held at fences.

    Args:
        running: the sync.
        bucket: the stage.
    """

    def __init__(self, running: Syncing, bucket: Bucket) -> None:
        self._running, self._bucket = running, bucket
        self._asked_at = 0.0

    def __call__(self) -> None:
        if monotonic() - self._asked_at < ASKED_EVERY_SECONDS:
            return
        self._asked_at = monotonic()
        fence = read(self._bucket)
        if fence is None or fence.state != "wanted" or not fence.stands:
            return
        running = self._running
        running.apply()
        between, running.between = running.between, lambda: None
        try:
            self._attend(fence)
        finally:
            running.between = between

    def _attend(self, wanted: Fence) -> None:
        self._say(wanted, "holding")
        found = self._wait(wanted, "at")
        if found is None:
            return
        position = lsn.parse(found.position)
        self._running.run(position)
        if self._running.position != position:
            return
        self._say(found, "reached")
        self._wait(found, "done")

    def _say(self, fence: Fence, state: Literal["holding", "reached"]) -> None:
        now = read(self._bucket)
        if now and now.id == fence.id and now.stands:
            now.model_copy(update={"state": state}).write(self._bucket)

    def _wait(self, fence: Fence, state: str) -> Fence | None:
        """The fence once it is in a state; None where nobody waits for it any more."""
        while not self._running.ended.is_set():
            found = read(self._bucket)
            if found is None or found.id != fence.id or (not found.stands and found.state != state):
                return None
            if found.state == state:
                return found
            sleep(0.2)
        return None


@contextmanager
def taken(
    settings: Settings, bucket: Bucket, targets: Sequence[str], *, progress: Progress | None = None
) -> Iterator[Snapshot]:
    """A snapshot of the source that the targets stand at, for the length of the block.

    A sync that runs is held there; where none does, the changes before it are applied here.

    Args:
        settings: the profile.
        bucket: at the location of the copy that is followed.
        targets: that have to be there.
        progress: told of what is applied.

    Raises:
        SourceRefused: the position of a snapshot cannot be told exactly.
        SourceFailed: a sync runs and does not answer; a retry can help.
        TargetRefused: a target is elsewhere.
    """
    sync = records.read(bucket)
    with asking(settings.source, "ask whether a sync is running") as cursor:
        slot = look(cursor, sync.slot)
    if slot and slot.active_pid is not None:
        with _held(bucket) as reach, _snapshot(settings) as snapshot:
            reach(snapshot.lsn)
            require_at(settings, bucket, targets, snapshot)
            yield snapshot
        return
    with syncing(settings, bucket, targets, report=progress) as running, _snapshot(settings) as snapshot:
        running.run(lsn.parse(snapshot.lsn))
        require_at(settings, bucket, targets, snapshot)
        yield snapshot


def require_at(settings: Settings, bucket: Bucket, targets: Sequence[str], snapshot: Snapshot) -> None:
    """Makes sure that the targets stand at a snapshot: asked before a comparison, and behind it.

    Raises:
        TargetRefused: one does not, and nothing can be said of it.
    """
    for name in targets:
        found = engine(name).followed(settings.target(name), bucket)
        at = found.position if found else None
        if at != lsn.parse(snapshot.lsn):
            said = "no sync has begun there" if at is None else f"it is at {lsn.printed(at)}"
            error = TargetRefused(
                "compare at a fence", on=f"{name}, at {snapshot.lsn}", why=f"{said}: what would be compared is of two moments",
                next_step="run the same command again; where a sync runs, runbook sync status tells how it stands",
            )  # fmt: skip
            error.transient = True
            raise error


@contextmanager
def _snapshot(settings: Settings) -> Iterator[Snapshot]:
    snapshot = snapshots.take(settings.source, hold_hours=settings.export.hold_snapshot_hours)
    try:
        if not snapshot.exact:
            raise SourceRefused(
                "take a fence", on=snapshot.source, why=f"the position of a snapshot cannot be told exactly: {snapshot.why_approximate}",
                next_step="runbook doctor names what a slot needs",
            )  # fmt: skip
        yield snapshot
    finally:
        held_snapshots.release(snapshot)


@contextmanager
def _held(bucket: Bucket) -> Iterator[Callable[[str], None]]:
    """A sync that stands still, and what lets it go on to a position; it goes on behind the block."""
    standing = read(bucket)
    if standing and standing.stands:
        raise _silent(bucket, "another verification holds the sync at a fence")
    fence = Fence(id=uuid4().hex, state="wanted", expires=_lease(ANSWERED_WITHIN_SECONDS))
    fence.write(bucket)
    ended = threading.Event()
    lock = threading.Lock()

    def renew() -> None:
        while not ended.wait(LEASE_SECONDS / 4):
            with best_effort("a fence could not be kept"), lock:
                found = read(bucket)
                if found and found.id == fence.id:
                    found.model_copy(update={"expires": _lease()}).write(bucket)

    def say(state: Literal["at", "done"], position: str) -> None:
        with lock:
            Fence(id=fence.id, state=state, position=position, expires=_lease(ANSWERED_WITHIN_SECONDS)).write(bucket)

    def reach(position: str) -> None:
        say("at", position)
        _await(bucket, fence, "reached")  # behind which the sync writes nothing more there
        threading.Thread(target=renew, name="fence", daemon=True).start()

    try:
        _await(bucket, fence, "holding")
        yield reach
    finally:
        ended.set()
        say("done", "")


def _await(bucket: Bucket, fence: Fence, state: str) -> None:
    until = monotonic() + ANSWERED_WITHIN_SECONDS
    while monotonic() < until:
        found = read(bucket)
        if found is None or found.id != fence.id:
            raise _silent(bucket, "another verification has taken its place")
        if found.state == state:
            return
        sleep(0.2)
    raise _silent(bucket, f"a sync reads the slot and did not answer within {ANSWERED_WITHIN_SECONDS:g} s")


def _silent(bucket: Bucket, why: str) -> SourceFailed:
    error = SourceFailed(
        "hold the sync at a fence", on=str(bucket.location), why=why,
        next_step="run the same command again; runbook sync status tells how the sync stands",
    )  # fmt: skip
    error.transient = True
    return error


def _lease(seconds: float = LEASE_SECONDS) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
