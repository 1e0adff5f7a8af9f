"""Where and with what a run was made, as `environment.json`: of this machine, and of the servers as the ledger has them."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from helpers.checker.dsse import sha256
from helpers.checker.environment import environment_from_ledger
from helpers.checker.ledger_reader import Line


def capture(project: Path, lines: Sequence[Line]) -> dict[str, Any]:
    """What is known of the code, the packages and the servers.

    Args:
        project: the folder of the code that ran.
        lines: the ledger; what steps reported of servers, roles, time zones, snapshots and LSNs is taken from it.

    Returns:
        Plain values. `servers` has an entry for each step that reported something, so that two steps that saw two
        servers, or two LSNs, both stand there.
    """
    lock = project / "requirements.txt"
    return {
        **environment_from_ledger(lines),
        "sealed_with": {
            "git": {"commit": _git(project, "rev-parse", "HEAD"), "dirty": _dirty(project)},
            "requirements_sha256": sha256(lock.read_bytes()) if lock.exists() else None,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "packages": sorted({f"{each.name}=={each.version}" for each in metadata.distributions()}, key=str.lower),
        },
    }


def _dirty(project: Path) -> bool | None:
    changed = _git(project, "status", "--porcelain")
    return None if changed is None else bool(changed)


def _git(project: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
