"""The profile's source and target as variables that the clients of PostgreSQL, Snowflake and Databricks read by themselves."""

from __future__ import annotations

from helpers.platforms import postgres, snowflake_login
from helpers.settings import Settings

_OF_LIBPQ = {
    "host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD",
    "passfile": "PGPASSFILE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY", "target_session_attrs": "PGTARGETSESSIONATTRS",
}  # fmt: skip
"""What of a connection every client of libpq reads; the settings of a session are the client's own."""


def connections(settings: Settings) -> dict[str, str]:
    """Variables for a child that reaches the profile's own systems; its secrets are in them and nowhere else.

    Returns:
        libpq's (https://www.postgresql.org/docs/current/libpq-envars.html) for the source, SNOWFLAKE_… and DATABRICKS_… for the
        targets that the profile has, and MARTS_SCHEMA where it has dbt.
    """
    found: dict[str, object] = {}
    values = settings.values
    if source := values.source:
        said = postgres.keywords(source)
        found |= {variable: said.get(keyword) for keyword, variable in _OF_LIBPQ.items()}
    if target := values.snowflake:
        found |= {
            "SNOWFLAKE_ACCOUNT": target.account, "SNOWFLAKE_USER": target.user, "SNOWFLAKE_DATABASE": target.database,
            "SNOWFLAKE_SCHEMA": target.schema_, "SNOWFLAKE_WAREHOUSE": target.warehouse, "SNOWFLAKE_ROLE": target.role,
            **snowflake_login.for_clients(target),
            **{f"SNOWFLAKE_{name.upper()}": target.connect[name] for name in ("host", "port", "protocol") if name in target.connect},
        }  # fmt: skip
    if lake := values.databricks:
        found |= {
            "DATABRICKS_HOST": lake.host, "DATABRICKS_CLUSTER_ID": lake.cluster_id, "DATABRICKS_CATALOG": lake.catalog,
            "DATABRICKS_SCHEMA": lake.schema_, "DATABRICKS_TOKEN": lake.token.get_secret_value() if lake.token else None,
            "DATABRICKS_CLIENT_ID": lake.client_id, "DATABRICKS_AUTH_TYPE": lake.federation,
            "DATABRICKS_CLIENT_SECRET": lake.client_secret.get_secret_value() if lake.client_secret else None,
            "DATABRICKS_SERVERLESS_COMPUTE_ID": "auto" if lake.serverless else None,
        }  # fmt: skip
    if settings.dbt.project:
        found["MARTS_SCHEMA"] = settings.marts_schema
    return {name: str(value) for name, value in found.items() if value is not None}
