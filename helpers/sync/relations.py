"""What became of a table since it was copied: the stream carries no DDL, so its descriptions of tables, and the catalog, are compared
with the copy.

Some of what changes a table is told by nothing else than the catalog: a partition that was attached with its rows or detached, a table
that is idle since its columns changed, was made unlogged or taken out of the publication. So the catalog is looked at between batches
(`look`), besides each description that the stream gives (`Tables.compare`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.model.manifest import StagedColumn, StagedTable
from helpers.model.sync import Sync, SyncedTable
from helpers.platforms import postgres
from helpers.platforms.faults.postgres import written
from helpers.platforms.postgres import identifier
from helpers.sync.changes import Relation

GENERATED = "GENERATED ALWAYS AS ("
"""What the default of a generated column begins with, as the catalog is read."""


@dataclass(frozen=True)
class Difference:
    """How a table is otherwise than it was copied.

    Attributes:
        added: columns that it has got. Their values are in the stream; whether rows from before have some, `adding` tells.
        anew: why its changes cannot go on before it is copied anew, each a clause that names the columns; empty where they can.
    """

    added: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """`anew` in one clause."""
        return "; ".join(self.anew)


@dataclass(frozen=True)
class Seen:
    """A column as it is now, or was when a change was made.

    Attributes:
        type: of its values, as the copy names it: of a domain, that below it; empty where the type itself is gone.
        key: whether each change tells it of the former row.
    """

    name: str
    type: str
    key: bool = True


def differences(
    table: StagedTable, columns: Sequence[Seen], *, generated_are_sent: bool, later: Collection[str] = ()
) -> Difference:
    """What a table's columns say against the copy's.

    Args:
        table: as it was copied, with what was added since.
        columns: as they are now, in their order.
        generated_are_sent: whether a generated column that is missing there is missing in the table.
        later: columns that may be missing, since the changes may be from before they were added.
    """
    staged = {column.source: column for column in table.columns if not column.flag_of}
    now = {column.name: column for column in columns}
    gone = [
        name for name, column in staged.items()
        if name not in now and name not in later and (generated_are_sent or _is_sent(column))
    ]  # fmt: skip
    fresh = [name for name in now if name not in staged and name not in table.omitted]
    renamed = _renamed(list(staged), {name: column.postgres for name, column in staged.items()}, columns, gone, fresh)
    anew = [f"the column {written(old)} is called {written(new)} now" for old, new in renamed.items()]
    anew += [f"the column {written(name)} is gone" for name in gone if name not in renamed]
    for name, column in staged.items():
        if name in now and now[name].type != column.postgres:
            is_now = now[name].type or "of a type that is gone since"
            anew.append(f"the column {written(name)} is {is_now}, and was {column.postgres} in the copy")
    if untold := [name for name in table.key if name in now and not now[name].key]:
        names = ", ".join(map(written, untold))
        anew.append(
            f"an UPDATE or DELETE does not tell {names} of its row any more: the table's REPLICA IDENTITY was changed"
        )
    return Difference(tuple(name for name in fresh if name not in renamed.values()), tuple(anew))


def _is_sent(column: StagedColumn) -> bool:
    """Whether each description has the column: a generated one is mostly left out, and an export may not know which is."""
    return column.default is not None and not column.default.startswith(GENERATED)


def _renamed(
    order: Sequence[str], types: Mapping[str, str], columns: Sequence[Seen], gone: Sequence[str], fresh: Sequence[str]
) -> dict[str, str]:
    """Columns that stand where others of the same type stood, and the others' names."""
    if len(order) > len(columns):
        return {}
    return {
        old: new.name
        for old, new in zip(order, columns, strict=False)
        if old in gone and new.name in fresh and new.type == types[old]
    }


@dataclass(frozen=True)
class Tables:
    """The tables of a sync, found again by what the stream calls them.

    Args:
        sync: its record.
        staged: the tables of its copy.
    """

    sync: Sync
    staged: Sequence[StagedTable]

    def table(self, cursor: Any, relation: Relation) -> StagedTable | None:
        """The table whose rows a relation has, with the columns that it got since the copy; None where it is none of the sync.

        Args:
            cursor: of psycopg2 on the source: a partition that was made since is found by the catalog.
        """
        synced = next((each for each in self.sync.tables if relation.oid in (each.oid, *each.partitions)), None)
        if synced is None:
            cursor.execute(_ROOT, [relation.oid])
            (root,) = cursor.fetchone()
            by_name = self.sync.table(relation.schema, relation.name)
            synced = next((each for each in self.sync.tables if root and each.oid == root), None)
            synced = synced or (by_name if by_name and not by_name.oid else None)
        if synced is None:
            return None
        mine = (synced.schema_, synced.name)
        found = next((each for each in self.staged if (each.schema_, each.name) == mine), None)
        return synced.extended(found) if found else None

    def compare(self, cursor: Any, relation: Relation, table: StagedTable) -> Difference:
        """What a relation, as the stream describes it, says against the copy of its table."""
        kinds = _types(cursor, relation)
        columns = [
            Seen(column.name, kinds.get(number, ""), column.key) for number, column in enumerate(relation.columns, 1)
        ]
        synced = self.sync.table(table.schema_, table.name)
        found = differences(table, columns, generated_are_sent=False, later=synced.later if synced else ())
        if table.where and relation.identity != "f" and _has_large_values(cursor, relation.oid):
            why = f"an UPDATE does not tell the large values that it leaves, and `where` ({table.where}) may need them: REPLICA IDENTITY was FULL"
            return Difference(found.added, (*found.anew, why))
        return found


