"""What a certification asks of an engine beside what a load and a verification send: who it is, and what becomes of owners' things."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from helpers.model.places import TargetTable


@dataclass(frozen=True)
class Identity:
    """An engine as it answers at the moment.

    Attributes:
        name: of what answers.
        version: its own word.
        where: region, account, catalog: what it says of its place.
        role: as which it lets us work.
        parameters: of the session that can change an answer, as it holds them.
        drivers: the client's version.
    """

    name: str
    version: str
    where: str = ""
    role: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    drivers: str = ""


@dataclass(frozen=True)
class PutOn:
    """Something that an owner puts on a table.

    Attributes:
        what: in words.
        not_asked: why it was not put there; empty where it was.
    """

    what: str
    not_asked: str = ""


class Trial(ABC):
    """One session with an engine, for a certification.

    Attributes:
        alters: whether a load alters a table whose definition differs, where the engine can.
        records: names of tables in which loads and syncs keep what they made.
        transacts: whether statements of one transaction take effect together.
    """

    alters = True
    transacts = False
    records: tuple[str, ...] = ()

    @abstractmethod
    def identifier(self, name: str) -> str:
        """A quoted name."""

    @abstractmethod
    def identity(self) -> Identity:
        """Who answers."""

    @abstractmethod
    def schemas(self, prefix: str) -> tuple[str, ...]:
        """Names of the schemas that begin so, whatever their case."""

    @abstractmethod
    def drop(self, schema: str) -> None:
        """Drops a schema of a certification with all that is in it; one that is not there is no error.

        Raises:
            ConnectionFailed, LoadError: it is still there.
        """

    @abstractmethod
    def tables(self, schema: str) -> tuple[TargetTable, ...]:
        """What lies in a schema of certifications, and in the one that loads make beside it.

        Raises:
            ConnectionFailed, LoadError: it is not there, or may not be read.
        """

    @abstractmethod
    def clear(self, schema: str, tables: Collection[TargetTable]) -> None:
        """Drops tables, and what else certifications make in a schema; the schema stays.

        Raises:
            ConnectionFailed, LoadError: something of it is still there.
        """

    def put_on(self, table: TargetTable, text_column: str, number_column: str) -> Iterator[PutOn]:
        """Puts on a table what its owner may: rights of others, policies, tags."""
        yield PutOn("rights, policies and tags", "the engine's catalog is not told of any by a load")

    def on(self, table: TargetTable) -> frozenset[str]:
        """What is on a table, in words."""
        return frozenset()

    def take_off(self, table: TargetTable) -> None:  # noqa: B027 - where nothing was put on
        """Takes policies off again, so that rows can be compared."""

    def copied(self, table: TargetTable, condition: str) -> int | None:
        """Rows of a condition in the copies that loads kept of a table; None where copies are no tables."""
        return None

    def undone(self, table: TargetTable) -> bool:
        """Empties a table in a transaction that is then rolled back; whether the engine has transactions."""
        return False

    def cost(self, seconds: float) -> str:
        """What so many seconds cost, in words; empty where nobody can tell."""
        return ""
