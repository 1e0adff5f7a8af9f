"""The local Snowflake stand-in's process; what it does and does not do is in `helpers/local/standin`.

It runs in an environment of its own (`.venv-snowflake`), because it needs another DuckDB than everything else.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import PROJECT
from helpers.errors import LocalStackError
from helpers.local.servers.processes import LOOPBACK
from helpers.local.servers.server import LocalServer, python_environment, read

USER = "RUNBOOK"
"""The administrator, whom outside programs log in as."""
PRODUCT_USER, ROLE, WAREHOUSE, INTEGRATION = "MIGRATION", "MIGRATION_ROLE", "MIGRATION_WH", "MIGRATION_S3"
"""Whom the product logs in as, with the rights of docs/rights.md; the names are the page's."""
ACCOUNT = "local"
DATABASE = "STAND_IN"
"""No name that a schema of somebody's source has: DuckDB could not tell `sales` the schema from SALES the database."""
SCHEMA = "MIGRATED"


@dataclass(frozen=True, repr=False)
class Snowflake(LocalServer):
    password: str
    product_password: str

    name = "the Snowflake stand-in"
    patience = 15.0
    longest_start = 120.0

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

    @property
    def product(self) -> dict[str, str]:
        """What differs in the product's own connection."""
        return {"user": PRODUCT_USER, "password": self.product_password, "role": ROLE, "warehouse": WAREHOUSE}

    def prepare(self) -> None:
        self.configuration.touch(mode=0o600)
        self.configuration.write_text(json.dumps(self._configuration()))

    def command(self) -> list[str]:
        return [str(python()), "-P", "-m", "helpers.local.servers.snowflake_standin", str(self.configuration)]

    def _configuration(self) -> dict[str, Any]:
        return {
            "host": LOOPBACK,
            "port": self.port,
            "user": USER,
            "password": self.password,
            "product_user": PRODUCT_USER,
            "product_password": self.product_password,
            "role": ROLE,
            "warehouse": WAREHOUSE,
            "integration": INTEGRATION,
            "folder": str(self.data),
            "database": DATABASE,
            "schema": SCHEMA,
        }

    def environment(self) -> dict[str, str]:
        return python_environment(self)

    def answers(self) -> bool:
        return read(f"http://{LOOPBACK}:{self.port}/stand-in") is not None


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
