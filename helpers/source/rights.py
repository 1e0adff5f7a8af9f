"""What a role lacks on the source, each right as the statement that grants it, all of them at once and before anything is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from helpers.errors import SourceFailed
from helpers.model.catalog import Table


@dataclass(frozen=True)
class Lack:
    """A right that the cursor's role does not have, or a thing that keeps it from reading.

    Attributes:
        right: as the documentation of PostgreSQL calls it ("SELECT", "BYPASSRLS").
        on: the objects that it is missing on; empty for a right of the role itself.
        cure: the statement after which it is there; an owner or a superuser runs it.
        moves: whether what moves needs it; otherwise it is for the backup of the rest alone.
    """

    right: str
    on: str
    cure: str
    moves: bool = True


_WANTED = """
wanted AS (
    SELECT c.oid, c.relnamespace, c.relkind, c.relispopulated,
           quote_ident(n.nspname) AS schema, format('%%I.%%I', n.nspname, c.relname) AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%(tables)s::oid[])
)"""

_PARTITIONS = """
SELECT p.relid::oid FROM unnest(%(tables)s::oid[]) AS t (oid) CROSS JOIN LATERAL pg_partition_tree(t.oid) p
UNION SELECT unnest(%(tables)s::oid[])
"""

_MISSING = f"""
WITH {_WANTED}, lacking AS (
    SELECT 1 AS turn, 'USAGE' AS lack, 'schema ' || string_agg(DISTINCT schema, ', ' ORDER BY schema) AS objects,
           format('GRANT USAGE ON SCHEMA %%s TO %%I', string_agg(DISTINCT schema, ', ' ORDER BY schema), current_user) AS cure
    FROM wanted WHERE NOT has_schema_privilege(relnamespace, 'USAGE') HAVING count(*) > 0
    UNION
    SELECT 2, 'SELECT', string_agg(name, ', ' ORDER BY name),
           format('GRANT SELECT ON %%s TO %%I', string_agg(name, ', ' ORDER BY name), current_user)
    FROM wanted WHERE CASE WHEN relkind <> 'S' THEN NOT has_table_privilege(oid, 'SELECT') END HAVING count(*) > 0
    UNION
    SELECT 3, 'BYPASSRLS', string_agg(name, ', ' ORDER BY name), format('ALTER ROLE %%I BYPASSRLS', current_user)
    FROM wanted WHERE CASE WHEN relkind <> 'S' THEN row_security_active(oid) END HAVING count(*) > 0
    UNION
    SELECT 4, 'REFRESH', name, format('REFRESH MATERIALIZED VIEW %%s', name)
    FROM wanted WHERE relkind = 'm' AND NOT relispopulated
)
SELECT lack, objects, cure FROM lacking ORDER BY turn, cure
"""
"""A table that was dropped since the snapshot has no rights to ask for: the functions see the present, and answer NULL."""

_DRAWN = """
    SELECT d.objid FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
      AND d.refobjid = ANY (%(tables)s::oid[])
    UNION
    SELECT d.refobjid FROM pg_catalog.pg_attrdef a JOIN pg_catalog.pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
    WHERE d.refclassid = 'pg_class'::regclass AND a.adrelid = ANY (%(tables)s::oid[])
"""
"""Among others, the sequences that the tables own, or that a default of theirs draws from."""

_SEQUENCES = f"""
SELECT 'SELECT', string_agg(name, ', ' ORDER BY name),
       format('GRANT SELECT ON SEQUENCE %%s TO %%I', string_agg(name, ', ' ORDER BY name), current_user)
FROM (
    SELECT DISTINCT format('%%I.%%I', n.nspname, s.relname) AS name
    FROM pg_catalog.pg_class s JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
    WHERE (s.oid = ANY (%(tables)s::oid[]) OR s.oid IN ({_DRAWN}))
      AND CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'SELECT') END
) sequences HAVING count(*) > 0
"""

_OF_THE_ROLE = """
WITH me AS (SELECT rolsuper, rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user)
SELECT 'pg_monitor', '', format('GRANT pg_monitor TO %%I', current_user)
WHERE NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
UNION ALL
SELECT 'REPLICATION', '',
       CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rds_replication')
            THEN format('GRANT rds_replication TO %%I', current_user) ELSE format('ALTER ROLE %%I REPLICATION', current_user) END
FROM me WHERE NOT (rolsuper OR rolreplication) AND NOT pg_is_in_recovery()
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = 'rds_replication' AND pg_has_role(current_user, r.oid, 'USAGE'))
"""
"""REPLICATION is an attribute that no membership brings; on Amazon RDS, whose users cannot have it, a role stands for it
(https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/PostgreSQL.Concepts.General.FeatureSupport.LogicalReplication.html)."""

_DUMPED = """
SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""
"""What `pg_dump` reads: all tables, each partition by its own name, and all sequences."""

_LARGE_OBJECTS = """
SELECT 'SELECT', count(*) || ' large objects',
       format('GRANT SELECT ON LARGE OBJECT %%s TO %%I', string_agg(l.oid::text, ', ' ORDER BY l.oid), current_user)
FROM pg_catalog.pg_largeobject_metadata l
WHERE NOT pg_has_role(l.lomowner, 'USAGE') AND NOT EXISTS (
    SELECT FROM aclexplode(l.lomacl) a
    WHERE a.privilege_type = 'SELECT' AND CASE WHEN a.grantee = 0 THEN true ELSE pg_has_role(a.grantee, 'USAGE') END)
HAVING count(*) > 0
"""

