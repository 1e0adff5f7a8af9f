"""What following changes needs of a source, asked before anything is changed there.

A table in a publication whose rows have no identity is worse than one that cannot be followed: PostgreSQL refuses its UPDATE and
DELETE to everybody (https://www.postgresql.org/docs/current/logical-replication-publication.html). So nothing is published
before each table, and each of its partitions, was found to be fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.errors import MigrationError, SourceRefused
from helpers.finding import Finding, judged, note, stop, warning
from helpers.model.catalog import Table
from helpers.platforms import postgres
from helpers.platforms.faults.postgres import written
from helpers.settings import Source, SyncOptions
from helpers.sync import publication, replication
from helpers.sync.publication import Identity

SLOTS = 2
"""One that changes are read from, and one for a fence or for a table that is copied anew."""

SHORTEST_TIMEOUT_SECONDS = 10
"""A batch of a large transaction is being written for seconds, in which nothing is answered."""


OWNERS_PUBLICATION = "or an owner makes it, and sync.publication names it"
"""What takes no ownership of the tables; the doctor prints the statement once the setting is there."""

OF_EVERY_SLOT = frozenset({"wal_level", "max_replication_slots", "max_wal_senders", "replication connection"})
"""What a copy without anything to follow it needs as well, for its LSN to be exact."""


@dataclass(frozen=True)
class _Unfit:
    """Why a table cannot be followed, in words that several tables may share, and the statement that cures it."""

    check: str
    why: str
    cure: str
    needed: str


def refuse_lacking(cursor: Any, source: Source, tables: Sequence[Table], options: SyncOptions) -> None:
    """Raises `SourceRefused` that names everything that following `tables` needs and the source does not have, with its cures."""
    lacking = [each for each in examine(cursor, source, tables, options) if each.severity == "stop"]
    if lacking:
        fixes = "; ".join(dict.fromkeys(each.fix for each in lacking if each.fix))
        # Nobody should have to give tables away to have their changes followed.
        instead = (
            f"{OWNERS_PUBLICATION} (then `runbook doctor` prints the statement for it); "
            if any(OWNERS_PUBLICATION in (each.needed or "") for each in lacking)
            else ""
        )
        raise SourceRefused(
            "follow changes",
            on=postgres.address(source),
            why="; ".join(f"{each.on}: {each.what}" for each in lacking),
            next_step=f"{fixes}; {instead}then run the same command again",
        )  # fmt: skip


def examine(cursor: Any, source: Source, tables: Sequence[Table], options: SyncOptions) -> Iterator[Finding]:
    """All that a source has to say of it; what stops is what following cannot do without.

    Args:
        cursor: of psycopg2, as the role that is to follow.
        source: to try a replication connection.
        tables: that are to be followed, as the profile describes them.
        options: of the profile.
    """
    if postgres.value(cursor, "SELECT pg_is_in_recovery()"):
        fix = "name the primary as the source, or its standby for the export alone"
        yield stop("standby", "the source is a standby, where no publication is made and no slot gives a snapshot", fix)
        return
    if not tables:
        yield stop(
            "tables", "none would be followed", "correct dbname, schemas and tables of the profile", "at least one"
        )
    yield from _server(cursor)
    yield from _replication_connection(cursor, source)
    identities = publication.identities(cursor, tables)
    unfit = {table: found for table in tables if (found := _unfit(cursor, table, identities[table.oid]))}
    yield from _together(unfit)
    fit = [table for table in tables if table not in unfit]
    yield from (
        _publication(cursor, fit, identities, options.publication) if options.publication else _own(cursor, fit)
    )
    yield from _told(cursor, fit, identities)


def foreseen(cursor: Any, source: Source, tables: Sequence[Table], options: SyncOptions) -> Iterator[Finding]:
    """The same where nobody has asked to follow yet: nothing of it stops, and what would is said in few words."""
    lacking = []
    for each in examine(cursor, source, tables, options):
        if each.severity != "stop":
            yield each
        elif each.on in OF_EVERY_SLOT:
            what = f"{each.what}: a snapshot's LSN will be approximate, and changes cannot be followed"
            yield warning(each.on, what, each.fix, each.needed)
        else:
            lacking.append(each)
    if lacking:
        what = "; ".join(f"{each.on}: {each.what}" for each in lacking)
        fix = "; ".join(dict.fromkeys(each.fix for each in lacking if each.fix))
        yield warning("sync", f"changes could not be followed: {what}", fix, "for `runbook export --follow`")


def _server(cursor: Any) -> Iterator[Finding]:
    level = postgres.value(cursor, "SHOW wal_level")
    on_rds = postgres.value(cursor, "SELECT count(*) FROM pg_roles WHERE rolname = 'rds_superuser'")
    fix = "ALTER SYSTEM SET wal_level = 'logical', then restart the server"
    fix = "set rds.logical_replication = 1 in the parameter group, then reboot" if on_rds else fix
    yield judged(level == "logical", "wal_level", level, fix, "logical: the log says which rows changed")
    for name, used, what in (
        ("max_replication_slots", "SELECT count(*) FROM pg_replication_slots", "slots"),
        ("max_wal_senders", "SELECT count(*) FROM pg_stat_replication", "senders of the log"),
    ):
        most, taken = int(postgres.value(cursor, f"SHOW {name}")), int(postgres.value(cursor, used))
        fix = f"ALTER SYSTEM SET {name} = {taken + SLOTS + 2}, then restart the server"
        needed = f"{SLOTS} that are free: to follow, and for a fence"
        yield judged(most - taken >= SLOTS, name, f"{taken} of {most} {what} are in use", fix, needed)
    yield from _limits(cursor)


def _limits(cursor: Any) -> Iterator[Finding]:
    """How much log the server keeps for a slot, and how long it waits for whoever reads it."""
    cursor.execute(
        "SELECT name, setting::bigint FROM pg_settings WHERE name IN ('max_slot_wal_keep_size', 'wal_sender_timeout', "
        "'idle_replication_slot_timeout')"
    )
    found = dict(cursor.fetchall())
    kept = found.get("max_slot_wal_keep_size", -1)  # since PostgreSQL 13, in MB
    if kept == -1:
        fix = (
            "ALTER SYSTEM SET max_slot_wal_keep_size = '…GB', less than what its disk has free; SELECT pg_reload_conf()"
        )
        yield warning(
            "max_slot_wal_keep_size", "no limit: a slot that nobody reads keeps the log until the disk is full", fix
        )
    else:
        yield note("max_slot_wal_keep_size", f"{kept:,} MB: behind that the slot is lost, and with it the sync")
    if idle := found.get("idle_replication_slot_timeout", 0):  # since PostgreSQL 18, in seconds
        fix = "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf(); or let `runbook sync` run more often"
        yield warning("idle_replication_slot_timeout", f"a slot that nobody has read for {idle:,} s is lost", fix)
    patience = found["wal_sender_timeout"] / 1000
    if 0 < patience < SHORTEST_TIMEOUT_SECONDS:
        fix = "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf()"
        yield warning(
            "wal_sender_timeout", f"{patience:g} s: a large batch takes longer, and the server ends the connection", fix
        )
    yield from _failover(cursor)


def _failover(cursor: Any) -> Iterator[Finding]:
    cursor.execute(
        "SELECT (SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid "
        "WHERE s.slot_type = 'physical'), current_setting('synchronized_standby_slots', true)"
    )
    standbys, waited_for = cursor.fetchone()
    if standbys and not waited_for:
        what = f"{standbys} standbys, and none has to have what is sent: after a failover, the sync is set up anew"
        fix = "since PostgreSQL 17: ALTER SYSTEM SET synchronized_standby_slots = '…', their slots; SELECT pg_reload_conf()"
        yield warning("failover", what, fix)


def _replication_connection(cursor: Any, source: Source) -> Iterator[Finding]:
    if not postgres.value(cursor, _MAY_REPLICATE):
        on_rds = postgres.value(cursor, "SELECT count(*) FROM pg_roles WHERE rolname = 'rds_replication'")
        role = written(postgres.value(cursor, "SELECT current_user"))
        fix = f"GRANT rds_replication TO {role}" if on_rds else f"ALTER ROLE {role} REPLICATION"
        yield stop("REPLICATION", "not granted", fix, "to make a slot, and to read changes from it")
        return
    try:
        with replication.connected(source):
            yield note("replication connection", "is let in")
    except MigrationError as error:
        yield stop(
            "replication connection",
            f"is not let in: {error.why}",
            error.next_step,
            "one that changes are read through",
        )


_MAY_REPLICATE = """
SELECT bool_or(rolsuper OR rolreplication) OR EXISTS (
    SELECT FROM pg_roles r WHERE r.rolname = 'rds_replication' AND pg_has_role(current_user, r.oid, 'USAGE'))
