"""PostgreSQL's errors by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).

libpq gives no code for a connection that was refused, nor DuckDB for anything: there the code is found by the message that
PostgreSQL or PgBouncer has for it. A message in another language than English is one that nobody knows, and never transient.
"""

from __future__ import annotations

import re

import psycopg2
from psycopg2.extensions import parse_dsn

from helpers.errors import ConnectionFailed, MigrationError, SourceFailed
from helpers.platforms.faults import Fault, in_one_line, known_faults
from helpers.redaction import redact

AGAIN = "run the same command again"

_FAULTS = known_faults("postgres")


_VARIANTS = (
    (re.compile("57014"), re.compile("statement timeout"), "57014 timeout"),
    (re.compile("57014"), re.compile("user request"), "57014 user"),
    (re.compile("40001|40P01"), re.compile("recovery"), "40001 recovery"),
    (re.compile("42501"), re.compile("row-level security"), "42501 rls"),
    (re.compile("42704|22023|55000"), re.compile("snapshot"), "snapshot"),
)
"""What PostgreSQL gives one code, told apart by its words: code, words, and how `causes.toml` has it."""

_BY_TEXT = tuple(
    (re.compile(pattern), code)
    for pattern, code in (
        # What PostgreSQL says at a connection, and PgBouncer in its place.
        ("password authentication failed|authentication failed|wrong password|no such user|login failed", "28P01"),
        (r'no pg_hba\.conf entry|pg_hba\.conf rejects|role ".*" does not exist|is not permitted to log in', "28000"),
        (r'database ".*" does not exist|no such database', "3D000"),
        ("permission denied for database", "no connect"),
        (r"is not currently accepting connections|database .* is disabled", "closed"),
        ("too many (clients|connections)|remaining connection slots|no more connections allowed", "53300"),
        (
            r"database system is (starting up|shutting down|in recovery|not accepting)|not yet accepting connections|"
            "server_login_retry|query_wait_timeout|cannot connect to server|pgbouncer (is )?shutting down|server conn crashed",
            "57P03",
        ),
        # What it says in the middle of reading, where DuckDB gives no code.
        ("row-level security", "42501"),
        ("permission denied|must be owner of|must be superuser", "42501"),
        ("terminating connection due to administrator command", "57P01"),
        ("terminating connection because of crash|terminating connection due to unexpected postmaster exit", "57P02"),
        (
            "terminating connection due to conflict with recovery|canceling statement due to conflict with recovery",
            "40001",
        ),
        ("idle-in-transaction timeout", "25P03"),
        ("idle-session timeout", "57P05"),
        ("transaction timeout", "25P04"),
        ("canceling statement due to lock timeout|could not obtain lock", "55P03"),
        ("canceling statement", "57014"),
        ("has not been populated", "55000"),
        ("snapshot too old", "72000"),
        (r'invalid snapshot identifier|snapshot ".*" does not exist|could not import the requested snapshot', "42704"),
        ("out of shared memory|out of memory", "53200"),
        ("No space left on device", "53100"),
        ("temporary file size exceeds temp_file_limit", "53400"),
        ("deadlock detected", "40P01"),
        ("could not serialize access", "40001"),
        ("has no equivalent in encoding", "22P05"),
        ("invalid byte sequence for encoding", "22021"),
        ('(relation|schema|column) ".*" does not exist', "42P01"),
        ("could not read block|invalid page in block|missing chunk number|unexpected chunk number", "XX001"),
    )
)

_OF_LIBPQ = (
    (re.compile("could not translate host name.*Temporary failure"), _FAULTS["unreached"]),
    (re.compile("could not translate host name"), _FAULTS["no_such_host"]),
    (
        re.compile("certificate verify failed|server certificate for|root certificate file|certificate file"),
        _FAULTS["certificate"],
    ),
    (re.compile("does not support SSL"), _FAULTS["tls_missing"]),
    (re.compile("no password supplied"), _FAULTS["no_entry"]),
    (re.compile("unsupported startup parameter"), _FAULTS["without_options"]),
    (
        re.compile(
            "server closed the connection|connection (to server )?was lost|SSL connection has been closed|EOF detected|unexpected eof|"
            "Connection reset by peer|Broken pipe|connection not open|could not (receive data from|send data to) server|"
            "lost synchronization|no connection to the server|(connection|cursor) already closed|bad connection"
        ),
        _FAULTS["lost"],
    ),
    (
        re.compile(
            "Connection refused|timeout expired|timed out|No route to host|Network is unreachable|Host is down|"
            "No such file or directory"
        ),
        _FAULTS["unreached"],
    ),
)
"""What libpq itself says, in English: its messages are not translated where it comes with the driver."""

_SHOWS_A_ROW = frozenset({"23502", "23514", "44000"})
"""Codes whose detail is the whole row."""

_LACKS = re.compile(
    "permission denied for (?P<kind>table|relation|view|materialized view|foreign table|sequence|schema) (?P<name>.+)"
)

