"""One Apache Spark for the tests of this folder, in New York: no session of ours may take its zone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from helpers.local.servers import processes
from helpers.local.servers.apache_spark import DELTA_ROOT, ApacheSpark
from helpers.local.servers.processes import Running
from helpers.settings import Databricks, Resolved, Stage


class InNewYork(ApacheSpark):
    """As `runbook local up --spark` starts it, elsewhere."""

    zone = "America/New_York"


@dataclass
class SparkServer:
    """The server, which a test may kill and start again."""

    server: ApacheSpark
    running: Running

    @classmethod
    def started(cls, folder: Path, stage: Stage) -> SparkServer:
        """A new one, which reads and writes the local stack's S3."""
        assert stage.secret_key
        port = processes.free_port(set())
        server = InNewYork(folder, port, "sesame", str(stage.endpoint), stage.secret_key.get_secret_value())
        found = cls(server, server.start())
        server.wait(found.running, 0)
        return found

    def kill(self) -> None:
        """By SIGKILL."""
        process = psutil.Process(self.running.pid)
        process.kill()
        process.wait(20)

    def start_again(self) -> None:
        """After a kill; its catalog then knows the tables by their logs."""
        log_start = self.server.log_start()
        self.running = self.server.start()
        self.server.wait(self.running, log_start)

    def stop(self) -> None:
        """At the end."""
        processes.stop(self.running, self.server.marker, patience=5)

    def section(self, schema: str, **more: Any) -> Databricks:
        """What a profile with this server has under `databricks`."""
        own = {"url": self.server.url, "token": Resolved(self.server.token), "files": "s3a", "delta_root": DELTA_ROOT}
        return Databricks.model_validate({**own, "schema": schema, **more})
