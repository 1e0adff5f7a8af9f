"""What a check has seen, for whoever reads its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from helpers.errors import MigrationError

Severity = Literal["stop", "warning", "unchecked", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check has seen.

    Attributes:
        severity: "stop" closes the gate; "warning" is for a person to weigh; "unchecked" is what could not be asked, and why;
            "note" is a fact for the record.
        on: the object, or what was checked.
        what: what is so, as a sentence.
        fix: what to do about it; may be empty for a note. For a missing right it is the statement that grants it.
        needed: what should be so, and what for; may be empty.
    """

    severity: Severity
    on: str
    what: str
    fix: str = ""
    needed: str = ""


def stop(on: str, what: str, fix: str = "", needed: str = "") -> Finding:
    """A finding that closes the gate."""
    return Finding("stop", on, what, fix, needed)


def warning(on: str, what: str, fix: str = "", needed: str = "") -> Finding:
    """A finding for a person to weigh."""
    return Finding("warning", on, what, fix, needed)


def unchecked(on: str, what: str, fix: str = "", needed: str = "") -> Finding:
    """What could not be asked, and why; nobody knows how it is."""
    return Finding("unchecked", on, what, fix, needed)


def note(on: str, what: str, fix: str = "") -> Finding:
    """A fact for the record."""
    return Finding("note", on, what, fix)


def judged(good: bool, on: str, what: str, fix: str = "", needed: str = "") -> Finding:
    """A note where it is as it should be; otherwise it stops, and `fix` is what to do about it."""
    return note(on, what) if good else stop(on, what, fix, needed)


def failed(on: str, error: MigrationError) -> Finding:
    """What could not be done, in the error's own words; it stops."""
    return stop(on, f"could not {error.what}: {error.why}", error.next_step)
