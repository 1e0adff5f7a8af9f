"""What happened in a run: `ledger.jsonl`, one line an event, each chained to the line before by its hash.

A line is one JSON object with sorted keys: its number `n`, the time `at`, `prev` (SHA-256 of the previous line's bytes
without the newline, zeros for the first), the `event`, and the event's own fields. It is written by one call under an
exclusive lock and forced to disk before the call returns, so that of two processes each gets its own line, and what
was told to the caller outlives a crash. A line that a crash tore is moved aside and the next line says so; a line that
is broken anywhere else was not broken by a crash, and nothing is written behind it.

The chain detects accidents. Whoever can write the file can also recompute it, which is why each line is signed (`line_keys`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helpers import log
from helpers.errors import AwaitingPerson, EvidenceError
from helpers.ledger.folders import create_exclusively, make_private
from helpers.ledger.line_keys import key_for_next_line
from helpers.redaction import redact_values

NAME = "ledger.jsonl"
TORN = "ledger.torn-"
ZEROS = "0" * 64
"""`prev` of the first line, and the head of an empty ledger."""

_OWN = ("n", "at", "prev", "event")
_SIGNED = ("next_key", "signature")
_LOGGED = (
    "step",
    "phase",
    "attempt",
    "load_id",
    "by",
    "found",
    "how",
    "why",
    "status",
    "result",
    "error",
    "exit_code",
    "seconds",
)
"""Of an event's fields: the others are long, or say nothing without the ledger."""


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        n: 1, 2, 3 …
        at: UTC, ISO 8601 with microseconds.
        prev: SHA-256 of the line before.
        event: what happened.
        fields: the event's own.
        sha256: of this line's bytes; the head where it is the last.
    """

    n: int
    at: str
    prev: str
    event: str
    fields: Mapping[str, Any]
    sha256: str

    def get(self, name: str, default: Any = None) -> Any:
        """One of the event's own fields."""
        return self.fields.get(name, default)

    @property
    def waits(self) -> bool:
        """Whether a step stopped here for a person, which is no failure of it."""
        error = self.get("error")
        return (
            self.event == "step-failed" and isinstance(error, Mapping) and error.get("type") == AwaitingPerson.__name__
        )


@dataclass(frozen=True)
class Finding:
    """What is wrong with one line; `n` is the number that it should have."""

    n: int
    why: str


class Ledger:
    """The ledger of one run; every call reads the file anew, since other processes write to it too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """The ledger in a run's folder, made when there is none; a line that a crash tore is moved aside.

        Raises:
            EvidenceError: a line is broken that no crash can have broken.
        """
        make_private(folder)
        ledger = cls(folder / NAME)
        with ledger._locked() as file:
            ledger._whole(file)
        return ledger

    def append(self, event: str, **fields: Any) -> Entry:
        """Writes one line; when it returns, the line is on the disk.

        Args:
            event: what happened.
            fields: plain JSON values; known secrets are masked in them.

        Raises:
            EvidenceError: the ledger is broken; nothing was written.
        """
        entry = self.append_after(lambda entries: (event, fields))
        assert entry
        return entry

    def append_after(self, decide: Callable[[list[Entry]], tuple[str, dict[str, Any]] | None]) -> Entry | None:
        """Writes the line that `decide` makes of the lines so far; nobody writes between its reading and the writing.

        Returns:
            The line, or None when `decide` wanted none.
        """
        with self._locked() as file:
            entries = self._whole(file)
            if (decided := decide(entries)) is None:
                return None
            entry = self._write(file, entries, *decided)
        self._log(entry)
        return entry

    def _log(self, entry: Entry) -> None:
        failed = entry.event == "step-failed" or entry.get("exit_code") in (1, 2)
        level = logging.WARNING if entry.waits else logging.ERROR if failed else logging.INFO
        fields = {name: entry.get(name) for name in _LOGGED if entry.get(name) is not None}
        log.event(entry.event, level=level, run=self.path.parent.name, **fields)

    def entries(self) -> list[Entry]:
        """Every whole line; a torn last one is not among them.

        Raises:
            EvidenceError: a line is broken that no crash can have broken.
        """
        entries, _, finding = _read(self.path.read_bytes() if self.path.exists() else b"")
        if finding:
            raise _broken(self.path, finding)
        return entries

    @property
    def head(self) -> str:
        """SHA-256 of the last whole line."""
        return _head(self.entries())

    def verify(self) -> list[Finding]:
        """What is wrong, the first break first; a torn last line counts, for it is not part of the chain."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            # A line that is being written must not be taken for a torn one.
            fcntl.flock(file, fcntl.LOCK_SH)
            entries, rest, finding = _read(file.read())
        if finding:
            return [finding]
        return [Finding(len(entries) + 1, f"the last {len(rest)} bytes are no whole line")] if rest else []

    @contextmanager
    def _locked(self) -> Iterator[int]:
        new = not self.path.exists()
        # Also when the file is new for another process at the same time: the lock decides who writes first.
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if new:
                os.fsync(file)
                _sync_folder(self.path.parent)
            yield file
        finally:
            os.close(file)

    def _whole(self, file: int) -> list[Entry]:
        """The lines, after what a crash left was moved aside. Every stop in between is met again by the next call."""
        entries, rest, finding = _read(_content(file))
        if finding:
            raise _broken(self.path, finding)
        told = {entry.get("file") for entry in entries if entry.event == "recovered"}
        aside = [path for path in _torn_files(self.path.parent) if path.name not in told]
        if rest:
            if not (aside and aside[-1].read_bytes() == rest):
                aside.append(_move_aside(self.path.parent, rest))
            os.ftruncate(file, os.fstat(file).st_size - len(rest))
            os.fsync(file)
        for path in aside:
            content = path.read_bytes()
            fields = {"file": path.name, "sha256": hashlib.sha256(content).hexdigest(), "length": len(content)}
            entries.append(self._write(file, entries, "recovered", fields))
        return entries

    def _write(self, file: int, entries: list[Entry], event: str, fields: Mapping[str, Any]) -> Entry:
        if taken := [name for name in (*_OWN, *_SIGNED) if name in fields]:
            raise ValueError(f"fields of every line: {taken}")
        head = {"n": len(entries) + 1, "at": _now(), "prev": _head(entries), "event": event}
        plain = json.loads(_json(dict(fields)))  # what a tuple holds is masked too
        value = {**redact_values(plain), **head}
        key = key_for_next_line([each.fields for each in entries], value, self.path.parent.name)
        line = _json(key.signed(value) if key else value)
        # One call: a reader without the lock sees the line or does not.
        rest = memoryview(line + b"\n")
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
        if key:
            key.destroy()
        return _entry(json.loads(line), line)


