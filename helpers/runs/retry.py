"""Repeats an attempt that failed on something transient: a server that did not answer, never a check that failed."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_exponential, wait_random

from helpers import log
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
    """Executes until an attempt ends with anything but a transient error, each time as a further attempt.

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

    def told(state: RetryCallState) -> None:
        assert state.outcome and state.next_action
        wait, failure = state.next_action.sleep, state.outcome.result().failure
        log.event("attempt-repeated", level=logging.WARNING, error=failure.error, wait_seconds=round(wait))
        say(f"{failure.error} may pass: attempt {state.attempt_number + 1} of at most {retries + 1} in {wait:.0f} s")

    half = wait_exponential(multiplier=first_wait / 2, max=LONGEST_WAIT / 2)
    patiently = Retrying(
        retry=retry_if_result(_is_passing),
        stop=stop_after_attempt(retries + 1),
        wait=lambda state: half(state) * (1 + wait_random(0, 1)(state)),
        before_sleep=told,
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    return patiently(execute)


def _is_passing(result: AttemptResult) -> bool:
    return result.exit_code == 2 and result.failure is not None and result.failure.transient