FROM pg_roles WHERE rolname = current_user
"""


def _unfit(cursor: Any, table: Table, identities: Sequence[Identity]) -> _Unfit | None:
    """Why the changes of a table cannot be followed; None where they can."""
    server = int(cursor.connection.server_version)
    name = written(table.schema, table.name)
    leave = f"leave {table} out (--exclude {table})"
    if table.kind not in "rp":
        return _Unfit("views", "a view's rows have no changes of their own", leave, "tables")
    if table.partitioned and server < 130_000:
        return _Unfit("partitions", "a partitioned table is published since PostgreSQL 13", leave, "")
    for each in identities:
        if each.kind == "f":
            return _Unfit("foreign tables", "its rows are written on another server, whose log tells of them", leave, "tables of this server")  # fmt: skip
        if each.persistence == "u":
            return _Unfit("unlogged tables", "the log does not tell of its changes", f"ALTER TABLE {each.sql} SET LOGGED", "tables whose changes are logged")  # fmt: skip
    if not table.key:
        why = "no key that moves tells its rows apart" if table.lost_keys else "no key tells its rows apart"
        fix = f"ALTER TABLE {name} ADD PRIMARY KEY (…), or {leave}"
        return _Unfit("keys", why, fix, "a primary key, or a unique index over columns that are NOT NULL")
    if table.partitioned and not any(key.primary and not key.deferred for key in (*table.keys, *table.lost_keys)):
        why = "a partition that is made later would have no identity, and PostgreSQL refuse its UPDATE and DELETE to everybody"
        return _Unfit("replica identity", why, f"ALTER TABLE {name} ADD PRIMARY KEY (…), or {leave}", "a primary key of the whole table")  # fmt: skip
    if nameless := [each for each in identities if not each.names(table.key)]:
        why = "an UPDATE or DELETE does not tell which row it was"
        return _Unfit("replica identity", why, "; ".join(each.cure(table.key) for each in nameless), "one that has the key's columns")  # fmt: skip
    generated = [c.name for c in table.columns if c.name in table.key and publication.is_generated(c)]
    if generated and server < 180_000:
        why = f"its key is generated ({', '.join(generated)}), and that is published since PostgreSQL 18"
        return _Unfit("replica identity", why, leave, "")
    if table.where and (partly := [each for each in identities if each.toasted and each.mode != "f"]):
        why = "a row that comes to meet `where` may have large values that its UPDATE does not tell"
        return _Unfit("replica identity of filtered tables", why, "; ".join(each.full for each in partly), "FULL where `where` says which rows move")  # fmt: skip
    return None


def _together(unfit: Mapping[Table, _Unfit]) -> Iterator[Finding]:
    """One finding for all tables of which the same is so."""
    for check, why, needed in dict.fromkeys((each.check, each.why, each.needed) for each in unfit.values()):
        mine = {table: each.cure for table, each in unfit.items() if (each.check, each.why) == (check, why)}
        yield stop(check, f"{', '.join(map(str, mine))}: {why}", "; ".join(mine.values()), needed)


def _own(cursor: Any, tables: Sequence[Table]) -> Iterator[Finding]:
    """What making a publication takes (https://www.postgresql.org/docs/current/sql-createpublication.html)."""
    cursor.execute(_TO_PUBLISH, {"tables": [table.oid for table in tables]})
    instead = f"; {OWNERS_PUBLICATION}"
    for right, on, cure in cursor.fetchall():
        yield stop(right, f"not granted on {on}", cure, f"to publish what changes{instead}")


_TO_PUBLISH = """
SELECT 'CREATE', 'database ' || quote_ident(current_database()), format('GRANT CREATE ON DATABASE %%I TO %%I', current_database(), current_user)
WHERE NOT has_database_privilege(current_database(), 'CREATE')
UNION ALL
SELECT 'ownership of tables', string_agg(format('%%I.%%I', n.nspname, c.relname), ', ' ORDER BY n.nspname, c.relname),
       CASE WHEN r.rolsuper THEN string_agg(format('ALTER TABLE %%I.%%I OWNER TO %%I', n.nspname, c.relname, current_user), '; ' ORDER BY n.nspname, c.relname)
            ELSE format('GRANT %%I TO %%I', r.rolname, current_user) END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
WHERE c.oid = ANY (%(tables)s::oid[]) AND NOT pg_has_role(c.relowner, 'USAGE')
GROUP BY r.rolname, r.rolsuper
"""
"""Nobody is made a member of a superuser for that."""


def _publication(
    cursor: Any, tables: Sequence[Table], identities: Mapping[int, Sequence[Identity]], name: str
) -> Iterator[Finding]:
    """Whether the publication that an owner made has what is to be followed."""
    wanted = publication.wanted(cursor, tables, identities)
    needed = "the publication that sync.publication names, of every table that is followed"
    if (found := publication.read(cursor, name)) is None:
        yield stop("publication", f"there is no {name}", publication.statement(cursor, name, wanted), needed)
        return
    for what, cure in publication.differences(cursor, name, found, wanted):
        yield stop("publication", f"{name} {what}", cure, needed)


def _told(cursor: Any, tables: Sequence[Table], identities: Mapping[int, Sequence[Identity]]) -> Iterator[Finding]:
    """What leaves the source for this program although it does not move."""
    wanted = publication.wanted(cursor, tables, identities)
    sent = {
        each.table: [name for name in each.table.omitted if each.columns is None or name in each.columns]
        for each in wanted
    }
    if shown := [f"{table}.{name}" for table, names in sent.items() for name in names]:
        what = f"{', '.join(shown)} are sent to this program with each change, and go no further: "
        what += (
            "a list of columns takes PostgreSQL 15, another identity than FULL, and no part in the key or in `where`"
        )
        yield warning("columns left out", what, "let no other reader of the slot be near, or leave the tables out")
    if later := [str(each.table) for each in wanted if each.columns and each.table.partitioned]:
        what = f"a partition of {', '.join(later)} that is made later is sent to this program with all its columns"
        yield warning(
            "columns left out of partitions",
            what,
            "set the sync up anew after making one, or let no other reader be near",
        )
    if tables:
        full = [str(table) for table in tables if any(each.mode == "f" for each in identities[table.oid])]
        told = f"; {', '.join(full)} with the whole former row, which the log grows by" if full else ""
        yield note("replica identity", f"{len(tables)} tables can be followed{told}")
