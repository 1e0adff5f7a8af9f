"""How a sync stands: what of the source's log each target lacks, what the slot keeps back, and what has stopped.

The source and the stage are asked, and no target: whoever looks every few seconds must not wake a warehouse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from helpers.finding import Finding, note, stop, warning
from helpers.model import lsn
from helpers.model import sync as records
from helpers.model.sync import ANEW, Sync
from helpers.platforms import postgres
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings
from helpers.source.asking import asking
from helpers.sync.slot import Server, SlotState, look, server_of

GIGABYTE = 1_000_000_000

NEAR = 0.8
"""Of what may be kept: beyond it, a person should know before it is too late."""


@dataclass(frozen=True)
class TargetStatus:
    """How far one target is behind.

    Attributes:
        lag_bytes: of the source's log, whatever is in it.
        lag_seconds: since the moment whose changes are all in the target, by the source's clock.
        rows: written and deleted since the copy.
    """

    applied: int
    lag_bytes: int
    lag_seconds: float
    rows: int


@dataclass(frozen=True)
class Status:
    """How a sync stands.

    Attributes:
        slot: None where it is gone.
        targets: those that have begun.
        waiting: rows that were read and that some target does not have yet.
        seen_at: when `runbook sync` last wrote how far it is, in ISO 8601; empty where it has not begun.
        limit_bytes: that the source may keep for the slot, by the profile.
    """

    sync: Sync
    server: Server
    slot: SlotState | None
    targets: dict[str, TargetStatus]
    waiting: int
    seen_at: str
    limit_bytes: int

    @property
    def stopped(self) -> dict[str, str]:
        """Why each table that has stopped did, by `schema.name`."""
        return {str(table): table.stopped for table in self.sync.tables if table.stopped}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What a person has to know of it; what stops needs to be done something about."""
        return tuple(_findings(self))

    def as_dict(self) -> dict[str, Any]:
        """What `runbook sync status --json` prints."""
        stops = [f"{each.on}: {each.what}" for each in self.findings if each.severity == "stop"]
        return {
            "slot": self.sync.slot,
            "retained_bytes": self.slot.retained_bytes if self.slot else None,
            "source_lsn": lsn.printed(self.server.position),
            "targets": {
                name: {"applied_lsn": lsn.printed(each.applied), "lag_bytes": each.lag_bytes, "lag_seconds": each.lag_seconds, "rows": each.rows}
                for name, each in self.targets.items()
            },
            "stopped": {"why": "; ".join(stops), "tables": self.stopped} if stops else None,
            "limit_bytes": self.limit_bytes,
            "waiting": self.waiting,
            "seen_at": self.seen_at or None,
            "reader": self.slot.active_pid if self.slot else None,
        }  # fmt: skip


def read(settings: Settings, bucket: Bucket) -> Status:
    """How the sync of the copy at a stage's location stands.

    Raises:
        StageError: none is set up there.
        ConnectionFailed, SourceRefused: the source does not answer.
    """
    sync = records.read(bucket)
    progress = records.progress(bucket, sync)
    with asking(settings.source, "ask how the slot stands") as cursor:
        server, slot = server_of(cursor), look(cursor, sync.slot)
        now = postgres.value(cursor, "SELECT clock_timestamp()")
    targets = {}
    for name, each in (progress.targets if progress else {}).items():
        applied = lsn.parse(each.position)
        behind = (now.astimezone(UTC) - datetime.fromisoformat(each.as_of)).total_seconds()
        targets[name] = TargetStatus(applied, max(0, server.position - applied), round(max(0.0, behind), 1), each.rows)
    return Status(
        sync, server, slot, targets, progress.waiting if progress else 0, progress.written_at if progress else "",
        int(settings.sync.retained_gigabytes * GIGABYTE),
    )  # fmt: skip


def _findings(status: Status) -> Iterator[Finding]:
    yield from (stop(table, why, f"mend it, then {ANEW}") for table, why in status.stopped.items())
    if status.server.system_identifier != status.sync.system_identifier:
        yield stop("source", "another server answers than the one that the copy was made of", ANEW)
    if (slot := status.slot) is None:
        yield stop("slot", f"{status.sync.slot} is gone, and with it what was changed since", ANEW)
    elif slot.lost:
        yield stop("slot", f"{slot.name} is lost: {slot.lost}", ANEW)
    else:
        yield from retained(slot, status.limit_bytes)
        if slot.active_pid is None:
            since = f" since {slot.inactive_since}" if slot.inactive_since else ""
            yield warning("slot", f"nobody reads {slot.name}{since}", "runbook sync --follow, or runbook sync stop")


def retained(slot: SlotState, limit_bytes: int) -> Iterator[Finding]:
    """What a slot keeps of the source's log, against the profile's limit and the server's own."""
    kept, most = slot.retained_bytes / GIGABYTE, limit_bytes / GIGABYTE
    what = (
        f"{slot.name} keeps {kept:,.2f} GB of the source's log, and {most:g} GB are allowed (sync.retained_gigabytes)"
    )
    fix = "let `runbook sync` catch up, or `runbook sync stop` lets the log go"
    if slot.retained_bytes >= limit_bytes:
        yield stop("log that is kept", what, fix)
    elif slot.retained_bytes >= NEAR * limit_bytes:
        yield warning("log that is kept", what, fix)
    else:
        yield note("log that is kept", what)
    if slot.left_bytes is not None and slot.left_bytes < max(1.0, (1 - NEAR) * slot.retained_bytes):
        left = f"the server lets the slot go in {slot.left_bytes / GIGABYTE:,.2f} GB (max_slot_wal_keep_size)"
        yield warning("log that the server keeps", left, fix)
