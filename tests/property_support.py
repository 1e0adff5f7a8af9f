"""How many examples a property test draws."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100
"""Examples of a test that does not say how many, where nothing is searched."""


def examples(count: int) -> settings:
    """Settings of a test that draws so many examples, and as many times more as `-m slow` draws more of every test."""
    return settings(max_examples=count * max(1, settings().max_examples // USUAL))
