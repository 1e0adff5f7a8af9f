"""One weighted record in Route 53: which share of the readers is led to the new side.

A weighted record is two record sets of one name; a resolver is given the one or the other in the proportion of their weights
(https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/routing-policy-weighted.html). Both are written in one change batch,
which Route 53 takes as a whole or not at all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from helpers.errors import ConnectionFailed, UsageError
from helpers.platforms import aws as platform
from helpers.settings import Aws, Dns
from helpers.settings.local_stack import local_stack

LEGACY, MODERN = "legacy", "modern"
"""Names of the two record sets (`SetIdentifier`)."""

SECONDS_TO_SPREAD = 120.0
"""Route 53 usually has a change on all its servers within 60 seconds."""

_POLL = 2.0


@dataclass(frozen=True)
class Weights:
    """Of the two sides, as the zone has them; a side without a record set has None.

    Attributes:
        simple: the record is there and has no weights: every answer is its one value.
    """

    legacy: int | None
    modern: int | None
    simple: bool = False

    def __str__(self) -> str:
        if self.simple:
            return "one value without weights"
        if self.legacy is None and self.modern is None:
            return "no record"
        return f"{LEGACY} {self.legacy if self.legacy is not None else '–'} : {MODERN} {self.modern if self.modern is not None else '–'}"

    @property
    def share(self) -> int | None:
        """Per cent of the answers that lead to the new side; None where the record has no such weights."""
        if self.legacy is None or self.modern is None or self.legacy + self.modern != 100:
            return None
        return self.modern


class Record:
    """The record of a profile.

    Raises:
        ConnectionFailed: Route 53 does not answer.
        UsageError: the account has no such zone, or several of that name.
    """

    def __init__(self, options: Dns, account: Aws) -> None:
        self._options = options
        self._account = account
        self._client = platform.client(account, "route53")
        if account.engine == "moto":
            local_stack().prepare_dns(self._client, options)
        self._zone = self._zone_id()

    def __str__(self) -> str:
        return f"{self._options.record} in zone {self._options.zone}, {platform.address(self._account)}"

    def weights(self) -> Weights:
        """What the zone says now."""
        sets = self._sets()
        by_name = {each.get("SetIdentifier"): each for each in sets}
        simple = any("SetIdentifier" not in each for each in sets)
        legacy, modern = (by_name[name].get("Weight") if name in by_name else None for name in (LEGACY, MODERN))
        return Weights(legacy, modern, simple)

    def lead(self, share: int) -> Weights:
        """Leads `share` per cent of the answers to the new side, and waits until every server of the zone says so.

        A record without weights becomes a weighted one in the same change.

        Raises:
            ConnectionFailed: Route 53 refused, or did not spread the change in time.
        """
        present = self._sets()
        values = {LEGACY: (self._options.legacy, 100 - share), MODERN: (self._options.modern, share)}
        simple = [each for each in present if "SetIdentifier" not in each]
        changes = [{"Action": "DELETE", "ResourceRecordSet": each} for each in simple]
        changes += [
            {
                "Action": "UPSERT",
                "ResourceRecordSet": {
                    "Name": self._options.record, "Type": self._options.type, "SetIdentifier": name, "Weight": weight,
                    "TTL": self._options.ttl, "ResourceRecords": [{"Value": value}],
                },
            }
            for name, (value, weight) in values.items()
        ]  # fmt: skip
        with platform.told(self._account, f"lead {share} % to the new side", on=str(self)):
            answer = self._client.change_resource_record_sets(
                HostedZoneId=self._zone, ChangeBatch={"Comment": "migration-runbooks", "Changes": changes}
            )
            self._wait(answer["ChangeInfo"]["Id"])
        return self.weights()

    def _wait(self, change: str) -> None:
        until = time.monotonic() + SECONDS_TO_SPREAD
        while self._client.get_change(Id=change)["ChangeInfo"]["Status"] != "INSYNC":
            if time.monotonic() > until:
                raise ConnectionFailed(
                    "wait for a DNS change to spread",
                    on=str(self),
                    why=f"not every server of the zone has it after {SECONDS_TO_SPREAD:.0f} s",
                    next_step="look at the weights, then run the same command again",
                )
            time.sleep(_POLL)

    def _sets(self) -> list[dict[str, Any]]:
        name = _absolute(self._options.record)
        with platform.told(self._account, "read the record", on=str(self)):
            pages = self._client.get_paginator("list_resource_record_sets").paginate(HostedZoneId=self._zone)
            return [
                each
                for page in pages
                for each in page["ResourceRecordSets"]
                if each["Name"] == name and each["Type"] == self._options.type
            ]

    def _zone_id(self) -> str:
        wanted = self._options.zone
        with platform.told(self._account, "find the zone", on=wanted):
            pages = self._client.get_paginator("list_hosted_zones").paginate()
            zones = [each for page in pages for each in page["HostedZones"]]
        found = [z["Id"] for z in zones if _absolute(wanted) == z["Name"] or z["Id"].rpartition("/")[2] == wanted]
        if len(found) != 1:
            raise UsageError(
                "find the zone",
                on=f"{wanted} in {platform.address(self._account)}",
                why=f"{len(found)} zones have this name",
                next_step="name it, or its id, in migration.toml: [profiles.NAME.dns] zone = …",
            )
        return str(found[0])


def _absolute(name: str) -> str:
    return name if name.endswith(".") else f"{name}."
