"""A topic's events → files in S3, each event in exactly one of them, whatever is killed when.

The events of a partition lie in a chain of files. `TOPIC/partition=00003/00000000000000001200.parquet` holds the events from
offset 1200 up to the offset that its metadata call `next`, which is the name of the file behind it. A file is written only where
there is none of its name (S3's `If-None-Match: *`,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html), so no two files hold the same offset: not after a
kill between the upload and the commit, and not while two consumers both believe that the partition is theirs. Where to go on is
therefore read from S3. The offsets that are committed to Kafka afterwards tell monitoring how far the landing is, and a later one
that no event lay between a partition's last file and its end.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from helpers.errors import MigrationError, StageError
from helpers.platforms import kafka as platform
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Kafka

SCHEMA = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("at", pa.timestamp("ms", "UTC")),
        pa.field("key", pa.string()),
        pa.field("value", pa.string()),
        pa.field("key_bytes", pa.binary()),
        pa.field("value_bytes", pa.binary()),
        pa.field("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)
"""`key` and `value` as they came; where one is no UTF-8, it is NULL and its bytes stand in the column beside it."""

POLL_SECONDS = 0.5
MESSAGES_PER_POLL = 2000


@dataclass(frozen=True)
class Landed:
    """What one call has landed.

    Attributes:
        events: how many.
        files: names of the new files, relative to the location.
        positions: per partition, the offset at which the next file begins.
    """

    events: int
    files: tuple[str, ...]
    positions: dict[int, int]


def land(
    kafka: Kafka,
    bucket: Bucket,
    *,
    topic: str | None = None,
    follow: bool = False,
    most_events: int = 10_000,
    most_seconds: float = 5.0,
    progress: Progress | None = None,
) -> Landed:
    """Lands what a topic holds that has not landed yet.

    Partitions that are added to a topic while this runs are seen by the next call.

    Args:
        kafka: the brokers.
        bucket: the location below which the files go.
        topic: without it the profile's.
        follow: go on with what arrives, until the process is ended; without it, end where the topic ends.
        most_events: of a partition in one file.
        most_seconds: that an event waits in memory for a file to fill.
        progress: told how many have landed.

    Raises:
        UsageError: there is no such topic.
        StageError: what lies in S3 is not of this topic, or the brokers have deleted events that had not landed.
        ConnectionFailed: the brokers or S3 do not answer.
    """
    found = platform.topic_of(kafka, topic)
    chains = [Chain.found(bucket, found.name, partition) for partition in range(found.partitions)]
    landing = _Landing(kafka, bucket, {chain.partition: chain for chain in chains})
    heard: list[KafkaError] = []
    with _consumer(kafka, found.name, heard) as consumer:
        starts = [_start(kafka, consumer, chain) for chain in chains]
        consumer.assign(
            [TopicPartition(found.name, chain.partition, at) for chain, at in zip(chains, starts, strict=True)]
        )
        at_end: set[int] = set()
        arrived = time.monotonic()
        while follow or len(at_end) < len(chains):
            messages = _consumed(kafka, consumer, found.name, heard)
            arrived = time.monotonic() if messages else arrived
            if not follow and time.monotonic() - arrived > kafka.answer_timeout_seconds:
                raise _failed(kafka, found.name, KafkaError(KafkaError._TIMED_OUT), heard)
            for message in messages:
                if message.error():
                    at_end.add(message.partition())
                    landing.ends[message.partition()] = message.offset()
                else:
                    landing.take(message)
            landing.write_due(consumer, most_events, most_seconds)
            if progress:
                progress(landing.events, 0, f"landing {found.name}")
        landing.write_due(consumer, most_events, 0.0)
    return Landed(landing.events, tuple(landing.files), {chain.partition: chain.next for chain in chains})


@dataclass
class Chain:
    """The files of one partition.

    Attributes:
        next: the offset at which the next file begins. The first file is called 0 wherever the topic begins by then, so that
            two consumers cannot both begin a chain.
        last_sha256: of the event before it, by which a topic that was made anew is told from the one that has landed; empty
            where nothing has.
    """

    topic: str
    partition: int
    next: int = 0
    last_sha256: str = ""

    @property
    def folder(self) -> str:
        """Of its files, relative to the location."""
        return f"{self.topic}/partition={self.partition:05d}/"

    @classmethod
    def found(cls, bucket: Bucket, topic: str, partition: int) -> Chain:
        """What lies in S3.

        Raises:
            StageError: the last file there is not one of ours.
        """
        chain = cls(topic, partition)
        if names := bucket.sizes(chain.folder):
            chain.read(bucket, max(names))
        return chain

    @property
    def following(self) -> str:
        """Name of the next file; names sort as offsets do."""
        return f"{self.folder}{self.next:020d}.parquet"

    def read(self, bucket: Bucket, name: str) -> str:
        """Goes on behind a file; returns the SHA-256 of its content."""
        known = bucket.metadata(name) or {}
        try:
            self.next, self.last_sha256 = int(known["next"]), known["last-sha256"]
            return known["sha256"]
        except (KeyError, ValueError):
            raise StageError(
                "continue after the last file",
                on=f"{bucket.location}{name}",
                why="its metadata does not say where it ends, so no landing wrote it",
                next_step="move it elsewhere, or land in another location",
            ) from None


@dataclass
class _Landing:
    kafka: Kafka
    bucket: Bucket
    chains: Mapping[int, Chain]
    events: int = 0
    files: list[str] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    """Per partition, where the topic ended when it was read last; what a transaction was ended by lies before it, too."""
    _waiting: dict[int, list[Any]] = field(default_factory=dict)
    _since: dict[int, float] = field(default_factory=dict)
    _committed: dict[int, int] = field(default_factory=dict)

    def take(self, message: Any) -> None:
        """Keeps an event in memory until its file is written; one that has landed already is compared and dropped."""
        chain, offset = self.chains[message.partition()], message.offset()
        if offset >= chain.next:
            self._since.setdefault(chain.partition, time.monotonic())
            self._waiting.setdefault(chain.partition, []).append(message)
        elif offset == chain.next - 1 and _sha256(message) != chain.last_sha256:
            raise StageError(
                f"land the topic {chain.topic}",
                on=f"{self.bucket.location}{chain.folder}",
                why=f"the event at offset {offset} is not the one that has landed: the topic was recreated",
                next_step="land the new topic in another location",
            )

    def write_due(self, consumer: Consumer, most_events: int, most_seconds: float) -> None:
        """Writes the files that are full or have waited long enough, and commits behind them."""
        for partition, waiting in list(self._waiting.items()):
            while waiting and (
                len(waiting) >= most_events or time.monotonic() - self._since[partition] >= most_seconds
            ):
                waiting = self._write(self.chains[partition], waiting[:most_events], waiting[most_events:])
            self._waiting[partition] = waiting
            if not waiting:
                self._since.pop(partition, None)
        for partition, chain in self.chains.items():
            if not self._waiting.get(partition):
                self._commit(consumer, chain)

    def _write(self, chain: Chain, batch: list[Any], later: list[Any]) -> list[Any]:
        """Returns the events that still wait: all behind the file that is there now, whoever wrote it."""
        content = _parquet(batch)
        sha256, end = hashlib.sha256(content).hexdigest(), batch[-1].offset() + 1
        name = chain.following
        facts = {"next": str(end), "last-sha256": _sha256(batch[-1]), "sha256": sha256}
        written = self.bucket.create(name, content, facts)
        # A file that is there already may be our own, of an upload whose answer was lost, or another consumer's.
        if chain.read(self.bucket, name) == sha256:
            self.events += len(batch)
            self.files += [name] if written or name not in self.files else []
        return [message for message in (*batch, *later) if message.offset() >= chain.next]

    def _commit(self, consumer: Consumer, chain: Chain) -> None:
        """Tells monitoring how far it is, and `_start` between which offsets there is nothing to land."""
        reached = max(chain.next, self.ends.get(chain.partition, 0))
        if self._committed.get(chain.partition, 0) < reached:
            place = TopicPartition(chain.topic, chain.partition, reached, metadata=str(chain.next))
            with suppress(KafkaException):  # the next one says it again
                consumer.commit(offsets=[place], asynchronous=False)
                self._committed[chain.partition] = reached


@contextmanager
def _consumer(kafka: Kafka, topic: str, heard: list[KafkaError]) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            **platform.configuration(kafka),
            "error_cb": heard.append,
            "group.id": platform.landing_group(topic),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",  # never go on somewhere else in silence
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _start(kafka: Kafka, consumer: Consumer, chain: Chain) -> int:
    """Where to read a partition from: the last landed event where the brokers still have it, so that it can be compared."""
    try:
        place = TopicPartition(chain.topic, chain.partition)
        low, high = consumer.get_watermark_offsets(place, timeout=kafka.answer_timeout_seconds)
    except KafkaException as error:
        raise _failed(kafka, chain.topic, error) from None
    if not chain.last_sha256:
        return int(low)
    if chain.next > high:
        raise StageError(
            f"land the topic {chain.topic}",
            on=f"partition {chain.partition}",
            why=f"{chain.next:,} offsets have landed and it has {high:,}: the topic was recreated, or lost events",
            next_step="land the new topic in another location",
        )
    if chain.next < low and not _nothing_to_land(kafka, consumer, chain, low):
        raise StageError(
            f"land the topic {chain.topic}",
            on=f"partition {chain.partition}",
            why=f"the brokers have deleted the offsets {chain.next:,} to {low - 1:,}, which had not landed",
            next_step="lengthen the topic's retention; send those events again and land the topic in another location",
        )
    return max(int(low), chain.next - 1)


def _nothing_to_land(kafka: Kafka, consumer: Consumer, chain: Chain, low: int) -> bool:
    """Whether a landing saw that no event lies between the last one and an offset: what ends a transaction has an offset, too."""
    place = TopicPartition(chain.topic, chain.partition)
    try:
        (found,) = consumer.committed([place], timeout=kafka.answer_timeout_seconds)
    except KafkaException as error:
        raise _failed(kafka, chain.topic, error) from None
    return bool(found.metadata == str(chain.next) and found.offset >= low)


def _consumed(kafka: Kafka, consumer: Consumer, topic: str, heard: list[KafkaError]) -> list[Any]:
    """What has arrived: events, and ends of partitions. The client looks for a broker that has gone; any other error is raised."""
    try:
        messages: list[Any] = consumer.consume(MESSAGES_PER_POLL, POLL_SECONDS)
    except KafkaException as error:
        raise _failed(kafka, topic, error, heard) from None
    for message in messages:
        told = message.error()
        if told and told.code() != KafkaError._PARTITION_EOF:
            raise _failed(kafka, topic, told, heard)
    if not messages:
        for refused in heard:
            if refused.code() == KafkaError._AUTHENTICATION:
                raise _failed(kafka, topic, refused)
    return messages


def _failed(
    kafka: Kafka, topic: str, error: KafkaException | KafkaError, heard: Sequence[KafkaError] = ()
) -> MigrationError:
    own = error.args[0] if isinstance(error, KafkaException) else error
    of_group = own.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    right = platform.grant(kafka, "Read", *(("group", platform.landing_group(topic)) if of_group else ("topic", topic)))
    return platform.failed(kafka, "read the topic", topic, error, heard, right)


def _sha256(message: Any) -> str:
    """Of an event: when it was sent, its key and its value, each with its length, so that no two events are one text."""
    parts = [str(message.timestamp()[1]).encode(), message.key(), message.value()]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"-" if part is None else b"%d:" % len(part) + part)
    return digest.hexdigest()


def _parquet(messages: Iterable[Any]) -> bytes:
    rows = [_row(message) for message in messages]
    sink = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), sink, compression="zstd")
    return sink.getvalue()


def _row(message: Any) -> dict[str, Any]:
    key, key_bytes = _text(message.key())
    value, value_bytes = _text(message.value())
    kind, at = message.timestamp()
    headers = message.headers()
    return {
        "offset": message.offset(), "at": at if kind else None, "key": key, "value": value, "key_bytes": key_bytes,
        "value_bytes": value_bytes, "headers": [{"name": n, "value": v} for n, v in headers] if headers else None,
    }  # fmt: skip


def _text(content: bytes | None) -> tuple[str | None, bytes | None]:
    if content is None:
        return None, None
    try:
        return content.decode(), None
    except UnicodeDecodeError:
        return None, content
