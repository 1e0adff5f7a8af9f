"""The targets, and who reads them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from helpers.settings.section import Address, Secret, Section, Server, example, plain_location
from helpers.settings.snowflake import Snowflake as Snowflake
from helpers.settings.snowflake import SnowflakeLogin as SnowflakeLogin


class Databricks(Server):
    """The Spark Connect server, and where the Delta tables go."""

    adapter: ClassVar[str] = "databricks"
    url: Annotated[Address | None, example("sc://spark.example.com:15002", pattern=r"^sc://[^;]+$")] = None
    """Any Spark Connect server; for Databricks, `host` instead."""
    host: Annotated[str | None, example("adb-1234.azuredatabricks.net", pattern=r"^[A-Za-z0-9.-]+(:\d+)?$")] = None
    """The Databricks workspace, without https://."""
    cluster_id: Annotated[str | None, example("1125-103012-abcdef12")] = None
    """A cluster that Databricks Connect may use: dedicated or standard access mode."""
    serverless: Annotated[bool, example(True)] = False
    """Databricks' serverless compute instead of a cluster."""
    client_id: Annotated[str | None, example("2c7c2e1a-8f5b-4f2e-9c55-6a1f7d0c9b3e")] = None
    """A service principal's application id: OAuth for machines (M2M), whose hourly tokens are renewed."""
    client_secret: Annotated[Secret, example({"env": "DATABRICKS_CLIENT_SECRET"})] = None
    """The OAuth secret of `client_id`."""
    federation: Annotated[Literal["github-oidc", "env-oidc", "file-oidc"] | None, example("github-oidc")] = None
    """Instead of a secret, an identity token that a federation policy of Databricks trusts: GitHub's, or one in the variable or
    file that databricks-sdk reads (DATABRICKS_OIDC_TOKEN, DATABRICKS_OIDC_TOKEN_FILEPATH)."""
    token: Annotated[Secret, example({"env": "DATABRICKS_TOKEN"})] = None
    """A personal access token; of a Spark server of your own, what its proxy asks for."""
    catalog: Annotated[str | None, example("main")] = None
    """Unity Catalog's catalog; without it, the server's current one."""
    schema_: Annotated[str, example("migrated")] = Field(alias="schema")
    """Schema of the tables."""
    delta_root: Annotated[str | None, AfterValidator(plain_location), example("s3://your-bucket/delta/")] = None
    """Prefix below which each table has its folder; without it, the catalog decides where a table lies."""
    cluster_by: Annotated[dict[str, tuple[str, ...]], example({"loans.loan": ["borrowed_on", "branch"]})] = Field(
        default_factory=dict
    )
    """Liquid clustering: by a table of the source or a glob, up to four of its columns; `[]` ends it, and a table that is not
    named stays as it is."""
    files: Literal["s3", "s3a"] = "s3"
    """URL scheme by which the server reads the stage: Databricks knows s3, Apache Spark with hadoop-aws only s3a."""
    engine: Literal["spark", "pysail", "apache-spark"] = "spark"
    """"pysail" and "apache-spark" are the local stack's servers, which start when they are first needed."""
    parallel: int = Field(default=4, ge=1, le=16)
    """Tables that are loaded, or compared where they are small, at the same time, as statements of one session; the cluster's size
    decides what that gains."""
    connect_timeout_seconds: float = Field(default=180.0, ge=1)
    """Time within which a session must be there, repetitions included: a stopped cluster may start meanwhile."""

    @model_validator(mode="after")
    def _is_reachable(self) -> Databricks:
        if self.engine == "pysail" and self.cluster_by:
            raise ValueError("cluster_by: pysail clusters no table")
        if self.engine != "spark":
            if not self.delta_root:
                raise ValueError(f"{self.engine} keeps no catalog, so it needs a delta_root")
            if self.engine == "apache-spark" and not self.token:
                raise ValueError(
                    'apache-spark is the local stack\'s: the profile needs stack = "local", which knows its token'
                )
        elif bool(self.url) == bool(self.host):
            raise ValueError('name the server: either url = "sc://…", or host for Databricks')
        elif self.host:
            if bool(self.cluster_id) == self.serverless:
                raise ValueError("Databricks needs either cluster_id or serverless = true beside host")
            if bool(self.client_id) and not (self.client_secret or self.federation):
                raise ValueError("client_id needs client_secret, or federation, beside it")
            if [bool(self.token), bool(self.client_secret), bool(self.federation)].count(True) != 1:
                raise ValueError(
                    "Databricks needs one login beside host: client_id and client_secret, federation, or token"
                )
            if self.client_secret and not self.client_id:
                raise ValueError("client_secret needs client_id beside it")
        elif self.cluster_id or self.serverless or self.client_id or self.client_secret or self.federation:
            raise ValueError(
                "cluster_id, serverless, client_id, client_secret and federation are Databricks': name its host, not a url"
            )
        return self


Target = Snowflake | Databricks
"""What a load fills; its `adapter` names the engine in the registry of `helpers.engines`, and the section."""

TARGETS: tuple[str, ...] = tuple(section.adapter for section in get_args(Target))
"""The names of the engines that a load fills, the one that a pipeline writes first."""


class Dbt(Section):
    """The project that builds the marts, and where."""

    project: Annotated[str | None, example("dbt")] = None
    """The folder with dbt_project.yml, relative to this file; without it, the pipeline has no dbt."""
    select: Annotated[tuple[str, ...], example(["+marts"])] = ()
    """dbt's selectors; without them, the whole project is built."""
    engine: Literal["snowflake", "duckdb"] = "snowflake"
    """"duckdb" builds them in a file with the staged tables: without an account, and in CI."""
    schema_: Annotated[str | None, example("MARTS")] = Field(default=None, alias="schema")
    """Schema of the marts; without it, the target's with _MARTS behind its name."""
    threads: int = Field(default=4, ge=1, le=64)
    """Models built at the same time."""


class Downstream(SnowflakeLogin):
    """A system that reads the target: what it reads, and as whom. The assessment's list has its name."""

    reads: Annotated[tuple[str, ...], example(["loans", "marts.loans_per_month"], min_length=1)]
    """Tables of the target, or marts as "marts.NAME"; on option C tables of the source, and a mart is the aggregate of its
    name."""
    user: Annotated[str | None, example("FINANCE_BI")] = None
    """The system's own user of the target (option C: role of the source). Without it the check reads as the migration's user,
    and says so."""
    role: Annotated[str | None, example("BI_READER")] = None
    """Its role in Snowflake."""
    warehouse: Annotated[str | None, example("BI_WH")] = None
    """Its warehouse in Snowflake."""

    @model_validator(mode="after")
    def _logs_in_as_somebody(self) -> Downstream:
        if self.method and not self.user:
            raise ValueError("a login needs the name of the user: write user beside it")
        return self
