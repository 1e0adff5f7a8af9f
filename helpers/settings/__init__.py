"""`migration.toml` and the environment, as one typed object a profile.

The file names things; secrets are read from where it points: `{ env = "NAME" }` (the environment or `.env`),
`{ aws_secret = "id", key = "field" }` (AWS Secrets Manager) or `{ vault = "secret/data/path", key = "field" }`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import psycopg2
from dotenv import dotenv_values
from psycopg2.extensions import parse_dsn
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from helpers import PROJECT as PROJECT
from helpers.errors import SettingsError
from helpers.redaction import remember
from helpers.settings.local_stack import local_stack

FILE = "migration.toml"

LOCATION = "RUNBOOK_SETTINGS_FILE"
"""Where the file is, for a notebook, which does not run in the folder of the command that starts it."""

DEFAULT_PROFILE = "local"

Section = TypeVar("Section")


class Resolved(str):
    """A value that a reference led to, as opposed to one written in the file."""


def _only_by_reference(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Resolved):
        raise ValueError('a secret does not belong in this file; write { env = "NAME" } and set NAME')
    return str(value) if isinstance(value, Resolved) else value


Secret = Annotated[SecretStr | None, BeforeValidator(_only_by_reference)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sentinel(_Section):
    """The policy that puts one value in the place of those that no target holds, beside a column with the originals."""

    sentinel: str

    def __str__(self) -> str:
        return f"sentinel+flag {self.sentinel}"


def _known_policy(value: object) -> object:
    if isinstance(value, dict) and set(value) == {"sentinel"}:
        constant = value["sentinel"]
        if isinstance(constant, bool | float):
            raise ValueError(f'put the sentinel in quotes: {{ sentinel = "{constant}" }}')
        if isinstance(constant, date | datetime | time):
            return Sentinel(
                sentinel=constant.isoformat(" ") if isinstance(constant, datetime) else constant.isoformat()
            )
        return Sentinel(sentinel=str(constant))
    if isinstance(value, Sentinel) or value in ("text", "null+flag"):
        return value
    raise ValueError('a policy is "text", "null+flag" or { sentinel = "a value of the column\'s type" }')


Policy = Annotated[Literal["text", "null+flag"] | Sentinel, BeforeValidator(_known_policy)]
"""What happens to values that a target cannot hold: the column becomes text; they become NULL; they become one value. The
last two keep PostgreSQL's text of each original in a further column, `NAME__original`."""


class Source(_Section):
    """The PostgreSQL server that is migrated."""

    host: str
    port: int = 5432
    dbname: str
    user: str
    password: Secret = None
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    sslrootcert: str | None = None
    schemas: tuple[str, ...] = ()
    """Schemas to migrate; empty means every schema that is not PostgreSQL's own."""


class Stage(_Section):
    """The S3 location that holds the exported Parquet files."""

    url: str = Field(pattern=r"^s3://[^/]+/?.*$")
    region: str = "us-east-1"
    endpoint: str | None = None
    """Only for S3-compatible services; AWS itself needs none."""
    access_key: str | None = None
    secret_key: Secret = None


class Snowflake(_Section):
    """The Snowflake account, and where in it the tables go."""

    account: str
    user: str
    database: str
    schema_: str = Field(alias="schema")
    warehouse: str | None = None
    role: str | None = None
    password: Secret = None
    private_key_file: str | None = None
    private_key_passphrase: Secret = None
    storage_integration: str | None = None
    connect: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of `snowflake.connector.connect`."""


def _plain_location(value: str | None) -> str | None:
    if value and not re.fullmatch(r"s3a?://[A-Za-z0-9][A-Za-z0-9.-]*(/[A-Za-z0-9._=/-]*)?", value):
        raise ValueError(
            "write it like s3://your-bucket/delta: letters, digits and . _ = - /, which every reader takes alike"
        )
    return value


class Databricks(_Section):
    """The Spark Connect server, and where the Delta tables go."""

    url: str | None = Field(default=None, pattern=r"^sc://[^;]+$")
    """Of any Spark Connect server, such as "sc://spark.example.com:15002"; for Databricks, `host` and `cluster_id`."""
    host: str | None = None
    cluster_id: str | None = None
    token: Secret = None
    catalog: str | None = None
    """Of Unity Catalog; without it, the server's current one."""
    schema_: str = Field(alias="schema")
    delta_root: Annotated[str | None, AfterValidator(_plain_location)] = None
    """Below which each table has its folder; without it, the catalog says where a table lies."""
    files: Literal["s3", "s3a"] = "s3"
    """The scheme by which the server reads the stage: Databricks knows s3, Apache Spark with hadoop-aws only s3a."""
    engine: Literal["spark", "pysail"] = "spark"
    """"pysail" is the local stack's server, which starts when it is first needed."""

    @model_validator(mode="after")
    def _is_reachable(self) -> Databricks:
        if self.engine == "pysail":
            if not self.delta_root:
                raise ValueError("pysail keeps no catalog, so it needs a delta_root")
        elif bool(self.url) == bool(self.host):
            raise ValueError('name the server: either url = "sc://…", or host and cluster_id for Databricks')
        elif self.host and not (self.cluster_id and self.token):
            raise ValueError("Databricks needs cluster_id and token beside host")
        return self


