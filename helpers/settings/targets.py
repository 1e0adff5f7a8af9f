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
    """Any Spark Connect server; for Databricks, `host` and `cluster_id` instead."""
    host: Annotated[str | None, example("adb-1234.azuredatabricks.net")] = None
    """The Databricks workspace."""
    cluster_id: Annotated[str | None, example("1125-103012-abcdef12")] = None
    """A cluster that Databricks Connect may use."""
    token: Annotated[Secret, example({"env": "DATABRICKS_TOKEN"})] = None
    """A personal access token, or a service principal's."""
    catalog: Annotated[str | None, example("main")] = None
    """Unity Catalog's catalog; without it, the server's current one."""
    schema_: Annotated[str, example("migrated")] = Field(alias="schema")
    """Schema of the tables."""
    delta_root: Annotated[str | None, AfterValidator(plain_location), example("s3://your-bucket/delta/")] = None
    """Prefix below which each table has its folder; without it, the catalog decides where a table lies."""
    files: Literal["s3", "s3a"] = "s3"
    """URL scheme by which the server reads the stage: Databricks knows s3, Apache Spark with hadoop-aws only s3a."""
    engine: Literal["spark", "pysail"] = "spark"
    """"pysail" is the local stack's server, which starts when it is first needed."""
    connect_timeout_seconds: float = Field(default=180.0, ge=1)
    """Time within which a session must be there, repetitions included: a stopped cluster may start meanwhile."""

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
