"""Every relation of a source that holds rows or shows them, and why some do not move."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import psycopg2

from helpers.errors import SettingsError
from helpers.model import globs as globs_of
from helpers.platforms.postgres import savepoint
from helpers.settings import Tables
from helpers.source.comments import codec_of

FIRST_OF_USERS = 16384
"""The first OID that PostgreSQL gives to what users make, `FirstNormalObjectId`
(https://github.com/postgres/postgres/blob/REL_18_STABLE/src/include/access/transam.h)."""


SHOWN = 20
"""Names that an error lists."""

UNNAMED = "not chosen: --tables names others"

DETACHING = "coalesce((to_jsonb(i) ->> 'inhdetachpending')::bool, false)"
"""Of `pg_inherits i`: whether DETACH CONCURRENTLY of the partition has begun and not ended; before PostgreSQL 14 there is none."""


@dataclass(frozen=True)
class Relation:
    """A table, view, foreign table or sequence.

    Attributes:
        kind: `pg_class.relkind`: r table, p partitioned table, v view, m materialized view, f foreign table, S sequence.
        extension: that it belongs to, or empty.
        configured: whether the extension says that users keep rows in it (`pg_extension_config_dump`).
        readable: false for an unlogged table, or one with such a partition, on a standby.
        detaching: whether it is a partition that its table does not show any more.
        legible: whether its schema and name are text in UTF-8; bytes that are not stand in them as `\\xff`.
    """

    oid: int
    schema: str
    name: str
    kind: str
    estimate: int
    temporary: bool
    extension: str
    configured: bool
    has_columns: bool
    readable: bool
    detaching: bool
    legible: bool

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def in_a_server_schema(self) -> bool:
        """Whether it lies in one of PostgreSQL's own schemas, where a superuser may make tables too."""
        return self.schema == "information_schema" or self.schema.startswith("pg_")

    def matches(self, globs: Sequence[str]) -> bool:
        """Whether one of the globs means it, by its name or by its schema and name."""
        return globs_of.match(self.schema, self.name, globs) is not None

    def is_named(self, globs: Sequence[str]) -> bool:
        """Whether it is written out there."""
        return self.name in globs or str(self) in globs


@dataclass(frozen=True)
class Choice:
    """Which relations are to move.

    Attributes:
        schemas: empty for all but PostgreSQL's own.
        tables, exclude: globs over `name` or `schema.name`; no globs in `tables` mean all.
        left_before: why others stay behind, by "schema.table": as an earlier choice left them, none of them is looked at.
        include_views: take views and materialized views for tables.
        described: what the profile says of tables; the globs of a command narrow it further.
        also: names as "schema.table" that are taken whatever they are: what an export took, seen by its verification.
    """

    schemas: Sequence[str] = ()
    tables: Sequence[str] = ()
    exclude: Sequence[str] = ()
    include_views: bool = False
    described: Tables = field(default_factory=Tables)
    also: Collection[str] = ()
    left_before: Mapping[str, str] = field(default_factory=dict)

    def why_not(self, relation: Relation) -> str:
        """Why `relation` stays behind, empty where it moves; relations that stay for one reason share its words."""
        taken = str(relation) in self.also
        named = taken or relation.is_named(self.tables)
        if before := self.left_before.get(str(relation)):
            return before
        if relation.temporary:
            return "a temporary table of a session: it ends with that"
        if (not self.tables or relation.matches(self.tables)) and (
            glob := globs_of.match(relation.schema, relation.name, self.exclude)
        ):
            return f"{globs_of.EXCLUDED} {glob}"
        if described := self._why_by_profile(relation):
            return described
        if relation.extension and not named:
            return _why_of_extension(relation)
        if relation.kind in _STAYS and not ((self.include_views or taken) and relation.kind in "vm"):
            return _STAYS[relation.kind]
        if self.schemas and relation.schema not in self.schemas:
            return f"not chosen: `schemas` in migration.toml does not name {relation.schema}"
        if self.described.include and not relation.matches(self.described.include):
            return f"{globs_of.NOT_INCLUDED} names others"
        if self.tables and not relation.matches(self.tables):
            return UNNAMED
        if relation.in_a_server_schema and relation.schema not in self.schemas and not named:
            return "not chosen: it lies in a schema of PostgreSQL's own; to move it, name it with --tables"
        if relation.detaching:
            return (
                "a partition that is being detached, which its table does not show any more: end that with ALTER TABLE … "
                "DETACH PARTITION … FINALIZE, and it moves as a table of its own"
            )
        if not relation.readable:
            return "an unlogged table, whose rows a standby does not have: read the primary"
        return "" if relation.has_columns else "it has no columns: its rows hold no values"

    def _why_by_profile(self, relation: Relation) -> str:
        """Why the profile leaves a relation where it is, whatever it is; empty where it does not name it."""
        for words, globs in ((globs_of.LEFT, self.described.exclude), (globs_of.STAYS, self.described.stay)):
            if glob := globs_of.match(relation.schema, relation.name, globs):
                return f"{words} {glob}: {globs[glob]}"
        return ""


_STAYS = {
    "v": "a view: its definition belongs to the new pipeline",
    "m": "a materialized view: rebuilt by the new pipeline",
    "f": "a foreign table: its rows live elsewhere",
    "S": "a sequence: its value does not move; what makes keys in the target must begin above the largest one, and the manifest and "
    "`runbook assess` tell what it gives next",
}


def _why_of_extension(relation: Relation) -> str:
    if relation.kind not in "rp":
        return f"it belongs to the extension {relation.extension}"
    rows = "in which users keep rows" if relation.configured else "made with its rows"
    return f"a table of the extension {relation.extension}, {rows}: to move it, name it with --tables"


def survey(cursor: Any) -> list[Relation]:
    """All of them, in the cursor's own snapshot; a partition is part of its table.

    Args:
        cursor: a psycopg2 cursor.
    """
    try:
        with savepoint(cursor):
            return [Relation(*(*row, True)) for row in _relations(cursor, "{}::text")]
    except psycopg2.DataError:
        # One name that is no text in UTF-8, and the server refuses all: as bytes it gives them.
        codec = codec_of(cursor)
        rows = _relations(cursor, "pg_catalog.convert_to({}::text, pg_catalog.current_setting('server_encoding'))")
        return [
            Relation(
                oid,
                _text(schema, codec),
                _text(name, codec),
                *(*rest, _is_text(schema, codec) and _is_text(name, codec)),
            )
            for oid, schema, name, *rest in rows
        ]


def _text(name: memoryview, codec: str) -> str:
    return bytes(name).decode(codec, errors="backslashreplace")


def _is_text(name: memoryview, codec: str) -> bool:
    try:
        return bool(bytes(name).decode(codec))
    except UnicodeDecodeError:
        return False


def _relations(cursor: Any, name: str) -> list[tuple[Any, ...]]:
    """What `Relation` has, in its order, but for the last; `name` is what a name is asked as."""
    cursor.execute(
        f"""
        SELECT c.oid, {name.format("n.nspname")}, {name.format("c.relname")}, c.relkind::text, greatest(t.estimate, 0)::int8,
               c.relpersistence = 't', coalesce(e.extname, ''),
               coalesce(c.oid = ANY (e.extconfig), false),
               EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
               NOT (t.unlogged AND pg_is_in_recovery()), c.relispartition
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
            AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
        LEFT JOIN pg_extension e ON e.oid = d.refobjid
        CROSS JOIN LATERAL (
            WITH RECURSIVE tree AS (
                SELECT c.oid AS relid
                UNION ALL SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relid WHERE c.relkind = 'p'
            )
            SELECT sum(greatest(l.reltuples, 0)) FILTER (WHERE l.relkind <> 'p') AS estimate,
                   bool_or(l.relpersistence = 'u') AS unlogged
            FROM tree JOIN pg_class l ON l.oid = tree.relid
        ) t
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.oid >= %s
          AND (NOT c.relispartition OR EXISTS (
              SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND {DETACHING}
          ))
        ORDER BY n.nspname, c.relname
        """,
        [FIRST_OF_USERS],
    )
    return list(cursor.fetchall())


def refuse_unknown_globs(
    cursor: Any, described: Tables, relations: Sequence[Relation], schemas: Sequence[str] = ()
) -> None:
    """Refuses a glob of the profile that means nothing: a slip in it must not pass for a choice.

    Raises:
        SettingsError: names every such glob, and what is called nearly so.
    """
    tables = [relation for relation in relations if relation.kind in "rpm"]
    inside = [table for table in tables if not schemas or table.schema in schemas]
    keys = {"include": inside, "exclude": relations, "stay": tables, "match": inside}
    wrong = [
        (key, glob)
        for key, known in keys.items()
        for glob in getattr(described, key)
        if not any(relation.matches([glob]) for relation in known)
    ]
    if not wrong:
        return
    why, cures = [], []
    for _, glob in wrong:
        if root := _partitioned(cursor, glob):
            why.append(f"{glob} means a partition of {root}, which moves or stays as a whole")
            cures.append(f"name {root}")
        elif other := next((relation for relation in relations if relation.matches([glob])), None):
            what = f"lies in the schema {other.schema}, which `source.schemas` does not name"
            why.append(f"{glob} means no table: {other} {f'is {_KINDS[other.kind]}' if other.kind in _KINDS else what}")
            cures += [] if other.kind in _KINDS else [f"add {other.schema} to `source.schemas`, or take the glob away"]
        else:
            why.append(f"{glob} matches no table")
            names = [name for relation in tables for name in (str(relation), relation.name)]
            near = get_close_matches(glob, dict.fromkeys(names), n=3, cutoff=0.6)
            cures.append(f"did you mean {' or '.join(near)}?" if near else f"name one of {_some(tables)}")
    raise SettingsError(
        "find the tables that the profile describes",
        on=", ".join(f'tables.{key} "{glob}"' for key, glob in wrong),
        why="; ".join(why),
        next_step="; ".join(dict.fromkeys(cures)) or "take it away",
    )


_KINDS = {"v": "a view", "f": "a foreign table", "S": "a sequence"}


def _some(tables: Sequence[Relation]) -> str:
    names = [str(table) for table in tables]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN]) or '(the source has no tables)'}{more}"


def _partitioned(cursor: Any, glob: str) -> str | None:
    """The partitioned table that a partition which the glob means belongs to."""
    cursor.execute(
        "SELECT n.nspname, c.relname, s.nspname || '.' || r.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_class r ON r.oid = pg_partition_root(c.oid) JOIN pg_namespace s ON s.oid = r.relnamespace "
        "WHERE c.relispartition AND c.relkind IN ('r', 'p', 'f') ORDER BY 1, 2"
    )
    return next((root for schema, name, root in cursor.fetchall() if globs_of.match(schema, name, [glob])), None)


def not_found(cursor: Any, glob: str, relations: Sequence[Relation], choice: Choice) -> tuple[str, str]:
    """Why a glob of `choice.tables` matches no table that moves, and what to write instead."""
    if root := _partitioned(cursor, glob):
        return f"it is a partition of {root}, and moves with that", f"name the table: --tables {root}"
    if meant := next((relation for relation in relations if relation.matches([glob])), None):
        return f"{meant} does not move: {choice.why_not(meant)}", "choose another table, or remove what keeps it back"
    others = replace(choice, tables=())
    known = ", ".join(str(relation) for relation in relations if not others.why_not(relation))
    return "no table matches", f"name one of: {known or '(the source has no tables)'}"
