"""Each event of a topic lies in S3 exactly once, as it was sent, whatever is killed when.

Would catch: an event that is lost or doubled between the upload and the commit, by two consumers, or by an upload whose answer is
lost; an amount that went through a binary fraction; bytes that are no text and are changed; a topic that was made anew or lost
events and is landed as if nothing had been.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
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
from confluent_kafka.admin import AdminClient

from helpers import settings as profiles
from helpers.errors import ConnectionFailed, SettingsError, StageError, UsageError
from helpers.events.landing import Landed, land
from helpers.events.producing import Event, produce
from helpers.pipelines.sample.sale_events import sale_events
from helpers.platforms import kafka
from helpers.platforms.s3 import Bucket
from helpers.settings import Kafka, Settings
from tests.conftest import PROJECT


@dataclass
class Topic:
    """A topic and a location of one test's own."""

    settings: Settings

    @property
    def kafka(self) -> Kafka:
        return self.settings.kafka

    @property
    def bucket(self) -> Bucket:
        return Bucket.open(self.settings.stage, self.kafka.landing)

    @property
    def admin(self) -> AdminClient:
        return AdminClient(kafka.configuration(self.kafka))

    def send(self, *numbers: int) -> None:
        produce(self.kafka, (Event(f"key {n % 7}", b"%d" % n) for n in numbers))

    def land(self, **options: Any) -> Landed:
        return land(self.kafka, self.bucket, **options)

    def rows(self) -> list[dict[str, Any]]:
        """Everything in S3, with its partition."""
        found = []
        for name in sorted(self.bucket.sizes()):
            partition = int(name.split("partition=")[1].split("/")[0])
            content = self.bucket.read(name) or b""
            found += [{"partition": partition, **row} for row in pq.read_table(io.BytesIO(content)).to_pylist()]
        return found

    def assert_once(self, numbers: range) -> None:
        rows = self.rows()
        places = Counter((row["partition"], row["offset"]) for row in rows)
        assert [place for place, count in places.items() if count > 1] == []
        assert Counter(int(row["value"]) for row in rows) == Counter(numbers)
        for partition in {row["partition"] for row in rows}:
            offsets = [row["offset"] for row in rows if row["partition"] == partition]
            assert offsets == list(range(len(offsets)))


@pytest.fixture
def topic(local_settings: Settings) -> Iterator[Topic]:
    name = f"test-{uuid4().hex[:12]}"
    assert local_settings.values.kafka
    own = local_settings.values.kafka.model_copy(update={"topic": name, "landing": f"s3://migration/events-{name}/"})
    found = Topic(replace(local_settings, values=local_settings.values.model_copy(update={"kafka": own})))
    assert kafka.create_topic(own)
    yield found
    found.bucket.remove(list(found.bucket.sizes()))
    admin = found.admin
    admin.delete_topics([name])[name].result()


def test_sales_arrive_as_the_source_prints_them(topic: Topic, migration: Any) -> None:
    migration.source(
        "CREATE TABLE sales_data (order_line bigint, order_id text, order_date date, ship_date date, customer_id text, "
        "product_id text, category text, region text, country text, sales numeric, quantity int, profit numeric, is_return bool)",
        "INSERT INTO sales_data VALUES (1, 'é\"1', '2024-02-29', NULL, 'c', 'p', 'Café', NULL, 'D', 12.50, 3, "
        "0.1234567890123456789012345678901234567890, false), (2, 'o2', '2024-03-01', '2024-03-02', NULL, 'p', NULL, 'r', 'D', "
        "-99999999999999999999.99, -1, 'NaN', true)",
    )
    assert produce(topic.kafka, sale_events(migration.settings.source)) == 2
    assert topic.land().events == 2
    first, second = sorted((json.loads(row["value"]) for row in topic.rows()), key=lambda sale: sale["order_line"])
    assert (first["sales"], first["profit"]) == ("12.50", "0.1234567890123456789012345678901234567890")
    assert (second["sales"], second["profit"], second["quantity"]) == ("-99999999999999999999.99", "NaN", -1)
    assert (first["event"], first["event_id"], first["order_date"], first["ship_date"]) == (
        "sale",
        "sale-1",
        "2024-02-29",
        None,
    )
    assert {row["key"] for row in topic.rows()} == {'é"1', "o2"}
    assert [json.loads(e.value)["order_line"] for e in sale_events(migration.settings.source, after=1, limit=5)] == [2]


def test_any_bytes_arrive_unchanged(topic: Topic) -> None:
    producer = Producer(kafka.configuration(topic.kafka))
    sent: list[tuple[bytes | None, bytes | None, Any]] = [
        (b"k", b"text \xc3\xa9\x00", None), (None, b"", None), (b"", None, None), (b"\xff", b"\xfe\x00", None),
        (b"k", b"x", [("trace", b"\xff"), ("trace", None)]),
    ]  # fmt: skip
    for key, value, headers in sent:
        producer.produce(topic.kafka.topic, key=key, value=value, headers=headers, partition=0)
    assert producer.flush(20) == 0
    topic.land()
    for (key, value, headers), row in zip(sent, topic.rows(), strict=True):
        for name, want in (("key", key), ("value", value)):
            text = None if row[name] is None else row[name].encode()
            assert (text if row[f"{name}_bytes"] is None else row[f"{name}_bytes"]) == want
        assert row["headers"] == (headers and [{"name": n, "value": v} for n, v in headers])
        assert row["at"] is not None


