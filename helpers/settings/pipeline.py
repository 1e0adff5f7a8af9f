"""The pipeline: its DAGs, its figures, its tests, its service levels and compliance rules, and how it is cut over."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from helpers.settings.section import Secret, Section, example


class Dags(Section):
    """The pipeline's DAGs in Airflow. What is not named here is not touched."""

    folder: Annotated[str | None, example("airflow/dags")] = None
    """The DAGs' files, which a rehearsal reads; relative to this file. Without it, Airflow alone knows them."""
    legacy: Annotated[tuple[str, ...], example(["library_nightly"])] = ()
    """Today's pipeline."""
    modern: Annotated[tuple[str, ...], example(["library_cloud"])] = ()
    """What replaces it."""
    retired: Annotated[tuple[str, ...], example(["library_2019"])] = ()
    """Switched off on every path."""
    variable: Annotated[str | None, example("migration_sources")] = None
    """Airflow's variable from which the DAGs learn profile and data sources; phase 20 writes it. Without it, none is written."""
    command: Annotated[tuple[str, ...], example(["make", "nightly"])] = ()
    """What runs today's pipeline once, in the folder of this file, where the profile has no Airflow."""

    @model_validator(mode="after")
    def _is_in_one_list(self) -> Dags:
        if twice := [name for name, n in Counter((*self.legacy, *self.modern, *self.retired)).items() if n > 1]:
            raise ValueError(f"{', '.join(twice)} stands there more than once; a DAG is legacy, modern or retired")
        return self


def _exact(value: object) -> object:
    """A tolerance as it was written, and not the binary fraction beside it."""
    if isinstance(value, dict):
        return {key: Decimal(str(each)) if isinstance(each, int | float) else each for key, each in value.items()}
    return value


class Figure(Section):
    """Numbers that source and target must agree on: the same question, asked of both. `{schema.table}` in a query is that relation
    of the source, and in the target the migrated table or the mart of that name; `{name}` is a mart, or the table that the source
    has under that name."""

    query: Annotated[str | None, example("SELECT month, loans FROM {loans.loans_per_month}")] = None
    """The question for both sides: SQL, or the path of a .sql file relative to this file. Numbers are exact, and ratios rounded."""
    source: Annotated[str | None, example("SELECT month, count(*) AS loans FROM {loans.loan} GROUP BY month")] = None
    """Instead of `query`: what the source is asked."""
    target: Annotated[str | None, example("SELECT month, loans FROM {loans_per_month}")] = None
    """Beside `source`: what the target is asked, in its own SQL."""
    recomputed: Annotated[str | None, example("SELECT month, count(*) AS loans FROM {loans.loan} GROUP BY month")] = (
        None
    )
    """Option C has no second side: the same numbers by another way, asked of the source."""
    key: Annotated[tuple[str, ...], example(["month"])] = ()
    """Columns that tell the rows apart; without them, the figure is one row."""
    tolerance: Annotated[
        dict[str, Annotated[Decimal, Field(ge=0)]], BeforeValidator(_exact), example({"average": 0.01})
    ] = Field(default_factory=dict)
    """Per column, how far two numbers may lie apart; without it, they are equal to the last digit."""
    reason: Annotated[
        str | None, example("the average of a float8 column, which two engines add up in another order")
    ] = None
    """Why; required beside `tolerance`."""

    @model_validator(mode="after")
    def _asks_both_sides(self) -> Figure:
        if (self.query is None) == (self.source is None) or (self.source is None) != (self.target is None):
            raise ValueError("a figure has either query, or source and target")
        if self.tolerance and not (self.reason or "").strip():
            raise ValueError("a tolerance needs a reason beside it: it is what a reader of the verdict sees")
        if self.reason is not None and not self.tolerance:
            raise ValueError("reason says nothing without a tolerance: take it away")
        if both := sorted(set(self.tolerance) & set(self.key)):
            raise ValueError(f"{', '.join(both)}: a column of the key has no tolerance")
        return self


class Tests(Section):
    """The pipeline's own tests. The command runs in the folder of this file, with the source as PGHOST, PGDATABASE, PGUSER and so on,
    the target as SNOWFLAKE_… or DATABRICKS_…, and RUNBOOK_PROFILE and RUNBOOK_OPTION in its environment."""

    __test__ = False

    command: Annotated[tuple[str, ...], example(["pytest", "tests/functional", "--junitxml=report.xml"])] = ()
    """The functional tests: any command that writes a JUnit report; it is started without a shell."""
    report: Annotated[str | None, example("report.xml", min_length=1)] = None
    """The JUnit report, relative to this file. Instead of it, `{report}` in the command is a path for it. A report that the command
    did not write is none."""
    timeout_seconds: float = Field(default=3600.0, gt=0)
    """After so long the command is ended, and nothing has passed."""
    queries: Annotated[str | None, example("sql/checks")] = None
    """Option C: a folder of .sql files, relative to this file. Each is a query of the source, and a row that it finds is wrong."""

    @model_validator(mode="after")
    def _has_a_report(self) -> Tests:
        if bool(self.command) != (self.report is not None or any("{report}" in part for part in self.command)):
            raise ValueError("command and report belong together: the report is what says which tests passed")
        return self


def _named(value: object) -> Any:
    """A list of files as a table, each by its own name."""
    return {str(each): str(each) for each in value} if isinstance(value, list | tuple) else value


class Sla(Section):
    """What the present pipeline has promised, and the queries by which it is measured."""

    queries: Annotated[
        dict[str, str], BeforeValidator(_named), example({"loans_per_month": "sql/loans_per_month.sql"})
    ] = Field(default_factory=dict)
    """What is timed: by name, SQL or the path of a .sql file relative to this file; or a list of files. Of a file's `INSERT INTO …
    SELECT` only the SELECT runs, under the table's name."""
    views: Annotated[tuple[str, ...], example(["loans.overdue"])] = ()
    """Views and materialized views that are timed too, as "name" or "schema.name"."""
    seconds: Annotated[dict[str, Annotated[float, Field(gt=0)]], example({"loans_per_month": 300})] = Field(
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
    personal: Annotated[tuple[str, ...] | None, example(["members.person.*"])] = None
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
    query: Annotated[str | None, example('SELECT SUM("loans") FROM "loans_per_month"')] = None
    """What readers ask the target, in its SQL; without it, the rows of the largest table are counted."""
    probes: int = Field(default=20, ge=1)
    """How often it is asked behind each step of the switch."""
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    """Maximum share of probes that fail; above it, the switch is taken back."""
    max_latency_seconds: float = Field(default=5.0, gt=0)
    """Maximum 95th-percentile latency of the probes, in seconds."""
    dashboard: Annotated[str | None, example("library-pipeline", pattern=r"^[A-Za-z0-9_-]+$")] = None
    """Name of the CloudWatch dashboard; without it, none is made."""
    metrics: Annotated[
        tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...],
        example([["Library", "FailedRuns", "Pipeline", "loans"]]),
    ] = ()
    """What the dashboard draws, a graph each: namespace, metric, then names and values of its dimensions."""
