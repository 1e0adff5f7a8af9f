"""The modern sales pipeline, every night: PostgreSQL → stage → Snowflake, proved cell by cell, then the marts.

Each task is one command of this project, in the environment of this project; Airflow keeps its own. A task fails where the
command exits with another code than 0, and the tasks behind it do not run: marts are built from verified tables only. Retries
stay 0: 1 is an answer, which asking again does not change.

Which profile the tasks work with, and where its migration.toml lies, says the variable `migration_sources`, which
`runbooks/20_pipeline_configuration.ipynb` writes. It holds names; secrets are where migration.toml points.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

HOME = Path(os.environ.get("MIGRATION_RUNBOOKS_HOME") or Path(__file__).resolve().parents[3])

with DAG(
    dag_id="cloud_sales_pipeline_dag",
    description="Moves the sales tables to Snowflake, proves that every cell arrived, and builds the marts.",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 0},
    tags=["sales", "cloud"],
) as dag:

    def command(name: str, arguments: str) -> BashOperator:
        return BashOperator(
            task_id=name,
            bash_command=f'exec "$RUNBOOK" {arguments} --profile "$PROFILE"',
            cwd="{{ var.json.migration_sources.folder }}",
            # Values reach the shell as variables, never as a part of its text.
            env={
                "RUNBOOK": str(HOME / ".venv" / "bin" / "runbook"),
                "PROFILE": "{{ var.json.migration_sources.profile }}",
            },
            append_env=True,
        )

    # The snapshot is held until the verification has read it, and let go when it says equal.
    export = command("export", "export --hold-snapshot")
    load = command("load", "load --target snowflake")
    verify = command("verify", "verify --source postgresql --target snowflake")
    marts = command("marts", "marts --no-parity")

    export >> load >> verify >> marts
