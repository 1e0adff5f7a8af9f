"""What a target would refuse for its names alone: known from the source's catalog, before a row is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from helpers.errors import UsageError
from helpers.model.globs import how_to_exclude
from helpers.platforms.naming import NameRules
from helpers.platforms.postgres import identifier


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


def refusals(tables: Iterable[Named], rules: NameRules, schema: str) -> tuple[Refusal, ...]:
    """Everything about these names that an engine refuses, at once.

    Args:
        tables: that are to be loaded into one schema.
        rules: of the engine.
        schema: of the target.
    """
    chosen = list(tables)
    found: list[Refusal] = []
    if why := rules.objection(schema):
        found.append(Refusal(f"schema {schema!r} of the target", why, "name another `schema` in migration.toml"))
    for table in chosen:
        if why := rules.objection(table.name):
            found.append(Refusal(str(table), why, _renamed(table), (str(table),)))
        for name in (column.name for column in table.columns):
            if why := rules.too_long(name):
                cure = f"rename the column in the source, or leave the table out: {how_to_exclude([table])}"
                found.append(Refusal(f"{table}.{name}", why, cure, (str(table),)))
    return (*found, *alike(chosen, rules))


def alike(tables: Sequence[Named], rules: NameRules) -> Iterator[Refusal]:
    """Tables, and columns of one table, that the engine would take for one."""
    by_key: dict[str, list[Named]] = {}
    for table in tables:
        by_key.setdefault(rules.key(table.name), []).append(table)
    for same in by_key.values():
        if len(same) > 1:
            why, cure = "both would be the same table of the one target schema", _TWO_SCHEMAS
            if len({table.name for table in same}) > 1:
                why, cure = _ONLY_CASE.format(rules.engine), "rename one"
            cure = f"{cure}, or leave one out: {how_to_exclude(same[-1:])}"
            found = tuple(str(table) for table in same)
            yield Refusal(" and ".join(found), why, cure, found)
    for table in tables:
        columns: dict[str, list[str]] = {}
        for column in table.columns:
            columns.setdefault(rules.key(column.name), []).append(f"{table}.{column.name}")
        for names in columns.values():
            if len(names) > 1:
                why = _ONLY_CASE.format(rules.engine)
                cure = f"rename a column in the source, or leave the table out: {how_to_exclude([table])}"
                yield Refusal(" and ".join(names), why, cure, (str(table),))


_ONLY_CASE = "the names differ only in case, and {} does not tell case apart"
_TWO_SCHEMAS = "load them into two schemas: two profiles, each with its own `schemas` and target `schema`"


def in_the_way(table: Named, kind: str) -> Refusal:
    """A table whose name something else has in the target, such as a "view"."""
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


def _renamed(table: Named) -> str:
    schema, name = str(table)[: -len(table.name) - 1], table.name
    return f"rename it in the source (ALTER TABLE {identifier(schema, name)} RENAME TO …), or leave it out: {how_to_exclude([table])}"
