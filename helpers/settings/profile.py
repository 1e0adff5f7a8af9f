"""A profile: all sections of one environment, and which combinations of them contradict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from helpers.errors import SettingsError, UsageError
from helpers.settings import elsewhere as elsewhere_steps
from helpers.settings.backup import STEPS as PROVED_BY_A_BACKUP
from helpers.settings.backup import Backup
from helpers.settings.elsewhere import Elsewhere
from helpers.settings.local_stack import local_stack
from helpers.settings.people import Approvals, Contact
from helpers.settings.pipeline import Compliance, Cutover, Dags, Figure, Legacy, Sla, Tests
from helpers.settings.problems import example_of
from helpers.settings.section import Section
from helpers.settings.services import Airflow, Alerts, Aws, Dns, Kafka, Notify, Terraform
from helpers.settings.source import Certification, Export, Source, Verify
from helpers.settings.stage import Archive, Evidence, Stage
from helpers.settings.sync import SyncOptions
from helpers.settings.tables import Tables
from helpers.settings.targets import TARGETS, Databricks, Dbt, Downstream, Snowflake, Target

Part = TypeVar("Part")

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""A Snowflake that answers here is none."""

_STAND_INS = {
    "pysail": "pysail",
    "apache-spark": "Apache Spark on this machine",
    "noida-db": "noida-db",
    "moto": "moto",
}
"""Engines that stand in for a service, as people say them."""


class Profile(BaseSettings):
    """Everything one environment needs; what is absent is asked for by the command that needs it."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, validate_default=False)

    stack: Literal["local"] | None = Field(default=None, examples=["local"])
    """"local": what a section does not name comes from the embedded stack (`runbook local up`)."""
    source: Source | None = None
    stage: Stage | None = None
    snowflake: Snowflake | None = None
    databricks: Databricks | None = Field(
        default=None,
        examples=[
            {"host": "adb-1234.azuredatabricks.net", "cluster_id": "1125-…", "token": {"env": "DATABRICKS_TOKEN"}}
        ],
    )
    tables: Tables = Tables()
    export: Export = Export()
    sync: SyncOptions = SyncOptions()
    verify: Verify = Verify()
    certification: Certification = Certification()
    approvals: Approvals = Approvals()
    escalation: tuple[Contact, ...] = ()
    evidence: Evidence | None = None
    archive: Archive | None = None
    notify: Notify = Notify()
    kafka: Kafka | None = Field(
        default=None,
        examples=[{"bootstrap": "b-1.example.com:9096", "user": "migration", "password": {"env": "KAFKA_PASSWORD"}}],
    )
    aws: Aws | None = Field(default=None, examples=[{"region": "eu-central-1"}])
    terraform: Terraform = Terraform()
    dags: Dags = Dags()
    figures: dict[str, Figure] = Field(default_factory=dict)
    tests: Tests = Tests()
    sla: Sla | None = None
    compliance: Compliance | None = None
    legacy: Legacy = Legacy()
    airflow: Airflow | None = None
    dbt: Dbt = Dbt()
    alerts: Alerts = Alerts()
    downstream: dict[str, Downstream] = Field(default_factory=dict)
    dns: Dns | None = None
    cutover: Cutover = Cutover()
    elsewhere: dict[str, Elsewhere] = Field(default_factory=dict)
    backup: Backup = Backup()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but what it is made of; `loading` adds the environment, the file and the local stack."""
        return (init_settings,)

    @model_validator(mode="after")
    def _every_key_has_an_effect(self) -> Profile:
        if why := next(_without_effect(self), None):
            raise ValueError(why)
        return self


def _without_effect(profile: Profile) -> Iterator[str]:
    """Keys that another key of the profile would make nobody read."""
    yield from elsewhere_steps.problems(profile.elsewhere)
    stage, snowflake, kafka = profile.stage, profile.snowflake, profile.kafka
    if snowflake and snowflake.storage_integration and stage and stage.endpoint:
        yield "snowflake.storage_integration reads AWS alone, and stage.endpoint names another service: take one of them away"
    if kafka and kafka.engine == "kafka" and not kafka.sasl:
        for key in ("user", "password", "mechanism"):
            if key in kafka.model_fields_set:
                yield f'kafka.{key} says nothing beside kafka.security = "{kafka.security}": take one of them away'


class _Part(Generic[Part]):
    """A section of the profile by its own name; raises `SettingsError` where the profile has none."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, settings: Settings, owner: type) -> Part:
        section = getattr(settings.values, self._name)
        if section is None:
            raise SettingsError(
                f"read the section [profiles.{settings.profile}.{self._name}]",
                on=str(settings.file),
                why="it is not there",
                next_step=f"add it, {example_of(Profile, (self._name,))}",
            )
        return cast(Part, section)


class _SourcePart(_Part[Source]):
    """The source, whose sessions have the salt of the profile's masks."""

    def __get__(self, settings: Settings, owner: type) -> Source:
        found, salt = super().__get__(settings, owner), settings.values.tables.mask_salt
        return found.with_mask_salt(salt) if salt else found


