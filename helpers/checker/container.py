"""The files of a run, in a folder or in one `evidence.zip`, whose every byte is determined by them.

The archive stores and does not compress: a compressed stream has spare bits, and other streams of the same content,
in which a changed byte would go unnoticed. Whoever unpacks a run and packs it again has another archive of the same files;
that is a note, as long as it holds nothing but files.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import struct
import tempfile
import unicodedata
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol

from helpers.checker.finding import Finding
from helpers.errors import UsageError

ARCHIVE = "evidence.zip"
_PIECE = 1 << 20
_THE_SAME_FOR_ALL = (1980, 1, 1, 0, 0, 0)
_MODE = (stat.S_IFREG | 0o444) << 16
_IN_MEMORY = 64 << 20
_MOST_READ = 256 << 20
"""Bytes of a file that is read whole, such as the ledger or a notebook; a longer one is not readable. Others are only hashed."""
_MOST_SWOLLEN = 1032
"""How many times its length deflate can make of a stream (https://zlib.net/zlib_tech.html): what claims more is no file."""
_EMPTY = 2
"""Bytes that deflate makes of nothing."""
_BOMB = (1 << 30, 200)
"""An archive that unpacks to more bytes than this, and to more times its own length: evidence shrinks to a tenth or so."""

_UNREADABLE = (
    zipfile.BadZipFile, OSError, EOFError, struct.error, LookupError, NotImplementedError, RuntimeError, ValueError,
    MemoryError, OverflowError, zlib.error,
)  # fmt: skip
"""What `zipfile` raises for headers that are damaged; it documents the first only."""

_FILE_MANAGER_FILES = re.compile(
    r"(?:^|/)(?:\.DS_Store|\._[^/]*|\.localized|Thumbs\.db|ehthumbs\.db|desktop\.ini|\.directory|\.~lock\.[^/]*#"
    r"|[^/]*:Zone\.Identifier)$|^__MACOSX/",
    re.IGNORECASE,
)
_CHECKPOINT = re.compile(r"((?:.*/)?)\.ipynb_checkpoints/([^/]+)-checkpoint(\.[^./]+)?")
"""Where JupyterLab puts a copy of a file that somebody opens."""
_CHECKPOINTS = ".ipynb_checkpoints"
_TIMES_AND_OWNERS = frozenset({0x0001, 0x000A, 0x5455, 0x5855, 0x7855, 0x7875})
"""Extra fields of a member that ordinary tools write: sizes, times, owners (APPNOTE.TXT, 4.5 and 4.6)."""


class Container(Protocol):
    """Files by their names relative to the run's folder, with `/` between the parts."""

    def names(self) -> list[str]:
        """Every file, sorted; neither the archive, which holds the same again, nor what file managers and JupyterLab leave."""

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None where there is none."""

    def digest(self, name: str) -> tuple[int, str] | None:
        """A file's size and SHA-256; None where there is none."""

    def stream(self, name: str) -> IO[bytes] | None:
        """A file to read from, or None where there is none."""


class _Files(ABC):
    """What a folder and an archive have in common."""

    def __init__(self) -> None:
        self._digests: dict[str, tuple[int, str] | None] = {}

    @abstractmethod
    def _every(self) -> Iterable[str]:
        """Every file's name, in any order."""

    @abstractmethod
    def _stream(self, name: str) -> IO[bytes] | None:
        """A file of a name within the run, opened; None where there is none."""

    def stream(self, name: str) -> IO[bytes] | None:
        """A file to read from; None where there is none, where it cannot be read, or where its name leads out of the run."""
        try:
            return None if leads_out(name) else self._stream(name)
        except _UNREADABLE:
            return None

    def names(self) -> list[str]:
        """As in `Container`."""
        return sorted(name for name in self._every() if name != ARCHIVE and not self._is_a_trace(name))

    def file_manager_files(self) -> list[str]:
        """What file managers and JupyterLab leave in a folder that somebody looks at."""
        return sorted(name for name in self._every() if self._is_a_trace(name))

    def _is_a_trace(self, name: str) -> bool:
        if copy := _CHECKPOINT.fullmatch(name):
            # An edited copy is none: it shows results that nobody sealed.
            original = self.digest("".join(part or "" for part in copy.groups()))
            return original is not None and self.digest(name) == original
        return bool(_FILE_MANAGER_FILES.search(name))

    def has(self, name: str) -> bool:
        """Whether something lies there, be it readable or not."""
        return name in self._every()

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None where there is none, or where it cannot be read."""
        try:
            stream = self.stream(name)
            if stream is None:
                return None
            with stream:
                data = stream.read(_MOST_READ + 1)
                return data if len(data) <= _MOST_READ else None
        except _UNREADABLE:
            return None

    def digest(self, name: str) -> tuple[int, str] | None:
        """As in `Container`; read once, in pieces."""
        if name not in self._digests:
            self._digests[name] = self._digested(name)
        return self._digests[name]

    def _digested(self, name: str) -> tuple[int, str] | None:
        size, digest = 0, hashlib.sha256()
        try:
            stream = self.stream(name)
            if stream is None:
                return None
            with stream:
                while piece := stream.read(_PIECE):
                    size += len(piece)
                    digest.update(piece)
        except _UNREADABLE:
            return None
        return size, digest.hexdigest()


class Folder(_Files):
    """A run's folder."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def links(self) -> list[str]:
        """Names that are symbolic links: what they lead to is not part of the evidence."""
        return sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_symlink())

    def empty_folders(self) -> list[str]:
        """Folders without a file in them or below."""
        folders = {p for p in self.path.rglob("*") if p.is_dir() and not p.is_symlink()}
        full = {parent for name in self._every() for parent in (self.path / name).parents}
        return sorted(p.relative_to(self.path).as_posix() for p in folders - full if p.name != _CHECKPOINTS)

    def _every(self) -> Iterable[str]:
        return [p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_symlink() or not p.is_dir()]

    def _stream(self, name: str) -> IO[bytes] | None:
        path = self.path / name
        return path.open("rb") if path.is_file() and not self._by_a_link(path) else None

    def _by_a_link(self, path: Path) -> bool:
        return any(
            each.is_symlink() for each in (path, *path.parents) if each.is_relative_to(self.path) and each != self.path
        )


