"""Whether a target has answered golden questions, and whether the answer still counts; no engine is asked for that."""

from __future__ import annotations

from collections.abc import Iterator

from helpers.certify import kept
from helpers.certify.report import Certification
from helpers.doctor import Examined
from helpers.errors import MigrationError
from helpers.finding import Finding, failed, note, stop, unchecked
from helpers.settings import Settings

CHECK = "certification"


def standing(settings: Settings, target: str) -> Iterator[Finding]:
    """What is kept of a target.

    Args:
        target: the adapter's name.
    """
    if settings.values.stage is None:
        return
    try:
        yield _standing(target, *kept.standing(settings, target, wake=False), settings)
    except MigrationError as error:
        yield failed(CHECK, error)


def examined(found: Certification, target: str) -> list[Examined]:
    """A certification as the doctor shows it: in one sentence, and each answer."""
    first = (note if found.passed else stop)(CHECK, f"{found.summary}{f'; {found.cost}' if found.cost else ''}")
    return [Examined(target, first), *(Examined(target, answer.as_finding()) for answer in found.answers)]


def _standing(target: str, found: Certification | None, why: str, settings: Settings) -> Finding:
    command, needed = f"runbook doctor --certify --target {target} --profile {settings.profile}", "every golden value"
    if (program := kept.stand_in(settings, target)) and (found is None or why):
        return note(CHECK, f"{program} is a stand-in, and is certified when it is first used")
    if found is None:
        return unchecked(CHECK, "it was never certified: a load and a verification refuse until it is", command, needed)
    if why:
        return unchecked(CHECK, f"{why}; it was: {found.summary}", command, needed)
    if not found.passed:
        return stop(CHECK, found.summary, f"docs/certification.md#reading-a-no, then: {command}", needed)
    return note(CHECK, found.summary)
