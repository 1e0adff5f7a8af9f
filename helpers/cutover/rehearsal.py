"""`runbook rehearse-rollback`: a cutover, writes to the new side, a rollback, and the proof that none of them was lost.

It uses a scratch database on the local stack with generated orders, and its own prefix of the stage and schema of the target,
all of which are removed at the end. It does not rehearse the switches besides the data: DNS and the scheduler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helpers import certify, export, load, verify
from helpers.cutover import last_difference, later_writes, rollback
from helpers.errors import GateClosed, UsageError
from helpers.model.manifest import Manifest
from helpers.pipelines.sample.scratch import AFTER_THE_EXPORT, scratch
from helpers.platforms import postgres
from helpers.platforms.s3 import Bucket
from helpers.platforms.scratch_folder import scratch_folder
from helpers.settings import Settings
from helpers.source import freeze, held_snapshots, snapshot

Say = Callable[[str], None]

NOT_REHEARSED = ("the switch of the DNS record", "the switch of the scheduler's DAGs")


@dataclass(frozen=True)
class Rehearsed:
    """How it went.

    Attributes:
        writes: to the target after the cutover, by kind.
        brought_back: rows of the source, by kind; several writes of one row are one.
        lost: the writes that the source does not have afterwards, a sentence each.
        equal: whether source and target were equal, cell by cell, after the rollback.
        restored: whether the source's settings are exactly those from before the freeze.
        changed, kept: tables that the final delta read again, and those that it left.
        seconds: of wall clock, by stage.
    """

    writes: dict[str, int]
    brought_back: dict[str, int]
    lost: tuple[str, ...]
    equal: bool
    restored: bool
    changed: tuple[str, ...]
    kept: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def verdict(self) -> str:
        """ "no write was lost", or what was."""
        if self.lost or not self.equal:
            return f"{len(self.lost)} writes were lost; source and target are {'' if self.equal else 'not '}equal"
        return (
            "no write was lost"
            if self.restored
            else "no write was lost, but the source's settings are others than before"
        )

    @property
    def passed(self) -> bool:
        """Whether everything is as it should be."""
        return not self.lost and self.equal and self.restored

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "verdict": self.verdict, "passed": self.passed, "not_rehearsed": list(NOT_REHEARSED)}


def rehearse(
    settings: Settings, *, orders: int = 1000, writes: int = 60, seed: int = 1, say: Say = lambda line: None
) -> Rehearsed:
    """Rehearses cutover and rollback of the data.

    Args:
        settings: of a profile on the local stack.
        orders: order lines of the scratch source.
        writes: to the target in between.
        seed: of the writes.
        say: told about each stage.

    Raises:
        UsageError: the profile is not on the local stack: nobody rehearses on a server that sells.
        GateClosed: source and target differ at the cutover already.
    """
    if settings.values.stack != "local":
        why = "it is not on the local stack"
        cure = "runbook local up, then runbook rehearse-rollback --profile local"
        raise UsageError("rehearse a rollback", on=f"profile {settings.profile}", why=why, next_step=cure)
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        say(stage)
        began = time.monotonic()
        yield
        seconds[stage] = round(time.monotonic() - began, 2)

    with scratch(settings, orders=orders) as own, scratch_folder("rehearsal") as folder:
        with timed("migrate"):
            certify.require(settings, settings.main_target.adapter)
            _migrated(own)
        _write(own, *AFTER_THE_EXPORT)
        with timed("freeze"):
            frozen = freeze.plan_freeze(own.source)
            freeze.freeze(frozen, patience=5, end_writers=True)
        with timed("carry over the final delta"):
            delta, final = _carried_over(own)
        with timed("verify the cutover"):
            if not _equal(own):
                why = "source and target differ before anything was switched"
                cure = "report this: the final delta is at fault"
                raise GateClosed("cut over", on=own.source.dbname, why=why, next_step=cure)
        with timed("write to the new side"):
            journal = later_writes.write(own, final, seed=seed, count=writes)
        with timed("bring back"):
            plan = rollback.plan_rollback(own, final.export, cells_folder=Path(folder))
            rollback.try_out(plan)
            brought = rollback.bring_back(plan)
        with timed("verify the rollback"):
            equal = _equal(own)
        with timed("unfreeze"):
            freeze.unfreeze(own.source, frozen.former)
            restored = freeze.plan_freeze(own.source).former == frozen.former
        return Rehearsed(
            journal.counts, {kind: sum(rows[kind] for rows in brought.values()) for kind in rollback.KINDS},
            journal.lost(own.source, final), equal, restored, delta.changed, delta.kept, seconds,
        )  # fmt: skip


def _migrated(settings: Settings) -> Manifest:
    with export.planned(settings) as plan:
        manifest = export.export(plan)
    load.load(load.plan_load(manifest, Bucket.open(settings.stage), settings.main_target))
    return manifest


def _carried_over(settings: Settings) -> tuple[last_difference.Delta, Manifest]:
    bucket, taken = Bucket.open(settings.stage), snapshot.take(settings.source)
    try:
        delta = last_difference.plan_delta(settings, bucket, taken)
        final = export.export(delta.export)
        load.load(last_difference.plan_load(final, bucket, settings.main_target, delta.changed))
        return delta, final
    finally:
        held_snapshots.release(taken)


def _equal(settings: Settings) -> bool:
    with verify.planned(settings, target=settings.main_target.adapter) as plan:
        return verify.verify(plan).equal


def _write(settings: Settings, *statements: str) -> None:
    with postgres.committing(settings.source) as cursor:
        for statement in statements:
            cursor.execute(statement)