class Export(_Section):
    """How gently the source is read."""

    workers: int = Field(default=2, ge=1, le=64)
    lock_timeout_seconds: float = Field(default=5.0, gt=0)
    statement_timeout_seconds: float = Field(default=0.0, ge=0)
    """0 for no limit, whatever the server, the database or the role say."""
    hold_snapshot_hours: float = Field(default=6.0, gt=0, le=168)
    """How long a snapshot is held for a verification or for an export that goes on; vacuum on the source waits for it."""
    policies: dict[str, Policy] = Field(default_factory=dict)
    """Per "schema.table.column", "schema.table.*" or PostgreSQL type name, the first of these that is there: what to do with
    values that a target cannot hold."""


class Verify(_Section):
    """What the target may call otherwise, and how far numbers may lie apart."""

    names: dict[str, str] = Field(default_factory=dict)
    """Per "schema.table" or "schema.table.column": its name in the target."""
    tolerances: dict[str, float] = Field(default_factory=dict)
    """Per "schema.table.column": the largest difference of two numbers that still counts as none; named in every report."""


class Approvals(_Section):
    """Who may sign, and how many of them a step needs."""

    people: dict[str, str] = Field(default_factory=dict)
    """Per name: a file with the public key (relative to this file), its PEM text, or the base64 text of its 32 bytes."""
    threshold: int = Field(default=1, ge=1)
    thresholds: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Per step, or per class of steps ("cutover", "destructive"), which need two where the profile is not the local stack."""


class Locked(_Section):
    """A location under Object Lock: what is written there cannot be deleted before its time."""

    url: str = Field(pattern=r"^s3://[^/]+/?.*$")
    retention_days: int = Field(ge=1, le=36_500)
    """S3 takes up to a hundred years (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-managing.html)."""
    mode: Literal["COMPLIANCE", "GOVERNANCE"] = "COMPLIANCE"
    region: str | None = None
    endpoint: str | None = None
    access_key: str | None = None
    secret_key: Secret = None


class Evidence(Locked):
    """Where sealed evidence is archived so that nobody can delete it before its time."""


class Archive(Locked):
    """Where the legacy data are archived before the legacy system goes, so that nobody can delete them before their time."""


class Kafka(_Section):
    """The brokers of sale events, their topic, and where it lands."""

    bootstrap: str | None = Field(default=None, pattern=r"^[^,:\s]+:\d+(,[^,:\s]+:\d+)*$")
    """Some of the brokers, such as "b-1.example.com:9096,b-2.example.com:9096"."""
    topic: str = Field(default="sales", pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}$")
    partitions: int = Field(default=6, ge=1)
    replicas: int = Field(default=3, ge=1)
    """Of the topic, where we make it."""
    landing: str = Field(pattern=r"^s3://[^/]+/?.*$")
    """Below which the events go, reached with the stage's credentials."""
    security: Literal["SASL_SSL", "SSL", "PLAINTEXT"] = "SASL_SSL"
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    user: str | None = None
    password: Secret = None
    ca_file: str | None = None
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


def _web_address(value: SecretStr | None) -> SecretStr | None:
    if value and not value.get_secret_value().startswith(("https://", "http://")):
        raise ValueError("it does not lead to an address that begins with https://")
    return value


class Aws(_Section):
    """The AWS account of the infrastructure; the stage and the evidence have sections of their own."""

    region: str = "us-east-1"
    endpoint: str | None = None
    """Only for compatible services; AWS itself needs none."""
    access_key: str | None = None
    secret_key: Secret = None
    engine: Literal["aws", "moto"] = "aws"
    """"moto" is the local stack's stand-in, which starts when it is first needed."""


