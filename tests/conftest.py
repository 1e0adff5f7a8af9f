"""The local stack for tests: one for the session, apart from the one that `make demo` leaves up."""

from __future__ import annotations

import gc
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from empty_databases import EmptyDatabases
from profile_support import local_profile
from pydantic import SecretStr
from snowflake.connector.errors import Error

from helpers import export as exporting
from helpers import load as loading
from helpers import redaction
from helpers import settings as profiles
from helpers import verify as verifying
from helpers.archive import backup
from helpers.doctor import trial
from helpers.engines.snowflake.records import SCHEMA_SUFFIX
from helpers.local import folder, stack
from helpers.local.servers import processes
from helpers.local.servers.postgres import Postgres
from helpers.local.servers.processes import Account
from helpers.model.manifest import Manifest
from helpers.platforms import pg_tools, postgres, snowflake
from helpers.platforms.delta import Lake
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings, Snowflake
from helpers.source import held_snapshots
from helpers.source import snapshot as snapshots
from helpers.source.held_snapshots import Snapshot
from helpers.verify.report import Report
from tests.sql.plugin import Gate

PROJECT = Path(__file__).resolve().parent.parent
os.environ.setdefault("RUNBOOK_LOCAL_ROOT", str(PROJECT / ".local-test"))
# Else the clients look through the whole environment for a proxy at every request: a tenth of their time.
os.environ.setdefault("NO_PROXY", "127.0.0.1")
# pytest-xdist gives its workers a terminal of 80 columns, which they have not.
os.environ.pop("COLUMNS", None)
# A shell starts what runs in its background with SIGINT ignored, and so would be every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A property test makes its state anew for each example, whatever the scope of its fixtures, and on a busy machine all is slow.
CHECKS = (hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow)
hypothesis.settings.register_profile("ci", derandomize=True, database=None, deadline=None, suppress_health_check=CHECKS)
hypothesis.settings.register_profile(
    "search", max_examples=1000, print_blob=True, deadline=None, suppress_health_check=CHECKS
)

_numbers = itertools.count(1)
_sessions: dict[str, Any] = {}
"""The sessions in the target, by user, that the tests of this process have beside the migrations' own; a failure ends one."""


def pytest_configure(config: pytest.Config) -> None:
    """Draws the same examples every time, but for `-m slow`, which searches at random; `--hypothesis-profile` outweighs it."""
    hypothesis.settings.load_profile("search" if _searches(config) else "ci")
    config.pluginmanager.register(Gate(), "statement shapes")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`-m slow` takes the property tests with it, and gives them the time for many examples."""
    if not _searches(config):
        return
    for item in items:
        if hypothesis.is_hypothesis_test(getattr(item, "obj", None)) or item.get_closest_marker("property"):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(3600))


def _searches(config: pytest.Config) -> bool:
    return str(config.getoption("markexpr")) == "slow"


@pytest.fixture(scope="session")
def local_settings() -> Iterator[Settings]:
    """Profile local on a running stack, with the keys of its people, as `runbook local up` leaves it."""
    from helpers.commands import demo

    stack.up()
    demo.make_keys(stack.home())
    yield profiles.load("local", PROJECT / "migration.toml")
    while _sessions:
        _sessions.popitem()[1].close()


@pytest.fixture(scope="session")
def administrator(local_settings: Settings) -> Snowflake:
    """The local Snowflake as its administrator sees it, who makes and changes what the product's own role may not."""
    return _as_administrator(local_settings.snowflake)


def _as_administrator(target: Snowflake) -> Snowflake:
    login = stack.environment().snowflake
    return target.model_copy(update={"user": login["user"], "password": SecretStr(login["password"]), "role": None})


@contextmanager
def _at_the_target(target: Snowflake) -> Iterator[Any]:
    """A cursor of the genuine connector."""
    if target.user not in _sessions:
        _sessions[target.user] = snowflake.open_connection(target)
    try:
        with _sessions[target.user].cursor() as cursor:
            yield cursor
    except BaseException:
        if target.user in _sessions:
            _sessions.pop(target.user).close()
        raise


def _drop_schemas(target: Snowflake) -> None:
    with _at_the_target(_as_administrator(target)) as cursor:
        for schema in (target.schema_, target.schema_ + SCHEMA_SUFFIX):
            cursor.execute(f"DROP SCHEMA IF EXISTS {snowflake.identifier(target.database, schema)}")


@pytest.fixture(scope="session", autouse=True)
def machine_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of tests are signed, and counted, with a key of their own, not with that of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        if "RUNBOOK_RUN_KEY" not in os.environ:
            patch.setenv("RUNBOOK_RUN_KEY", str(tmp_path_factory.mktemp("machine") / "run-key.pem"))
        yield


