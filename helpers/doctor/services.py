"""The services around the pipeline: AWS, Terraform, DNS, alarms, Airflow, Kafka and dbt, each asked by reading alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from helpers import settings as profiles
from helpers.doctor import buckets
from helpers.doctor.subject import Subject
from helpers.errors import MigrationError, UsageError
from helpers.finding import Finding, judged, note, stop, unchecked, warning
from helpers.platforms import airflow, aws, dbt, dns, environments, kafka
from helpers.platforms.airflow import Airflow
from helpers.settings import Aws, Stage

MOTO = "moto, a stand-in that starts when it is first needed; it takes any credentials, so there is nothing to try"

_opening = threading.Lock()

EDITS, SETS = ("user", "op", "admin"), ("op", "admin")
"""Roles of Airflow's simple auth manager that may edit DAGs and start runs, and those that may set variables."""


def examine_aws(subject: Subject) -> Iterator[Finding]:
    """Whose credentials the infrastructure would be made with."""
    account = subject.settings.values.aws
    if account is None:
        return
    if account.engine == "moto":
        yield unchecked("credentials", MOTO, "ask with a profile of the real account")
        return
    with aws.told(account, "ask who we are", on="STS"):
        answer = _client(account, "sts").get_caller_identity()
    yield note("credentials", f"{aws.address(account)} answers as {answer['Arn']}")


def examine_terraform(subject: Subject) -> Iterator[Finding]:
    """Terraform itself, the modules that the profile names, and where their state lies."""
    settings, own = subject.settings, subject.settings.terraform
    named = {key: getattr(own, key) for key in ("module", "legacy_module") if getattr(own, key)}
    if not named and not own.backend:
        return
    for key, folder in named.items():
        files = sum(1 for _ in (settings.file.parent / folder).glob("*.tf"))
        yield judged(
            files > 0, key, f"{folder} has {files} files of Terraform", f"correct terraform.{key}", "a root module"
        )
    yield from _environment("terraform", "cloud", "Terraform")
    backend = settings.terraform.backend
    if not backend:
        local = settings.values.stack == "local"
        fix = "name a bucket in terraform.backend, so that the state outlives this machine"
        yield note("state", "lies on this machine's disk") if local else warning("state", "lies on this machine's disk", fix)  # fmt: skip
        return
    place = Stage(url=f"s3://{backend['bucket']}/{backend['key']}", region=str(backend["region"]), endpoint=backend.get("endpoint"))  # fmt: skip
    bucket = buckets.opened(place)
    try:
        listed = len(bucket.sizes())
        yield note("state", f"{bucket.location} may be listed; {listed} states lie there")
    except MigrationError as error:
        cure = buckets.policy("s3:ListBucket", bucket.location.bucket, bucket.location.prefix, objects=False)
        yield stop("state", f"{bucket.location} may not be listed: {error.why}", cure, "s3:ListBucket, s3:GetObject and s3:PutObject on the state")  # fmt: skip


def examine_dns(subject: Subject) -> Iterator[Finding]:
    """The zone, and the record that phase 50 moves."""
    settings = subject.settings
    options, account = settings.dns, settings.values.aws
    if options is None:
        return
    if account is None:
        yield stop("account", "the profile names no account in which the zone lies", "add [profiles.X.aws]", "one")
        return
    if account.engine == "moto":
        yield unchecked("zone", MOTO, "ask with a profile of the real account")
        return
    with _opening:
        record = dns.Record(options, account)
    weights = record.weights()
    yield note("record", f"{record}: {weights}")
    if weights.legacy is None and weights.modern is None and not weights.simple:
        yield warning("record", f"{options.record} is not there yet", "phase 50 makes it", f"{options.type} {options.record}")  # fmt: skip
    needed = "route53:ChangeResourceRecordSets, route53:GetChange"
    yield unchecked("changing", "only a change would tell", "phase 50 changes it, step by step", needed)


def examine_alerts(subject: Subject) -> Iterator[Finding]:
    """The topic of the alarms."""
    settings = subject.settings
    topic, account = settings.alerts.topic, settings.values.aws
    if topic is None or account is None:
        return
    if account.engine == "moto":
        yield unchecked("topic", MOTO, "ask with a profile of the real account")
        return
    with aws.told(account, "look at the topic", on=topic):
        _client(account, "sns").get_topic_attributes(TopicArn=topic)
    yield note("topic", f"{topic} is there")


