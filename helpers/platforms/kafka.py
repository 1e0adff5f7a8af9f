"""Kafka's brokers, their topics and what our user may do there: an MSK cluster, Apache Kafka, or the local stack's stand-in."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewTopic
from cryptography import x509
from pydantic import SecretStr

from helpers.errors import MigrationError, UsageError
from helpers.platforms.faults import kafka as faults
from helpers.settings import Kafka
from helpers.settings.local_stack import local_stack

FIRST_ANSWER_SECONDS = 3.0
"""After which a refusal of one broker counts where no other has answered; the client itself tries again until its time is up."""


@dataclass(frozen=True)
class Topic:
    """A topic as the brokers have it."""

    name: str
    partitions: int


def address(kafka: Kafka) -> str:
    """How the brokers are named to people."""
    if kafka.engine == "noida-db":
        return "the local stack's Kafka stand-in (noida-db)"
    return f"Kafka {kafka.bootstrap}"


def configuration(kafka: Kafka) -> dict[str, Any]:
    """How a client reaches the brokers, in librdkafka's names
    (https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md); starts the stand-in where the profile names it.

    Raises:
        ConnectionFailed: there are no credentials to sign a token with.
        LocalStackError: the local stack is not up, or the stand-in did not start.
    """
    if kafka.engine == "noida-db":
        return {"bootstrap.servers": local_stack().kafka(), "client.id": "migration-runbooks", "log_level": 0}
    found: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap,
        "client.id": "migration-runbooks",
        "security.protocol": kafka.security,
        "socket.connection.setup.timeout.ms": int(kafka.connect_timeout_seconds * 1000),
        "log_level": 0,  # what it means is in our errors
    }
    if kafka.iam:
        found |= {"sasl.mechanisms": "OAUTHBEARER", "oauth_cb": _Tokens(kafka)}
    elif kafka.sasl:
        found |= {
            "sasl.mechanisms": kafka.mechanism,
            "sasl.username": kafka.user,
            "sasl.password": _text(kafka.password),
        }
    files = {
        "ssl.ca.location": kafka.ca_file, "ssl.certificate.location": kafka.certificate_file,
        "ssl.key.location": kafka.private_key_file, "ssl.key.password": _text(kafka.private_key_passphrase),
    }  # fmt: skip
    return found | {name: value for name, value in files.items() if value}


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


class _Tokens:
    """What librdkafka calls when it needs a token: before the first login, and when four fifths of a token's time are over.

    The first is signed at once: a client that gets none waits ten seconds, and then does not know why.
    """

    def __init__(self, kafka: Kafka) -> None:
        from helpers.platforms import msk  # with boto3

        self._sign = partial(msk.token, kafka)
        self._last, self._unused = self._sign(), True

    def __call__(self, _: str) -> tuple[str, float]:
        if not self._unused:
            try:
                self._last = self._sign()
            except MigrationError:
                # One that still lasts is as good: the client asks again before it ends.
                if self._last[1] <= time.time():
                    raise
        self._unused = False
        return self._last


def topics(kafka: Kafka) -> list[Topic]:
    """What topics there are that our user may see, but for Kafka's own.

    Raises:
        ConnectionFailed: the brokers do not answer, or do not let us in.
    """
    with _asked(kafka, "list the topics", address(kafka)) as (client, heard):
        found = _metadata(kafka, client, heard).topics
    named = (Topic(name, len(topic.partitions)) for name, topic in sorted(found.items()))
    return [topic for topic in named if not topic.name.startswith("__")]


@contextmanager
def _asked(kafka: Kafka, doing: str, on: str, grant: str = "") -> Iterator[tuple[AdminClient, list[KafkaError]]]:
    """A client for one question, with what it is told of its connections; what it raises becomes our error."""
    heard: list[KafkaError] = []
    client = AdminClient({**configuration(kafka), "error_cb": heard.append})
    try:
        yield client, heard
    except KafkaException as error:
        client.poll(0)
        raise failed(kafka, doing, on, error, heard, grant) from None


def _metadata(kafka: Kafka, client: AdminClient, heard: list[KafkaError]) -> ClusterMetadata:
    """What the brokers say of themselves. A login that one refuses is not tried until our time is up: servers lock accounts."""
    end, patience = time.monotonic() + kafka.answer_timeout_seconds, FIRST_ANSWER_SECONDS
    while True:
        asked = time.monotonic()
        try:
            return client.list_topics(timeout=min(patience, max(end - asked, 0.1)))
        except KafkaException:
            client.poll(0)
            if time.monotonic() >= end or faults.refusal(heard):
                raise
            time.sleep(min(0.5, max(asked + patience - time.monotonic(), 0)))  # it may have answered at once
            patience *= 2


def topic_of(kafka: Kafka, name: str | None = None) -> Topic:
    """The topic `name`, without it the profile's.

    Raises:
        UsageError: the brokers have no such topic.
        LoadError: they do not show it to our user.
        ConnectionFailed: they do not answer, or do not let us in.
    """
    wanted, known = name or kafka.topic, topics(kafka)
    for topic in known:
        if topic.name == wanted:
            return topic
    _refuse_hidden(kafka, wanted)
    raise UsageError(
        "find the topic",
        on=wanted,
        why=f"{address(kafka)} has {', '.join(topic.name for topic in known) or 'no topics'}",
        next_step=f"create it: runbook kafka create-topic --topic {wanted}",
    )


def _refuse_hidden(kafka: Kafka, name: str) -> None:
    """Refuses a topic that the brokers do not show to our user: their list leaves it out, an own question is answered."""
    with _asked(kafka, "find the topic", name, grant(kafka, "Describe", "topic", name)) as (client, _):
        try:
            client.describe_topics(TopicCollection([name]), request_timeout=kafka.answer_timeout_seconds)[name].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise


def may(kafka: Kafka, name: str | None = None) -> frozenset[str] | None:
    """What our user may do with a topic that is there, such as "READ" and "WRITE"; None where the brokers do not say.

    Raises:
        ConnectionFailed: the brokers do not answer.
    """
    topic = name or kafka.topic
    with _asked(kafka, "ask what may be done", topic) as (client, _):
        try:
            found = client.describe_topics(
                TopicCollection([topic]),
                include_authorized_operations=True,
                request_timeout=kafka.answer_timeout_seconds,
            )[topic].result()
        except KafkaException as error:
            if error.args[0].code() in (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION):
                return None
            raise
    # Brokers without an authorizer say nothing, and everybody may do everything there.
    return frozenset(each.name for each in found.authorized_operations) if found.authorized_operations else None


def landing_group(topic: str) -> str:
    """The consumer group that the landing of a topic commits for."""
    return f"landing-{topic}"


def may_use_group(kafka: Kafka, group: str) -> bool:
    """Whether our user may ask for a consumer group, be there one or not.

    Raises:
        ConnectionFailed: the brokers do not answer.
    """
    with _asked(kafka, "ask for the consumer group", group) as (client, _):
        wanted = [ConsumerGroupTopicPartitions(group, [TopicPartition(kafka.topic, 0)])]
        try:
            client.list_consumer_group_offsets(wanted, request_timeout=kafka.answer_timeout_seconds)[group].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return False
            raise
    return True


def create_topic(kafka: Kafka, name: str | None = None) -> bool:
    """Makes a topic with the profile's partitions and replicas.

    Args:
        kafka: the brokers.
        name: without it the profile's topic.

    Returns:
        Whether it was made; False where there was one, which stays as it is.

    Raises:
        LoadError: the brokers refused it.
        ConnectionFailed: they do not answer, or do not let us in.
    """
    wanted = name or kafka.topic
    with _asked(kafka, "make the topic", wanted, grant(kafka, "Create", "topic", wanted)) as (client, heard):
        if wanted in _metadata(kafka, client, heard).topics:
            return False
        new = NewTopic(wanted, num_partitions=kafka.partitions, replication_factor=kafka.replicas)
        try:
            client.create_topics([new], request_timeout=kafka.answer_timeout_seconds)[wanted].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise
    return True


_IAM_ACTIONS = {
    "Describe topic": "DescribeTopic", "Read topic": "ReadData", "Write topic": "WriteData and WriteDataIdempotently",
    "Create topic": "CreateTopic", "Read group": "AlterGroup and DescribeGroup",
    "Write transactional-id": "AlterTransactionalId and DescribeTransactionalId",
}  # fmt: skip
"""https://docs.aws.amazon.com/msk/latest/developerguide/kafka-actions.html"""


