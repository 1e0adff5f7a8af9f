"""The policies of `migration.toml`: what happens to values that no target holds, and whether a policy means anything.

A key names a column ("schema.table.column"), all columns of a table ("schema.table.*") or a PostgreSQL type; where several
do, that is their order. A policy with a flag column that is given for a table or type concerns the columns that have such
values and are no part of a key; given for one column, it must make sense there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from difflib import get_close_matches

from helpers.errors import SettingsError
from helpers.model import types
from helpers.model.catalog import Column, PgType, Table
from helpers.platforms.postgres import literal
from helpers.settings import Policy, Sentinel

AS_TEXT = types.Mapping(
    "{c}::text",
    "VARCHAR",
    "VARCHAR",
    "STRING",
    note="PostgreSQL's text of the value that the column itself does not hold",
)


@dataclass(frozen=True)
class Chosen:
    """The policy for one column.

    Attributes:
        key: under which it stands in `migration.toml`.
        policy: what it says.
        constant: the SQL of what takes the place of a value that no target holds; None where the column becomes text.
        places: digits after the point that a numeric sentinel needs.
        whole: digits before it.
    """

    key: str
    policy: Policy
    constant: str | None = None
    places: int = 0
    whole: int = 0

    def __str__(self) -> str:
        return str(self.policy)


def chosen(table: Table, column: Column, policies: Mapping[str, Policy]) -> Chosen | None:
    """The policy for `column`, or None; raises `SettingsError` for one that cannot be meant."""
    for key, own in ((f"{table}.{column.name}", True), (f"{table}.*", False)):
        if key in policies and (own or _concerns(policies[key], table, column)):
            return _understood(key, policies[key], column)
    for key, policy in policies.items():
        if _names(key, column.type) and _concerns(policy, table, column):
            return _understood(key, policy, column)
    return None


def check_policies(tables: Iterable[Table], policies: Mapping[str, Policy], *, complete: bool = True) -> None:
    """Refuses a policy that matches nothing, or that cannot be meant, before anything is read.

    Args:
        tables: of the catalog.
        policies: from `migration.toml`.
        complete: whether `tables` are all there are; if not, a policy for a table or type that is not among them passes.

    Raises:
        SettingsError: names the key and, where something is called nearly so, that.
    """
    found = list(tables)
    columns = [(table, column) for table in found for column in table.columns]
    for key, policy in policies.items():
        matched = [(t, c) for t, c in columns if key in (f"{t}.{c.name}", f"{t}.*") or _names(key, c.type)]
        for table, column in matched:
            if key == f"{table}.{column.name}" or _concerns(policy, table, column):
                _understood(key, policy, column)
        if any(key == f"{t}.{c.name}" or _concerns(policy, t, c) for t, c in matched):
            continue
        if matched:
            raise _error(
                key,
                f"none of the {len(matched)} columns it names has values that {policy} could take: only "
                f"{', '.join(sorted(types.MASKED))} columns outside a key do",
                'take it out, or use "text"',
            )
        if complete or any(key.startswith(f"{table}.") for table in found):
            raise _no_such(key, found)


def masked(mapping: types.Mapping, condition: str, constant: str) -> types.Mapping:
    """`mapping` with `constant` in the place of every value for which `condition` holds."""
    value = f"(CASE WHEN {condition} THEN {constant} ELSE {{c}} END)"
    note = f"{mapping.note}; " if mapping.note else ""
    return replace(
        mapping,
        read=mapping.read.replace("{c}", value),
        text=mapping.text.replace("{c}", value),
        note=f"{note}what no target holds is {constant}",
    )


def flag(condition: str) -> types.Mapping:
    """The mapping of a flag column: PostgreSQL's text where `condition` holds, NULL elsewhere."""
    text = f"CASE WHEN {condition} THEN {{c}}::text END"
    return replace(AS_TEXT, read=text, text=text)


def no_room(policy: Chosen, places: int) -> SettingsError:
    """A sentinel whose fraction does not fit beside the largest value of its column."""
    why = (
        f"the sentinel of {policy} has more digits after the point than the {places} the column's largest value leaves"
    )
    return _error(policy.key, why, "choose one with fewer")