@dataclass(frozen=True)
class Settings:
    """One profile, complete with its secrets."""

    profile: str
    file: Path
    values: Profile

    source = _SourcePart()
    stage = _Part[Stage]()
    snowflake = _Part[Snowflake]()
    databricks = _Part[Databricks]()
    tables = _Part[Tables]()
    export = _Part[Export]()
    sync = _Part[SyncOptions]()
    verify = _Part[Verify]()
    certification = _Part[Certification]()
    approvals = _Part[Approvals]()
    escalation = _Part[tuple[Contact, ...]]()
    evidence = _Part[Evidence]()
    archive = _Part[Archive]()
    notify = _Part[Notify]()
    kafka = _Part[Kafka]()
    aws = _Part[Aws]()
    terraform = _Part[Terraform]()
    legacy = _Part[Legacy]()
    cutover = _Part[Cutover]()
    airflow = _Part[Airflow]()
    dbt = _Part[Dbt]()
    dags = _Part[Dags]()
    figures = _Part[dict[str, Figure]]()
    tests = _Part[Tests]()
    alerts = _Part[Alerts]()
    backup = _Part[Backup]()

    @property
    def follows(self) -> bool:
        """Whether the profile says that changes are followed after the copy: it has a section for that, be it empty."""
        return "sync" in self.values.model_fields_set

    @property
    def targets(self) -> dict[str, Target]:
        """The targets that the profile has, by the names of their engines."""
        return {name: section for name in TARGETS if (section := getattr(self.values, name))}

    def target(self, name: str) -> Target:
        """One of `TARGETS`.

        Raises:
            SettingsError: the profile has no section of that name.
        """
        return cast(Target, getattr(self, name))

    @property
    def main_target(self) -> Target:
        """The target that the pipeline writes: Snowflake, or the Delta tables of a profile that has no Snowflake.

        Raises:
            SettingsError: the profile has no target.
        """
        return self.target(next(iter(self.targets), TARGETS[0]))

    @property
    def dns(self) -> Dns | None:
        """The record that readers follow; None where no section names one, and the switch of readers is somebody else's."""
        return self.values.dns

    @property
    def evidence_stage(self) -> Stage:
        """Where sealed evidence is archived, with credentials."""
        return self.evidence.as_stage(self.values.stage)

    @property
    def archive_stage(self) -> Stage:
        """Where the legacy data are archived, with credentials."""
        return self.archive.as_stage(self.values.stage)

    def path(self, written: str) -> Path:
        """A file or folder that the profile names, relative to the settings' file."""
        return self.file.parent / written

    @property
    def elsewhere(self) -> dict[str, Elsewhere]:
        """What exists elsewhere, by the step on which a person gives the word."""
        there = frozenset(name for name in Profile.model_fields if getattr(self.values, name) is not None)
        found, backup = elsewhere_steps.by_step(self.values.elsewhere, there), self.values.backup.existing
        return {step: backup.as_elsewhere for step in PROVED_BY_A_BACKUP if backup} | found

    @property
    def marts_schema(self) -> str:
        """The schema of the marts."""
        return self.dbt.schema_ or f"{self.migrated_schema}_MARTS"

    @property
    def migrated_schema(self) -> str:
        """The schema of the migrated tables, which a DuckDB file takes over from Snowflake where the profile has one."""
        return self.values.snowflake.schema_ if self.values.snowflake else "MIGRATED"

    @property
    def whom_to_call(self) -> str:
        """The contacts, a line each, for whoever a failure's remedy does not help; or how to name some."""
        if not self.escalation:
            return f"no escalation contact is set: add [[profiles.{self.profile}.escalation]] with name, role and reach to {self.file}"
        return "\n".join(
            ["if that does not help, escalate to:", *(f"  {n}. {c}" for n, c in enumerate(self.escalation, 1))]
        )

    @property
    def stand_ins(self) -> dict[str, str]:
        """What stands in for a service, by the service; empty where each is itself."""
        own = self.values
        host = str(own.snowflake.connect.get("host")) if own.snowflake else ""
        found = {"Snowflake": "fakesnow"} if host in _LOOPBACK else {}
        sections = {"Databricks": own.databricks, "Kafka": own.kafka, "AWS": own.aws}
        engines = {service: section.engine for service, section in sections.items() if section}
        return found | {service: _STAND_INS[engine] for service, engine in engines.items() if engine in _STAND_INS}

    def with_workers(self, workers: int) -> Settings:
        """The same with another number of readers."""
        return self._with(export=self.export.model_copy(update={"workers": workers}))

    def with_source(self, source: Source) -> Settings:
        """The same with another source."""
        return self._with(source=source)

    def for_option(self, option: str) -> Settings:
        """The same for one migration path: on option C nothing moves, so that nothing is left behind either.

        Args:
            option: "A", "B" or "C".

        Raises:
            UsageError: tables stay, and the path moves every table.
        """
        stay = self.values.tables.stay
        if option == "A" and stay:
            raise UsageError(
                "take option A",
                on=f"[profiles.{self.profile}.tables] stay",
                why=f"option A moves every table, and {', '.join(stay)} would stay",
                next_step="take option B (--option B), or take stay away; what no side needs belongs under exclude",
            )
        if option == "C" and stay:
            return self.with_tables(self.values.tables.model_copy(update={"stay": {}}))
        if option == "B" and not stay and self.values.stack == "local" and self.values.source:
            own = local_stack().hybrid_stay(self.values.source)
            return self.with_tables(self.values.tables.model_copy(update={"stay": own}))
        return self

    @property
    def undescribed(self) -> Settings:
        """The same, every table of the source whole: what a backup or an archive holds, whatever moves."""
        return self.with_tables(Tables())

    def with_tables(self, tables: Tables) -> Settings:
        """The same with another description of what moves."""
        return self._with(tables=tables)

    def _with(self, **sections: Section) -> Settings:
        return replace(self, values=self.values.model_copy(update=sections))