class Terraform(_Section):
    """Where Terraform keeps what it knows."""

    folder: str | None = None
    """For working copies, plans and, without a backend, the state; relative to this file."""
    backend: dict[str, str] = Field(default_factory=dict)
    """Arguments of the S3 backend, of which `key` is a prefix; without them the state lies in the folder."""

    @model_validator(mode="after")
    def _has_a_place(self) -> Terraform:
        if self.backend and not {"bucket", "key", "region"} <= set(self.backend):
            raise ValueError("a backend needs bucket, key and region")
        return self


class Sla(_Section):
    """What the present pipeline has promised, and the queries by which it is measured."""

    queries: tuple[str, ...] = ("pipeline/legacy/40_aggregates.sql",)
    """Files whose `INSERT INTO … SELECT` are timed, relative to this file or to the project; only the SELECT runs."""
    views: tuple[str, ...] = ()
    """Views and materialized views that are timed too, as "name" or "schema.name"."""
    seconds: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Per table that a query fills, or per view: the longest that it may take."""
    total_seconds: float | None = Field(default=None, gt=0)
    """The longest that all of them may take, one after the other."""
    repeat: int = Field(default=3, ge=1, le=100)


class Compliance(_Section):
    """What security and privacy ask for; the assessment holds the source and the stage against it."""

    require_tls: bool = True
    superusers: tuple[str, ...] = ()
    """Superusers that may be connected while the source is assessed, such as the provider's own."""
    personal: tuple[str, ...] | None = None
    """Globs over "schema.table.column" that are known to hold personal data; once given, one that it lacks stops the phase."""
    regions: tuple[str, ...] = ()
    """Where the stage may lie; empty for anywhere."""
    encrypted_stage: bool = False
    versioned_stage: bool = False


class Hybrid(_Section):
    """Which part of PostgreSQL stays, for option B."""

    stay: tuple[str, ...] = Field(min_length=1)
    """Globs over "name" or "schema.name" of tables."""


class Airflow(_Section):
    """The Airflow that runs the pipelines."""

    url: str = Field(pattern=r"^https?://[^/?#@]+(?:/[^?#]*)?$")
    user: str
    password: Secret = None
    engine: Literal["airflow", "local"] = "airflow"
    """"local" is the local stack's own, a real one."""


class Dns(_Section):
    """The weighted record by which readers find the old side or the new one."""

    zone: str
    """Its name, such as "example.com", or its id."""
    record: str
    type: Literal["CNAME", "A", "AAAA"] = "CNAME"
    legacy: str
    """What the record says while the old side serves, and `modern` once the new one does."""
    modern: str
    ttl: int = Field(default=30, ge=0)
    """Seconds that a resolver may keep an answer; no step is seen earlier by everybody."""
    steps: tuple[int, ...] = (10, 50, 100)
    """Per cent of the answers that lead to the new side, step by step."""
    seconds: float = Field(default=300.0, ge=0)
    """From a step to the check behind it."""

    @model_validator(mode="after")
    def _leads_there(self) -> Dns:
        if list(self.steps) != sorted(set(self.steps)) or not self.steps or self.steps[-1] != 100 or self.steps[0] < 1:
            raise ValueError("steps rise from at least 1 to 100, for example [10, 50, 100]")
        return self


class Cutover(_Section):
    """How the source is frozen, what is switched, and when the switch is taken back."""

    application: str | None = None
    """The role by which the application writes to the source; the freeze is tried as this role."""
    application_password: Secret = None
    patience_seconds: float = Field(default=30.0, ge=0)
    """That a transaction which has written gets to end by itself."""
    end_writers: bool = False
    """End it after that; otherwise the freeze is given up, and the session is named."""
    legacy_dags: tuple[str, ...] = ("sales_data_aggregation",)
    modern_dags: tuple[str, ...] = ("cloud_sales_pipeline_dag",)
    query: str | None = None
    """What readers ask the target, in its SQL; without it, the rows of the largest table are counted."""
    probes: int = Field(default=20, ge=1)
    """How often it is asked behind each step of the switch."""
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    max_latency_seconds: float = Field(default=5.0, gt=0)
    """The most that the slowest but for one in twenty may take."""
    dashboard: str = Field(default="sales-pipeline", pattern=r"^[A-Za-z0-9_-]+$")


