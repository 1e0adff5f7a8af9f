"""What a check has seen, for whoever reads its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from helpers.errors import MigrationError

Severity = Literal["stop", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check has seen.

    Attributes:
        severity: "stop" closes the gate; "warning" is for a person to weigh; "note" is a fact for the record.
        on: the object.
        what: what is so, as a sentence.
        fix: what to do about it; may be empty for a note.
    """

    severity: Severity
    on: str
    what: str
    fix: str = ""


def stop(on: str, what: str, fix: str = "") -> Finding:
    """A finding that closes the gate."""
    return Finding("stop", on, what, fix)


def warning(on: str, what: str, fix: str = "") -> Finding:
    """A finding for a person to weigh."""
    return Finding("warning", on, what, fix)


def note(on: str, what: str, fix: str = "") -> Finding:
    """A fact for the record."""
    return Finding("note", on, what, fix)


def judged(good: bool, on: str, what: str, fix: str = "") -> Finding:
    """A note where it is as it should be; otherwise it stops, and `fix` is what to do about it."""
    return note(on, what) if good else stop(on, what, fix)


def failed(on: str, error: MigrationError) -> Finding:
    """What could not be done, in the error's own words; it stops."""
    return stop(on, f"could not {error.what}: {error.why}", error.next_step)
