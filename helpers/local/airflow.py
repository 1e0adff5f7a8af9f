"""The local Airflow: a real one, in an environment of its own, started by `runbook local up --airflow` or by what needs it.

Where it differs from a production's: its database is SQLite, its tasks run on this machine, and its users stand in a file that
only this account can read, because the simple auth manager keeps them nowhere else. Its tasks reach the local stack as every
command does, by the stack's state file: no connection, variable or DAG holds a password.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from helpers.local import environments
from helpers.local.environments import PROJECT
from helpers.local.processes import LOOPBACK, Running, log_size, start, stop_strays, wait_until_ready

USER = "runbook"
DAGS = PROJECT / "pipeline" / "airflow" / "dags"
SECONDS_BETWEEN_READS = "5"
"""Of the DAG files; Airflow's own five minutes are long to wait for a correction."""

_KEPT = (
    "PATH", "HOME", "LANG", "LC_ALL", "PYTHONDONTWRITEBYTECODE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
    "PIP_INDEX_URL", "PIP_CONFIG_FILE", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_CONFIG_FILE",
)  # fmt: skip
"""Of our own environment: what tasks need to run commands, and to install an environment; nothing that may be a secret of ours."""


@dataclass(frozen=True, repr=False)
class Airflow:
    folder: Path
    port: int
    password: str
    root: Path
    """Of the stack that its tasks work on."""

    name = "Airflow"
    stop_signal = signal.SIGTERM
    patience = 20.0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "airflow.log"

    @property
    def own_dags(self) -> Path:
        """For DAGs beside the project's."""
        return self.folder / "dags"

    @property
    def marker(self) -> str:
        return str(self.data)

    @property
    def url(self) -> str:
        """Of its pages, and of its REST interface."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> Running:
        python = environments.python("airflow")
        for folder in (self.data, self.own_dags):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stop_strays(self.data)
        self._users.touch(mode=0o600)
        self._users.write_text(json.dumps({USER: self.password}) + "\n", encoding="utf-8")
        server = Path(__file__).with_name("airflow_server.py")
        command = [str(python), "-P", str(server), str(self.data), str(self.port)]
        return start(command, folder=self.data, log=self.log, environment=self._environment())

    def wait(self, running: Running, log_start: int) -> None:
        wait_until_ready(self.name, running, self.marker, self.log, log_start, self._answers, patience=240)

    def log_start(self) -> int:
        return log_size(self.log)

    @property
    def _users(self) -> Path:
        return self.data / "users.json"

    def _answers(self) -> bool:
        try:
            # Loopback goes direct, whatever proxy the machine names.
            with build_opener(ProxyHandler({})).open(f"{self.url}/api/v2/monitor/health", timeout=5) as answer:
                health = json.load(answer)
        except (URLError, OSError, ValueError):
            return False
        return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))

    def _environment(self) -> dict[str, str]:
        bundles = [
            {"name": name, "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(path)}}
            for name, path in (("project", DAGS), ("own", self.own_dags))
        ]  # fmt: skip
        return {
            **{name: os.environ[name] for name in _KEPT if name in os.environ},
            "PYTHONUNBUFFERED": "1",
            "TZ": "UTC",
            "TMPDIR": str(self.data),
            "NO_PROXY": "*",
            "MIGRATION_RUNBOOKS_HOME": str(PROJECT),
            "RUNBOOK_LOCAL_ROOT": str(self.root),
            "AIRFLOW_HOME": str(self.data),
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__HOST": LOOPBACK,
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._users),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": SECONDS_BETWEEN_READS,
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": SECONDS_BETWEEN_READS,
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
