"""Structured logs of a command, and of the notebooks that it runs: one line for each event, on standard error.

    event("table-loaded", table="public.sales", rows=10_000)

Nothing is written until `configure` is called; a program that uses `helpers` as a library gets the same events from the
standard library's logger "runbook". Known secrets are masked in every line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, TextIO

from helpers.redaction import redact_values

QUIET = "quiet"
FORMS = (QUIET, "text", "json")
FORM = "RUNBOOK_LOG"
"""The environment variable with one of `FORMS`; a command that starts another, or a kernel, sets it."""
DESCRIPTOR = "RUNBOOK_LOG_FD"
"""The file descriptor of the command's standard error, for a kernel: its own belongs to the notebook."""

_logger = logging.getLogger("runbook")
_logger.addHandler(logging.NullHandler())
_context: dict[str, Any] = {}


def configure(form: str, **fields: Any) -> None:
    """Writes the events from here on.

    Args:
        form: "text" for people, "json" for a log collector, "quiet" for neither.
        fields: of every line of this process, such as the run.
    """
    _context.update((name, value) for name, value in fields.items() if value)
    if form == QUIET:
        return
    os.environ[FORM] = form
    handler = _Handler(_stream())
    handler.setFormatter(_Json() if form == "json" else _Text())
    _logger.handlers = [handler]
    _logger.setLevel(logging.INFO)
    _logger.propagate = False


def event(name: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """One thing that happened.

    Args:
        name: what, such as "step-started".
        level: of the standard library's.
        fields: plain values.
    """
    _logger.log(level, name, extra={"fields": {**_context, **fields}})


@contextmanager
def within(**fields: Any) -> Iterator[None]:
    """Adds fields to every line of the block, such as the step."""
    former = dict(_context)
    _context.update((name, value) for name, value in fields.items() if value)
    try:
        yield
    finally:
        _context.clear()
        _context.update(former)


def shared_with_kernel() -> tuple[dict[str, str], tuple[int, ...]]:
    """Environment and file descriptors by which a kernel writes to the same log; nothing where there is none."""
    if os.environ.get(FORM, QUIET) == QUIET:
        return {}, ()
    try:
        descriptor = _copy_of_standard_error()
    except (OSError, ValueError, AttributeError):  # closed, or not a file
        return {}, ()
    return {DESCRIPTOR: str(descriptor)}, (descriptor,)


@cache
def _copy_of_standard_error() -> int:
    """Another number than 2, which a kernel's own standard error takes."""
    return os.dup(sys.stderr.fileno())


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """A log that nobody reads any more stops nothing."""


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({**_head(record), **_fields(record)}, ensure_ascii=False)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        return f"{' '.join(_head(record).values())} {fields}".rstrip()


def _head(record: logging.LogRecord) -> dict[str, str]:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return {"at": at, "level": record.levelname.lower(), "event": record.getMessage()}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    # As plain values first: what a tuple or an object of ours holds is masked too.
    plain: dict[str, Any] = json.loads(json.dumps(getattr(record, "fields", {}), default=str))
    masked: dict[str, Any] = redact_values(plain)
    return masked


def _stream() -> TextIO:
    if descriptor := os.environ.get(DESCRIPTOR):
        return os.fdopen(os.dup(int(descriptor)), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    return sys.stderr
