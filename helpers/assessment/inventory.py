"""What the source holds: objects, types, sizes, and which tables are busy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from helpers.finding import Finding, note, stop, warning
from helpers.platforms import postgres
from helpers.platforms.faults.postgres import written
from helpers.settings import Source
from helpers.source.asking import OF_USERS, NoText, as_bytes, asking, rows

_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
}


@dataclass(frozen=True)
class Relation:
    """One table or materialized view, with its partitions.

    Attributes:
        kind: "table", "partitioned table" or "materialized view".
        rows: by the server's statistics.
        bytes: on disk, indexes included.
        writes: rows inserted, updated and deleted since the statistics began.
        reads: scans since then, of the table and of its indexes.
        readable: whether our role may select from it.
        keyed: whether it has a primary key.
    """

    schema: str
    name: str
    kind: str
    rows: int
    bytes: int
    index_bytes: int
    reads: int
    writes: int
    readable: bool
    keyed: bool

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Inventory:
    """The source at a glance.

    Attributes:
        bytes: of the database on disk.
        since: when its statistics were last reset; None where they never were.
        objects: how many there are of each kind.
        types: how many columns there are of each type.
    """

    database: str
    version: str
    role: str
    bytes: int
    since: datetime | None
    objects: dict[str, int]
    types: dict[str, int]
    relations: tuple[Relation, ...]
    extensions: tuple[str, ...]

    @property
    def hot(self) -> tuple[Relation, ...]:
        """Those that were written or read since the statistics began, the busiest first."""
        busy = [r for r in self.relations if r.writes or r.reads]
        return tuple(sorted(busy, key=lambda r: (-r.writes, -r.reads, str(r))))


def take(source: Source) -> Inventory:
    """Reads the catalog and the statistics; reads no row of any table.

    Raises:
        ConnectionFailed, SourceRefused: see `asking`.
    """
    values = {"schemas": list(source.schemas)}
    with asking(source, "take the inventory") as cursor:
        (about,) = rows(
            cursor,
            "SELECT current_database() AS database, current_setting('server_version') AS version, current_user AS role, "
            "pg_database_size(current_database()) AS bytes, "
            "(SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()) AS since",
        )
        return Inventory(
            about["database"],
            about["version"],
            about["role"],
            int(about["bytes"]),
            about["since"],
            _objects(cursor, values),
            {row["type"]: row["columns"] for row in rows(cursor, _TYPES, values)},
            tuple(Relation(**{**row, "kind": _KINDS[row["kind"]]}) for row in rows(cursor, _RELATIONS, values)),
            tuple(row["extname"] for row in rows(cursor, "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1")),
        )  # fmt: skip


def findings(found: Inventory) -> Iterator[Finding]:
    """What a migration has to know of it: nothing to move, what cannot be read, what has no key, what stays behind."""
    if not any(found.objects.get(kind) for kind in ("table", "partitioned table")):
        fix = "correct dbname and schemas of the source in migration.toml"
        yield stop(found.database, "there is no table to move", fix)
    for each in found.relations:
        if isinstance(each.schema, NoText) or isinstance(each.name, NoText):
            fix = "rename it in the source (ALTER … RENAME), or leave it out with --exclude"
            yield stop(str(each), "its name has bytes that are no text in UTF-8", fix)
        if not each.readable and each.kind != "materialized view":
            fix = f"GRANT SELECT ON {written(each.schema, each.name)} TO {written(found.role)}"
            yield stop(str(each), f"the role {found.role} may not select from it", fix)
    if bare := _named(r for r in found.relations if not r.keyed and r.kind != "materialized view"):
        yield warning(bare, "no primary key: rows are compared as a multiset, and changes cannot be followed by key", "add a key where the owner knows one")  # fmt: skip
    for kind in ("view", "materialized view", "function", "trigger"):
        if count := found.objects.get(kind):
            fix = "name for each who computes it afterwards" if kind != "trigger" else "find out what relies on it"
            yield warning(f"{count} {kind}{'s' if count > 1 else ''}", "stays behind: only rows are moved", fix)
    if found.extensions:
        yield note(", ".join(found.extensions), "extensions that the target does not have")
    since = f"since {found.since:%Y-%m-%d}" if found.since else "since the database was made, as they were never reset"
    yield note("reads and writes", f"are counted {since}")


def _named(relations: Iterator[Relation]) -> str:
    return ", ".join(str(each) for each in relations)


def _objects(cursor: Any, values: dict[str, list[str]]) -> dict[str, int]:
    counted = {row["kind"]: row["count"] for row in rows(cursor, _OBJECTS, values)}
    found = {name: counted[kind] for kind, name in _KINDS.items() if kind in counted}
    for name, sql in (("function", _FUNCTIONS), ("trigger", _TRIGGERS), ("foreign key", _FOREIGN_KEYS)):
        if count := int(postgres.value(cursor, sql, values)):
            found[name] = count
    return found


_OBJECTS = f"""
    SELECT c.relkind::text AS kind, count(*)::int AS count
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT c.relispartition AND {OF_USERS}
    GROUP BY 1
"""
_FUNCTIONS = """
    SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s))
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
"""
_TRIGGERS = f"""
    SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND {OF_USERS}
"""
_FOREIGN_KEYS = f"""
    SELECT count(*) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND {OF_USERS}
"""
_TYPES = f"""
    SELECT {as_bytes("format_type(a.atttypid, NULL)")} AS type, count(*)::int AS columns
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND {OF_USERS}
    GROUP BY 1 ORDER BY 2 DESC, 1
"""
_RELATIONS = f"""
    WITH RECURSIVE tree AS (
        SELECT c.oid AS root, c.oid AS relid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND {OF_USERS}
        UNION ALL
        SELECT t.root, i.inhrelid
        FROM tree t JOIN pg_class p ON p.oid = t.relid AND p.relkind = 'p' JOIN pg_inherits i ON i.inhparent = t.relid
    )
    SELECT {as_bytes("n.nspname")} AS schema, {as_bytes("r.relname")} AS name, r.relkind::text AS kind,
           sum(CASE WHEN c.relkind <> 'p' THEN greatest(c.reltuples, 0) ELSE 0 END)::int8 AS rows,
           sum(coalesce(pg_total_relation_size(c.oid), 0))::int8 AS bytes,
           sum(coalesce(pg_indexes_size(c.oid), 0))::int8 AS index_bytes,
           sum(coalesce(s.seq_scan, 0) + coalesce(s.idx_scan, 0))::int8 AS reads,
           sum(coalesce(s.n_tup_ins, 0) + coalesce(s.n_tup_upd, 0) + coalesce(s.n_tup_del, 0))::int8 AS writes,
           has_table_privilege(r.oid, 'SELECT') AS readable,
           EXISTS (SELECT FROM pg_index i WHERE i.indrelid = r.oid AND i.indisprimary) AS keyed
    FROM tree t JOIN pg_class r ON r.oid = t.root JOIN pg_namespace n ON n.oid = r.relnamespace
    JOIN pg_class c ON c.oid = t.relid LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
    GROUP BY r.oid, n.nspname, r.relname, r.relkind
    ORDER BY n.nspname, r.relname
"""