class Notify(_Section):
    """Who is told how a run goes."""

    webhook: Annotated[Secret, AfterValidator(_web_address)] = None
    """Takes `{"text": …}`, as Slack's incoming webhooks do. The address is a secret: whoever has it can write there."""


class Dbt(_Section):
    """Where dbt builds the marts."""

    engine: Literal["snowflake", "duckdb"] = "snowflake"
    """"duckdb" builds them in a file with the staged tables: without an account, and in CI."""
    schema_: str | None = Field(default=None, alias="schema")
    """Without it, the target's with _MARTS behind its name: the target's own schema holds the migrated tables alone."""
    threads: int = Field(default=4, ge=1, le=64)


class Alerts(_Section):
    """Where a test alarm is sent, and how long it may take."""

    topic: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:sns:")
    """Of SNS, that the pipeline's alarms notify; without it a topic is made for the test, which then tests nobody's own."""
    timeout_seconds: float = Field(default=60.0, gt=0)


class Downstream(_Section):
    """A system that reads the target: what it reads, and as whom."""

    reads: Annotated[tuple[str, ...], Field(min_length=1)]
    """Tables of the target, or marts as "marts.NAME"; on option C tables of the source, and a mart is the aggregate of its name."""
    user: str | None = None
    """Of the target, on option C a role of the source. Without it, the check reads as the migration's own user, and says so."""
    password: Secret = None
    private_key_file: str | None = None
    role: str | None = None
    warehouse: str | None = None


class Profile(_Section):
    """Everything one environment needs; what is absent is asked for by the command that needs it."""

    stack: Literal["local"] | None = None
    source: Source | None = None
    stage: Stage | None = None
    snowflake: Snowflake | None = None
    databricks: Databricks | None = None
    export: Export = Export()
    verify: Verify = Verify()
    approvals: Approvals = Approvals()
    evidence: Evidence | None = None
    archive: Archive | None = None
    notify: Notify = Notify()
    kafka: Kafka | None = None
    aws: Aws | None = None
    terraform: Terraform = Terraform()
    sla: Sla | None = None
    compliance: Compliance | None = None
    hybrid: Hybrid | None = None
    airflow: Airflow | None = None
    dbt: Dbt = Dbt()
    alerts: Alerts = Alerts()
    downstream: dict[str, Downstream] = Field(default_factory=dict)
    dns: Dns | None = None
    cutover: Cutover = Cutover()

    @model_validator(mode="after")
    def _every_key_is_heeded(self) -> Profile:
        if why := next(_unheeded(self), None):
            raise ValueError(why)
        return self


def _unheeded(profile: Profile) -> Iterator[str]:
    """Keys that another one of the profile would make nobody read."""
    source, stage, snowflake, kafka = profile.source, profile.stage, profile.snowflake, profile.kafka
    if source and source.sslrootcert and source.sslmode == "disable":
        yield 'source.sslrootcert says nothing beside source.sslmode = "disable": take one of them away'
    for name in ("stage", "archive", "evidence", "aws"):
        section = getattr(profile, name)
        if section and (section.access_key is None) != (section.secret_key is None):
            yield f"{name} has one of access_key and secret_key: name both, or none for the default chain"
    if snowflake and snowflake.password and snowflake.private_key_file:
        yield "snowflake.password and snowflake.private_key_file are two ways to log in: take one of them away"
    if snowflake and snowflake.private_key_passphrase and not snowflake.private_key_file:
        yield "snowflake.private_key_passphrase needs snowflake.private_key_file"
    if snowflake and snowflake.storage_integration and stage and stage.endpoint:
        yield "snowflake.storage_integration reads AWS alone, and stage.endpoint names another service: take one of them away"
    if kafka and kafka.engine == "kafka" and kafka.security != "SASL_SSL":
        for key in ("user", "password", "mechanism"):
            if key in kafka.model_fields_set:
                yield f'kafka.{key} says nothing beside kafka.security = "{kafka.security}": take one of them away'


