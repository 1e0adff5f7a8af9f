"""Kafka's topics, and events into them: an MSK cluster, Apache Kafka, or the local stack's stand-in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic

from helpers.errors import MigrationError, UsageError
from helpers.platforms.faults import kafka as faults
from helpers.progress import Progress
from helpers.settings import Kafka
from helpers.settings.local_stack import local_stack

DELIVERY_SECONDS = 60.0
"""Within which the brokers must have taken an event, retries included."""


@dataclass(frozen=True)
class Topic:
    """A topic as the brokers have it."""

    name: str
    partitions: int


@dataclass(frozen=True)
class Event:
    """What is sent: events of one key stay in their order, because one key has one partition."""

    key: str
    value: bytes


def address(kafka: Kafka) -> str:
    """How the brokers are named to people."""
    if kafka.engine == "noida-db":
        return "the local stack's Kafka stand-in (noida-db)"
    return f"Kafka {kafka.bootstrap}"


def configuration(kafka: Kafka) -> dict[str, Any]:
    """How a client reaches the brokers, in librdkafka's names
    (https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md); starts the stand-in where the profile names it.

    Raises:
        LocalStackError: the local stack is not up, or the stand-in did not start.
    """
    if kafka.engine == "noida-db":
        return {"bootstrap.servers": local_stack().kafka(), "client.id": "migration-runbooks", "log_level": 0}
    found = {
        "bootstrap.servers": kafka.bootstrap,
        "client.id": "migration-runbooks",
        "security.protocol": kafka.security,
        "socket.connection.setup.timeout.ms": int(kafka.connect_timeout_seconds * 1000),
        "log_level": 0,  # what it means is in our errors
    }
    if kafka.security == "SASL_SSL":
        secret = kafka.password.get_secret_value() if kafka.password else ""
        found |= {"sasl.mechanisms": kafka.mechanism, "sasl.username": kafka.user, "sasl.password": secret}
    if kafka.ca_file:
        found["ssl.ca.location"] = kafka.ca_file
    return found


def topics(kafka: Kafka) -> list[Topic]:
    """What topics there are, but for Kafka's own.

    Raises:
        ConnectionFailed: the brokers do not answer.
    """
    before: list[KafkaError] = []
    client = AdminClient({**configuration(kafka), "error_cb": before.append})
    try:
        found = client.list_topics(timeout=kafka.answer_timeout_seconds).topics
    except KafkaException as error:
        client.poll(0)
        raise failed(kafka, "list the topics", address(kafka), error, before) from None
    named = (Topic(name, len(topic.partitions)) for name, topic in sorted(found.items()))
    return [topic for topic in named if not topic.name.startswith("__")]


def topic_of(kafka: Kafka, name: str | None = None) -> Topic:
    """The topic `name`, without it the profile's.

    Raises:
        UsageError: the brokers have no such topic.
        ConnectionFailed: they do not answer.
    """
    wanted, known = name or kafka.topic, topics(kafka)
    for topic in known:
        if topic.name == wanted:
            return topic
    raise UsageError(
        "find the topic",
        on=wanted,
        why=f"{address(kafka)} has {', '.join(topic.name for topic in known) or 'no topics'}",
        next_step=f"create it: runbook kafka create-topic --topic {wanted}",
    )


def may(kafka: Kafka, name: str | None = None) -> frozenset[str] | None:
    """What our user may do with a topic that is there, such as "READ" and "WRITE"; None where the brokers do not say.

    Raises:
        ConnectionFailed: the brokers do not answer.
    """
    wanted = TopicCollection([name or kafka.topic])
    client = AdminClient(configuration(kafka))
    try:
        described = client.describe_topics(
            wanted, include_authorized_operations=True, request_timeout=kafka.answer_timeout_seconds
        )
        found = described[name or kafka.topic].result()
    except KafkaException as error:
        if error.args[0].code() in (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION):
            return None
        raise failed(kafka, "ask what may be done", name or kafka.topic, error) from None
    # Brokers without an authorizer say nothing, and everybody may do everything there.
    return frozenset(each.name for each in found.authorized_operations) if found.authorized_operations else None


def create_topic(kafka: Kafka, name: str | None = None) -> bool:
    """Makes a topic with the profile's partitions and replicas.

    Args:
        kafka: the brokers.
        name: without it the profile's topic.

    Returns:
        Whether it was made; False where there was one, which stays as it is.

    Raises:
        LoadError: the brokers refused it.
        ConnectionFailed: they do not answer.
    """
    wanted = name or kafka.topic
    new = NewTopic(wanted, num_partitions=kafka.partitions, replication_factor=kafka.replicas)
    client = AdminClient(configuration(kafka))  # its answer is lost with it
    try:
        client.create_topics([new], request_timeout=kafka.answer_timeout_seconds)[wanted].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise failed(kafka, "make the topic", wanted, error) from None
    return True


def produce(
    kafka: Kafka, events: Iterable[Event], *, topic: str | None = None, total: int = 0, progress: Progress | None = None
) -> int:
    """Sends events, each acknowledged by every replica in sync, and none twice within this call.

    A call that is broken off has sent some of them; the next one sends all again, so an event carries what it is known by.

    Args:
        kafka: the brokers.
        events: in their order.
        topic: without it the profile's.
        total: about how many, for `progress`.
        progress: told how many were acknowledged.

    Returns:
        How many were acknowledged, which is all.

    Raises:
        UsageError: there is no such topic.
        LoadError: the brokers refused an event; those before it were taken.
        ConnectionFailed: they do not answer, or did not within `DELIVERY_SECONDS`.
    """
    name = topic_of(kafka, topic).name
    sending = _Sending(kafka, name)
    for event in events:
        sending.send(event)
        if progress and sending.acknowledged % 1000 == 0:
            progress(sending.acknowledged, total, f"sending to {name}")
    return sending.finish()


def failed(
    kafka: Kafka, doing: str, on: str, error: KafkaException | KafkaError, before: Sequence[KafkaError] = ()
) -> MigrationError:
    """The error that says what was tried: transient where the brokers could not be reached, else their refusal."""
    return faults.told(error, doing, on=f"{on}, {address(kafka)}" if on != address(kafka) else on, before=before)


class _Sending:
    """The events on their way, and the first that was not taken."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.acknowledged = 0
        self._kafka = kafka
        self._topic = topic
        self._refused: KafkaError | None = None
        # Idempotence implies acks=all, and keeps a retry from doubling or reordering events.
        options = {"enable.idempotence": True, "linger.ms": 20, "delivery.timeout.ms": int(DELIVERY_SECONDS * 1000)}
        self._producer = Producer({**configuration(kafka), **options})

    def send(self, event: Event) -> None:
        while True:
            self._raise_if_refused()
            try:
                self._producer.produce(self._topic, key=event.key, value=event.value, on_delivery=self._delivered)
            except BufferError:  # as many are on their way as may be
                self._producer.poll(0.5)
                continue
            except KafkaException as error:
                raise failed(self._kafka, "send an event", self._topic, error) from None
            self._producer.poll(0)
            return

    def finish(self) -> int:
        left = self._producer.flush(DELIVERY_SECONDS + self._kafka.answer_timeout_seconds)
        self._raise_if_refused()
        if left:
            raise failed(self._kafka, "send the last events", self._topic, KafkaError(KafkaError._TIMED_OUT))
        return self.acknowledged

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self._refused = self._refused or error

    def _raise_if_refused(self) -> None:
        if self._refused:
            raise failed(self._kafka, "send an event", self._topic, self._refused)
