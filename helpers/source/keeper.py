"""The process that exports a snapshot and holds it: `python -m helpers.source.keeper`, started by `snapshot.take`.

Whoever starts it waits for its answer, so it imports little. Its order comes as JSON on standard input, connection strings and
all, since a command line is there for everybody to read; it answers once on standard output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extras import LogicalReplicationConnection

from helpers.errors import SessionRefused, SourceFailed, SourceRefused
from helpers.platforms import pg_session
from helpers.platforms.faults import postgres as faults
from helpers.platforms.pg_session import literal
from helpers.process_identity import lives, start_of
from helpers.source.held_snapshots import record_of

SLOT_PATIENCE_SECONDS = 15.0
"""A slot waits for every running transaction that writes; a long one must not stop the export. Where a sync is to go on from the
slot, `sync.slot_patience_seconds` takes its place, and the export ends."""

GOODBYE_SECONDS = 3
"""In which the server has to answer that the transaction has ended."""

ON_A_STANDBY = "the source is a standby, which exports no snapshot with a slot"
"""CREATE_REPLICATION_SLOT … EXPORT_SNAPSHOT would wait for the primary to log what runs there, and then be refused."""


def main() -> None:
    """Takes the order, answers, then holds on until it is told to let go, its time is over or its parent is gone."""
    order = json.loads(sys.stdin.readline())
    os.environ.pop("PGSERVICE", None)  # as `postgres.keywords` does where we were started
    follow = order["follow"]
    try:
        connection, slot, found = _export(
            order["holder"], order["slot"], order["source"], order["instance"]["started"], follow
        )
    except psycopg2.Error as error:
        print(json.dumps({"error": faults.said(error), "code": error.pgcode}), flush=True)  # noqa: T201
        return
    except (SessionRefused, SourceRefused) as error:
        print(json.dumps({"refused": error.as_dict()}), flush=True)  # noqa: T201
        return
    until = time.time() + order["hold_seconds"]
    found |= {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "until": datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds"),
        "source": order["source"],
        "keeper": os.getpid(),
        "keeper_started": start_of(os.getpid()),
        **{name: order[name] for name in ("taken_by", "taken_by_started", "run", "purpose", "instance")},
    }
    record = record_of(Path(order["records"]), found["name"], os.getpid())
    try:
        record.write_text(json.dumps(found))
    except OSError as error:
        with suppress(OSError):
            record.unlink(missing_ok=True)
        if order["purpose"]:  # else it goes with its parent, and nobody has to find it later
            print(json.dumps({"unwritten": [error.errno, error.strerror, str(record)]}), flush=True)  # noqa: T201
            return
    print(json.dumps(found), flush=True)  # noqa: T201
    with suppress(BrokenPipeError):
        sys.stdout.close()
    released = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: released.set())
    try:
        parent = (order["taken_by"], order["taken_by_started"])
        while not released.wait(1) and time.time() < until and (order["purpose"] or lives(*parent)):
            if slot is None:
                connection.cursor().execute("SELECT 1")
            elif _is_there(connection, follow["slot"]):
                # What goes on from here is kept; a second one would only hold back the log.
                slot.close()
                slot = None
    except psycopg2.Error:
        pass  # the server is gone, and the snapshot with it
    finally:
        with suppress(OSError):
            record.unlink(missing_ok=True)
        # The server knows the snapshot until the transaction ends, and notices a lost connection only a little later: whoever asks
        # when we are gone must not be told that it is still held. A server that does not answer ends us all the same.
        signal.alarm(GOODBYE_SECONDS)
        with suppress(psycopg2.Error):
            connection.rollback()
        if slot is not None:
            with suppress(psycopg2.Error):
                slot.cursor().execute(f"DROP_REPLICATION_SLOT {found['slot']}")
        os._exit(0)


def _export(
    holder: str, slot: str, source: str, started: str, follow: dict[str, Any] | None
) -> tuple[Any, Any, dict[str, Any]]:
    """A connection with the snapshot; where somebody is to follow, one with the slot that it is of; what `Snapshot` says of both."""
    with closing(_connect(holder, source, started, "READ COMMITTED")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        (standby,) = cursor.fetchone()
    why = ON_A_STANDBY
    try:
        if not standby:
            replication, (own_slot, lsn, name) = _slot(slot, follow["patience"] if follow else SLOT_PATIENCE_SECONDS)
            try:
                # Not before: it would be idle for as long as the slot takes, which no setting of a transaction allows.
                connection = _connect(holder, source, started, "REPEATABLE READ")
                cursor = connection.cursor()
                connection.begin(f"SET TRANSACTION SNAPSHOT {literal(name)}")
                cursor.execute("SELECT pg_export_snapshot()")
                found = {"name": cursor.fetchone()[0], "lsn": lsn, "exact": True, "why_approximate": ""}
                if follow:
                    replication.cursor().execute("SELECT 1")  # ends the transaction of its own snapshot
                    return connection, replication, found | {"slot": own_slot, "follow": follow["slot"]}
                # It would go with the connection, but a little later, and keeps its database from being dropped.
                replication.cursor().execute(f"DROP_REPLICATION_SLOT {own_slot}")
                replication.close()
            except BaseException:
                replication.close()
                raise
            return connection, None, found
    except psycopg2.errors.QueryCanceled as error:
        why = faults.said(error)
        if follow:
            raise _waited_in_vain(holder, source, started, follow["patience"]) from None
    except psycopg2.Error as error:
        if follow:
            raise
        why = faults.said(error)
    if follow:
        raise SourceFailed("make a slot to follow from", on=source, why=why, next_step="name the primary as the source")
    # The position is read first: what the snapshot lacks is then behind it, and a synchronization from there misses nothing.
    # Both are read in one transaction, and so from one server, whoever stands between; each statement of it has its own snapshot.
    connection = _connect(holder, source, started, "READ COMMITTED")
    cursor = connection.cursor()
    position = "coalesce(pg_last_wal_replay_lsn(), '0/0')" if standby else "pg_current_wal_lsn()"
    cursor.execute(f"SELECT {position}::text")
    (lsn,) = cursor.fetchone()
    cursor.execute("SELECT pg_export_snapshot()")
    return connection, None, {"name": cursor.fetchone()[0], "lsn": lsn, "exact": False, "why_approximate": why}


def _waited_in_vain(holder: str, source: str, started: str, patience: float) -> SourceFailed:
    with closing(_connect(holder, source, started, "READ COMMITTED")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, coalesce(usename, '?'), extract(epoch FROM clock_timestamp() - xact_start)::int FROM pg_stat_activity "
            "WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 3"
        )
        found = [f"session {pid} of {role} for {seconds} s" for pid, role, seconds in cursor.fetchall()]
    who = f": {', '.join(found)}" if found else ", and they have ended just now"
    error = SourceFailed(
        "make a slot to follow from", on=source,
        why=f"after {patience:g} s it still waited for transactions that had written before and were open{who}",
        next_step="let them end, or set sync.slot_patience_seconds higher, then run the same command again",
    )  # fmt: skip
    error.transient = True
    return error


def _is_there(connection: Any, slot: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", [slot])
        return bool(cursor.fetchone()[0])


def _connect(dsn: str, source: str, started: str, isolation_level: str) -> pg_session.Connection:
    connection = pg_session.connect(dsn, pg_session.wanted(), source, started=started)
    connection.isolation_level, connection.readonly = isolation_level, True
    return connection


def _slot(dsn: str, patience: float) -> tuple[Any, tuple[str, str, str]]:
    """A replication connection with a temporary slot; the slot's name, its consistent point and its snapshot.

    It goes with the connection, whatever ends that: `Snapshot.slot` says how somebody makes one of it that stays.
    """
    connection = psycopg2.connect(dsn, connection_factory=LogicalReplicationConnection)
    watch = threading.Timer(patience, connection.cancel)
    slot = f"runbook_{os.getpid()}"
    try:
        watch.start()
        cursor = connection.cursor()
        # Our own patience decides; a logical replication connection takes SQL, too.
        cursor.execute(
            "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
            "SELECT set_config(name, '0', false) FROM (VALUES ('idle_session_timeout'), ('transaction_timeout')) AS t (name) "
            "WHERE current_setting(name, true) IS NOT NULL"
        )
        cursor.execute(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT")
        _, lsn, name, _ = cursor.fetchone()
        return connection, (slot, lsn, name)
    except BaseException:
        connection.close()
        raise
    finally:
        watch.cancel()


if __name__ == "__main__":
    main()