@pytest.fixture(scope="session", autouse=True)
def scratch_of_this_process() -> Iterator[None]:
    """The other worker's tests make scratch databases, schemas and objects in the same servers, and kill who does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup, "SCRATCH", f"{backup.SCRATCH}{os.getpid()}_")
        patch.setattr(trial, "SCRATCH", f"{trial.SCRATCH}{os.getpid()}_")
        yield


@pytest.fixture(autouse=True)
def secrets_of_one_test() -> Iterator[None]:
    """A password "secret" that one test remembers would mask that word in what the next one reads."""
    before = redaction.known()
    yield
    redaction._known.intersection_update(before)


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[float], None]]:
    """Interrupts this process in as many seconds.

    No garbage is collected meanwhile: an interrupt that falls into a callback of the collector, such as hypothesis has, is
    written to standard error and forgotten.
    """
    timers: list[threading.Timer] = []

    def interrupt_in(seconds: float) -> None:
        timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)))
        timers[-1].start()

    gc.disable()
    try:
        yield interrupt_in
    finally:
        gc.enable()
        for timer in timers:
            timer.cancel()


@dataclass
class Migration:
    """A database, a stage prefix and a Snowflake schema of one test's own."""

    settings: Settings

    def source(self, *statements: str) -> list[tuple[Any, ...]]:
        """Runs statements on the source, each committed; the last one's rows."""
        rows: list[tuple[Any, ...]] = []
        with closing(postgres.connect(self.settings.source, settings={"search_path": "public"})) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                    rows = cursor.fetchall() if cursor.description else []
        return rows

    @contextmanager
    def superuser(self, application: str = "runbook tests") -> Iterator[Any]:
        """A cursor of the local stack's superuser, who may grant what the source's owner may not."""
        password = json.loads((folder.default_root() / "state.json").read_text())["passwords"]["superuser"]
        own = {"user": "postgres", "password": SecretStr(password)}
        source = self.settings.source.model_copy(update=own)
        with closing(postgres.connect(source, application=application, settings={"search_path": "public"})) as found:
            found.autocommit = True
            yield found.cursor()

    @contextmanager
    def once_a_snapshot_is_taken(self, then: Callable[[], object]) -> Iterator[None]:
        """Has `then` done behind the next snapshot of this block: one with its LSN waits for every transaction that has written or
        locked a table for itself, in whatever database of the server, and so would the other worker's.
        """
        take = snapshots.take

        def taken(*given: Any, **options: Any) -> Snapshot:
            found = take(*given, **options)
            then()
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(snapshots, "take", taken)
            yield

    def held(self) -> list[Snapshot]:
        """Snapshots of this source alone: other tests hold theirs at the same time."""
        return [each for each in held_snapshots.held() if each.source == postgres.address(self.settings.source)]

    def drop(self, database: str) -> None:
        """Drops another database of the source's server."""
        with closing(postgres.connect(self.settings.source, settings={"search_path": "public"})) as connection:
            connection.autocommit = True
            postgres.drop_database(connection.cursor(), database)

    def target(self, *statements: str) -> list[tuple[Any, ...]]:
        """Runs statements through the genuine connector; the last one's rows."""
        target = self.settings.snowflake
        with _at_the_target(target) as cursor:
            cursor.execute(f"USE SCHEMA {snowflake.identifier(target.database, target.schema_)}")
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def administrator(self, *statements: str) -> list[tuple[Any, ...]]:
        """The same as the account's administrator, in a session of its own."""
        target = _as_administrator(self.settings.snowflake)
        with closing(snowflake.open_connection(target)) as connection, connection.cursor() as cursor:
            schema = snowflake.identifier(target.database, target.schema_)
            for statement in (f"USE SCHEMA {schema}", *statements):
                cursor.execute(statement)
            return list(cursor.fetchall())

    def export(self) -> Manifest:
        with exporting.planned(self.settings) as plan:
            return exporting.export(plan)

    def load(self, manifest: Manifest) -> None:
        loading.load(loading.plan_load(manifest, self.bucket, self.settings.snowflake))

    def migrate(self) -> Manifest:
        manifest = self.export()
        self.load(manifest)
        return manifest

    def verify(self, target: verifying.TargetName = "snowflake", **options: Any) -> Report:
        with verifying.planned(self.settings, target=target, **options) as plan:
            return verifying.verify(plan)

    @property
    def name(self) -> str:
        """A name that no other test has: that of the stage's prefix and of the targets' schemas."""
        return str(self.settings.databricks.schema_)

    @property
    def profile(self) -> str:
        """The text of profile `local`, as this test has it."""
        return local_profile(self.settings)

    @property
    def bucket(self) -> Bucket:
        return Bucket.open(self.settings.stage)


