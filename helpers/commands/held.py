"""What the commands say of a snapshot that is held on a source."""

from __future__ import annotations

import contextlib
import sys

import typer

from helpers.commands.options import load_profile
from helpers.commands.output import say
from helpers.errors import MigrationError


def tell_held(run: str | None, profile: str | None, *, ask: bool = False) -> None:
    """Says what a run holds on a source, and in a terminal asks whether it is to go on; `ask` where the command needs it not."""
    from helpers.source import held_snapshots

    for each in held_snapshots.held(run) if run else ():
        cost = ""
        with contextlib.suppress(MigrationError):
            from helpers.platforms import postgres

            if postgres.address(load_profile(profile).source) == each.source:
                cost = f", which is held back by {transactions_held_back(profile):,} transactions"
        say(
            f"held: {each}, until {each.until}, or until `runbook status --run {run} --let-go`; vacuum waits for it{cost}"
        )
        asked = ask and each.abandoned and sys.stdin.isatty() and sys.stderr.isatty()
        if asked and typer.confirm("Let it go now?", default=False, err=True):
            held_snapshots.release(each)


def transactions_held_back(profile: str | None) -> int:
    """What our snapshots cost the profile's source."""
    from helpers.source import snapshot

    return snapshot.transactions_held_back(load_profile(profile).source)