def digest(value: object) -> str:
    """SHA-256 of a value's canonical JSON: keys sorted, no spaces.

    Raises:
        TypeError, ValueError: it holds something that JSON does not.
    """
    return hashlib.sha256(_json(value)).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(content: bytes) -> tuple[list[Entry], bytes, Finding | None]:
    """The whole lines, what a crash may have left behind them, and the first line that no crash explains."""
    lines = content.split(b"\n")
    entries: list[Entry] = []
    for number, line in enumerate(lines[:-1], 1):
        value = _parsed(line)
        if value is None and number == len(lines) - 1 and not lines[-1]:
            return entries, line + b"\n", None
        why = _fault(value, entries)
        if why:
            return entries, b"", Finding(number, why)
        assert value is not None
        entries.append(_entry(value, line))
    return entries, lines[-1], None


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _fault(value: dict[str, Any] | None, before: list[Entry]) -> str | None:
    if value is None:
        return "it is no JSON object"
    if lacking := [name for name in _OWN if name not in value]:
        return f"it has no {', '.join(lacking)}"
    if value["n"] != len(before) + 1:
        return f"its number is {value['n']}"
    if value["prev"] != _head(before):
        return "it does not follow the line before: that one was changed, or one between them is missing"
    return None


def _entry(value: dict[str, Any], line: bytes) -> Entry:
    own = {name: value[name] for name in _OWN}
    fields = {name: each for name, each in value.items() if name not in _OWN}
    return Entry(**own, fields=fields, sha256=hashlib.sha256(line).hexdigest())


def _head(entries: list[Entry]) -> str:
    return entries[-1].sha256 if entries else ZEROS


def _json(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair has no UTF-8; escaped it is JSON all the same.
    return text.encode("utf-8", errors="backslashreplace")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def _torn_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{TORN}*"), key=lambda path: int(path.name.removeprefix(TORN)))


def _move_aside(folder: Path, rest: bytes) -> Path:
    number = len(_torn_files(folder)) + 1
    while True:
        path = folder / f"{TORN}{number}"
        if create_exclusively(path, rest):
            _sync_folder(folder)
            return path
        number += 1


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _broken(path: Path, finding: Finding) -> EvidenceError:
    return EvidenceError(
        "trust the ledger",
        on=f"line {finding.n} of {path}",
        why=finding.why,
        next_step="a crash cannot cause this: find out who changed the file, restore it from a copy, or start a new run",
    )
