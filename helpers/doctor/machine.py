"""The machine that moves the data: its disk, its memory, and what is installed on it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from helpers import PROJECT
from helpers.doctor.source import BACKUP
from helpers.doctor.subject import Subject
from helpers.errors import MigrationError
from helpers.finding import Finding, judged, note, unchecked
from helpers.source.readers import LEAST_MEMORY

OUTPUTS_BYTES = 500_000_000
"""Executed notebooks, pages and files of differing cells of a run, with room to spare."""

MEMORY_OF_A_WORKER = 2 * LEAST_MEMORY * 1_000_000
"""The least that a reader has, and as much for the files on their way (docs/benchmarks/export.md: 1,385 MB at most, all workers)."""


def examine(subject: Subject) -> Iterator[Finding]:
    """What an export, a backup and a run need here."""
    settings = subject.settings
    yield note("Python", f"{sys.version.partition(' ')[0]} on {os.cpu_count()} processors")
    outputs = PROJECT / "outputs"
    yield from _disk("disk of outputs", outputs if outputs.exists() else PROJECT, OUTPUTS_BYTES, "the runs' records")
    writable = os.access(outputs if outputs.exists() else PROJECT, os.W_OK)
    yield judged(writable, "outputs", f"{outputs.name} may{'' if writable else ' not'} be written", "let this user write there", "a folder for the runs")  # fmt: skip
    if BACKUP not in settings.elsewhere:
        yield from _room_for_the_backup(subject)
    needed, free = MEMORY_OF_A_WORKER * settings.export.workers, psutil.virtual_memory().available
    fix = f"set export.workers to {max(1, free // MEMORY_OF_A_WORKER)}, or use a larger machine"
    yield judged(free >= needed, "memory", f"{free / 1e6:,.0f} MB are available", fix, f"{needed / 1e6:,.0f} MB for {settings.export.workers} workers")  # fmt: skip
    if settings.values.stack == "local":
        yield note("local stack", "it is up: what a section does not name of its own is served on 127.0.0.1")


def _room_for_the_backup(subject: Subject) -> Iterator[Finding]:
    """The dump, and what is restored of it where no server is named for that: each as large as the database at most."""
    fix = "free some space, or point TMPDIR to a larger disk"
    times, what = (1, "the dump") if subject.settings.backup.restore else (2, "the dump, and what is restored of it")
    try:
        yield from _disk("disk for the backup", Path(tempfile.gettempdir()), times * subject.database_bytes, what, fix)
    except MigrationError as error:
        yield unchecked("disk for the backup", f"the size of the database is not known: {error.why}", error.next_step)


def _disk(check: str, folder: Path, needed: int, what: str, fix: str = "free some space") -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    yield judged(free >= needed, check, f"{free / 1e6:,.0f} MB are free", fix, f"{needed / 1e6:,.0f} MB: {what}")
