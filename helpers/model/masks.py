"""What the profile leaves of a table: columns that do not move, rows that do, and masks in the place of values.

A mask is an expression that PostgreSQL evaluates wherever the column is read: the export, the census, every digest and every
comparison of the source see the masked value and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from hashlib import sha256

from helpers.errors import SettingsError
from helpers.model import globs
from helpers.model.catalog import Column, Key, Masked, PgType, Table
from helpers.platforms.pg_session import MASK_SALT
from helpers.platforms.postgres import literal
from helpers.settings import Constant, Mask, Match, Tables

TEXT = PgType("text", "text")

_NULL = "(CASE WHEN false THEN {c} END)"
"""NULL, of the column's own type."""
_DIGEST = "encode(sha256(convert_to({salt}{{c}}::text, 'UTF8')), 'hex')"
_SALT = f"current_setting({literal(MASK_SALT)}) || "
"""The session has the salt, so that no query, log or manifest holds it."""


def described(table: Table, tables: Tables) -> Table:
    """`table` as the profile describes it.

    Raises:
        SettingsError: no column is left, a constant does not fit, a generated column would tell what is masked, or an entry that
            does not count would have hidden a column that moves.
    """
    if not (found := tables.matched(table.schema, table.name)):
        return table
    glob, match = found
    _refuse_shown(table, tables, glob)
    if not (match.omit or match.mask or match.where):
        return table
    salt = tables.mask_salt.get_secret_value() if tables.mask_salt else None
    columns = tuple(
        _masked(glob, table, c, match.mask[c.name], salt) if c.name in match.mask else c
        for c in table.columns
        if c.name not in match.omit
    )
    if not columns:
        raise _error(glob, "omit", f"{table} would have no column left", "exclude the table instead")
    _refuse_generated(glob, table, match)
    telling = {c.name for c in columns if c.name not in match.mask or match.mask[c.name] == "sha256"}
    keys = tuple(key for key in table.keys if telling.issuperset(key.columns))
    return replace(
        table,
        columns=columns,
        key=table.key if telling.issuperset(table.key) else _another_key(columns, keys),
        keys=keys,
        lost_keys=tuple(key for key in table.keys if key not in keys),
        where=(match.where or "").strip(),
        omitted=tuple(c.name for c in table.columns if c.name in match.omit),
        reason=match.reason or "",
    )


def hides(table: Table, tables: Tables) -> bool:
    """Whether the profile omits or masks a column of `table`, so that no example of its rows may be shown."""
    found = described(table, tables)
    return bool(found.omitted or found.masked)


def refuse_unknown_columns(tables: Sequence[Table], described_as: Tables) -> None:
    """Refuses an omitted or masked column that no table of its glob has.

    Args:
        tables: as the catalog has them, before anything was left out.

    Raises:
        SettingsError: names the column and what is called nearly so.
    """
    of_glob: dict[str, list[Table]] = {}
    for table in tables:
        if found := described_as.matched(table.schema, table.name):
            of_glob.setdefault(found[0], []).append(table)
    for glob, meant in of_glob.items():
        match = described_as.match[glob]
        known = {column.name for table in meant for column in table.columns}
        for key, names in (("omit", match.omit), ("mask", tuple(match.mask))):
            if unknown := [name for name in names if name not in known]:
                near = get_close_matches(unknown[0], sorted(known), n=3, cutoff=0.5)
                where = str(meant[0]) if len(meant) == 1 else f"none of {', '.join(map(str, meant))}"
                cure = f"did you mean {' or '.join(near)}?" if near else f"name one of {', '.join(sorted(known))}"
                raise _error(glob, key, f"{where} has no column {', '.join(unknown)}", cure)


def _refuse_shown(table: Table, tables: Tables, glob: str) -> None:
    """One entry counts for a table: what another glob hides must not move because somebody wrote an entry for the table alone."""
    counts = tables.match[glob]
    hidden = {*counts.omit, *counts.mask}
    for other, match in tables.match.items():
        if other == glob or not globs.match(table.schema, table.name, [other]):
            continue
        for key, names in (("omit", match.omit), ("mask", tuple(match.mask))):
            if shown := [c.name for c in table.columns if c.name in names and c.name not in hidden]:
                why = f'it says so of {table}.{", ".join(shown)}, and tables.match."{glob}" counts for that table, which does not'
                raise _error(other, key, why, f'omit or mask {", ".join(shown)} in tables.match."{glob}", too')


def _another_key(columns: Iterable[Column], keys: Sequence[Key]) -> tuple[str, ...]:
    """A unique key that still tells every row apart; none leaves the table to be compared as a multiset."""
    never_null = {column.name for column in columns if column.not_null}
    return next((key.columns for key in keys if not key.deferred and never_null.issuperset(key.columns)), ())


def _masked(glob: str, table: Table, column: Column, mask: Mask, salt: str | None) -> Column:
    if mask == "null":
        return replace(column, not_null=False, mask=Masked("NULL", _NULL))
    if mask == "sha256":
        mark = sha256(f"mask_salt {salt}".encode()).hexdigest()[:8] if salt else ""
        words = f"SHA-256 of its text behind a salt ({mark})" if salt else UNSALTED
        return replace(column, type=TEXT, mask=Masked(words, _DIGEST.format(salt=_SALT if salt else "")))
    assert isinstance(mask, Constant)
    if column.type.length is not None and len(mask.constant) > column.type.length:
        why = f"{mask.constant!r} does not fit {table}.{column.name}, a {column.type.sql}"
        raise _error(glob, "mask", why, "choose a shorter constant")
    value = f"{literal(mask.constant)}::{column.type.sql}".replace("{", "{{").replace("}", "}}")
    sql = f"(CASE WHEN {{c}} IS NOT NULL THEN {value} END)"
    return replace(column, mask=Masked(f"the constant {mask.constant!r}", sql))


UNSALTED = "SHA-256 of its text without a salt, so that whoever has a list of likely values finds them again"


def _refuse_generated(glob: str, table: Table, match: Match) -> None:
    hidden = {*match.omit, *match.mask}
    for column in table.columns:
        if column.name in hidden or not (column.default or "").startswith("GENERATED ALWAYS AS ("):
            continue
        if told := [name for name in hidden if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", column.default or "")]:
            why = f"{table}.{column.name} is computed from {', '.join(sorted(told))}, and would tell it"
            raise _error(glob, "mask" if told[0] in match.mask else "omit", why, f"omit or mask {column.name}, too")


def _error(glob: str, key: str, why: str, next_step: str) -> SettingsError:
    return SettingsError("describe the tables", on=f'tables.match."{glob}".{key}', why=why, next_step=next_step)
