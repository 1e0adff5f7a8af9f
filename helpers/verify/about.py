"""What a report page says beside the report: which servers, in which profile, under which settings."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import duckdb

from helpers.engines import engine
from helpers.engines.base import StandIn
from helpers.platforms import postgres
from helpers.verify.plan import VerifyPlan


@dataclass(frozen=True)
class About:
    """The circumstances of a verification.

    Attributes:
        profile: of migration.toml.
        source, target: the servers, as people name them; without credentials.
        stand_in: what of the local stack answers in the target's place; None where the target is itself.
        settings: what was compared otherwise than by value and under its own name, a sentence each.
    """

    profile: str = ""
    source: str = ""
    target: str = ""
    stand_in: StandIn | None = None
    settings: tuple[str, ...] = ()

    @property
    def on_stand_in(self) -> str:
        """What a verdict says behind its word where the target is not the service itself; else empty."""
        return f" on {self.stand_in}" if self.stand_in else ""

    @classmethod
    def from_plan(cls, plan: VerifyPlan) -> About:
        """What a plan tells of itself; no server is asked."""
        found = engine(plan.target)
        return cls(
            plan.settings.profile, _source(plan), found.address(plan.place), found.stand_in(plan.place), _settings(plan)
        )  # fmt: skip


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


def _settings(plan: VerifyPlan) -> tuple[str, ...]:
    columns = [(table.table, column) for table in plan.tables for column in table.columns]
    sentences = [
        f"{table}.{column.name}: numbers count as equal when they lie no more than {column.tolerance:g} apart."
        for table, column in columns
        if column.tolerance is not None
    ]
    sentences += [
        f"{table.table} is named {table.there.name} in the target."
        for table in plan.tables
        if table.there.name != table.table.name
    ]
    own = engine(plan.target).own_schema(plan.settings)
    schemas = dict.fromkeys((table.table.schema, table.there.schema) for table in plan.tables)
    if any(there != (own or source) for source, there in schemas):
        sentences += [f"Tables of the schema {source} are in the target's schema {there}." for source, there in schemas]
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
