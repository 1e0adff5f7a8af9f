"""Temporary folders that hold rows or a whole dump: they go with their block, and those that killed commands left with the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers.stopping import removed_at_the_end

PREFIX = "runbook-"

_BEING_MADE_SECONDS = 60.0
"""Younger folders are let alone: their makers may not have locked them yet."""


@contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """A folder of this process's own, in the system's place for temporary files (TMPDIR moves that).

    Args:
        kind: what it is for, part of its name; others of that kind whose process is gone are removed first.

    Raises:
        OSError: it cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    _remove_left(parent, f"{PREFIX}{kind}-")
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{kind}-", dir=parent, ignore_cleanup_errors=True) as made:
        handle = os.open(made, os.O_RDONLY)
        try:
            # Held as long as this process lives, however it ends.
            fcntl.flock(handle, fcntl.LOCK_EX)
            with removed_at_the_end(Path(made)):
                yield Path(made)
        finally:
            os.close(handle)


def _remove_left(parent: Path, prefix: str) -> None:
    for path in parent.glob(f"{prefix}*"):
        with suppress(OSError):
            about = path.lstat()
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < _BEING_MADE_SECONDS:
                continue
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(handle)
