"""When the snapshots held for a run are released."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from helpers.errors import UsageError
from helpers.source.held_snapshots import Snapshot, held, release

if TYPE_CHECKING:
    from helpers.runs.run import AttemptResult
    from helpers.runs.status import RunStatus


def settle_snapshots(run: str, result: AttemptResult) -> Iterator[Snapshot]:
    """Lets go what a phase of a run held for its next attempt, once that needs none.

    Yields:
        What the next attempt will take again: the attempt failed, and repeating it as it was would not help.
    """
    failure = result.failure
    final = failure is not None and result.exit_code in (1, 2) and not failure.transient
    # Whether an export that was broken off is gone on with, its own step has decided.
    if result.status == "done" or (final and failure and not (failure.cell or "").startswith("s30-export")):
        for each in held(run):
            if each.purpose == result.attempt.phase:
                release(each)
                if final:
                    yield each


def let_go_abandoned(run: str | None, found: RunStatus | None) -> Iterator[Snapshot]:
    """Lets go what is held for later, of a run or of none.

    Yields:
        Each that was let go.

    Raises:
        UsageError: an attempt of the run is running.
    """
    if found and "running" in found.attempts.values():
        why = "an attempt of it is running"
        raise UsageError("let the snapshot go", on=f"run {run}", why=why, next_step="wait for it, or stop it first")
    for each in held(run or ""):
        if each.abandoned:
            release(each)
            yield each
