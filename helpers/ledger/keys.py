"""Ed25519 keys: of people, of the sealer, and of the machine that runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from helpers.checker.public_key import PublicKey, from_public
from helpers.errors import UsageError

RUN_KEY = "RUNBOOK_RUN_KEY"
"""Path of the machine's own key; without it, one below ~/.config is made at its first use."""

LEDGER = "ledger.jsonl"


@dataclass(frozen=True)
class KeyPair:
    """A private key, which signs."""

    private: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> PublicKey:
        """Its public half."""
        return from_public(self.private.public_key())

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`."""
        return self.private.sign(data)


def generate(path: Path) -> PublicKey:
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
                "make a key",
                on=str(each),
                why="the file exists, and a key is never overwritten",
                next_step="name another",
            )
    private = Ed25519PrivateKey.generate()
    key = from_public(private.public_key())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _create(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _create(public_path, key.pem.encode(), 0o644)
    return key


def signer(path: Path) -> KeyPair:
    """Reads a private key.

    Raises:
        UsageError: there is none, it is not an Ed25519 key, others may read it, or it lies among the evidence.
    """
    refuse_among_evidence(path)
    try:
        if path.stat().st_mode & 0o077:
            raise UsageError(
                "sign", on=str(path), why="users other than its owner may read this key", next_step=f"chmod 600 {path}"
            )
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no private key in PEM form"
        raise UsageError("read the key", on=str(path), why=why, next_step=f"runbook keygen --key {path}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(
            "read the key", on=str(path), why="it is not an Ed25519 key", next_step="make one with runbook keygen"
        )
    return KeyPair(private)


def run_key_path() -> Path:
    """Where the machine's own key lies."""
    given = os.environ.get(RUN_KEY)
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(given) if given else config / "migration-runbooks" / "run-key.pem"


def run_signer() -> KeyPair:
    """The machine's own key, made at its first use.

    Raises:
        UsageError: it cannot be read or made.
    """
    path = run_key_path()
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
                    why="what is there is given to auditors and archived",
                    next_step="keep it outside, for example in ~/.config/migration-runbooks/",
                )


def _create(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
