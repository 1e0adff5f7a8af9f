"""The pipeline: its service levels, its compliance rules, and how it is cut over."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from helpers.settings.section import Secret, Section, example


class Sla(Section):
    """What the present pipeline has promised, and the queries by which it is measured."""

    queries: tuple[str, ...] = ("pipeline/legacy/40_aggregates.sql",)
    """Files whose `INSERT INTO … SELECT` are timed, relative to this file or to the project; only the SELECT runs."""
    views: Annotated[tuple[str, ...], example(["open_orders"])] = ()
    """Views and materialized views that are timed too, as "name" or "schema.name"."""
    seconds: Annotated[dict[str, Annotated[float, Field(gt=0)]], example({"sales_daily": 300})] = Field(
        default_factory=dict
    )
    """Per table that a query fills, or per view: how long it may take."""
    total_seconds: Annotated[float | None, example(900, gt=0)] = None
    """How long all of them may take, one after the other."""
    repeat: int = Field(default=3, ge=1, le=100)
    """How often each is timed."""


class Compliance(Section):
    """What security and privacy ask for; the assessment checks the source and the stage against it."""

    require_tls: bool = True
    """Whether every connection to the source must be encrypted."""
    superusers: Annotated[tuple[str, ...], example(["rdsadmin"])] = ()
    """Superusers that may be connected while the source is assessed, such as the provider's own."""
    personal: Annotated[tuple[str, ...] | None, example(["public.customers.*"])] = None
    """Globs over "schema.table.column" with personal data that may move; where given, another such column stops the phase."""
    regions: Annotated[tuple[str, ...], example(["eu-central-1"])] = ()
    """Where the stage may lie; empty for anywhere."""
    encrypted_stage: bool = False
    """Whether the stage's bucket must be encrypted."""
    versioned_stage: bool = False
    """Whether the stage's bucket must keep versions."""


class Legacy(Section):
    """What is known of the present pipeline beside what it does; the recommendation of a path is scored on it."""

    supported_until: Annotated[date | None, example(date(2027, 6, 30))] = None
    """The last day on which its components are supported; without it, that of the source's version of PostgreSQL counts."""


class Cutover(Section):
    """How the source is frozen, what is switched, and when the switch is taken back."""

    application: Annotated[str | None, example("sales_app")] = None
    """The role by which the application writes to the source; the freeze is tested as this role."""
    application_password: Annotated[Secret, example({"env": "SALES_APP_PASSWORD"})] = None
    """That role's password."""
    patience_seconds: float = Field(default=30.0, ge=0)
    """How long a writing transaction that is open may take to end by itself."""
    end_writers: bool = False
    """Whether it is then ended; otherwise the freeze is given up, and the session is named."""
    legacy_dags: tuple[str, ...] = ("sales_data_aggregation",)
    """DAGs that are switched off."""
    modern_dags: tuple[str, ...] = ("cloud_sales_pipeline_dag",)
    """DAGs that are switched on."""
    query: Annotated[str | None, example('SELECT SUM(sales) FROM "sales_daily"')] = None
    """What readers ask the target, in its SQL; without it, the rows of the largest table are counted."""
    probes: int = Field(default=20, ge=1)
    """How often it is asked behind each step of the switch."""
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    """Maximum share of probes that fail; above it, the switch is taken back."""
    max_latency_seconds: float = Field(default=5.0, gt=0)
    """Maximum 95th-percentile latency of the probes, in seconds."""
    dashboard: str = Field(default="sales-pipeline", pattern=r"^[A-Za-z0-9_-]+$")
    """Name of the CloudWatch dashboard."""