def grant(kafka: Kafka, operation: str, kind: str, name: str) -> str:
    """What an administrator does so that our user has a right.

    Args:
        kafka: the brokers.
        operation: of an ACL, such as "Read" (https://kafka.apache.org/41/security/authorization-and-acls/).
        kind: "topic", "group" or "transactional-id".
        name: of that.
    """
    if kafka.iam:
        action = _IAM_ACTIONS[f"{operation} {kind}"]
        return f"allow kafka-cluster:{action} on {kind} {name} in the policy of {kafka.role_arn or 'the role'}"
    return (
        f"kafka-acls --bootstrap-server {kafka.bootstrap} --add --allow-principal '{principal(kafka)}' "
        f"--operation {operation} --{kind} {name}"
    )


def principal(kafka: Kafka) -> str:
    """What ACLs call our user: by its certificate where no SASL mechanism logs it in."""
    if kafka.sasl:
        return f"User:{kafka.user or kafka.role_arn or 'the role'}"
    if kafka.certificate_file:
        found = x509.load_pem_x509_certificate(Path(kafka.certificate_file).read_bytes())
        return f"User:{found.subject.rfc4514_string()}"
    return "User:ANONYMOUS"


def failed(
    kafka: Kafka,
    doing: str,
    on: str,
    error: KafkaException | KafkaError,
    heard: Sequence[KafkaError] = (),
    right: str = "",
) -> MigrationError:
    """The error that says what was tried: transient where the brokers could not be reached, else their refusal.

    Args:
        kafka: the brokers.
        doing: the clause that it begins with.
        on: the thing it was tried on.
        error: of a call.
        heard: what the client was told of its connections.
        right: what `grant` says of the right that the call needs.
    """
    where = f"{on}, {address(kafka)}" if on != address(kafka) else on
    return faults.told(error, doing, on=where, heard=heard, grant=right)
