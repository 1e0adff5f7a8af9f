"""Signed statements: in-toto Statement v1 in a DSSE envelope, as one file whose every byte is determined.

Formats: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and
https://github.com/secure-systems-lab/dsse/blob/master/protocol.md. One key signs one envelope.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from helpers.checker.public_key import PublicKey
from helpers.checker.strict_json import canonical, is_canonical, loads

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"

Kind = Literal["seal", "ledger-head", "approval", "attestation"]


class Signer(Protocol):
    """Whoever holds a private key."""

    @property
    def public_key(self) -> PublicKey:
        """Its public half."""

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`."""


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


@dataclass(frozen=True)
class _Envelope:
    payload: bytes
    payload_type: str
    keyid: str
    signature: bytes

    @property
    def signed(self) -> bytes:
        """What the signature is over: DSSE's pre-authentication encoding."""
        parts = [b"DSSEv1", *(b"%d %s" % (len(each), each) for each in (self.payload_type.encode(), self.payload))]
        return b" ".join(parts)

    def to_bytes(self) -> bytes:
        signature = {"keyid": self.keyid, "sig": base64.b64encode(self.signature).decode()}
        payload = base64.b64encode(self.payload).decode()
        return canonical({"payload": payload, "payloadType": self.payload_type, "signatures": [signature]}) + b"\n"


def sign(kind: Kind, subjects: Mapping[str, str], predicate: Mapping[str, Any], signer: Signer) -> bytes:
    """Signs a statement.

    Args:
        kind: what sort of statement it is; a signature of one never passes for another.
        subjects: SHA-256 (hex) by name.
        predicate: what is said; JSON values only.

    Returns:
        The envelope as the bytes of its file.
    """
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subjects.items())],
        "predicateType": _predicate_type(kind),
        "predicate": dict(predicate),
    }
    unsigned = _Envelope(canonical(statement), PAYLOAD_TYPE, signer.public_key.keyid, b"")
    return _Envelope(unsigned.payload, unsigned.payload_type, unsigned.keyid, signer.sign(unsigned.signed)).to_bytes()


def opened(data: bytes, key: PublicKey, kind: Kind) -> Statement:
    """The statement that `key` signed in this envelope.

    Raises:
        BadEnvelope: another key signed it, the signature does not fit, it is a statement of another kind, or the
            file's bytes are not exactly those that `sign` makes of it: nothing may hide in spaces or spare bits.
    """
    envelope = _parsed(data)
    if envelope.keyid != key.keyid:
        raise BadEnvelope("wrong-signer", f"it is signed by the key {short(envelope.keyid)}, not by {short(key.keyid)}")
    if not key.verifies(envelope.signature, envelope.signed):
        raise BadEnvelope("bad-signature", f"the signature of the key {short(key.keyid)} does not fit it")
    if envelope.to_bytes() != data:
        raise BadEnvelope("bad-envelope", "its bytes were changed without changing what is signed")
    return _statement(envelope, kind)


def key_id_in(data: bytes) -> str | None:
    """The identity of the key that claims to have signed, unverified; None in a damaged envelope."""
    try:
        return _parsed(data).keyid
    except BadEnvelope:
        return None


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def short(digest: str) -> str:
    """Enough of a digest for a person to compare."""
    return digest[:12]


def _predicate_type(kind: str) -> str:
    return f"urn:migration-runbooks:{kind}:v1"


def _parsed(data: bytes) -> _Envelope:
    try:
        value = loads(data)
        signatures = value["signatures"]
        if len(signatures) != 1:
            raise BadEnvelope("bad-envelope", f"it has {len(signatures)} signatures, not one")
        keyid, payload_type = signatures[0]["keyid"], value["payloadType"]
        if not isinstance(keyid, str) or not isinstance(payload_type, str):
            raise TypeError
        payload, signature = (
            base64.b64decode(each, validate=True) for each in (value["payload"], signatures[0]["sig"])
        )
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        if isinstance(error, BadEnvelope):
            raise
        raise BadEnvelope("bad-envelope", f"it is no DSSE envelope: {type(error).__name__}") from None
    return _Envelope(payload, payload_type, keyid, signature)


def _statement(envelope: _Envelope, kind: str) -> Statement:
    try:
        value = loads(envelope.payload)
        found = value["predicateType"]
        subjects = {each["name"]: each["digest"]["sha256"] for each in value["subject"]}
        well_formed = (
            envelope.payload_type == PAYLOAD_TYPE
            and value["_type"] == STATEMENT_TYPE
            and len(subjects) == len(value["subject"])
            and is_canonical(envelope.payload, value)
        )
        statement = Statement(kind, subjects, dict(value["predicate"]))
    except (ValueError, KeyError, TypeError):
        raise BadEnvelope("bad-envelope", "what is signed is no in-toto statement") from None
    if not well_formed or found != _predicate_type(kind):
        raise BadEnvelope("bad-envelope", f"what is signed is no {kind}, but {found}")
    return statement
