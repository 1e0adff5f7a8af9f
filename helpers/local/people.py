"""Two people of the local stack, so that a rehearsal on it can be signed from end to end; `runbook local up` makes their keys.

They are for trials: anyone who can read the stack's folder can sign as either. A real profile names its own people.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("alice", "bob")


def private_key(home: Path, name: str) -> Path:
    """Where a person's private key lies; the public one is beside it, with `.pub` behind its name.

    Args:
        home: the stack's folder.
        name: one of `NAMES`.
    """
    return home / "people" / f"{name}.pem"


def public_keys(home: Path) -> dict[str, str]:
    """Per name, the file with the public key; empty where none was made."""
    paths = {name: private_key(home, name).with_suffix(".pem.pub") for name in NAMES}
    return {name: str(path) for name, path in paths.items() if path.exists()}
