"""The source: who our role is there and what it may do, the server's version, settings and limits, and what a snapshot will cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg2

from helpers.archive import restoring
from helpers.assessment import paths, security
from helpers.doctor.buckets import opened
from helpers.doctor.subject import Subject
from helpers.errors import BackupError, ConnectionFailed, MigrationError, SessionRefused
from helpers.finding import Finding, failed, judged, note, stop, unchecked, warning
from helpers.model import sync
from helpers.platforms import pg_session, pg_tools, postgres
from helpers.platforms.faults import postgres as faults
from helpers.platforms.faults.postgres import written
from helpers.progress import roughly
from helpers.settings import Source
from helpers.source import described, freeze, rights
from helpers.source.asking import asking
from helpers.source.rights import Lack
from helpers.sync import needs, slot, status

OLDEST = 12
"""The oldest major version whose catalog is read (`pg_partition_root`)."""

SKEW_SECONDS = 60.0
"""S3 takes a request whose time is up to 15 minutes off (RequestTimeTooSkewed); evidence with times that are a minute off misleads."""

CONNECTIONS_BESIDE_WORKERS = 4
"""Of an export: the snapshot's keeper, its replication connection for a moment, the plan's own, and one that counts for progress."""

BYTES_A_SECOND = 25_000_000
"""Of table that one worker exports, digests and census included: the slowest kind of table in docs/benchmarks/export.md."""

LONG_TRANSACTION_SECONDS = 60.0

BACKUP = "s00-backup"
"""The step that proves a backup, unless one exists elsewhere."""


def examine(subject: Subject) -> Iterator[Finding]:
    """The source of the profile, in one read-only transaction; each question has its own answer."""
    source = subject.settings.source
    try:
        with asking(source, "look at the source") as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {int(source.answer_timeout_seconds * 1000)}")
            yield note("connection", f"{postgres.address(source)} lets us in")
            checks = dict(_CHECKS)
            try:
                if not subject.tables:
                    fix = "correct dbname, schemas and tables of the profile"
                    yield stop("tables", "none would move", fix, "at least one")
            except MigrationError as error:
                yield failed("tables", error)
                checks = {check: ask for check, ask in _CHECKS.items() if check not in _OF_TABLES}
            for check, ask in checks.items():
                try:
                    with postgres.savepoint(cursor):
                        yield from list(ask(cursor, subject))
                except psycopg2.Error as error:
                    yield failed(check, faults.told(error, "ask", on=postgres.address(source)))
                except MigrationError as error:
                    yield failed(check, error)
    except (ConnectionFailed, SessionRefused) as error:
        yield _no_entry(source, error)
        return
    yield from _pooler(source)


def examine_security(subject: Subject) -> Iterator[Finding]:
    """What phase 00 asks about the source's protection: TLS, superusers, passwords, open schemas, personal data."""
    seen = security.look(subject.settings.source)
    for found in security.findings(seen, subject.settings.values.compliance, subject.settings.tables):
        yield Finding(found.severity, found.on, found.what, found.fix)


def _no_entry(source: Source, error: MigrationError) -> Finding:
    """The connection that was not to be had; where a right is missing, with the statement that grants it."""
    role, cure = written(source.user), error.next_step
    if "permission denied for database" in error.why or "does not have CONNECT privilege" in error.why:
        cure = f"GRANT CONNECT ON DATABASE {written(source.dbname)} TO {role}"
        return stop("CONNECT", error.why, cure, "to connect to the database")
    if "not permitted to log in" in error.why:
        cure = f"ALTER ROLE {role} LOGIN"
    elif "too many connections for role" in error.why:
        cure = f"ALTER ROLE {role} CONNECTION LIMIT -1"
    return stop("connection", f"could not {error.what}: {error.why}", cure, "a connection")


