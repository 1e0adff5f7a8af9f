"""Whether the lines of a ledger were signed as they were written, each with the key that the line before it named."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from helpers.checker.finding import Finding
from helpers.checker.ledger_reader import LEDGER, Line
from helpers.checker.public_key import KEY_BYTES, PublicKey, public_key
from helpers.checker.strict_json import canonical
from helpers.errors import UsageError

NOT_ONLY_THE_ENGINES = frozenset(
    {"anchor-missed", "anchored", "approved", "attested", "head-signed", "kept", "recovered", "sealed", "verified"}
)
"""Lines that a command may write on a machine without the run's key; each is covered by a later signature."""


@dataclass(frozen=True)
class LineSignatures:
    """What the signatures of a ledger's lines amount to.

    Attributes:
        findings: lines whose signature is missing or does not hold.
        signed: how many lines are signed; 0 in a run of an older program, whose lines are not.
        anew: numbers of the lines behind the first that the machine's key signed: what came before them is not protected from
            somebody who held that key then.
    """

    findings: tuple[Finding, ...]
    signed: int
    anew: tuple[int, ...]


def line_signatures(lines: Sequence[Line], machine: PublicKey | None) -> LineSignatures:
    """Checks the keys from line to line.

    Args:
        lines: the ledger's.
        machine: the key of the machine that ran it, which signs the first line; None where the run names none.
    """
    found: list[Finding] = []
    anew: list[int] = []
    signed = 0
    expected = machine
    for line in lines if any("next_key" in line.fields for line in lines) else ():
        if "next_key" not in line.fields and "signature" not in line.fields:
            if line.event not in NOT_ONLY_THE_ENGINES:
                found.append(Finding("line-unsigned", LEDGER, f"line {line.n} was not signed when it was written"))
            continue
        signed += 1
        if not _signed_with(line, expected):
            if _signed_with(line, machine):
                anew.append(line.n)
            else:
                why = f"line {line.n} is not signed with the key that the line before it named"
                found.append(Finding("line-signature", LEDGER, why))
        expected = _named_key(line)
    return LineSignatures(tuple(found), signed, tuple(anew))


def _signed_with(line: Line, key: PublicKey | None) -> bool:
    if key is None:
        return False
    try:
        signature = base64.b64decode(line.text("signature"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return key.verifies(signature, canonical({name: it for name, it in line.fields.items() if name != "signature"}))


def _named_key(line: Line) -> PublicKey | None:
    # Not by `public_key` at once, which reads other texts as a path.
    named = line.text("next_key")
    try:
        return public_key(named) if len(base64.b64decode(named, validate=True)) == KEY_BYTES else None
    except (binascii.Error, ValueError, UsageError):
        return None
