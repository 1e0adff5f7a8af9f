"""Secrets that this process has read, and their removal from whatever text leaves it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

HIDDEN = "•••"
SHORTEST = 4
"""Shorter values are not masked: replacing every "a" of a message hides the message, not the secret."""
STANDS_ALONE = 12

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
    """`text` with every remembered secret masked, the longest first so that none is left in part.

    A short secret is masked only where it stands alone: a password "sales" must not eat half of "dim_sales".
    """
    for secret in sorted(_known, key=len, reverse=True):
        if secret not in text:
            continue
        if len(secret) < STANDS_ALONE:
            text = re.sub(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])", HIDDEN, text)
        else:
            text = text.replace(secret, HIDDEN)
    return text


def redact_values(value: Any) -> Any:
    """The same for every text within dictionaries and lists; their keys stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redact_values(item) for item in value]
    if isinstance(value, dict):
        return type(value)({key: redact_values(item) for key, item in value.items()})
    return value
