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

    def __post_init__(self) -> None:
        # A forger chooses the names of files: one with a line break must not look like a line of the answer, and one that
        # is no UTF-8 must not stop it from being printed.
        for name in ("path", "message"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.message}"

    def as_dict(self) -> dict[str, str]:
        """An entry of `findings` in `verify-evidence --json`."""
        return {"kind": self.kind, "path": self.path, "message": self.message}


def printable(text: str) -> str:
    """The text in one line, with what nobody would see written out."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
