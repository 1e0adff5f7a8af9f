"""What hangs on a table beside its rows, as SHOW tells of it: streams, clustering, change tracking, parameters of its own.

All of it is written down and shown; nothing acts on it. Materialized views and dynamic tables there are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from helpers.local.standin import access, attached, names, notes, parameters
from helpers.local.standin.account import OWNERSHIP
from helpers.local.standin.names import status, unquoted
from helpers.local.standin.privileges import Need
from helpers.local.standin.session import Session

_STREAMS = ("created_on", "name", "database_name", "schema_name", "owner", "comment", "table_name", "source_type", "base_tables", "type", "stale", "mode")  # fmt: skip
_VIEWS = ("name", "database_name", "schema_name", "source_database_name", "source_schema_name", "source_table_name")
_DYNAMIC = ("name", "database_name", "schema_name", "text")
_TABLES = ("created_on", "name", "database_name", "schema_name", "kind", "cluster_by", "change_tracking", "search_optimization", "enable_schema_evolution")  # fmt: skip
_PARAMETERS = ("key", "value", "default", "level", "description", "type")
"""As `parameters` shows them."""
_DAYS = "DATA_RETENTION_TIME_IN_DAYS"


def answer(session: Session, command: str) -> str | None:
    """What DuckDB answers to a statement of this subject; None where it is another's."""
    said = command.strip().rstrip(";")
    for pattern, handle in _STATEMENTS:
        if match := re.fullmatch(pattern, said, re.IGNORECASE | re.DOTALL):
            if not said.upper().startswith("SHOW"):
                _require(session, match)
                session.end("COMMIT")
            return handle(session, match)
    return None


def _require(session: Session, match: re.Match[str]) -> None:
    """https://docs.snowflake.com/en/sql-reference/sql/create-stream#access-control-requirements; what alters a table, its owner may."""
    given = match.groupdict()
    table = ("TABLE", *attached._qualified(session, match["table"])) if "table" in given else None
    if "name" in given and table is not None:
        schema = ("SCHEMA", *attached._qualified(session, match["name"])[:2])
        access.require(session, Need(schema, ("CREATE STREAM",)))
        access.require(session, Need(table, ("SELECT",)))
    elif "name" in given:
        access.require(session, Need(("STREAM", *attached._qualified(session, match["name"])), (OWNERSHIP,)))
    elif table is not None:
        access.require(session, Need(table, (OWNERSHIP,)))


def _create_stream(session: Session, match: re.Match[str]) -> str:
    table = attached.named_table(session, match["table"])
    made = list(attached._qualified(session, match["name"]))
    kept = [each for each in notes.read_note(session, table).get("streams", ()) if each != made]
    notes.update_note(session, table, streams=[*kept, made])
    with session.account.changing():
        session.account.own(("STREAM", *made), session.needed_role())
    return status(f"Stream {made[2]} successfully created.")


def _drop_stream(session: Session, match: re.Match[str]) -> str:
    gone = list(attached._qualified(session, match["name"]))
    for place, note in _noted(session, "streams"):
        if gone in note["streams"]:
            left = [each for each in note["streams"] if each != gone]
            notes.update_note(session, names.table([*place]), streams=left)
            with session.account.changing():
                session.account.forget(("STREAM", *gone))
            return status(f"{gone[2]} successfully dropped.")
    raise names.missing("Stream", gone[2])


def _show_streams(session: Session, match: re.Match[str]) -> str:
    rows = [
        dict.fromkeys(_STREAMS, "") | {
            "name": name, "database_name": database, "schema_name": schema, "table_name": ".".join(place),
            "base_tables": ".".join(place), "source_type": "Table", "type": "DELTA", "stale": "false", "mode": "DEFAULT",
        }
        for place, note in _noted(session, "streams") for database, schema, name in note["streams"]
        if access.sees(session, ("STREAM", database, schema, name))
    ]  # fmt: skip
    return attached.rows_query(_STREAMS, rows)


def _noted(session: Session, key: str) -> list[tuple[tuple[str, str, str], dict[str, Any]]]:
    found = session.duck.execute(
        "select database_name, schema_name, table_name, comment from duckdb_tables() where comment like '{%'"
    ).fetchall()
    read = [((row[0], row[1], row[2]), json.loads(row[3])) for row in found]
    return [(place, note) for place, note in read if note.get(key)]


