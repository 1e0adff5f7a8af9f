"""Who may sign: each public key can be read, is in its time, and there are enough people for what has to be approved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from helpers import checklist
from helpers.doctor.subject import Subject
from helpers.errors import SettingsError
from helpers.evidence.people import roll
from helpers.finding import Finding, note, stop, warning


def examine(subject: Subject) -> Iterator[Finding]:
    """The section approvals of the profile."""
    settings = subject.settings
    try:
        known = roll(settings)
    except SettingsError as error:
        yield stop("keys", f"{error.what}: {error.why}", error.next_step, "a public key for each person")
        return
    today = datetime.now(UTC).date()
    for name, first in settings.approvals.start.items():
        if first > today:
            yield warning(f"key of {name}", f"it signs from {first} on, and today is {today} in UTC", "sign on that day or later, or correct the day")  # fmt: skip
    for former in settings.approvals.former:
        if former.to >= today and former.name not in known.people:
            yield warning(f"key of {former.name}", f"it is listed as a former one and ends on {former.to}", "correct the day, or list it under people")  # fmt: skip
    kinds = {kind: step for step, kind in _approvals().items()}
    for kind, step in sorted(kinds.items()):
        asked = known.asked(step, kind)
        if asked > len(known.people):
            fix = 'name them under approvals.people, for example: alice = "keys/alice.pem.pub"'
            yield stop(f"people for {kind}", f"{len(known.people)} are named", fix, f"{asked}, for steps such as {step}")  # fmt: skip
    if known.people:
        yield note("keys", f"{', '.join(sorted(known.people))} may sign")


def _approvals() -> dict[str, str]:
    """The steps that are approved, and the class of each."""
    names = {name for option in "ABC" for step in checklist.steps_for_option(option) for name in step.ids}
    return {name: kind for name in sorted(names) if (kind := checklist.approval_of(name))}
