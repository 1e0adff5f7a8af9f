"""What a run records of its servers is what they say of themselves.

Would catch: a stand-in that passes for the service because the profile calls itself something else; a server that does not
answer and stops the record of the others.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from helpers.checker.environment import environment_from_ledger
from helpers.checker.ledger_reader import read
from helpers.checker.rule import stand_ins
from helpers.ledger.ledger import Ledger
from helpers.ledger.steps import Run
from helpers.phases.common.servers import record_servers


def recorded(folder: Path, settings: Any) -> Any:
    ledger = Ledger.open(folder)
    record_servers(settings, Run(ledger, "30_data_migration", "attempt-01"))
    return ledger.entries()[-1]


def test_servers_are_asked_what_they_are(migration: Any, tmp_path: Path) -> None:
    values = migration.settings.values.model_copy(update={"stack": None})
    line = recorded(tmp_path, replace(migration.settings, profile="production", values=values))
    servers = line.get("servers")
    assert servers["PostgreSQL"]["version"].startswith("PostgreSQL ")
    assert servers["PostgreSQL"]["role"] == migration.settings.source.user
    assert "stand-in" in servers["Snowflake"]["version"]
    assert (servers["Snowflake"]["role"], servers["Snowflake"]["account"]) == ("MIGRATION_ROLE", "LOCAL")
    assert servers["Snowflake"]["time_zone"] == "UTC"
    assert line.get("stand_ins")["Snowflake"] == "fakesnow"
    lines, _ = read((tmp_path / "ledger.jsonl").read_bytes())
    assert "Snowflake (fakesnow)" in stand_ins(lines)
    assert environment_from_ledger(lines)["servers"][0]["PostgreSQL"] == servers["PostgreSQL"]


def test_a_server_that_does_not_answer_is_recorded_with_its_error(migration: Any, tmp_path: Path) -> None:
    gone = migration.settings.with_source(migration.settings.source.model_copy(update={"port": 1}))
    servers = recorded(tmp_path, gone).get("servers")
    assert "Could not" in servers["PostgreSQL"]["error"]
    assert "version" in servers["Snowflake"]
