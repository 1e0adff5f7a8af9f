"""Keeps the ledger's end where nobody can delete it: a small object under Object Lock, beside the sealed archives.

An authority's time stamp, kept in the run, is the second way: it proves without any bucket since when a line was there.

The machine's own counter and keys can be taken together with the ledger's end. What lies in the bucket stays there until its time,
also from who holds all keys, and its time of upload is the service's. A bucket or an authority that cannot be reached stops no migration: the
ledger says that the anchor was missed, and so does the check.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from helpers.checker.dsse import sha256
from helpers.checker.ledger_reader import LEDGER, Line, read
from helpers.checker.strict_json import canonical
from helpers.checker.time_stamps import FOLDER, StampError, certain_by, certificates
from helpers.errors import EvidenceError, MigrationError
from helpers.evidence.heads import write_exclusively
from helpers.ledger.ledger import Ledger
from helpers.platforms.s3 import Bucket, retain_until
from helpers.settings import Settings

_MOST_OF_A_STAMP = 1_000_000
"""Bytes; one with its certificates has some thousand."""
_NAME = re.compile(r"(\d+)-([0-9a-f]{64})\.json")


def anchor(run_folder: Path, ledger: Ledger, settings: Settings) -> None:
    """Anchors the ledger's last line and records where, or why not; nothing where the profile has no section `evidence`."""
    if settings.values.evidence is None:
        return
    data = (run_folder / LEDGER).read_bytes()
    lines, _ = read(data)
    last = lines[-1]
    ways: list[Callable[[], dict[str, str]]] = [
        lambda: {"url": _written(run_folder.name, lines[0], last, settings)},
        lambda: _stamped(run_folder, last, data.split(b"\n")[len(lines) - 1], settings),
    ]
    for way in ways if settings.evidence.timestamp_url else ways[:1]:
        try:
            where = way()
        except Exception as error:  # whatever is wrong with a bucket or an authority, it stops no migration
            why = error.why if isinstance(error, MigrationError) else f"{type(error).__name__}: {error}"
            ledger.append("anchor-missed", line=last.digest, why=why)
        else:
            ledger.append("anchored", line=last.digest, **where)


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


def _stamped(run_folder: Path, line: Line, raw: bytes, settings: Settings) -> dict[str, str]:
    """Asks the authority for a time stamp of the line and keeps it in the run: its file, and that one's digest."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    own = settings.evidence
    root = settings.file.parent / own.timestamp_certificate if own.timestamp_certificate else None
    request = TimestampRequestBuilder().data(raw).hash_algorithm(HashAlgorithm.SHA256).build()
    host = urlsplit(str(own.timestamp_url)).hostname
    try:
        # No redirects: POST would become GET.
        with requests.post(
            str(own.timestamp_url),
            data=request.as_bytes(),
            headers={"Content-Type": "application/timestamp-query"},
            timeout=(own.connect_timeout_seconds, own.answer_timeout_seconds),
            allow_redirects=False,
            stream=True,
        ) as answer:
            if answer.status_code != requests.codes.ok:
                raise StampError(f"answer {answer.status_code}")
            token = answer.raw.read(_MOST_OF_A_STAMP, decode_content=True)
        certain_by(token, line.digest, certificates(root) if root else (), request.nonce)
    except (StampError, requests.RequestException, HTTPError) as error:
        # Of what the network says only the kind: its text holds the address, which may hold a key.
        why = str(error) if isinstance(error, StampError) else type(error).__name__
        raise EvidenceError(
            "stamp the ledger", on=str(host), why=f"no time stamp of {host}: {why}", next_step="check its settings"
        ) from None
    path = write_exclusively(run_folder, f"{FOLDER}/{line.n:06}.tsr", token)
    return {"file": path.relative_to(run_folder).as_posix(), "sha256": sha256(token)}


def _folder(run: str, first: Line) -> str:
    # A run of the same name elsewhere is another one.
    return f"{run}/anchors-{first.digest[:16]}"
