"""A page, a chart or an explanation that cannot be made is reported, and never costs the verdict that it belongs to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from helpers.errors import MigrationError
from helpers.redaction import redact


def on_standard_error(sentence: str) -> None:
    """Prints a sentence for the operator; a closed standard error is not a fault."""
    try:
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):
        return


@contextmanager
def best_effort(what: str, tell: Callable[[str], object] = on_standard_error) -> Iterator[None]:
    """Runs a block whose failure is reported and goes no further.

    Args:
        what: what was not done, such as "the report page could not be written".
        tell: called with a sentence that says why, if the block fails.
    """
    try:
        yield
    except Exception as error:  # whatever it is: the verdict is known and must not be lost
        tell(f"{what}: {reason(error)}")


def reason(error: Exception) -> str:
    """Why something failed, in one line."""
    if isinstance(error, MigrationError):
        return f"{error.on}: {error.why}"
    if isinstance(error, OSError) and error.strerror:
        return redact(f"{error.strerror} ({error.filename})" if error.filename else error.strerror)
    lines = str(error).strip().splitlines()
    return redact(": ".join([type(error).__name__, *lines[:1]]))
