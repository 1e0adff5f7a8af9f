"""An external stage: where files are, and the credentials to read them with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import boto3
import pyarrow.fs
from botocore.config import Config

LOOPBACK = re.compile(r"(https?://)?(127\.[\d.]+|localhost|\[::1\])(:\d+)?/?$")


@dataclass(frozen=True)
class Stage:
    """Where files are, and the credentials to read them with."""

    scheme: str
    bucket: str
    prefix: str
    endpoint: str | None
    key: str | None
    secret: str | None = field(repr=False)
    token: str | None = field(repr=False)
    format: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str | None:
        """The real service speaks TLS only; plain HTTP is the stand-in's exception, for loopback."""
        if self.endpoint is None:
            return None
        if self.endpoint.startswith(("http://", "https://")):
            return self.endpoint
        return f"{'http' if LOOPBACK.match(self.endpoint) else 'https'}://{self.endpoint}"

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.key or "",
            aws_secret_access_key=self.secret or "",
            aws_session_token=self.token,
            region_name="us-east-1",
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"total_max_attempts": 2},
                s3={"addressing_style": "path" if self.endpoint else "auto"},
            ),
        )

    def filesystem(self) -> pyarrow.fs.S3FileSystem:
        url = self.url
        return pyarrow.fs.S3FileSystem(
            access_key=self.key or "",
            secret_key=self.secret or "",
            session_token=self.token,
            region="us-east-1",
            endpoint_override=url.split("://", 1)[1] if url else None,
            scheme=url.split("://", 1)[0] if url else "https",
        )