def _version(cursor: Any, subject: Subject) -> Iterator[Finding]:
    number, text = int(cursor.connection.server_version), postgres.value(cursor, "SHOW server_version")
    major, needed = number // 10_000, f"PostgreSQL {OLDEST} or newer"
    if major < OLDEST:
        yield stop("version", f"PostgreSQL {text}", f"upgrade the source to PostgreSQL {OLDEST} or newer first", needed)
    elif (support := paths.support(None, text)).has_ended(today := datetime.now(UTC).date()):
        what = f"PostgreSQL {text}, whose support {support.said(today)}"
        yield warning("version", what, "upgrade it, or be quick", needed)
    else:
        yield note("version", f"PostgreSQL {text}, client {_client()}")


def _client() -> str:
    found = psycopg2.extensions.libpq_version()
    return f"libpq {found // 10_000}.{found % 10_000}"


def _settings(cursor: Any, subject: Subject) -> Iterator[Finding]:
    """What is stored for our role or database: ours are set over them, and read back, in each transaction."""
    cursor.execute(
        "SELECT concat_ws(' in ', r.rolname, d.datname), e FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) e "
        "LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase "
        "WHERE (s.setrole = 0 OR r.rolname = session_user) AND (s.setdatabase = 0 OR d.datname = current_database()) ORDER BY 1, 2"
    )
    stored = cursor.fetchall()
    ours = [f"{entry} ({of})" for of, entry in stored if entry.partition("=")[0].lower() in pg_session.SETTINGS]
    others = [f"{entry} ({of})" for of, entry in stored if entry.partition("=")[0].lower() not in pg_session.SETTINGS]
    what = "every setting that an answer rests on was set and read back in this transaction"
    if ours:
        what += f"; set over what is stored: {', '.join(ours)}"
    if others:
        what += f"; left as stored: {', '.join(others)}"
    yield note("settings", what)


def _described(cursor: Any, subject: Subject) -> Iterator[Finding]:
    described.refuse_unfit(cursor, subject.tables)
    in_part = [f"{table} ({table.in_part})" for table in subject.tables if table.in_part]
    parts = f"; in part or masked: {', '.join(in_part)}" if in_part else ""
    if subject.tables:
        yield note("tables", f"{len(subject.tables)} would move{parts}")


def _rights(cursor: Any, subject: Subject) -> Iterator[Finding]:
    tables = subject.tables
    lacking = rights.missing_before_cutover(cursor, tables, backup=BACKUP not in subject.settings.elsewhere)
    for lack in lacking:
        purpose = _PURPOSES.get(lack.right, "to read what moves")
        yield _lacks(lack, purpose if lack.moves else "phase 00 proves a backup of the whole database")
    if not lacking:
        who = postgres.value(cursor, "SELECT current_user")
        yield note("rights", f"{who} may read the {len(tables)} tables that move and their sequences, sees who uses them, and may take a snapshot with an exact LSN")  # fmt: skip


_PURPOSES = {
    "USAGE": "to reach what is in the schema",
    "BYPASSRLS": "row-level security hides rows",
    "REFRESH": "a materialized view that has rows",
    "pg_monitor": "phase 00 lists who and what uses the source, of other users too",
    "REPLICATION": "a snapshot whose LSN is exact, and to follow changes since",
}


def _lacks(lack: Lack, needed: str, check: str = "") -> Finding:
    on = f" on {lack.on}" if lack.on else ""
    found = "never filled" if lack.right == "REFRESH" else "not granted"
    return stop(check or lack.right, f"{found}{on}", lack.cure, f"{lack.right}: {needed}" if check else needed)


def _backup(cursor: Any, subject: Subject) -> Iterator[Finding]:
    """What the backup proof needs beside rights: a pg_dump that is not older than the server, and somewhere to restore."""
    settings = subject.settings
    if (theirs := settings.elsewhere.get(BACKUP)) is not None:
        yield note("backup", f"exists elsewhere, by somebody's word: {theirs.what} ({theirs.link})")
        return
    number = int(cursor.connection.server_version)
    try:
        tools = pg_tools.tools_for(number, on=postgres.address(settings.source))
        restoring.refuse_without_place(settings, number)
        there = (
            postgres.address(settings.backup.restore) if settings.backup.restore else "a server that is started here"
        )
        yield note("backup", f"pg_dump {tools.major} in {tools.folder} can dump it, and {there} can take it")
    except (BackupError, ConnectionFailed) as error:
        yield stop(
            "backup", error.why, error.next_step, f"pg_dump {number // 10_000} or newer, and a server to restore on"
        )
        return
    if server := settings.backup.restore:
        with postgres.reading(server, application="migration-runbooks doctor") as there_cursor:
            there_cursor.execute(
                "SELECT rolsuper OR rolcreatedb, current_user FROM pg_roles WHERE rolname = current_user"
            )
            may, who = there_cursor.fetchone()
        if not may:
            needed = "CREATEDB: phase 00 restores into a database that is made for it"
            yield stop(
                "backup CREATEDB", f"{who} does not have it on {there}", f"ALTER ROLE {written(who)} CREATEDB", needed
            )


