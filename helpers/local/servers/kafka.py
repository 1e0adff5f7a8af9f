"""The local stand-in for Apache Kafka: noida-db, one small process that speaks Kafka's protocol, started when it is first needed.

It has no authentication, so it listens on loopback only. Where it differs from Apache Kafka:

- it is one broker, so a topic has one replica;
- its log survived a stop and a kill in our tests; whether it survives a power failure is not known;
- the protocol `cooperative-sticky` of consumer groups hangs: our consumers take their partitions themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from helpers.errors import LocalStackError
from helpers.local.servers.processes import LOOPBACK
from helpers.local.servers.server import LocalServer


@dataclass(frozen=True, repr=False)
class Kafka(LocalServer):
    name = "the Kafka stand-in"
    patience = 10.0
    longest_start = 30.0

    @property
    def bootstrap(self) -> str:
        """Where Kafka's clients reach it."""
        return f"{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        return [
            str(binary()), "start", "--data-dir", str(self.data), "--host", LOOPBACK, "--only", "kafka",
            "--kafka-port", str(self.port),
        ]  # fmt: skip


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
