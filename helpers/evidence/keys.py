"""Ed25519 keys: those of people, of the one who seals, and of the machine that runs."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from helpers.errors import UsageError

RUN_KEY = "RUNBOOK_RUN_KEY"
"""Path of the machine's own key; without it, one below ~/.config is made at its first use."""

LEDGER = "ledger.jsonl"
_RAW_BYTES = 32


def generate(path: Path) -> SSlibKey:
    """Makes a key pair: `path` for its owner alone, and `path.pub` for everybody.

    Returns:
        The public key.

    Raises:
        UsageError: one of the two files exists, or they would lie among the evidence.
    """
    refuse_among_evidence(path)
    public_path = path.with_name(f"{path.name}.pub")
    for each in (path, public_path):
        if each.exists() or each.is_symlink():
            raise UsageError(
                "make a key", on=str(each), why="the file exists, and a key is never replaced", next_step="name another"
            )
    private = Ed25519PrivateKey.generate()
    key = SSlibKey.from_crypto(private.public_key())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _create(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _create(public_path, public_pem(key).encode(), 0o644)
    return key


def signer(path: Path) -> CryptoSigner:
    """Reads a private key.

    Raises:
        UsageError: there is none, it is no Ed25519 key, others may read it, or it lies among the evidence.
    """
    refuse_among_evidence(path)
    try:
        if path.stat().st_mode & 0o077:
            raise UsageError(
                "sign", on=str(path), why="others than its owner may read this key", next_step=f"chmod 600 {path}"
            )
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no private key in PEM form"
        raise UsageError("read the key", on=str(path), why=why, next_step=f"runbook keygen --key {path}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(
            "read the key", on=str(path), why="it is no Ed25519 key", next_step="make one with runbook keygen"
        )
    return CryptoSigner(private)


def public_key(given: str, *, base: Path | None = None) -> SSlibKey:
    """The public key that `given` holds or leads to.

    Args:
        given: a path, PEM text, or the base64 text of its 32 bytes.
        base: the folder that a relative path starts from; the current one when None.

    Raises:
        UsageError: it is none of these.
    """
    if "BEGIN" in given:
        return _from_pem(given.encode(), "the PEM text")
    if (raw := _decoded(given)) is not None:
        return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(raw))
    path = (base or Path()) / Path(given).expanduser()
    try:
        return _from_pem(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(
            "read the public key", on=str(path), why=error.strerror or "unreadable", next_step="name the .pub file"
        ) from None


def public_pem(key: SSlibKey) -> str:
    """The key as PEM text; equal keys have equal texts."""
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(key.keyval["public"])))
    return raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def run_signer() -> CryptoSigner:
    """The machine's own key, made at its first use.

    Raises:
        UsageError: it cannot be read or made.
    """
    given = os.environ.get(RUN_KEY)
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = Path(given) if given else config / "migration-runbooks" / "run-key.pem"
    if not path.exists():
        try:
            generate(path)
        except (FileExistsError, UsageError):
            # Another run of this machine made it meanwhile.
            if not path.exists():
                raise
    return signer(path)


def refuse_among_evidence(path: Path) -> None:
    """Raises UsageError when `path` lies below a folder of runs, also by way of a link."""
    for each in {path.absolute(), path.resolve()}:
        for parent in each.parents:
            if parent.name == "outputs" or (parent / LEDGER).exists():
                raise UsageError(
                    "use a private key among the evidence",
                    on=str(path),
                    why="what lies there is handed to auditors and archived",
                    next_step="keep it outside, for example in ~/.config/migration-runbooks/",
                )


def _create(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _from_pem(pem: bytes, where: str) -> SSlibKey:
    try:
        loaded = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        loaded = None
    if not isinstance(loaded, Ed25519PublicKey):
        raise UsageError(
            "read the public key",
            on=where,
            why="it is no Ed25519 public key in PEM form",
            next_step="name the .pub file",
        )
    return SSlibKey.from_crypto(loaded)


def _decoded(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == _RAW_BYTES else None
