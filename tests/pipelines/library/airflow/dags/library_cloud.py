"""The library's figures of the month, in Snowflake: what replaces `library_nightly`."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronTriggerTimetable

with DAG(
    dag_id="library_cloud",
    description="Loans by month and by branch in Snowflake.",
    schedule=CronTriggerTimetable("0 4 * * *", timezone="UTC", run_immediately=timedelta(0)),
    catchup=False,
    max_active_runs=1,
    tags=["library"],
):
    move = BashOperator(task_id="move", bash_command='exec "$RUNBOOK" load --target snowflake', append_env=True)
    marts = BashOperator(task_id="marts", bash_command='exec "$RUNBOOK" marts --no-parity', append_env=True)
    move >> marts
