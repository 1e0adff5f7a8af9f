"""The publication: which tables and columns it has, and by what each changed row is told apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import psycopg2

from helpers.model.catalog import Column, Table
from helpers.model.sync import PREFIX
from helpers.platforms import postgres
from helpers.platforms.faults.postgres import written
from helpers.platforms.postgres import identifier, savepoint
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings

PUBLISHED = "insert, update, delete, truncate"


def name_for(settings: Settings, bucket: Bucket) -> str:
    """The name of the slot, and of the publication, of the sync at a stage's location: the same each time, and no other's."""
    profile = re.sub(r"[^a-z0-9_]", "_", settings.profile.lower())[:24]
    mark = sha256(f"{settings.source.dbname} {bucket.location}".encode()).hexdigest()[:8]
    return f"{PREFIX}{profile}_{mark}"


@dataclass(frozen=True)
class Identity:
    """By what the log tells rows of one table or partition apart.

    Attributes:
        kind, persistence: `pg_class.relkind` and `relpersistence`.
        mode: `pg_class.relreplident`: d the primary key, i an index, f the whole row, n nothing.
        columns: of the key or index; empty where there is none.
        toasted: whether it may have values that an UPDATE which leaves them does not tell.
        indexes: that could take its place: name, columns, and whether it is the primary key.
    """

    oid: int
    sql: str
    kind: str
    persistence: str
    mode: str
    columns: tuple[str, ...]
    toasted: bool
    indexes: tuple[tuple[str, tuple[str, ...], bool], ...]

    def names(self, key: Sequence[str]) -> bool:
        """Whether each change tells the former key of its row."""
        return self.mode == "f" or (bool(self.columns) and set(key) <= set(self.columns))

    def cure(self, key: Sequence[str]) -> str:
        """The statement after which it does."""
        for name, columns, primary in self.indexes:
            if set(key) <= set(columns):
                how = "DEFAULT" if primary else f"USING INDEX {written(name)}"
                return f"ALTER TABLE {self.sql} REPLICA IDENTITY {how}"
        return self.full

    @property
    def full(self) -> str:
        """The statement after which the whole former row is told."""
        return f"ALTER TABLE {self.sql} REPLICA IDENTITY FULL"


@dataclass(frozen=True)
class Published:
    """A table as it is to be published.

    Attributes:
        columns: None for all of them, and for what is added later.
        leaves: those that have its rows.
    """

    table: Table
    columns: tuple[str, ...] | None
    leaves: tuple[Identity, ...]

    @property
    def sql(self) -> tuple[str, ...]:
        """As CREATE PUBLICATION takes it.

        A partitioned table takes no list of columns where partitions are published as themselves, but each partition does. The table
        stands beside them, so that a partition which is made later is published, too: all of its columns.
        """
        name = written(self.table.schema, self.table.name)
        columns = f" ({', '.join(map(written, self.columns))})" if self.columns else ""
        if not self.table.partitioned:
            return (f"ONLY {name}{columns}",)
        return (name, *(f"{leaf.sql}{columns}" for leaf in self.leaves if columns))

    @property
    def objects(self) -> set[int]:
        """OIDs of what `sql` names."""
        own = {leaf.oid for leaf in self.leaves if self.columns or not self.table.partitioned}
        return own | ({self.table.oid} if self.table.partitioned else set())


@dataclass(frozen=True)
class Existing:
    """A publication that is there.

    Attributes:
        options: what does not fit of how it publishes, in words; empty where all fits.
        tables: by OID of the table, the columns that are published, and whether a condition leaves rows out. A partition counts as its
            own where it is published by itself.
    """

    options: str
    tables: Mapping[int, tuple[frozenset[str], bool]]


def is_generated(column: Column) -> bool:
    """Whether its value is computed from others."""
    return (column.default or "").startswith("GENERATED ALWAYS AS (")


def identities(cursor: Any, tables: Sequence[Table]) -> dict[int, tuple[Identity, ...]]:
    """By the OID of each table, the identities of those that have its rows: itself, or its partitions."""
    found: dict[int, list[Identity]] = {table.oid: [] for table in tables}
    for row in postgres.rows(cursor, _IDENTITIES, {"tables": list(found)}):
        indexes = tuple((each["name"], tuple(each["columns"]), each["primary"]) for each in row["indexes"])
        found[row["root"]].append(
            Identity(
                row["oid"],
                written(row["schema"], row["name"]), row["kind"], row["persistence"], row["mode"], tuple(row["columns"]), row["toasted"], indexes,
            )
        )  # fmt: skip
    return {oid: tuple(each) for oid, each in found.items()}


_IDENTITIES = """
WITH leaves AS (
    SELECT c.oid AS root, coalesce(p.relid, c.oid) AS relid
    FROM pg_class c LEFT JOIN LATERAL pg_partition_tree(c.oid) p ON c.relkind = 'p' WHERE c.oid = ANY (%(tables)s::oid[])
      AND (c.relkind <> 'p' OR p.isleaf)
), indexes AS (
    SELECT i.indrelid, x.relname::text AS name, i.indisprimary, i.indisreplident, i.indimmediate, i.indisvalid,
           bool_and(a.attnotnull) AS never_null, array_agg(a.attname::text ORDER BY k.position) AS columns
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid IN (SELECT relid FROM leaves) AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
      AND k.position <= i.indnkeyatts
    GROUP BY i.indrelid, i.indexrelid, i.indisprimary, i.indisreplident, i.indimmediate, i.indisvalid, x.relname
)
SELECT l.root, c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, c.relpersistence::text AS persistence,
       c.relreplident::text AS mode, c.reltoastrelid <> 0 AS toasted,
       coalesce((SELECT i.columns FROM indexes i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
           AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END LIMIT 1), '{}') AS columns,
       coalesce((SELECT jsonb_agg(jsonb_build_object('name', i.name, 'columns', i.columns, 'primary', i.indisprimary)
               ORDER BY i.indisprimary DESC, i.name)
           FROM indexes i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate AND i.never_null), '[]') AS indexes
