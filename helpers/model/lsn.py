"""Positions in PostgreSQL's log: numbers to compare, and the text that PostgreSQL prints."""

from __future__ import annotations

import re

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse(text: str) -> int:
    """The position that a text such as `16/B374D848` names, in bytes from the log's beginning.

    Raises:
        ValueError: it is no such text.
    """
    found = _LSN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no LSN; one looks like 16/B374D848")
    high, low = found.groups()
    return int(high, 16) << 32 | int(low, 16)


def printed(position: int) -> str:
    """The text that PostgreSQL prints for a position."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
