"""What each server of a profile reports about itself, for the record: version, role, time zone, account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from helpers.errors import MigrationError
from helpers.ledger.steps import Run
from helpers.platforms import snowflake, spark
from helpers.settings import Settings
from helpers.source.asking import asking

_STAND_IN = "stand-in"
"""What the local stand-in for Snowflake has in its version."""


def record_servers(settings: Settings, run: Run) -> None:
    """Asks each server what it is, and writes the answers into the run's ledger; nothing outside a run.

    A server that does not answer is recorded with its error, and met again by the step that needs it.
    """
    if run.ledger is None:
        return
    asked: dict[str, Callable[[], Mapping[str, Any]]] = {"PostgreSQL": lambda: _postgres(settings)}
    if settings.values.snowflake:
        asked["Snowflake"] = lambda: _snowflake(settings)
    if settings.values.databricks:
        asked["Databricks"] = lambda: _databricks(settings)
    servers = {name: _answer(ask) for name, ask in asked.items()}
    stand_ins = dict(settings.stand_ins)
    if _STAND_IN in servers.get("Snowflake", {}).get("version", ""):
        stand_ins["Snowflake"] = "fakesnow"
    run.ledger.append("servers", phase=run.phase, attempt=run.attempt, servers=servers, stand_ins=stand_ins)


def _answer(ask: Callable[[], Mapping[str, Any]]) -> dict[str, str]:
    try:
        return {name.lower(): str(value) for name, value in ask().items()}
    except MigrationError as error:
        return {"error": str(error)}


def _postgres(settings: Settings) -> Mapping[str, Any]:
    with asking(settings.source, "ask the server what it is") as cursor:
        cursor.execute(
            "SELECT pg_catalog.version(), current_user::text, pg_catalog.current_database()::text,"
            " pg_catalog.pg_is_in_recovery(), pg_catalog.inet_server_addr()::text, pg_catalog.inet_server_port(),"
            " (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone')"
        )
        return dict(
            zip(
                ("version", "role", "database", "standby", "address", "port", "time_zone"),
                cursor.fetchone(),
                strict=True,
            )
        )


def _snowflake(settings: Settings) -> Mapping[str, Any]:
    with snowflake.connect(settings.snowflake) as session:
        (row,) = session.execute(
            "SELECT CURRENT_VERSION() AS VERSION, CURRENT_ACCOUNT() AS ACCOUNT, CURRENT_USER() AS USER_NAME,"
            " CURRENT_ROLE() AS ROLE, CURRENT_WAREHOUSE() AS WAREHOUSE",
            doing="ask the server what it is",
        )
        zone = session.execute("SHOW PARAMETERS LIKE 'TIMEZONE' IN SESSION", doing="ask for the time zone")
        return {**row, "time_zone": zone[0]["value"] if zone else ""}


def _databricks(settings: Settings) -> Mapping[str, Any]:
    with spark.connect(settings.databricks) as session:
        (row,) = session.execute(
            "SELECT version() AS version, current_user() AS role, current_timezone() AS time_zone",
            doing="ask the server what it is",
        )
        return {**row, "engine": spark.engine(settings.databricks)}
