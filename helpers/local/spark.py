"""The local Spark Connect server: pysail, one process without Java, started when it is first needed.

It knows no password, so it listens on loopback alone; what it may read and write is the local S3, whose keys it gets in its
environment. Where it differs from Spark, and what was done about it:

- its catalog is empty in every session: a table is where its log lies, below the `delta_root`;
- it has no `ALTER COLUMN`: a table whose definition must change is replaced by `helpers.local.delta`;
- `conv` gives NULL for numbers of 64 bits: `helpers.canonical.spark` asks for halves.
"""

from __future__ import annotations

import shutil
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import LocalStackError
from helpers.local.processes import LOOPBACK, Running, log_size, start, stop_strays, wait_until_ready
from helpers.local.s3 import ACCESS_KEY


@dataclass(frozen=True, repr=False)
class Spark:
    folder: Path
    port: int
    s3_endpoint: str
    s3_secret: str

    name = "the Spark Connect server"
    stop_signal = signal.SIGTERM
    patience = 5.0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "spark.log"

    @property
    def marker(self) -> str:
        return str(self.data)

    @property
    def url(self) -> str:
        """Where Spark Connect's clients reach it."""
        return f"sc://{LOOPBACK}:{self.port}"

    def start(self) -> Running:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        stop_strays(self.data)
        command = [str(binary()), "spark", "server", "--ip", LOOPBACK, "--port", str(self.port), "-C", str(self.data)]
        return start(command, folder=self.data, log=self.log, environment=self._environment())

    def wait(self, running: Running, log_start: int) -> None:
        wait_until_ready(self.name, running, self.marker, self.log, log_start, self._answers, patience=60)

    def log_start(self) -> int:
        return log_size(self.log)

    def _answers(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "TZ": "UTC",
            "TMPDIR": str(self.data),
            "NO_PROXY": "*",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret,
            "AWS_ENDPOINT": self.s3_endpoint,
            "AWS_ENDPOINT_URL": self.s3_endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def binary() -> Path:
    """`sail`, beside the Python that runs us."""
    beside = Path(sys.executable).parent / "sail"
    found = str(beside) if beside.exists() else shutil.which("sail")
    if found is None:
        raise LocalStackError(
            "start the Spark Connect server",
            on=str(beside),
            why="the server's binary (package pysail) is not installed",
            next_step="install requirements.txt into the project's .venv",
        )
    return Path(found)
