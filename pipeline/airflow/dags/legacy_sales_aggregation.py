"""The legacy aggregation in PostgreSQL, every night, under its name of today and under the deprecated one.

Both do the same, `runbook aggregate`: raw orders → star → totals by day and by month, in one transaction. Only one of them is to
be on; a run that finds the other at work waits for its transaction. The variable `migration_sources` says what they work with, as
in cloud_sales_pipeline_dag.py; without it the profile is RUNBOOK_PROFILE or local, as for
every command, for these DAGs are older than that variable.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

HOME = Path(os.environ.get("MIGRATION_RUNBOOKS_HOME") or Path(__file__).resolve().parents[3])
PROFILE = os.environ.get("RUNBOOK_PROFILE") or "local"
START = datetime(2026, 1, 1, tzinfo=UTC)


def aggregate() -> BashOperator:
    return BashOperator(
        task_id="aggregate",
        bash_command='exec "$RUNBOOK" aggregate --profile "$PROFILE"',
        cwd="{{ var.json.get('migration_sources', {}).get('folder', '" + str(HOME) + "') }}",
        env={
            "RUNBOOK": str(HOME / ".venv" / "bin" / "runbook"),
            "PROFILE": "{{ var.json.get('migration_sources', {}).get('profile', '" + PROFILE + "') }}",
        },
        append_env=True,
    )


with DAG(
    dag_id="legacy_postgres_sales_aggregation",
    description="Totals by day and by month in PostgreSQL.",
    schedule="0 1 * * *",
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 0},
    tags=["sales", "legacy"],
) as legacy:
    aggregate()

with DAG(
    dag_id="sales_data_aggregation",
    description="Deprecated: legacy_postgres_sales_aggregation under its former name.",
    schedule="0 1 * * *",
    start_date=START,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,  # what a source that has not been migrated runs
    default_args={"retries": 0},
    tags=["sales", "legacy", "deprecated"],
) as deprecated:
    aggregate()