def _cluster(session: Session, match: re.Match[str]) -> str:
    return _note(session, match, cluster_by=f"LINEAR({match['by']})")


def _set_tracking(session: Session, match: re.Match[str]) -> str:
    return _note(session, match, change_tracking="ON" if match["value"].upper() == "TRUE" else "OFF")


def _set_days(session: Session, match: re.Match[str]) -> str:
    return _note(session, match, retention=match["value"])


def _note(session: Session, match: re.Match[str], **kept: Any) -> str:
    notes.update_note(session, attached.named_table(session, match["table"]), **kept)
    return status()


def _show_tables(session: Session, match: re.Match[str]) -> str:
    database, schema = (unquoted(part) for part in re.findall(attached.PART, match["schema"]))
    begins = match["begins"].replace("''", "'").replace("\\\\", "\\")
    found = session.duck.execute(
        "select table_name, comment from duckdb_tables() where database_name = ? and schema_name = ? and starts_with(table_name, ?)",
        [database, schema, begins],
    ).fetchall()
    rows = []
    for name, comment in found:
        if not access.sees(session, ("TABLE", database, schema, name)):
            continue
        note = json.loads(comment or "{}")
        rows.append(
            dict.fromkeys(_TABLES, "") | {
                "name": name, "database_name": database, "schema_name": schema, "kind": "TABLE",
                "cluster_by": note.get("cluster_by", ""), "change_tracking": note.get("change_tracking", "OFF"),
                "search_optimization": "OFF", "enable_schema_evolution": "N",
            }
        )  # fmt: skip
    return attached.rows_query(_TABLES, rows)


def _show_parameters(session: Session, match: re.Match[str]) -> str | None:
    query = parameters.show_query(session, match[0].split(maxsplit=1)[1])
    own = notes.read_note(session, attached.named_table(session, match["table"])).get("retention")
    if query is None or not own:
        return query
    row = dict(zip(_PARAMETERS, (_DAYS, own, "1", "TABLE", "", "NUMBER"), strict=True))
    return f"SELECT * FROM ({query}) WHERE \"key\" <> '{_DAYS}' UNION ALL {attached.rows_query(_PARAMETERS, [row])}"


_ALTER = rf"ALTER\s+TABLE\s+(?P<table>{attached.NAME})\s+"

_STATEMENTS: tuple[tuple[str, Callable[[Session, re.Match[str]], str | None]], ...] = (
    (rf"CREATE\s+(?:OR\s+REPLACE\s+)?STREAM\s+(?P<name>{attached.NAME})\s+ON\s+TABLE\s+(?P<table>{attached.NAME})", _create_stream),
    (rf"DROP\s+STREAM\s+(?P<name>{attached.NAME})", _drop_stream),
    (r"SHOW\s+STREAMS\s+IN\s+ACCOUNT", _show_streams),
    (r"SHOW\s+MATERIALIZED\s+VIEWS\s+IN\s+ACCOUNT", lambda *_: attached.rows_query(_VIEWS, [])),
    (r"SHOW\s+DYNAMIC\s+TABLES\s+IN\s+ACCOUNT", lambda *_: attached.rows_query(_DYNAMIC, [])),
    (rf"SHOW\s+TABLES\s+IN\s+SCHEMA\s+(?P<schema>{attached.NAME})\s+STARTS\s+WITH\s+'(?P<begins>(?:[^']|'')*)'", _show_tables),
    (rf"SHOW\s+PARAMETERS\s+IN\s+TABLE\s+(?P<table>{attached.NAME})", _show_parameters),
    (rf"{_ALTER}CLUSTER\s+BY\s*\((?P<by>.+)\)", _cluster),
    (rf"{_ALTER}SET\s+CHANGE_TRACKING\s*=\s*(?P<value>TRUE|FALSE)", _set_tracking),
    (rf"{_ALTER}SET\s+{_DAYS}\s*=\s*(?P<value>\d+)", _set_days),
)  # fmt: skip
