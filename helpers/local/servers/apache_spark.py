"""The local Apache Spark: a Connect server with Delta Lake from Maven's jars, started by `runbook local up --spark` where Java is.

It listens on loopback and asks for a token; what it may read and write is the local S3, whose keys it gets in its environment.
Where it differs from an Apache Spark in production: its workers are threads of the one process, and its catalog is in memory. The
tables lie below `delta_root` and are named anew when it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import LoadError
from helpers.local import jars
from helpers.local.servers.processes import LOOPBACK, Running
from helpers.local.servers.s3 import ACCESS_KEY, BUCKET
from helpers.local.servers.server import LocalServer
from helpers.platforms import spark
from helpers.platforms.delta import table_name
from helpers.platforms.s3 import Bucket
from helpers.settings import Databricks, Resolved, Stage

NAME = "apache-spark"
"""In the state file, and as the value of `databricks.engine`."""

DELTA_ROOT = f"s3a://{BUCKET}/delta-spark"
"""Beside the root of pysail's tables, which its catalog does not know."""

NEWEST_JAVA = 21
"""https://spark.apache.org/docs/4.1.0/"""

MEMORY = "1200m"

CODE_CACHE = "240m"
"""Java's own size where all compilers work; with one of them it takes 48 MB, which Spark's generated code fills."""

_OPENED = (
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util", "java.util.concurrent",
    "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar",
)  # fmt: skip
"""Packages of java.base that Spark's own launcher opens to it
(https://github.com/apache/spark/blob/v4.1.0/launcher/src/main/java/org/apache/spark/launcher/JavaModuleOptions.java)."""


def fetch(report: Callable[[str], None]) -> None:
    """Fetches the jars that are not there yet.

    Raises:
        LocalStackError: Java or Maven are not there, or Maven cannot fetch them.
    """
    jars.java(NEWEST_JAVA)
    jars.class_path("spark", report=report)


@dataclass(frozen=True, repr=False)
class ApacheSpark(LocalServer):
    token: str
    s3_endpoint: str
    s3_secret: str

    name = "Apache Spark"
    patience = 10.0
    longest_start = 180.0
    zone = "UTC"
    """Of the server; every session of ours has its own."""

    @property
    def url(self) -> str:
        """Where clients reach it: by this name alone, gRPC sends a token without TLS."""
        return f"sc://localhost:{self.port}"

    @property
    def settings(self) -> Path:
        """The file with Spark's settings, which holds the token."""
        return self.folder / "spark.conf"

    def command(self) -> list[str]:
        """With one thread for garbage and one compiler: what it does is short, and shares the machine with the rest of the stack."""
        java = jars.java(NEWEST_JAVA)
        return [
            str(java), f"-Xmx{MEMORY}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-XX:ReservedCodeCacheSize={CODE_CACHE}", "-Djdk.reflect.useDirectMethodHandle=false",
            f"-Djava.io.tmpdir={self.data}",
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED), f"@{self._class_path}",
            "org.apache.spark.deploy.SparkSubmit", "--properties-file", str(self.settings),
            "--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal",
        ]  # fmt: skip

    @property
    def marker(self) -> str:
        return str(self.settings)

    @property
    def _class_path(self) -> Path:
        return self.folder / "class-path"

    def wait(self, running: Running, log_start: int) -> None:
        super().wait(running, log_start)
        self._name_tables()

    def _name_tables(self) -> None:
        """Tells its new catalog of the tables that lie below `delta_root`."""
        keys = {"endpoint": self.s3_endpoint, "access_key": ACCESS_KEY, "secret_key": Resolved(self.s3_secret)}
        stage = Stage.model_validate({"url": f"s3://{BUCKET}/", **keys})
        root = DELTA_ROOT.replace("s3a://", "s3://", 1)
        logs = {
            tuple(path.split("/")[:2])
            for path in Bucket.open(stage, f"{root}/").sizes()
            if path.split("/")[2:3] == ["_delta_log"]
        }
        with spark.connect(self.section()) as session:
            for schema, table in sorted(logs):
                home = spark.identifier(table_name(schema))
                name = spark.identifier(table_name(schema), table_name(table))
                place = spark.literal(f"{DELTA_ROOT}/{schema}/{table}")
                with suppress(
                    LoadError
                ):  # a log that is damaged, or a folder of another's that is no name, is no reason not to start
                    session.execute(f"CREATE SCHEMA IF NOT EXISTS {home}", doing=f"name the schema {home}")
                    session.execute(f"CREATE TABLE {name} USING DELTA LOCATION {place}", doing=f"name the table {name}")

    def section(self) -> Databricks:
        """The server as a profile's section would name it."""
        return Databricks.model_validate(
            {
                "url": self.url,
                "token": Resolved(self.token),
                "schema": "default",
                "delta_root": DELTA_ROOT,
                "files": "s3a",
            }
        )

    def prepare(self) -> None:
        self._class_path.write_text(f'-cp\n"{":".join(map(str, jars.class_path("spark")))}"\n')
        self.settings.touch(mode=0o600)
        self.settings.write_text("".join(f"{key} {value}\n" for key, value in self._settings().items()))

    def _settings(self) -> dict[str, str]:
        return {
            "spark.master": "local[2]",
            "spark.ui.enabled": "false",
            "spark.log.level": "WARN",
            "spark.local.dir": str(self.data),
            "spark.driver.host": LOOPBACK,
            "spark.driver.bindAddress": LOOPBACK,
            "spark.authenticate": "true",  # of whoever finds the ports by which its parts talk
            "spark.connect.grpc.binding.address": LOOPBACK,
            "spark.connect.grpc.binding.port": str(self.port),
            "spark.connect.authenticate.token": self.token,
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.sql.warehouse.dir": f"s3a://{BUCKET}/warehouse-spark",
            "spark.hadoop.fs.s3a.endpoint": self.s3_endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
            "spark.hadoop.fs.s3a.path.style.access": "true",
            # Small tables on few cores: the defaults are 200 and 50.
            "spark.sql.shuffle.partitions": "2",
            "spark.databricks.delta.snapshotPartitions": "1",
        }

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "TZ": self.zone,
            "NO_PROXY": "*",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
