"""Who and what is connected to the source: the downstream integrations that have to be moved or informed."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from helpers.finding import Finding, note, stop, warning
from helpers.model.sync import PREFIX
from helpers.platforms import postgres
from helpers.settings import Source
from helpers.source.asking import OF_USERS, as_bytes, asking, rows

Kind = Literal["application", "role", "replication slot", "publication", "subscription", "foreign server"]

OURS = ("migration-runbooks%", "runbook%")
"""Application names of this program's own connections."""


@dataclass(frozen=True)
class Integration:
    """One of them.

    Attributes:
        kind: as what the server knows it.
        name: how the server knows it.
        detail: who it is and what it may do.
        objects: tables, databases or servers that it uses.
        active: whether it is at work now.
    """

    kind: Kind
    name: str
    detail: str
    objects: tuple[str, ...] = ()
    active: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For the report that later phases read."""
        return {
            "kind": self.kind, "name": self.name, "detail": self.detail, "objects": list(self.objects), "active": self.active,
        }  # fmt: skip


@dataclass(frozen=True)
class Integrations:
    """What was found, and whether our role can see everything that there is."""

    role: str
    sees_all: bool
    found: tuple[Integration, ...]


def find(source: Source) -> Integrations:
    """Asks the server; a system that is not connected at this moment shows by its role's grants alone.

    Raises:
        ConnectionFailed, SourceRefused: see `asking`.
    """
    with asking(source, "list the integrations") as cursor:
        found = (
            *_applications(cursor), *_roles(cursor, source), *_slots(cursor), *_publications(cursor), *_subscriptions(cursor),
            *_servers(cursor),
        )  # fmt: skip
        sees_all = bool(postgres.value(cursor, "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"))
        return Integrations(str(postgres.value(cursor, "SELECT current_user")), sees_all, found)


def without_ours(seen: Integrations, moving: Container[str]) -> Integrations:
    """The same, where the migration's own role uses what it moves and nothing else.

    Its grants are there for the migration: a view that stays behind is missed by nobody for their sake.

    Args:
        moving: tables that move, as "schema.name".
    """
    return replace(seen, found=tuple(_ours(each, moving) if _is_ours(each, seen.role) else each for each in seen.found))


def _is_ours(each: Integration, role: str) -> bool:
    return each.kind == "role" and each.name == role


def _ours(each: Integration, moving: Container[str]) -> Integration:
    used = tuple(name for name in each.objects if name in moving)
    return replace(each, detail=f"{each.detail}; as which this migration reads, {len(used)} of them", objects=used)


def findings(seen: Integrations) -> Iterator[Finding]:
    """Each integration as a fact, and what somebody has to ask about."""
    if not seen.sees_all:
        what = "it does not see where other users' connections come from, so the list may be incomplete"
        fix = f"GRANT pg_monitor TO {seen.role}"
        yield stop(f"role {seen.role}", what, fix)
    for each in seen.found:
        yield _finding(each)
    if not any(each.kind == "application" for each in seen.found):
        yield warning("applications", "none is connected at this moment", "run this phase again while they work")


def _finding(each: Integration) -> Finding:
    on = f"{each.kind} {each.name}"
    if each.kind == "replication slot" and not each.active:
        return warning(on, f"nobody reads it: {each.detail}", "find its reader, or drop it: it holds back the log")
    if each.kind == "subscription":
        return warning(on, f"rows arrive here from elsewhere: {each.detail}", "find out who feeds the target then")
    if each.kind == "foreign server":
        return warning(on, f"queries reach beyond this server: {each.detail}", "say who answers them afterwards")
    if each.kind == "application" and each.name == "(no name)":
        return warning(on, each.detail, "ask its owner what it is, and let it set application_name")
    return note(on, each.detail)


def _applications(cursor: Any) -> Iterator[Integration]:
    for row in rows(
        cursor,
        """
        SELECT coalesce(nullif(application_name, ''), '(no name)') AS name, usename::text AS role, count(*)::int AS connections,
               count(DISTINCT client_addr)::int AS hosts
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend'
          AND application_name NOT LIKE ALL (%(ours)s)
        GROUP BY 1, 2 ORDER BY 1, 2
        """,
        {"ours": list(OURS)},
    ):
        detail = f"{row['connections']} connections as {row['role']} from {row['hosts']} hosts"
        yield Integration("application", row["name"], detail)


_OBJECT = as_bytes("n.nspname || '.' || c.relname")


def _roles(cursor: Any, source: Source) -> Iterator[Integration]:
    for row in rows(
        cursor,
        f"""
        SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE r.rolname END AS name, coalesce(r.rolcanlogin, false) AS login,
               array_agg(DISTINCT g.privilege_type ORDER BY g.privilege_type) AS privileges,
               array_agg(DISTINCT {_OBJECT} ORDER BY {_OBJECT}) AS objects
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) g
        LEFT JOIN pg_roles r ON r.oid = g.grantee
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND g.grantee <> c.relowner AND {OF_USERS}
        GROUP BY 1, 2 ORDER BY 1
        """,
        {"schemas": list(source.schemas)},
    ):
        may = f"{'may log in' if row['login'] else 'a group, or everybody'}; {', '.join(row['privileges'])}"
        yield Integration("role", row["name"], f"{may} on {len(row['objects'])} relations", tuple(row["objects"]))


def _slots(cursor: Any) -> Iterator[Integration]:
    for row in rows(
        cursor,
        """
        SELECT slot_name::text AS name, slot_type AS type, coalesce(plugin::text, 'none') AS plugin, active, database::text AS database,
               CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8 END AS held
        FROM pg_replication_slots WHERE NOT temporary AND (database IS NULL OR database = current_database())
          AND NOT starts_with(slot_name, %(ours)s) ORDER BY 1
        """,
        {"ours": PREFIX},
    ):
        held = f", {row['held']:,} bytes of log behind" if row["held"] is not None else ""
        objects = (row["database"],) if row["database"] else ()
        yield Integration(
            "replication slot", row["name"], f"{row['type']}, plugin {row['plugin']}{held}", objects, row["active"]
        )


def _publications(cursor: Any) -> Iterator[Integration]:
    for row in rows(
        cursor,
        """
        SELECT p.pubname::text AS name, p.puballtables AS whole,
               ARRAY(SELECT t.schemaname || '.' || t.tablename FROM pg_publication_tables t WHERE t.pubname = p.pubname ORDER BY 1)
               AS objects
        FROM pg_publication p WHERE NOT starts_with(p.pubname, %(ours)s) ORDER BY 1
        """,
        {"ours": PREFIX},
    ):
        detail = "all tables" if row["whole"] else f"{len(row['objects'])} tables"
        yield Integration("publication", row["name"], f"offers the changes of {detail}", tuple(row["objects"]))


def _subscriptions(cursor: Any) -> Iterator[Integration]:
    for row in rows(
        cursor,
        """
        SELECT s.subname::text AS name, s.subenabled AS active, s.subpublications AS objects
        FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database() ORDER BY 1
        """,
    ):
        detail = f"of the publications {', '.join(row['objects'])}{'' if row['active'] else ', switched off'}"
        yield Integration("subscription", row["name"], detail, tuple(row["objects"]), row["active"])


def _servers(cursor: Any) -> Iterator[Integration]:
    for row in rows(
        cursor,
        """
        SELECT s.srvname::text AS name, w.fdwname::text AS wrapper,
               ARRAY(SELECT o FROM unnest(s.srvoptions) o WHERE o ~ '^(host|port|dbname)=') AS options,
               ARRAY(SELECT n.nspname || '.' || c.relname FROM pg_foreign_table t JOIN pg_class c ON c.oid = t.ftrelid
                     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.ftserver = s.oid ORDER BY 1) AS objects
        FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw ORDER BY 1
        """,
    ):
        where = f" at {', '.join(row['options'])}" if row["options"] else ""
        detail = f"{row['wrapper']}{where}, {len(row['objects'])} foreign tables"
        yield Integration("foreign server", row["name"], detail, tuple(row["objects"]))
