"""The same behind PgBouncer, which drops start-up options, in session and in transaction mode, two clients at once.

Would catch: a setting that only a direct connection has, one that is set on another server process than the one that reads, a
snapshot or a freeze over several transactions behind transaction pooling that is not refused.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from waiting import wait_for

from helpers import doctor
from helpers.archive import backup
from helpers.errors import ConnectionFailed, MigrationError, SessionRefused
from helpers.local.servers import processes
from helpers.local.servers.processes import Account
from helpers.platforms import postgres, scratch_database
from helpers.settings import Settings
from helpers.source import freeze
from tests.movers.test_session import NASTY, OTHERWISE, fingerprints, otherwise

pytestmark = pytest.mark.slow

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")

CONFIGURATION = """
[databases]
* = host={source.host} port={source.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = 12
ignore_startup_parameters = {ignored}
"""


@contextmanager
def pooled(migration: Any, folder: Path, mode: str, ignored: str = "extra_float_digits,options") -> Iterator[Any]:
    """The migration through a PgBouncer of its own."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    source, account = migration.settings.source, Account.for_postgres()
    home = folder / f"pgbouncer-{mode}"
    home.mkdir()
    home.chmod(0o755)
    (home / "users").write_text(f'"{source.user}" "{source.password.get_secret_value()}"\n')
    port = processes.free_port(set())
    (home / "ini").write_text(CONFIGURATION.format(source=source, port=port, folder=home, mode=mode, ignored=ignored))
    for path in (home, *home.iterdir()):
        account.own(path)
    running = subprocess.Popen(  # type: ignore[call-overload]
        [PGBOUNCER, "-q", home / "ini"], cwd="/", stderr=subprocess.DEVNULL, **account.options()
    )
    values = migration.settings.values
    through = values.model_copy(update={"source": source.model_copy(update={"port": port})})
    try:
        _until_it_listens(port)
        yield replace(migration, settings=Settings("local", migration.settings.file, through))
    finally:
        running.terminate()
        running.wait()


def _until_it_listens(port: int) -> None:
    import socket

    def listens() -> bool:
        with closing(socket.socket()) as tried:
            return tried.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens)


@pytest.fixture(params=["18", "15"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    name = "fresh_migration" if request.param == "18" else "fresh_migration_15"
    fresh: Callable[..., AbstractContextManager[Any]] = request.getfixturevalue(name)
    with fresh() as found:
        yield found


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that the account of the servers can traverse, which pytest's own is not."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="runbook-pooler-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_what_is_read_through_a_pooler_is_exact(source: Any, folder: Path, mode: str) -> None:
    source.source(
        *NASTY, "CREATE TABLE hidden (id int PRIMARY KEY)", "INSERT INTO hidden SELECT generate_series(1, 10)",
    )  # fmt: skip
    before = fingerprints(source)
    known = {name: value for name, value in OTHERWISE.items() if name in _known(source)}
    with otherwise(source, known), pooled(source, folder, mode) as through:
        through.settings = through.settings.with_workers(2)
        with ThreadPoolExecutor(2) as pool:
            first, second = (pool.submit(_read_often, through.settings) for _ in range(2))
            assert fingerprints(through) == before
            assert through.verify("stage").verdict == "equal"
            assert first.result() == second.result() == {("{2024-02-02}", "{0.30000000000000004}", "$1.50")}
        source.source(
            "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY", "ALTER TABLE hidden FORCE ROW LEVEL SECURITY",
            "CREATE POLICY half ON hidden USING (id <= 5)",
        )  # fmt: skip
        with pytest.raises(MigrationError, match="row-level security"):
            through.export()


def _known(migration: Any) -> set[str]:
    return {name.lower() for (name,) in migration.source("SELECT name FROM pg_settings")}


def _read_often(settings: Settings) -> set[tuple[Any, ...]]:
    """What another client reads meanwhile, transaction by transaction, and with a cursor of the server's."""
    found = set()
    with closing(postgres.connect(settings.source)) as connection:
        for _ in range(30):
            with connection.cursor("held") as cursor:
                cursor.execute("SELECT days::text, f::text, price::text FROM public.nasty WHERE id = 1")
                found.add(cursor.fetchone())
            connection.commit()
    return found


def test_what_takes_a_session_is_refused_behind_transaction_pooling(source: Any, folder: Path) -> None:
    source.source(*NASTY)
    with pooled(source, folder, "transaction") as through:
        here = through.settings.source
        read_only = {"default_transaction_read_only": "on"}
        with closing(postgres.connect(here, settings=read_only)) as looking:  # as the cells of a notebook do
            looking.autocommit = True
            for _ in range(3):
                with looking.cursor() as cursor:
                    cursor.execute("SELECT price::text FROM public.nasty WHERE id = 1")
                    assert cursor.fetchall() == [("$1.50",)]
            with looking.cursor() as cursor, pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
                cursor.execute("DELETE FROM public.nasty")
        for tried in (
            lambda: freeze.freeze(freeze.plan_freeze(here), patience=0),
            lambda: backup.dump(here, folder / "dump"),
            lambda: scratch_database.remove_stale(here, backup.SCRATCH),
        ):
            with pytest.raises(SessionRefused) as refused:
                tried()
            assert "connect directly" in refused.value.next_step
        (told,) = doctor.examine(through.settings, ("source.pooler",))
        assert told.verdict == "wrong" and "connect directly" in told.finding.fix
    assert not freeze.is_frozen(source.settings.source)
    assert not (folder / "dump").exists()


def test_session_pooling_holds_a_session(source: Any, folder: Path) -> None:
    source.source(*NASTY)
    with pooled(source, folder, "session") as through:
        plan = freeze.plan_freeze(through.settings.source)
        freeze.freeze(plan, patience=0, end_writers=True)
        try:
            assert freeze.is_frozen(source.settings.source)
        finally:
            freeze.unfreeze(source.settings.source, plan.former)
        with pytest.raises(SessionRefused, match="connect directly"):
            backup.dump(through.settings.source, folder / "dump")
        (told,) = doctor.examine(through.settings, ("source.pooler",))
        assert told.verdict == "wrong" and "start-up options" in told.finding.needed


def test_a_pooler_that_refuses_options_says_what_to_do(source: Any, folder: Path) -> None:
    with pooled(source, folder, "session", ignored="extra_float_digits") as through:
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(postgres.dsn(through.settings.source))
        with pytest.raises(ConnectionFailed) as refused:
            through.export()
        assert "ignore_startup_parameters" in refused.value.next_step and not refused.value.transient
