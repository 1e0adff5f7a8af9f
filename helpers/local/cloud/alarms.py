"""What moto leaves out of CloudWatch: an alarm whose state becomes ALARM notifies its topics.

moto keeps the state and does nothing more. The message has the fields that CloudWatch sends
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html); no alarm is ever evaluated here.
"""

from __future__ import annotations

import json
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend
from moto.sns.models import sns_backends


def install() -> None:
    """Call once, before the server starts."""
    keep = CloudWatchBackend.set_alarm_state

    def set_alarm_state(self: Any, alarm_name: str, *values: Any, **named: Any) -> None:
        keep(self, alarm_name, *values, **named)
        alarm = self.alarms[alarm_name]
        if alarm.state_value != "ALARM" or not alarm.actions_enabled:
            return
        message = json.dumps(
            {
                "AlarmName": alarm.name, "AlarmDescription": alarm.description, "AlarmArn": alarm.alarm_arn,
                "NewStateValue": alarm.state_value, "NewStateReason": alarm.state_reason,
            }
        )  # fmt: skip
        for topic in alarm.alarm_actions:
            if ":sns:" in topic:
                backend = sns_backends[self.account_id][self.region_name]
                backend.publish(message=message, arn=topic, subject=f"ALARM: {alarm.name}"[:100])

    CloudWatchBackend.set_alarm_state = set_alarm_state
