"""The stage's bucket: locations, clients, objects and their locks."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.fs
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from helpers.errors import MigrationError, StageError, UsageError
from helpers.platforms import aws_sessions
from helpers.platforms.faults import s3 as faults
from helpers.platforms.parts import PartsUpload
from helpers.platforms.proxies import proxy_for
from helpers.settings import Stage

PART_BYTES = 64 << 20
"""A larger file is put in parts of this size."""

Answer = TypeVar("Answer")

_NOT_LITERAL = re.compile(r"[?*\[\]{}\\\x00-\x1f\x7f]|/(?:\.{0,2})(?=/)")
"""DuckDB takes `?` for a query and, as Spark does, the others for a pattern; clients of S3 resolve the parts of a path."""


@dataclass(frozen=True)
class Location:
    """A prefix in a bucket; `prefix` is empty or ends with a slash."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Location:
        """Reads `s3://bucket/prefix/`, every character as it stands: what looks percent-encoded is not decoded.

        Raises:
            UsageError: it is anything else, or one of its readers would not take it literally.
        """
        scheme, _, rest = url.partition("://")
        bucket, _, path = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise UsageError(
                "read the location of the stage",
                on=url,
                why="it is not an S3 URL",
                next_step="write it like s3://your-bucket/migration/",
            )
        prefix = path.strip("/")
        if odd := _NOT_LITERAL.search(f"/{prefix}/" if prefix else ""):
            raise UsageError(
                "read the location of the stage",
                on=url,
                why=f"{odd[0]!r} means something else to a program that reads files there: a pattern, a query or another folder",
                next_step="choose a prefix without ? * [ ] { } \\, control characters, empty parts, . and .. (spaces, %, #, + and "
                "letters of any language are taken as they stand)",
            )
        return cls(bucket, f"{prefix}/" if prefix else "")

    def key(self, name: str) -> str:
        """The object key of `name` below this prefix."""
        return self.prefix + name

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