def test_it_goes_on_behind_what_has_landed(topic: Topic) -> None:
    assert topic.land() == Landed(0, (), {0: 0, 1: 0, 2: 0})
    topic.send(*range(50))
    landed = topic.land(most_events=7)
    assert (landed.events, sum(landed.positions.values())) == (50, 50)
    assert max(pq.read_metadata(io.BytesIO(topic.bucket.read(n) or b"")).num_rows for n in landed.files) == 7
    assert topic.land().events == 0
    topic.send(*range(50, 60))
    assert topic.land().events == 10
    topic.assert_once(range(60))


class Crash(BaseException):
    pass


@pytest.mark.parametrize("point", ["before", "after", "answer lost"])
@pytest.mark.parametrize("call", [1, 3])
def test_broken_off_around_an_upload(topic: Topic, monkeypatch: pytest.MonkeyPatch, point: str, call: int) -> None:
    topic.send(*range(40))
    real, calls = Bucket.create, 0

    def broken(self: Bucket, name: str, content: bytes, metadata: dict[str, str]) -> bool:
        nonlocal calls
        calls += 1
        if calls == call and point == "before":
            raise Crash
        put = real(self, name, content, metadata)
        if calls == call and point == "after":
            raise Crash
        return put and not (calls == call and point == "answer lost")

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "create", broken)
        if point == "answer lost":
            assert topic.land(most_events=5).events == 40
        else:
            with pytest.raises(Crash):
                topic.land(most_events=5)
    topic.send(40, 41)
    topic.land()
    topic.assert_once(range(42))