class Archive(_Files):
    """A run's archive, open for reading; what lies within one folder in it lies in the run's.

    Attributes:
        as_sealed: whether it means to be the archive that sealing made, and not one that somebody packed anew.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        super().__init__()
        self._archive = archive
        infos = archive.infolist()
        self.as_sealed = 2 * sum(map(_is_as_sealed, infos)) >= len(infos)
        tops = {info.filename.split("/")[0] for info in infos if not info.filename.startswith("__MACOSX/")}
        within = len(tops) == 1 and all("/" in info.filename for info in infos)
        self._within = f"{tops.pop()}/" if within and not self.as_sealed else ""

    def empty_folders(self) -> list[str]:
        """Folders without a file in them or below."""
        every = self.archived()
        full = {f"{parent}/" for name in every for parent in PurePosixPath(name).parents}
        return sorted(
            name.removeprefix(self._within)
            for name in every
            if name.endswith("/") and name not in full and PurePosixPath(name).name != _CHECKPOINTS
        )

    def archived(self) -> list[str]:
        """The names as they stand in the archive."""
        return [info.filename for info in self._archive.infolist()]

    def tricks(self, file: BinaryIO) -> Iterator[Finding]:
        """What no honest archive holds, and what makes two programs see two different archives."""
        infos = self._archive.infolist()
        unpacked, packed = sum(info.file_size for info in infos), file.seek(0, 2)
        if unpacked > _BOMB[0] and unpacked > _BOMB[1] * packed:
            yield Finding(
                "zip-damaged", ARCHIVE, f"its {packed:,} bytes claim to hold {unpacked:,}: it was not unpacked"
            )
            return
        seen: set[str] = set()
        for info in infos:
            name = info.filename
            if not name:
                yield Finding("zip-path", "(no name)", "a file of the archive has no name")
            if alike(name) in seen:
                yield Finding(
                    "zip-duplicate", name, "the archive holds two files of this name, or of one that is alike"
                )
            seen.add(alike(name))
            if name != info.orig_filename or leads_out(name.removeprefix("./").removesuffix("/") or "here"):
                yield Finding("zip-path", name, "the name leads out of the folder it is unpacked into, or ends early")
            if self.as_sealed and info.compress_type != zipfile.ZIP_STORED:
                yield Finding("zip-changed", name, "it is compressed, which nothing in an archive of ours is")
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFDIR if name.endswith("/") else stat.S_IFREG):
                what = "a symbolic link" if kind == stat.S_IFLNK else "no file"
                yield Finding("zip-link", name, f"it is {what}")
            if name.endswith("/") and (info.file_size or info.compress_size > _EMPTY):
                yield Finding("zip-changed", name, "it is a folder, and holds bytes")
        if not self.as_sealed:
            for why in _hidden(file, self._archive):
                yield Finding("zip-changed", ARCHIVE, why)

    def _every(self) -> Iterable[str]:
        names = {name for name in self.archived() if not name.endswith("/")}
        return {name.removeprefix(self._within) for name in names}

    def _stream(self, name: str) -> IO[bytes] | None:
        info = self._archive.getinfo(f"{self._within}{name}")
        method = info.compress_type
        if method == zipfile.ZIP_STORED or (
            method == zipfile.ZIP_DEFLATED and not self.as_sealed and not _swells(info)
        ):
            return self._archive.open(info)
        return None


def leads_out(name: str) -> bool:
    """Whether a name is none of a file below the run's folder, on whatever system, or has another spelling."""
    path = PurePosixPath(name)
    return (
        path.is_absolute()
        or ".." in path.parts
        or path.as_posix() != name
        or "\\" in name
        or ":" in "".join(path.parts[:1])
    )


