"""Repeats an attempt that met something passing: a server that did not answer, never a check that said no."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from helpers.runs.run import AttemptResult

FIRST_WAIT = 10.0
LONGEST_WAIT = 300.0


def execute_patiently(
    execute: Callable[[], AttemptResult],
    *,
    retries: int,
    say: Callable[[str], None],
    first_wait: float = FIRST_WAIT,
) -> AttemptResult:
    """Executes until an attempt ends otherwise than by a transient error, each time as a further attempt.

    Args:
        execute: opens and executes the next attempt.
        retries: how often it may be repeated.
        say: told, in a sentence, that and why it waits.
        first_wait: seconds before the first repetition. Each further wait is twice as long, up to five minutes, and
            shortened at random by up to a half, so that runs that failed together do not come back together
            (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/, "equal jitter").

    Returns:
        The last attempt's result.
    """
    result = execute()
    for number in range(retries):
        failure = result.failure
        if failure is None or not failure.transient or result.exit_code != 2:
            break
        longest = min(first_wait * 2**number, LONGEST_WAIT)
        wait = longest * random.uniform(0.5, 1)  # noqa: S311 - spreads, protects nothing
        say(f"{failure.error} may pass: attempt {number + 2} of at most {retries + 1} in {wait:.0f} s")
        time.sleep(wait)
        result = execute()
    return result
