"""Which export of a run was broken off, so that the same command goes on with it: a file in the run's folder."""

from __future__ import annotations

from pathlib import Path

from helpers.errors import UsageError
from helpers.model import manifest as manifests
from helpers.model import stored
from helpers.model.manifest import Manifest
from helpers.model.stored import Stored
from helpers.platforms.s3 import Bucket
from helpers.source import held_snapshots

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
    return found.export if found and found.location.rstrip("/") == location.rstrip("/") else None


def of_run(run_folder: Path, bucket: Bucket, *, what: str) -> Manifest:
    """The finished export at a location, which the run must have made.

    Args:
        run_folder: of the run.
        bucket: at the location.
        what: is to be done with it, for the error.

    Raises:
        StageError: no export has finished there.
        UsageError: it is another's.
    """
    manifest = manifests.read(bucket)
    began = find_unfinished(run_folder, str(bucket.location)) == manifest.export
    if began or any(held.name == manifest.snapshot for held in held_snapshots.held(run_folder.name)):
        return manifest
    raise UsageError(
        what, on=run_folder.name, why=f"the export {manifest.export} at {bucket.location} is not of this run",
        next_step="name the run that made it, or export all tables in this one: runbook export --run NAME",
    )  # fmt: skip
