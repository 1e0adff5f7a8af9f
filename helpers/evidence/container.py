"""The files of a run, in a folder or in one `evidence.zip`, whose every byte is determined by them.

The archive stores and does not compress: a compressed stream has spare bits, and other streams of the same content,
in which a changed byte would go unnoticed.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from helpers.errors import UsageError
from helpers.evidence.finding import Finding

ARCHIVE = "evidence.zip"
_PIECE = 1 << 20
_THE_SAME_FOR_ALL = (1980, 1, 1, 0, 0, 0)
_IN_MEMORY = 64 << 20
_UNREADABLE = (
    zipfile.BadZipFile, OSError, EOFError, struct.error, LookupError, NotImplementedError, RuntimeError, ValueError,
)  # fmt: skip
"""What `zipfile` raises for headers that are damaged; it documents the first only."""


class Container(Protocol):
    """Files by their names relative to the run's folder, with `/` between the parts."""

    def names(self) -> list[str]:
        """Every file, sorted."""

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None where there is none."""


class Folder:
    """A run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Every file, sorted; not the archive, which holds the same again."""
        every = (p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_symlink() or not p.is_dir())
        return sorted(name for name in every if name != ARCHIVE)

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None where there is none, or where a link leads elsewhere."""
        path = self.path / name
        try:
            return path.read_bytes() if path.is_file() and not self._by_a_link(path) else None
        except OSError:
            return None

    def links(self) -> list[str]:
        """Names that are symbolic links: what they lead to is not part of the evidence."""
        return sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_symlink())

    def _by_a_link(self, path: Path) -> bool:
        return any(
            each.is_symlink() for each in (path, *path.parents) if each.is_relative_to(self.path) and each != self.path
        )


class Archive:
    """A run's archive, open for reading."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def names(self) -> list[str]:
        """Every file, sorted."""
        return sorted({info.filename for info in self._archive.infolist() if not info.filename.endswith("/")})

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None where there is none, or where they are damaged, or compressed: a few bytes may be many GB."""
        try:
            if self._archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                return None
            return self._archive.read(name)
        except _UNREADABLE:
            return None

    def tricks(self) -> Iterator[Finding]:
        """What no archive of ours holds, and what makes two programs see two different archives."""
        seen: set[str] = set()
        for info in self._archive.infolist():
            name = info.filename
            if not name:
                yield Finding("zip-path", "(no name)", "a file of the archive has no name")
            if name in seen:
                yield Finding("zip-duplicate", name, "the archive holds two files of this name")
            seen.add(name)
            parts = PurePosixPath(name).parts
            if name.startswith(("/", "\\")) or "\\" in name or ".." in parts or ":" in (parts or ("",))[0]:
                yield Finding("zip-path", name, "the name leads out of the folder it is unpacked into")
            if info.compress_type != zipfile.ZIP_STORED:
                yield Finding("zip-changed", name, "it is compressed, which nothing in an archive of ours is")
            if stat.S_ISLNK(info.external_attr >> 16):
                yield Finding("zip-link", name, "it is a symbolic link")


def write(container: Container, names: Iterable[str], target: BinaryIO) -> None:
    """Writes the one archive that holds these files."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(names):
            info = zipfile.ZipInfo(name, date_time=_THE_SAME_FOR_ALL)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o444) << 16
            archive.writestr(info, container.read(name) or b"")


@contextmanager
def opened(path: Path) -> Iterator[tuple[Folder | Archive, list[Finding]]]:
    """Opens a folder or an archive for a check.

    Yields:
        What holds the files, and what is wrong with the container itself.

    Raises:
        UsageError: it is neither.
    """
    if path.is_dir():
        folder = Folder(path)
        yield folder, [Finding("link", name, "it is a symbolic link") for name in folder.links()]
        return
    try:
        with path.open("rb") as file:
            begins = file.read(4)
    except OSError as error:
        raise _no_evidence(path, error.strerror or "it cannot be read") from None
    try:
        archive = zipfile.ZipFile(path)
    except _UNREADABLE:
        if not begins.startswith(b"PK"):
            raise _no_evidence(path, "it is neither a folder nor a zip archive") from None
        yield Folder(path), [Finding("zip-damaged", path.name, "it is no readable zip archive any more")]
        return
    with archive:
        found = Archive(archive)
        wrong = list(found.tricks())
        if not wrong and _sha256_of(path) != _sha256_as_written(found):
            wrong.append(Finding("zip-changed", path.name, "its bytes are not those of an archive of these files"))
        yield found, wrong


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_as_written(archive: Archive) -> str:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        write(archive, archive.names(), file)  # type: ignore[arg-type]
        file.seek(0)
        digest = hashlib.sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _no_evidence(path: Path, why: str) -> UsageError:
    return UsageError(
        "check the evidence", on=str(path), why=why, next_step="name a run's folder below outputs/, or its evidence.zip"
    )
