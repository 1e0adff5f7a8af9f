"""The zone of the local AWS stand-in, which is empty after each start: a record that sends every reader to the old side."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from helpers.settings import Dns


def prepare(client: Any, options: Dns) -> None:
    """Makes the zone, with the record as a company has it before its cutover: without weights; what is there stays."""
    name = options.zone if options.zone.endswith(".") else f"{options.zone}."
    if any(zone["Name"] == name for zone in client.list_hosted_zones()["HostedZones"]):
        return
    zone = client.create_hosted_zone(Name=name, CallerReference=uuid4().hex)["HostedZone"]["Id"]
    record = {
        "Name": options.record, "Type": options.type, "TTL": options.ttl, "ResourceRecords": [{"Value": options.legacy}],
    }  # fmt: skip
    client.change_resource_record_sets(
        HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    )
