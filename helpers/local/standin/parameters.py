"""Parameters, their levels and what a session inherits (https://docs.snowflake.com/en/sql-reference/parameters).

A session begins with what its user has, else the account, else the default, and what its login or ALTER SESSION says wins. A schema has
what it says itself, else its database, else the account. What each does to an answer is in `effects`.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snowflake.connector.errors import ProgrammingError

from helpers.local.standin.names import text, unquoted

DEFAULTS = {
    "ABORT_DETACHED_QUERY": "false",
    "AUTOCOMMIT": "true",
    "BINARY_INPUT_FORMAT": "HEX",
    "BINARY_OUTPUT_FORMAT": "HEX",
    "CLIENT_SESSION_KEEP_ALIVE": "false",
    "DATE_INPUT_FORMAT": "AUTO",
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD",
    "DEFAULT_NULL_ORDERING": "LAST",
    "ENABLE_GET_DDL_USE_DATA_TYPE_ALIAS": "false",
    "ERROR_ON_NONDETERMINISTIC_MERGE": "true",
    "ERROR_ON_NONDETERMINISTIC_UPDATE": "false",
    "GEOGRAPHY_OUTPUT_FORMAT": "GeoJSON",
    "GEOMETRY_OUTPUT_FORMAT": "GeoJSON",
    "JSON_INDENT": "2",
    "LOCK_TIMEOUT": "43200",
    "MULTI_STATEMENT_COUNT": "1",
    "QUERY_TAG": "",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": "false",
    "ROWS_PER_RESULTSET": "0",
    "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": "0",
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
"""Of a session. What is `true` or `false` is a boolean, what is a number one within `RANGES`."""

OF_OBJECTS = {
    "DATA_RETENTION_TIME_IN_DAYS": "1",
    "DEFAULT_DDL_COLLATION": "",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": "false",
}
"""Of the account, a database or a schema."""

CHOICES = {
    "BINARY_INPUT_FORMAT": ("HEX", "BASE64", "UTF8", "UTF-8"),
    "BINARY_OUTPUT_FORMAT": ("HEX", "BASE64"),
    "DEFAULT_NULL_ORDERING": ("FIRST", "LAST"),
    "TIMESTAMP_TYPE_MAPPING": ("TIMESTAMP_LTZ", "TIMESTAMP_NTZ", "TIMESTAMP_TZ"),
    "TRANSACTION_DEFAULT_ISOLATION_LEVEL": ("READ COMMITTED",),
    "UNSUPPORTED_DDL_ACTION": ("IGNORE", "FAIL"),
}
RANGES = {
    "JSON_INDENT": (0, 16),
    "MULTI_STATEMENT_COUNT": (0, 1 << 31),
    "TWO_DIGIT_CENTURY_START": (1900, 2100),
    "WEEK_OF_YEAR_POLICY": (0, 1),
    "WEEK_START": (0, 7),
    "STATEMENT_TIMEOUT_IN_SECONDS": (0, 604_800),
}

_NAME = r'(?:"(?:[^"]|"")*"|[A-Za-z_][\w$]*)'
_QUALIFIED = rf"{_NAME}(?:\.{_NAME})*"
_ALTERED = re.compile(
    rf"ALTER\s+(?P<level>ACCOUNT|(?:USER|DATABASE|SCHEMA)\s+(?:IF\s+EXISTS\s+)?(?P<name>{_QUALIFIED}))\s+"
    r"(?P<how>SET|UNSET)\s+(?P<items>.+?)\s*;?\s*",
    re.IGNORECASE | re.DOTALL,
)
_ITEM = re.compile(r"\s*,?\s*(?P<name>\w+)(?:\s*=\s*(?P<value>'(?:[^']|'')*'|[\w.+-]+))?", re.DOTALL)
_SHOWN = re.compile(
    r"PARAMETERS(?:\s+LIKE\s+'(?P<like>(?:[^']|'')*)')?"
    rf"(?:\s+(?:IN|FOR)\s+(?P<level>SESSION|ACCOUNT|USER|DATABASE|SCHEMA|TABLE)(?:\s+(?P<name>{_QUALIFIED}))?)?\s*",
    re.IGNORECASE,
)


@dataclass
class Levels:
    """What is set above the session, by level and, below the account, by the dotted name. It is the server's, and ends with it."""

    said: dict[tuple[str, ...], dict[str, str]] = field(default_factory=lambda: {("ACCOUNT",): {"TIMEZONE": "UTC"}})

    def inherited(self, user: str) -> dict[str, tuple[str, str]]:
        """What a session of this user begins with: each value and its level."""
        return {
            name: (values[name], level[0])
            for level in (("ACCOUNT",), ("USER", user))
            for values in [self.said.get(level, {})]
            for name in values.keys() & DEFAULTS.keys()
        }

    def of_an_object(self, names: tuple[str, ...]) -> dict[str, tuple[str, str]]:
        """What a database, a schema or a table has, the nearest first."""
        levels = [("ACCOUNT",), ("DATABASE", *names[:1]), ("SCHEMA", *names[:2])][: 1 + len(names)]
        return {
            name: (values[name], level[0])
            for level in levels
            for values in [self.said.get(level, {})]
            for name in values.keys() & OF_OBJECTS.keys()
        }