@contextmanager
def _fresh(local_settings: Settings, databases: EmptyDatabases, options: str = "") -> Iterator[Migration]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with _made(local_settings, name, options) if options else databases.one() as database:
        values = local_settings.values
        own = values.model_copy(
            update={
                "source": values.source.model_copy(update={"dbname": database}),
                "stage": values.stage.model_copy(update={"url": f"s3://migration/{name}/"}),
                "snowflake": values.snowflake.model_copy(update={"schema_": name.upper()}),
                "databricks": values.databricks.model_copy(update={"schema_": name}),
            }
        )
        found = Migration(Settings("local", local_settings.file, own))
        yield found
    for bucket in (found.bucket, Lake.open(own.databricks, own.stage).bucket):
        bucket.remove(list(bucket.sizes()))
    try:
        _drop_schemas(own.snowflake)
    except Error:  # of a session that a test, or its server's end, has ended
        _drop_schemas(own.snowflake)


@contextmanager
def _made(local_settings: Settings, name: str, options: str) -> Iterator[str]:
    """A database with options of its own, which no other test can use."""
    with closing(postgres.connect(local_settings.source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}_own {options}")
        yield f"{name}_own"
        postgres.drop_database(connection.cursor(), f"{name}_own")


@pytest.fixture(scope="session")
def empty_databases(local_settings: Settings) -> Iterator[EmptyDatabases]:
    """Empty databases of this process, each used by one test at a time."""
    databases = EmptyDatabases(local_settings.source)
    yield databases
    databases.drop()


@pytest.fixture(scope="session")
def fresh_migration(
    local_settings: Settings, empty_databases: EmptyDatabases
) -> Callable[..., AbstractContextManager[Migration]]:
    """Makes a fresh, empty source with somewhere to go, for the length of a block: `fresh_migration("ENCODING 'LATIN1' …")`."""
    return partial(_fresh, local_settings, empty_databases)


@pytest.fixture(scope="session")
def fresh_migration_15(local_settings: Settings) -> Iterator[Callable[..., AbstractContextManager[Migration]]]:
    """The same, its source a PostgreSQL 15 as Debian has it, with the passwords of the stack's own."""
    binaries = pg_tools.DEBIAN / "15" / "bin"
    if not binaries.exists():
        pytest.skip("PostgreSQL 15 is not installed: apt-get install postgresql-15")
    passwords = json.loads((folder.default_root() / "state.json").read_text())["passwords"]
    home = Path(next(row.detail for row in stack.status() if row.name == "postgres")).parent.parent
    server = Postgres(
        home / f"postgres-15-{os.getpid()}", processes.free_port(set()), binaries, Account.for_postgres(), passwords["superuser"], passwords["owner"],
    )  # fmt: skip
    shutil.rmtree(server.folder, ignore_errors=True)
    server.folder.mkdir(mode=0o711)
    password = server.folder / "password"
    password.write_text(server.superuser_password)
    for path in (server.folder, password):
        server.account.own(path)
    subprocess.run(  # type: ignore[call-overload]
        [
            binaries / "initdb", "-D", server.data, "-U", "postgres", "--pwfile", password, "--auth=scram-sha-256", "--encoding=UTF8",
            "--locale=C", "--no-sync",
        ],
        cwd=server.folder, check=True, capture_output=True, **server.account.options(),
    )  # fmt: skip
    with (server.data / "postgresql.conf").open("a") as file:
        file.write("include 'runbook.conf'\n")
    running = server.start()
    try:
        server.wait(running, 0)
        values = local_settings.values
        source = values.source.model_copy(update={"port": server.port})
        own = Settings("local", local_settings.file, values.model_copy(update={"source": source}))
        yield partial(_fresh, own, EmptyDatabases(source))
    finally:
        processes.stop(running, server.marker, by=server.stop_signal)
        shutil.rmtree(server.folder)


@pytest.fixture
def migration(fresh_migration: Callable[..., AbstractContextManager[Migration]]) -> Iterator[Migration]:
    """A fresh, empty source with somewhere to go."""
    with fresh_migration() as found:
        yield found


@pytest.fixture
def migration_toml(tmp_path: Path) -> Callable[..., Path]:
    """Writes a migration.toml, into the test's folder or others: `migration_toml(migration.profile + more, *folders)`."""

    def written(text: str, *folders: Path) -> Path:
        files = [folder / "migration.toml" for folder in folders or (tmp_path,)]
        for file in files:
            file.write_text(text)
        return files[0]

    return written


@pytest.fixture
def runbook(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command in this process, `runbook("verify", "--json")`: exit code and what it wrote, without the seconds of a start.

    A test starts a process of its own where one is killed, limited or started otherwise, or where that is what is tested.
    """
    from helpers.commands.app import run_command

    def called(*arguments: str, folder: Path = PROJECT) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.chdir(folder)
            patch.setattr(sys, "argv", ["runbook", *arguments])
            patch.setattr(redaction, "_known", set(redaction.known()))
            run_command()
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out, err)

    return called
