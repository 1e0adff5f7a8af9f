"""One exported snapshot for every table and every reader, held by a process of its own.

The keeper is detached from the command that took the snapshot, so a crash of that command does not end it, and it
has a deadline, so a forgotten one does not hold back vacuum for ever. Its LSN comes from a replication slot's
consistent point where the role may create one: every change up to it is in the snapshot and none after it. The slot
is dropped at once; only the snapshot is held on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from psycopg2.extras import LogicalReplicationConnection

from helpers.catalog import Table
from helpers.errors import ConnectionFailed, SourceRefused
from helpers.platforms import postgres
from helpers.platforms.postgres import literal
from helpers.redaction import redact
from helpers.settings import PROJECT, Source

RECORDS = PROJECT / "outputs" / ".snapshots"
HELD_FOR_SECONDS = 6 * 3600.0
CLOCK_TOLERANCE_SECONDS = 5.0

SLOT_PATIENCE_SECONDS = 15.0
"""A slot waits for every running transaction that writes; a long one must not stop the export."""


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot and the process that holds it.

    Attributes:
        name: what `SET TRANSACTION SNAPSHOT` takes.
        lsn: the position in the source's log that the snapshot shows.
        exact: whether the snapshot holds exactly the changes up to `lsn`; otherwise the LSN is approximate.
        why_approximate: empty where exact.
        keeper: the holding process.
        keeper_started: its start as the system counts it; a PID alone may be another process by now.
    """

    name: str
    lsn: str
    exact: bool
    why_approximate: str
    taken_at: str
    until: str
    source: str
    keeper: int
    keeper_started: float

    @property
    def record(self) -> Path:
        """Where the keeper is written down while it lives."""
        return RECORDS / f"{self.name}-{self.keeper}.json"


def take(source: Source, *, hold_seconds: float = HELD_FOR_SECONDS, outlive: bool = False) -> Snapshot:
    """Exports a snapshot and starts its keeper.

    Args:
        source: the server.
        hold_seconds: after which the keeper lets go by itself.
        outlive: hold on when this process is gone, for a verification or a resumed export; otherwise let go with it.

    Raises:
        ConnectionFailed: the server cannot be reached.
    """
    postgres.connect(source, application="migration-runbooks probe").close()
    RECORDS.mkdir(parents=True, exist_ok=True)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "helpers.snapshot"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=PROJECT,
        start_new_session=True,
        text=True,
    )
    assert keeper.stdin and keeper.stdout
    secret = source.password.get_secret_value() if source.password else None
    order = {
        "source": {**source.model_dump(mode="json"), "password": secret},
        "hold_seconds": hold_seconds,
        "parent": None if outlive else [os.getpid(), psutil.Process().create_time()],
    }
    keeper.stdin.write(json.dumps(order) + "\n")
    keeper.stdin.close()
    answer = keeper.stdout.readline()
    keeper.stdout.close()
    found = json.loads(answer) if answer else {"error": "the keeper ended without a word"}
    if "error" in found:
        raise ConnectionFailed(
            "export a snapshot",
            on=postgres.address(source),
            why=found["error"],
            next_step="check that the role may read the tables and that the server has a free connection",
        )
    # The parent may go on for hours; somebody has to collect the child's exit.
    threading.Thread(target=keeper.wait, daemon=True).start()
    return Snapshot(**found)


def release(snapshot: Snapshot) -> None:
    """Ends the keeper; one that is gone already is no error."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(snapshot.keeper)
        if _is(process, snapshot.keeper_started):
            process.send_signal(signal.SIGTERM)
            with suppress(psutil.TimeoutExpired):
                process.wait(10)
    snapshot.record.unlink(missing_ok=True)


def release_named(name: str) -> None:
    """Ends the keeper of the snapshot `name`, if it is one of this machine's."""
    for snapshot in held():
        if snapshot.name == name:
            release(snapshot)


def held() -> list[Snapshot]:
    """Snapshots whose keeper lives; records of dead ones are removed."""
    found = []
    for path in sorted(RECORDS.glob("*.json")):
        with suppress(FileNotFoundError, ValueError, TypeError):
            snapshot = Snapshot(**json.loads(path.read_text()))
            try:
                alive = _is(psutil.Process(snapshot.keeper), snapshot.keeper_started)
            except psutil.NoSuchProcess:
                alive = False
            if alive:
                found.append(snapshot)
            else:
                path.unlink(missing_ok=True)
    return found


def transactions_held_back(source: Source) -> int:
    """What our snapshots cost the source: vacuum removes nothing that so many transactions ago was still seen."""
    connection = postgres.connect(source)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(max(age(backend_xmin)), 0) FROM pg_stat_activity "
                "WHERE application_name LIKE 'migration-runbooks%' AND pid <> pg_backend_pid()"
            )
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


def is_held(source: Source, name: str) -> bool:
    """Whether the server still knows the snapshot."""
    try:
        with reading(source, name):
            return True
    except SourceRefused:
        return False


@contextmanager
def reading(source: Source, name: str) -> Iterator[Any]:
    """A psycopg2 cursor whose transaction sees the snapshot `name`.

    Raises:
        SourceRefused: nobody holds that snapshot any more.
    """
    connection = postgres.connect(source)
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            try:
                cursor.execute(f"SET TRANSACTION SNAPSHOT {literal(name)}")
            except psycopg2.Error as error:
                raise SourceRefused(
                    "read the snapshot",
                    on=f"{name} of {postgres.address(source)}",
                    why=str(error),
                    next_step="its keeper or the server was restarted: export again under a new snapshot",
                ) from None
            yield cursor
    except psycopg2.OperationalError as error:
        if not connection.closed:
            raise
        raise ConnectionFailed(
            "read the source",
            on=postgres.address(source),
            why=str(error),
            next_step="check the server's log (locally: runbook local up), then run the same command again",
        ) from None
    finally:
        connection.close()


