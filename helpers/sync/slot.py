"""The slot on the server: how it stands, and whether the stream goes on from where the targets are.

A gap is never resumed: changes that were not applied and that nobody will send again would be missing for ever, in silence.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extras import LogicalReplicationConnection

from helpers.errors import SourceFailed, SourceRefused
from helpers.model import lsn
from helpers.model.sync import ANEW, PREFIX, Sync
from helpers.platforms import postgres
from helpers.settings import Source


@dataclass(frozen=True)
class Server:
    """Which server answers, and how far its log is.

    Attributes:
        system_identifier: the same for a server and its standbys, and no other's.
        timeline: another one since a standby was promoted, or a backup restored to a point in time.
    """

    system_identifier: str
    timeline: int
    position: int


@dataclass(frozen=True)
class SlotState:
    """A logical slot, as pg_replication_slots has it (https://www.postgresql.org/docs/current/view-pg-replication-slots.html).

    Attributes:
        active_pid: the session that reads it; None where nobody does.
        confirmed: the position before which nothing will be sent again; None where it is not known.
        retained_bytes: of log that the server keeps for it.
        left_bytes: that the log may still grow by before the slot is lost; None for no limit.
        lost: why it can be read no more; empty where it can.
        inactive_since: as text; empty where it is read, or before PostgreSQL 17.
    """

    name: str
    database: str
    plugin: str
    active_pid: int | None
    confirmed: int | None
    retained_bytes: int
    left_bytes: int | None
    lost: str
    inactive_since: str


def server_of(cursor: Any) -> Server:
    """The server behind a cursor of a primary."""
    cursor.execute(
        "SELECT (SELECT system_identifier::text FROM pg_control_system()), "
        "pg_walfile_name(pg_current_wal_lsn()), pg_current_wal_lsn()::text"
    )
    identifier, segment, position = cursor.fetchone()
    return Server(str(identifier), int(segment[:8], 16), lsn.parse(position))


def look(cursor: Any, name: str) -> SlotState | None:
    """How a logical slot stands; None where there is none of that name."""
    found = every(cursor, name)
    return found[0] if found else None


def every(cursor: Any, like: str = "%") -> list[SlotState]:
    """The logical slots of the server whose names are LIKE that, but for temporary ones."""
    cursor.execute(
        "SELECT slot_name::text, database::text, plugin::text, active_pid, confirmed_flush_lsn::text, "
        "coalesce(pg_current_wal_lsn() - restart_lsn, 0)::bigint, to_jsonb(s) FROM pg_replication_slots s "
        "WHERE slot_type = 'logical' AND NOT temporary AND slot_name LIKE %s ORDER BY 1",
        [like.replace("_", r"\_")],
    )
    return [
        SlotState(
            name, database, plugin, pid, lsn.parse(confirmed) if confirmed else None, retained,
            rest.get("safe_wal_size"), _lost(rest), str(rest.get("inactive_since") or ""),
        )
        for name, database, plugin, pid, confirmed, retained, rest in cursor.fetchall()
    ]  # fmt: skip


def _lost(row: dict[str, Any]) -> str:
    if reason := row.get("invalidation_reason"):  # since PostgreSQL 17
        return str(reason).replace("_", " ")
    return "the log that it needs was removed" if row.get("wal_status") == "lost" else ""


def refuse_gap(cursor: Any, source: Source, sync: Sync, position: int) -> Sync:
    """Makes sure that every change from `position` on will be sent: that the slot is the one that the targets were filled from.

    Args:
        cursor: of psycopg2, on the server that is read.
        source: to ask it for the history of its timelines, where it was promoted.
        sync: that goes on.
        position: that the target which is least far has reached. What a target has not recorded must never be confirmed to the slot.

    Returns:
        The record to go on with: on another timeline than before where nothing that was applied is lost there.

    Raises:
        SourceRefused: it is a gap, and why.
    """
    server, slot = server_of(cursor), look(cursor, sync.slot)
    if server.system_identifier != sync.system_identifier:
        raise _gap(sync, f"the server is another one (system identifier {server.system_identifier}, and {sync.system_identifier} when the copy was made)")  # fmt: skip
    if server.timeline != sync.timeline:
        _refuse_other_history(source, sync, server, position)
    if slot is None:
        raise _gap(sync, "the slot is gone: dropped, or left behind by a failover")
    if (slot.database, slot.plugin) != (sync.database, "pgoutput"):
        raise _gap(sync, f"a slot of that name is there, of {slot.plugin} in the database {slot.database}")
    if slot.lost:
        raise _gap(sync, f"the slot is lost: {slot.lost}")
    if slot.confirmed is None or slot.confirmed > position:
        at = "nowhere" if slot.confirmed is None else lsn.printed(slot.confirmed)
        raise _gap(sync, f"the slot goes on from {at}, and the targets are at {lsn.printed(position)}: it was made anew, or read by others")  # fmt: skip
    if server.position < position:
        raise _gap(sync, f"the targets are at {lsn.printed(position)}, and the source's log ends at {lsn.printed(server.position)}: it was restored from before")  # fmt: skip
    return sync.model_copy(update={"timeline": server.timeline})


def _refuse_other_history(source: Source, sync: Sync, server: Server, position: int) -> None:
    """A promoted standby has what the former primary sent it: whether that is all that was applied, the history of timelines says.

    https://www.postgresql.org/docs/current/protocol-replication.html (TIMELINE_HISTORY)
    """
    end = _end_of(source, sync.timeline, server.timeline)
    if end is None:
        raise _gap(
            sync,
            f"the server's timeline {server.timeline} does not come from {sync.timeline}, on which the copy was made",
        )
    if end < position:
        raise _gap(
            sync,
            f"the server was promoted at {lsn.printed(end)}, and changes up to {lsn.printed(position)} had been applied before: "
            "what lay between is lost in the source, and not in the targets",
        )


def _end_of(source: Source, timeline: int, of: int) -> int | None:
    """Where a timeline was left for the next one, by the history of `of`; None where that does not name it."""
    try:
        with closing(
            psycopg2.connect(postgres.dsn(source), connection_factory=LogicalReplicationConnection)
        ) as connection:
            cursor = connection.cursor()
            cursor.execute(f"TIMELINE_HISTORY {of}")
            content = cursor.fetchone()[1]
    except psycopg2.Error as error:
        raise SourceFailed(
            "read the history of the server's timelines", on=postgres.address(source), why=str(error).strip(),
            next_step="let the role read it (REPLICATION), then run the same command again",
        ) from None  # fmt: skip
    text = bytes(content).decode() if isinstance(content, memoryview) else str(content)
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0] == str(timeline):
            return lsn.parse(fields[1])
    return None


def _gap(sync: Sync, why: str) -> SourceRefused:
    return SourceRefused(
        "go on with the sync",
        on=f"slot {sync.slot} of {sync.source}",
        why=f"{why}; changes may be missing",
        next_step=ANEW,
    )


def drop_slot(cursor: Any, name: str) -> bool:
    """Drops a slot of ours; whose name does not begin with `PREFIX` stays.

    Returns:
        Whether there was one.

    Raises:
        SourceFailed: somebody reads it.
    """
    slot = look(cursor, name) if name.startswith(PREFIX) else None
    if slot is None:
        return False
    if slot.active_pid is not None:
        raise SourceFailed(
            "drop the slot", on=name, why=f"the session {slot.active_pid} of the server reads it",
            next_step="end the `runbook sync` that does (SIGTERM ends it at a commit), then run the same command again",
        )  # fmt: skip
    cursor.execute("SELECT pg_drop_replication_slot(%s)", [name])
    return True


def survive_failover(source: Source, name: str) -> None:
    """Lets standbys that are set up for it take the slot over (since PostgreSQL 17).

    https://www.postgresql.org/docs/current/logicaldecoding-explanation.html#LOGICALDECODING-REPLICATION-SLOTS-SYNCHRONIZATION
    """
    with closing(psycopg2.connect(postgres.dsn(source), connection_factory=LogicalReplicationConnection)) as connection:
        connection.cursor().execute(f"ALTER_REPLICATION_SLOT {name} (FAILOVER true)")