def _cutover(cursor: Any, subject: Subject) -> Iterator[Finding]:
    """What freezing and bringing back ask for, where the profile describes a cutover."""
    asked = subject.settings.values.cutover
    if not ({"application", "application_password", "patience_seconds", "end_writers"} & asked.model_fields_set):
        needed = "ownership of the database, pg_signal_backend, and writing to the tables: phases 50 and 90"
        fix = "describe it in [profiles.X.cutover], then ask again"
        yield unchecked("cutover", "the profile does not say how the source is frozen", fix, needed)
        return
    lacking = rights.missing_to_cut_over(cursor, subject.tables)
    for lack in lacking:
        yield _lacks(
            lack, "to freeze the source in phase 50, and to bring writes back in phase 90", f"cutover {lack.right}"
        )
    if not lacking:
        yield note("cutover", "the source may be frozen, and what was written since may be brought back")
    if role := asked.application:
        yield from _application(cursor, subject, role)


def _application(cursor: Any, subject: Subject, role: str) -> Iterator[Finding]:
    """As whom the freeze will be tried."""
    check, needed = "cutover application", "phase 50 tries a write as the application"
    cursor.execute(
        "SELECT pg_has_role(current_user, oid, 'MEMBER'), current_user FROM pg_roles WHERE rolname = %s", [role]
    )
    if (found := cursor.fetchone()) is None:
        yield stop(check, f"there is no role {role}", "correct cutover.application in migration.toml", needed)
        return
    member, user = found
    if not member and not subject.settings.cutover.application_password:
        what = f"its password is not given, and {user} may not take the role {role}"
        yield stop(check, what, f"GRANT {written(role)} TO {written(user)}", needed)
        return
    try:
        yield note(check, f"the freeze will be tried as {freeze.who_writes(subject.settings.source, role)}")
    except MigrationError as error:
        yield stop(check, error.why, error.next_step, needed)


def _replication(cursor: Any, subject: Subject) -> Iterator[Finding]:
    """Whether a logical slot could be made for the snapshot's LSN, and changes be followed from one."""
    wanted = subject.settings.follows
    if postgres.value(cursor, "SELECT pg_is_in_recovery()") and not wanted:
        yield from _standby(cursor)
        return
    ask = needs.examine if wanted else needs.foreseen
    for each in ask(cursor, subject.settings.source, subject.tables, subject.settings.sync):
        if each.on != "REPLICATION":  # is among the rights
            yield each
    yield from _slots(cursor, subject)


def _slots(cursor: Any, subject: Subject) -> Iterator[Finding]:
    """Slots that keep the log for whom nobody knows any more, and ours against the profile's limit."""
    limit = int(subject.settings.sync.retained_gigabytes * status.GIGABYTE)
    known = None
    if subject.settings.values.stage is not None:
        try:
            known = sync.read_if_any(opened(subject.settings.stage))
        except MigrationError as error:
            yield unchecked("sync", f"the record of a sync could not be read: {error.why}", error.next_step)
    for each in slot.every(cursor):
        drop = f"SELECT pg_drop_replication_slot({pg_session.literal(each.name)})"
        kept = f"{each.retained_bytes / 1e6:,.0f} MB of log are kept for it"
        if known and each.name == known.slot:
            yield from status.retained(each, limit)
        elif each.name.startswith(sync.PREFIX) and each.database != subject.settings.source.dbname:
            continue  # another profile's
        elif each.active_pid is None and each.name.startswith(sync.PREFIX):
            what = (
                f"{each.name} is of a sync of ours that this profile's stage does not know, and nobody reads it; {kept}"
            )
            yield warning("slots", what, f"run `runbook sync stop` with its profile, or {drop}")
        elif each.active_pid is None:
            yield warning("slots", f"nobody reads {each.name}, of the database {each.database}; {kept}", f"ask whose it is; {drop} lets the log go")  # fmt: skip
    cursor.execute("SELECT pubname::text FROM pg_publication WHERE starts_with(pubname, %s) ORDER BY 1", [sync.PREFIX])
    for (name,) in cursor.fetchall():
        if known is None or known.publication != name:
            yield warning("publications", f"{name} is of a sync that this profile's stage does not know", f"DROP PUBLICATION {written(name)}, where no slot of that name is left")  # fmt: skip


