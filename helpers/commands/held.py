"""What commands print about snapshots that are held on a source."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from helpers.commands.options import load_profile
from helpers.commands.output import say
from helpers.errors import MigrationError

if TYPE_CHECKING:
    from helpers.source.held_snapshots import Snapshot


def tell_held(run: str | None, profile: str | None, *, ask: bool = False) -> None:
    """Says what a run holds on a source, and in a terminal asks whether it is to go on; `ask` where the command needs it not."""
    from helpers.source import held_snapshots

    for each in held_snapshots.held(run) if run else ():
        behind = transactions_held_back(profile, [each])
        cost = "" if behind is None else f", which is held back by {behind:,} transaction{'' if behind == 1 else 's'}"
        say(
            f"held: {each}, until {each.until}, or until `runbook status --run {run} --let-go`; vacuum waits for it{cost}"
        )
        asked = ask and each.abandoned and sys.stdin.isatty() and sys.stderr.isatty()
        if asked and typer.confirm("Let it go now?", default=False, err=True):
            held_snapshots.release(each)


def transactions_held_back(profile: str | None, held: Sequence[Snapshot]) -> int | None:
    """What our snapshots cost the profile's source; None where they are held elsewhere, or it does not answer."""
    if not held:
        return 0
    from helpers.platforms import postgres
    from helpers.source import snapshot

    with contextlib.suppress(MigrationError):
        source = load_profile(profile).source
        if postgres.address(source) in {each.source for each in held}:
            return snapshot.transactions_held_back(source)
    return None
