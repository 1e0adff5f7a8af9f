"""Apache Kafka itself, with SASL, TLS and ACLs: topics made, events sent and landed, each once, whatever is killed when.

Would catch: a login, a certificate or a right that is wrong and told as a broker that does not answer; a right that docs/rights.md
does not name; an event of an aborted transaction that lands, or one of a committed transaction that does not; a topic whose
markers of transactions are taken for lost events; a token of MSK's that ends while it is used.
"""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from pydantic import SecretStr

from helpers import doctor
from helpers.errors import ConnectionFailed, LoadError, MigrationError, UsageError
from helpers.events.landing import Landed, land
from helpers.events.producing import Event, produce
from helpers.finding import Finding
from helpers.platforms import kafka, msk
from helpers.platforms.s3 import Bucket
from helpers.settings import Kafka, Settings
from tests.conftest import PROJECT
from tests.engines.kafka_broker import LOOPBACK, PLAIN_USERS, SCRAM_USERS, Broker

ACLS = re.compile(r"^kafka-acls .*$", re.MULTILINE)


@dataclass
class Topic:
    """A topic that the product made, as its user has it, and where it lands."""

    broker: Broker
    kafka: Kafka
    bucket: Bucket

    @property
    def name(self) -> str:
        return self.kafka.topic

    def send(self, *numbers: int, **options: Any) -> int:
        return produce(self.kafka, (Event(f"key {n % 7}", b"%d" % n) for n in numbers), **options)

    def land(self, **options: Any) -> Landed:
        return land(self.kafka, self.bucket, **options)

    def values(self) -> Counter[int]:
        """Everything in S3."""
        found: Counter[int] = Counter()
        for name in self.bucket.sizes():
            table = pq.read_table(io.BytesIO(self.bucket.read(name) or b""))
            found.update(int(value.as_py()) for value in table.column("value"))
        return found


def section(broker: Broker, name: str, listener: str = "sasl", **keys: Any) -> Kafka:
    common = {"topic": name, "landing": f"s3://migration/{name}/", "answer_timeout_seconds": 20.0}
    return Kafka.model_validate({**broker.settings(listener), **common, **keys})


def scram(user: str = "migration", **keys: Any) -> dict[str, Any]:
    return {"user": user, "password": SecretStr(SCRAM_USERS[user]), **keys}


def allow_as_documented(broker: Broker, user: str, topic: str, *, create: bool = True) -> None:
    """The ACLs of docs/rights.md, which a broker's administrator gives by `kafka-acls`."""
    text = (PROJECT / "docs" / "rights.md").read_text()
    script = text.split("<!-- test: kafka -->")[1].split("```")[1]
    for line in ACLS.findall(script):
        words = line.replace("orders", topic).replace("User:migration", f"User:{user}").split()
        operations = [words[n + 1] for n, word in enumerate(words) if word == "--operation"]
        (kind,) = (each for each in ("topic", "group", "transactional-id") if f"--{each}" in words)
        if create or "Create" not in operations:
            broker.allow(user, kind.replace("-", "_"), words[words.index(f"--{kind}") + 1], *operations)


@pytest.fixture
def topic(broker: Broker, local_settings: Settings) -> Iterator[Topic]:
    name = f"test-{uuid4().hex[:12]}"
    allow_as_documented(broker, "migration", name)
    own = section(broker, name, **scram())
    assert kafka.create_topic(own)
    assert not kafka.create_topic(own)
    found = Topic(broker, own, Bucket.open(local_settings.stage, own.landing))
    yield found
    found.bucket.remove(list(found.bucket.sizes()))


@pytest.mark.parametrize("way", ["SCRAM-SHA-512", "PLAIN", "certificate"])
def test_events_land_once_by_every_way_in(topic: Topic, way: str) -> None:
    broker, name = topic.broker, topic.name
    if way == "PLAIN":
        topic.kafka = section(
            broker, name, user="migration", password=SecretStr(PLAIN_USERS["migration"]), mechanism="PLAIN"
        )
    if way == "certificate":
        files = {
            "certificate_file": str(broker.folder / "migration.pem"),
            "private_key_file": str(broker.folder / "migration.key"),
        }
        topic.kafka = section(broker, name, "tls", security="SSL", **files)
        assert kafka.principal(topic.kafka) == "User:CN=migration"
        allow_as_documented(broker, "CN=migration", name)
    assert topic.send(*range(300)) == 300
    assert topic.land(most_events=40).events == 300
    assert topic.land().events == 0
    topic.send(*range(300, 320))
    assert topic.land().events == 20
    assert topic.values() == Counter(range(320))


