"""Keeps the ledger's end where nobody can delete it: a small object under Object Lock, beside the sealed archives.

The machine's own counter and keys can be taken together with the ledger's end. What lies in the bucket stays there until its time,
also from who holds all keys, and its time of upload is the service's. A bucket that cannot be reached stops no migration: the
ledger says that the anchor was missed, and so does the check.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from helpers.checker.ledger_reader import LEDGER, Line, read
from helpers.checker.strict_json import canonical
from helpers.errors import EvidenceError, MigrationError
from helpers.ledger.ledger import Ledger
from helpers.platforms.s3 import Bucket, retain_until
from helpers.settings import Settings

_NAME = re.compile(r"(\d+)-([0-9a-f]{64})\.json")


def anchor(run_folder: Path, ledger: Ledger, settings: Settings) -> None:
    """Anchors the ledger's last line and records where, or why not; nothing where the profile has no section `evidence`."""
    if settings.values.evidence is None:
        return
    lines, _ = read((run_folder / LEDGER).read_bytes())
    last = lines[-1]
    try:
        url = _written(run_folder.name, lines[0], last, settings)
    except Exception as error:  # whatever is wrong with a bucket or its settings, it stops no migration
        why = error.why if isinstance(error, MigrationError) else f"{type(error).__name__}: {error}"
        ledger.append("anchor-missed", line=last.digest, why=why)
    else:
        ledger.append("anchored", line=last.digest, url=url)


def refuse_a_cut(run_folder: Path, settings: Settings) -> None:
    """Compares the ledger with its anchors; says nothing where the bucket cannot be reached, which `anchor` records.

    Raises:
        EvidenceError: a line was anchored that the ledger does not have.
    """
    if settings.values.evidence is None:
        return
    lines, _ = read((run_folder / LEDGER).read_bytes())
    try:
        names = Bucket.open(settings.evidence_stage).names_ever(_folder(run_folder.name, lines[0]))
    except Exception:  # as in `anchor`
        return
    anchored = {match[2]: int(match[1]) for name in names if (match := _NAME.fullmatch(name.rpartition("/")[2]))}
    if gone := sorted(anchored[digest] for digest in anchored.keys() - {line.digest for line in lines}):
        raise EvidenceError(
            "trust the ledger",
            on=f"run {run_folder.name}",
            why=f"line {gone[0]} was anchored in {settings.evidence.url}, and it is not there: the ledger's end was cut off, or changed",
            next_step="find out who changed the file, restore it from a copy, or start a new run",
        )


def _written(run: str, first: Line, last: Line, settings: Settings) -> str:
    own, bucket = settings.evidence, Bucket.open(settings.evidence_stage)
    bucket.refuse_without_lock()
    name = f"{_folder(run, first)}/{last.n:06}-{last.digest}.json"
    with tempfile.NamedTemporaryFile() as file:
        file.write(canonical({"run": run, "first": first.digest, "n": last.n, "line": last.digest}) + b"\n")
        file.flush()
        until = retain_until(own.retention_days)
        return bucket.url(name, bucket.write_locked(name, Path(file.name), until=until, mode=own.mode))


def _folder(run: str, first: Line) -> str:
    # A run of the same name elsewhere is another one.
    return f"{run}/anchors-{first.digest[:16]}"
