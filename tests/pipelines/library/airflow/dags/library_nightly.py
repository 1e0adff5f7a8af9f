"""The library's figures of the month, in PostgreSQL, every night."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronTriggerTimetable

with DAG(
    dag_id="library_nightly",
    description="Loans by month in PostgreSQL.",
    schedule=CronTriggerTimetable("30 2 * * *", timezone="UTC", run_immediately=timedelta(0)),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["library"],
):
    BashOperator(task_id="refresh_months", bash_command="exec python nightly.py", append_env=True)