def examine_airflow(subject: Subject) -> Iterator[Finding]:
    """Login, what the user may do, and the DAGs that the profile names."""
    section = subject.settings.values.airflow
    if section is None:
        return
    found = Airflow(section)
    known = {dag.name: dag for dag in found.dags()}
    yield note("login", f"{airflow.address(section)} lets {section.user} in, version {found.version()}")
    yield from _airflow_rights(found, section)
    own = subject.settings.dags
    for dags, wanted in (
        (own.legacy, "today's pipeline"),
        (own.modern, "what replaces it"),
        (own.retired, "switched off on every path"),
    ):
        for name in dags:
            dag = known.get(name)
            if dag is None:
                yield warning(f"DAG {name}", "Airflow has not read one of that name", "put its file where Airflow reads its DAGs, or correct the name", wanted)  # fmt: skip
            elif dag.import_errors:
                yield stop(f"DAG {name}", "Airflow cannot read its file any more", "correct the DAG's file", wanted)
            else:
                yield note(f"DAG {name}", f"is there, {'on' if dag.enabled else 'off'}")


def _airflow_rights(found: Airflow, section: profiles.Airflow) -> Iterator[Finding]:
    needed = "edit DAGs, start runs and set variables: phases 20, 50 and 90"
    role = found.role()
    if role is None:
        try:
            found.variable("migration_runbooks")
        except MigrationError as error:
            yield stop("variables", error.why, f"give {section.user} a role that may read and set variables", needed)
        fix = f"give {section.user} can_edit on DAGs, can_create on DAG Runs and can_create, can_edit on Variables"
        yield unchecked("rights", "this Airflow does not say what a user may do; only a change would tell", fix, needed)
    elif role not in EDITS:
        yield stop("rights", f"{section.user} has the role {role}", f"give {section.user} the role op", needed)
    elif role not in SETS:
        yield stop("variables", f"{section.user} has the role {role}", f"give {section.user} the role op", needed)
    else:
        yield note("rights", f"{section.user} has the role {role}")


def examine_kafka(subject: Subject) -> Iterator[Finding]:
    """The brokers, the topic, what our user may do with it, and where its events land."""
    section = subject.settings.values.kafka
    if section is None:
        return
    if section.engine == "noida-db":
        fix = "ask with a profile of the real brokers"
        yield unchecked(
            "brokers", "noida-db, a stand-in that starts when it is first needed; it asks for no rights", fix
        )
        return
    create = f"runbook kafka create-topic --topic {section.topic}"
    try:
        topic = kafka.topic_of(section)
    except UsageError as error:
        yield note("brokers", f"{kafka.address(section)} answers")
        yield warning("topic", f"{section.topic} is not there: {error.why}", create, section.topic)
        return
    yield note("topic", f"{topic.name} has {topic.partitions} partitions")
    operations = kafka.may(section)
    if operations is None:
        yield unchecked("rights", "the brokers do not say what a user may do with the topic", needed="Read, Write, Describe")  # fmt: skip
        return
    user, missing = kafka.principal(section), False
    for right, needed in (("READ", "to land its events"), ("WRITE", "to send events")):
        if not {right, "ALL"} & operations:
            missing = True
            cure = kafka.grant(section, right.title(), "topic", topic.name)
            yield stop(right, f"{user} may not on {topic.name}", cure, needed)
    if not kafka.may_use_group(section, kafka.landing_group(topic.name)):
        missing = True
        cure = kafka.grant(section, "Read", "group", kafka.landing_group(topic.name))
        yield stop("group", f"{user} may not use {kafka.landing_group(topic.name)}", cure, "to land its events")
    if not missing:
        yield note("rights", f"{user} may read and write {topic.name}")


def examine_dbt(subject: Subject) -> Iterator[Finding]:
    """dbt itself, and the profile's project."""
    if subject.settings.dbt.project:
        yield note("project", f"{dbt.project_folder(subject.settings).name} has dbt_project.yml")
        yield from _environment("dbt", "dbt", "dbt")


def _environment(check: str, name: str, what: str) -> Iterator[Finding]:
    if environments.is_ready(name):
        yield note(check, f"{what} is installed in .venv-{name}")
    else:
        fix = "nothing to do, as long as the package index can be reached then"
        yield unchecked(check, f"{what} is installed into .venv-{name} when it is first needed", fix)


def _client(account: Aws, service: str) -> Any:
    with _opening:
        return aws.client(account, service)
