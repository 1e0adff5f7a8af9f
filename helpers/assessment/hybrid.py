"""Option B: which tables stay in PostgreSQL, and what then exists on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from helpers.finding import Finding, stop, warning
from helpers.settings import Hybrid, Source
from helpers.source.asking import OF_USERS, as_bytes, asking, rows


@dataclass(frozen=True)
class Split:
    """The source's tables, parted.

    Attributes:
        stay, move: their names.
        unknown: globs that no table matches.
        views: views that read from both sides, with the tables that they read.
        references: foreign keys between the sides, as (from, to).
    """

    stay: tuple[str, ...]
    move: tuple[str, ...]
    unknown: tuple[str, ...]
    views: dict[str, tuple[str, ...]]
    references: tuple[tuple[str, str], ...]


def split(source: Source, hybrid: Hybrid) -> Split:
    """Parts the tables by the globs, and finds what reads or points across.

    Raises:
        ConnectionFailed, SourceRefused: see `asking`.
    """
    values = {"schemas": list(source.schemas)}
    with asking(source, "part the tables") as cursor:
        tables = [row["name"] for row in rows(cursor, _TABLES, values)]
        uses: dict[str, set[str]] = {}
        for row in rows(cursor, _VIEWS, values):
            uses.setdefault(row["view"], set()).add(row["table"])
        pairs = [(row["from"], row["to"]) for row in rows(cursor, _REFERENCES, values)]
    stay = {table for table in tables if _matches(table, hybrid.stay)}
    move = set(tables) - stay
    return Split(
        tuple(sorted(stay)),
        tuple(sorted(move)),
        tuple(glob for glob in hybrid.stay if not any(_matches(table, [glob]) for table in tables)),
        {view: tuple(sorted(read)) for view, read in sorted(uses.items()) if read & stay and read & move},
        tuple(sorted({pair for pair in pairs if len(stay & set(pair)) == 1 and len(move & set(pair)) == 1})),
    )


def findings(found: Split) -> Iterator[Finding]:
    """What cannot be meant, and what joins both sides."""
    for glob in found.unknown:
        fix = "correct hybrid.stay: write name or schema.name"
        yield stop(f"stay {glob!r}", "no table of the source matches it", fix)
    if not found.move:
        yield stop("hybrid.stay", "every table stays, so nothing is moved", "choose option C, or let some tables move")
    if not found.stay and not found.unknown:
        yield stop("hybrid.stay", "no table stays", "choose option A, or name the tables that stay")
    for view, tables in found.views.items():
        staying = [table for table in tables if table in found.stay]
        yield warning(f"view {view}", f"joins both sides: {', '.join(staying)} would stay, and the rest of {', '.join(tables)} moves", "let its tables stay together, or copy the small side to the other, and say how old that copy may be")  # fmt: skip
    for child, parent in found.references:
        yield warning(f"{child} → {parent}", "a foreign key between the sides: nobody enforces it afterwards", "check it by a rule of data quality in the target, or let both tables stay together")  # fmt: skip


def _matches(table: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs for name in (table, table.partition(".")[2]))


_TABLES = f"""
    SELECT {as_bytes("n.nspname || '.' || c.relname")} AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {OF_USERS} ORDER BY 1
"""
_VIEWS = f"""
    WITH RECURSIVE uses AS (
        SELECT DISTINCT r.ev_class AS view, coalesce(pg_partition_root(d.refobjid), d.refobjid)::oid AS used
        FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
    ),
    reach AS (
        SELECT view, used FROM uses
        UNION
        SELECT reach.view, uses.used FROM reach JOIN uses ON uses.view = reach.used
    )
    SELECT {as_bytes("n.nspname || '.' || c.relname")} AS view, {as_bytes("tn.nspname || '.' || t.relname")} AS table
    FROM reach JOIN pg_class c ON c.oid = reach.view JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class t ON t.oid = reach.used AND t.relkind IN ('r', 'p') JOIN pg_namespace tn ON tn.oid = t.relnamespace
    WHERE c.relkind IN ('v', 'm') AND {OF_USERS}
"""
_REFERENCES = f"""
    SELECT {as_bytes("n.nspname || '.' || c.relname")} AS from, {as_bytes("pn.nspname || '.' || p.relname")} AS to
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND {OF_USERS}
"""