def test_consumers_at_once_double_nothing(topic: Topic) -> None:
    topic.send(*range(600))
    sizes = (7, 11, 30)
    threads = [threading.Thread(target=topic.land, kwargs={"most_events": size}) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    topic.assert_once(range(600))


LANDS = """
import json, sys
from helpers.events.landing import land
from helpers.platforms.s3 import Bucket
from helpers.settings import Kafka, load
from pathlib import Path
settings = load("local", Path(sys.argv[1]))
kafka = settings.values.kafka.model_copy(update=json.loads(sys.argv[2]))
land(kafka, Bucket.open(settings.stage, kafka.landing), follow=True, most_events=20, most_seconds=0.05)
"""


def killed_again_and_again(topic: Topic, kills: int) -> None:
    own = json.dumps({"topic": topic.kafka.topic, "landing": topic.kafka.landing})
    moments, sent, landed = random.Random(7), 0, 0
    for _ in range(kills):
        command = [sys.executable, "-c", LANDS, str(PROJECT / "migration.toml"), own]
        process = subprocess.Popen(command, cwd=PROJECT, env=os.environ, stderr=subprocess.PIPE)
        before, end = len(topic.bucket.sizes()), time.monotonic() + 120
        # Until it works, or else most kills would fall into its start.
        while True:
            topic.send(*range(sent, sent + 50))
            sent += 50
            if len(topic.bucket.sizes()) > before or process.poll() is not None:
                break
            assert time.monotonic() < end, "it lands nothing"
        try:
            process.wait(moments.uniform(0, 0.3))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.communicate()[1].decode()
        assert process.stderr
        process.stderr.close()
        landed += len(topic.bucket.sizes()) > before
    assert landed == kills
    topic.land()
    topic.assert_once(range(sent))


def test_killed_while_it_lands(topic: Topic) -> None:
    killed_again_and_again(topic, 3)


@pytest.mark.slow  # two seconds for each of its processes
@pytest.mark.timeout(900)
def test_killed_thirty_times_while_it_lands(topic: Topic) -> None:
    killed_again_and_again(topic, 30)


def test_a_topic_that_was_made_anew_is_not_landed_as_the_old_one(topic: Topic) -> None:
    def anew(*numbers: int) -> None:
        admin = topic.admin
        admin.delete_topics([topic.kafka.topic])[topic.kafka.topic].result()
        assert kafka.create_topic(topic.kafka)
        topic.send(*numbers)

    topic.send(*range(20))
    topic.land()
    before = topic.bucket.sizes()
    for numbers in (range(100, 105), range(100, 160)):
        anew(*numbers)
        with pytest.raises(StageError, match="recreated"):
            topic.land()
    assert topic.bucket.sizes() == before


def test_events_that_were_deleted_before_they_landed_are_not_passed_over(topic: Topic) -> None:
    topic.send(*range(20))
    topic.land()
    topic.send(*range(20, 60))
    admin = topic.admin
    ends = [TopicPartition(topic.kafka.topic, partition, OFFSET_END) for partition in range(topic.kafka.partitions)]
    for future in admin.delete_records(ends).values():
        future.result()
    before = topic.bucket.sizes()
    with pytest.raises(StageError, match="deleted the offsets"):
        topic.land()
    assert topic.bucket.sizes() == before


def test_a_strange_file_is_not_gone_on_from(topic: Topic) -> None:
    topic.bucket.write(f"{topic.kafka.topic}/partition=00001/00000000000000000005.parquet", b"x")
    with pytest.raises(StageError, match="no landing wrote it"):
        topic.land()


def test_what_is_not_there_is_said(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in (lambda: topic.land(topic="none"), lambda: produce(topic.kafka, [], topic="none")):
        with pytest.raises(UsageError, match=r"runbook kafka create-topic --topic none"):
            missing()
    assert not kafka.create_topic(topic.kafka)
    assert topic.kafka.topic in {each.name for each in kafka.topics(topic.kafka)}
    away = Kafka.model_validate(
        {
            "answer_timeout_seconds": 1.0,
            "bootstrap": "127.0.0.1:9",
            "topic": "t",
            "security": "PLAINTEXT",
            "landing": "s3://x/",
        }
    )
    with pytest.raises(ConnectionFailed, match=r"Kafka 127\.0\.0\.1:9") as caught:
        kafka.topics(away)
    assert caught.value.transient


def test_settings_say_how_to_reach_brokers(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "very-secret-indeed")
    file = tmp_path / "migration.toml"
    head = '[profiles.p.kafka]\ntopic = "events"\nlanding = "s3://lake/events/"\n'
    file.write_text(
        f'{head}bootstrap = "b-1:9096,b-2:9096"\nuser = "m"\npassword = {{ env = "KAFKA_PASSWORD" }}\nca_file = "/etc/ca.pem"\n'
    )
    found = profiles.load("p", file).kafka
    assert kafka.configuration(found) == {
        "bootstrap.servers": "b-1:9096,b-2:9096", "client.id": "migration-runbooks", "log_level": 0,
        "socket.connection.setup.timeout.ms": 10000, "security.protocol": "SASL_SSL", "sasl.mechanisms": "SCRAM-SHA-512", "sasl.username": "m",
        "sasl.password": "very-secret-indeed", "ssl.ca.location": "/etc/ca.pem",
    }  # fmt: skip
    assert "secret" not in kafka.address(found) + repr(found)
    wrong = {
        "": "bootstrap",
        'bootstrap = "b-1:9096"': "user and password",
        'bootstrap = "b-1"': "bootstrap",
        'bootstrap = "b:1"\nsecurity = "SSL"\npassword = "x"': "password",
        'bootstrap = "b:1"\nsecurity = "SSL"\nuser = "m"': "user says nothing",
        f'{MSK}user = "m"': "take them away",
        'bootstrap = "b:9098"\nmechanism = "AWS_MSK_IAM"': "add region",
        f'{MSK}external_id = "x-1"': "without role_arn",
        f'{LOGIN}role_arn = "arn:aws:iam::1:role/x"': "without mechanism",
        f'{LOGIN}mechanism = "PLAIN"\nsecurity = "SASL_PLAINTEXT"': "in clear text",
        f'{LOGIN}security = "SASL_PLAINTEXT"\nca_file = "/ca.pem"': "ca_file says nothing",
        f'{LOGIN}certificate_file = "/c.pem"': "is missing",
        f'{LOGIN}private_key_passphrase = {{ env = "KAFKA_PASSWORD" }}': "which is not there",
        f'{LOGIN}ca_file = "ca.pem"': "whole path",
    }
    for text, why in wrong.items():
        file.write_text(head + text)
        with pytest.raises(SettingsError, match="kafka") as told:
            profiles.load("p", file)
        assert why in str(told.value)


LOGIN = 'bootstrap = "b:1"\nuser = "m"\npassword = { env = "KAFKA_PASSWORD" }\n'
MSK = 'bootstrap = "b-1.x.kafka.eu-central-1.amazonaws.com:9098"\nmechanism = "AWS_MSK_IAM"\n'


def test_a_client_certificate_is_given_to_the_client(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_KEY_PASSPHRASE", "opens-the-key")
    file = tmp_path / "migration.toml"
    file.write_text(
        '[profiles.p.kafka]\ntopic = "events"\nlanding = "s3://lake/events/"\nbootstrap = "b:9094"\nsecurity = "SSL"\n'
        'certificate_file = "/c.pem"\nprivate_key_file = "/c.key"\nprivate_key_passphrase = { env = "KAFKA_KEY_PASSPHRASE" }\n'
    )
    found = kafka.configuration(profiles.load("p", file).kafka)
    assert {name: value for name, value in found.items() if name.startswith("ssl.")} == {
        "ssl.certificate.location": "/c.pem",
        "ssl.key.location": "/c.key",
        "ssl.key.password": "opens-the-key",
    }
    assert not [name for name in found if name.startswith("sasl.")]
