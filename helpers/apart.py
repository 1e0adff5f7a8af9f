"""What explains, shows or keeps a verdict stands apart from it: where it fails, that is told, and the verdict stays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from helpers.errors import MigrationError
from helpers.redaction import redact


def on_standard_error(sentence: str) -> None:
    """Tells an operator; where nobody can be told, that is no fault either."""
    try:
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):
        return


@contextmanager
def apart_from_the_verdict(what: str, tell: Callable[[str], object] = on_standard_error) -> Iterator[None]:
    """Runs a block whose failure must not take a verdict with it.

    Args:
        what: what was not done, such as "the report page could not be written".
        tell: is given a sentence with the reason where the block failed.
    """
    try:
        yield
    except Exception as error:  # whatever it is: the answer is known, and must not be lost
        tell(f"{what}: {reason(error)}")


def reason(error: Exception) -> str:
    """Why something failed, in one line."""
    if isinstance(error, MigrationError):
        return f"{error.on}: {error.why}"
    if isinstance(error, OSError) and error.strerror:
        return redact(f"{error.strerror} ({error.filename})" if error.filename else error.strerror)
    lines = str(error).strip().splitlines()
    return redact(": ".join([type(error).__name__, *lines[:1]]))
