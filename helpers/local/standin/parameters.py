"""Session parameters, held and shown as https://docs.snowflake.com/en/sql-reference/parameters says.

What a parameter does, the stand-in does for one value alone: ALTER SESSION to another is refused. One that is given at login is
held all the same, as the service holds it, so that whoever depends on it has to look.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from helpers.local.standin.names import text, unsupported

DEFAULTS = {
    "AUTOCOMMIT": "true",
    "BINARY_INPUT_FORMAT": "HEX",
    "BINARY_OUTPUT_FORMAT": "HEX",
    "DATE_INPUT_FORMAT": "AUTO",
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD",
    "DEFAULT_NULL_ORDERING": "LAST",
    "ENABLE_GET_DDL_USE_DATA_TYPE_ALIAS": "false",
    "ERROR_ON_NONDETERMINISTIC_MERGE": "true",
    "ERROR_ON_NONDETERMINISTIC_UPDATE": "false",
    "GEOGRAPHY_OUTPUT_FORMAT": "GeoJSON",
    "GEOMETRY_OUTPUT_FORMAT": "GeoJSON",
    "JSON_INDENT": "2",
    "MULTI_STATEMENT_COUNT": "1",
    "QUERY_TAG": "",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": "false",
    "ROWS_PER_RESULTSET": "0",
    "STATEMENT_TIMEOUT_IN_SECONDS": "172800",
    "STRICT_JSON_OUTPUT": "false",
    "TIMESTAMP_DAY_IS_ALWAYS_24H": "false",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "TIMESTAMP_LTZ_OUTPUT_FORMAT": "",
    "TIMESTAMP_NTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3",
    "TIMESTAMP_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "TIMESTAMP_TZ_OUTPUT_FORMAT": "",
    "TIMEZONE": "America/Los_Angeles",
    "TIME_INPUT_FORMAT": "AUTO",
    "TIME_OUTPUT_FORMAT": "HH24:MI:SS",
    "TRANSACTION_ABORT_ON_ERROR": "false",
    "TRANSACTION_DEFAULT_ISOLATION_LEVEL": "READ COMMITTED",
    "TWO_DIGIT_CENTURY_START": "1970",
    "UNSUPPORTED_DDL_ACTION": "IGNORE",
    "USE_CACHED_RESULT": "true",
    "WEEK_OF_YEAR_POLICY": "0",
    "WEEK_START": "0",
}

FREE = {"AUTOCOMMIT", "QUERY_TAG", "STATEMENT_TIMEOUT_IN_SECONDS", "USE_CACHED_RESULT"}
"""Those that may have any value here: done, or of no effect on an answer."""

_SHOWN = re.compile(r"PARAMETERS(?:\s+LIKE\s+'(?P<like>(?:[^']|'')*)')?(?:\s+(?:IN|FOR)\s+SESSION)?\s*", re.IGNORECASE)


def given(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Those of a login; what the drivers know beside is theirs."""
    return {name.upper(): _text(value) for name, value in parameters.items() if name.upper() in DEFAULTS}


def altered(held: dict[str, str], name: str, value: Any) -> None:
    """ALTER SESSION SET; None for UNSET."""
    new = DEFAULTS.get(name, "") if value is None else _text(value)
    only = "UTC" if name == "TIMEZONE" else DEFAULTS.get(name)
    alike = {"ETC/UTC": "UTC"}.get(new.upper(), new.upper())
    if only is not None and name not in FREE and value is not None and alike != only.upper():
        raise unsupported(f"{name} = {new}: only {only or 'its default'}")
    held[name] = new


def show_query(held: Mapping[str, str], asked: str) -> str | None:
    """SHOW PARAMETERS of the session; None for those of another level."""
    found = _SHOWN.fullmatch(asked.strip())
    if found is None:
        return None
    rows = ", ".join(
        f"({text(name)}, {text(held.get(name, default))}, {text(default)}, {text('SESSION' if name in held else '')})"
        for name, default in DEFAULTS.items()
    )
    like = f" WHERE \"key\" ILIKE '{found['like']}'" if found["like"] is not None else ""
    return (
        'SELECT "key", "value", "default", "level", \'\' AS "description", \'STRING\' AS "type" '
        f'FROM (VALUES {rows}) AS t ("key", "value", "default", "level"){like} ORDER BY "key"'
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