def _standby(cursor: Any) -> Iterator[Finding]:
    feedback = postgres.value(cursor, "SHOW hot_standby_feedback")
    delay = postgres.value(cursor, "SHOW max_standby_streaming_delay")
    yield note(
        "standby", "the source is a standby: a snapshot's LSN is a position just before it, marked as approximate"
    )
    if feedback != "on":
        fix = "ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf()"
        what = f"hot_standby_feedback is off, and max_standby_streaming_delay is {delay}: the primary may remove what is still read"
        yield stop("standby feedback", what, fix, "hot_standby_feedback = on for as long as the export reads")


def _connections(cursor: Any, subject: Subject) -> Iterator[Finding]:
    """Workers against every limit of connections that stands above our role."""
    needed = subject.settings.export.workers + CONNECTIONS_BESIDE_WORKERS
    cursor.execute(_CONNECTIONS)
    most, reserved, kept, used, role_limit, of_role, database_limit, in_database = cursor.fetchone()
    said = f"{subject.settings.export.workers} workers and {CONNECTIONS_BESIDE_WORKERS} more connections"
    cure = f"set export.workers lower, or ALTER SYSTEM SET max_connections = {most + needed} and restart the server"
    role, database = (
        written(each) for each in (postgres.value(cursor, "SELECT session_user"), subject.settings.source.dbname)
    )
    free = most - reserved - kept - used
    yield judged(
        free >= needed, "max_connections", f"{used} of {most} are in use, {reserved + kept} are reserved", cure, said
    )
    for check, limit, taken, fix in (
        ("connection limit of the role", role_limit, of_role, f"ALTER ROLE {role} CONNECTION LIMIT {of_role + needed}"),
        ("connection limit of the database", database_limit, in_database, f"ALTER DATABASE {database} CONNECTION LIMIT {in_database + needed}"),
    ):  # fmt: skip
        if limit >= 0:
            yield judged(limit - taken >= needed, check, f"{taken} of {limit} are in use", fix, said)


_CONNECTIONS = """
SELECT current_setting('max_connections')::int,
       CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int END,
       CASE WHEN r.rolsuper OR coalesce(pg_has_role(current_user, (SELECT oid FROM pg_roles WHERE rolname = 'pg_use_reserved_connections'), 'USAGE'), false)
            THEN 0 ELSE coalesce(current_setting('reserved_connections', true), '0')::int END,
       (SELECT count(*)::int FROM pg_stat_activity WHERE coalesce(backend_type, 'client backend') = 'client backend' AND pid <> pg_backend_pid()
          AND application_name NOT LIKE 'migration-runbooks%'),
       CASE WHEN r.rolsuper THEN -1 ELSE r.rolconnlimit END,
       (SELECT count(*)::int FROM pg_stat_activity a WHERE a.usename = session_user AND a.application_name NOT LIKE 'migration-runbooks%'),
       CASE WHEN r.rolsuper THEN -1 ELSE d.datconnlimit END,
       (SELECT count(*)::int FROM pg_stat_activity a WHERE a.datname = current_database() AND a.application_name NOT LIKE 'migration-runbooks%')
FROM pg_roles r, pg_database d WHERE r.rolname = session_user AND d.datname = current_database()
"""
"""Our own connections are left out of what is in use: a run has ended by then, or holds a snapshot that it goes on with."""


