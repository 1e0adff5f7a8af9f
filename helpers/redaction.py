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


def without_secrets(sql: str) -> str:
    """SQL without the secrets of this process and without literals that look like one: code holds passwords that nobody knows of."""
    sql = _IN_URL.sub(rf"\1{HIDDEN}@", redact(sql))
    return _LITERAL.sub(_masked_literal, sql)


def _masked_literal(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - 60) : found.start()].rpartition("\n")[2]
    if _NAMED.search(before):
        return f"'{HIDDEN}'"
    return _ASSIGNED.sub(rf"\1{HIDDEN}", found[0])


_WORDS = r"(?:password|passwd|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)\w*"
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@']*:)[^\s@']+@", re.IGNORECASE)
_LITERAL = re.compile(r"'(?:[^'\n]|'')*'")
_NAMED = re.compile(rf"{_WORDS}[\w\s\"':=>,]{{0,30}}$", re.IGNORECASE)
"""What stands before a literal that is a secret: a word for one, and then only a type, a sign or the end of another literal."""
_ASSIGNED = re.compile(rf"({_WORDS}\s*[=:]\s*)[^\s';,&]+", re.IGNORECASE)
"""A secret within a literal, such as a connection string."""
