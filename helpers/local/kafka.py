"""The local stand-in for Apache Kafka: noida-db, one small process that speaks Kafka's protocol, started when it is first needed.

It knows no password, so it listens on loopback alone. Where it differs from Apache Kafka:

- it is one broker, so a topic has one replica;
- its log was seen to survive a stop and a kill; what it promises of a lost power supply is not known;
- the protocol `cooperative-sticky` of consumer groups hangs: our consumers take their partitions themselves.
"""

from __future__ import annotations

import signal
import socket
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from helpers.errors import LocalStackError
from helpers.local.processes import LOOPBACK, Running, log_size, start, stop_strays, wait_until_ready


@dataclass(frozen=True, repr=False)
class Kafka:
    folder: Path
    port: int

    name = "the Kafka stand-in"
    stop_signal = signal.SIGTERM
    patience = 10.0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "kafka.log"

    @property
    def marker(self) -> str:
        return str(self.data)

    @property
    def bootstrap(self) -> str:
        """Where Kafka's clients reach it."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> Running:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        stop_strays(self.data)
        command = [
            str(binary()), "start", "--data-dir", str(self.data), "--host", LOOPBACK, "--only", "kafka",
            "--kafka-port", str(self.port),
        ]  # fmt: skip
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "TZ": "UTC", "TMPDIR": str(self.data)}
        return start(command, folder=self.data, log=self.log, environment=environment)

    def wait(self, running: Running, log_start: int) -> None:
        wait_until_ready(self.name, running, self.marker, self.log, log_start, self._answers, patience=30)

    def log_start(self) -> int:
        return log_size(self.log)

    def _answers(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True


def binary() -> Path:
    """The broker itself; the package's own command starts it as a child, which would outlive that."""
    try:
        found = Path(str(files("noida_db").joinpath("noida-db")))
    except ModuleNotFoundError:
        found = Path("noida-db")
    if not found.is_file():
        raise LocalStackError(
            "start the Kafka stand-in",
            on=str(found),
            why="the broker's binary (package noida-db) is not installed",
            next_step="install requirements.txt into the project's .venv",
        )
    found.chmod(found.stat().st_mode | 0o100)  # its wheel does not mark it as a program
    return found