def _snapshot(cursor: Any, subject: Subject) -> Iterator[Finding]:
    """How long an export holds the snapshot, what vacuum cannot remove meanwhile, and who would keep it from beginning."""
    options = subject.settings.export
    size = sum(heap.bytes for table in subject.tables for heap in table.heaps)
    seconds = size / (BYTES_A_SECOND * min(options.workers, os.cpu_count() or 1))
    cursor.execute(
        "SELECT coalesce(sum(n_tup_upd + n_tup_del), 0)::int8, "
        "extract(epoch FROM now() - greatest((SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()), "
        "pg_postmaster_start_time()))::float8 FROM pg_stat_user_tables"
    )
    rows, since = cursor.fetchone()
    dead = rows / max(since or 1.0, 1.0) * seconds
    what = (
        f"about {roughly(seconds)} for {size / 1e6:,.0f} MB with {options.workers} workers; meanwhile vacuum keeps what is updated and "
        f"deleted in the whole database, about {dead:,.0f} row versions at its usual rate"
    )
    fix = f"set export.hold_snapshot_hours to {max(1, round(seconds / 1800))} or more, or more export.workers"
    yield judged(seconds < options.hold_snapshot_hours * 3600, "snapshot", what, fix, f"at most {options.hold_snapshot_hours:g} hours (export.hold_snapshot_hours)")  # fmt: skip
    cursor.execute(
        "SELECT pid, usename, extract(epoch FROM clock_timestamp() - xact_start)::float8 FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL "
        "AND clock_timestamp() - xact_start > %s * interval '1 second' ORDER BY xact_start LIMIT 3",
        [LONG_TRANSACTION_SECONDS],
    )
    if open_now := [f"session {pid} of {role or '?'} for {roughly(age)}" for pid, role, age in cursor.fetchall()]:
        fix = "let it end, or start the export when it has"
        yield warning("open transactions", f"a slot waits for those that have written: {', '.join(open_now)}", fix)
    cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY 1 LIMIT 5")
    if prepared := [gid for (gid,) in cursor.fetchall()]:
        fix = "; ".join(f"ROLLBACK PREPARED {pg_session.literal(gid)}" for gid in prepared)
        yield warning("prepared transactions", f"are neither committed nor rolled back: {', '.join(prepared)}", f"COMMIT PREPARED each, or {fix}")  # fmt: skip


def _clock(cursor: Any, subject: Subject) -> Iterator[Finding]:
    before = time.time()
    there = float(postgres.value(cursor, "SELECT extract(epoch FROM clock_timestamp())::float8"))
    here = (before + time.time()) / 2
    fix = "set the clocks right, here and there (timedatectl set-ntp true)"
    yield judged(abs(there - here) <= SKEW_SECONDS, "clock", f"{there - here:+.1f} s beside this machine's", fix, f"at most {SKEW_SECONDS:.0f} s apart")  # fmt: skip


_OF_TABLES = frozenset({"tables", "rights", "cutover", "replication", "snapshot"})
"""Checks that have nothing to ask while it is not known what moves."""

_CHECKS: dict[str, Callable[[Any, Subject], Iterable[Finding]]] = {
    "version": _version, "settings": _settings, "tables": _described, "rights": _rights, "backup": _backup, "cutover": _cutover, "replication": _replication,
    "connections": _connections, "snapshot": _snapshot, "clock": _clock,
}  # fmt: skip


def _pooler(source: Source) -> Iterator[Finding]:
    """Whether something stands between us and the server, and whether what must not go through it is refused."""
    with closing(postgres.connect(source, application="migration-runbooks doctor")) as connection:
        connection.autocommit = True
        if pg_session.process_of(connection) == connection.info.backend_pid:
            yield note("pooler", "none: we are connected to the server itself")
            return
        try:
            pg_session.require_options(connection)
        except SessionRefused as error:
            yield stop("pooler", f"one stands between: {error.why}", error.next_step, "the server itself, or session pooling that passes start-up options: backup and freeze")  # fmt: skip
            return
    yield warning("pooler", "one stands between, and gives each client a server process of its own", "connect directly, for an exact LSN and for `runbook sync`")  # fmt: skip
