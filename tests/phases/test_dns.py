"""The readers' record in Route 53, by boto3 against moto's server.

Slow: moto runs in an environment of its own, which is installed when it is first needed. moto answers no queries, so the weights are
what is looked at, and not which address a resolver gets.

Would catch: a record without weights that cannot become one with them, a change that is half made, a share that is misread, a zone
that is found by a part of its name.
"""

from __future__ import annotations

from typing import Any

import pytest

from helpers.errors import UsageError
from helpers.platforms import aws
from helpers.platforms.dns import Record, Weights
from helpers.settings import Dns

pytestmark = pytest.mark.slow


def options(**changes: Any) -> Dns:
    given = {
        "zone": "test.example.com",
        "record": "r.test.example.com",
        "legacy": "l.example.com",
        "modern": "m.example.com",
        "ttl": 0,
    }
    return Dns.model_validate({**given, **changes})


def test_a_simple_record_becomes_a_weighted_one_and_goes_there_and_back(local_settings: Any) -> None:
    own = options(zone="one.example.com", record="r.one.example.com")
    record = Record(own, local_settings.aws)
    assert record.weights() == Weights(None, None, simple=True)
    assert record.lead(0) == Weights(100, 0)
    for share in (10, 50, 100, 0):
        assert record.lead(share).share == share
        assert Record(own, local_settings.aws).weights() == Weights(100 - share, share)
    client = aws.client(local_settings.aws, "route53")
    sets = client.list_resource_record_sets(HostedZoneId=record._zone)["ResourceRecordSets"]
    values = {each["SetIdentifier"]: each["ResourceRecords"][0]["Value"] for each in sets if "SetIdentifier" in each}
    assert values == {"legacy": "l.example.com", "modern": "m.example.com"}


def test_weights_of_somebody_else_are_no_share(local_settings: Any) -> None:
    own = options(zone="two.example.com", record="r.two.example.com")
    record = Record(own, local_settings.aws)
    record.lead(50)
    client = aws.client(local_settings.aws, "route53")
    change = {"Name": own.record, "Type": "CNAME", "SetIdentifier": "modern", "Weight": 7, "TTL": 0,
              "ResourceRecords": [{"Value": own.modern}]}  # fmt: skip
    client.change_resource_record_sets(
        HostedZoneId=record._zone, ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": change}]}
    )
    assert record.weights() == Weights(50, 7)
    assert record.weights().share is None
    assert record.lead(10).share == 10


def test_two_zones_of_one_name_are_refused(local_settings: Any) -> None:
    client = aws.client(local_settings.aws, "route53")
    for reference in ("a", "b"):
        client.create_hosted_zone(Name="three.example.com.", CallerReference=reference)
    with pytest.raises(UsageError, match="2 zones"):
        Record(options(zone="three.example.com"), local_settings.aws)


@pytest.mark.parametrize("steps", [[], [50], [0, 100], [50, 10, 100], [10, 10, 100], [100, 110]])
def test_steps_that_do_not_lead_there_are_refused(steps: list[int]) -> None:
    with pytest.raises(ValueError, match="steps rise"):
        options(steps=steps)
