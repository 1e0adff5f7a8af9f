"""Does an alarm arrive? A test alarm is raised, and awaited where its messages are delivered.

CloudWatch alarm → SNS topic → a queue of SQS that is subscribed for the test. The alarm's state is set by hand, as AWS
recommends for trying its actions (https://docs.aws.amazon.com/cli/latest/reference/cloudwatch/set-alarm-state.html), so
this says that an alarm is delivered, not that a metric raises it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from helpers.platforms import aws as platform
from helpers.settings import Alerts, Aws, Settings

PREFIX = "migration-runbooks-test-"
LONGEST_POLL = 20
"""Seconds that SQS holds a question open at most
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html)."""


@dataclass(frozen=True)
class Arrival:
    """How a test alarm fared.

    Attributes:
        way: what it went through, by names.
        arrived: whether it was seen at the end of it.
        seconds: until then, or until nobody waited any more.
        said: the message's own words, or why there is none.
    """

    way: str
    arrived: bool
    seconds: float
    said: str


def ways(settings: Settings) -> list[tuple[str, str]]:
    """What a test would send, and where to: a row for AWS and one for the webhook, where the profile has them."""
    found = []
    if settings.values.aws:
        topic = settings.alerts.topic or "a topic made for the test, which nobody else listens to"
        found.append((platform.address(settings.aws), f"an alarm {PREFIX}… to {topic}, and a queue that listens"))
    if settings.notify.webhook:
        found.append(("the webhook of [notify]", "one message"))
    return found


def send_test_alarm(aws: Aws, alerts: Alerts, runbook: str = "40") -> Arrival:
    """Raises a test alarm and waits for it; what it made is removed again.

    Args:
        aws: the account.
        alerts: the topic, and how long to wait.
        runbook: number of the one that asks, which the alarm names to whoever receives it.

    Returns:
        Whether it arrived; that it did not is no error.

    Raises:
        ConnectionFailed: the service did not answer, or refused to make what the test needs.
        LocalStackError: the stand-in did not start.
    """
    name = PREFIX + token_hex(4)
    cloudwatch, sqs = platform.client(aws, "cloudwatch"), platform.client(aws, "sqs")
    with ExitStack() as stack:
        topic, queue = stack.enter_context(_listening(aws, name, alerts.topic))
        with platform.told(aws, "raise a test alarm", on=name):
            cloudwatch.put_metric_alarm(
                AlarmName=name, AlarmDescription=f"A test of runbook {runbook}; nothing is wrong.", AlarmActions=[topic],
                Namespace="MigrationRunbooks", MetricName="TestAlarm", Statistic="Sum", Period=60, EvaluationPeriods=1,
                Threshold=1, ComparisonOperator="GreaterThanOrEqualToThreshold", TreatMissingData="ignore",
            )  # fmt: skip
            stack.callback(cloudwatch.delete_alarms, AlarmNames=[name])
            started = time.monotonic()
            cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason=f"test of runbook {runbook}")
        message = _wait(aws, sqs, queue, name, started + alerts.timeout_seconds)
        seconds = time.monotonic() - started
    through = f"topic {topic.rpartition(':')[2]}" if alerts.topic else "a topic of the test"
    way = f"{platform.address(aws)}: alarm → {through} → a queue of the test"
    if message is None:
        return Arrival(way, False, seconds, f"nothing arrived within {alerts.timeout_seconds:g} s")
    return Arrival(
        way, True, seconds, f"{message['AlarmName']} is {message.get('NewStateValue')}: {message.get('NewStateReason')}"
    )


@contextmanager
def _listening(aws: Aws, name: str, given: str | None) -> Iterator[tuple[str, str]]:
    """A queue that is subscribed to the topic, for the length of the block: the topic's ARN and the queue's URL."""
    sns, sqs = platform.client(aws, "sns"), platform.client(aws, "sqs")
    with ExitStack() as stack, platform.told(aws, "listen for a test alarm", on=given or name):
        topic = given or str(sns.create_topic(Name=name)["TopicArn"])
        if not given:
            stack.callback(sns.delete_topic, TopicArn=topic)
        queue = str(sqs.create_queue(QueueName=name)["QueueUrl"])
        stack.callback(sqs.delete_queue, QueueUrl=queue)
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
                    "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
                }
            ],
        }  # fmt: skip
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
        subscribed = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)
        stack.callback(sns.unsubscribe, SubscriptionArn=subscribed["SubscriptionArn"])
        yield topic, queue


def _wait(aws: Aws, sqs: Any, queue: str, name: str, until: float) -> dict[str, Any] | None:
    while (left := until - time.monotonic()) > 0:
        with platform.told(aws, "wait for a test alarm", on=name):
            answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=max(0, min(LONGEST_POLL, int(left))))
        for each in answer.get("Messages", []):
            message = _alarm(each["Body"])
            if message.get("AlarmName") == name:
                return message
        time.sleep(min(0.2, left))
    return None


def _alarm(body: str) -> dict[str, Any]:
    """The alarm in a message of SNS; empty where it is something else, for other alarms use the topic too."""
    try:
        envelope = json.loads(body)
        found = json.loads(envelope["Message"]) if "Message" in envelope else envelope
    except (ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
