"""Which tables move and which stay, and what then exists on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from helpers.finding import Finding, stop, warning
from helpers.model.globs import STAYS, left_by_profile
from helpers.settings import Settings
from helpers.source.asking import OF_USERS, as_bytes, asking, rows
from helpers.source.catalog import read_catalog
from helpers.source.relations import Choice, refuse_unknown_globs, survey

_TABLES = "rp"
"""Kinds of relations that are tables, `pg_class.relkind`."""


@dataclass(frozen=True)
class Split:
    """The source's tables, parted.

    Attributes:
        stay: that stay in PostgreSQL, each with the reason.
        move: those that move, each with what of it moves where that is not all.
        left: that the profile leaves out, each with the reason.
        views: views that read from both sides, with the tables that they read.
        references: foreign keys between the sides, as (from, to).
    """

    stay: dict[str, str]
    move: dict[str, str]
    left: dict[str, str] = field(default_factory=dict)
    views: dict[str, tuple[str, ...]] = field(default_factory=dict)
    references: tuple[tuple[str, str], ...] = ()

    @property
    def lines(self) -> list[str]:
        """The same, a line for each table and each reference between the sides: what is signed."""
        return [
            *(f"moves: {name}{f' ({part})' if part else ''}" for name, part in self.move.items()),
            *(f"stays: {name} ({why})" for name, why in self.stay.items()),
            *(f"left out: {name} ({why})" for name, why in self.left.items()),
            *(f"foreign key between the sides: {child} → {parent}" for child, parent in self.references),
        ]


def split(settings: Settings) -> Split:
    """Parts the tables as the profile says, and finds what reads or points across.

    Raises:
        ConnectionFailed, SourceRefused: see `asking`.
        SettingsError: a glob that means nothing.
    """
    schemas, described = settings.source.schemas, settings.tables.choice
    choice = Choice(schemas=schemas, described=described)
    values = {"schemas": list(schemas)}
    with asking(settings.source, "part the tables") as cursor:
        relations = survey(cursor)
        refuse_unknown_globs(cursor, described, relations, schemas)
        why = {str(each): choice.why_not(each) for each in relations if each.kind in _TABLES}
        uses: dict[str, set[str]] = {}
        for row in rows(cursor, _VIEWS, values):
            uses.setdefault(row["view"], set()).add(row["table"])
        pairs = {(row["from"], row["to"]) for row in rows(cursor, _REFERENCES, values)}
        tables = (
            read_catalog(cursor, schemas=schemas, described=settings.tables).tables if settings.tables.match else ()
        )
    parts = {str(table): table.in_part_because for table in tables}
    move = {name: parts.get(name, "") for name, reason in why.items() if not reason}
    stay = {name: reason for name, reason in why.items() if reason.startswith(STAYS)}
    left = {name: reason for name, reason in left_by_profile(why).items() if name not in stay}
    return Split(
        stay,
        move,
        left,
        {view: tuple(sorted(read)) for view, read in sorted(uses.items()) if read & stay.keys() and read & move.keys()},
        tuple(sorted(p for p in pairs if len(stay.keys() & set(p)) == 1 and len(move.keys() & set(p)) == 1)),
    )


def findings(found: Split) -> Iterator[Finding]:
    """What cannot be meant of a hybrid, and what joins both sides."""
    if not found.move:
        yield stop("tables.stay", "every table stays, so nothing is moved", "choose option C, or let some tables move")
    if not found.stay:
        yield stop("tables.stay", "no table stays", "choose option A, or name the tables that stay")
    for view, tables in found.views.items():
        staying = [table for table in tables if table in found.stay]
        yield warning(f"view {view}", f"joins both sides: {', '.join(staying)} would stay, and the rest of {', '.join(tables)} moves", "let its tables stay together, or copy the small side to the other, and say how old that copy may be")  # fmt: skip
    for child, parent in found.references:
        yield warning(f"{child} → {parent}", "a foreign key between the sides: nobody enforces it afterwards", "check it by a rule of data quality in the target, or let both tables stay together")  # fmt: skip


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