def lock(cursor: Any, tables: Iterable[Table], *, timeout_seconds: float) -> None:
    """Locks tables in ACCESS SHARE until the cursor's transaction ends, and proves that the snapshot shows them.

    TRUNCATE and rewriting ALTERs are invisible to an older snapshot: it sees an empty table where its rows were.
    Both give the table a new file, which is what is compared.

    Raises:
        SourceRefused: a lock was not to be had in time, or a table was rewritten or dropped since the snapshot.
    """
    cursor.execute(f"SET LOCAL lock_timeout = {int(timeout_seconds * 1000)}")
    for table in tables:
        try:
            cursor.execute(table.lock_for_reading)
        except psycopg2.errors.LockNotAvailable:
            raise SourceRefused(
                "lock the table for reading",
                on=str(table),
                why=f"another session holds a stronger lock for more than {timeout_seconds:g} s",
                next_step="let that session finish (SELECT * FROM pg_locks WHERE mode = 'AccessExclusiveLock'), "
                "then run the same command again",
            ) from None
        except psycopg2.Error as error:
            raise _moved(table, str(error)) from None
        cursor.execute(
            "SELECT oid::int8, pg_relation_filenode(oid)::int8 FROM unnest(%s::oid[]) AS t (oid)",
            ([heap.oid for heap in table.heaps],),
        )
        now = dict(cursor.fetchall())
        for heap in table.heaps:
            # A mapped or foreign relation has no file of its own.
            if heap.file and now.get(heap.oid) != heap.file:
                raise _moved(table, f"{heap.schema}.{heap.name} was truncated, rewritten or dropped after it")


def _moved(table: Table, why: str) -> SourceRefused:
    return SourceRefused(
        "read the table as the snapshot shows it",
        on=str(table),
        why=why,
        next_step="export again: a new snapshot shows the table as it is now",
    )


def main() -> None:
    """The keeper: takes its order from standard input, answers once, then holds on."""
    order = json.loads(sys.stdin.readline())
    password = order["source"].pop("password")
    source = Source.model_validate(order["source"]).model_copy(update={"password": _secret(password)})
    try:
        connection, found = _export(source)
    except (psycopg2.Error, ConnectionFailed) as error:
        print(json.dumps({"error": redact(str(error)).strip()}), flush=True)  # noqa: T201
        return
    me = psutil.Process()
    until = time.time() + order["hold_seconds"]
    snapshot = Snapshot(
        **found,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        until=datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds"),
        source=postgres.address(source),
        keeper=me.pid,
        keeper_started=me.create_time(),
    )
    snapshot.record.write_text(json.dumps(asdict(snapshot)))
    print(json.dumps(asdict(snapshot)), flush=True)  # noqa: T201
    with suppress(BrokenPipeError):
        sys.stdout.close()
    released = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: released.set())
    try:
        while not released.wait(1) and time.time() < until and _lives(order["parent"]):
            connection.cursor().execute("SELECT 1")
    except psycopg2.Error:
        pass  # the server is gone, and the snapshot with it
    finally:
        snapshot.record.unlink(missing_ok=True)
        os._exit(0)


def _is(process: psutil.Process, started: float) -> bool:
    """Whether it is the process that started then; the system's idea of its own start moves with the clock."""
    return bool(abs(process.create_time() - started) < CLOCK_TOLERANCE_SECONDS)


def _lives(process: list[Any] | None) -> bool:
    if process is None:
        return True
    try:
        return _is(psutil.Process(process[0]), process[1])
    except psutil.NoSuchProcess:
        return False


def _secret(password: str | None) -> Any:
    from pydantic import SecretStr

    return SecretStr(password) if password else None


def _export(source: Source) -> tuple[Any, dict[str, Any]]:
    settings = {"idle_in_transaction_session_timeout": "0", "statement_timeout": "0"}
    holder = postgres.connect(source, application="migration-runbooks snapshot", settings=settings)
    holder.set_session(isolation_level="REPEATABLE READ", readonly=True)
    cursor = holder.cursor()
    try:
        with _slot(source) as (name, lsn):
            cursor.execute(f"SET TRANSACTION SNAPSHOT {literal(name)}")
            cursor.execute("SELECT pg_export_snapshot()")
            return holder, {"name": cursor.fetchone()[0], "lsn": lsn, "exact": True, "why_approximate": ""}
    except (psycopg2.Error, ConnectionFailed) as error:
        why = redact(str(error)).strip().splitlines()[0]
    holder.rollback()
    cursor.execute(
        "SELECT pg_export_snapshot(), CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
    )
    name, lsn = cursor.fetchone()
    return holder, {"name": name, "lsn": lsn, "exact": False, "why_approximate": why}


@contextmanager
def _slot(source: Source) -> Iterator[tuple[str, str]]:
    connection = postgres.connect(
        source, application="migration-runbooks slot", connection_factory=LogicalReplicationConnection
    )
    watch = threading.Timer(SLOT_PATIENCE_SECONDS, connection.cancel)
    try:
        watch.start()
        cursor = connection.cursor()
        cursor.execute(f"CREATE_REPLICATION_SLOT runbook_{os.getpid()} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT")
        _, lsn, name, _ = cursor.fetchone()
        watch.cancel()
        yield name, lsn
    finally:
        watch.cancel()
        connection.close()


if __name__ == "__main__":
    main()
