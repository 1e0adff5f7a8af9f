"""The kernel of an unattended run: ipykernel, which ends with its command and reports which kind of error stopped it.

Started by `helpers.runs.engine` as `python -m helpers.runs.kernel -f <connection file>`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from IPython.display import display

from helpers import log
from helpers.credentials import remember_environment
from helpers.errors import MigrationError
from helpers.ledger.folders import RUN
from helpers.redaction import known, redact
from helpers.runs.parent_process import die_with_parent

ERROR_MIME = "application/vnd.runbook.error+json"


def main() -> None:
    """Serves one notebook until the command that started it tells it to stop, or is gone."""
    # ipykernel polls for its parent too, but in a thread: a cell that never lets go of the interpreter's lock would
    # outlive the command.
    parent = os.environ.get("JPY_PARENT_PID")
    die_with_parent(int(parent) if parent else None)
    remember_environment(os.environ)
    log.configure(os.environ.get(log.FORM, log.QUIET), run=os.environ.get(RUN))
    app = IPKernelApp.instance()
    app.initialize(sys.argv[1:])
    app.session.send = _redacting(app.session.send)
    app.shell.events.register("post_run_cell", _say_what_failed)
    app.start()


def _say_what_failed(result: Any) -> None:
    # A kernel reports an error as a class name and a text. The exit code and the next step must not be guessed
    # from these, so they travel as an output of the cell, where the auditor finds them too.
    error = result.error_before_exec or result.error_in_exec
    if isinstance(error, MigrationError):
        display({ERROR_MIME: {**error.as_dict(), "exit_code": error.exit_code}}, raw=True)  # type: ignore[no-untyped-call]


def _redacting(send: Callable[..., Any]) -> Callable[..., Any]:
    def sends(stream: Any, msg_or_type: Any, content: Any = None, *args: Any, **kwargs: Any) -> Any:
        if known():
            if content is not None:
                content = _redacted(content)
            elif isinstance(msg_or_type, dict):
                msg_or_type = {**msg_or_type, "content": _redacted(msg_or_type.get("content"))}
        return send(stream, msg_or_type, content, *args, **kwargs)

    return sends


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


if __name__ == "__main__":
    main()