@dataclass(frozen=True)
class Settings:
    """One profile, complete with its secrets."""

    profile: str
    file: Path
    values: Profile

    @property
    def source(self) -> Source:
        """The source; raises `SettingsError` when the profile names none."""
        return self._section("source", self.values.source, 'host = "db.example.com"')

    @property
    def stage(self) -> Stage:
        """The stage; raises `SettingsError` when the profile names none."""
        return self._section("stage", self.values.stage, 'url = "s3://your-bucket/migration/"')

    @property
    def snowflake(self) -> Snowflake:
        """The Snowflake target; raises `SettingsError` when the profile names none."""
        return self._section("snowflake", self.values.snowflake, 'account = "myorg-myaccount"')

    @property
    def databricks(self) -> Databricks:
        """The Delta target; raises `SettingsError` when the profile names none."""
        return self._section("databricks", self.values.databricks, 'host = "adb-1234.azuredatabricks.net"')

    @property
    def export(self) -> Export:
        """How the source is read."""
        return self.values.export

    @property
    def verify(self) -> Verify:
        """How it is compared."""
        return self.values.verify

    @property
    def approvals(self) -> Approvals:
        """Who may sign."""
        return self.values.approvals

    @property
    def evidence(self) -> Evidence:
        """Where sealed evidence is archived; raises `SettingsError` when the profile names no place."""
        return self._section("evidence", self.values.evidence, 'url = "s3://your-bucket/evidence/"')

    @property
    def evidence_stage(self) -> Stage:
        """The same as a location with credentials, which are the stage's where the section names none."""
        return self._locked_stage(self.evidence)

    @property
    def archive(self) -> Archive:
        """Where the legacy data are archived; raises `SettingsError` when the profile names no place."""
        return self._section("archive", self.values.archive, 'url = "s3://your-bucket/legacy/", retention_days = 3650')

    @property
    def archive_stage(self) -> Stage:
        """The same as a location with credentials, which are the stage's where the section names none."""
        return self._locked_stage(self.archive)

    @property
    def notify(self) -> Notify:
        """Who is told."""
        return self.values.notify

    @property
    def kafka(self) -> Kafka:
        """The brokers; raises `SettingsError` when the profile names none."""
        return self._section("kafka", self.values.kafka, 'bootstrap = "b-1.example.com:9096"')

    @property
    def aws(self) -> Aws:
        """The AWS account of the infrastructure; raises `SettingsError` when the profile names none."""
        return self._section("aws", self.values.aws, 'region = "eu-central-1"')

    @property
    def terraform(self) -> Terraform:
        """Where Terraform keeps what it knows."""
        return self.values.terraform

    @property
    def hybrid(self) -> Hybrid:
        """Which tables stay; raises `SettingsError` when the profile names none."""
        return self._section("hybrid", self.values.hybrid, 'stay = ["public.stores"]')

    @property
    def dns(self) -> Dns | None:
        """The record that readers use; None where no section names one, and the switch of readers is somebody else's."""
        return self.values.dns

    @property
    def cutover(self) -> Cutover:
        """How the sides are switched."""
        return self.values.cutover

    def with_workers(self, workers: int) -> Settings:
        """The same with another number of readers."""
        export = self.values.export.model_copy(update={"workers": workers})
        return replace(self, values=self.values.model_copy(update={"export": export}))

    def with_source(self, source: Source) -> Settings:
        """The same with another source."""
        return replace(self, values=self.values.model_copy(update={"source": source}))

    def _locked_stage(self, own: Locked) -> Stage:
        like = self.values.stage if own.access_key is None and own.endpoint is None else None
        return Stage(
            url=own.url,
            region=own.region or (like.region if like else "us-east-1"),
            endpoint=own.endpoint or (like.endpoint if like else None),
            access_key=own.access_key or (like.access_key if like else None),
            secret_key=own.secret_key or (like.secret_key if like else None),
        )

    @property
    def airflow(self) -> Airflow:
        """The Airflow that runs the pipelines; raises `SettingsError` when the profile names none."""
        return self._section("airflow", self.values.airflow, 'url = "https://airflow.example.com"')

    @property
    def dbt(self) -> Dbt:
        """Where dbt builds the marts."""
        return self.values.dbt

    @property
    def alerts(self) -> Alerts:
        """Where a test alarm is sent."""
        return self.values.alerts

    @property
    def marts_schema(self) -> str:
        """The schema of the marts."""
        return self.dbt.schema_ or f"{self.migrated_schema}_MARTS"

    @property
    def migrated_schema(self) -> str:
        """The schema of the migrated tables, which a DuckDB file takes over from Snowflake where the profile has one."""
        return self.values.snowflake.schema_ if self.values.snowflake else "MIGRATED"

    def _section(self, name: str, value: Section | None, example: str) -> Section:
        if value is None:
            raise SettingsError(
                f"read the section [profiles.{self.profile}.{name}]",
                on=str(self.file),
                why="it is not there",
                next_step=f"add it, for example: {example}",
            )
        return value


