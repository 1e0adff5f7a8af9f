"""Secrets that this process has read, and their removal from whatever text leaves it."""

from __future__ import annotations

from urllib.parse import quote

HIDDEN = "•••"
SHORTEST = 4
"""Shorter values are not masked: replacing every "a" of a message hides the message, not the secret."""

_known: set[str] = set()


def remember(secret: str) -> str:
    """Registers `secret` for masking and returns it unchanged."""
    if len(secret) >= SHORTEST:
        _known.add(secret)
        _known.add(quote(secret, safe=""))
    return secret


def known() -> frozenset[str]:
    """Every value that must not appear in a notebook, a log or a manifest."""
    return frozenset(_known)


def redact(text: str) -> str:
    """`text` with every remembered secret masked, the longest first so that none is left in part."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
