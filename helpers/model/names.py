"""What a target would refuse for its names alone: known from the source's catalog, before a row is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from helpers.errors import UsageError
from helpers.model.globs import how_to_exclude
from helpers.model.places import TargetTable
from helpers.platforms.naming import NameRules


class Named(Protocol):
    """A table of the source, of an export's plan or of its manifest; its text is `schema.name`."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Other:
    """What lies in the target beside the tables that are loaded; nothing is known of it but its name."""

    name: str
    columns: tuple[()] = ()

    def __str__(self) -> str:
        return f"{self.name} of the target"


@dataclass(frozen=True)
class Refusal:
    """One thing that a target refuses.

    Attributes:
        on: the names.
        why: as a sentence.
        cure: what to do about it.
        tables: of the source, as `schema.name`, that it keeps from being loaded.
    """

    on: str
    why: str
    cure: str
    tables: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.on}: {self.why}"


Placed = tuple[Named, TargetTable]
"""A table, and what it is called in the target."""


def refusals(tables: Iterable[Placed], rules: NameRules) -> tuple[Refusal, ...]:
    """Everything about these names that an engine refuses, at once.

    Args:
        tables: that are to be loaded.
        rules: of the engine.
    """
    chosen = list(tables)
    found: list[Refusal] = []
    for schema in dict.fromkeys(there.schema for _, there in chosen):
        if why := rules.objection_to_schema(schema):
            named = f'schema = "{rules.suggested(schema)}"'
            cure = f"name another schema in migration.toml, such as {named}, under the target's section, or for these tables under [profiles.X.tables]"
            inside = tuple(str(table) for table, there in chosen if there.schema == schema)
            found.append(Refusal(f"schema {schema!r} of the target", why, cure, inside))
    taken = {rules.key(there.name) for _, there in chosen}
    for table, there in chosen:
        if why := rules.objection(there.name):
            name = rules.suggested(there.name, taken)
            taken.add(rules.key(name))
            cure = f"{_BY_NAME.format(name, table)}; or leave it out: {how_to_exclude([table])}"
            found.append(Refusal(_called(table, there), why, cure, (str(table),)))
        for name in (column.name for column in table.columns):
            if why := rules.too_long(name):
                cure = f"rename the column in the source, or leave the table out: {how_to_exclude([table])}"
                found.append(Refusal(f"{table}.{name}", why, cure, (str(table),)))
    return (*found, *alike(chosen, rules))


def alike(tables: Sequence[Placed], rules: NameRules) -> Iterator[Refusal]:
    """Tables, and columns of one table, that the engine would take for one."""
    by_key: dict[tuple[str, str], list[Placed]] = {}
    by_name = {rules.key(there.name) for _, there in tables}
    for table, there in tables:
        by_key.setdefault((rules.key(there.schema), rules.key(there.name)), []).append((table, there))
    for same in by_key.values():
        if len(same) > 1:
            last, place = same[-1]
            one = len({there for _, there in same}) == 1
            why = f"both would be the table {place} of the target" if one else _ONLY_CASE.format(rules.engine)
            own_names = all(table.name == there.name for table, there in same)
            cure = _BY_PATTERN if one and own_names else _BY_NAME.format(rules.suggested(place.name, by_name), last)
            cure = f"{cure}; or leave one out: {how_to_exclude([last])}"
            names = tuple(str(table) for table, _ in same)
            yield Refusal(" and ".join(names), why, cure, names)
    for table, _ in tables:
        columns: dict[str, list[str]] = {}
        for column in table.columns:
            columns.setdefault(rules.key(column.name), []).append(f"{table}.{column.name}")
        for found in columns.values():
            if len(found) > 1:
                why = _ONLY_CASE.format(rules.engine)
                cure = f"rename a column in the source, or leave the table out: {how_to_exclude([table])}"
                yield Refusal(" and ".join(found), why, cure, (str(table),))


_ONLY_CASE = "the names differ only in case, and {} does not tell case apart"
_BY_PATTERN = (
    'give each source schema one of its own in the target: schema = "{schema}" under [profiles.X.tables] in migration.toml; or '
    'keep the one and tell the names apart: name = "{schema}_{table}"'
)
_BY_NAME = 'give it another name in the target: name = "{}" under [profiles.X.tables.match."{}"] in migration.toml'


def in_the_way(table: Named, kind: str) -> Refusal:
    """A table whose name in the target something else has, such as a "view"."""
    why = f"the target has a {kind} of that name, which takes no rows"
    cure = f"drop or rename it there, load into another schema, or leave the table out: {how_to_exclude([table])}"
    return Refusal(str(table), why, cure, (str(table),))


def refused(found: Sequence[Refusal], *, on: str) -> UsageError:
    """The error that tells every refusal and its cure.

    Args:
        found: the refusals, at least one.
        on: the target, as people know it.
    """
    alone = len(found) == 1
    return UsageError(
        "name the tables and columns in the target",
        on=found[0].on if alone else f"{len(found)} names for {on}",
        why=found[0].why if alone else "; ".join(map(str, found)),
        next_step="; ".join(dict.fromkeys(refusal.cure for refusal in found)),
    )


def _called(table: Named, there: TargetTable) -> str:
    return str(table) if there.name == table.name else f"{table}, in the target {there.name},"