def alike(name: str) -> str:
    """What two names share that are one where case, or the way to write an accent, does not count."""
    return unicodedata.normalize("NFC", name).casefold()


def write(container: Container, names: Iterable[str], target: BinaryIO) -> None:
    """Writes the one archive that holds these files."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(names):
            info = zipfile.ZipInfo(name, date_time=_THE_SAME_FOR_ALL)
            info.create_system = 3
            info.external_attr = _MODE
            info.file_size = (container.digest(name) or (0, ""))[0]  # decides whether the header is one of 64 bits
            stream = container.stream(name)
            with archive.open(info, "w") as into:
                if stream:
                    with stream:
                        shutil.copyfileobj(stream, into, _PIECE)


@contextmanager
def seekable(stream: IO[bytes]) -> Iterator[BinaryIO]:
    """The stream, or a copy of it where going back in it means to unpack it again."""
    with stream, tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
        if isinstance(stream, zipfile.ZipExtFile):
            with suppress(*_UNREADABLE):
                shutil.copyfileobj(stream, copy, _PIECE)
            yield copy  # type: ignore[misc]
        else:
            yield stream  # type: ignore[misc]


@contextmanager
def opened(path: Path) -> Iterator[tuple[Folder | Archive, list[Finding]]]:
    """Opens a folder or an archive for a check.

    Yields:
        What holds the files, and what is wrong with the container itself.

    Raises:
        UsageError: it is neither.
    """
    if _is_folder(path):
        folder = Folder(path)
        if hidden := next((each for each in (path, *path.rglob("*")) if not _may_be_read(each)), None):
            raise _no_evidence(hidden, "you may not read it")
        yield folder, [Finding("link", name, "it is a symbolic link") for name in folder.links()]
        return
    try:
        if path.exists() and not path.is_file():
            raise _no_evidence(path, "it is neither a folder nor a file")
        file = path.open("rb")
    except OSError as error:
        raise _no_evidence(path, error.strerror or "it cannot be read") from None
    with file:
        begins = file.read(4)
        if not begins.startswith(b"PK") and not zipfile.is_zipfile(file):
            raise _no_evidence(path, "it is neither a folder nor a zip archive")
        with archived(file, path.name) as found:
            yield found


@contextmanager
def archived(file: BinaryIO, name: str) -> Iterator[tuple[Folder | Archive, list[Finding]]]:
    """The same of an archive that is open; `name` is what a finding calls it."""
    try:
        archive = zipfile.ZipFile(file)
        found = Archive(archive)
    except _UNREADABLE:
        yield Folder(Path(name)), [Finding("zip-damaged", name, "it is no readable zip archive any more")]
        return
    with archive:
        try:
            wrong = list(found.tricks(file))
            if not wrong and found.as_sealed and _sha256_of(file) != _sha256_as_written(found):
                wrong = [Finding("zip-changed", name, "its bytes are not those of an archive of these files")]
        except _UNREADABLE:
            wrong = [Finding("zip-damaged", name, "its headers lead nowhere")]
        yield found, wrong


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:  # a name that is too long
        raise _no_evidence(path, error.strerror or "it cannot be read") from None


def _may_be_read(path: Path) -> bool:
    mode = os.R_OK | os.X_OK if path.is_dir() else os.R_OK
    return path.is_symlink() or os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _is_as_sealed(info: zipfile.ZipInfo) -> bool:
    return (
        info.date_time == _THE_SAME_FOR_ALL
        and (info.create_system, info.create_version, info.external_attr) == (3, zipfile.DEFAULT_VERSION, _MODE)
        and info.compress_type == zipfile.ZIP_STORED
        and not info.extra
        and not info.comment
    )


def _swells(info: zipfile.ZipInfo) -> bool:
    return info.file_size > _MOST_SWOLLEN * (info.compress_size + 1)


_HINTS = 0x0006
"""Flags that say how hard a program tried to compress."""
_WIDE = 0xFFFFFFFF
"""What stands where a number is in a field of 64 bits."""


def _hidden(file: BinaryIO, archive: zipfile.ZipFile) -> Iterator[str]:
    """What lies in an archive beside its files: bytes before, between and behind them, comments, fields of no known use."""
    at, infos = 0, sorted(archive.infolist(), key=lambda info: info.header_offset)
    for info in infos:
        file.seek(info.header_offset)
        head = file.read(30)
        if info.header_offset != at or len(head) < 30:
            yield f"bytes that belong to no file lie before {info.filename}"
            return
        _, flags, method, _, crc, packed, unpacked, name, extra = struct.unpack("<HHHLLLLHH", head[4:30])
        said = (flags & ~_HINTS, method, *((0, 0, 0) if flags & 8 else (crc, packed, unpacked)))
        known = (
            info.flag_bits & ~_HINTS,
            info.compress_type,
            *((0, 0, 0) if flags & 8 else (info.CRC, info.compress_size, info.file_size)),
        )
        if any(here not in (there, _WIDE) for here, there in zip(said, known, strict=True)):
            yield f"{info.filename} is another file by its own header than by the archive's list"
        file.seek(name, 1)
        if info.comment or not _are_ordinary(info.extra) or not _are_ordinary(file.read(extra)):
            yield f"{info.filename} has a comment or a field that no ordinary tool writes"
        at += 30 + name + extra
        if not _is_all_of_it(file, at, info):
            yield f"{info.filename} holds more bytes than its content takes"
        at += info.compress_size
        if flags & 8:
            at += _descriptor(file, at, info)
    directory = sum(
        46 + len(i.orig_filename.encode("utf-8" if i.flag_bits & 0x800 else "cp437")) + len(i.extra) + len(i.comment)
        for i in infos
    )
    size = file.seek(0, 2)
    file.seek(max(0, size - 22))
    end = file.read(22)
    if archive.start_dir != at or archive.comment or end[:4] != b"PK\5\6" or size - 22 - at - directory not in (0, 76):
        yield "it holds bytes that belong to no file"


def _is_all_of_it(file: BinaryIO, at: int, info: zipfile.ZipInfo) -> bool:
    """Whether a file's content ends where its bytes do. What cannot be read is named when it is hashed."""
    if info.compress_type != zipfile.ZIP_DEFLATED:
        return info.compress_type != zipfile.ZIP_STORED or info.compress_size == info.file_size
    file.seek(at)
    left, content = info.compress_size, zlib.decompressobj(-zlib.MAX_WBITS)
    with suppress(zlib.error):
        while not content.eof and (piece := file.read(min(_PIECE, left))):
            left -= len(piece)
            while piece:
                content.decompress(piece, _PIECE)
                piece = content.unconsumed_tail
        return not left and not content.unused_data
    return True


def _descriptor(file: BinaryIO, at: int, info: zipfile.ZipInfo) -> int:
    """The length of the sizes that stand behind a file that was packed from a stream."""
    file.seek(at)
    found = file.read(16)
    signed = found[:4] == b"PK\7\x08"
    sizes = found[8:] if signed else found[4:12]
    narrow = struct.pack("<L", info.compress_size & 0xFFFFFFFF) == sizes[:4]
    wide = not narrow or sizes[4:8] != struct.pack("<L", info.file_size & 0xFFFFFFFF)
    return (4 if signed else 0) + 4 + (16 if wide else 8)


def _are_ordinary(extra: bytes) -> bool:
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        if kind not in _TIMES_AND_OWNERS or length > 32:
            return False
        extra = extra[4 + length :]
    return not extra


def _sha256_of(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _sha256_as_written(archive: Archive) -> str:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        write(archive, sorted({*archive.archived()}), file)  # type: ignore[arg-type]
        return _sha256_of(file)


def _no_evidence(path: Path, why: str) -> UsageError:
    return UsageError(
        "check the evidence", on=str(path), why=why, next_step="name a run's folder below outputs/, or its evidence.zip"
    )
