"""Uploads to the stage that are hashed on their way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fsspec.spec import AbstractFileSystem

from helpers.platforms.s3 import Bucket


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
        self.uploads: dict[str, Upload] = {}

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "wb":
            raise ValueError(f"uploads are written once, not opened with mode {mode!r}")
        return _HashedStream(self._bucket.output(path), lambda done: self.uploads.__setitem__(path, done))

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
