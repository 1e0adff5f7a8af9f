"""Which keys of the source hold of what was staged, and what they are called in a target.

A target keeps them as information for those who read its catalog, and for its optimizer where somebody vouches for them; it
enforces none. What cannot be said of the target's rows is not told to it: a key over a column that does not move as it is, a
foreign key that was never checked, or one to a table that does not move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from helpers.model.catalog import ForeignKey, Key, Table
from helpers.model.manifest import StagedColumn, StagedTable
from helpers.model.places import TargetTable

AnyKey = Key | ForeignKey

Place = Callable[[str, str], "tuple[str, str] | None"]
"""From a source's schema and table: the schema and table in the target, None for one that is not there."""


@dataclass(frozen=True)
class Told:
    """A key that a target is to be told of.

    Attributes:
        of: of which table of the source it is.
        name: of the constraint in the target; no other in its schema has it.
        key: by the target's names.
        schema, table: that it is of, in the target.
    """

    of: str
    name: str
    key: AnyKey
    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.key} of {self.of}"

    @property
    def there(self) -> TargetTable:
        """The table that it is of, in the target."""
        return TargetTable(self.schema, self.table)


def hold(keys: Iterable[Key], columns: Sequence[StagedColumn]) -> tuple[Key, ...]:
    """The keys over columns that are staged with the values that they have."""
    same = _unchanged(columns)
    # Of a masked column only those keys are left that its mask keeps.
    same |= {column.name for column in columns if column.mask}
    return tuple(key for key in keys if same.issuperset(key.columns))


def why_not(key: ForeignKey, columns: Sequence[StagedColumn]) -> str:
    """Why a foreign key cannot be said to hold of the staged rows, whatever it refers to; empty where it can."""
    if key.unchecked:
        return f"it is {key.unchecked}: rows that break it may be there"
    lacking = [name for name in key.columns if name not in _unchanged(columns)]
    return f"{', '.join(lacking)} does not move as it is" if lacking else ""


def staged_keys(table: Table, columns: Sequence[StagedColumn]) -> tuple[tuple[Key, ...], tuple[ForeignKey, ...]]:
    """Of a table's keys and foreign keys, those that hold of its rows as they are staged in `columns`."""
    return hold(table.keys, columns), tuple(key for key in table.foreign_keys if not why_not(key, columns))


def referred(key: ForeignKey, keys: Iterable[Key]) -> Key | None:
    """The key of another table that a foreign key refers to, whatever the order of its columns; None where it has none such."""
    return next((each for each in keys if set(each.columns) == set(key.referenced)), None)


def of_table(staged: StagedTable) -> tuple[Key, ...]:
    """The keys of a staged table; of an export that did not say, the one by which its rows are told apart."""
    if staged.keys is not None:
        return distinct(staged.keys)
    return (Key(staged.key, primary=True),) if staged.key else ()


def distinct(keys: Iterable[Key]) -> tuple[Key, ...]:
    """The keys, of several over the same columns the first: the primary one, where it is among them."""
    found: dict[frozenset[str], Key] = {}
    for key in keys:
        found.setdefault(frozenset(key.columns), key)
    return tuple(found.values())


def related(
    foreign_keys: Iterable[ForeignKey],
    columns: Mapping[str, str],
    place: Place,
    referenced: Callable[[str, str, str], str],
) -> tuple[ForeignKey, ...]:
    """Foreign keys by the target's names, without those to tables that are not there.

    Args:
        foreign_keys: by the source's names.
        columns: of the table, name in the source → name in the target.
        place: of each table.
        referenced: of a column, by its schema, table and name in the source, its name in the target.
    """
    found = []
    for key in foreign_keys:
        if there := place(key.schema, key.table):
            names = tuple(referenced(key.schema, key.table, name) for name in key.referenced)
            own = tuple(columns.get(name, name) for name in key.columns)
            found.append(replace(key, columns=own, schema=there[0], table=there[1], referenced=names))
    return tuple(dict.fromkeys(found))


def told(tables: Sequence[StagedTable], place: Place) -> tuple[Told, ...]:
    """The keys that a target is to be told of, primary and unique ones before those that refer to them.

    Args:
        tables: of the manifest.
        place: where each of them is in the target.
    """
    there = {(t.schema_, t.name): home for t in tables if (home := place(t.schema_, t.name))}
    kept = {(t.schema_, t.name): of_table(t) for t in tables}
    whole = {(t.schema_, t.name) for t in tables if not t.where}
    found: list[Told] = []
    for staged in tables:
        if home := there.get((staged.schema_, staged.name)):
            found += [Told(str(staged), key.name, key, *home) for key in kept[staged.schema_, staged.name]]
    for staged in tables:
        if home := there.get((staged.schema_, staged.name)):
            ordered = [
                _in_order(key, to) for key in staged.foreign_keys
                if (key.schema, key.table) in whole and (to := referred(key, kept[key.schema, key.table]))
            ]  # fmt: skip
            keys_there = related(ordered, {}, place, lambda _, __, column: column)
            found += [Told(str(staged), key.name, key, *home) for key in keys_there]
    return _named_apart(found)


def _in_order(key: ForeignKey, to: Key) -> ForeignKey:
    """A foreign key with its columns in the order of those that it refers to, of which no target says that it may be another."""
    pairs = dict(zip(key.referenced, key.columns, strict=True))
    return replace(key, columns=tuple(pairs[name] for name in to.columns), referenced=to.columns)


def _named_apart(found: Sequence[Told]) -> tuple[Told, ...]:
    """PostgreSQL names a foreign key apart in its table alone; a schema of the target may take several of the source's."""
    count: dict[tuple[str, str], int] = {}
    for each in found:
        count[each.schema, each.name.casefold()] = count.get((each.schema, each.name.casefold()), 0) + 1
    alone = {key for key, number in count.items() if number == 1}
    return tuple(
        each
        if not each.name or (each.schema, each.name.casefold()) in alone
        else replace(each, name=f"{each.table}_{each.name}")
        for each in found
    )


def _unchanged(columns: Sequence[StagedColumn]) -> set[str]:
    changed = {c.source for c in columns if c.flag_of is None and c.policy and c.touched and c.policy != "text"}
    return {c.name for c in columns if c.flag_of is None and c.name == c.source and not c.mask} - changed
