"""PostgreSQL's own programs for dumping and restoring: which of them fits a server, and how one is run.

They learn where to connect from a service file that only we may read, and the password from the environment: a command line is
there for everybody to read. The file takes every keyword that a driver is given, and refuses what the program does not know.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import BackupError
from helpers.platforms import pg_session, postgres
from helpers.platforms.scratch_folder import scratch_folder
from helpers.redaction import redact
from helpers.settings import Source
from helpers.settings.local_stack import local_stack

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian and Ubuntu keep one folder a major version; only one of them is on PATH."""

_SERVICE = "runbook"
_OF_THE_CALLER = ("HOME", "PGPASS", "PGSSL", "PGGSS", "PGKRB", "PGREQUIRE", "PGCHANNELBINDING", "KRB5")
"""Beginnings of variables that lead to no other server, and that libpq reads in our own process as well where the profile is silent."""

_SAID_OF_A_FAULT = re.compile(r"^\w+: (error|detail|hint|warning): ")


@dataclass(frozen=True)
class Tools:
    """One installation's `pg_dump` and `pg_restore`."""

    folder: Path
    major: int

    def run(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        on: str,
        doing: str,
        source: Source | None = None,
        line: Callable[[str], None] | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        """Runs a program to its end; one that is interrupted is ended.

        Args:
            program: `pg_dump` or `pg_restore`.
            arguments: of it; nothing that has to stay secret.
            on: the thing it works on, for an error.
            doing: what it is run for, for an error.
            source: the server it connects to, if it does.
            line: is told each line of its standard error.
            keep_open: file descriptors that it inherits.

        Raises:
            BackupError: it did not end well; `why` is what it said.
        """
        last: deque[str] = deque(maxlen=8)
        with _reaching(source) as environment:
            process = subprocess.Popen(
                [str(self.folder / program), *([f"--dbname=service={_SERVICE}"] if source else []), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
                encoding="utf-8",
                errors="replace",
                pass_fds=tuple(keep_open),
            )
            assert process.stderr
            try:
                for text in process.stderr:
                    if _SAID_OF_A_FAULT.match(text):
                        last.append(text.partition(": ")[2].strip())
                    elif line:
                        line(text.rstrip("\n"))
                process.wait()
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
                process.stderr.close()
        if process.returncode != 0:
            raise BackupError(
                doing,
                on=on,
                why=redact("; ".join(last)) or f"{program} ended with {process.returncode}",
                next_step="fix what it says, then run the same command again",
            )

    def listed(self, arguments: Sequence[str], *, on: str) -> str:
        """What `pg_restore` prints of a file; raises `BackupError` where it cannot read it."""
        done = subprocess.run(
            [str(self.folder / "pg_restore"), *arguments],
            env=_environment(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            raise BackupError(
                "read the dump",
                on=on,
                why=done.stderr.strip() or f"pg_restore ended with {done.returncode}",
                next_step="it is not a dump, or is incomplete: make another",
            )
        return done.stdout


def tools_for(server_version: int, *, on: str) -> Tools:
    """The programs of the oldest installed version that is not older than the server.

    Older ones refuse a newer server; a newer one may write what a server of an older version does not restore.

    Args:
        server_version: as libpq counts, such as 180006.
        on: the server, for an error.

    Raises:
        BackupError: none that fits is installed.
    """
    wanted = server_version // 10_000
    found = sorted(_installed(), key=lambda tools: tools.major)
    fitting = next((tools for tools in found if tools.major >= wanted), None)
    if fitting is None:
        have = ", ".join(f"{tools.major} ({tools.folder})" for tools in found) or "none"
        raise BackupError(
            "find pg_dump and pg_restore",
            on=on,
            why=f"the server is of version {wanted}, which only programs of that version or a newer one read; installed: {have}",
            next_step=f"install PostgreSQL's client programs of version {wanted} (Debian: postgresql-client-{wanted}) on PATH",
        )
    return fitting


def server_version(source: Source) -> tuple[int, str]:
    """The server's version as libpq counts, and as the server prints it.

    Raises:
        ConnectionFailed: no answer, or no entry.
        SessionRefused: a pooler keeps from the programs' sessions what they are told.
    """
    connection = postgres.connect(source)
    try:
        pg_session.require_options(connection)
        return int(connection.server_version), str(connection.get_parameter_status("server_version"))
    finally:
        connection.close()


def _installed() -> Iterator[Tools]:
    for folder in _folders():
        if not all((folder / name).exists() for name in ("pg_dump", "pg_restore")):
            continue
        with suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run(
                [str(folder / "pg_dump"), "--version"],
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
                env=_environment(),
            ).stdout
            if version := re.search(r"\(PostgreSQL\) (\d+)", said):
                yield Tools(folder, int(version[1]))


def _folders() -> Iterator[Path]:
    """Each of PATH first: what the user has put there is what the user means."""
    on_path = shutil.which("pg_dump")
    if on_path:
        yield Path(on_path).parent
    yield from sorted(DEBIAN.glob("*/bin"))
    if embedded := local_stack().postgres_programs():
        yield embedded


def _environment() -> dict[str, str]:
    """Nothing of the caller's that begins with PG: it would lead to another server than the profile's."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}


@contextmanager
def _reaching(source: Source | None) -> Iterator[dict[str, str]]:
    """The environment of a program that connects to a server, if it does."""
    if source is None:
        yield _environment()
        return
    keywords = postgres.keywords(source, application="migration-runbooks backup")
    # A service file's lines end at 1,024 bytes, and without their last spaces.
    told = {"PGPASSWORD": keywords.pop("password", None), "PGOPTIONS": keywords.pop("options")}
    # A user without a password in the profile has one in the environment or in ~/.pgpass, or is let in otherwise.
    kept = {name: value for name, value in os.environ.items() if name.startswith(_OF_THE_CALLER)}
    with scratch_folder("service") as folder:
        file = Path(folder) / "pg_service.conf"
        file.touch(0o600)
        file.write_text(f"[{_SERVICE}]\n" + "".join(f"{name}={value}\n" for name, value in keywords.items()))
        own = {"PGSERVICEFILE": str(file), **{name: value for name, value in told.items() if value}}
        yield _environment() | kept | own
