"""One exported snapshot for every table and every reader, held by a process of its own.

The keeper is detached from the command that took the snapshot, so a crash of that command does not end it, and it
has a deadline, so a forgotten one does not hold back vacuum for ever. Its LSN comes from a replication slot's
consistent point where the role may create one: every change up to it is in the snapshot and none after it. The slot
is dropped at once; only the snapshot is held on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import Any

import psycopg2

from helpers import PROJECT, errors
from helpers.errors import ConnectionFailed, MigrationError, SourceFailed, SourceRefused
from helpers.model.catalog import Table, kinds_read
from helpers.platforms import pg_session, postgres
from helpers.platforms.child_environment import child_environment
from helpers.platforms.faults import Fault
from helpers.platforms.faults import postgres as faults
from helpers.platforms.postgres import literal, savepoint
from helpers.process_identity import start_of
from helpers.settings import Instance, Source
from helpers.source import held_snapshots, rights
from helpers.source.held_snapshots import Snapshot, held, release
from helpers.source.relations import DETACHING
from helpers.stopping import OUTLIVES


@dataclass(frozen=True)
class Follow:
    """That changes are to be followed from a snapshot.

    Attributes:
        slot: the name under which the slot will be kept; once there is one, the keeper drops its own.
        patience: seconds that the slot may wait for open transactions.
    """

    slot: str
    patience: float


def take(
    source: Source, *, hold_hours: float = 6.0, purpose: str = "", run: str = "", follow: Follow | None = None
) -> Snapshot:
    """Exports a snapshot and starts its keeper.

    Args:
        source: the server.
        hold_hours: after which the keeper lets go by itself; `hold_snapshot_hours` of the profile.
        purpose: what it is held for when this process is gone; a former one for the same purpose of the same run, which nobody
            who lives has taken, is let go. Without a purpose it goes with this process.
        run: that it is for.
        follow: that the keeper keeps the slot, too; without it, a slot is not needed, and the snapshot's LSN may be approximate.

    Raises:
        ConnectionFailed: the server cannot be reached.
        SessionRefused: a setting does not hold.
        SourceFailed: the slot to follow from cannot be made.
        OSError: that it is held for later cannot be written down.
    """
    with suppress(OSError) if not purpose else nullcontext():
        held_snapshots.RECORDS.mkdir(parents=True, exist_ok=True)
    order = {
        "source": postgres.address(source),
        "records": str(held_snapshots.RECORDS),
        "hold_seconds": hold_hours * 3600,
        "taken_by": os.getpid(),
        "taken_by_started": start_of(os.getpid()),
        "run": run,
        "purpose": purpose,
        "follow": asdict(follow) if follow else None,
    }
    keeper = subprocess.Popen(
        [sys.executable, "-m", "helpers.source.keeper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=PROJECT,
        # PG…: what libpq finds by itself, such as a password file; KRB5…: a ticket.
        env=child_environment("PG", "KRB5") | ({OUTLIVES: f"the snapshot for {purpose}"} if purpose else {}),
        start_new_session=True,
        text=True,
    )
    assert keeper.stdin and keeper.stdout
    try:
        # While the keeper starts; it is this process that tells of a server that is not there.
        one = postgres.settled(source)
        assert one.instance
        order |= {
            "holder": postgres.dsn(one, application="migration-runbooks snapshot"),
            "slot": postgres.dsn(one, application="migration-runbooks slot"),
            "instance": asdict(one.instance),
        }
        keeper.stdin.write(json.dumps(order) + "\n")
        keeper.stdin.close()
        answer = keeper.stdout.readline()
        keeper.stdout.close()
    except BaseException:
        keeper.kill()
        keeper.wait()
        raise
    found: dict[str, Any] = json.loads(answer) if answer else {"error": "the keeper ended without a word"}
    if "unwritten" in found:
        raise OSError(*found["unwritten"])
    if "refused" in found:
        refused = found["refused"]
        kind: type[MigrationError] = getattr(errors, refused["type"])
        error = kind(refused["what"], on=refused["on"], why=refused["why"], next_step=refused["next"])
        error.transient = refused["transient"]
        raise error
    if "error" in found:
        cause = faults.fault(found["error"], found.get("code")) or Fault(
            ConnectionFailed, "see in the server's log what it refused, then run the same command again"
        )
        raise cause.told(
            "make a slot to follow from" if follow else "export a snapshot",
            on=postgres.address(source),
            why=found["error"],
        )
    # The parent may go on for hours; somebody has to collect the child's exit.
    threading.Thread(target=keeper.wait, daemon=True).start()
    taken = Snapshot(**found)
    for former in held():
        if former.abandoned and (former.source, former.run, former.purpose) == (taken.source, run, purpose):
            release(former)
    return taken


def on(source: Source, snapshot: Snapshot) -> Source:
    """The source on the server that `snapshot` lies on: every reader of the snapshot goes there, and refuses another."""
    return source.on(Instance(**snapshot.instance) if snapshot.instance else None)


def transactions_held_back(source: Source) -> int:
    """What our snapshots cost the source: vacuum removes nothing that so many transactions ago was still seen."""
    age = (
        "SELECT coalesce(max(age(backend_xmin)), 0) FROM pg_stat_activity "
        "WHERE application_name LIKE 'migration-runbooks%' AND pid <> pg_backend_pid()"
    )
    with closing(postgres.connect(source)) as connection, connection.cursor() as cursor:
        return int(postgres.value(cursor, age))


def is_held(source: Source, name: str) -> bool:
    """Whether the server still knows the snapshot."""
    try:
        with reading(source, name):
            return True
    except SourceFailed:
        raise
    except SourceRefused:
        return False


def has_slot(source: Source, snapshot: Snapshot) -> bool:
    """Whether the server still has the slot that changes can be followed from."""
    if not snapshot.slot:
        return False
    with closing(postgres.connect(on(source, snapshot))) as connection, connection.cursor() as cursor:
        query = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s AND active"
        return bool(postgres.value(cursor, query, [snapshot.slot]))


@contextmanager
def reading(source: Source, name: str) -> Iterator[Any]:
    """A psycopg2 cursor whose transaction sees the snapshot `name`.

    Raises:
        SourceRefused: nobody holds that snapshot any more, or another server answers than the one that it lies on.
        SessionRefused: a setting does not hold.
    """
    connection = postgres.connect(source)
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            try:
                connection.begin(f"SET TRANSACTION SNAPSHOT {literal(name)}")
            except psycopg2.Error as error:
                postgres.refuse_another_server(source)
                raise faults.told(error, "read the snapshot", on=f"{name} of {postgres.address(source)}") from None
            yield cursor
    except psycopg2.Error as error:
        if faults.known(error) is None:
            raise
        raise faults.told(error, "read the source", on=postgres.address(source)) from None
    finally:
        connection.close()


def lock(cursor: Any, tables: Sequence[Table], *, timeout_seconds: float) -> None:
    """Locks tables in ACCESS SHARE until the cursor's transaction ends, and proves that the snapshot shows them.

    TRUNCATE and rewriting ALTERs are invisible to an older snapshot: it sees an empty table where its rows were.
    Both give the table a new file, which is what is compared, for the tables behind a view too.

    Raises:
        SourceFailed: a lock was not to be had in time, a right is missing, or a materialized view was never filled.
        SourceRefused: a table was rewritten or dropped since the snapshot.
    """
    cursor.execute(f"SET LOCAL lock_timeout = {int(timeout_seconds * 1000)}")
    rights.refuse_missing(cursor, tables)
    pg_session.restrict(cursor, kinds_read(tables))
    for table in tables:
        try:
            cursor.execute(lock_statement(table))
        except psycopg2.Error as error:
            raise faults.told(error, "lock the table for reading", on=str(table)) from None
        cursor.execute(_MOVED, {"table": table.oid})
        if moved := cursor.fetchone():
            raise _moved(table, f"{moved[0]} was {moved[1]} after it")


def lock_each(
    cursor: Any, tables: Sequence[Table], *, timeout_seconds: float
) -> tuple[tuple[Table, ...], dict[str, SourceRefused]]:
    """As `lock`, but one table that cannot be read keeps no other from being so.

    Returns:
        The tables that are locked, and the error of each other by `schema.name`.
    """
    try:
        with savepoint(cursor):
            lock(cursor, tables, timeout_seconds=timeout_seconds)
        return tuple(tables), {}
    except SourceRefused:
        pass
    locked, failed = [], {}
    for table in tables:
        try:
            with savepoint(cursor):
                lock(cursor, [table], timeout_seconds=timeout_seconds)
            locked.append(table)
        except SourceRefused as error:
            failed[str(table)] = error
    pg_session.restrict(cursor, kinds_read(locked))
    return tuple(locked), failed


def lock_statement(table: Table) -> str:
    """What locks `table`, and the tables behind a view, in ACCESS SHARE; a materialized view is locked only by reading it.

    Tables that inherit from it are not locked with it: each is read by itself or not at all.
    """
    if table.kind == "m":
        return f"SELECT FROM {table.sql} LIMIT 0"
    return f"LOCK TABLE {table.sql} IN ACCESS SHARE MODE"


_MOVED = f"""
WITH RECURSIVE beneath AS (
    SELECT %(table)s::oid AS relid
    UNION
    SELECT n.relid FROM beneath b JOIN pg_class c ON c.oid = b.relid CROSS JOIN LATERAL (
        -- A table is exported without those that inherit from it; a view may read them.
        SELECT i.inhrelid AS relid FROM pg_inherits i WHERE i.inhparent = c.oid
            AND (c.relkind = 'p' AND NOT {DETACHING} OR c.relkind <> 'p' AND c.oid <> %(table)s)
        UNION ALL SELECT d.refobjid FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid
            WHERE r.ev_class = c.oid AND c.relkind = 'v'
              AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
    ) n
)
SELECT n.nspname || '.' || c.relname, m.how
FROM (
    -- A view or partitioned table has no file, and a mapped relation none of its own.
    SELECT b.relid, 'truncated, rewritten or dropped' AS how FROM beneath b JOIN pg_class c ON c.oid = b.relid
    WHERE c.relfilenode <> 0 AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
    UNION ALL
    SELECT coalesce(b.relid, p.relid), CASE WHEN b.relid IS NULL THEN 'attached' ELSE 'detached' END
    FROM beneath b FULL JOIN pg_partition_tree(%(table)s) p ON p.relid = b.relid
    WHERE (b.relid IS NULL OR p.relid IS NULL)
      AND EXISTS (SELECT FROM pg_class c WHERE c.oid = %(table)s AND c.relkind = 'p')
) m
JOIN pg_class c ON c.oid = m.relid JOIN pg_namespace n ON n.oid = c.relnamespace
LIMIT 1
"""
"""What of a table, its partitions or the tables behind a view is not what the snapshot shows: the system tables are read in the
snapshot, and functions see the present. A partition that was created since is no part of the snapshot."""


def _moved(table: Table, why: str) -> SourceRefused:
    return SourceRefused(
        "read the table as the snapshot shows it",
        on=str(table),
        why=why,
        next_step="export again: a new snapshot shows the table as it is now",
    )