def test_only_what_was_committed_lands(topic: Topic) -> None:
    topic.send(*range(10))

    def broken() -> Iterator[Event]:
        yield from (Event("k", b"%d" % n) for n in range(10, 3000))
        raise RuntimeError("the source went away")

    with pytest.raises(RuntimeError, match="went away"):
        produce(topic.kafka, broken(), transaction=True)
    assert topic.send(*range(3000, 3020), transaction=True) == 20
    assert topic.land().events == 30
    # One that is open is not passed over, nor what lies behind it.
    options = {"transactional.id": f"runbook-{topic.name}", "log_level": 0}
    producer = Producer({"bootstrap.servers": f"{LOOPBACK}:{topic.broker.plain}", **options})
    producer.init_transactions(20)
    producer.begin_transaction()
    for partition in range(2):
        producer.produce(topic.name, value="5000", partition=partition)
    producer.flush(20)
    produce(topic.kafka, [Event("k", b"6000")])
    assert topic.land().events == 0
    # The next call of ours ends what a call that was killed left open.
    assert topic.send(7000, transaction=True) == 1
    assert topic.land().events == 2
    assert topic.values() == Counter([*range(10), *range(3000, 3020), 6000, 7000])

    def overtaken() -> Iterator[Event]:
        yield Event("k", b"8000")
        topic.send(9000, transaction=True)
        yield Event("k", b"8001")

    with pytest.raises(LoadError, match="produce --transaction"):
        produce(topic.kafka, overtaken(), transaction=True)
    assert topic.land().events == 1 and topic.values()[9000] == 1


def test_markers_of_transactions_are_no_lost_events(topic: Topic) -> None:
    topic.send(*range(20), transaction=True)
    topic.land()

    def retention() -> None:
        ends = [TopicPartition(topic.name, partition, OFFSET_END) for partition in range(2)]
        admin = topic.broker.admin
        for future in admin.delete_records(ends).values():
            future.result()

    retention()
    assert topic.land().events == 0
    topic.send(20)
    assert topic.land().events == 1
    topic.send(*range(21, 40), transaction=True)
    retention()
    with pytest.raises(MigrationError, match="deleted the offsets"):
        topic.land()
    assert topic.values() == Counter(range(21))


LANDS = """
import json, sys
from pathlib import Path
from pydantic import SecretStr
from helpers.events.landing import land
from helpers.platforms.s3 import Bucket
from helpers.settings import Kafka, load
stage = load("local", Path(sys.argv[1])).stage
kafka = Kafka.model_validate({**json.loads(sys.argv[2]), "password": SecretStr(sys.stdin.read())})
land(kafka, Bucket.open(stage, kafka.landing), follow=True, most_events=50, most_seconds=0.2)
"""


def test_a_broker_that_is_killed_half_way_loses_and_doubles_nothing(topic: Topic) -> None:
    sent, done = [0], threading.Event()

    def sending() -> None:
        while not done.is_set():
            topic.send(*range(sent[0], sent[0] + 100))
            sent[0] += 100

    landing = subprocess.Popen(
        [sys.executable, "-c", LANDS, str(PROJECT / "migration.toml"), topic.kafka.model_dump_json(exclude={"password"}, exclude_unset=True)],
        cwd=PROJECT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert landing.stdin
    landing.stdin.write(SCRAM_USERS["migration"])
    landing.stdin.close()
    thread = threading.Thread(target=sending)
    thread.start()
    try:
        for _ in range(2):
            before, end = len(topic.bucket.sizes()), time.monotonic() + 60
            while len(topic.bucket.sizes()) < before + 3:
                assert time.monotonic() < end and landing.poll() is None, "it lands nothing"
                time.sleep(0.1)
            topic.broker.kill()
            time.sleep(1)
            topic.broker.start()
    finally:
        done.set()
        thread.join()
        alive = landing.poll() is None
        landing.kill()
        said = landing.stderr.read() if landing.stderr else ""
        landing.wait()
    assert alive, said
    topic.land()
    assert topic.values() == Counter(range(sent[0]))
    assert sent[0] > 300


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"password": SecretStr("of nobody")}, "correct user, password and mechanism"),
        ({"mechanism": "PLAIN", "password": SecretStr("of nobody")}, "correct user, password and mechanism"),
        ({"mechanism": "SCRAM-SHA-256"}, "SCRAM-SHA-512,PLAIN"),
        ({"ca_file": "other-ca.pem"}, "correct ca_file"),
        ({"ca_file": None}, "correct ca_file"),
        ({"bootstrap": "plain"}, "they do not speak TLS"),
        ({"bootstrap": "tls"}, "certificate_file"),
    ],
    ids=[
        "password",
        "plain password",
        "mechanism",
        "authority",
        "no authority",
        "a port without TLS",
        "no certificate",
    ],
)
def test_who_is_not_let_in_is_told_why_at_once(broker: Broker, wrong: dict[str, Any], says: str) -> None:
    keys = scram() | wrong
    if file := wrong.get("ca_file"):
        keys["ca_file"] = str(broker.folder / file)
    listener = wrong.get("bootstrap", "sasl")
    keys.pop("bootstrap", None)
    if listener == "tls":
        keys = {"security": "SSL"}
    own = section(broker, "orders", listener, answer_timeout_seconds=60.0, **keys)
    began = time.monotonic()
    with pytest.raises(ConnectionFailed) as told:
        kafka.topics(own)
    assert time.monotonic() - began < 45
    assert not told.value.transient and says in str(told.value), told.value
    assert "of nobody" not in str(told.value)


