"""A phase that reads the source in one snapshot, which outlives the process within a run."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from helpers import export
from helpers.errors import AwaitingPerson, MigrationError, SourceFailed, SourceRefused
from helpers.ledger.folders import run_folder
from helpers.ledger.steps import Declares, Found, Probe, Step
from helpers.model import manifest, sync
from helpers.phases.common.phase import Phase
from helpers.phases.common.servers import record_servers
from helpers.platforms import postgres
from helpers.platforms.s3 import Bucket
from helpers.source import held_snapshots, snapshot
from helpers.source.catalog import read_catalog
from helpers.source.held_snapshots import Snapshot
from helpers.sync import setup


class SnapshotPhase(Phase):
    """Holds the snapshot from its beginning until it is closed.

    Within a run the snapshot outlives the process, so that the next attempt goes on in it: what was exported and loaded is
    then not exported and loaded again. A check that said no lets it go, and so does whatever else failed for good; but not
    while tables that were set aside are to follow in it.

    Args:
        tables: globs over table names.
        option: the migration path; on B, tables stay.
        exclude: globs of what is left out of them.
        apply: whether steps act; without it they return their plans.
    """

    def __init__(
        self, profile: str, tables: Sequence[str], *, option: str, exclude: Sequence[str], apply: bool | None
    ) -> None:
        super().__init__(profile, option, apply=apply)
        self._globs, self._exclude = tuple(tables), tuple(exclude)
        self._bucket = Bucket.open(self.settings.stage)
        if self.apply:
            record_servers(self.settings, self.run)
        self._snapshot = self._take()
        if not self._outlives:
            atexit.register(self.close)

    def close(self) -> None:
        """Lets the snapshot go; until then vacuum on the source waits for it. A run lets it go when its attempt has ended."""
        if not self._outlives:
            atexit.unregister(self.close)
            self._let_go(self._snapshot)

    @property
    def _failed(self) -> bool:
        """Whether some tables were set aside, and are to follow in the same snapshot."""
        return False

    @property
    def _outlives(self) -> bool:
        return self.run.recorded and self.apply

    def _take(self) -> Snapshot:
        source = self.settings.source
        inputs = {"source": postgres.address(source)}
        with self.run.step("s30-snapshot", inputs=inputs, probe=self._is_held, apply=self.apply) as step:
            if step.skipped:
                mine = (step.result["snapshot"], postgres.address(source))
                return next(held for held in held_snapshots.held() if (held.name, held.source) == mine)
            run = run_folder().name if self._outlives else ""
            purpose = self.run.phase if self._outlives else ""
            hours = self.settings.export.hold_snapshot_hours
            options: dict[str, Any] = {"hold_hours": hours, "purpose": purpose, "run": run}
            taken = self._held_for_others(run) or self._followed(options) or snapshot.take(source, **options)
            step.result = {"snapshot": taken.name, "lsn": taken.lsn, "exact": taken.exact}
        return taken

    def _followed(self, options: dict[str, Any]) -> Snapshot | None:
        """A snapshot with a slot to follow from; None where the profile does not ask for one, or nothing is to be changed: then what would
        be refused is."""
        if not self._follows:
            if self.settings.follows:
                setup.check(self.settings, self._bucket, self._globs, self._exclude)
            return None
        published = setup.publish(self.settings, self._bucket, self._globs, self._exclude)
        try:
            return snapshot.take(self.settings.source, follow=published.follow, **options)
        except BaseException:
            setup.withdraw(published)
            raise

    @property
    def _follows(self) -> bool:
        return self.settings.follows and self.apply

    def _let_go(self, held: Snapshot) -> None:
        held_snapshots.release(held)
        if held.slot:
            setup.withdraw(setup.of(self.settings, self._bucket))

    def _held_for_others(self, run: str) -> Snapshot | None:
        """The snapshot in which tables that this run has set aside are to follow the others; None where it no longer serves."""
        if not run:
            return None
        staged = manifest.read_if_any(self._bucket)
        mine = staged and staged.set_aside and (staged.snapshot, staged.source, run)
        kept = next((held for held in held_snapshots.held(run) if (held.name, held.source, held.run) == mine), None)
        return kept if kept and self._is_held("", {"snapshot": kept.name}).answer == "done" else None

    @contextmanager
    def step(
        self, name: str, inputs: Mapping[str, Any], declares: Declares | None = None, probe: Probe | None = None
    ) -> Iterator[Step]:
        """As `Phase.step`; what failed for good lets the snapshot go, since the next attempt looks at the source as it is then."""
        try:
            with super().step(name, inputs, declares, probe) as step:
                yield step
        except MigrationError as error:
            if self._outlives and not self._goes_on(name, error):
                self._let_go(self._snapshot)
            raise

    def _goes_on(self, name: str, error: MigrationError) -> bool:
        if error.transient or error.exit_code == AwaitingPerson.exit_code or self._failed:
            return True
        begun = self.run.view()[name].started
        mark = export.mark(str(begun.get("load_id"))) if begun else ""
        return bool(name == "s30-export" and mark and export.is_worth_holding(self._bucket, mark, error))

    def _inputs(self) -> dict[str, Any]:
        """What decides what the phase moves."""
        values = self.settings
        policies = {name: str(policy) for name, policy in values.export.policies.items()}
        return {
            "source": postgres.address(values.source), "schemas": list(values.source.schemas), "tables": list(self._globs),
            **({"exclude": list(self._exclude)} if self._exclude else {}),
            "snapshot": self._snapshot.name, "lsn": self._snapshot.lsn, "stage": str(self._bucket.location),
            "policies": policies, **values.tables.as_inputs(),
        }  # fmt: skip

    def _is_held(self, load_id: str, result: Mapping[str, Any]) -> Found:
        name, source = result.get("snapshot"), self.settings.source
        mine = (name, postgres.address(source))
        kept = next((held for held in held_snapshots.held() if (held.name, held.source) == mine), None)
        if kept is None:
            return Found("not done", f"the snapshot {name} was let go" if name else "no snapshot was recorded")
        if self._follows and not (sync.read_if_any(self._bucket) or snapshot.has_slot(source, kept)):
            held_snapshots.release(kept)
            return Found("not done", f"the snapshot {name} has no slot to follow from")
        try:
            with snapshot.reading(snapshot.on(source, kept), kept.name) as cursor:
                tables = read_catalog(
                    cursor, schemas=source.schemas, tables=self._globs, exclude=self._exclude,
                    described=self.settings.tables,
                ).tables  # fmt: skip
                snapshot.lock(cursor, tables, timeout_seconds=self.settings.export.lock_timeout_seconds)
        except SourceFailed:
            raise  # the snapshot is still there
        except SourceRefused as error:
            self._let_go(kept)
            return Found("not done", f"the snapshot {name} no longer serves: {error.on}: {error.why}")
        return Found("done", f"the source still knows the snapshot {name}")