FROM leaves l JOIN pg_class c ON c.oid = l.relid JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY l.root, n.nspname, c.relname
"""
"""An index that is deferred is none of identity, and neither is a primary key that is."""


def wanted(cursor: Any, tables: Sequence[Table], identities: Mapping[int, Sequence[Identity]]) -> tuple[Published, ...]:
    """How each table is to be published: a column that does not move is not sent, where PostgreSQL can leave it out.

    A list of columns has to have those of the identity, or everybody's UPDATE is refused, and keeps a column that is added later
    from being sent; so only tables with columns left out have one.
    """
    return tuple(
        Published(table, _columns(cursor, table, identities[table.oid]), tuple(identities[table.oid]))
        for table in tables
    )


def _columns(cursor: Any, table: Table, identities: Sequence[Identity]) -> tuple[str, ...] | None:
    server = int(cursor.connection.server_version)
    if not table.omitted or server < 150_000 or any(each.mode == "f" for each in identities):
        return None
    needed = {name for each in identities for name in each.columns}
    needed |= {name for name in table.omitted if table.where and _is_read(cursor, table, name)}
    if needed.issuperset(table.omitted):
        return None
    sent = [
        c.name
        for c in table.columns
        if not is_generated(c) or (server >= 180_000 and (c.default or "").endswith(" STORED"))
    ]
    return tuple(dict.fromkeys([*sent, *sorted(needed)]))


def _is_read(cursor: Any, table: Table, column: str) -> bool:
    """Whether the condition reads a column, as PostgreSQL itself says: without it, it understands the condition no more."""
    others = [c.name for c in table.columns] + [name for name in table.omitted if name != column]
    rows = f"(SELECT {', '.join(map(identifier, others))} FROM {table.sql}) AS without_it"
    try:
        with savepoint(cursor):
            cursor.execute(f"EXPLAIN SELECT FROM {rows} WHERE {table.condition}")
        return False
    except psycopg2.Error:
        return True


def statement(cursor: Any, name: str, tables: Sequence[Published]) -> str:
    """The statement that makes the publication."""
    listed = ", ".join(sql for each in tables for sql in each.sql)
    return f"CREATE PUBLICATION {written(name)} FOR TABLE {listed} WITH ({_options(cursor)})"


def _options(cursor: Any) -> str:
    """Partitions are published as themselves: a TRUNCATE of one is lost through its table. What is generated and stored is sent, or a key
    of it could not be told."""
    server = int(cursor.connection.server_version)
    via_root = ", publish_via_partition_root = false" if server >= 130_000 else ""
    generated = ", publish_generated_columns = stored" if server >= 180_000 else ""
    return f"publish = '{PUBLISHED}'{via_root}{generated}"


def read(cursor: Any, name: str) -> Existing | None:
    """The publication of that name, or None."""
    found = postgres.rows(cursor, "SELECT oid, to_jsonb(p) AS is FROM pg_publication p WHERE pubname = %s", [name])
    if not found:
        return None
    is_so = found[0]["is"]
    wrong = [what for what in ("insert", "update", "delete", "truncate") if not is_so[f"pub{what}"]]
    options = [f"does not publish {', '.join(wrong)}"] if wrong else []
    if is_so.get("pubviaroot"):
        options.append("publishes partitions through their table")
    tables = postgres.rows(
        cursor,
        "SELECT c.oid, to_jsonb(t) ->> 'rowfilter' IS NOT NULL AS filtered, to_jsonb(t) -> 'attnames' AS columns "
        "FROM pg_publication_tables t JOIN pg_namespace n ON n.nspname = t.schemaname "
        "JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename WHERE t.pubname = %s",
        [name],
    )
    return Existing(
        "; ".join(options), {row["oid"]: (frozenset(row["columns"] or ()), row["filtered"]) for row in tables}
    )


def differences(cursor: Any, name: str, found: Existing, tables: Sequence[Published]) -> Iterator[tuple[str, str]]:
    """What a publication lacks of what is to be followed, each with the statement that adds it."""
    altered = f"ALTER PUBLICATION {written(name)}"
    if found.options:
        yield found.options, f"{altered} SET ({_options(cursor)})"
    for each in tables:
        add = f"{altered} ADD TABLE {', '.join(each.sql)}"
        if missing := [leaf for leaf in each.leaves if leaf.oid not in found.tables]:
            part = f"{', '.join(leaf.sql for leaf in missing)} of " if each.table.partitioned else ""
            yield f"does not have {part}{each.table}", add
            continue
        anew = f"{altered} DROP TABLE {', '.join(sql.partition(' (')[0] for sql in each.sql)}; {add}"
        listed = [found.tables[leaf.oid] for leaf in each.leaves]
        if any(filtered for _, filtered in listed):
            yield f"leaves rows of {each.table} out by a condition", anew
        needed = {column.name for column in each.table.columns if not is_generated(column)}
        # None are told before PostgreSQL 15.
        if lacking := sorted({name for columns, _ in listed if columns for name in needed - columns}):
            yield f"leaves {', '.join(lacking)} of {each.table} out", anew


def is_exactly(cursor: Any, name: str, tables: Sequence[Published]) -> bool:
    """Whether a publication is there that has these tables and no others, as they are to be published."""
    cursor.execute(
        "SELECT prrelid FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE pubname = %s", [name]
    )
    listed, found = {oid for (oid,) in cursor.fetchall()}, read(cursor, name)
    if found is None or listed != {oid for each in tables for oid in each.objects}:
        return False
    lists = ((found.tables.get(leaf.oid, (None,))[0], each.columns) for each in tables for leaf in each.leaves)
    return not any(differences(cursor, name, found, tables)) and all(
        columns is None or has == frozenset(columns) for has, columns in lists
    )


def unpublished(cursor: Any, name: str, tables: Sequence[int]) -> set[int] | None:
    """Which tables, by OID, a publication of ours did not have in the cursor's snapshot; None where it was not there then."""
    cursor.execute("SELECT oid FROM pg_publication WHERE pubname = %s", [name])
    if (found := cursor.fetchone()) is None:
        return None
    cursor.execute("SELECT prrelid FROM pg_publication_rel WHERE prpubid = %s", [found[0]])
    return set(tables) - {oid for (oid,) in cursor.fetchall()}


def make(cursor: Any, name: str, tables: Sequence[Published], *, comment: str) -> None:
    """Makes the publication; one of the same name, which an export that was broken off left behind, makes room.

    Args:
        cursor: of a session that commits by itself and may write.
        name: as `name_for` gives it.
        tables: of it.
        comment: whose it is, for whoever finds it.

    Raises:
        psycopg2.Error: a right is missing, or a table is locked.
    """
    drop(cursor, name)
    cursor.execute(statement(cursor, name, tables))
    cursor.execute(f"COMMENT ON PUBLICATION {written(name)} IS {postgres.literal(comment)}")


def drop(cursor: Any, name: str) -> bool:
    """Drops a publication of ours; whose name does not begin with `PREFIX` stays. Says whether there was one."""
    if not name.startswith(PREFIX) or read(cursor, name) is None:
        return False
    cursor.execute(f"DROP PUBLICATION {written(name)}")
    return True
