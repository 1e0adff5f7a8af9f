"""The pipeline's dashboard: its definition, and whether CloudWatch has it."""

from __future__ import annotations

import json
from typing import Any

from helpers.engines import destination
from helpers.platforms import aws
from helpers.settings import Settings

_FIVE_MINUTES = 300


def definition(settings: Settings) -> dict[str, Any]:
    """What the dashboard shows, as CloudWatch takes it
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html).

    Args:
        settings: the profile, whose region, target and metrics it names.
    """
    where = destination(settings.main_target).where
    words = f"## {settings.profile}\nServes from {where}. The former PostgreSQL side is frozen.\nWay back: `runbook run 90_rollback`"
    widgets = [{"type": "text", "x": 0, "y": 0, "width": 24, "height": 3, "properties": {"markdown": words}}]
    for place, metric in enumerate(settings.cutover.metrics):
        properties = {
            "title": metric[1], "region": settings.aws.region, "stat": "Sum", "period": _FIVE_MINUTES, "view": "timeSeries",
            "metrics": [list(metric)],
        }  # fmt: skip
        x, y = 12 * (place % 2), 3 + 6 * (place // 2)
        widgets.append({"type": "metric", "x": x, "y": y, "width": 12, "height": 6, "properties": properties})
    return {"widgets": widgets}


def put(settings: Settings, body: dict[str, Any]) -> tuple[str, ...]:
    """Gives CloudWatch the dashboard; returns what it says is wrong in it.

    Raises:
        ConnectionFailed: CloudWatch does not answer, or refuses.
    """
    name = settings.cutover.dashboard or ""
    client = aws.client(settings.aws, "cloudwatch")
    with aws.told(settings.aws, "put the dashboard", on=name):
        answer = client.put_dashboard(DashboardName=name, DashboardBody=json.dumps(body))
    return tuple(str(each.get("Message")) for each in answer.get("DashboardValidationMessages", ()))


def present(settings: Settings) -> dict[str, Any] | None:
    """The dashboard as CloudWatch has it; None where there is none of that name.

    Raises:
        ConnectionFailed: CloudWatch does not answer.
    """
    name = settings.cutover.dashboard or ""
    client = aws.client(settings.aws, "cloudwatch")
    with aws.told(settings.aws, "list the dashboards", on=name):
        pages = client.get_paginator("list_dashboards").paginate(DashboardNamePrefix=name)
        if not any(each["DashboardName"] == name for page in pages for each in page["DashboardEntries"]):
            return None
        found: dict[str, Any] = json.loads(client.get_dashboard(DashboardName=name)["DashboardBody"])
        return found
