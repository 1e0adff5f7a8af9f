"""What an engine takes for a name: a record that each platform's module fills in for itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count

_PLAIN_LETTERS = str.maketrans(
    {"ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "œ": "oe", "ł": "l", "Ł": "L", "đ": "d", "þ": "th"}
)
"""Letters that are no other letter with an accent."""


@dataclass(frozen=True)
class NameRules:
    """How an engine names tables and columns.

    Attributes:
        engine: as people call it.
        longest: characters that a name may have; None where that is more than PostgreSQL gives one.
        forbidden: what the name of a schema or table must not hold anywhere; columns may, since they are quoted and mapped.
        words: the same for people.
        tells_case_apart: whether two names that differ only in case are two.
        reserved: in small letters, schemas that are the engine's own.
    """

    engine: str
    longest: int | None = None
    forbidden: re.Pattern[str] | None = None
    words: str = ""
    tells_case_apart: bool = True
    reserved: frozenset[str] = frozenset()

    def key(self, name: str) -> str:
        """Equal for names that the engine takes for one."""
        return name if self.tells_case_apart else name.lower()

    def objection(self, name: str) -> str:
        """Why the name of a schema or table is refused, as a sentence's end; empty where it is taken."""
        if self.forbidden and (found := self.forbidden.search(name)):
            return f"{self.engine} takes no {found[0]!r} in a name: {self.words}"
        return self.too_long(name)

    def objection_to_schema(self, name: str) -> str:
        """The same of a schema, some of which are the engine's own."""
        if name.lower() in self.reserved:
            return f"{self.engine} keeps {name!r} for itself"
        return self.objection(name)

    def suggested(self, name: str, taken: Collection[str] = ()) -> str:
        """A name that is taken in the place of one that is not, and unlike those in `taken`, which are given by `key`."""
        plain = name
        if self.forbidden and self.forbidden.search("é"):
            letters = unicodedata.normalize("NFKD", name.translate(_PLAIN_LETTERS))
            plain = "".join(c for c in letters if not unicodedata.combining(c))
        plain = re.sub(r"_+", "_", self.forbidden.sub("_", plain)).strip("_") if self.forbidden else plain
        plain = (plain or "renamed")[: self.longest]
        numbered = (plain if n == 1 else f"{plain}_{n}" for n in count(1))
        return next(each for each in numbered if self.key(each) not in taken and each.lower() not in self.reserved)

    def too_long(self, name: str) -> str:
        """Why the name of a column is refused; empty where it is taken."""
        if self.longest is None or len(name) <= self.longest:
            return ""
        return f"{self.engine} takes names of at most {self.longest} characters, and it has {len(name)}"
