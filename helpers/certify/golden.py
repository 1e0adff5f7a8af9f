"""The golden migration: rows that a PostgreSQL 18 made, as the exporter staged them, and what PostgreSQL says of each.

`before` and `after` are two exports of one source, the second after its tables were changed: the same values are loaded into new
tables, into tables that are altered, and into tables whose place others take. `golden.json` has for each table of `after` its
digest, and for the smaller ones the canonical form of every value. `tests/certify/golden_source.py` says how it was made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256 as digest_of
from pathlib import Path

from helpers.model import manifest as manifests
from helpers.model.manifest import Manifest
from helpers.platforms.s3 import Bucket

FOLDER = Path(__file__).parent / "golden"
BEFORE, AFTER, FORMS = "before", "after", "golden.json"

_UPLOADS_AT_ONCE = 8


@dataclass(frozen=True)
class Golden:
    """What PostgreSQL says of one table.

    Attributes:
        segments: of the digest.
        digest: the sum over all segments, in 16 hexadecimal digits.
        forms: the pieces of each row's canonical form and then its 64 bits, by the first piece, which is the key's; empty where
            only the digest is kept.
    """

    rows: int
    segments: int
    digest: str
    forms: Mapping[str, Sequence[str]] = field(default_factory=dict)


@cache
def tables() -> Mapping[str, Golden]:
    """Every table of the second export, by `schema.name`."""
    said = json.loads((FOLDER / FORMS).read_text(encoding="utf-8"))
    return {name: Golden(**table) for name, table in said["tables"].items()}


@cache
def server_version() -> str:
    """Of the PostgreSQL that made it."""
    return str(json.loads((FOLDER / FORMS).read_text(encoding="utf-8"))["server_version"])


def manifest(of: str) -> Manifest:
    """The manifest of `BEFORE` or of `AFTER`."""
    return Manifest.model_validate_json((FOLDER / of / manifests.NAME).read_bytes())


def sha256(of: str, path: str) -> tuple[int, str]:
    """Bytes and SHA-256 of a golden file."""
    content = (FOLDER / of / path).read_bytes()
    return len(content), digest_of(content).hexdigest()


def fingerprint() -> bytes:
    """A digest of all of it."""
    found = digest_of()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            found.update(f"{path.relative_to(FOLDER)}\n".encode() + path.read_bytes())
    return found.digest()


def upload(of: str, bucket: Bucket) -> list[str]:
    """Writes an export to a location; the names of its objects.

    Raises:
        StageError, ConnectionFailed: the store does not take them.
    """
    paths = [path for path in sorted((FOLDER / of).rglob("*")) if path.is_file()]
    names = [path.relative_to(FOLDER / of).as_posix() for path in paths]
    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
        for _ in pool.map(lambda each: bucket.write(each[0], each[1].read_bytes()), zip(names, paths, strict=True)):
            pass
    return names
