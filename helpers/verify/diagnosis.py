from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Example:
    key: dict[str, str | None] | None
    row: int
    source: str | None
    target: str | None

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Diagnosis:
    cause: str
    words: str
    likely: str
    pairs: int
    of: int
    examples: tuple[Example, ...] = ()

    @property
    def share(self) -> float:
        return self.pairs / self.of

    def as_dict(self) -> dict[str, Any]:
        return {"cause": self.cause, "words": self.words, "likely": self.likely, "pairs": self.pairs, "of": self.of}


def diagnose(duck: Any, columns: Any) -> dict[str, tuple[Diagnosis, ...]]:
    return {}
