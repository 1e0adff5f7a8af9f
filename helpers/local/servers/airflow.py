"""The local Airflow: a real one, in an environment of its own, started by `runbook local up --airflow` or by what needs it.

Where it differs from production: its database is SQLite, its tasks run on this machine, and its users are in a file that
only this account can read, because the simple auth manager has no other store. Its tasks reach the local stack as every
command does, by the stack's state file: no connection, variable or DAG holds a password.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from helpers import PROJECT
from helpers.local.servers.processes import LOOPBACK
from helpers.local.servers.server import LocalServer, read
from helpers.platforms import environments

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
class Airflow(LocalServer):
    password: str
    root: Path
    """Of the stack that its tasks work on."""

    name = "Airflow"
    patience = 20.0
    longest_start = 240.0

    @property
    def own_dags(self) -> Path:
        """For DAGs beside the project's."""
        return self.folder / "dags"

    @property
    def url(self) -> str:
        """Of its pages, and of its REST interface."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        self.own_dags.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._users.touch(mode=0o600)
        self._users.write_text(json.dumps({USER: self.password}) + "\n", encoding="utf-8")

    def command(self) -> list[str]:
        python = environments.python("airflow")
        server = Path(__file__).with_name("airflow_server.py")
        return [str(python), "-P", str(server), str(self.data), str(self.port)]

    @property
    def _users(self) -> Path:
        return self.data / "users.json"

    def answers(self) -> bool:
        answer = read(f"{self.url}/api/v2/monitor/health")
        try:
            health = json.loads(answer or b"")
        except ValueError:
            return False
        return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))

    def environment(self) -> dict[str, str]:
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