@lru_cache(maxsize=8)
def _client(stage: Stage) -> Any:
    """A client of S3, which any thread may use; a new one takes longer than most of what it is asked for."""
    # AWS itself asks for another style with some names of buckets, which is the client's to know.
    own_style = stage.endpoint or stage.path_style is not None
    return aws_sessions.session_of(stage, stage.region).client(
        "s3",
        endpoint_url=stage.endpoint,
        verify=stage.ca_file,
        config=Config(
            retries={"mode": "standard", "max_attempts": 4}, connect_timeout=stage.connect_timeout_seconds,
            read_timeout=stage.answer_timeout_seconds, s3={"addressing_style": stage.addressing} if own_style else None,
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Bucket:
    """The objects below one location, reached with the stage's credentials."""

    stage: Stage
    location: Location
    client: Any = field(repr=False)

    @classmethod
    def open(cls, stage: Stage, url: str | None = None) -> Bucket:
        """The stage's own location, or `url` with the stage's credentials."""
        # Where the profile does not say who we are, the environment does, and may say so anew.
        made = _client if stage.is_named else _client.__wrapped__
        try:
            client = made(stage.model_copy(update={"url": "s3://any/"}))
        except (BotoCoreError, ValueError) as error:
            raise faults.told(error, "reach the stage", on=url or stage.url) from None
        return cls(stage, Location.parse(url or stage.url), client)

    def read(self, name: str) -> bytes | None:
        """The object's bytes, or None where there is none."""
        with self._doing("read", name):
            return self._if_any(lambda: bytes(self.client.get_object(**self._at(name))["Body"].read()))

    def write(self, name: str, content: bytes) -> None:
        """Puts one object; readers see the old bytes or the new ones, never a part."""
        with self._doing("write", name):
            self._confirm(self.client.put_object(**self._at(name), **self._how, Body=content), name)

    def abort_uploads(self, folder: str) -> int:
        """Ends uploads below a folder that were begun and never finished: their parts are in no listing, and are paid for.

        Args:
            folder: below the location; nobody may be writing there.

        Returns:
            How many there were; none where the service has no such thing or the role may not ask for them.
        """
        where, count = {"Bucket": self.location.bucket}, 0
        with suppress(ClientError):
            pages = self.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(**where, Prefix=self.location.key(f"{folder}/")):
                for each in page.get("Uploads", ()):
                    self.client.abort_multipart_upload(**where, Key=each["Key"], UploadId=each["UploadId"])
                    count += 1
        return count

    def refuse_without_lock(self) -> None:
        """Asks whether the bucket is there and can lock; nothing is written.

        Raises:
            StageError: it is not there, or was made without Object Lock.
        """
        ask, bucket = self.client.get_object_lock_configuration, self.location.bucket
        with self._doing("lock", "what is written"):
            found = self._if_any(lambda: ask(Bucket=bucket), "ObjectLockConfigurationNotFoundError", "NotImplemented")
        if (found or {}).get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise StageError(
                "keep what is written from being deleted",
                on=str(self.location),
                why="the bucket has no Object Lock, so anyone who can write there can delete, too",
                next_step="name a bucket that was made with Object Lock: aws s3api create-bucket --object-lock-enabled-for-bucket …",
            )

    def create(self, name: str, content: bytes, metadata: dict[str, str]) -> bool:
        """Puts one object where there is none of its name, and leaves one that is there as it is.

        Args:
            name: relative to this location.
            content: its bytes.
            metadata: kept with it; see `metadata`.

        Returns:
            Whether it was put. After a lost answer it may be there and not be told as put: compare what is there.
        """
        put = {**self._at(name), **self._how, "Body": content, "Metadata": metadata, "IfNoneMatch": "*"}
        with self._doing("write", name):
            # 409: another request for the same name was on its way; one of them has put it
            # (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
            done = self._if_any(lambda: self.client.put_object(**put), 409, 412)
        if done is not None:
            self._confirm(done, name)
        return done is not None

    def metadata(self, name: str) -> dict[str, str] | None:
        """What was given with the object, or None where there is none."""
        with self._doing("read", name):
            return self._if_any(lambda: dict(self.client.head_object(**self._at(name))["Metadata"]))

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
        lock = {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until}
        try:
            put = self._put_whole if file.stat().st_size <= PART_BYTES else self._put_in_parts
            done = put(name, file, {**lock, **self._how})
            self._confirm(done, name)
            version = str(done["VersionId"])
            kept = self._retention(name, version)
        except KeyError:
            raise self._failed("lock", name, ValueError("the bucket keeps no versions, so nothing is locked")) from None
        except (BotoCoreError, ClientError, OSError) as error:
            raise self._failed("write", name, error) from None
        if not _is_kept(kept, until, mode):
            raise self._failed("lock", name, ValueError(f"the service answers {kept}"))
        return version

    def locked_version(self, name: str, sha256: str, *, until: datetime, mode: str) -> str | None:
        """The version of an object with these bytes that is locked like this, or None; what a killed upload has finished."""
        where = {"Bucket": self.location.bucket, "Prefix": self.location.key(name)}
        with self._doing("look for", name):
            listed = self.client.list_object_versions(**where).get("Versions", ())
            for version in (each["VersionId"] for each in listed if each["Key"] == where["Prefix"]):
                same = (self.sha256(name, version) or (0, ""))[1] == sha256
                if same and _is_kept(self._retention(name, version), until, mode):
                    return str(version)
        return None

    def names_ever(self, folder: str) -> list[str]:
        """The names below a folder of which the bucket keeps a version, also of those that a deletion hides."""
        prefix = self.location.key(f"{folder}/")
        with self._doing("list", folder):
            pages = self.client.get_paginator("list_object_versions").paginate(
                Bucket=self.location.bucket, Prefix=prefix
            )
            return [
                f"{folder}/{each['Key'].removeprefix(prefix)}" for page in pages for each in page.get("Versions", ())
            ]

    def newest_version(self, name: str) -> str | None:
        """The version that who names none reads; None where there is no object."""
        with self._doing("look for", name):
            return self._if_any(lambda: str(self.client.head_object(**self._at(name)).get("VersionId", "")))

    def url(self, name: str, version: str) -> str:
        """One version of an object, for people and for `aws s3api`."""
        return f"s3://{self.location.bucket}/{self.location.key(name)}?versionId={version}"

    def _put_whole(self, name: str, file: Path, lock: dict[str, Any]) -> Any:
        with file.open("rb") as body:
            digest = hashlib.file_digest(body, "sha256").digest()
            body.seek(0)
            checksum = base64.b64encode(digest).decode()
            digest_as = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": checksum}
            return self.client.put_object(**self._at(name), Body=body, **digest_as, **lock)

    def _put_in_parts(self, name: str, file: Path, lock: dict[str, Any]) -> Any:
        """Many parts: S3 takes no more than 5 GB at once. Nothing is there before the last call."""
        where = self._at(name)
        made = self.client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256", **lock)
        begun = made["UploadId"]
        # No more than 10,000 parts (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
        size = max(PART_BYTES, -(-file.stat().st_size // 10_000))
        parts: list[dict[str, Any]] = []
        try:
            with file.open("rb") as body:
                while piece := body.read(size):
                    checksum = base64.b64encode(hashlib.sha256(piece).digest()).decode()
                    number = {"PartNumber": len(parts) + 1, "ChecksumSHA256": checksum}
                    done = self.client.upload_part(**where, UploadId=begun, Body=piece, **number)
                    parts.append(number | {"ETag": done["ETag"]})
            done = self.client.complete_multipart_upload(**where, UploadId=begun, MultipartUpload={"Parts": parts})
            return {**made, **done}
        except BaseException:
            with suppress(BotoCoreError, ClientError):
                self.client.abort_multipart_upload(**where, UploadId=begun)
            raise

    def _retention(self, name: str, version: str) -> dict[str, Any]:
        where = {**self._at(name), "VersionId": version}
        ask = self.client.get_object_retention
        return self._if_any(lambda: dict(ask(**where)["Retention"]), "NoSuchObjectLockConfiguration") or {}

    def sha256(self, name: str, version: str | None = None) -> tuple[int, str] | None:
        """Bytes and SHA-256 of the object as it is now, or of one version, read in pieces; None where there is none."""
        return self._streamed(name, version, lambda piece: None)

    def fetch(self, name: str, to: Path, version: str | None = None) -> tuple[int, str]:
        """Copies the object as it is now, or one version, into a file.

        Returns:
            Bytes and SHA-256 of what arrived.

        Raises:
            StageError: it is not there, or the file could not be written.
        """
        try:
            with to.open("wb") as file:
                found = self._streamed(name, version, file.write)
        except OSError as error:
            raise self._failed("fetch", name, error) from None
        if found is None:
            raise self._failed("fetch", name, ValueError("there is no such object"))
        return found

    def _streamed(self, name: str, version: str | None, take: Callable[[bytes], Any]) -> tuple[int, str] | None:
        where = {**self._at(name), **({"VersionId": version} if version else {})}
        digest, size = hashlib.sha256(), 0
        with self._doing("read", name):
            answer = self._if_any(lambda: self.client.get_object(**where))
            for piece in answer["Body"].iter_chunks(1 << 20) if answer else ():
                digest.update(piece)
                size += len(piece)
                take(piece)
        return (size, digest.hexdigest()) if answer else None

    def sizes(self, under: str = "") -> dict[str, int]:
        """Bytes of each object below `under`, by its name relative to this location."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.location.bucket, Prefix=self.location.key(under)
        )
        start = len(self.location.prefix)
        with self._doing("list", under):
            return {item["Key"][start:]: item["Size"] for page in pages for item in page.get("Contents", ())}

    def remove(self, names: list[str]) -> None:
        """Deletes objects; one that is not there is no error."""
        with self._doing("delete", f"{len(names)} objects"):
            for name in names:
                self.client.delete_object(**self._at(name))

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.location.bucket, "Key": self.location.key(name)}

    @contextmanager
    def _doing(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise self._failed(verb, name, error) from None

    @staticmethod
    def _if_any(call: Callable[[], Answer], *absent: str | int) -> Answer | None:
        """The answer; None where the service says by one of these codes or statuses, or else by 404, that there is none."""
        try:
            return call()
        except ClientError as error:
            response = error.response
            told = {response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]}
            if told & set(absent or ("NoSuchKey", "NoSuchVersion", "404")):
                return None
            raise

    def _failed(self, verb: str, name: str, error: Exception) -> MigrationError:
        where = f"{self.location}{f' at {self.stage.endpoint}' if self.stage.endpoint else ''}"
        return faults.told(error, f"{verb} {name or 'the stage'}", on=where)

    @property
    def _how(self) -> dict[str, str]:
        """What every object is put with."""
        key = self.stage.kms_key
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}

    def _confirm(self, done: Any, name: str) -> None:
        """Refuses a service that took an object and says nothing of the encryption that was asked for."""
        if self.stage.kms_key and done.get("ServerSideEncryption") != "aws:kms":
            raise StageError(
                "encrypt what is written",
                on=f"{self.location}{name}",
                why=f"the service took it without a word of the key {self.stage.kms_key}, and may keep it in the clear",
                next_step="take kms_key away, or name a service that encrypts by it; remove the object",
            )

    def output(self, name: str) -> Any:
        """A stream with `write` and `close` that becomes one object."""
        stage = self.stage
        if stage.kms_key or stage.profile_name or stage.role_arn:
            return _Confirmed(
                PartsUpload(self.client, self._at(name), self._how), lambda done: self._confirm(done, name)
            )
        return self.filesystem().open_output_stream(f"{self.location.bucket}/{self.location.key(name)}")

    def filesystem(self) -> pyarrow.fs.S3FileSystem:
        """Arrow's client: multipart uploads in the background."""
        return _filesystem(self.stage.model_copy(update={"url": "s3://any/"}))


@dataclass(frozen=True)
class _Confirmed:
    stream: PartsUpload
    confirm: Callable[[Any], None]

    def write(self, data: bytes) -> int:
        return self.stream.write(data)

    def close(self) -> None:
        self.confirm(self.stream.close())


@lru_cache(maxsize=8)
def _filesystem(stage: Stage) -> pyarrow.fs.S3FileSystem:
    scheme, _, host = (stage.endpoint or "").rpartition("://")
    secret, token = (each.get_secret_value() if each else None for each in (stage.secret_key, stage.session_token))
    return pyarrow.fs.S3FileSystem(
        region=stage.region,
        access_key=stage.access_key,
        secret_key=secret,
        session_token=token,
        endpoint_override=host or None,
        scheme=scheme or "https",
        connect_timeout=stage.connect_timeout_seconds,
        request_timeout=stage.answer_timeout_seconds,
        force_virtual_addressing=stage.addressing == "virtual" and bool(host),
        proxy_options=proxy_for(stage.endpoint or f"https://s3.{stage.region}.amazonaws.com"),
        tls_ca_file_path=stage.ca_file,
    )


def retain_until(days: int) -> datetime:
    """The end of a retention that begins now, in whole seconds, as S3 keeps it."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def _is_kept(kept: dict[str, Any], until: datetime, mode: str) -> bool:
    """S3 keeps whole seconds of the time, some services milliseconds."""
    return kept.get("Mode") == mode and abs((kept["RetainUntilDate"] - until).total_seconds()) <= 1
