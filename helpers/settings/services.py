"""The services around a pipeline: scheduler, brokers, infrastructure, DNS and messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from helpers.settings.section import LOCATION, Secret, Section, Server, example
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
    security: Literal["SASL_SSL", "SSL", "PLAINTEXT"] = "SASL_SSL"
    """Security protocol."""
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    """SASL mechanism."""
    user: Annotated[str | None, example("migration")] = None
    """SASL user."""
    password: Annotated[Secret, example({"env": "KAFKA_PASSWORD"})] = None
    """SASL password."""
    ca_file: Annotated[str | None, example("/etc/ssl/certs/kafka-ca.pem")] = None
    """File with the certificates of the authorities to trust."""
    engine: Literal["kafka", "noida-db"] = "kafka"
    """"noida-db" is the local stack's stand-in, which starts when it is first needed."""

    @model_validator(mode="after")
    def _is_reachable(self) -> Kafka:
        if self.engine == "noida-db":
            return self
        if not self.bootstrap:
            raise ValueError('name the brokers: bootstrap = "host:port,host:port"')
        if self.security == "SASL_SSL" and not (self.user and self.password):
            raise ValueError("SASL_SSL needs user and password")
        return self


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
