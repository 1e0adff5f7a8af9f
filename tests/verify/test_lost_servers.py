"""A server that is lost in the middle is an error and exit 2: never a verdict, never a hang.

Would catch: an exception of a driver that nobody translated, a digest of what had arrived so far that is taken for the
whole, a thread that waits for a connection that is gone.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

from helpers import export as exporting
from helpers import verify as verifying
from helpers.errors import ConnectionFailed, MigrationError, StageError
from helpers.model import manifest as manifests
from helpers.platforms import duck
from helpers.platforms.faults import duck as faults
from helpers.runs.engine import Failure
from helpers.runs.retry import execute_patiently
from helpers.runs.run import AttemptResult
from helpers.settings import Settings
from helpers.verify import Options


class Gate:
    """Passes bytes between a client and a server on this machine, and cuts every connection after so many of them."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.left: int | None = None
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.left == 0:
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                self._open += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(one, other, one is server), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while content := one.recv(16384):
                if answers and self._spent(len(content)):
                    self.cut()
                    return
                other.sendall(content)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _spent(self, count: int) -> bool:
        with self._lock:
            if self.left is not None:
                self.left = max(0, self.left - count)
            return self.left == 0

    def cut(self) -> None:
        """Lets nobody in any more, and ends what is open."""
        self.left = 0
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self.cut()
        self._listener.close()


@pytest.fixture
def gates(migration: Any) -> Iterator[dict[str, Gate]]:
    settings = migration.settings
    found = {
        "source": Gate(settings.source.host, settings.source.port),
        "snowflake": Gate(settings.snowflake.connect["host"], settings.snowflake.connect["port"]),
    }
    yield found
    for gate in found.values():
        gate.close()


def _behind(migration: Any, gates: dict[str, Gate], patience: int = 3) -> Settings:
    """The servers behind their gates; a Snowflake that is cut off is given up after so many seconds."""
    values = migration.settings.values
    connect = {
        **values.snowflake.connect,
        "port": gates["snowflake"].port,
        "network_timeout": patience,
        "login_timeout": patience,
    }
    return Settings(
        "local",
        migration.settings.file,
        values.model_copy(
            update={
                "source": values.source.model_copy(update={"port": gates["source"].port}),
                "snowflake": values.snowflake.model_copy(update={"connect": connect}),
            }
        ),
    )


def _verify(settings: Settings, cut: Gate | None, after: int, **options: Any) -> Any:
    """The report of a verification, one of whose servers is lost after so many bytes of its answers."""
    with verifying.planned(settings, **{"target": "snowflake", **options}) as plan:
        if cut:
            cut.left = after
        return verifying.verify(plan)


# The connector aborts a lost query from a thread of its own; the command's thread tells of the same loss.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("lost", ["source", "snowflake"])
@pytest.mark.parametrize("witness", [False, True], ids=["stream", "inside"])
def test_a_server_that_is_lost_at_any_point_is_an_error(
    migration: Any, gates: dict[str, Gate], lost: str, witness: bool
) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 3000) i",
        "CREATE TABLE u AS TABLE t",
    )
    migration.migrate()
    # One row of each table differs, so that rows are fetched after the digests.
    migration.target(*(f'UPDATE "{name}" SET "v" = \'x\' WHERE "id" = 1' for name in ("t", "u")))
    settings, calm = _behind(migration, gates), _behind(migration, gates, patience=60)
    options = {"options": Options(witness=witness)}
    assert [t.missing + t.changed for t in _verify(calm, None, 0, **options).tables] == [1, 1]
    for after in (1, 8_000, 60_000):
        gates[lost].left = None
        try:
            report = _verify(settings, gates[lost], after, **options)
        except MigrationError as error:
            assert (error.exit_code, error.transient) == (2, True), error
            assert not isinstance(error, StageError), error
        else:
            # The whole conversation was shorter than that.
            assert [t.missing + t.changed for t in report.tables] == [1, 1]
            assert after > 8_000
        finally:
            gates[lost].cut()
    gates[lost].left = None
    assert _verify(calm, None, 0, **options).verdict == "different"


@pytest.mark.parametrize("lost", ["source", "snowflake"])
def test_a_server_that_is_not_there_is_an_error(migration: Any, gates: dict[str, Gate], lost: str) -> None:
    migration.source("CREATE TABLE t (id int)")
    migration.migrate()
    gates[lost].cut()
    with pytest.raises(MigrationError) as failed:
        _verify(_behind(migration, gates), None, 0)
    assert (failed.value.exit_code, failed.value.transient) == (2, True)


def test_a_source_that_is_cut_in_the_middle_of_an_export_may_be_asked_again(
    migration: Any, gates: dict[str, Gate]
) -> None:
    """Would catch: advice about the bucket where the source is gone, and a night that ends because nobody tried again."""
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 3000) i",
        "CREATE TABLE u AS TABLE t",
    )
    settings = _behind(migration, gates)
    said: list[str] = []
    of: Any = None  # the retry asks only how it ended

    def attempt() -> AttemptResult:
        """As `runbook run` makes one: the first meets a connection that is cut while rows are on their way."""
        gates["source"].left = None
        try:
            with exporting.planned(settings) as plan:
                gates["source"].left = 300_000 if not said else None
                exporting.export(plan)
        except MigrationError as error:
            assert "bucket" not in error.next_step
            failure = Failure(None, type(error).__name__, str(error), error.exit_code, error.transient)
            return AttemptResult(of, "failed", error.exit_code, 0.0, Path(), None, failure)
        return AttemptResult(of, "done", 0, 0.0, Path(), None, None)

    ended = execute_patiently(attempt, retries=2, say=said.append, first_wait=0.01)
    assert ended.status == "done", ended.failure
    assert len(said) == 1
    assert said[0].startswith("ConnectionFailed may pass")
    assert manifests.read(migration.bucket).tables[0].rows == 3000


# One reading is answered by 11 bytes to its preparation, the columns to its description, then by the header and the rows.
@pytest.mark.parametrize("after", [1, 12, 60, 120, 30_000])
def test_a_reader_whose_source_is_cut_says_so_at_any_point(migration: Any, gates: dict[str, Gate], after: int) -> None:
    source = _behind(migration, gates).source
    migration.source("CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS v FROM generate_series(1, 500) i")
    with closing(duck.connect(threads=1)) as reader:
        duck.attach_postgres(reader, source)
        gates["source"].left = after
        with pytest.raises(duckdb.Error) as cut:
            reader.execute("FROM postgres_query('source', 'SELECT id, v FROM public.t')").fetchall()
        with suppress(duckdb.Error):
            reader.execute("ROLLBACK")
    told = faults.told(cut.value, "read", on="the source")
    assert (type(told), told.transient) == (ConnectionFailed, True), (told, cut.value)
    assert faults.is_of_the_source(cut.value)


def test_another_postgresql_that_is_lost_is_an_error(migration: Any, gates: dict[str, Gate]) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 3000) i",
    )
    behind = _behind(migration, gates).source
    options = {"target": "postgresql", "target_source": behind}
    assert _verify(migration.settings, None, 0, **options).equal
    for after in (1, 5_000, 500_000):
        gates["source"].left = None
        with pytest.raises(MigrationError) as failed:
            _verify(migration.settings, gates["source"], after, **options)
        assert failed.value.exit_code == 2
        gates["source"].cut()
