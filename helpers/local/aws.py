"""The local AWS stand-in: moto's server, one process in the environment "cloud", started when it is first needed.

It answers like the service and does little behind the answer:

- it checks neither keys nor policies, so it listens on loopback alone and proves nothing about permissions;
- it keeps everything in memory: what was made is gone once it stops;
- a record in Route 53 is kept and answers no query; an alarm is kept and never evaluated;
- a cluster of MSK stays in CREATING, as there is no broker behind it: on the local stack that is the server "kafka";
- a bucket that is made there is none of the stack's S3, whose objects are real.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from helpers.local import environments
from helpers.local.processes import LOOPBACK, Running, log_size, start, stop_strays, wait_until_ready

ACCESS_KEY = "runbook"
SECRET_KEY = "unchecked"  # noqa: S105 - the stand-in checks none, but every client wants to send one


@dataclass(frozen=True)
class Aws:
    folder: Path
    port: int

    name = "the AWS stand-in (moto)"
    stop_signal = signal.SIGTERM
    patience = 5.0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "aws.log"

    @property
    def marker(self) -> str:
        return str(self.data)

    @property
    def endpoint(self) -> str:
        """Of every service."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def instance(self) -> str:
        """A mark of the server that runs: what was made in one with another mark is gone."""
        return (self.data / "instance").read_text(encoding="utf-8")

    def start(self) -> Running:
        python = environments.python("cloud")
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        stop_strays(self.data)
        command = [str(python), "-P", "-m", "helpers.local.cloud.aws_standin", str(self.data), str(self.port)]
        return start(command, folder=self.data, log=self.log, environment=self._environment())

    def wait(self, running: Running, log_start: int) -> None:
        wait_until_ready(self.name, running, self.marker, self.log, log_start, self._answers, patience=60)

    def log_start(self) -> int:
        return log_size(self.log)

    def _answers(self) -> bool:
        try:
            # Loopback goes direct, whatever proxy the machine names.
            with build_opener(ProxyHandler({})).open(f"{self.endpoint}/moto-api/", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
        return {
            **kept,
            "PYTHONPATH": str(environments.PROJECT),
            "PYTHONUNBUFFERED": "1",
            "HOME": str(self.folder),
            "TZ": "UTC",
            "TMPDIR": str(self.data),
            "NO_PROXY": "*",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
