"""What an engine takes for a name: a record that each platform's module fills in for itself."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class NameRules:
    """How an engine names tables and columns.

    Attributes:
        engine: as people call it.
        longest: characters that a name may have; None where that is more than PostgreSQL gives one.
        forbidden: what the name of a schema or table must not hold anywhere; columns may, since they are quoted and mapped.
        words: the same for people.
        tells_case_apart: whether two names that differ only in case are two.
    """

    engine: str
    longest: int | None = None
    forbidden: re.Pattern[str] | None = None
    words: str = ""
    tells_case_apart: bool = True

    def key(self, name: str) -> str:
        """Equal for names that the engine takes for one."""
        return name if self.tells_case_apart else name.lower()

    def objection(self, name: str) -> str:
        """Why the name of a schema or table is refused, as a sentence's end; empty where it is taken."""
        if self.forbidden and (found := self.forbidden.search(name)):
            return f"{self.engine} takes no {found[0]!r} in a name: {self.words}"
        return self.too_long(name)

    def too_long(self, name: str) -> str:
        """Why the name of a column is refused; empty where it is taken."""
        if self.longest is None or len(name) <= self.longest:
            return ""
        return f"{self.engine} takes names of at most {self.longest} characters, and it has {len(name)}"
