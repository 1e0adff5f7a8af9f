"""The infrastructure's resources, read from its modules without Terraform, and whether its services answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers import PROJECT
from helpers.finding import Finding, judged
from helpers.platforms import aws, snowflake
from helpers.settings import Settings

MODERN = PROJECT / "pipeline" / "terraform"
LEGACY = PROJECT / "pipeline" / "legacy" / "terraform"
"""The modules that this project ships; what a profile has is in its settings."""

SCHEMAS = ("LANDING", "MARTS")
"""Beside that of the migrated tables."""

_VARIABLE = re.compile(r'^variable\s+"(\w+)"', re.M)
_RESOURCE = re.compile(r'^resource\s+"(\w+)"\s+"(\w+)"', re.M)
_MODULE = re.compile(r'^module\s+"(\w+)"\s*\{(.*?)^\}', re.M | re.S)
_SOURCE = re.compile(r'^\s*source\s*=\s*"([^"]+)"', re.M)


@dataclass(frozen=True)
class Declared:
    """A resource as a module's files declare it, once for however many Terraform makes of it.

    Attributes:
        address: as Terraform would name it, without the index of a resource that there are several of.
        type: of the resource.
        file: that declares it, relative to the root module.
    """

    address: str
    type: str
    file: str


def declared(module: Path, targets: Sequence[str] = ()) -> list[Declared]:
    """The resources of a root module and of the modules it calls.

    Args:
        module: the root module's folder.
        targets: addresses to limit it to; all when empty.
    """
    found = list(_resources(module, module, ""))
    for file in sorted(module.glob("*.tf")):
        for match in _MODULE.finditer(file.read_text(encoding="utf-8")):
            source = _SOURCE.search(match[2])
            if source and source[1].startswith("./"):
                index = "[0]" if re.search(r"^\s*count\s*=", match[2], re.M) else ""
                found += _resources(module, module / source[1], f"module.{match[1]}{index}.")
    return [each for each in found if not targets or any(within(each.address, target) for target in targets)]


def variables_of(module: Path) -> frozenset[str]:
    """The names of the variables that a root module declares."""
    return frozenset(
        match[1] for file in module.glob("*.tf") for match in _VARIABLE.finditer(file.read_text(encoding="utf-8"))
    )


def is_shipped(module: Path) -> bool:
    """Whether a module is one of this project's, of which it is known what it makes."""
    return module.resolve() in (MODERN, LEGACY)


def within(address: str, target: str) -> bool:
    """Whether Terraform means `address`, too, when it is given `target`."""
    return re.match(re.escape(target) + r"(?:\[|\.|$)", address) is not None


def findings(settings: Settings, variables: Mapping[str, str], fix: str) -> Iterator[Finding]:
    """Asks the services themselves, not Terraform, for one object of each module; on the local stack not for a Kafka cluster,
    which its stand-in does not have.

    Args:
        variables: of the modern root module; `name` and `zone_name` are needed.
        fix: what to do where an object is missing.

    Raises:
        ConnectionFailed: a service did not answer.
    """
    name, zone, where = variables["name"], variables["zone_name"], aws.address(settings.aws)
    for on, found, how in _ask_aws(settings, name, zone):
        yield judged(found, f"{where}: {on}", how, fix)
    target = settings.snowflake
    with snowflake.connect(target) as session:
        place = f"{snowflake.identifier(target.database)}.INFORMATION_SCHEMA.SCHEMATA"
        rows = session.execute(f"SELECT SCHEMA_NAME FROM {place}", doing="look for the schemas")
    there = {str(row["SCHEMA_NAME"]) for row in rows}
    for schema in dict.fromkeys((target.schema_, *SCHEMAS)):
        how = f"its INFORMATION_SCHEMA {'lists' if schema in there else 'does not list'} it"
        on = f"{snowflake.address(target).split(',')[0]}: schema {target.database}.{schema}"
        yield judged(schema in there, on, how, fix)


def _resources(root: Path, folder: Path, prefix: str) -> Iterator[Declared]:
    for file in sorted(folder.glob("*.tf")):
        for match in _RESOURCE.finditer(file.read_text(encoding="utf-8")):
            where = file.resolve().relative_to(root.resolve()).as_posix()
            yield Declared(f"{prefix}{match[1]}.{match[2]}", match[1], where)


def _ask_aws(settings: Settings, name: str, zone: str) -> Iterator[tuple[str, bool, str]]:
    """Each object, whether it is there, and what was asked and seen."""
    account = settings.aws
    with aws.told(account, "look for what was deployed", on=name):
        vpcs = aws.client(account, "ec2").describe_vpcs(Filters=[{"Name": "tag:Name", "Values": [name]}])["Vpcs"]
        yield f"network {name}", bool(vpcs), f"EC2 knows {len(vpcs)} networks of that name"
        buckets = [each["Name"] for each in aws.client(account, "s3").list_buckets()["Buckets"]]
        stage = [each for each in buckets if each.startswith(f"{name}-stage-")]
        yield f"stage {name}-stage-…", bool(stage), f"S3 knows {len(stage)} buckets of that name"
        alarms = aws.client(account, "cloudwatch").describe_alarms(AlarmNamePrefix=f"{name}-")["MetricAlarms"]
        told = [each for each in alarms if each["AlarmActions"]]
        yield f"alarms {name}-…", len(told) >= 2, f"CloudWatch knows {len(told)} alarms that tell somebody, of 2"
        route53 = aws.client(account, "route53")
        zones = route53.list_hosted_zones_by_name(DNSName=zone)["HostedZones"]
        own = [each for each in zones if each["Name"].rstrip(".") == zone]
        records = [
            record
            for each in own
            for record in route53.list_resource_record_sets(HostedZoneId=each["Id"])["ResourceRecordSets"]
            if record["Name"].rstrip(".") == f"db.{zone}"
        ]
        weighted = f"Route 53 holds {len(records)} weighted records of that name, of 2"
        yield f"db.{zone}", len(records) == 2, weighted
        if account.engine != "moto":
            listed = aws.client(account, "kafka").list_clusters_v2(ClusterNameFilter=name)["ClusterInfoList"]
            active = [each for each in listed if each["ClusterName"] == name and each["State"] == "ACTIVE"]
            yield f"cluster {name}", bool(active), f"MSK knows {len(active)} active clusters of that name"
