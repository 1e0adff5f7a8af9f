"""The stage's bucket: locations, clients, and uploads that are hashed on their way."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import boto3
import pyarrow.fs
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from fsspec.spec import AbstractFileSystem

from helpers.errors import StageError, UsageError
from helpers.settings import Stage


@dataclass(frozen=True)
class Location:
    """A prefix in a bucket; `prefix` is empty or ends with a slash."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Location:
        """Reads `s3://bucket/prefix/`; raises `UsageError` for anything else."""
        parts = urlparse(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise UsageError(
                "read the location of the stage",
                on=url,
                why="it is no S3 URL",
                next_step="write it like s3://your-bucket/migration/",
            )
        prefix = parts.path.strip("/")
        return cls(parts.netloc, f"{prefix}/" if prefix else "")

    def key(self, name: str) -> str:
        """The object key of `name` below this prefix."""
        return self.prefix + name

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


@dataclass(frozen=True)
class Bucket:
    """The objects below one location, reached with the stage's credentials."""

    stage: Stage
    location: Location
    client: Any = field(repr=False)

    @classmethod
    def open(cls, stage: Stage, url: str | None = None) -> Bucket:
        """The stage's own location, or `url` with the stage's credentials."""
        client = boto3.client(
            "s3",
            region_name=stage.region,
            endpoint_url=stage.endpoint,
            aws_access_key_id=stage.access_key,
            aws_secret_access_key=stage.secret_key.get_secret_value() if stage.secret_key else None,
            config=Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=10, read_timeout=60),
        )
        return cls(stage, Location.parse(url or stage.url), client)

    def read(self, name: str) -> bytes | None:
        """The object's bytes, or None where there is none."""
        try:
            answer = self.client.get_object(Bucket=self.location.bucket, Key=self.location.key(name))
            return bytes(answer["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return None
            raise self._failed("read", name, error) from None
        except BotoCoreError as error:
            raise self._failed("read", name, error) from None

    def write(self, name: str, content: bytes) -> None:
        """Puts one object; readers see the old bytes or the new ones, never a part."""
        try:
            self.client.put_object(Bucket=self.location.bucket, Key=self.location.key(name), Body=content)
        except (BotoCoreError, ClientError) as error:
            raise self._failed("write", name, error) from None

    def create(self, name: str, content: bytes, metadata: dict[str, str]) -> bool:
        """Puts one object where there is none of its name, and leaves one that is there as it is.

        Args:
            name: relative to this location.
            content: its bytes.
            metadata: kept with it; see `metadata`.

        Returns:
            Whether it was put. After a lost answer it may be there and not be told as put: compare what is there.
        """
        try:
            self.client.put_object(
                Bucket=self.location.bucket,
                Key=self.location.key(name),
                Body=content,
                Metadata=metadata,
                IfNoneMatch="*",
            )
        except ClientError as error:
            # 409: another request for the same name was on its way; one of them has put it
            # (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise self._failed("write", name, error) from None
        except BotoCoreError as error:
            raise self._failed("write", name, error) from None
        return True

    def metadata(self, name: str) -> dict[str, str] | None:
        """What was given with the object, or None where there is none."""
        try:
            answer = self.client.head_object(Bucket=self.location.bucket, Key=self.location.key(name))
            return dict(answer["Metadata"])
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise self._failed("read", name, error) from None
        except BotoCoreError as error:
            raise self._failed("read", name, error) from None

    def write_locked(self, name: str, file: Path, *, until: datetime, mode: str) -> str:
        """Puts one file as an object that Object Lock protects, and asks the service whether it does.

        Args:
            name: relative to this location.
            until: before then nobody deletes this version.
            mode: COMPLIANCE (nobody at all) or GOVERNANCE (nobody without a permission of its own).

        Returns:
            The version that was written.

        Raises:
            StageError: the bucket has no Object Lock, or did not take it or the file.
        """
        where = {"Bucket": self.location.bucket, "Key": self.location.key(name)}
        try:
            with file.open("rb") as body:
                digest = hashlib.file_digest(body, "sha256").digest()
                body.seek(0)
                answer = self.client.put_object(
                    **where,
                    Body=body,
                    ChecksumSHA256=base64.b64encode(digest).decode(),
                    ObjectLockMode=mode,
                    ObjectLockRetainUntilDate=until,
                )
            version = str(answer["VersionId"])
            kept = self.client.get_object_retention(**where, VersionId=version)["Retention"]
        except KeyError:
            raise self._failed("lock", name, ValueError("the bucket keeps no versions, so nothing is locked")) from None
        except (BotoCoreError, ClientError) as error:
            raise self._failed("write", name, error) from None
        # S3 keeps whole seconds of the time, some services milliseconds.
        if kept.get("Mode") != mode or abs((kept["RetainUntilDate"] - until).total_seconds()) > 1:
            raise self._failed("lock", name, ValueError(f"the service answers {kept}"))
        return version

    def sha256(self, name: str) -> tuple[int, str] | None:
        """Bytes and SHA-256 of the object as it is now, read in pieces; None where there is none."""
        digest, size = hashlib.sha256(), 0
        try:
            body = self.client.get_object(Bucket=self.location.bucket, Key=self.location.key(name))["Body"]
            for piece in body.iter_chunks(1 << 20):
                digest.update(piece)
                size += len(piece)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return None
            raise self._failed("read", name, error) from None
        except BotoCoreError as error:
            raise self._failed("read", name, error) from None
        return size, digest.hexdigest()

    def sizes(self, under: str = "") -> dict[str, int]:
        """Bytes of each object below `under`, by its name relative to this location."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.location.bucket, Prefix=self.location.key(under)
        )
        start = len(self.location.prefix)
        try:
            return {item["Key"][start:]: item["Size"] for page in pages for item in page.get("Contents", ())}
        except (BotoCoreError, ClientError) as error:
            raise self._failed("list", under, error) from None

    def remove(self, names: list[str]) -> None:
        """Deletes objects; one that is not there is no error."""
        try:
            for name in names:
                self.client.delete_object(Bucket=self.location.bucket, Key=self.location.key(name))
        except (BotoCoreError, ClientError) as error:
            raise self._failed("delete", f"{len(names)} objects", error) from None

    def _failed(self, verb: str, name: str, error: Exception) -> StageError:
        return StageError(
            f"{verb} {name or 'the stage'}",
            on=f"{self.location}{f' at {self.stage.endpoint}' if self.stage.endpoint else ''}",
            why=str(error),
            next_step="check the bucket's name, the credentials and the free space, then run the same command again",
        )

    def filesystem(self) -> pyarrow.fs.S3FileSystem:
        """Arrow's client: multipart uploads in the background."""
        stage = self.stage
        scheme, _, host = (stage.endpoint or "").rpartition("://")
        return pyarrow.fs.S3FileSystem(
            region=stage.region,
            access_key=stage.access_key,
            secret_key=stage.secret_key.get_secret_value() if stage.secret_key else None,
            endpoint_override=host or None,
            scheme=scheme or "https",
        )


@dataclass
class Upload:
    """What is known of one object once it is written."""

    bytes: int = 0
    sha256: str = ""


class HashedUploads(AbstractFileSystem):  # type: ignore[misc]
    """A file system that DuckDB's COPY writes to: `upload://name` becomes a multipart object and its SHA-256.

    The hash is of the bytes as they leave this process, so an object that differs from what was exported is
    found without a local copy to compare it with.
    """

    protocol = "upload"
    cachable = False

    def __init__(self, bucket: Bucket) -> None:
        super().__init__()
        self._bucket = bucket
        self._filesystem = bucket.filesystem()
        self.uploads: dict[str, Upload] = {}

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "wb":
            raise ValueError(f"uploads are written once, not opened with mode {mode!r}")
        location = self._bucket.location
        stream = self._filesystem.open_output_stream(f"{location.bucket}/{location.key(path)}")
        return _HashedStream(stream, lambda done: self.uploads.__setitem__(path, done))

    def exists(self, path: str, **options: Any) -> bool:
        return False

    def isdir(self, path: str) -> bool:
        return False


class _HashedStream:
    def __init__(self, stream: Any, closed: Callable[[Upload], None]) -> None:
        self._stream = stream
        self._report = closed
        self._digest = hashlib.sha256()
        self._bytes = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._digest.update(data)
        self._bytes += len(data)
        return len(data)

    def tell(self) -> int:
        return self._bytes

    def flush(self) -> None:
        """Parts are sent when they are full; a partial flush would make parts below S3's minimum size."""

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self.closed = True
            self._report(Upload(self._bytes, self._digest.hexdigest()))
