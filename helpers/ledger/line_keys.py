"""Signs each line of a ledger as it is written, with a key that exists for one line.

A signed line names the public key of the next line's signature. The first one is signed with the machine's key, each later one
with the key that the line before it named, and a key is destroyed as soon as its line is on the disk. So whoever takes what is
on the machine today can sign only what comes next: the keys of yesterday's lines are gone. It also shows a cut: the key that
lies here was named by a line, and that line has to be in the ledger.

The keys lie beside the machine's key, outside of the runs, one file a run. While a line is written, the file holds the key of
this line and of the next one, so that a crash at any moment leaves the one that is needed. Where it is lost, the machine's key
signs again, which the check of the evidence tells.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from helpers.checker.dsse import sha256
from helpers.checker.strict_json import canonical
from helpers.errors import EvidenceError
from helpers.ledger import keys
from helpers.ledger.folders import make_private, write_atomically

FOLDER = "run-line-keys"


@dataclass(frozen=True)
class LineKey:
    """The key of one line, and its successor.

    Attributes:
        private: signs this line.
        next: signs the next one.
        file: where the successor is kept.
    """

    private: Ed25519PrivateKey
    next: Ed25519PrivateKey
    file: Path

    def signed(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """The line with the next public key and its signature, both base64."""
        named = {**line, "next_key": _public(self.next)}
        return {**named, "signature": base64.b64encode(self.private.sign(canonical(named))).decode()}

    def destroy(self) -> None:
        """Forgets this line's key and keeps the next one; called when the line is on the disk."""
        _keep(self.file, [self.next])


def key_for_next_line(before: Sequence[Mapping[str, Any]], line: Mapping[str, Any], run: str) -> LineKey | None:
    """The key that has to sign a line, its successor already kept.

    Args:
        before: the fields of the lines so far.
        line: the fields of the line that is written.
        run: the run's name, for errors.

    Returns:
        None where the lines of this run are not signed here: another machine runs it, or an older program has opened it.

    Raises:
        EvidenceError: this machine signed lines of the run that its ledger does not have.
        UsageError: the machine's key cannot be read.
    """
    first = before[0] if before else line
    machine = _machine_key(first, new=not before)
    if machine is None:
        return None
    named = [str(each["next_key"]) for each in before if "next_key" in each]
    file = _file(named[0]) if named else None
    kept = _kept(file) if file else {}
    _refuse_a_cut(kept, named, run)
    # A run that went on with a copy of the machine's key elsewhere has named later keys, which are not here.
    private = kept.get(named[-1]) if named else None
    following = Ed25519PrivateKey.generate()
    file = file or _file(_public(following))
    if private:
        _keep(file, [private, following])
    # A key that the machine's signature begins with is kept behind its line: before it, no line would name what is kept.
    return LineKey(private or machine, following, file)


def refuse_a_cut(before: Sequence[Mapping[str, Any]], run: str) -> None:
    """Raises EvidenceError where this machine signed lines of the run that its ledger does not have."""
    named = [str(each["next_key"]) for each in before if "next_key" in each]
    if named:
        _refuse_a_cut(_kept(_file(named[0])), named, run)


def _refuse_a_cut(kept: Mapping[str, Ed25519PrivateKey], named: Sequence[str], run: str) -> None:
    if kept and not kept.keys() & set(named):
        raise EvidenceError(
            "trust the ledger",
            on=f"run {run}",
            why="this machine has signed a line that is not there: the ledger's end was cut off, or changed",
            next_step="find out who changed the file, restore it from a copy, or start a new run",
        )


def _machine_key(first: Mapping[str, Any], *, new: bool) -> Ed25519PrivateKey | None:
    named = first.get("run_key")
    if not named or not (new or "next_key" in first) or not keys.run_key_path().exists():
        return None
    machine = keys.run_signer()
    return machine.private if machine.public_key.pem == named else None


def _file(first_key: str) -> Path:
    return keys.run_key_path().parent / FOLDER / f"{sha256(first_key.encode())}.json"


def _keep(file: Path, private: Sequence[Ed25519PrivateKey]) -> None:
    # Where the folder is read-only or full, the machine's key signs the next line, and the check says so.
    with contextlib.suppress(OSError):
        make_private(file.parent)
        write_atomically(file, json.dumps([base64.b64encode(each.private_bytes_raw()).decode() for each in private]))


def _kept(file: Path) -> dict[str, Ed25519PrivateKey]:
    """The private keys in a file, by their public halves; none in one that is missing or damaged."""
    try:
        raw = [base64.b64decode(each) for each in json.loads(file.read_bytes())]
        return {_public(key): key for key in map(Ed25519PrivateKey.from_private_bytes, raw)}
    except (OSError, ValueError, TypeError):
        return {}


def _public(private: Ed25519PrivateKey) -> str:
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()
