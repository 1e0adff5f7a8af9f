"""The local Snowflake stand-in's process; what it does and does not do is in `helpers/local/standin`.

It runs in an environment of its own (`.venv-snowflake`), because it needs another DuckDB than everything else.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from helpers.errors import LocalStackError
from helpers.local.processes import LOOPBACK, Running, log_size, start, stop_strays, wait_until_ready

USER = "RUNBOOK"
ACCOUNT = "local"
DATABASE = "SALES"
SCHEMA = "MIGRATED"
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, repr=False)
class Snowflake:
    folder: Path
    port: int
    password: str

    name = "the Snowflake stand-in"
    stop_signal = signal.SIGTERM
    patience = 15.0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "snowflake.log"

    @property
    def configuration(self) -> Path:
        return self.folder / "standin.json"

    @property
    def marker(self) -> str:
        return str(self.configuration)

    @property
    def connection(self) -> dict[str, Any]:
        """The keyword arguments of `snowflake.connector.connect`; the last ones keep it from calling anybody else.

        No session parameters: the connector writes into the dictionary it is given, and the server says UTC and no
        telemetry by itself.
        """
        return {
            "host": LOOPBACK,
            "port": self.port,
            "protocol": "http",
            "account": ACCOUNT,
            "user": USER,
            "password": self.password,
            "database": DATABASE,
            "schema": SCHEMA,
            "disable_ocsp_checks": True,
            "platform_detection_timeout_seconds": 0.0,
            "client_store_temporary_credential": False,
            "login_timeout": 20,
            "network_timeout": 8,
        }

    def start(self) -> Running:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        stop_strays(self.data)
        self.configuration.touch(mode=0o600)
        self.configuration.write_text(json.dumps(self._configuration()))
        command = [str(python()), "-P", "-m", "helpers.local.snowflake_standin", str(self.configuration)]
        return start(command, folder=self.data, log=self.log, environment=self._environment())

    def wait(self, running: Running, log_start: int) -> None:
        wait_until_ready(self.name, running, self.marker, self.log, log_start, self._answers, patience=120)

    def log_start(self) -> int:
        return log_size(self.log)

    def _configuration(self) -> dict[str, Any]:
        return {
            "host": LOOPBACK,
            "port": self.port,
            "user": USER,
            "password": self.password,
            "folder": str(self.data),
            "database": DATABASE,
            "schema": SCHEMA,
        }

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
        return {
            **kept,
            "PYTHONPATH": str(PROJECT),
            "PYTHONUNBUFFERED": "1",
            "HOME": str(self.folder),
            "TZ": "UTC",
            "TMPDIR": str(self.data),
            # Loopback goes direct, whatever proxy the machine names; and nothing asks the cloud who we are.
            "NO_PROXY": "*",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://{LOOPBACK}:{self.port}/stand-in", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


def python() -> Path:
    """The interpreter of the stand-in's environment."""
    chosen = os.environ.get("RUNBOOK_SNOWFLAKE_PYTHON")
    found = Path(chosen) if chosen else PROJECT / ".venv-snowflake" / "bin" / "python"
    if not found.exists():
        raise LocalStackError(
            "start the Snowflake stand-in",
            on=str(found),
            why="the environment it runs in does not exist",
            next_step="create .venv-snowflake from helpers/local/requirements.txt, or name its Python in "
            "RUNBOOK_SNOWFLAKE_PYTHON",
        )
    return found
