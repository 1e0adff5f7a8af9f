"""What a phase keeps of a verification, once its verdict is known."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.apart import apart_from_the_verdict, reason
from helpers.errors import EvidenceError
from helpers.verify import page, verdict
from helpers.verify.about import About
from helpers.verify.report import Report


def keep(found: Report, path: Path, about: About) -> Path | None:
    """Writes a report as JSON, and its page for people.

    Args:
        found: what was found.
        path: of the JSON; the page lies in the folder of that name, beside the differing cells.
        about: which servers.

    Returns:
        The page; None where it could not be written, which is told and changes nothing.

    Raises:
        EvidenceError: the JSON, which is evidence, could not be written; the verdict stands in the error.
    """
    written: Path | None = None
    with apart_from_the_verdict("the report page could not be written"):
        written = page.write(found, path.with_suffix("") / "report.html", about=about)
    try:
        path.write_text(json.dumps(found.as_dict(), ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as error:
        raise EvidenceError(
            "keep the report of a verification", on=str(path),
            why=f"{reason(error)}; what it found is: {verdict.sentence(found)}",
            next_step="make room there, or allow it to be written, and run the phase again: its evidence would not be whole",
        ) from None  # fmt: skip
    return written
