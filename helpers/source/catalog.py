"""The tables of a source, read from PostgreSQL's catalog in one snapshot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg2

from helpers.errors import SourceRefused, UsageError
from helpers.model import globs, masks
from helpers.model.catalog import Catalog, Column, ForeignKey, Heap, Heir, Key, PgType, Table
from helpers.platforms.postgres import rows, savepoint
from helpers.settings import Tables
from helpers.source.asking import as_bytes
from helpers.source.comments import NO_TEXT, codec_of, read_comments
from helpers.source.relations import DETACHING, Choice, Relation, not_found, refuse_unknown_globs, survey


def read_catalog(
    cursor: Any,
    *,
    schemas: Sequence[str] = (),
    tables: Sequence[str] = (),
    exclude: Sequence[str] = (),
    include_views: bool = False,
    described: Tables | None = None,
    also: Collection[str] = (),
    left_before: Mapping[str, str] | None = None,
) -> Catalog:
    """Reads the tables that match, in the cursor's own snapshot, and says why the other relations do not move.

    Of the others no more is read than their names: none of them need be readable.

    Args:
        cursor: a psycopg2 cursor.
        schemas, tables, exclude, include_views, also, left_before: see `relations.Choice`.
        described: the profile's section `tables`; without it, every table is meant.

    Raises:
        SettingsError: a glob or column of the profile that there is not, or that cannot be meant.
        UsageError: a glob or schema that matches nothing, which names what there is; or nothing is left.
    """
    choice = Choice(schemas, tables, exclude, include_views, described or Tables(), also, left_before or {})
    relations = survey(cursor)
    if missing := _missing(cursor, schemas):
        raise UsageError(
            "find the schemas to migrate",
            on=", ".join(missing),
            why="the source has no such schema",
            next_step="correct `schemas` in migration.toml",
        )
    refuse_unknown_globs(cursor, choice.described, relations, schemas)
    why = {relation.oid: choice.why_not(relation) for relation in relations}
    chosen = [relation for relation in relations if not why[relation.oid]]
    for glob in tables:
        if not any(relation.matches([glob]) for relation in chosen):
            reason, cure = not_found(cursor, glob, relations, choice)
            raise UsageError("find the tables to migrate", on=f"--tables {glob}", why=reason, next_step=cure)
    globs.refuse_unknown("--exclude", exclude, [(r.schema, r.name) for r in relations if r.kind != "S"], "the source")
    if exclude and not chosen:
        globs.refuse_nothing_left(exclude)
    oids = [relation.oid for relation in chosen]
    comments = read_comments(cursor, oids)
    columns, indexes, foreign_keys, heirs, (heaps, through) = _described(cursor, chosen, comments.texts)
    found = [
        Table(
            schema=row.schema,
            name=row.name,
            oid=row.oid,
            columns=columns[row.oid],
            key=next((index.key.columns for index in indexes.get(row.oid, ()) if index.tells_apart), ()),
            heaps=heaps.get(row.oid, ()),
            comment=comments.texts.get((row.oid, 0)),
            estimated_rows=row.estimate,
            kind=row.kind,
            keys=tuple(dict.fromkeys(index.key for index in indexes.get(row.oid, ()))),
            foreign_keys=foreign_keys.get(row.oid, ()),
            heirs=heirs.get(row.oid, ()),
            through_parent=row.oid in through,
        )
        for row in chosen
    ]
    masks.refuse_unknown_columns(found, choice.described)
    return Catalog(
        tuple(masks.described(table, choice.described) for table in found),
        {
            **{str(relation): why[relation.oid] for relation in relations if why[relation.oid]},
            **{f"the comment on {name}": NO_TEXT for name in _named(cursor, comments.lost)},
        },
    )


def _described(cursor: Any, chosen: Sequence[Relation], comments: Mapping[tuple[int, int], str]) -> Any:
    """Columns, indexes, foreign keys, heirs and heaps of the relations.

    Raises:
        SourceRefused: of some of them they are no text; it names all of those.
    """
    try:
        with savepoint(cursor):
            if all(relation.legible for relation in chosen):
                oids = [relation.oid for relation in chosen]
                return (
                    _columns(cursor, oids, comments),
                    _indexes(cursor, oids),
                    _foreign_keys(cursor, oids),
                    _heirs(cursor, oids),
                    _heaps(cursor, oids),
                )
    except psycopg2.DataError:
        pass
    if len(chosen) == 1:
        raise _illegible(chosen)
    raise _illegible([relation for relation in chosen if not _is_legible(cursor, relation)])


def _is_legible(cursor: Any, relation: Relation) -> bool:
    with suppress(SourceRefused):
        return bool(_described(cursor, [relation], {}))
    return False


def _illegible(relations: Sequence[Relation]) -> SourceRefused:
    return SourceRefused(
        "read the definitions of the tables that are to move",
        on=", ".join(map(str, relations)),
        why="the name of the table, of a column, partition or type, or a label of an enum has bytes that are no text in UTF-8",
        next_step=f"rename it in the source (ALTER … RENAME, ALTER TYPE … RENAME VALUE), or leave the table out: {globs.how_to_exclude(relations)}",
    )


def _named(cursor: Any, lost: Collection[tuple[int, int]]) -> list[str]:
    """Tables and columns by their OID and number."""
    if not lost:
        return []
    cursor.execute(
        "SELECT concat_ws('.', n.nspname, c.relname, a.attname) FROM unnest(%s::oid[], %s::int[]) AS l (relation, number) "
        "JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace "
        "LEFT JOIN pg_attribute a ON a.attrelid = l.relation AND a.attnum = l.number AND l.number > 0 ORDER BY 1",
        [list(numbers) for numbers in zip(*lost, strict=True)],
    )
    return [str(name) for (name,) in cursor.fetchall()]


def _missing(cursor: Any, schemas: Sequence[str]) -> list[str]:
    query = (
        "SELECT s FROM unnest(%s::text[]) s WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = s) ORDER BY s"
    )
    return [row["s"] for row in rows(cursor, query, (list(schemas),))]


_UNCHECKED = (
    "EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum] "
    "AND NOT n.convalidated)"
)
"""A NOT NULL constraint that is NOT VALID, since PostgreSQL 18: rows from before it may still hold NULL."""


def _columns(cursor: Any, oids: list[int], comments: Mapping[tuple[int, int], str]) -> dict[int, tuple[Column, ...]]:
    found: dict[int, list[Column]] = {}
    defaults = _defaults(cursor, oids)
    for row in rows(
        cursor,
        f"""
        WITH RECURSIVE resolved AS (
            SELECT a.attrelid, a.attnum, a.attname, a.attnotnull AND NOT {_UNCHECKED} AS attnotnull, a.atttypid AS type,
                   a.atttypmod AS modifier
            FROM pg_attribute a WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL
            SELECT r.attrelid, r.attnum, r.attname, r.attnotnull OR t.typnotnull, t.typbasetype, t.typtypmod
            FROM resolved r JOIN pg_type t ON t.oid = r.type WHERE t.typtype = 'd'
        )
        SELECT r.attrelid AS relation, r.attnum AS number, r.attname AS name, r.attnotnull AS not_null, r.modifier,
               t.typname AS type, format_type(t.oid, r.modifier) AS sql, t.typtype::text AS kind,
               e.typname AS element,
               ARRAY(SELECT l.enumlabel::text FROM pg_enum l WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder) AS labels
        FROM resolved r
        JOIN pg_type t ON t.oid = r.type AND t.typtype <> 'd'
        LEFT JOIN pg_type e ON t.typcategory = 'A' AND e.oid = t.typelem
        ORDER BY r.attrelid, r.attnum
        """,
        (oids,),
    ):
        kind = PgType(row["type"], row["sql"], row["kind"], row["element"], row["modifier"], tuple(row["labels"]))
        default = defaults.get((row["relation"], row["number"]), "") if defaults is not None else None
        comment = comments.get((row["relation"], row["number"]))
        column = Column(row["name"], kind, row["not_null"], comment, default)
        found.setdefault(row["relation"], []).append(column)
    return {oid: tuple(columns) for oid, columns in found.items()}


def _defaults(cursor: Any, oids: list[int]) -> dict[tuple[int, int], str] | None:
    """By relation and column, where there is one; None where the server cannot print them all.

    It prints them by its catalog of this moment, which may lack a type that the snapshot still knows; and a generated
    column's expression waits for whoever has its table locked, which the others, printed without their table, do not.
    """
    try:
        with savepoint(cursor):
            found = rows(
                cursor,
                """
            WITH RECURSIVE below AS (
                SELECT a.attrelid, a.attnum, a.attidentity, a.attgenerated, a.atttypid AS type,
                       pg_get_expr(d.adbin, CASE WHEN a.attgenerated = '' THEN 0 ELSE a.attrelid END) AS expression
                FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
                UNION ALL
                SELECT b.attrelid, b.attnum, b.attidentity, b.attgenerated, t.typbasetype, pg_get_expr(t.typdefaultbin, 0)
                FROM below b JOIN pg_type t ON t.oid = b.type AND t.typtype = 'd'
                WHERE b.expression IS NULL AND b.attidentity = ''
            )
            SELECT attrelid AS relation, attnum AS number,
                   CASE WHEN attidentity = 'a' THEN 'GENERATED ALWAYS AS IDENTITY'
                        WHEN attidentity = 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY'
                        WHEN attgenerated = 's' THEN 'GENERATED ALWAYS AS (' || expression || ') STORED'
                        WHEN attgenerated <> '' THEN 'GENERATED ALWAYS AS (' || expression || ')'
                        ELSE expression END AS expression
            FROM below WHERE attidentity <> '' OR expression IS NOT NULL
            """,
                (oids,),
            )
    except psycopg2.Error:
        return None
    return {(row["relation"], row["number"]): row["expression"] for row in found}


@dataclass(frozen=True)
class _Index:
    key: Key
    tells_apart: bool
    """Whether it holds at every moment, and for every row: it is not deferred, and none of its columns takes NULL."""


def _indexes(cursor: Any, oids: list[int]) -> dict[int, list[_Index]]:
    """Unique indexes over plain columns of every row: the primary key first, then from the smallest on."""
    found: dict[int, list[_Index]] = {}
    for row in rows(
        cursor,
        f"""
        SELECT i.indrelid AS relation, i.indisprimary AS primary, {as_bytes("x.relname")} AS name,
               array_agg(a.attname::text ORDER BY k.position) AS columns,
               i.indimmediate AS immediate, i.indimmediate AND bool_and(a.attnotnull AND NOT {_UNCHECKED}) AS tells_apart
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
        CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indrelid = ANY (%s::oid[]) AND i.indisunique AND i.indisvalid
          AND i.indpred IS NULL AND i.indexprs IS NULL AND k.position <= i.indnkeyatts
        GROUP BY i.indrelid, i.indexrelid, i.indisprimary, i.indimmediate, x.relname
        ORDER BY i.indrelid, i.indisprimary DESC, count(*), i.indexrelid
        """,
        (oids,),
    ):
        key = Key(tuple(row["columns"]), row["primary"], deferred=not row["immediate"], name=_text(cursor, row["name"]))
        index = _Index(key, row["tells_apart"])
        found.setdefault(row["relation"], []).append(index)
    return found


def _foreign_keys(cursor: Any, oids: list[int]) -> dict[int, tuple[ForeignKey, ...]]:
    """Foreign keys of each relation: those that it has itself, and those that its partitions have.

    The copies that PostgreSQL keeps of a table's own for its partitions are none of their own. Where every partition was given
    the same one by itself, as pg_dump's of older versions are, it holds for the table; where only some were, it does not.
    A temporal one refers to periods (PERIOD, since PostgreSQL 18), which is no equality of values: it is left to the list of
    what stays behind.
    """
    found: dict[int, dict[ForeignKey, list[dict[str, Any]]]] = {}
    for row in rows(
        cursor,
        f"""
        WITH RECURSIVE tree AS (
            SELECT root, root AS relid, ARRAY[root] AS path FROM unnest(%s::oid[]) AS r (root)
            UNION ALL
            SELECT t.root, i.inhrelid, t.path || i.inhrelid
            FROM tree t JOIN pg_class p ON p.oid = t.relid AND p.relkind = 'p' JOIN pg_inherits i ON i.inhparent = t.relid
            WHERE NOT {DETACHING}
        ), leaves AS (
            SELECT t.root, t.relid, t.path, count(*) OVER (PARTITION BY t.root) AS all
            FROM tree t JOIN pg_class c ON c.oid = t.relid AND c.relkind <> 'p'
            UNION ALL
            SELECT t.root, t.root, t.path, 0 FROM tree t JOIN pg_class c ON c.oid = t.relid AND c.relkind = 'p' WHERE t.relid = t.root
        )
        SELECT l.root AS relation, k.conrelid = l.root AS own, l.all, {as_bytes("k.conname")} AS name,
               {as_bytes("n.nspname")} AS schema, {as_bytes("r.relname")} AS table,
               d.relname AS declared_on, c.columns, c.referenced,
               CASE WHEN NOT coalesce((to_jsonb(k) ->> 'conenforced')::bool, true) THEN 'NOT ENFORCED'
                    WHEN NOT k.convalidated THEN 'NOT VALID' ELSE '' END AS unchecked
        FROM leaves l
        JOIN pg_constraint k ON k.conrelid = ANY (l.path) AND k.contype = 'f' AND k.conparentid = 0
            AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::bool, false) AND (l.all > 0 OR k.conrelid = l.root)
        JOIN pg_class d ON d.oid = l.root
        JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace n ON n.oid = r.relnamespace
        CROSS JOIN LATERAL (
            SELECT array_agg(a.attname::text ORDER BY p.position) AS columns,
                   array_agg(f.attname::text ORDER BY p.position) AS referenced
            FROM unnest(k.conkey, k.confkey) WITH ORDINALITY AS p (attnum, referenced, position)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.attnum
            JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = p.referenced
        ) c
        ORDER BY l.root, k.conname
        """,
        (oids,),
    ):
        named = {each: _text(cursor, row[each]) for each in ("name", "schema", "table")}
        row |= named
        key = ForeignKey(tuple(row["columns"]), row["schema"], row["table"], tuple(row["referenced"]))
        found.setdefault(row["relation"], {}).setdefault(key, []).append(row)
    return {oid: tuple(_of_all(key, each) for key, each in keys.items()) for oid, keys in found.items()}


def _text(cursor: Any, name: memoryview) -> str:
    """A name that stands for nothing but itself: bytes of it that are no text keep no table back."""
    return bytes(name).decode(codec_of(cursor), errors="backslashreplace")


def _of_all(key: ForeignKey, declared: Sequence[dict[str, Any]]) -> ForeignKey:
    """One foreign key of a table, by what was found of it in each of its partitions."""
    own = next((row for row in declared if row["own"]), None)
    if own:
        return replace(key, name=own["name"], unchecked=own["unchecked"])
    name = f"{declared[0]['declared_on']}_{'_'.join(key.columns)}_fkey"
    unchecked = next((row["unchecked"] for row in declared if row["unchecked"]), "")
    if len(declared) < declared[0]["all"]:
        unchecked = f"declared for {len(declared)} of {declared[0]['all']} partitions"
    return replace(key, name=name, unchecked=unchecked)


def _heaps(cursor: Any, oids: list[int]) -> tuple[dict[int, tuple[Heap, ...]], set[int]]:
    """The heaps of each relation, and the relations whose partitions may only be read through them.

    From the system tables alone: functions that look at a relation wait for whoever has it locked.
    """
    heaps: dict[int, list[Heap]] = {}
    hidden: set[int] = set()
    for row in rows(
        cursor,
        f"""
        WITH RECURSIVE tree AS (
            SELECT root, root AS relid FROM unnest(%s::oid[]) AS r (root)
            UNION ALL
            SELECT t.root, i.inhrelid
            FROM tree t JOIN pg_class p ON p.oid = t.relid AND p.relkind = 'p' JOIN pg_inherits i ON i.inhparent = t.relid
            WHERE NOT {DETACHING}
        )
        SELECT t.root, c.oid, n.nspname AS schema, c.relname AS name, c.relfilenode AS file, c.relkind = 'f' AS foreign,
               c.relpages AS pages, {_READABLE.format(relation="t.root")} AND NOT {_READABLE.format(relation="c.oid")} AS hidden
        FROM tree t
        JOIN pg_class c ON c.oid = t.relid AND c.relkind NOT IN ('p', 'v')
        JOIN pg_namespace n ON n.oid = c.relnamespace
        ORDER BY t.root, n.nspname, c.relname
        """,
        (oids,),
    ):
        heap = Heap(row["schema"], row["name"], row["oid"], row["pages"] or 0, row["file"], row["foreign"])
        heaps.setdefault(row["root"], []).append(heap)
        hidden |= {row["root"]} if row["hidden"] else set()
    return {oid: tuple(found) for oid, found in heaps.items()}, hidden


_READABLE = (
    "(coalesce(has_table_privilege({relation}, 'SELECT') AND NOT row_security_active({relation}), false) "
    "AND (SELECT has_schema_privilege(s.relnamespace, 'USAGE') FROM pg_class s WHERE s.oid = {relation}))"
)
"""Whether the role may read a relation's rows, all of them, by its name; a right on a table is one on its partitions as long as
they are read through it."""


def _heirs(cursor: Any, oids: list[int]) -> dict[int, tuple[Heir, ...]]:
    """What inherits from each relation, but for partitions and other sessions' temporary tables, which SELECT passes over."""
    heirs: dict[int, list[Heir]] = {}
    for row in rows(
        cursor,
        """
        WITH RECURSIVE tree AS (
            SELECT c.oid AS root, c.oid AS relid FROM pg_class c WHERE c.oid = ANY (%s::oid[]) AND c.relkind <> 'p'
            UNION
            SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relid
        )
        SELECT t.root, c.oid, n.nspname || '.' || c.relname AS name,
               c.relkind = 'f' OR c.relpersistence = 'u' AND pg_is_in_recovery() AS elsewhere
        FROM tree t JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE t.root <> t.relid AND c.relpersistence <> 't'
        ORDER BY t.root, n.nspname, c.relname
        """,
        (oids,),
    ):
        heirs.setdefault(row["root"], []).append(Heir(row["oid"], row["name"], row["elsewhere"]))
    return {oid: tuple(found) for oid, found in heirs.items()}


def measured(cursor: Any, catalog: Catalog) -> Catalog:
    """The catalog with the size of each heap as it is now; call it once the tables are locked."""
    oids = [heap.oid for table in catalog.tables for heap in table.heaps if not heap.foreign]
    found = rows(
        cursor,
        "SELECT oid, (pg_relation_size(oid) / current_setting('block_size')::int)::int8 AS pages, "
        "pg_table_size(oid) AS bytes FROM unnest(%s::oid[]) AS t (oid)",
        (oids,),
    )
    sizes = {row["oid"]: (row["pages"] or 0, row["bytes"] or 0) for row in found}

    def sized(heap: Heap) -> Heap:
        pages, size = sizes.get(heap.oid, (0, 0))
        return replace(heap, pages=pages, bytes=size)

    return replace(
        catalog,
        tables=tuple(replace(table, heaps=tuple(sized(heap) for heap in table.heaps)) for table in catalog.tables),
    )
