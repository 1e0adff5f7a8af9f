"""What a report page says beside the report: which servers, in which profile, under which settings."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import duckdb

from helpers.platforms import postgres, snowflake, spark
from helpers.verify.plan import VerifyPlan

_STAND_INS = {"Snowflake": "fakesnow", "Databricks": "pysail"}


@dataclass(frozen=True)
class About:
    """The circumstances of a verification.

    Attributes:
        profile: of migration.toml.
        source, target: the servers, as people name them; without credentials.
        stand_in: the service that the local stack's target stands in for; empty where the target is itself.
        settings: what was compared otherwise than by value and under its own name, a sentence each.
    """

    profile: str = ""
    source: str = ""
    target: str = ""
    stand_in: Literal["", "Snowflake", "Databricks"] = ""
    settings: tuple[str, ...] = ()

    @property
    def on_stand_in(self) -> str:
        """What a verdict says behind its word where the target is not the service itself; else empty."""
        return f" on the stand-in {_STAND_INS[self.stand_in]}, no {self.stand_in}" if self.stand_in else ""

    @classmethod
    def of(cls, plan: VerifyPlan) -> About:
        """What a plan tells of itself; no server is asked."""
        return cls(plan.settings.profile, _source(plan), _target(plan), _stand_in(plan), _settings(plan))


def versions() -> dict[str, str]:
    """Of the programs that compared."""
    found = {"duckdb": duckdb.__version__}
    for name in ("migration-runbooks", "snowflake-connector-python", "psycopg2-binary"):
        with suppress(PackageNotFoundError):  # a clone that is run without being installed
            found[name] = version(name)
    return found


def _source(plan: VerifyPlan) -> str:
    if plan.source_name == "manifest" and plan.bucket:
        return f"the manifest of the export at {plan.bucket.location}; the source itself was not asked"
    return postgres.address(plan.source)


def _target(plan: VerifyPlan) -> str:
    match plan.target:
        case "snowflake":
            return snowflake.address(plan.settings.snowflake)
        case "databricks":
            return spark.address(plan.settings.databricks)
        case "stage":
            return f"the staged files at {plan.bucket.location}" if plan.bucket else ""
        case _:
            return postgres.address(plan.target_source or plan.source)


def _stand_in(plan: VerifyPlan) -> Literal["", "Snowflake", "Databricks"]:
    if plan.target == "snowflake" and plan.settings.values.stack == "local":
        return "Snowflake"
    if plan.target == "databricks" and plan.settings.databricks.engine == "pysail":
        return "Databricks"
    return ""


def _settings(plan: VerifyPlan) -> tuple[str, ...]:
    columns = [(table.table, column) for table in plan.tables for column in table.columns]
    sentences = [
        f"{table}.{column.name}: numbers count as equal when they lie no more than {column.tolerance:g} apart."
        for table, column in columns
        if column.tolerance is not None
    ]
    sentences += [
        f"{table.table} is named {table.there} in the target."
        for table in plan.tables
        if table.there != table.table.name
    ]
    sentences += [
        f"{table}.{column.name} is named {column.there} in the target."
        for table, column in columns
        if column.there != column.name
    ]
    sentences += [
        f"{table}.{column.name}: the policy {column.staged.policy} replaced {column.staged.touched:,} values at the export; "
        "the target was compared with what the policy makes of them."
        for table, column in columns
        if column.staged.policy and column.staged.touched
    ]
    return tuple(sentences)
