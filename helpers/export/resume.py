"""Which export of a run was broken off, so that the same command goes on with it: a file in the run's folder."""

from __future__ import annotations

from pathlib import Path

from helpers.model import stored
from helpers.model.stored import Stored

NAME = "export.json"


class Pointer(Stored):
    """An export that a run began.

    Attributes:
        location: where it writes.
        export: its name.
    """

    location: str
    export: str

    def write(self, run_folder: Path) -> None:
        """Keeps it for the next call."""
        run_folder.mkdir(parents=True, exist_ok=True)
        (run_folder / NAME).write_text(self.model_dump_json(), encoding="utf-8")


def find_unfinished(run_folder: Path | None, location: str) -> str | None:
    """The export that the run began at this location; None where it began none there, or there is no run."""
    path = run_folder / NAME if run_folder else None
    content = path.read_bytes() if path and path.exists() else None
    cure = "export under a new run's name"
    found = stored.parse(content, Pointer, doing="go on with an export", on=str(path), cure=cure)
    return found.export if found and found.location == location else None