def flag_name(column: str, taken: Iterable[str]) -> str:
    """A name for a column's flag column that none of `taken` has, whatever their case."""
    names = {name.casefold() for name in taken}
    name = f"{column}__original"
    while name.casefold() in names:
        name += "_"
    return name


def _concerns(policy: Policy, table: Table, column: Column) -> bool:
    """Whether a policy for many columns means this one."""
    return policy == "text" or (_masks(column.type) and column.name not in table.key)


def _masks(kind: PgType) -> bool:
    return kind.kind == "b" and kind.name in types.MASKED


def _names(key: str, kind: PgType) -> bool:
    return key in (kind.name, kind.sql) or types.type_name(key) == kind.name


def _understood(key: str, policy: Policy, column: Column) -> Chosen:
    if policy == "text":
        return Chosen(key, policy)
    if not _masks(column.type):
        raise _error(
            key,
            f"{column.name} is {column.type.sql}, and only {', '.join(sorted(types.MASKED))} have values that {policy} could take",
            'take it out, or use "text"',
        )
    if not isinstance(policy, Sentinel):
        return Chosen(key, policy, "NULL")
    try:
        return _sentinel(key, policy, column.type)
    except (ValueError, OverflowError):
        raise _error(
            key,
            f"the sentinel {policy.sentinel!r} is not a {column.type.sql} that every target holds exactly",
            f"for example {{ sentinel = {_EXAMPLES[column.type.name]!r} }}".replace("'", '"'),
        ) from None


_EXAMPLES = {
    "date": "9999-12-31",
    "timestamp": "9999-12-31 00:00:00",
    "timestamptz": "9999-12-31 00:00:00+00",
    "time": "23:59:59.999999",
    "numeric": "-1",
}


def _sentinel(key: str, policy: Sentinel, kind: PgType) -> Chosen:
    text = policy.sentinel.strip()
    match kind.name:
        case "date":
            return Chosen(key, policy, f"{literal(date.fromisoformat(text).isoformat())}::date")
        case "timestamp" | "timestamptz":
            moment = datetime.fromisoformat(text)
            if moment.tzinfo and kind.name == "timestamp":
                raise ValueError
            if kind.name == "timestamptz":
                moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
            return Chosen(key, policy, f"{literal(moment.isoformat(' '))}::{kind.name}")
        case "time":
            if (clock := time.fromisoformat(text)).tzinfo:
                raise ValueError
            return Chosen(key, policy, f"{literal(clock.isoformat())}::time")
        case _:
            if not re.fullmatch(r"-?[0-9]{1,40}(\.[0-9]{1,40})?", text):
                raise ValueError
            return _number(key, policy, kind, text)


def _number(key: str, policy: Sentinel, kind: PgType, text: str) -> Chosen:
    whole, _, fraction = text.removeprefix("-").partition(".")
    places, before = len(fraction.rstrip("0")), len(whole.lstrip("0"))
    limit = types.declared(kind)
    digits, scale = limit or (types.DECIMAL_DIGITS, types.DECIMAL_SCALE)
    if places > scale or before > digits - (scale if limit else places):
        raise ValueError
    # With all places of a fixed type, as its other values are printed.
    kind_of_constant = f"numeric({digits},{scale})" if limit else "numeric"
    return Chosen(key, policy, f"{literal(text)}::{kind_of_constant}", places, before)


def _no_such(key: str, tables: list[Table]) -> SettingsError:
    names = {f"{t}.{c.name}" for t in tables for c in t.columns} | {f"{t}.*" for t in tables}
    kinds = {c.type.name for t in tables for c in t.columns}
    near = get_close_matches(key, sorted(names | kinds), n=3, cutoff=0.6)
    return _error(
        key,
        "the source has no such column, table or type of a column",
        f"did you mean {' or '.join(near)}?"
        if near
        else 'write "schema.table.column", "schema.table.*" or a type such as "numeric"',
    )


def _error(key: str, why: str, next_step: str) -> SettingsError:
    return SettingsError(
        f'apply the policy for "{key}"', on="export.policies in migration.toml", why=why, next_step=next_step
    )
