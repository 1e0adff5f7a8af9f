"""Events into a topic: each acknowledged by every replica in sync, and on demand all of them or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from helpers.platforms import kafka as platform
from helpers.progress import Progress
from helpers.settings import Kafka

DELIVERY_SECONDS = 60.0
"""Within which the brokers must have taken an event, retries included."""

TRANSACTION_SECONDS = 900.0
"""After which the brokers end a transaction of a producer that has gone: what they allow at most by default
(https://kafka.apache.org/41/configuration/broker-configs/#brokerconfigs_transaction.max.timeout.ms)."""


@dataclass(frozen=True)
class Event:
    """What is sent: events of one key stay in their order, because one key has one partition."""

    key: str
    value: bytes


def produce(
    kafka: Kafka,
    events: Iterable[Event],
    *,
    topic: str | None = None,
    transaction: bool = False,
    total: int = 0,
    progress: Progress | None = None,
) -> int:
    """Sends events, each acknowledged by every replica in sync, and none twice within this call.

    A call that is broken off has sent some of them, without a transaction; the next one sends all again, so an event carries what it
    is known by.

    Args:
        kafka: the brokers.
        events: in their order.
        topic: without it the profile's.
        transaction: all of them at once, or none: what reads committed events sees none before the last one was taken.
        total: about how many, for `progress`.
        progress: told how many were acknowledged.

    Returns:
        How many were acknowledged, which is all.

    Raises:
        UsageError: there is no such topic.
        LoadError: the brokers refused an event; those before it were taken, without a transaction.
        ConnectionFailed: they do not answer, or did not within `DELIVERY_SECONDS`.
    """
    name = platform.topic_of(kafka, topic).name
    with _Sending(kafka, name, transaction).whole() as sending:
        for event in events:
            sending.send(event)
            if progress and sending.acknowledged % 1000 == 0:
                progress(sending.acknowledged, total, f"sending to {name}")
    return sending.acknowledged


class _Sending:
    """The events on their way, and the first that was not taken."""

    def __init__(self, kafka: Kafka, topic: str, transaction: bool) -> None:
        self.acknowledged = 0
        self._kafka = kafka
        self._topic = topic
        self._transaction = f"runbook-{topic}" if transaction else ""
        self._right = ("Write", "transactional-id", self._transaction)
        self._refused: KafkaError | None = None
        self._heard: list[KafkaError] = []
        # Idempotence implies acks=all, and keeps a retry from doubling or reordering events.
        options: dict[str, Any] = {
            "enable.idempotence": True,
            "linger.ms": 20,
            "delivery.timeout.ms": int(DELIVERY_SECONDS * 1000),
        }
        if transaction:
            # The same name each time: what a call that was killed left open is ended by the next one.
            options |= {
                "transactional.id": self._transaction,
                "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
            }
        self._producer = Producer({**platform.configuration(kafka), **options, "error_cb": self._heard.append})

    @contextmanager
    def whole(self) -> Iterator[_Sending]:
        """Everything that is sent in the block has been acknowledged behind it, or an error says what was not."""
        patience = self._kafka.answer_timeout_seconds
        if self._transaction:
            with self._told("begin a transaction", *self._right):
                self._producer.init_transactions(patience)
                self._producer.begin_transaction()
        try:
            yield self
            self._finish()
            if self._transaction:
                with self._told("commit the transaction", *self._right):
                    self._producer.commit_transaction(patience)
        except BaseException:
            if self._transaction:
                with suppress(KafkaException):  # else the brokers end it when its time is up
                    self._producer.abort_transaction(patience)
            raise

    def send(self, event: Event) -> None:
        while True:
            self._raise_if_refused()
            with self._told("send an event", "Write", "topic", self._topic):
                try:
                    self._producer.produce(self._topic, key=event.key, value=event.value, on_delivery=self._delivered)
                except BufferError:  # as many are on their way as may be
                    self._producer.poll(0.5)
                    continue
                self._producer.poll(0)
            return

    def _finish(self) -> None:
        with self._told("send the last events", "Write", "topic", self._topic):
            left = self._producer.flush(DELIVERY_SECONDS + self._kafka.answer_timeout_seconds)
            self._raise_if_refused()
            if left:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self._refused = self._refused or error

    def _raise_if_refused(self) -> None:
        if self._refused:
            with self._told("send an event", "Write", "topic", self._topic):
                raise KafkaException(self._refused)

    @contextmanager
    def _told(self, doing: str, *right: str) -> Iterator[None]:
        """What the client raises becomes our error; `right` is what the call needs."""
        try:
            yield
        except (KafkaException, SystemError) as error:
            # A fatal error is raised once, and again as SystemError by each event that it takes with it.
            own = error if isinstance(error, KafkaException) else error.__cause__
            if not isinstance(own, KafkaException):
                raise
            grant = platform.grant(self._kafka, *right)
            raise platform.failed(self._kafka, doing, self._topic, own, self._heard, grant) from None
