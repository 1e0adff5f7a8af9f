"""Whether the target answers its readers after the cutover: error rate and 95th-percentile latency against the settings' limits."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from helpers.engines import destination
from helpers.errors import ConnectionFailed, LoadError
from helpers.model.places import TargetTable
from helpers.settings import Cutover, Target

SLOWEST_LEFT_OUT = 0.05
"""The latency that counts is the 95th percentile: one slow answer in twenty is no reason to go back."""


@dataclass(frozen=True)
class Health:
    """How the target answered a number of questions.

    Attributes:
        latency: the 95th percentile, in seconds; infinite where no answer came.
        said: the first error.
    """

    asked: int
    failed: int
    latency: float
    said: str = ""

    @property
    def error_rate(self) -> float:
        """Share of the questions without an answer."""
        return self.failed / self.asked

    def exceeds(self, limits: Cutover) -> tuple[str, ...]:
        """The limits that are exceeded, each in a sentence."""
        found = []
        if self.error_rate > limits.max_error_rate:
            found.append(
                f"{self.failed} of {self.asked} queries failed ({self.error_rate:.1%}, at most "
                f"{limits.max_error_rate:.1%}): {self.said}"
            )
        if not self.latency <= limits.max_latency_seconds:
            took = f"{self.latency:.2f} s" if math.isfinite(self.latency) else "no answer"
            found.append(f"the 95th percentile of the latency is {took}, at most {limits.max_latency_seconds:g} s")
        return tuple(found)


def probe(target: Target, options: Cutover, table: TargetTable) -> Health:
    """Asks the target what its readers ask, over a connection of its own for each question, as readers come.

    Args:
        target: the new side.
        options: the query and how often.
        table: that is counted where no query is set; in its schema the query is asked.

    Returns:
        How it answered; a question without an answer is counted, never raised.
    """
    ask = destination(target).ask
    seconds: list[float] = []
    said: list[str] = []
    for _ in range(options.probes):
        began = time.monotonic()
        try:
            ask(options.query, table)
            seconds.append(time.monotonic() - began)
        except (ConnectionFailed, LoadError) as error:
            said.append(error.why)
    return Health(options.probes, len(said), percentile(seconds), said[0] if said else "")


def percentile(seconds: Sequence[float]) -> float:
    """The 95th percentile by the nearest rank; infinite for no seconds at all."""
    if not seconds:
        return math.inf
    return sorted(seconds)[math.ceil((1 - SLOWEST_LEFT_OUT) * len(seconds)) - 1]
