from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Diagnosis:
    words: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {}


def diagnose(duck: Any, columns: Any) -> dict[str, tuple[Diagnosis, ...]]:
    return {}
