"""File names that some operating system cannot store: evidence is copied to other people's machines."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]')
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
"""https://learn.microsoft.com/windows/win32/fileio/naming-a-file"""
_LONGEST_PART = 255


def why_unstorable(part: str) -> str:
    """Why one part of a path cannot be stored everywhere; empty where it can."""
    try:
        length = len(part.encode())
    except UnicodeEncodeError:
        return "is no text in UTF-8"
    if _FORBIDDEN.search(part):
        return "has a character that Windows does not take"
    if part.endswith((".", " ")):
        return "ends with a dot or a space, which Windows drops"
    if _DEVICES.fullmatch(part):
        return "is the name of a device in Windows"
    return f"has {length} bytes, and {_LONGEST_PART} are the most" if length > _LONGEST_PART else ""


def unstorable(names: Iterable[str]) -> list[str]:
    """A sentence for each name that some system cannot store, or cannot tell from another."""
    found, seen = [], dict[str, str]()
    for name in names:
        found += [f"the name {name!a} {why}" for part in name.split("/") if (why := why_unstorable(part))]
        alike = unicodedata.normalize("NFC", name).casefold()
        if alike in seen:
            found.append(f"{name!a} and {seen[alike]!a} are one file where case does not count")
        seen[alike] = name
    return found
