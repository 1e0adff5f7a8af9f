"""The services around a pipeline: scheduler, brokers, infrastructure, DNS and messages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from helpers.settings.section import LOCATION, FileAnywhere, Secret, Section, Server, example
from helpers.settings.stage import AwsIdentity


class Airflow(Server):
    """The Airflow that runs the pipelines."""

    url: Annotated[str, example("https://airflow.example.com", pattern=r"^https?://[^/?#@]+(?:/[^?#]*)?$")]
    """Address of its web server."""
    user: Annotated[str, example("migration")]
    """May edit DAGs and variables, and start runs."""
    password: Annotated[Secret, example({"env": "AIRFLOW_PASSWORD"})] = None
    """That user's password."""
    engine: Literal["airflow", "local"] = "airflow"
    """"local" is the local stack's own, a real one."""


class Kafka(Server):
    """The brokers of the pipeline's events, their topic, and where the events land."""

    bootstrap: Annotated[
        str | None, example("b-1.example.com:9096,b-2.example.com:9096", pattern=r"^[^,:\s]+:\d+(,[^,:\s]+:\d+)*$")
    ] = None
    """Some of the brokers."""
    topic: Annotated[str, example("orders", pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}$")]
    """The topic of the events."""
    partitions: int = Field(default=6, ge=1)
    """Of the topic, where we create it."""
    replicas: int = Field(default=3, ge=1)
    """Of the topic, where we create it."""
    landing: Annotated[str, example("s3://your-bucket/events/", pattern=LOCATION)]
    """Prefix of the landed events, reached with the stage's credentials."""
    security: Literal["SASL_SSL", "SSL", "SASL_PLAINTEXT", "PLAINTEXT"] = "SASL_SSL"
    """Security protocol."""
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "AWS_MSK_IAM"] = "SCRAM-SHA-512"
    """SASL mechanism. "AWS_MSK_IAM" logs in to Amazon MSK by IAM: a token that is signed here takes the password's place, and is
    signed anew before it ends."""
    user: Annotated[str | None, example("migration")] = None
    """SASL user."""
    password: Annotated[Secret, example({"env": "KAFKA_PASSWORD"})] = None
    """SASL password."""
    region: Annotated[str | None, example("eu-central-1")] = None
    """With "AWS_MSK_IAM": the cluster's region; without it, the one in the brokers' names."""
    profile_name: Annotated[str | None, example("migration")] = None
    """With "AWS_MSK_IAM": a profile of AWS's own files; without it, the default credential chain."""
    role_arn: Annotated[
        str | None, example("arn:aws:iam::123456789012:role/migration", pattern=r"^arn:aws[a-z-]*:iam::")
    ] = None
    """With "AWS_MSK_IAM": a role that is assumed first."""
    external_id: Annotated[str | None, example("migration-2026", min_length=2)] = None
    """What the role's owner asks for."""
    ca_file: Annotated[FileAnywhere, example("/etc/ssl/certs/kafka-ca.pem")] = None
    """File with the certificates of the authorities to trust; without it, the system's."""
    certificate_file: Annotated[FileAnywhere, example("/etc/migration/kafka.crt")] = None
    """File with our certificate, for brokers that ask for one (mutual TLS)."""
    private_key_file: Annotated[FileAnywhere, example("/etc/migration/kafka.key")] = None
    """File with the certificate's private key."""
    private_key_passphrase: Annotated[Secret, example({"env": "KAFKA_KEY_PASSPHRASE"})] = None
    """Opens that file, where it is encrypted."""
    engine: Literal["kafka", "noida-db"] = "kafka"
    """"noida-db" is the local stack's stand-in, which starts when it is first needed."""

    @model_validator(mode="after")
    def _is_reachable(self) -> Kafka:
        if why := next(_unreachable(self), None):
            raise ValueError(why)
        return self

    @property
    def sasl(self) -> bool:
        """Whether we log in with a SASL mechanism."""
        return self.security.startswith("SASL_")

    @property
    def tls(self) -> bool:
        """Whether the connections are encrypted."""
        return self.security.endswith("SSL")

    @property
    def iam(self) -> bool:
        """Whether a token of AWS's IAM logs us in."""
        return self.sasl and self.mechanism == "AWS_MSK_IAM"

    @property
    def broker_region(self) -> str | None:
        """The region that the brokers' names have, as MSK names them (`b-1.sales.abc.c2.kafka.eu-central-1.amazonaws.com`)."""
        found = re.search(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com", self.bootstrap or "")
        return found[1] if found else None


def _unreachable(kafka: Kafka) -> Iterator[str]:
    """What is missing to reach the brokers, and what says nothing beside what is there."""
    if kafka.engine == "noida-db":
        return
    if not kafka.bootstrap:
        yield 'name the brokers: bootstrap = "host:port,host:port"'
    iam = kafka.iam
    if kafka.sasl and not iam and not (kafka.user and kafka.password):
        yield f"{kafka.security} needs user and password"
    if iam and (kafka.user or kafka.password):
        yield 'mechanism = "AWS_MSK_IAM" makes a token in the place of user and password: take them away'
    if kafka.security == "SASL_PLAINTEXT" and kafka.mechanism in ("PLAIN", "AWS_MSK_IAM"):
        yield f'mechanism = "{kafka.mechanism}" would send the secret in clear text: write security = "SASL_SSL"'
    if iam and not kafka.region and not kafka.broker_region:
        yield 'mechanism = "AWS_MSK_IAM" signs for a region, which no broker is called by: add region'
    for name in ("region", "profile_name", "role_arn", "external_id"):
        if getattr(kafka, name) and not iam:
            yield f'{name} says nothing without mechanism = "AWS_MSK_IAM": take it away'
    if kafka.external_id and not kafka.role_arn:
        yield "external_id says nothing without role_arn: take it away"
    if bool(kafka.certificate_file) != bool(kafka.private_key_file):
        yield "certificate_file and private_key_file belong together, and one of the two is missing: add it"
    if kafka.private_key_passphrase and not kafka.private_key_file:
        yield "private_key_passphrase opens private_key_file, which is not there: add it"
    for name in ("ca_file", "certificate_file", "private_key_file"):
        if getattr(kafka, name) and not kafka.tls:
            yield f'{name} says nothing beside security = "{kafka.security}": take one of them away'


class Aws(AwsIdentity):
    """The AWS account of the infrastructure; the stage and the evidence have sections of their own."""

    region: str = "us-east-1"
    """Region of the infrastructure."""
    engine: Literal["aws", "moto"] = "aws"
    """"moto" is the local stack's stand-in, which starts when it is first needed."""


class Terraform(Section):
    """The infrastructure that phase 10 makes with Terraform, and where Terraform keeps its state. Without a module, nothing is made:
    the steps are not applicable, or exist elsewhere."""

    module: Annotated[str | None, example("infra")] = None
    """The folder of the root module that is planned and applied, relative to this file. Whatever it calls lies within it."""
    targets: Annotated[
        dict[Literal["s10-base", "s10-snowflake", "s10-kafka"], tuple[str, ...]],
        example({"s10-base": ["module.network"], "s10-snowflake": ["module.snowflake"]}),
    ] = Field(default_factory=dict)
    """Which addresses of it each step makes; without any, `s10-base` makes the whole module."""
    legacy_module: Annotated[str | None, example("infra/legacy")] = None
    """The root module of the legacy infrastructure: option C deploys it, and the clean-up of option A destroys it."""
    variables: Annotated[dict[str, str], example({"name": "library"})] = Field(default_factory=dict)
    """Values of the modules' variables, beside `*.tfvars` and TF_VAR_… in the environment, which win. No secret."""
    folder: Annotated[str | None, example("terraform-state")] = None
    """For working copies, plans and, without a backend, the state; relative to this file."""
    backend: Annotated[
        dict[str, Any], example({"bucket": "your-terraform", "key": "sales", "region": "eu-central-1"})
    ] = Field(default_factory=dict)
    """Arguments of the S3 backend, of which `key` is a prefix; without them the state lies in the folder. A secret among them is a
    reference."""

    @model_validator(mode="after")
    def _has_a_place(self) -> Terraform:
        if self.targets and not self.module:
            raise ValueError("targets are addresses of a module: name it, too")
        if self.backend and not {"bucket", "key", "region"} <= set(self.backend):
            raise ValueError("a backend needs bucket, key and region")
        return self


class Dns(Section):
    """The weighted record that leads readers to the old side or the new one."""

    zone: Annotated[str, example("example.com")]
    """The hosted zone, by name or id."""
    record: Annotated[str, example("sales.example.com")]
    """Name of the record."""
    type: Literal["CNAME", "A", "AAAA"] = "CNAME"
    """Type of the record."""
    legacy: Annotated[str, example("legacy.example.com")]
    """The record's value for the old side."""
    modern: Annotated[str, example("modern.example.com")]
    """The record's value for the new side."""
    ttl: int = Field(default=30, ge=0)
    """How long a resolver may keep an answer, in seconds; until then not everybody sees a step."""
    steps: tuple[int, ...] = (10, 50, 100)
    """Per cent of the answers that lead to the new side, step by step."""
    seconds: float = Field(default=300.0, ge=0)
    """Time between a step and the check behind it."""

    @model_validator(mode="after")
    def _leads_there(self) -> Dns:
        if list(self.steps) != sorted(set(self.steps)) or not self.steps or self.steps[-1] != 100 or self.steps[0] < 1:
            raise ValueError("steps rise from at least 1 to 100, for example [10, 50, 100]")
        return self


class Alerts(Section):
    """Where a test alarm is sent."""

    topic: Annotated[
        str | None, example("arn:aws:sns:us-east-1:123456789012:pipeline", pattern=r"^arn:aws[a-z-]*:sns:")
    ] = None
    """The SNS topic of the pipeline's alarms; without it one is created for the test, which then does not test your own."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """How long the alarm may take to arrive."""


def _web_address(value: SecretStr | None) -> SecretStr | None:
    if value and not value.get_secret_value().startswith(("https://", "http://")):
        raise ValueError("it does not lead to an address that begins with https://")
    return value


class Notify(Section):
    """Who is told how a run goes."""

    webhook: Annotated[Annotated[Secret, AfterValidator(_web_address)], example({"env": "SLACK_WEBHOOK"})] = None
    """Takes `{"text": …}`, as Slack's incoming webhooks do. The address is a secret: whoever has it can write there."""
