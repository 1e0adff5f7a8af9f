"""Ed25519 public keys: whose signature is checked."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from helpers.checker.strict_json import canonical
from helpers.errors import UsageError

KEY_BYTES = 32
_LONGEST = 1 << 16
"""Bytes of a file that may hold a key."""
_PRIME = 2**255 - 19
_ORDER_8 = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)
_SMALL_ORDER = frozenset({0, 1, _PRIME - 1, *(int.from_bytes(bytes.fromhex(each), "little") for each in _ORDER_8)})
"""The y of the points whose order is 8 or less: under such a "key" anybody can sign.

Source: the list in libsodium's crypto_core/ed25519/ref10/ed25519_ref10.c, `ge25519_has_small_order`.
"""


@dataclass(frozen=True)
class PublicKey:
    """One public key; equal keys have equal `keyid`s.

    Attributes:
        raw: its 32 bytes.
    """

    raw: bytes

    @property
    def keyid(self) -> str:
        """SHA-256 of the key's description, as securesystemslib and TUF define it."""
        described = {"keytype": "ed25519", "keyval": {"public": self.raw.hex()}, "scheme": "ed25519"}
        return hashlib.sha256(canonical(described)).hexdigest()

    @property
    def pem(self) -> str:
        """The key as PEM text; equal keys have equal texts."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether the key's owner signed `data`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except InvalidSignature:
            return False
        return True


def public_key(given: str, *, base: Path | None = None) -> PublicKey:
    """The public key that `given` holds or leads to.

    Args:
        given: a path, PEM text, or the base64 text of its 32 bytes.
        base: the folder that a relative path starts from; the current one when None.

    Raises:
        UsageError: it is none of these, or a key under which anybody can sign.
    """
    if "BEGIN" in given:
        return _from_pem(given.encode(), "the PEM text")
    if (raw := _decoded(given)) is not None:
        return _safe(raw, "the base64 text")
    path = (base or Path()) / Path(given).expanduser()
    try:
        with path.open("rb") as file:
            return _from_pem(file.read(_LONGEST), str(path))
    except OSError as error:
        raise _unusable(str(path), error.strerror or "unreadable") from None


def from_public(key: Ed25519PublicKey) -> PublicKey:
    """The same key as `cryptography` has it."""
    return PublicKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _from_pem(pem: bytes, where: str) -> PublicKey:
    try:
        loaded = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        loaded = None
    if not isinstance(loaded, Ed25519PublicKey):
        raise _unusable(where, "it is no Ed25519 public key in PEM form")
    return _safe(from_public(loaded).raw, where)


def _safe(raw: bytes, where: str) -> PublicKey:
    if int.from_bytes(raw, "little") % (1 << 255) % _PRIME in _SMALL_ORDER:
        raise _unusable(where, "it is a key of small order, under which anybody can sign")
    return PublicKey(raw)


def _decoded(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == KEY_BYTES else None


def _unusable(where: str, why: str) -> UsageError:
    return UsageError("read the public key", on=where, why=why, next_step="name the .pub file that runbook keygen made")
