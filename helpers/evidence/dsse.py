"""Signed statements: in-toto Statement v1 in a DSSE envelope, as one file whose every byte is determined.

Formats: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and
https://github.com/secure-systems-lab/dsse/blob/master/envelope.md. One key signs one envelope.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # with its signers it imports the clients of three clouds, which a digest's first letters need not
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"

Kind = Literal["seal", "ledger-head", "approval", "attestation"]


class BadEnvelope(ValueError):  # noqa: N818 - says what it is
    """An envelope that proves nothing; `kind` is `wrong-signer`, `bad-signature` or `bad-envelope`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Statement:
    """What somebody signed: the digests it is about, and what is said of them."""

    kind: str
    subjects: Mapping[str, str]
    predicate: Mapping[str, Any]


def sign(kind: Kind, subjects: Mapping[str, str], predicate: Mapping[str, Any], signer: CryptoSigner) -> bytes:
    """Signs a statement.

    Args:
        kind: what sort of statement it is; a signature of one never passes for another.
        subjects: SHA-256 (hex) by name.
        predicate: what is said; JSON values only.

    Returns:
        The envelope as the bytes of its file.
    """
    from securesystemslib.dsse import Envelope

    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subjects.items())],
        "predicateType": _predicate_type(kind),
        "predicate": dict(predicate),
    }
    envelope = Envelope(canonical(statement), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return _as_file(envelope)


def opened(data: bytes, key: SSlibKey, kind: Kind) -> Statement:
    """The statement that `key` signed in this envelope.

    Raises:
        BadEnvelope: another key signed it, the signature does not fit, it is a statement of another kind, or the
            file's bytes are not exactly those that `sign` makes of it: nothing may hide in spaces or spare bits.
    """
    from securesystemslib.exceptions import VerificationError

    envelope = _parsed(data)
    (signature,) = envelope.signatures.values()
    if signature.keyid != key.keyid:
        raise BadEnvelope(
            "wrong-signer", f"it is signed by the key {short(signature.keyid)}, not by {short(key.keyid)}"
        )
    try:
        envelope.verify([key], threshold=1)
    except VerificationError:
        raise BadEnvelope("bad-signature", f"the signature of the key {short(key.keyid)} does not fit it") from None
    if _as_file(envelope) != data:
        raise BadEnvelope("bad-envelope", "its bytes were changed without changing what is signed")
    return _statement(envelope, kind)


def key_id_in(data: bytes) -> str | None:
    """The identity of the key that claims to have signed, unverified; None in a damaged envelope."""
    try:
        return next(iter(_parsed(data).signatures))
    except BadEnvelope:
        return None


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces, in UTF-8: equal values have equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def short(digest: str) -> str:
    """Enough of a digest for a person to compare."""
    return digest[:12]


def _predicate_type(kind: str) -> str:
    return f"urn:migration-runbooks:{kind}:v1"


def _as_file(envelope: Envelope) -> bytes:
    return canonical(envelope.to_dict()) + b"\n"


def _parsed(data: bytes) -> Envelope:
    from securesystemslib.dsse import Envelope

    try:
        # from_dict rewrites the signatures within its argument.
        envelope = Envelope.from_dict(copy.deepcopy(json.loads(data)))
    except Exception as error:  # whatever a forged file makes the library raise, it is no envelope
        raise BadEnvelope("bad-envelope", f"it is no DSSE envelope: {type(error).__name__}") from None
    if len(envelope.signatures) != 1:
        raise BadEnvelope("bad-envelope", f"it has {len(envelope.signatures)} signatures, not one")
    return envelope


def _statement(envelope: Envelope, kind: str) -> Statement:
    try:
        value = json.loads(envelope.payload)
        found = value["predicateType"]
        subjects = {each["name"]: each["digest"]["sha256"] for each in value["subject"]}
        well_formed = envelope.payload_type == PAYLOAD_TYPE and value["_type"] == STATEMENT_TYPE
        statement = Statement(kind, subjects, dict(value["predicate"]))
    except (ValueError, KeyError, TypeError):
        raise BadEnvelope("bad-envelope", "what is signed is no in-toto statement") from None
    if not well_formed or found != _predicate_type(kind):
        raise BadEnvelope("bad-envelope", f"what is signed is no {kind}, but {found}")
    return statement
