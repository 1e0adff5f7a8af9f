"""`runbook doctor`: everything that a profile configures, asked once and before anything moves; nothing is written anywhere.

Each system is a function that yields what it has seen; they are asked at the same time, and one that does not answer is a finding
like any other. Phase 00 shows the same findings, box by box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from threading import Lock
from typing import Any

from helpers.doctor.subject import Subject
from helpers.errors import MigrationError, Unexpected, UsageError
from helpers.finding import Finding, Severity, failed
from helpers.progress import Progress
from helpers.redaction import redact
from helpers.settings import Settings

VERDICTS: Mapping[Severity, str] = {"stop": "wrong", "warning": "ok", "unchecked": "not checked", "note": "ok"}
"""A finding of `--json`; one that is "ok" and has a cure is for a person to weigh."""

SYSTEMS: Mapping[str, str] = {
    "this machine": "machine:examine",
    "people": "people:examine",
    "files": "files:examine",
    "network": "network:examine",
    "source": "source:examine",
    "security": "source:examine_security",
    "stage": "buckets:examine_stage",
    "archive": "buckets:examine_archive",
    "evidence": "buckets:examine_evidence",
    "snowflake": "snowflake:examine",
    "databricks": "databricks:examine",
    "aws": "services:examine_aws",
    "terraform": "services:examine_terraform",
    "dns": "services:examine_dns",
    "alerts": "services:examine_alerts",
    "airflow": "services:examine_airflow",
    "kafka": "services:examine_kafka",
    "dbt": "services:examine_dbt",
}
"""In the order in which they are shown: the module beside this file, and its function. What a profile does not have says nothing."""


@dataclass(frozen=True)
class Examined:
    """A finding, and whose it is."""

    system: str
    finding: Finding

    @property
    def verdict(self) -> str:
        """ "ok", "wrong" or "not checked"."""
        return VERDICTS[self.finding.severity]

    def as_finding(self) -> Finding:
        """For a phase, whose findings are of many systems."""
        found = self.finding
        needed = f"; needed: {found.needed}" if found.needed and found.severity != "note" else ""
        return Finding(found.severity, f"{self.system}: {found.on}", f"{found.what}{needed}", found.fix, found.needed)

    def as_dict(self) -> dict[str, str]:
        """For `--json`."""
        found = self.finding
        return {
            "system": self.system, "check": found.on, "verdict": self.verdict, "found": found.what, "needed": found.needed,
            "cure": found.fix,
        }  # fmt: skip


def examine(settings: Settings, only: Sequence[str] = (), *, progress: Progress | None = None) -> tuple[Examined, ...]:
    """Asks every system of the profile.

    Args:
        settings: the profile.
        only: globs over systems ("source"), or over a system and its check ("source.SELECT*"); all where there are none.
        progress: told of systems that have answered.

    Raises:
        UsageError: a glob that matches nothing.
    """
    wanted = [name for name in SYSTEMS if not only or any(_concerns(glob, name) for glob in only)]
    for glob in only:
        if not any(_concerns(glob, name) for name in SYSTEMS):
            raise UsageError(
                "choose what to check",
                on=f"--only {glob}",
                why="no system matches",
                next_step=f"use one of: {', '.join(SYSTEMS)}",
            )
    subject, answers = Subject(settings), dict[str, tuple[Examined, ...]]()
    with ThreadPoolExecutor(len(wanted), "doctor") as pool:
        asked = {pool.submit(_ask, name, subject): name for name in wanted}
        for done in as_completed(asked):
            answers[asked[done]] = done.result()
            if progress:
                left = [name for name in wanted if name not in answers]
                progress(len(answers), len(wanted), f"waiting for {', '.join(left)}" if left else "done")
    return tuple(each for name in wanted for each in answers[name] if not only or _chosen(only, each))


_IMPORTING = Lock()
"""Two threads that import what imports one another may find it half made (importlib gives way where it would wait for ever)."""


def ready(found: Iterable[Examined]) -> bool:
    """Whether nothing is wrong; what was not checked is for a person to weigh."""
    return all(each.verdict != "wrong" for each in found)


def as_dict(found: Sequence[Examined]) -> dict[str, Any]:
    """What `runbook doctor --json` prints."""
    return {"verdict": "ready" if ready(found) else "not ready", "findings": [each.as_dict() for each in found]}


def _ask(name: str, subject: Subject) -> tuple[Examined, ...]:
    module, _, function = SYSTEMS[name].partition(":")
    found: list[Examined] = []
    try:
        with _IMPORTING:
            ask: Callable[[Subject], Iterator[Finding]] = getattr(import_module(f"helpers.doctor.{module}"), function)
        for finding in ask(subject):
            found.append(Examined(name, _masked(finding)))
    except MigrationError as error:
        found.append(Examined(name, failed("connection", error)))
    except Exception as error:
        from helpers.platforms.faults import driver_error  # and with it every client

        found.append(Examined(name, failed("connection", driver_error(error) or Unexpected.of(error))))
    return tuple(found)


def _masked(finding: Finding) -> Finding:
    what, fix, needed = (redact(text) for text in (finding.what, finding.fix, finding.needed))
    return Finding(finding.severity, finding.on, what, fix, needed)


def _concerns(glob: str, system: str) -> bool:
    return fnmatchcase(system, glob) or fnmatchcase(system, glob.partition(".")[0])


def _chosen(only: Sequence[str], each: Examined) -> bool:
    return any(fnmatchcase(each.system, glob) or fnmatchcase(f"{each.system}.{each.finding.on}", glob) for glob in only)
