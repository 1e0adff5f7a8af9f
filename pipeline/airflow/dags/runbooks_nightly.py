"""The phases up to the tests, every night, one task a phase, for Airflow 3.3.

A task runs the command `runbook`, so the evidence is the same as from a terminal. What its exit codes become here:

| code | meaning | the task |
|---|---|---|
| 0 | done and true | success |
| 1 | the answer is no | failed, and not retried: the same question has the same answer |
| 2 | could not run | failed; where the error may pass, the command itself has tried it again by then |
| 3 | awaiting a person | skipped, and with it the tasks behind it |
| 4 | aborted | failed |

A skipped task is not a failed one, so the DAG run ends as a success that did not come to its end: after the person has signed
(`runbook attest`, `runbook approve`), clear the skipped task, and the run goes on there. Airflow's own `retries` stay 0,
because Airflow cannot tell a "no" from a lost connection. Cutover and what follows it are never scheduled.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param

HOME = Path(os.environ.get("MIGRATION_RUNBOOKS_HOME") or Path(__file__).resolve().parents[3])
LAST = 40
PHASES = sorted(path.stem for path in (HOME / "runbooks").glob("[0-9][0-9]_*.ipynb") if int(path.stem[:2]) <= LAST)

AWAITING = 3
COMMAND = 'exec .venv/bin/runbook run "$PHASE" --run "$RUN" --option "$OPTION" --profile "$PROFILE" "$MODE" --retries 3 --quiet'

with DAG(
    dag_id="runbooks_nightly",
    description="Rehearses, or applies, the migration's phases up to the tests.",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 0},
    params={
        "profile": Param("production", type="string", pattern="^[A-Za-z0-9_-]+$"),
        "option": Param("A", enum=["A", "B", "C"]),
        "apply": Param(False, type="boolean", description="Act; otherwise every phase only plans."),
    },
    tags=["migration"],
) as dag:
    former = None
    for phase in PHASES:
        task = BashOperator(
            task_id=phase,
            bash_command=COMMAND,
            cwd=str(HOME),
            # Values reach the shell as variables, never as a part of its text.
            env={
                "PHASE": phase,
                "RUN": "nightly-{{ dag_run.run_after.strftime('%Y%m%dT%H%M%SZ') }}",
                "OPTION": "{{ params.option }}",
                "PROFILE": "{{ params.profile }}",
                "MODE": "{{ '--apply' if params.apply else '--rehearse' }}",
            },
            append_env=True,
            skip_on_exit_code=AWAITING,
        )
        if former is not None:
            former >> task
        former = task
