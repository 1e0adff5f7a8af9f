"""What a check of evidence names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was sealed.

    Attributes:
        kind: a word that programs compare, such as `file-changed`.
        path: the file concerned, relative to the run's folder.
        message: the same for a person.
    """

    kind: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.message}"

    def as_dict(self) -> dict[str, str]:
        """An entry of `findings` in `verify-evidence --json`."""
        return {"kind": self.kind, "path": self.path, "message": self.message}