def location() -> Path:
    """The settings' file: what `RUNBOOK_SETTINGS_FILE` names, else `migration.toml` in the current folder, else in the project's."""
    if named := os.environ.get(LOCATION):
        return Path(named)
    return next((p for p in (Path.cwd() / FILE, PROJECT / FILE) if p.exists()), PROJECT / FILE)


def load(profile: str | None = None, file: Path | None = None) -> Settings:
    """Reads one profile and resolves the secrets it refers to.

    Args:
        profile: its name under `[profiles]`; without it, `RUNBOOK_PROFILE` or "local".
        file: without it, see `location`.

    Raises:
        SettingsError: a file, profile, key or secret is missing or wrong; names the key and where it was sought.
        LocalStackError: the profile lives on the local stack, and that is not up.
    """
    name, path, written = _written(profile, file)
    environment = {**dotenv_values(path.parent / ".env"), **os.environ}
    raw = _resolve(written, environment, f"profiles.{name}", path)
    if raw.get("stack") == "local":
        raw = local_stack().filled(raw, name, path)
    try:
        values = Profile.model_validate(raw)
    except ValidationError as error:
        raise _settings_error(error, name, path) from None
    sections = [section for _, section in values if isinstance(section, _Section)]
    for section in (*sections, *values.downstream.values()):
        for value in dict(section).values():
            if isinstance(value, SecretStr):
                remember(value.get_secret_value())
    return Settings(profile=name, file=path, values=values)


def load_approvals(profile: str | None = None, file: Path | None = None) -> Settings:
    """Reads of one profile only who may sign: no secret, and no local stack, is needed for that.

    Raises:
        SettingsError: as `load` does.
    """
    name, path, written = _written(profile, file)
    keys = {key: written[key] for key in ("stack", "approvals") if key in written}
    if keys.get("stack") == "local":
        keys["approvals"] = {"people": local_stack().signers(), **keys.get("approvals", {})}
    try:
        return Settings(profile=name, file=path, values=Profile.model_validate(keys))
    except ValidationError as error:
        raise _settings_error(error, name, path) from None


def source_from_dsn(variable: str) -> Source:
    """The source that the environment variable `variable` describes as a libpq DSN or URL.

    Raises:
        SettingsError: the variable is not set or is no DSN.
    """
    dsn = os.environ.get(variable)
    example = f"export {variable}='postgresql://user@host:5432/database'"
    if not dsn:
        raise SettingsError(
            f"read the environment variable {variable}", on="the environment", why="it is not set", next_step=example
        )
    try:
        return Source.model_validate(source_keys(dsn))
    except (ValidationError, psycopg2.ProgrammingError):
        raise SettingsError(
            f"parse the DSN in {variable}",
            on="the environment",
            why="libpq does not understand it, or it lacks host, dbname or user",
            next_step=example,
        ) from None


def local_source() -> Source:
    """The local stack's server, whatever the profile.

    Raises:
        LocalStackError: the stack is not up.
    """
    return Source.model_validate(local_stack().source())


def _written(profile: str | None, file: Path | None) -> tuple[str, Path, dict[str, Any]]:
    name = profile or os.environ.get("RUNBOOK_PROFILE") or DEFAULT_PROFILE
    path = file or location()
    whole = _parse(path)
    if unknown := next((key for key in whole if key != "profiles"), None):
        belongs = unknown in Profile.model_fields or (isinstance(whole[unknown], dict) and name in whole[unknown])
        raise SettingsError(
            f"read [{unknown}]",
            on=str(path),
            why="the file has nothing but tables under [profiles.NAME]",
            next_step=f"write it as [profiles.{name}{f'.{unknown}' if unknown in Profile.model_fields else ''}]"
            if belongs
            else "take it away, or correct its name",
        )
    tree = whole.get("profiles", {})
    if misplaced := next((key for key in tree if key != name and key in Profile.model_fields), None):
        raise SettingsError(
            f"read [profiles.{misplaced}]",
            on=str(path),
            why=f"it reads as a profile of that name, and {misplaced} is a section of a profile",
            next_step=f"write it as [profiles.{name}.{misplaced}], or give the profile another name",
        )
    if name not in tree:
        raise SettingsError(
            f"find profile {name!r}",
            on=str(path),
            why=f"the file has the profiles {', '.join(sorted(tree)) or '(none)'}",
            next_step=f"add [profiles.{name}], or name another with --profile",
        )
    return name, path, tree[name]


