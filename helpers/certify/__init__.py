"""Golden values through the real engine, before anything of a profile is trusted to it.

A certification loads a small migration that a PostgreSQL made (`golden`) by the code of every load, compares it by the code of every
verification (`questions`), in a schema of its own that is dropped again (`scratch`), and keeps the answer beside the stage (`kept`).
`require` is what a load and a verification ask first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from helpers import log
from helpers.certify import fingerprint, golden, kept
from helpers.certify.questions import Questions
from helpers.certify.report import Certification, answer_of, shapes_of
from helpers.certify.scratch import Scratch, empty, new_scratch, remove_left
from helpers.engines import destination, engine
from helpers.engines.certifying import Trial
from helpers.errors import MigrationError
from helpers.finding import Finding, failed, unchecked
from helpers.platforms import statements
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings
from helpers.settings.local_stack import local_stack

BEFOREHAND = "it takes a minute or two and costs a few cents: about 800 small statements on Snowflake and 130 on Spark, in a schema of its own that is dropped again"


class NotCertified(MigrationError):  # noqa: N818 - reads as what is so
    """A target has not answered golden questions, or what its answer rested on is no more so."""


class CertificationFailed(MigrationError):  # noqa: N818
    """A target answered golden questions otherwise than PostgreSQL."""

    exit_code = 1


def certify(settings: Settings, target: str, *, progress: Progress | None = None) -> Certification:
    """Asks an engine all that a load and a verification rest on, and keeps the answer where every machine of the team finds it.

    Args:
        settings: the profile.
        target: the adapter's name.
        progress: told of the questions asked.

    Raises:
        ConnectionFailed, StageError, SettingsError: the target or the stage cannot be reached or written.
        TargetRefused: the schema that an administrator made for certifications holds something else.
    """
    found = _asked(settings, target, progress)
    kept.keep(settings, target, found)
    log.event(
        "certified", target=found.address, passed=found.passed, seconds=round(found.seconds), wrong=len(found.wrong)
    )
    return found


def _asked(settings: Settings, target: str, progress: Progress | None) -> Certification:
    section, started, findings, sent = settings.target(target), time.monotonic(), list[Finding](), list[str]()
    own = new_scratch(settings, target)
    with (
        statements.heard(lambda _, sql: sent.append(sql)),
        TemporaryDirectory(prefix="runbook-certify-") as cells,
        engine(target).trial(section, settings.stage) as trial,
    ):
        who = trial.identity()
        for left in remove_left(trial, Bucket.open(settings.stage)):
            findings.append(unchecked("what an earlier certification left", left, "drop it yourself"))
        if own.made_by_others:
            empty(own, trial)
        questions = Questions(own, target, trial, Path(cells), progress)
        try:
            findings += questions.ask()
        finally:
            findings += _removed(own, trial)
        seconds = time.monotonic() - started
        cost = trial.cost(seconds)
    stand_in = kept.stand_in(settings, target)
    return Certification(
        target=target, address=destination(section).where, stand_in=stand_in, program=local_stack().program(section) if stand_in else "", engine=who.name,
        engine_version=who.version, where=who.where, role=who.role, drivers=who.drivers, parameters=dict(who.parameters),
        product=fingerprint.of_product(target), settings=fingerprint.of_settings(section, settings.stage),
        golden=f"PostgreSQL {golden.server_version()}", scratch=own.name, finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1), cost=cost, answers=tuple(map(answer_of, findings)), tables=tuple(questions.tables),
        values=tuple(questions.values), shapes=shapes_of(sent),
    )  # fmt: skip


def _removed(own: Scratch, trial: Trial) -> Iterator[Finding]:
    """Drops what was made; what is still there is named."""
    try:
        if own.made_by_others:
            empty(own, trial)
        else:
            trial.drop(own.name)
    except MigrationError as error:
        yield failed(f"the schema {own.name} could not be cleared away", error)
    try:
        own.bucket.remove(list(own.bucket.sizes()))
    except MigrationError as error:
        yield failed(f"the files at {own.bucket.location} could not be removed", error)


def require(settings: Settings, target: str, *, wake: bool = True, progress: Progress | None = None) -> Certification:
    """The certification of a target that a load or a verification may rely on.

    A stand-in of the local stack is certified now where it has none.

    Args:
        settings: the profile.
        target: the adapter's name.
        wake: whether the engine is asked whether it still is the one that answered; a cluster that sleeps is started by that.
        progress: told of a certification that is made.

    Raises:
        NotCertified: there is none, or it expired.
        CertificationFailed: the last one says no.
        ConnectionFailed, StageError: the target or the stage cannot be asked.
    """
    if kept.stand_in(settings, target):
        return _of_stand_in(settings, target, progress)
    found, why = kept.standing(settings, target, wake=wake)
    address = engine(target).destination(settings.target(target)).where
    command = f"runbook doctor --certify --target {target} --profile {settings.profile}"
    if found is None or why:
        raise NotCertified(
            "trust the target", on=address, why=why or "it was never certified: nothing is known of how it keeps PostgreSQL's values",
            next_step=f"nothing was changed. Run: {command} (a minute or two, a few cents)",
        )  # fmt: skip
    return _passed(found, address, command)


def _of_stand_in(settings: Settings, target: str, progress: Progress | None) -> Certification:
    with kept.alone(target):
        found, why = kept.standing(settings, target)
        if found is None or why:
            found = certify(settings, target, progress=progress)
    address = engine(target).destination(settings.target(target)).where
    return _passed(found, address, f"runbook doctor --certify --target {target}")


def _passed(found: Certification, address: str, command: str) -> Certification:
    if found.passed:
        return found
    wrong = [
        f"{answer.check}: {answer.found}{f', needed: {answer.needed}' if answer.needed else ''}"
        for answer in found.wrong
    ]
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    raise CertificationFailed(
        "trust the target", on=address, why=f"its certification of {found.finished[:16]} says no: {'; '.join(wrong[:_SHOWN])}{more}",
        next_step=f"nothing was changed. See docs/certification.md; when it is mended: {command}",
    )  # fmt: skip


_SHOWN = 5
"""Wrong answers that a refusal names; `runbook doctor` has them all."""

__all__ = ["BEFOREHAND", "Certification", "CertificationFailed", "NotCertified", "certify", "require"]
