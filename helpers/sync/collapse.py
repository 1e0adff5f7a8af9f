"""What many changes of one table come to: how each key that they touched ends, and where its row was before.

Rows are known by their keys' texts. A row whose key changed keeps the key that it had at the beginning, its origin: a value that no
UPDATE touched, which PostgreSQL does not send again, is the one that the target holds there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from helpers.sync.changes import UNCHANGED, Change, Relation, Row, Value

Key = tuple[str, ...]
"""The texts of a key's values."""

Values = dict[str, Value]
"""A row by the names of its columns."""


class Inconsistent(ValueError):  # noqa: N818 - says what the changes are
    """Changes that no table can have gone through, or that do not name their row: the table cannot be followed.

    Its words have no values, which a mask may be meant to hide.
    """


@dataclass
class Live:
    """A row that is there, as far as the changes tell.

    Attributes:
        origin: its key before the first of them; None where it was not there.
        values: `UNCHANGED` where the target's own value stands.
    """

    origin: Key | None
    values: Values


@dataclass
class Collapsed:
    """The changes of one table since a position, as one.

    Args:
        key: the columns by which rows are told apart.

    Attributes:
        truncated: whether every row that was there at the beginning is gone.
        live: the rows that were touched and are there, by their keys.
        gone: the keys that rows had at the beginning which no longer have them.
        size: characters of the values that were taken in, about what they cost in memory.
    """

    key: Sequence[str]
    truncated: bool = False
    live: dict[Key, Live] = field(default_factory=dict)
    gone: set[Key] = field(default_factory=set)
    size: int = 0

    def take(self, change: Change) -> None:
        """Takes one more change in, in the order in which they were made.

        Raises:
            Inconsistent: the change does not name its row, or names one that cannot be there.
        """
        match change.kind:
            case "insert":
                assert change.new is not None
                self._put(None, self._named(change.relation, change.new))
            case "update":
                assert change.new is not None
                self._update(change)
            case "delete":
                assert change.old is not None
                key = self._key(self._named(change.relation, change.old))
                self._leave(key)
            case "truncate":
                self.truncated = True
                self.live.clear()
                self.gone.clear()

    @property
    def deleted(self) -> set[Key]:
        """The keys that no row has any more."""
        return self.gone - self.live.keys()

    @property
    def empty(self) -> bool:
        """Whether nothing happened."""
        return not (self.truncated or self.live or self.gone)

    def _update(self, change: Change) -> None:
        assert change.new is not None
        new = self._named(change.relation, change.new)
        old = None if change.old is None else self._named(change.relation, change.old)
        if old is not None:
            known = self.key if change.relation.identity != "f" else old
            new = {name: old[name] if value is UNCHANGED and name in known else value for name, value in new.items()}
            before = self._key(old)
        else:
            before = self._key(new)
        former = self._leave(before)
        for name, value in new.items():
            if value is UNCHANGED:
                new[name] = former.values.get(name, UNCHANGED)
                if former.origin is None and new[name] is UNCHANGED:
                    raise Inconsistent(f"an UPDATE leaves {name} as it is, of a row that is not known")
        self._put(former.origin, new)

    def _leave(self, key: Key) -> Live:
        """The row that has a key, which it has no longer."""
        former = self.live.pop(key, None)
        if former is not None:
            return former
        if key in self.gone or self.truncated:
            raise Inconsistent("a change of a row that is not there any more")
        self.gone.add(key)
        return Live(key, {})

    def _put(self, origin: Key | None, values: Values) -> None:
        key = self._key(values)
        if key in self.live:
            raise Inconsistent("a second row with the key of another")
        self.live[key] = Live(origin, values)
        self.size += sum(len(value) for value in values.values() if isinstance(value, str))

    def _named(self, relation: Relation, row: Row) -> Values:
        return {column.name: value for column, value in zip(relation.columns, row, strict=True)}

    def _key(self, values: Mapping[str, Value]) -> Key:
        try:
            key = tuple(values[name] for name in self.key)
        except KeyError as error:
            raise Inconsistent(f"a row without the column {error} of the key") from None
        if not all(isinstance(value, str) for value in key):
            raise Inconsistent(f"a row whose key ({', '.join(self.key)}) is not told")
        return key  # type: ignore[return-value]


def collapse(key: Sequence[str], changes: Iterable[Change]) -> Collapsed:
    """The changes of one table as one.

    Raises:
        Inconsistent: see `Collapsed.take`.
    """
    found = Collapsed(key)
    for change in changes:
        found.take(change)
    return found


def unchanged_columns(rows: Iterable[Live]) -> Iterator[str]:
    """The columns of which some row has the target's own value, each once."""
    seen: set[str] = set()
    for row in rows:
        for name, value in row.values.items():
            if value is UNCHANGED and name not in seen:
                seen.add(name)
                yield name