_ROOT = "SELECT pg_partition_root(c.oid)::oid FROM (SELECT %s::oid AS oid) c"

_BELOW = """
SELECT b.number, format_type(t.oid, b.modifier) AS type FROM below b JOIN pg_type t ON t.oid = b.type WHERE t.typtype <> 'd'
"""
"""A domain is seen through to the type below it, as the catalog is read for a copy."""


def _types(cursor: Any, relation: Relation) -> dict[int, str]:
    """By a column's number, from 1."""
    cursor.execute(
        "WITH RECURSIVE below AS (SELECT number, type, modifier FROM unnest(%s::oid[], %s::int[]) WITH ORDINALITY AS c (type, modifier, number) "
        "UNION ALL SELECT b.number, t.typbasetype, t.typtypmod FROM below b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd')"
        + _BELOW,
        [[column.type_oid for column in relation.columns], [column.typmod for column in relation.columns]],
    )
    return dict(cursor.fetchall())


def _has_large_values(cursor: Any, oid: int) -> bool:
    cursor.execute("SELECT reltoastrelid <> 0 FROM pg_class WHERE oid = %s", [oid])
    return any(has for (has,) in cursor.fetchall())


def look(cursor: Any, sync: Sync, staged: Sequence[StagedTable]) -> tuple[Sync, dict[str, Difference]]:
    """What the catalog says of the tables of a sync that have not stopped; for between batches.

    Args:
        cursor: of psycopg2 on the source.
        sync: its record, whose tables have their OIDs.
        staged: the tables of its copy.

    Returns:
        The record with the partitions that were made since, and by `schema.name` each table that is otherwise than it was copied.
    """
    going = [each for each in sync.tables if not each.stopped and each.oid]
    copied = {(each.schema_, each.name): each for each in staged}
    rows = {row["asked"]: row for row in postgres.rows(cursor, _LOOK, {"oids": [each.oid for each in going], "publication": sync.publication})}  # fmt: skip
    found: dict[str, Difference] = {}
    for each in going:
        row = rows[each.oid]
        anew = list(_moved(each, row, sync.publication))
        added: tuple[str, ...] = ()
        if row["oid"] is not None and (table := copied.get((each.schema_, each.name))):
            columns = [Seen(column["name"], column["type"]) for column in row["columns"]]
            in_columns = differences(each.extended(table), columns, generated_are_sent=True)
            added, anew = in_columns.added, [*anew, *in_columns.anew]
            if added and row["listed"]:
                anew.append(
                    f"{', '.join(map(written, added))} is not sent: the publication {sync.publication} names the table's columns"
                )
            if table.key and not any(set(key) <= set(table.key) for key in row["keys"]):
                anew.append(
                    f"nothing keeps two rows from having the same {', '.join(map(written, table.key))} any more"
                )
            partitions, why = _partitions(cursor, each, row["partitions"])
            anew += why
            sync = sync.with_table(each.model_copy(update={"partitions": partitions}))
        if added or anew:
            found[str(each)] = Difference(added, tuple(anew))
    return sync, found


def _moved(table: SyncedTable, row: Mapping[str, Any], publication: str) -> Iterator[str]:
    if row["oid"] is None:
        yield "the table was dropped"
        return
    if (row["schema"], row["name"]) != (table.schema_, table.name):
        yield f"the table is called {written(row['schema'], row['name'])} now"
    if row["unlogged"]:
        yield f"{', '.join(row['unlogged'])} was made unlogged, and the log does not tell of its changes"
    if row["unpublished"]:
        yield f"{', '.join(row['unpublished'])} is not in the publication {publication} any more"


def _partitions(
    cursor: Any, table: SyncedTable, now: Sequence[Mapping[str, Any]]
) -> tuple[tuple[int, ...], Iterator[str]]:
    """Those to record, and what is wrong with the others: rows that came or went with a partition are in no message."""
    former = set(table.partitions)
    fresh = [each for each in now if each["oid"] not in former]
    attached = [each for each in fresh if not each["made_as_one"] or _has_rows_of(cursor, each)]
    names = [written(each["schema"], each["name"]) for each in attached]
    lost = former - {each["oid"] for each in now}
    why = [f"{', '.join(names)} was attached as a partition, perhaps with rows"] if names else []
    why += [f"{len(lost):,} partitions were detached or dropped, with their rows"] if lost else []
    kept = (*table.partitions, *(each["oid"] for each in fresh if each not in attached))
    return kept, iter(why)


