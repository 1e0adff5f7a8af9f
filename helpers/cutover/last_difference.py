"""The final load before the cutover: what changed in the source since the first one.

The source is frozen before (`helpers.source.freeze`), so what is compared does not change. Tables whose digest is still that in
the manifest keep their files and their rows in the target; the others are exported and loaded again, each in one transaction.
Whether the target then holds the source is for the verification to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from helpers import export, load
from helpers.export import ExportPlan
from helpers.load import LoadPlan
from helpers.model import manifest
from helpers.model.manifest import Manifest
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings, Target
from helpers.source.held_snapshots import Snapshot


@dataclass(frozen=True)
class Delta:
    """What the final export will write.

    Attributes:
        export: its plan; the tables that have not changed are finished in it.
        changed: tables that are read again.
        kept: tables whose files stay.
    """

    export: ExportPlan
    changed: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows of the changed tables."""
        return sum(t.rows for t in self.export.state.tables if f"{t.schema_}.{t.name}" in self.changed)


def plan_delta(settings: Settings, bucket: Bucket, snapshot: Snapshot, *, progress: Progress | None = None) -> Delta:
    """Finds which tables have changed since the export whose manifest is at the stage.

    Args:
        snapshot: of the frozen source.

    Raises:
        StageError: no export has finished there.
        SourceRefused: as `export.plan_export`.
    """
    former = manifest.read(bucket)
    plan = export.plan_export(settings, bucket, snapshot, progress=progress)
    plan = export.since(plan, former, progress=progress)
    names = {f"{t.schema_}.{t.name}": t.finished for t in plan.state.tables}
    return Delta(plan, tuple(n for n, same in names.items() if not same), tuple(n for n, same in names.items() if same))


def plan_load(written: Manifest, bucket: Bucket, target: Target, changed: Sequence[str]) -> LoadPlan:
    """The load of the changed tables, and of those that the target does not have as they are.

    Raises:
        UsageError: as `load.plan_load`.
    """
    plan = load.plan_load(written, bucket, target)
    tables = tuple(t for t in plan.tables if str(t.staged) in changed or not t.serves)
    return replace(plan, tables=tables)


def is_loaded(
    written: Manifest, bucket: Bucket, target: Target, changed: Sequence[str], load_id: str
) -> tuple[bool, str]:
    """Asks the target whether it holds the changed tables of a load; as `load.is_loaded`."""
    some = written.model_copy(update={"tables": tuple(t for t in written.tables if str(t) in changed)})
    return load.is_loaded(some, bucket, target, load_id)
