"""What a check has seen, for whoever reads its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