def source_keys(dsn: str) -> dict[str, Any]:
    """A libpq DSN or URL as keys of a section `source`; raises `psycopg2.ProgrammingError` for what is none."""
    parsed = parse_dsn(dsn)
    if "password" in parsed:
        parsed["password"] = Resolved(remember(parsed["password"]))
    return {key: value for key, value in parsed.items() if key in Source.model_fields}


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        why, next_step = "the file does not exist", f"create {FILE}; the project's own shows every key"
    except tomllib.TOMLDecodeError as error:
        why, next_step = f"it is not valid TOML: {error}", "correct that line"
    raise SettingsError("read the settings", on=str(path), why=why, next_step=next_step)


def _resolve(tree: dict[str, Any], environment: Mapping[str, str | None], at: str, path: Path) -> dict[str, Any]:
    resolved: dict[str, Any] = {}
    for key, value in tree.items():
        here = f"{at}.{key}"
        if isinstance(value, dict):
            reference = next((kind for kind in _REFERENCES if kind in value), None)
            if reference and (unread := sorted(set(value) - _KEYS_OF[reference])):
                raise SettingsError(
                    f"read {here}.{unread[0]}",
                    on=str(path),
                    why=f"a reference by {reference} has no such key",
                    next_step=f"take it away; its keys are {', '.join(sorted(_KEYS_OF[reference]))}",
                )
            resolved[key] = (
                Resolved(_REFERENCES[reference](value, environment, here, path))
                if reference
                else _resolve(value, environment, here, path)
            )
        else:
            resolved[key] = value
    return resolved


def _from_environment(reference: dict[str, str], environment: Mapping[str, str | None], at: str, path: Path) -> str:
    name = reference["env"]
    value = environment.get(name)
    if not value:
        raise SettingsError(
            f"read {at}",
            on=str(path),
            why=f"{name} is neither in the environment nor in {path.parent / '.env'}",
            next_step=f"set it, for example: export {name}=…",
        )
    return value


def _from_aws(reference: dict[str, str], environment: Mapping[str, str | None], at: str, path: Path) -> str:
    import boto3  # a tenth of a second of every command's start, for the few that need it
    from botocore.exceptions import BotoCoreError, ClientError

    name = reference["aws_secret"]
    try:
        answer = boto3.client("secretsmanager", region_name=reference.get("region")).get_secret_value(SecretId=name)
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(
            f"read {at}",
            on=f"AWS Secrets Manager, secret {name}",
            why=str(error),
            next_step="check the name, the region and that the role may call secretsmanager:GetSecretValue",
        ) from None
    return _field(answer.get("SecretString", ""), reference.get("key"), at, f"AWS Secrets Manager, secret {name}")


def _from_vault(reference: dict[str, str], environment: Mapping[str, str | None], at: str, path: Path) -> str:
    import requests

    address = _from_environment({"env": "VAULT_ADDR"}, environment, at, path)
    token = remember(_from_environment({"env": "VAULT_TOKEN"}, environment, at, path))
    where = f"Vault at {address}, path {reference['vault']}"
    try:
        answer = requests.get(
            f"{address.rstrip('/')}/v1/{reference['vault']}", headers={"X-Vault-Token": token}, timeout=10
        )
        answer.raise_for_status()
        data = answer.json()["data"]
    except (requests.RequestException, KeyError, ValueError) as error:
        raise SettingsError(
            f"read {at}", on=where, why=str(error), next_step="check VAULT_ADDR, VAULT_TOKEN and the path"
        ) from None
    # Version 2 of the key-value engine wraps the fields once more (https://developer.hashicorp.com/vault/api-docs).
    return _field(json.dumps(data["data"] if "metadata" in data else data), reference.get("key"), at, where)


def _field(secret: str, key: str | None, at: str, where: str) -> str:
    if key is None:
        return secret
    try:
        return str(json.loads(secret)[key])
    except (ValueError, KeyError, TypeError):
        raise SettingsError(
            f"read {at}", on=where, why=f"the secret has no field {key!r}", next_step="correct `key`"
        ) from None


_KEYS_OF = {"env": {"env"}, "aws_secret": {"aws_secret", "key", "region"}, "vault": {"vault", "key"}}
_REFERENCES = {"env": _from_environment, "aws_secret": _from_aws, "vault": _from_vault}


