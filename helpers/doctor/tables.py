"""What a target would refuse of the chosen tables: their names, and what lies there that no load of ours made."""

from __future__ import annotations

from collections.abc import Iterator

from helpers import engines
from helpers.doctor.buckets import opened
from helpers.doctor.subject import Subject
from helpers.engines.loading import Destination
from helpers.errors import MigrationError, TargetRefused
from helpers.finding import Finding, failed, note, stop, unchecked
from helpers.load import beforehand
from helpers.settings import Target


def names(subject: Subject, target: Target) -> Iterator[Finding]:
    """Names that the target does not take, or takes for one; the target is not asked."""
    there = engines.destination(target)
    try:
        tables = subject.tables
    except MigrationError as error:
        yield unchecked("names", f"the source's tables are not known: {error.why}", error.next_step)
        return
    refused = beforehand.refusals_by_target(subject.settings, tables)[there.where]
    for each in refused:
        yield stop("names", f"{each.on}: {each.why}", each.cure, f"names that {there.rules.engine} takes")
    if not refused:
        yield note("names", f"{there.rules.engine} takes those of all {len(tables)} tables")


def owners(subject: Subject, there: Destination, *, asleep: str = "") -> Iterator[Finding]:
    """What lies at the tables' names and belongs to others, so that a load would refuse to replace it.

    Args:
        asleep: why the target is not asked; empty where it is.
    """
    needed = "nothing that no load of ours made"
    if asleep:
        yield unchecked("target's tables", asleep, "runbook load --plan asks", needed)
        return
    if subject.settings.values.stage is None:
        yield unchecked("target's tables", "the profile has no stage", needed=needed)
        return
    try:
        staged = subject.staged
        with there.open(opened(subject.settings.stage)) as loader:
            seen = loader.look(staged)
            refused = [error for error in loader.refused if isinstance(error, TargetRefused)]
    except MigrationError as error:
        yield failed("target's tables", error)
        return
    for each in seen.names:
        yield stop("target's tables", f"{each.on}: {each.why}", each.cure, needed)
    for name, what in sorted(seen.foreign.items()):
        fix = "its owner renames it or moves it to another schema; or set another `schema` in the target's section or for these tables, or leave the table out"
        yield stop(
            "target's tables", f"{name.shown(there.target.schema_)} is {what} that no load of ours made", fix, needed
        )
    for one in refused:
        yield stop("target's tables", f"{one.on}: {one.why}", one.next_step, needed)
    if not (seen.names or seen.foreign or refused):
        ours = (
            f"{len(seen.tables)} of them are there, as a load of ours left them"
            if seen.tables
            else "none of them is there yet"
        )
        yield note("target's tables", f"of {len(staged)} tables {ours}")
