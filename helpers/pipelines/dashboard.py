"""The pipeline's dashboard: its definition, and whether CloudWatch has it."""

from __future__ import annotations

import json
from typing import Any

from helpers.platforms import aws
from helpers.settings import Settings

NAMESPACE = "SalesPipeline"
"""Of the metrics that the alarms in pipeline/terraform watch."""

_DAY = 86_400
_FIVE_MINUTES = 300


def definition(settings: Settings) -> dict[str, Any]:
    """What the dashboard shows, as CloudWatch takes it
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html).

    Args:
        settings: the profile, whose region and target it names.
    """
    target = settings.snowflake
    words = (
        f"## Sales pipeline\nServes from {target.database}.{target.schema_} in Snowflake. The former PostgreSQL side is frozen.\n"
        "Way back: `runbook run 90_rollback`"
    )
    widgets = [{"type": "text", "x": 0, "y": 0, "width": 24, "height": 3, "properties": {"markdown": words}}]
    for place, (metric, period) in enumerate((("SucceededRuns", _DAY), ("FailedRuns", _FIVE_MINUTES))):
        properties = {
            "title": metric, "region": settings.aws.region, "stat": "Sum", "period": period, "view": "timeSeries",
            "metrics": [[NAMESPACE, metric, "Pipeline", "sales"]],
        }  # fmt: skip
        widgets.append({"type": "metric", "x": 12 * place, "y": 3, "width": 12, "height": 6, "properties": properties})
    return {"widgets": widgets}


def put(settings: Settings, body: dict[str, Any]) -> tuple[str, ...]:
    """Gives CloudWatch the dashboard; returns what it says is wrong in it.

    Raises:
        ConnectionFailed: CloudWatch does not answer, or refuses.
    """
    name = settings.cutover.dashboard
    client = aws.client(settings.aws, "cloudwatch")
    with aws.told(settings.aws, "put the dashboard", on=name):
        answer = client.put_dashboard(DashboardName=name, DashboardBody=json.dumps(body))
    return tuple(str(each.get("Message")) for each in answer.get("DashboardValidationMessages", ()))


def present(settings: Settings) -> dict[str, Any] | None:
    """The dashboard as CloudWatch has it; None where there is none of that name.

    Raises:
        ConnectionFailed: CloudWatch does not answer.
    """
    name = settings.cutover.dashboard
    client = aws.client(settings.aws, "cloudwatch")
    with aws.told(settings.aws, "list the dashboards", on=name):
        pages = client.get_paginator("list_dashboards").paginate(DashboardNamePrefix=name)
        if not any(each["DashboardName"] == name for page in pages for each in page["DashboardEntries"]):
            return None
        found: dict[str, Any] = json.loads(client.get_dashboard(DashboardName=name)["DashboardBody"])
        return found
