"""What the servers of the local stack have in common: a folder, a port on loopback, a log, and a process that outlives us."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from helpers import PROJECT
from helpers.errors import LocalStackError
from helpers.local.servers.processes import LOOPBACK, Account, Running, log_size, start, stop_strays, wait_until_ready


@dataclass(frozen=True, repr=False)
class LocalServer(ABC):
    """One process of the local stack; its text names no secret.

    Attributes:
        folder: of what it keeps, with its log.
        port: on loopback.
        name: as people say it.
        stop_signal, patience: how it is asked to stop, and the seconds that it then has.
        longest_start: the seconds that it has to answer.
    """

    folder: Path
    port: int

    name = ""
    stop_signal = signal.SIGTERM
    patience = 5.0
    longest_start = 60.0

    @property
    def data(self) -> Path:
        """The folder that it works in, by which what it leaves behind is found."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.folder.name}.log"

    @property
    def marker(self) -> str:
        """A text in its command line that no other process has there."""
        return str(self.data)

    def start(self) -> Running:
        """Starts the process and does not wait for it.

        Raises:
            LocalStackError: what it needs is not installed.
        """
        command = self.command()
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        stop_strays(self.data)
        self.prepare()
        environment = self.environment()
        return start(command, folder=self.data, log=self.log, account=self.runs_as, environment=environment)

    def wait(self, running: Running, log_start: int) -> None:
        """Returns when it answers.

        Raises:
            LocalStackError: it ended or stayed silent; with the end of its log.
        """
        patience = self.longest_start
        wait_until_ready(self.name, running, self.marker, self.log, log_start, self.answers, patience=patience)

    def log_start(self) -> int:
        return log_size(self.log)

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it."""

    @property
    def runs_as(self) -> Account:
        """The account it runs under: ours."""
        return Account()

    def prepare(self) -> None:
        """Writes the files that it reads when it starts."""
        return None

    def environment(self) -> dict[str, str]:
        """All that it gets of ours, and what it is told."""
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "TZ": "UTC", "TMPDIR": str(self.data)}

    def answers(self) -> bool:
        """Whether it can be used."""
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True


def python_environment(server: LocalServer) -> dict[str, str]:
    """The environment of a server that is Python and imports this package."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
        "HOME": str(server.folder),
        "TZ": "UTC",
        "TMPDIR": str(server.data),
        # Loopback goes direct, whatever proxy the machine names; and nothing asks the cloud who we are.
        "NO_PROXY": "*",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def program(name: str, package: str, server: str) -> Path:
    """A server's program, beside the Python that runs us.

    Raises:
        LocalStackError: the package that brings it is not installed.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise LocalStackError(
            f"start {server}",
            on=str(beside),
            why=f"the server's binary (package {package}) is not installed",
            next_step="install requirements.txt into the project's .venv",
        )
    return Path(found)


def read(url: str) -> bytes | None:
    """What a server of the stack answers to GET, None where it does not; without any proxy that the machine names."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=5) as answer:
            return bytes(answer.read())
    except (URLError, OSError):
        return None