def _has_rows_of(cursor: Any, partition: Mapping[str, Any]) -> bool:
    """Whether it has rows of the transaction that made it: some may have been there before it became a partition."""
    name = identifier(partition["schema"], partition["name"])
    return bool(
        postgres.value(cursor, f"SELECT EXISTS (SELECT FROM ONLY {name} WHERE xmin = %s::xid)", [partition["made_by"]])
    )


_LOOK = """
WITH RECURSIVE asked AS (
    SELECT o AS asked, c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind
    FROM unnest(%(oids)s::oid[]) o LEFT JOIN pg_class c ON c.oid = o LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
), members AS (
    SELECT a.oid AS root, c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind, c.relpersistence, c.reltype
    FROM asked a CROSS JOIN LATERAL (SELECT a.oid AS oid UNION SELECT t.relid FROM pg_partition_tree(a.oid) t) m
    JOIN pg_class c ON c.oid = m.oid JOIN pg_namespace n ON n.oid = c.relnamespace
), published AS (
    SELECT relid FROM pg_get_publication_tables(%(publication)s)
), below AS (
    SELECT a.attrelid, a.attnum AS number, a.attname::text AS name, a.atttypid AS type, a.atttypmod AS modifier
    FROM pg_attribute a WHERE a.attrelid IN (SELECT oid FROM asked) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.attrelid, b.number, b.name, t.typbasetype, t.typtypmod FROM below b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
)
SELECT a.asked, a.oid, a.schema, a.name,
    (SELECT jsonb_agg(jsonb_build_object('name', b.name, 'type', format_type(t.oid, b.modifier)) ORDER BY b.number)
     FROM below b JOIN pg_type t ON t.oid = b.type WHERE b.attrelid = a.oid AND t.typtype <> 'd') AS columns,
    (SELECT coalesce(jsonb_agg(k.columns), '[]') FROM (
        SELECT jsonb_agg(c.attname) AS columns FROM pg_index i JOIN pg_attribute c ON c.attrelid = i.indrelid
            AND c.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
        WHERE i.indrelid = a.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
        GROUP BY i.indexrelid HAVING bool_and(c.attnotnull)) k) AS keys,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('oid', m.oid::bigint, 'schema', m.schema, 'name', m.name, 'made_by', i.xmin::text,
            'made_as_one', m.relkind <> 'f' AND i.xmin = y.xmin)), '[]')
     FROM members m JOIN pg_inherits i ON i.inhrelid = m.oid LEFT JOIN pg_type y ON y.oid = m.reltype
     WHERE m.root = a.oid AND m.oid <> a.oid) AS partitions,
    ARRAY(SELECT m.schema || '.' || m.name FROM members m WHERE m.root = a.oid AND m.relpersistence = 'u' ORDER BY 1) AS unlogged,
    ARRAY(SELECT m.schema || '.' || m.name FROM members m WHERE m.root = a.oid AND m.relkind <> 'p'
        AND m.oid NOT IN (SELECT relid FROM published) ORDER BY 1) AS unpublished,
    EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN members m ON m.oid = r.prrelid
        WHERE m.root = a.oid AND p.pubname = %(publication)s AND to_jsonb(r) ->> 'prattrs' IS NOT NULL) AS listed
FROM asked a
"""
"""A partition was made as one where its type, which comes with a table, and its place below another were written by one transaction."""


def identified(cursor: Any, tables: Sequence[SyncedTable]) -> tuple[SyncedTable, ...]:
    """The same with the OIDs by which the stream will know them.

    Args:
        cursor: in the snapshot of the copy, so that what is attached to a table since is seen.
        tables: of which each is there.
    """
    cursor.execute(
        "SELECT n.nspname::text, c.relname::text, c.oid::bigint, ARRAY(SELECT relid::oid::bigint FROM pg_partition_tree(c.oid) WHERE relid <> c.oid ORDER BY 1) "
        "FROM unnest(%s::text[], %s::text[]) a (schema, name) JOIN pg_namespace n ON n.nspname = a.schema "
        "JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = a.name",
        [[each.schema_ for each in tables], [each.name for each in tables]],
    )
    found = {(schema, name): (oid, tuple(partitions)) for schema, name, oid, partitions in cursor.fetchall()}
    return tuple(
        each.model_copy(update=dict(zip(("oid", "partitions"), found[each.schema_, each.name], strict=True)))
        for each in tables
    )