LEVELS = Levels()


def given(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Those of a login; what the drivers know beside is theirs."""
    return {name.upper(): _text(value) for name, value in parameters.items() if name.upper() in DEFAULTS}


def altered(held: dict[str, str], name: str, value: Any) -> None:
    """ALTER SESSION SET; None for UNSET."""
    if name not in DEFAULTS:
        raise _invalid(f"invalid property '{name}' for 'SESSION'", 1420)
    if value is None:
        held.pop(name, None)
    else:
        held[name] = checked(name, _text(value))


def level_of(command: str) -> tuple[str, str] | None:
    """The kind and the name of what ALTER … SET or UNSET of parameters may be about; None for another statement."""
    found = _ALTERED.fullmatch(command.strip())
    return (found["level"].split()[0].upper(), found["name"] or "") if found else None


def alter_level(session: Any, command: str) -> str | None:
    """ALTER ACCOUNT, USER, DATABASE or SCHEMA … SET or UNSET of parameters; None where the statement is another or sets more."""
    if (found := _ALTERED.fullmatch(command.strip())) is None:
        return None
    items = [(one["name"].upper(), one["value"]) for one in _ITEM.finditer(found["items"])]
    kind = found["level"].split()[0].upper()
    known = {**DEFAULTS, **OF_OBJECTS} if kind == "ACCOUNT" else DEFAULTS if kind == "USER" else OF_OBJECTS
    if not all(name in known for name, _ in items):
        if kind in ("ACCOUNT", "USER") or any(name not in ("COMMENT", "TAG") for name, _ in items):
            return None
        raise _invalid(f"invalid property '{items[0][0]}' for '{kind}'", 1420)
    named = parts(found["name"] or "")
    level = (kind, *((session.database or "",) if kind == "SCHEMA" and len(named) == 1 else ()), *named)
    values = LEVELS.said.setdefault(level, {})
    for name, value in items:
        if found["how"].upper() == "UNSET":
            values.pop(name, None)
        else:
            values[name] = checked(name, value[1:-1].replace("''", "'") if value.startswith("'") else value)
    return "Statement executed successfully."


def checked(name: str, value: str) -> str:
    """A value as it is kept.

    Raises:
        ProgrammingError: the parameter takes none such.
    """
    default = {**DEFAULTS, **OF_OBJECTS}[name]
    wrong = _invalid(f"invalid value [{value}] for parameter '{name}'", 1008)
    if default in ("true", "false"):
        if value.lower() not in ("true", "false"):
            raise wrong
        return value.lower()
    if default.isdigit():
        low, high = RANGES.get(name, (0, 1 << 63))
        if not value.isdigit() or not low <= int(value) <= high:
            raise wrong
        return value
    if name == "TIMEZONE" and value not in zoneinfo.available_timezones():
        raise wrong
    if name in CHOICES:
        if value.upper() not in CHOICES[name]:
            raise wrong
        return value.upper()
    return value


def show_query(session: Any, asked: str) -> str | None:
    """SHOW PARAMETERS of a session, the account, a user, a database, a schema or a table; None where it is another SHOW."""
    found = _SHOWN.fullmatch(asked.strip())
    if found is None:
        return None
    level, names = (found["level"] or "SESSION").upper(), parts(found["name"] or "")
    if level == "SESSION":
        inherited: dict[str, tuple[str, str]] = session.inherited
        own = {name: (value, "SESSION") for name, value in session.parameters.items()}
        defaults, said = DEFAULTS, {**inherited, **own}
    elif level == "ACCOUNT":
        defaults, said = {**DEFAULTS, **OF_OBJECTS}, {**LEVELS.inherited(""), **LEVELS.of_an_object(())}
    elif level == "USER":
        defaults, said = DEFAULTS, LEVELS.inherited(names[0] if names else "")
    else:
        depth = {"DATABASE": 1, "SCHEMA": 2, "TABLE": 3}[level]
        around = (session.database or "", session.schema or "")[: depth - len(names)]
        defaults, said = OF_OBJECTS, LEVELS.of_an_object((*around, *names))
    rows = ", ".join(
        f"({text(name)}, {text(said.get(name, (default, ''))[0])}, {text(default)}, {text(said.get(name, (default, ''))[1])}, "
        f"{text('BOOLEAN' if default in ('true', 'false') else 'NUMBER' if default.isdigit() else 'STRING')})"
        for name, default in defaults.items()
    )
    like = f" WHERE \"key\" ILIKE '{found['like']}'" if found["like"] is not None else ""
    return (
        'SELECT "key", "value", "default", "level", \'\' AS "description", "type" '
        f'FROM (VALUES {rows}) AS t ("key", "value", "default", "level", "type"){like} ORDER BY "key"'
    )


def parts(dotted: str) -> tuple[str, ...]:
    """A dotted name's parts, as they were meant."""
    return tuple(unquoted(part) for part in re.findall(_NAME, dotted))


def _invalid(what: str, errno: int) -> ProgrammingError:
    return ProgrammingError(msg=f"SQL compilation error:\n{what}", errno=errno, sqlstate="22023")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