_PLAIN = re.compile("[a-z_][a-z0-9_]*")
_RESERVED = frozenset(
    "ALL ANALYSE ANALYZE AND ANY ARRAY AS ASC ASYMMETRIC AUTHORIZATION BINARY BOTH CASE CAST CHECK COLLATE COLLATION COLUMN "
    "CONCURRENTLY CONSTRAINT CREATE CROSS CURRENT_CATALOG CURRENT_DATE CURRENT_ROLE CURRENT_SCHEMA CURRENT_TIME CURRENT_TIMESTAMP "
    "CURRENT_USER DEFAULT DEFERRABLE DESC DISTINCT DO ELSE END EXCEPT FALSE FETCH FOR FOREIGN FREEZE FROM FULL GRANT GROUP HAVING "
    "ILIKE IN INITIALLY INNER INTERSECT INTO IS ISNULL JOIN LATERAL LEADING LEFT LIKE LIMIT LOCALTIME LOCALTIMESTAMP NATURAL NOT "
    "NOTNULL NULL OFFSET ON ONLY OR ORDER OUTER OVERLAPS PLACING PRIMARY REFERENCES RETURNING RIGHT SELECT SESSION_USER SIMILAR SOME "
    "SYMMETRIC SYSTEM_USER TABLE TABLESAMPLE THEN TO TRAILING TRUE UNION UNIQUE USER USING VARIADIC VERBOSE WHEN WHERE WINDOW WITH".split()
)
"""Words that are no name without quotes (https://www.postgresql.org/docs/current/sql-keywords-appendix.html)."""

_SAID = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(.*)", re.DOTALL)
_PASSED_ON = re.compile(r'^.*?(?:Failed|Unable) to (?:[A-Za-z ]*".*":|[A-Za-z ]*:)\s*', re.DOTALL)


def fault(text: str, code: str | None = None) -> Fault | None:
    """What a server's error means, or None where nobody knows.

    Args:
        text: its message.
        code: its SQLSTATE, where the driver gives one.
    """
    found = code or next((known for pattern, known in _BY_TEXT if pattern.search(text)), None)
    if found is None or found.startswith("08"):
        own = next((fault for pattern, fault in _OF_LIBPQ if pattern.search(text)), None)
        if own or not found:
            return own
    variant = next((key for of, words, key in _VARIANTS if of.fullmatch(found) and words.search(text)), found)
    return _FAULTS.get(variant) or _FAULTS.get(found[:2])


def told(
    error: psycopg2.Error,
    doing: str,
    *,
    on: str,
    cure: str = f"mend the cause in the source, then {AGAIN}",
    rights: str = "",
) -> MigrationError:
    """The error that says what was tried, of what psycopg2 raised.

    Args:
        error: of a statement or a connection.
        doing: the clause that it begins with.
        on: the thing it was tried on.
        cure: for a code that nobody knows.
        rights: the cure for a missing right, where more than SELECT is needed.
    """
    found = known(error) or Fault(SourceFailed, cure)
    if found is _FAULTS["rights"] and (needed := rights or grant(error)):
        found = Fault(SourceFailed, needed)
    return found.told(doing, on=on, why=said(error))


def grant(error: psycopg2.Error) -> str:
    """The cure for a right to a table or schema of users' that is missing, with the statement that gives it; empty for others."""
    lacks = _LACKS.search(str(error))
    if not lacks or lacks["name"].startswith("pg_") or error.cursor is None:
        return ""
    # The connection may be closed, and then only its DSN still knows.
    name, role = written(lacks["name"]), written(parse_dsn(error.cursor.connection.dsn).get("user", "…"))
    if lacks["kind"] == "schema":
        statement = f"GRANT USAGE ON SCHEMA {name} TO {role}"
    else:
        # The message has no schema; the statement that failed mostly has.
        query = (error.cursor.query or b"").decode(errors="replace")
        found = re.search(rf'((?:"(?:[^"]|"")+"|\w+)\.)(?:{re.escape(name)}|{re.escape(lacks["name"])}\b)', query)
        statement = f"GRANT SELECT ON {found[1] if found else ''}{name} TO {role}"
    return f"let an owner or a superuser run: {statement}; then {AGAIN}"


def written(*parts: str) -> str:
    """A name, or a dotted one, as a person writes it in a statement: quoted where PostgreSQL's quote_ident would quote it."""
    return ".".join(
        part if _PLAIN.fullmatch(part) and part.upper() not in _RESERVED else '"' + part.replace('"', '""') + '"'
        for part in parts
    )


def known(error: psycopg2.Error) -> Fault | None:
    """What it means, or None where nobody knows, such as for a statement of ours that is wrong."""
    return fault(str(error), error.pgcode) or (_FAULTS["lost"] if lost(error) else None)


def entry_refused(error: psycopg2.OperationalError, *, on: str) -> MigrationError:
    """The same of a connection that was not to be had: what is not known to pass is not tried again."""
    found = fault(str(error), error.pgcode) or _FAULTS["no_entry"]
    if not issubclass(found.kind, ConnectionFailed):
        found = Fault(ConnectionFailed, found.cure, found.transient)
    return found.told("connect", on=on, why=said(error))


def lost(error: psycopg2.Error) -> bool:
    """Whether the connection is gone: libpq has no code for that, and psycopg2 several classes."""
    if error.pgcode:
        return str(error.pgcode).startswith(("08", "57P", "25P03", "25P04"))
    return (
        isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) or type(error) is psycopg2.DatabaseError
    )


def said(error: psycopg2.Error) -> str:
    """What the server said, in one line: message, detail and hint; without the statement, and without whole rows."""
    diagnosis = error.diag
    if not diagnosis.message_primary:
        return redact(in_one_line(str(error))) or type(error).__name__
    detail = None if error.pgcode in _SHOWS_A_ROW else diagnosis.message_detail
    parts = (diagnosis.message_primary, detail, diagnosis.message_hint)
    return redact("; ".join(in_one_line(part).rstrip(".") for part in parts if part))


def said_through(text: str) -> str:
    """The same of a message that another program passes on with its statement before it."""
    if found := _SAID.search(text):
        return redact(in_one_line(found[1]))
    return redact(in_one_line(_PASSED_ON.sub("", text)))
