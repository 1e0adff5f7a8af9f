"""The local Spark Connect server: pysail, one process without Java, started when it is first needed.

It has no authentication, so it listens on loopback only; what it may read and write is the local S3, whose keys it gets in its
environment. Where it differs from Spark, and what was done about it:

- its catalog is empty in every session: a table is found by its log's location, below the `delta_root`;
- it has no `ALTER COLUMN`: a table whose definition must change is replaced by `helpers.local.pysail_tables`;
- `conv` gives NULL for numbers of 64 bits: `helpers.engines.delta.dialect` asks for halves.
"""

from __future__ import annotations

from dataclasses import dataclass

from helpers.local.servers.processes import LOOPBACK
from helpers.local.servers.s3 import ACCESS_KEY
from helpers.local.servers.server import LocalServer, program


@dataclass(frozen=True, repr=False)
class Spark(LocalServer):
    s3_endpoint: str
    s3_secret: str

    name = "the Spark Connect server"

    @property
    def url(self) -> str:
        """Where Spark Connect's clients reach it."""
        return f"sc://{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        return [
            str(program("sail", "pysail", self.name)),
            "spark",
            "server",
            "--ip",
            LOOPBACK,
            "--port",
            str(self.port),
            "-C",
            str(self.data),
        ]

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "NO_PROXY": "*",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret,
            "AWS_ENDPOINT": self.s3_endpoint,
            "AWS_ENDPOINT_URL": self.s3_endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
