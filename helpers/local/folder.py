"""The folder of the local stack's data: made where PostgreSQL can reach it, and locked while servers start and stop."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from helpers import PROJECT
from helpers.errors import LocalStackError
from helpers.local.servers.processes import LOWEST_FREE_SPACE, Account

RELOCATED = Path("/var/tmp")  # noqa: S108 - only under a name nobody else can have made, see `_relocate`


def default_root() -> Path:
    return Path(os.environ.get("RUNBOOK_LOCAL_ROOT") or PROJECT / ".local")


@contextmanager
def locked(root: Path | None, *, create: bool) -> Iterator[Any]:
    """The data's real folder, with the lock that keeps two `up` apart; None when there is none and none is wanted."""
    home = _create(absolute(root or default_root())) if create else existing(root)
    if home is None:
        yield None
        return
    with (home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield home


def existing(root: Path | None) -> Path | None:
    place = absolute(root or default_root())
    home = place.resolve()
    return home if (home / "state.json").exists() or (home / "lock").exists() else None


def absolute(path: Path) -> Path:
    """Absolute without following a link at its end, which may be ours."""
    return path.parent.resolve() / path.name


def _create(place: Path) -> Path:
    """The folder the data live in: `place`, or what `place` links to when PostgreSQL could not get there."""
    account = Account.for_postgres()
    if place.is_symlink():
        if not place.exists():
            place.unlink()
        else:
            return place.resolve()
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        if account.reaches(place.parent):
            place.mkdir(mode=0o700 if account.uid is None else 0o711, exist_ok=True)
            return place
        return _relocate(place)
    if account.reaches(place) or account.reaches(place.parent):
        place.chmod(0o700 if account.uid is None else 0o711)  # our own folder; those above it are not ours to change
        return place
    if any(place.iterdir()):
        raise LocalStackError(
            "start PostgreSQL as `nobody`",
            on=str(place),
            why="that account cannot reach the folder",
            next_step="set RUNBOOK_LOCAL_ROOT to a folder it can reach",
        )
    place.rmdir()
    return _relocate(place)


def _relocate(place: Path) -> Path:
    """Put the data where `nobody` gets to, and a link in their place: a clone may be in a folder closed to others."""
    name = hashlib.sha256(str(place).encode()).hexdigest()[:16]
    home = RELOCATED / f"migration-runbooks-{name}"
    with suppress(FileExistsError):
        home.mkdir(mode=0o711)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise LocalStackError(
            "put the local data where PostgreSQL can reach it",
            on=str(home),
            why="another user created it first",
            next_step="set RUNBOOK_LOCAL_ROOT to a folder that every user can traverse",
        )
    home.chmod(0o711)
    with suppress(FileExistsError):
        place.symlink_to(home)
    return home


def require_space(home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < LOWEST_FREE_SPACE:
        raise LocalStackError(
            "start the local stack",
            on=str(home),
            why=f"only {free / (1 << 30):.2f} GB of disk are free, it wants {LOWEST_FREE_SPACE / (1 << 30):.0f}",
            next_step="free some space, or set RUNBOOK_LOCAL_ROOT to a folder on another disk",
        )