_TO_CUT_OVER = f"""
WITH {_WANTED}, lacking AS (
    SELECT 1 AS turn, 'ownership of the database' AS lack, 'database ' || quote_ident(d.datname) AS objects,
           CASE WHEN r.rolsuper THEN format('ALTER DATABASE %%I OWNER TO %%I', d.datname, current_user)
                ELSE format('GRANT %%I TO %%I', r.rolname, current_user) END AS cure
    FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba
    WHERE d.datname = current_database() AND NOT pg_has_role(d.datdba, 'USAGE')
    UNION
    SELECT 2, 'pg_signal_backend', 'sessions of others', format('GRANT pg_signal_backend TO %%I', current_user)
    WHERE NOT pg_has_role(current_user, 'pg_signal_backend', 'USAGE')
    UNION
    SELECT 3, 'INSERT, UPDATE, DELETE', string_agg(name, ', ' ORDER BY name),
           format('GRANT INSERT, UPDATE, DELETE ON %%s TO %%I', string_agg(name, ', ' ORDER BY name), current_user)
    FROM wanted WHERE relkind IN ('r', 'p') AND NOT (
        has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
    HAVING count(*) > 0
    UNION
    SELECT 4, 'UPDATE', string_agg(name, ', ' ORDER BY name),
           format('GRANT UPDATE ON SEQUENCE %%s TO %%I', string_agg(name, ', ' ORDER BY name), current_user)
    FROM (
        SELECT DISTINCT format('%%I.%%I', n.nspname, s.relname) AS name
        FROM pg_catalog.pg_class s JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
        WHERE s.oid IN ({_DRAWN}) AND CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'UPDATE') END
    ) owned HAVING count(*) > 0
)
SELECT lack, objects, cure FROM lacking ORDER BY turn, cure
"""
"""A freeze stores a setting for the database, which its owner may, and ends sessions; a rollback writes rows, and sets sequences.
Nobody is made a member of a superuser for that."""


def missing(cursor: Any, tables: Iterable[Table]) -> tuple[Lack, ...]:
    """What keeps the cursor's role from reading all rows of `tables`.

    Args:
        cursor: a psycopg2 cursor.
        tables: their partitions are read through them.
    """
    return _asked(cursor, _MISSING, _oids(tables))


def missing_before_cutover(cursor: Any, tables: Iterable[Table], *, backup: bool = True) -> tuple[Lack, ...]:
    """What the phases up to the cutover need and the cursor's role does not have, each right once.

    Rows and sequences of `tables`; who uses the source (pg_monitor); a snapshot with an exact LSN (REPLICATION).

    Args:
        cursor: a psycopg2 cursor.
        tables: that move.
        backup: whether everything else is read too, since phase 00 proves a backup of the whole database.
    """
    moving = _with_partitions(cursor, tables)
    cursor.execute(_DUMPED)
    everything = sorted({*moving, *(oid for (oid,) in cursor.fetchall())}) if backup else moving
    found = []
    for sql in (_MISSING, _SEQUENCES):
        of_moving = {lack.right for lack in _asked(cursor, sql, moving)}
        found += [replace(lack, moves=lack.right in of_moving) for lack in _asked(cursor, sql, everything)]
    if backup:
        found += [replace(lack, moves=False) for lack in _asked(cursor, _LARGE_OBJECTS, [])]
    return (*found, *_asked(cursor, _OF_THE_ROLE, []))


def missing_to_dump(cursor: Any) -> tuple[Lack, ...]:
    """What keeps `pg_dump` from reading the whole database."""
    cursor.execute(_DUMPED)
    oids = [oid for (oid,) in cursor.fetchall()]
    return tuple(lack for sql in (_MISSING, _SEQUENCES, _LARGE_OBJECTS) for lack in _asked(cursor, sql, oids))


def missing_to_cut_over(cursor: Any, tables: Iterable[Table]) -> tuple[Lack, ...]:
    """What keeps it from freezing the source (phase 50), and from bringing back what was written since (phase 90)."""
    return _asked(cursor, _TO_CUT_OVER, _oids(tables))


def refuse_missing(cursor: Any, tables: Iterable[Table]) -> None:
    """Raises `SourceFailed` that names every right which is missing, as the statements that grant them."""
    if found := missing(cursor, tables):
        info = cursor.connection.info
        hidden = [lack.on for lack in found if lack.right == "BYPASSRLS"]
        raise SourceFailed(
            "read the tables that are to move",
            on=f"PostgreSQL {info.dbname} at {info.host}:{info.port} as {info.user}",
            why=f"{len(found)} {'thing is' if len(found) == 1 else 'things are'} in the way of reading all rows: rights are "
            "missing, or a materialized view was never filled"
            + (f"; row-level security hides rows of {', '.join(hidden)} from it" if hidden else ""),
            next_step=f"let an owner or a superuser run: {'; '.join(lack.cure for lack in found)}; then run the same command again",
        )


def _oids(tables: Iterable[Table]) -> list[int]:
    return [table.oid for table in tables]


def _with_partitions(cursor: Any, tables: Iterable[Table]) -> list[int]:
    cursor.execute(_PARTITIONS, {"tables": _oids(tables)})
    return [oid for (oid,) in cursor.fetchall()]


def _asked(cursor: Any, sql: str, oids: list[int]) -> tuple[Lack, ...]:
    cursor.execute(sql, {"tables": oids})
    return tuple(Lack(right, on, cure) for right, on, cure in cursor.fetchall())