def _settings_error(error: ValidationError, profile: str, path: Path) -> SettingsError:
    found = error.errors(include_input=False, include_url=False)
    # A key that is missing may be the one that is misspelt.
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    key = ".".join(["profiles", profile, *(str(part) for part in first["loc"])])
    example = example_of(first["loc"])
    if first["type"] == "extra_forbidden":
        cure = _meant(profile, [str(part) for part in first["loc"]]) or f"correct it; {example}"
        return SettingsError(f"read {key}", on=str(path), why="there is no such key", next_step=cure)
    why = first["msg"].removeprefix("Value error, ")
    return SettingsError(f"read {key}", on=str(path), why=why, next_step=f"correct it; {example}")


def example_of(key: Sequence[str | int]) -> str:
    """What is written for a key, from its place within the profile: the same key means other things in other sections."""
    named = [part for part in key if isinstance(part, str)]
    by_name = _EXAMPLES.get(named[-1] if named else "", "see the commented profile in migration.toml")
    return _EXAMPLES.get(".".join(named[-2:]), by_name)


def _meant(profile: str, unknown: list[str]) -> str:
    """What a key that there is not was probably meant for: the nearest in its place, else its place elsewhere."""
    *place, key = unknown
    known = _keys(Profile) if not place else _SECTIONS.get(place[0], set())
    if near := difflib.get_close_matches(key, sorted(known), 1):
        return f"write {near[0]}" if key not in known else ""
    others = [name for name, keys in _SECTIONS.items() if key in keys and name not in place]
    if others:
        return "it belongs under " + " or ".join(f"[profiles.{profile}.{name}]" for name in others)
    if key in _SECTIONS:
        return f"it is a section: [profiles.{profile}.{key}]"
    return f"take it away; known here: {', '.join(sorted(known))}" if known else ""


def _keys(section: type[BaseModel]) -> set[str]:
    return {each.alias or name for name, each in section.model_fields.items()}


def _section_of(annotation: Any) -> type[BaseModel] | None:
    return next(
        (
            each
            for each in (annotation, *get_args(annotation))
            if isinstance(each, type) and issubclass(each, BaseModel)
        ),
        None,
    )


_SECTIONS = {
    name: _keys(section)
    for name, field in Profile.model_fields.items()
    if (section := _section_of(field.annotation)) is not None
}
"""The keys of each section by its name."""


_EXAMPLES = {
    "host": 'for example host = "db.example.com"',
    "databricks.host": 'for example host = "adb-1234.azuredatabricks.net"',
    "dbname": 'for example dbname = "sales"',
    "user": 'for example user = "migration"',
    "url": 'for example url = "s3://your-bucket/migration/"',
    "airflow.url": 'for example url = "https://airflow.example.com"',
    "databricks.url": 'for example url = "sc://spark.example.com:15002"',
    "zone": 'for example zone = "example.com"',
    "record": 'for example record = "sales.example.com"',
    "legacy": 'for example legacy = "legacy.example.com"',
    "modern": 'for example modern = "modern.example.com"',
    "stay": 'for example stay = ["crm.*", "invoices"]',
    "reads": 'for example reads = ["orders", "marts.sales_daily"]',
    "topic": 'for example topic = "sales"',
    "alerts.topic": 'for example topic = "arn:aws:sns:us-east-1:123456789012:pipeline"',
    "databricks": 'for example host = "adb-1234.azuredatabricks.net", cluster_id = "1125-…", token = { env = "DATABRICKS_TOKEN" }',
    "token": 'for example token = { env = "DATABRICKS_TOKEN" }',
    "kafka": 'for example bootstrap = "b-1.example.com:9096", user = "migration", password = { env = "KAFKA_PASSWORD" }',
    "bootstrap": 'for example bootstrap = "b-1.example.com:9096,b-2.example.com:9096"',
    "landing": 'for example landing = "s3://your-bucket/events/"',
    "account": 'for example account = "myorg-myaccount"',
    "database": 'for example database = "SALES"',
    "schema": 'for example schema = "MIGRATED"',
    "password": 'for example password = { env = "PGPASSWORD" }',
    "policies": 'for example "public.orders.note" = "text"',
    "people": 'for example alice = "keys/alice.pem.pub"',
    "retention_days": "for example retention_days = 365",
    "webhook": 'for example webhook = { env = "SLACK_WEBHOOK" }',
    "secret_key": 'for example secret_key = { env = "AWS_SECRET_ACCESS_KEY" }',
}
