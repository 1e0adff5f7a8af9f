"""The final load before the cutover, and the health probes of the target behind it.

The source is frozen before (`helpers.source.freeze`), so what is compared does not change. Tables whose digest is still that in
the manifest keep their files and their rows in the target; the others are exported and loaded again, each in one transaction.
Whether the target then holds the source is for the verification to say.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from helpers import export, load
from helpers.errors import ConnectionFailed, LoadError
from helpers.export import ExportPlan
from helpers.load import LoadPlan
from helpers.model import manifest
from helpers.model.manifest import Manifest
from helpers.platforms import snowflake
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import identifier
from helpers.progress import Progress
from helpers.settings import Cutover, Settings, Snowflake, Target
from helpers.source.held_snapshots import Snapshot

SLOWEST_LEFT_OUT = 0.05
"""The latency that counts is the 95th percentile: one slow answer in twenty is no reason to go back."""


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


@dataclass(frozen=True)
class Health:
    """How the target answered a number of questions.

    Attributes:
        latency: the 95th percentile, in seconds; infinite where no answer came.
        said: the first error.
    """

    asked: int
    failed: int
    latency: float
    said: str = ""

    @property
    def error_rate(self) -> float:
        """Share of the questions without an answer."""
        return self.failed / self.asked

    def exceeds(self, limits: Cutover) -> tuple[str, ...]:
        """The limits that are exceeded, each in a sentence."""
        found = []
        if self.error_rate > limits.max_error_rate:
            found.append(
                f"{self.failed} of {self.asked} queries failed ({self.error_rate:.1%}, at most "
                f"{limits.max_error_rate:.1%}): {self.said}"
            )
        if not self.latency <= limits.max_latency_seconds:
            took = f"{self.latency:.2f} s" if math.isfinite(self.latency) else "no answer"
            found.append(f"the 95th percentile of the latency is {took}, at most {limits.max_latency_seconds:g} s")
        return tuple(found)


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


def probe(target: Snowflake, options: Cutover, table: str) -> Health:
    """Asks the target what its readers ask, over a connection of its own for each question, as readers come.

    Args:
        target: the new side.
        options: the query and how often.
        table: the target's name of the table that is counted where no query is set.

    Returns:
        How it answered; a question without an answer is counted, never raised.
    """
    query = options.query or f"SELECT COUNT(*) FROM {identifier(target.database, target.schema_, table)}"
    seconds: list[float] = []
    said: list[str] = []
    for _ in range(options.probes):
        began = time.monotonic()
        try:
            with snowflake.connect(target) as session:
                if options.query:
                    where = identifier(target.database, target.schema_)
                    session.execute(f"USE SCHEMA {where}", doing="ask what readers ask")
                session.execute(query, doing="ask what readers ask")
            seconds.append(time.monotonic() - began)
        except (ConnectionFailed, LoadError) as error:
            said.append(error.why)
    return Health(options.probes, len(said), percentile(seconds), said[0] if said else "")


def percentile(seconds: Sequence[float]) -> float:
    """The 95th percentile by the nearest rank; infinite for no seconds at all."""
    if not seconds:
        return math.inf
    return sorted(seconds)[math.ceil((1 - SLOWEST_LEFT_OUT) * len(seconds)) - 1]
