"""What an answer of Snowflake rests on beside the statement: the parameters of a session, each set at login and read back.

Every session parameter of https://docs.snowflake.com/en/sql-reference/parameters was looked at (December 2026). `SESSION` has those that
can change an answer, a table or what a transaction keeps. Left to the account, and why:

- STATEMENT_TIMEOUT_IN_SECONDS, STATEMENT_QUEUED_TIMEOUT_IN_SECONDS, LOCK_TIMEOUT, HYBRID_TABLE_LOCK_TIMEOUT: end in an error, which is
  told with its cure.
- ABORT_DETACHED_QUERY: a query whose client is gone ends in five minutes or runs on; nobody reads its answer.
- CLIENT_…, JDBC_…, ODBC_…, JS_TREAT_INTEGER_AS_BIGINT: of other drivers, or how a result travels; the connector counts its rows.
- LOG_LEVEL, TRACE_LEVEL, METRIC_LEVEL, PYTHON_PROFILER_…, ACTIVE_PYTHON_PROFILER: of procedures, and we call none.
- S3_STAGE_VPCE_DNS_NAME: the network's way to an internal stage, and we use external ones.
- SEARCH_PATH, CATALOG, SIMULATED_DATA_SHARING_CONSUMER, EXTERNAL_VOLUME: every name of ours is qualified, no table of ours is Iceberg's.
- ENABLE_UNREDACTED_QUERY_SYNTAX_ERROR, ENABLE_UNREDACTED_SECURE_OBJECT_ERROR: what an error says; ours are redacted here.
- DEFAULT_DDL_COLLATION is of a database, a schema or a table, not of a session: `overridden` looks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from helpers.errors import SessionRefused

SESSION: dict[str, str | int | bool] = {
    "AUTOCOMMIT": True,
    "TIMEZONE": "UTC",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "BINARY_INPUT_FORMAT": "HEX",
    "BINARY_OUTPUT_FORMAT": "HEX",
    "DATE_INPUT_FORMAT": "AUTO",
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD",
    "TIME_INPUT_FORMAT": "AUTO",
    "TIME_OUTPUT_FORMAT": "HH24:MI:SS",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "TIMESTAMP_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM",
    "TIMESTAMP_NTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3",
    "TIMESTAMP_LTZ_OUTPUT_FORMAT": "",
    "TIMESTAMP_TZ_OUTPUT_FORMAT": "",
    "TIMESTAMP_DAY_IS_ALWAYS_24H": False,
    "TWO_DIGIT_CENTURY_START": 1970,
    "WEEK_START": 0,
    "WEEK_OF_YEAR_POLICY": 0,
    "DEFAULT_NULL_ORDERING": "LAST",
    "JSON_INDENT": 2,
    "STRICT_JSON_OUTPUT": False,
    "GEOGRAPHY_OUTPUT_FORMAT": "GeoJSON",
    "GEOMETRY_OUTPUT_FORMAT": "GeoJSON",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
    "ROWS_PER_RESULTSET": 0,
    "ERROR_ON_NONDETERMINISTIC_MERGE": True,
    "ERROR_ON_NONDETERMINISTIC_UPDATE": True,
    "TRANSACTION_ABORT_ON_ERROR": False,
    "TRANSACTION_DEFAULT_ISOLATION_LEVEL": "READ COMMITTED",
    "UNSUPPORTED_DDL_ACTION": "IGNORE",
    "ENABLE_GET_DDL_USE_DATA_TYPE_ALIAS": False,
    "MULTI_STATEMENT_COUNT": 1,
    "USE_CACHED_RESULT": False,
}
"""Most are the service's own defaults, so that an account's or a user's other choice makes no difference. ERROR_ON_NONDETERMINISTIC_UPDATE
refuses an UPDATE that chooses among rows at random. Without USE_CACHED_RESULT each question is computed from the table as it is now, never
taken from the answer to an earlier one (https://docs.snowflake.com/en/user-guide/querying-persisted-results)."""

Execute = Callable[..., list[dict[str, Any]]]
"""`Session.execute`."""


def check(execute: Execute, where: str) -> None:
    """Reads the parameters back.

    Args:
        execute: of a session whose login named them.
        where: the account, for an error.

    Raises:
        SessionRefused: one does not hold, or they cannot be read.
    """
    rows = execute("SHOW PARAMETERS IN SESSION", doing="read the session's parameters")
    held = {str(row["key"]).upper(): str(row["value"]) for row in rows}
    wrong = [
        f"{name} is {held[name]!r} after it was set to {str(value)!r}" if name in held else f"{name} is not shown"
        for name, value in SESSION.items()
        if held.get(name, "").casefold() != str(value).casefold() or name not in held
    ]
    if not held:
        wrong = ["SHOW PARAMETERS IN SESSION shows none"]
    if wrong:
        names = ", ".join(each.partition(" ")[0] for each in wrong)
        raise SessionRefused(
            "hold the session's parameters", on=where, why="; ".join(wrong),
            next_step=f"take {names} out of connect.session_parameters in [profiles.X.snowflake], or let the user set it (ALTER SESSION "
            "needs no right of its own; a session policy or a login hook must not take it back)",
        )  # fmt: skip


def overridden(
    execute: Execute, named: Callable[..., str], database: str, schemas: Iterable[str]
) -> Sequence[tuple[str, str]]:
    """Schemas whose texts would be compared by a collation, each with it: what a table is made with there overrides every session
    (https://docs.snowflake.com/en/sql-reference/parameters#default-ddl-collation).

    Args:
        named: quotes a dotted name.
        schemas: that exist.
    """
    found = []
    for schema in dict.fromkeys(schemas):
        rows = execute(
            f"SHOW PARAMETERS LIKE 'DEFAULT_DDL_COLLATION' IN SCHEMA {named(database, schema)}", doing=f"read the parameters of {schema}"
        )  # fmt: skip
        found += [(schema, str(row["value"])) for row in rows if row["value"]]
    return found
