"""An object that is written while it arrives, by boto3: where Arrow's client cannot say how it is encrypted, or renew its keys."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

PART_BYTES = 16 << 20
"""With at most 10,000 parts an object may have 160 GB (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""

AT_ONCE = 3


class PartsUpload:
    """A stream whose bytes become one object when it is closed; a failure leaves none.

    Args:
        client: boto3's, of S3.
        where: bucket and key.
        how: what else every object is put with, such as its encryption.
    """

    def __init__(self, client: Any, where: dict[str, str], how: dict[str, str]) -> None:
        self._client, self._where, self._how = client, where, how
        self._begun: Any = None
        self._buffer = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._under_way: deque[Future[dict[str, Any]]] = deque()
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def write(self, data: bytes) -> int:
        """Takes bytes; those of a whole part are sent meanwhile."""
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            self._send(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]
        return len(data)

    def close(self) -> dict[str, Any]:
        """Ends the object; S3's answer.

        Raises:
            BotoCoreError, ClientError: it was not taken, and is not there.
        """
        try:
            if self._begun is None:
                return dict(self._client.put_object(**self._where, **self._how, Body=bytes(self._buffer)))
            if self._buffer:
                self._send(bytes(self._buffer))
            while self._under_way:
                self._parts.append(self._under_way.popleft().result())
            done = self._client.complete_multipart_upload(
                **self._where, UploadId=self._begun["UploadId"], MultipartUpload={"Parts": self._parts}
            )
            return {**self._begun, **done}
        except BaseException:
            self.abort()
            raise
        finally:
            self._pool.shutdown(cancel_futures=True)

    def abort(self) -> None:
        """Gives up what was sent."""
        self._pool.shutdown(cancel_futures=True)
        if self._begun:
            with suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(**self._where, UploadId=self._begun["UploadId"])

    def _send(self, piece: bytes) -> None:
        try:
            if self._begun is None:
                self._begun = self._client.create_multipart_upload(**self._where, **self._how)
            if len(self._under_way) >= AT_ONCE:
                self._parts.append(self._under_way.popleft().result())
            number = len(self._parts) + len(self._under_way) + 1
            self._under_way.append(self._pool.submit(self._part, number, piece))
        except BaseException:
            self.abort()
            raise

    def _part(self, number: int, piece: bytes) -> dict[str, Any]:
        done = self._client.upload_part(**self._where, UploadId=self._begun["UploadId"], Body=piece, PartNumber=number)
        return {"PartNumber": number, "ETag": done["ETag"]}
