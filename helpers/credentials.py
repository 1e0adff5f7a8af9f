"""What looks like a secret, so that it is refused before it reaches a notebook, and found if it did."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from helpers import redaction

_NAME = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|passcode|pwd|secret|secrets|token|credentials?|dsn|conninfo"
    r"|connection_string|api_?key|access_?key|secret_?key|private_?key|account_?key|customer_?key)$",
    re.IGNORECASE,
)
"""Only at the end: `token_env` and `secret_name` say where a secret is, not what it is."""

_KEY_ID = "an AWS access key id"
_IN_URL = "a URL with a password"

_VALUES: tuple[tuple[str, str], ...] = (
    (_IN_URL, r"(?i)[a-z][a-z0-9+.-]*://[^\s/:@'\"<>{}]*:(?![•*]+@)[^\s/@'\"<>{}]+@"),
    (
        "a password setting",
        r"(?i)\b(?:password|passwd|pwd|passphrase|secret_?access_?key|aws_secret_access_key)"
        # A table may be called so, and its rules of data quality are "schema.password:unique:its_key".
        r"(?!:(?:not-null|unique|foreign-key|check|accepted-values|range|null-share):)"
        r"\s*[=:]\s*['\"]?(?![•*<{$]|None\b|null\b|os\.|str\b|settings\b)[^\s'\"&,;)(\[\]]{3,}(?![\w(.\[])",
    ),
    (_KEY_ID, r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    ("a JSON web token", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
    ("a service's token", r"\b(?:hvs\.[\w-]{20,}|gh[pousr]_\w{30,}|dapi[0-9a-f]{32}|xox[abprs]-[\w-]{10,})"),
)
"""Compiled at their first use: every call of the command imports this file."""

_SHORTEST_OF_ENVIRONMENT = 6

_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+=_-])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=_-])")


def named_like_a_secret(name: str) -> bool:
    """Whether a value under this name would be a secret itself rather than a pointer to one."""
    return _NAME.search(name) is not None


def remember_environment(environment: Mapping[str, str]) -> None:
    """Registers for masking what lies in the environment under a secret's name, whether or not the settings use it.

    A short word is left, and so is a path: to mask "staging" or the working folder would hide what a run says.
    """
    for name, value in environment.items():
        named = (named_like_a_secret(name) or name == "PGPASSWORD") and name != "PWD"
        if named and not _is_a_short_word(value) and not os.path.exists(value):  # noqa: PTH110 - Path.exists raises for a long text
            redaction.remember(value)


def _is_a_short_word(value: str) -> bool:
    return len(value) < _SHORTEST_OF_ENVIRONMENT or (value.isalpha() and len(value) < redaction.STANDS_ALONE)


def secret_in(text: str) -> str | None:
    """The kind of secret `text` seems to hold, or None. Never the secret."""
    if any(known in text for known in redaction.known()):
        return "a secret that this process has read"
    for kind, pattern in _VALUES:
        if re.search(pattern, text):
            return kind
    if any(_is_mixed(match[0]) for match in _AWS_SECRET.finditer(text)):
        return "an AWS secret access key"
    return None


def written_secret(value: object, key: str = "") -> str | None:
    """The kind of secret that a setting holds where it stands in the clear, or None. Never the secret.

    Args:
        value: a text, or a table or list of them.
        key: that it has in a table.
    """
    if isinstance(value, dict):
        return next(filter(None, (written_secret(each, str(name)) for name, each in value.items())), None)
    if isinstance(value, list | tuple):
        return next(filter(None, (written_secret(each, key) for each in value)), None)
    if value is None or isinstance(value, bool):
        return None
    if named_like_a_secret(key) and key != "access_key":  # the name of a key, which is no secret
        return f"a value for {key}"
    if not isinstance(value, str):
        return None
    return next((kind for kind, pattern in _VALUES if kind != _KEY_ID and re.search(pattern, value)), None)


def _is_mixed(text: str) -> bool:
    """Random base64 has all three kinds of character; a SHA-1, a path or a word has not."""
    return (
        any(c.isupper() for c in text)
        and any(c.islower() for c in text)
        and any(c.isdigit() for c in text)
        and text.count("/") <= 4
    )
