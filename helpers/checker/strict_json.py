"""JSON of which equal values have equal bytes, and no text has two readings."""

from __future__ import annotations

import json
from typing import Any


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces, in UTF-8: equal values have equal bytes.

    Raises:
        TypeError, ValueError: it holds something that JSON does not.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Half a surrogate pair has no UTF-8; escaped it is JSON all the same.
    return text.encode("utf-8", errors="backslashreplace")


def loads(data: bytes | str) -> Any:
    """Reads JSON in which no object has a key twice: two programs would read two different things.

    Raises:
        ValueError: it is no JSON, has a key twice, a number that is none, or is nested too deep.
    """
    try:
        return json.loads(data, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def is_canonical(data: bytes, value: object) -> bool:
    """Whether `data` is exactly what `canonical` makes of the value that was read from it."""
    try:
        return canonical(value) == data
    except (ValueError, TypeError, RecursionError):
        return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it has a key twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