def test_a_right_that_is_missing_is_told_with_what_gives_it(broker: Broker, local_settings: Settings) -> None:
    name, user = f"test-{uuid4().hex[:12]}", "stranger"
    own = section(broker, name, **scram(user))
    bucket = Bucket.open(local_settings.stage, own.landing)

    def refused(call: Any) -> str:
        with pytest.raises(LoadError) as told:
            call()
        assert not told.value.transient
        (command,) = ACLS.findall(str(told.value.next_step)[str(told.value.next_step).index("kafka-acls") :])
        words = command.split()
        assert words[words.index("--allow-principal") + 1] == f"'User:{user}'"
        kind, granted = words[-2], words[-1]
        broker.allow(user, kind.removeprefix("--").replace("-", "_"), granted, words[words.index("--operation") + 1])
        return " ".join(words[-4:])

    assert refused(lambda: kafka.topic_of(own)) == f"--operation Describe --topic {name}"
    with pytest.raises(UsageError, match="create-topic"):
        kafka.topic_of(own)
    assert refused(lambda: kafka.create_topic(own)) == f"--operation Create --topic {name}"
    assert kafka.create_topic(own)
    event = [Event("k", b"1")]
    assert refused(lambda: produce(own, event)) == f"--operation Write --topic {name}"
    assert produce(own, event) == 1
    assert (
        refused(lambda: produce(own, event, transaction=True)) == f"--operation Write --transactional-id runbook-{name}"
    )
    assert produce(own, event, transaction=True) == 1
    assert not kafka.may_use_group(own, f"landing-{name}")
    seen = {refused(lambda: land(own, bucket)) for _ in range(2)}
    assert seen == {f"--operation Read --topic {name}", f"--operation Read --group landing-{name}"}
    assert kafka.may_use_group(own, f"landing-{name}")
    assert land(own, bucket).events == 2
    bucket.remove(list(bucket.sizes()))


def test_the_doctor_names_each_right_that_is_missing(topic: Topic, local_settings: Settings) -> None:
    broker, name = topic.broker, topic.name

    def examined(own: Kafka) -> dict[str, Finding]:
        settings = replace(local_settings, values=local_settings.values.model_copy(update={"kafka": own}))
        return {each.finding.on: each.finding for each in doctor.examine(settings, ("kafka",))}

    assert {each.severity for each in examined(topic.kafka).values()} == {"note"}
    broker.allow("stranger", "topic", name, "Describe")
    found = examined(section(broker, name, **scram("stranger")))
    cures = {on: each.fix.partition("--operation ")[2] for on, each in found.items() if each.severity == "stop"}
    assert cures == {
        "READ": f"Read --topic {name}",
        "WRITE": f"Write --topic {name}",
        "group": f"Read --group landing-{name}",
    }
    refused = examined(section(broker, name, **scram(password=SecretStr("of nobody"))))["connection"]
    assert refused.severity == "stop" and "correct user, password" in refused.fix


class Iam:
    """Keys that the signer finds as on a machine of AWS, and a listener of the broker that looks at their tokens."""

    key, secret = "AKIAMIGRATION", "of-the-role-only"

    def __init__(self, broker: Broker, patch: pytest.MonkeyPatch, name: str) -> None:
        patch.setenv("AWS_ACCESS_KEY_ID", self.key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", self.secret)
        patch.delenv("AWS_PROFILE", raising=False)
        self.kafka = section(broker, name, mechanism="AWS_MSK_IAM", region="eu-central-1")


def test_a_token_of_msk_logs_in_and_is_renewed_while_events_are_sent_and_landed(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam = Iam(topic.broker, monkeypatch, topic.name)
    allow_as_documented(topic.broker, iam.key, topic.name)
    topic.kafka = iam.kafka
    before = topic.broker.said().count(f"token of {iam.key}")

    def slowly() -> Iterator[Event]:
        for n in range(100):
            yield Event("k", b"%d" % n)
            time.sleep(0.2)

    assert produce(topic.kafka, slowly()) == 100
    assert topic.land().events == 100
    # A token lasts for six seconds there: the producer alone has logged in again at least twice.
    assert topic.broker.said().count(f"token of {iam.key}") - before >= 6


def test_a_token_that_the_broker_refuses_is_told(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    iam = Iam(topic.broker, monkeypatch, topic.name)
    made, ends = msk.token(iam.kafka)
    old = base64.urlsafe_b64decode(made + "==").decode()
    old = re.sub(r"X-Amz-Date=\d{8}T", "X-Amz-Date=20240101T", old)
    monkeypatch.setattr(msk, "token", lambda _: (base64.urlsafe_b64encode(old.encode()).decode().rstrip("="), ends))
    with pytest.raises(ConnectionFailed, match="kafka-cluster:Connect") as told:
        kafka.topics(iam.kafka)
    assert not told.value.transient
