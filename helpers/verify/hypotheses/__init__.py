"""Why values may differ. Where two hypotheses explain the same pairs, the first in this list is believed."""

from __future__ import annotations

from helpers.verify.hypotheses import constants, encodings, escapes, numbers, rows, structures, texts, times
from helpers.verify.hypotheses.base import Hypothesis

HYPOTHESES: tuple[Hypothesis, ...] = (
    *constants.FIRST,
    *numbers.HYPOTHESES,
    *times.HYPOTHESES,
    *structures.HYPOTHESES,
    *texts.HYPOTHESES,
    *escapes.HYPOTHESES,
    *encodings.HYPOTHESES,
    *texts.WHITE_SPACE,
    *rows.HYPOTHESES,
    *constants.LAST,
)

__all__ = ["HYPOTHESES"]
