"""Hears every statement that the tests of a session send, and reads the shapes that are not kept yet.

What sqlglot does not read is told, and fails the session with RUNBOOK_STRICT_SHAPES, as CI sets it. With RUNBOOK_KEEP_SHAPES (`make
test` sets it) new ones are kept, so that a review sees them; sqlfluff, which takes longer, reads those that are kept.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import pytest

from helpers.platforms import statements
from helpers.platforms.statements import System
from tests.sql import statement_shapes as shapes

_texts: set[tuple[System, str]] = set()
_seen: dict[System, set[str]] = {"snowflake": set(), "spark": set()}
"""By dialect, of this process and of the workers that have ended."""


def hear(system: System, sql: str) -> None:
    if (system, sql) not in _texts:
        _texts.add((system, sql))
        _seen[system].add(shapes.shape(system, sql))


class Gate:
    """Registered by the tests' conftest."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._listening = ExitStack()
        self._listening.enter_context(statements.heard(hear))

    def pytest_testnodedown(self, node: Any) -> None:
        for system, found in getattr(node, "workeroutput", {}).get("shapes", {}).items():
            _seen[system].update(found)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["shapes"] = {system: sorted(found) for system, found in _seen.items()}
            return
        for system, found in _seen.items():
            new = found.difference(shapes.kept(system))
            wrong = shapes.unread(system, sorted(new), "sqlglot")
            self._said += [f"{system}, {why}: {each}" for each, why in wrong.items()]
            if wrong and os.environ.get("RUNBOOK_STRICT_SHAPES"):
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            new -= wrong.keys()
            if new and os.environ.get("RUNBOOK_KEEP_SHAPES"):
                shapes.keep(system, new)
                self._said.append(f"{len(new):,} new shapes are kept in {shapes.file(system).name}: commit them")
            elif new:
                self._said.append(f"{len(new):,} shapes are new to {shapes.file(system).name}: make test keeps them")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._said:
            terminalreporter.section("SQL that was sent")
            for line in self._said:
                terminalreporter.write_line(line)
