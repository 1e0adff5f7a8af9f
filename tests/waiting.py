"""Waiting for what a test cannot make happen at once: always for a condition, never for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def wait_for(
    done: Callable[[], Answer],
    seconds: float = 120,
    *,
    every: float = 0.05,
    despite: tuple[type[Exception], ...] = (),
) -> Answer:
    """The first answer of `done` that is true.

    Args:
        seconds: generous, since a busy machine may take them: they are waited for only by a test that fails.
        every: seconds between two tries.
        despite: what `done` may raise meanwhile.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            if answer := done():
                return answer
        except despite:
            pass
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(every)
